//! One promotion job at a time in a namespace: a Lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

use super::error::{ClusterError, Doing};
use crate::observation::Moment;
use crate::promotion::At;

/// Its name, in each namespace that is promoted.
pub const NAME: &str = "learner-promote";

/// So long it holds without being renewed. A job that is killed is waited for as long.
pub const DURATION: Duration = Duration::from_secs(60);

const LEASES: &str = "leases.coordination.k8s.io";

/// Annotation with what a job leaves to the next one.
const NOTE: &str = "learner.dev/rest";

/// A lease that is held.
pub struct Lease {
    api: Api<Object>,
    namespace: String,
    object: Object,
    note: Option<String>,
}

/// It is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum NoLease {
    /// Another has it.
    #[error("{namespace}: {} is promoting there, since {}; try it again when it has ended", holder.escape_debug(), At(*since))]
    Held {
        /// Where.
        namespace: String,
        /// Who.
        holder: String,
        /// Since when.
        since: Moment,
    },
    /// The API server does not give it.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl Lease {
    /// Takes it, if nobody has it, or who had it has not renewed it in time.
    ///
    /// # Errors
    /// [`NoLease`].
    pub async fn take(
        client: &Client,
        namespace: &str,
        holder: &str,
        now: Moment,
    ) -> Result<Self, NoLease> {
        let api: Api<Object> = Api::namespaced(client.clone(), namespace);
        let found = api.get_opt(NAME).await;
        let found = found.map_err(|error| ClusterError::of(doing("get", namespace), error))?;
        let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let notes = found.as_ref();
        let notes = notes.and_then(|lease| lease.metadata.annotations.as_ref());
        let note = notes.and_then(|notes| notes.get(NOTE)).cloned();
        if let Some((holder, since)) = spec.and_then(|spec| held(spec, now)) {
            return Err(NoLease::Held {
                namespace: namespace.to_owned(),
                holder,
                since,
            });
        }
        let object = Object {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(namespace.to_owned()),
                // Who has changed it meanwhile has it.
                resource_version: found.and_then(|lease| lease.metadata.resource_version),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: micro(now),
                renew_time: micro(now),
                ..LeaseSpec::default()
            }),
        };
        let how = PostParams::default();
        let (verb, taken) = match object.metadata.resource_version {
            None => ("create", api.create(&how, &object).await),
            Some(_) => ("update", api.replace(NAME, &how, &object).await),
        };
        match taken {
            Ok(object) => Ok(Self {
                api,
                namespace: namespace.to_owned(),
                object,
                note,
            }),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(NoLease::Held {
                namespace: namespace.to_owned(),
                holder: "another job".to_owned(),
                since: now,
            }),
            Err(error) => Err(ClusterError::of(doing(verb, namespace), error).into()),
        }
    }

    /// What the one before has left, if nobody else had the lease in between. From now on it is gone: who does not
    /// leave anything has changed something.
    pub fn note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Leaves it to the next one.
    pub fn leave(&mut self, note: String) {
        let notes = self.object.metadata.annotations.get_or_insert_default();
        notes.insert(NOTE.to_owned(), note);
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`ClusterError`], as a change by another if that has taken it.
    pub async fn renew(&mut self, now: Moment) -> Result<(), ClusterError> {
        if let Some(spec) = &mut self.object.spec {
            spec.renew_time = micro(now);
        }
        self.put().await
    }

    /// Lets it go. One that cannot be let go runs out.
    pub async fn release(mut self) {
        if let Some(spec) = &mut self.object.spec {
            spec.holder_identity = None;
        }
        if let Err(error) = self.put().await {
            tracing::debug!("the lease is not let go, and runs out: {error}");
        }
    }

    async fn put(&mut self) -> Result<(), ClusterError> {
        let how = PostParams::default();
        match self.api.replace(NAME, &how, &self.object).await {
            Ok(object) => {
                self.object = object;
                Ok(())
            }
            Err(error) => Err(ClusterError::of(doing("update", &self.namespace), error)),
        }
    }
}

/// Who holds it, and since when.
fn held(spec: &LeaseSpec, now: Moment) -> Option<(String, Moment)> {
    let holder = spec.holder_identity.clone().filter(|of| !of.is_empty())?;
    let moment = |time: &Option<MicroTime>| {
        let time = time.as_ref()?;
        Some(Moment(time.0.as_microsecond()))
    };
    let renewed = moment(&spec.renew_time)?;
    let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(0));
    let ends = renewed.0.saturating_add(seconds.saturating_mul(1_000_000));
    (now.0 < ends).then(|| (holder, moment(&spec.acquire_time).unwrap_or(renewed)))
}

fn micro(moment: Moment) -> Option<MicroTime> {
    let time = k8s_openapi::jiff::Timestamp::from_microsecond(moment.0);
    time.ok().map(MicroTime)
}

fn doing(verb: &'static str, namespace: &str) -> Doing {
    Doing {
        verb,
        resource: LEASES,
        namespace: Some(namespace.to_owned()),
        name: Some(NAME.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_held_until_it_runs_out_or_is_let_go() {
        let spec = |holder: Option<&str>| LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(60),
            acquire_time: micro(Moment(0)),
            renew_time: micro(Moment(10_000_000)),
            ..LeaseSpec::default()
        };
        let of = |holder: Option<&str>, now: i64| held(&spec(holder), Moment(now * 1_000_000));
        assert_eq!(of(Some("a"), 69), Some(("a".to_owned(), Moment(0))));
        assert_eq!(of(Some("a"), 70), None);
        assert_eq!(of(None, 69), None);
        assert_eq!(of(Some(""), 69), None);
    }
}

//! KubeArmor's policies in the API server: which there are and whose, and Learner's own by server-side
//! apply.

use std::collections::BTreeMap;

use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

use super::error::{ClusterError, Doing};
use super::pages::{SMALL, each};
use crate::digest::Digest;
use crate::observation::Moment;
use crate::policy::{Identity, Kind, Policy, to_yaml};
use crate::posture::Posture;

/// The field manager by which Learner's policies, postures and annotations are its own.
pub const MANAGER: &str = "learner";

/// Annotation: the SHA-256 of the policy document, as `learner recommend` writes it.
pub const CANDIDATE: &str = "learner.dev/candidate";

/// Annotation: what stands behind it.
pub const EVIDENCE_NOTE: &str = "learner.dev/evidence";

/// Annotation: the posture that the promotion job has applied it under. What a person applies has none.
pub const POSTURE: &str = "learner.dev/posture";

/// Who has written fields of an object, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// The field manager.
    pub manager: String,
    /// When it wrote last, if that is known.
    pub at: Option<Moment>,
}

/// A policy that is in the cluster.
#[derive(Clone, Debug)]
pub struct Found {
    /// The policy.
    pub policy: Policy,
    /// Who has written fields of it other than its status, by name.
    pub writers: Vec<Writer>,
    /// Which state of it was read.
    pub version: Version,
}

/// A state of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Found {
    /// When fields of it were written last, if that is known.
    pub fn changed(&self) -> Option<Moment> {
        self.writers.iter().filter_map(|writer| writer.at).max()
    }
}

/// All policies that were looked for.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// Those that can be read, by kind, namespace and name.
    pub found: BTreeMap<Identity, Found>,
    /// Those that cannot, as `namespace/name`, each with the reason.
    pub refused: Vec<(String, String)>,
}

impl Policies {
    /// The KubeArmorPolicies of a namespace, or of all, and the KubeArmorClusterPolicies. A KubeArmor that
    /// has no cluster policies yet has none.
    ///
    /// # Errors
    /// [`ClusterError`], where a list cannot be had whole.
    pub async fn read(client: &Client, namespace: Option<&str>) -> Result<Self, ClusterError> {
        let mut policies = Self::default();
        policies.list(client, Kind::Policy, namespace).await?;
        match policies.list(client, Kind::ClusterPolicy, None).await {
            Ok(()) | Err(ClusterError::NoDefinition { .. }) => Ok(policies),
            Err(error) => Err(error),
        }
    }

    /// The policies alone, in the order of their identities.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.found.values().map(|found| &found.policy)
    }

    async fn list(
        &mut self,
        client: &Client,
        kind: Kind,
        namespace: Option<&str>,
    ) -> Result<(), ClusterError> {
        let api = match namespace {
            Some(namespace) => namespaced(client, namespace),
            None => Api::all_with(client.clone(), &resource(kind)),
        };
        let doing = Doing::list(resource_name(kind), namespace);
        let page = ListParams::default().limit(SMALL);
        let list = async |page: &ListParams| api.list(page).await;
        each(page, &doing, list, |object| self.add(kind, object)).await
    }

    fn add(&mut self, kind: Kind, object: DynamicObject) {
        let name = match object.namespace() {
            Some(namespace) => format!("{namespace}/{}", object.name_any()),
            None => object.name_any(),
        };
        let writers = writers(&object);
        let version = Version {
            uid: object.uid(),
            resource_version: object.resource_version(),
        };
        match policy(kind, object) {
            Ok(policy) => {
                let found = Found {
                    policy,
                    writers,
                    version,
                };
                self.found.insert(found.policy.identity(), found);
            }
            Err(why) => self.refused.push((name, why.to_string())),
        }
    }
}

fn policy(kind: Kind, object: DynamicObject) -> Result<Policy, serde_json::Error> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = Value::from(Policy::API_VERSION);
    value["kind"] = Value::from(kind.as_str());
    serde_json::from_value(value)
}

fn writers(object: &DynamicObject) -> Vec<Writer> {
    let mut writers: BTreeMap<String, Option<Moment>> = BTreeMap::new();
    for entry in object.metadata.managed_fields.iter().flatten() {
        if entry
            .subresource
            .as_deref()
            .is_some_and(|of| !of.is_empty())
        {
            continue;
        }
        let manager = entry.manager.clone().unwrap_or_default();
        let at = entry
            .time
            .as_ref()
            .map(|time| Moment(time.0.as_microsecond()));
        let last = writers.entry(manager).or_default();
        *last = (*last).max(at);
    }
    let writers = writers.into_iter();
    writers
        .map(|(manager, at)| Writer { manager, at })
        .collect()
}

fn resource(kind: Kind) -> ApiResource {
    let kind_name = GroupVersionKind::gvk("security.kubearmor.com", "v1", kind.as_str());
    let plural = resource_name(kind).split('.').next().unwrap_or_default();
    ApiResource::from_gvk_with_plural(&kind_name, plural)
}

fn resource_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Policy => "kubearmorpolicies.security.kubearmor.com",
        Kind::HostPolicy => "kubearmorhostpolicies.security.kubearmor.com",
        Kind::ClusterPolicy => "kubearmorclusterpolicies.security.kubearmor.com",
    }
}

fn namespaced(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(Kind::Policy))
}

fn doing(verb: &'static str, namespace: &str, name: &str) -> Doing {
    Doing {
        verb,
        resource: resource_name(Kind::Policy),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
    }
}

/// What an apply notes at a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What stands behind it.
    pub evidence: String,
    /// The posture that the promotion job applies it under; none where a person does.
    pub posture: Option<Posture>,
}

/// Applies a KubeArmorPolicy as [`MANAGER`], with the label that says whose it is, the hash of its document
/// and the note. Nothing is taken over by force: what another manager has set is a conflict.
/// `dry_run`: the server checks it, webhooks included, and keeps nothing.
///
/// # Errors
/// [`ClusterError`]; then nothing has changed.
pub async fn apply(
    client: &Client,
    policy: &Policy,
    note: &Note,
    dry_run: bool,
) -> Result<(), ClusterError> {
    let namespace = policy.namespace().unwrap_or("default");
    let name = policy.metadata.name.as_str();
    let mut marked = policy.clone();
    let metadata = &mut marked.metadata;
    metadata.namespace = namespace.to_owned();
    metadata.labels.insert(
        "app.kubernetes.io/managed-by".to_owned(),
        MANAGER.to_owned(),
    );
    let hash = hash(policy).to_string();
    metadata.annotations.insert(CANDIDATE.to_owned(), hash);
    let annotations = &mut metadata.annotations;
    annotations.insert(EVIDENCE_NOTE.to_owned(), note.evidence.clone());
    if let Some(posture) = note.posture {
        annotations.insert(POSTURE.to_owned(), posture.to_string());
    }
    let mut how = PatchParams::apply(MANAGER);
    if dry_run {
        how = how.dry_run();
    }
    let patched = namespaced(client, namespace)
        .patch(name, &how, &Patch::Apply(&marked))
        .await;
    patched
        .map(drop)
        .map_err(|error| ClusterError::of(doing("patch", namespace, name), error))
}

/// The hash that a candidate has when it is frozen: of the document without what an apply adds.
pub fn hash(policy: &Policy) -> Digest {
    let mut plain = policy.clone();
    let metadata = &mut plain.metadata;
    if metadata.annotations.remove(CANDIDATE).is_some() {
        metadata.labels.remove("app.kubernetes.io/managed-by");
        metadata.annotations.remove(EVIDENCE_NOTE);
        metadata.annotations.remove(POSTURE);
    }
    Digest::of(to_yaml(&plain).as_bytes())
}

/// Deletes a KubeArmorPolicy, as it was read: one that somebody has changed since stays. One that is not
/// there is none.
///
/// # Errors
/// [`ClusterError`].
pub async fn delete(
    client: &Client,
    policy: &Identity,
    version: &Version,
) -> Result<(), ClusterError> {
    let how = DeleteParams {
        preconditions: Some(Preconditions {
            uid: version.uid.clone(),
            resource_version: version.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    let Identity {
        namespace, name, ..
    } = policy;
    let deleted = namespaced(client, namespace).delete(name, &how).await;
    match deleted.map_err(|error| ClusterError::of(doing("delete", namespace, name), error)) {
        Ok(_) | Err(ClusterError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

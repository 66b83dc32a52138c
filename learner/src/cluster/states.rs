//! In which state each piece of evidence is, by its metadata alone.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::Resource as _;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde::Deserialize;

use super::error::{ClusterError, Doing};
use super::evidence::WorkloadEvidence;
use super::objects::CONTENT;
use super::pages::{SMALL, each};
use super::stream::{Of, each_in_memory};
use super::writer::EVIDENCE;
use crate::digest::Digest;

/// An object by its name, and the state that it is in: its identity, its version, and what it says of its content.
/// Each is the beginning of a SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// Of the name.
    pub name: u64,
    /// Of all else.
    pub state: u64,
}

impl State {
    /// Of an object as it was read; nothing for one that no server has given an identity and a version.
    pub fn of(object: &ObjectMeta) -> Option<Self> {
        let notes = object.annotations.as_ref();
        Self::told(
            object.name.as_deref()?,
            object.uid.as_deref()?,
            object.resource_version.as_deref()?,
            notes.and_then(|notes| notes.get(CONTENT)),
        )
    }

    fn told(name: &str, uid: &str, version: &str, content: Option<&String>) -> Option<Self> {
        let content = content.map_or("", String::as_str);
        let is_told = ![name, uid, version].contains(&"");
        let first = |parts: &[&str]| Digest::of(parts.join("\0").as_bytes()).words()[0];
        is_told.then(|| Self {
            name: first(&[name]),
            state: first(&[uid, version, content]),
        })
    }
}

/// What is asked of each object. What was written by whom is told too, and passed over.
#[derive(Deserialize)]
struct Bare {
    metadata: BareMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BareMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The namespaces that hold any evidence, as the server's memory has it: one of which the first evidence is just
/// being written may not be among them. A server whose memory is not ready is asked for what is stored.
///
/// # Errors
/// [`ClusterError`], where the list cannot be had whole.
pub async fn namespaces(client: &Client) -> Result<BTreeSet<String>, ClusterError> {
    let mut found = BTreeSet::new();
    let add = |object: BareMeta| {
        if !object.namespace.is_empty() && !found.contains(&object.namespace) {
            found.insert(object.namespace);
        }
    };
    match bare(client, None, add).await {
        Ok(()) => return Ok(found),
        Err(error) => tracing::debug!("{error}; what is stored is asked for"),
    }
    let api: Api<WorkloadEvidence> = Api::all(client.clone());
    let page = ListParams::default().limit(SMALL);
    let mut found = BTreeSet::new();
    let list = async |page: &ListParams| api.list_metadata(page).await;
    each(page, &Doing::list(EVIDENCE, None), list, |object| {
        found.extend(object.namespace());
    })
    .await?;
    Ok(found)
}

/// The evidence of a namespace by name, with its state, as the server's memory has it. It may be some moments
/// old. Nothing, if one of them has no state.
///
/// # Errors
/// [`ClusterError`], where the list cannot be had whole.
pub async fn states(
    client: &Client,
    namespace: &str,
) -> Result<Option<BTreeMap<String, State>>, ClusterError> {
    let mut found = Some(BTreeMap::new());
    bare(client, Some(namespace), |object| {
        let content = object.annotations.get(CONTENT);
        let state = State::told(&object.name, &object.uid, &object.resource_version, content);
        match (state, &mut found) {
            (Some(state), Some(found)) => _ = found.insert(object.name, state),
            _ => found = None,
        }
    })
    .await?;
    Ok(found)
}

async fn bare(
    client: &Client,
    namespace: Option<&str>,
    mut take: impl FnMut(BareMeta),
) -> Result<(), ClusterError> {
    let path = WorkloadEvidence::url_path(&(), namespace);
    let doing = Doing::list(EVIDENCE, namespace);
    let page = ListParams::default();
    let take = |object: Bare| take(object.metadata);
    each_in_memory(client, path, page, Of::Metadata, &doing, take).await
}

/// The object of a name, as the server's memory has it; nothing, if it is gone.
///
/// # Errors
/// [`ClusterError`].
pub async fn one(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<WorkloadEvidence>, ClusterError> {
    // By a list, so that nobody needs the right to get it.
    let path = WorkloadEvidence::url_path(&(), Some(namespace));
    let doing = Doing::list(EVIDENCE, Some(namespace));
    let page = ListParams::default().fields(&format!("metadata.name={name}"));
    let mut found = None;
    let take = |object| found = Some(object);
    each_in_memory(client, path, page, Of::Whole, &doing, take).await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(name: &str, uid: &str, version: &str, content: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            annotations: Some([(CONTENT.to_owned(), content.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn another_identity_version_or_content_is_another_state() {
        let state = |uid, version, content| State::of(&meta("a", uid, version, content));
        let one = state("u", "1", "c").expect("a state");
        assert_eq!(state("u", "1", "c"), Some(one));
        for other in [
            state("v", "1", "c"),
            state("u", "2", "c"),
            state("u", "1", "d"),
        ] {
            let other = other.expect("a state");
            assert_eq!(other.name, one.name);
            assert_ne!(other.state, one.state);
        }
        assert_eq!(state("", "1", "c"), None);
        assert_eq!(State::of(&ObjectMeta::default()), None);
    }
}

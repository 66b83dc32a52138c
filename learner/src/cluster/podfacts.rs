//! The pods of a namespace, listed once.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};

use super::error::{ClusterError, Doing};
use super::namespace::VISIBILITY;
use crate::observation::Moment;
use crate::promotion::PodFacts;

/// So many pods are asked for at a time.
const PAGE: u32 = 500;

/// The pods of a namespace, as far as a promotion asks about them.
///
/// # Errors
/// [`ClusterError`], where the list cannot be had whole.
pub async fn facts(client: &Client, namespace: &str) -> Result<Vec<PodFacts>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut page = ListParams::default().limit(PAGE);
    let mut pods = Vec::new();
    loop {
        let list = api.list(&page).await.map_err(|error| {
            let doing = Doing {
                verb: "list",
                resource: "pods",
                namespace: Some(namespace.to_owned()),
                name: None,
            };
            ClusterError::of(doing, error)
        })?;
        pods.extend(list.items.into_iter().filter(is_alive).map(fact));
        match list.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => return Ok(pods),
        }
    }
}

fn is_alive(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

fn fact(pod: Pod) -> PodFacts {
    let owners = pod.metadata.owner_references.unwrap_or_default();
    let owner = owners
        .into_iter()
        .find(|owner| owner.controller == Some(true));
    let created = pod.metadata.creation_timestamp;
    let annotations = pod.metadata.annotations.unwrap_or_default();
    let annotation = |key: &str| annotations.get(key).cloned();
    let spec = pod.spec.unwrap_or_default();
    PodFacts {
        name: pod.metadata.name.unwrap_or_default(),
        node: spec.node_name,
        labels: pod.metadata.labels.unwrap_or_default(),
        host_pid: spec.host_pid == Some(true),
        policy: annotation("kubearmor-policy"),
        visibility: annotation(VISIBILITY),
        owner: owner.map(|owner| (owner.kind, owner.name)),
        created: created.map(|time| Moment(time.0.as_microsecond())),
    }
}

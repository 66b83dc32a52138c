//! The pods of a namespace, listed once.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};

use super::error::{ClusterError, Doing};
use super::namespace::VISIBILITY;
use super::pages::{SMALL, each};
use crate::observation::Moment;
use crate::promotion::PodFacts;

/// The pods of a namespace, as far as a promotion asks about them.
///
/// # Errors
/// [`ClusterError`], where the list cannot be had whole.
pub async fn facts(client: &Client, namespace: &str) -> Result<Vec<PodFacts>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let page = ListParams::default().limit(SMALL);
    let doing = Doing::list("pods", Some(namespace));
    let mut pods = Vec::new();
    let list = async |page: &ListParams| api.list(page).await;
    each(page, &doing, list, |pod| {
        if is_alive(&pod) {
            pods.push(fact(pod));
        }
    })
    .await?;
    Ok(pods)
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
    // The cgroups of a pod that a kubelet has from a file are named by the hash of that file.
    let uid = annotation("kubernetes.io/config.hash").or(pod.metadata.uid);
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
        uid,
    }
}

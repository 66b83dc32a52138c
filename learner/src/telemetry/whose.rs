//! Whose a message is: the workload, its revision, and the run.

use std::sync::Arc;

use super::error::Unreadable;
use super::event::Whose;
use super::message::Message;
use crate::workload::{Labels, RunKey, Workload};

/// Longest name that is taken over, bytes: as Kubernetes has them.
const MAX_NAME: usize = 253;
/// Longest image reference, bytes.
const MAX_IMAGE: usize = 1_024;
/// Longest id of a container, bytes; runtimes have 64.
const MAX_ID: usize = 128;
/// Longest text of labels, bytes.
const MAX_LABELS: usize = 16 << 10;
/// Digits of a container's id that name its run.
const SHORT: usize = 12;

/// Labels that differ from pod to pod, or from one revision of an owner to the next: no selector may
/// hold them.
const UNSTABLE: [&str; 10] = [
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

/// Labels whose value names a workload where its owner is not told, best first.
const NAMING: [&str; 3] = ["app.kubernetes.io/name", "app", "k8s-app"];

/// Whose a message is.
///
/// The workload is that of the owner. Where none is told (older versions, bare pods, plain containers)
/// it is `Pod`, by the label that names the application, else by the pod, else by the container.
pub(super) fn whose(message: &Message) -> Result<Whose, Unreadable> {
    let id = name("ContainerID", &message.container_id, MAX_ID)?;
    let (Some(namespace), container) = (
        name("NamespaceName", &message.namespace_name, MAX_NAME)?,
        name("ContainerName", &message.container_name, MAX_NAME)?,
    ) else {
        return match id {
            Some(id) => Ok(Whose::Container(id.to_owned())),
            None => Err(Unreadable::Missing("NamespaceName")),
        };
    };
    let pod = name("PodName", &message.pod_name, MAX_NAME)?;
    let labels = labels(&message.labels)?;
    let owner = match &message.owner {
        Some(owner) => {
            name("Owner", &owner.kind, MAX_NAME)?.zip(name("Owner", &owner.name, MAX_NAME)?)
        }
        None => None,
    };
    let named = NAMING.iter().find_map(|key| labels.get(*key));
    let named = named.filter(|value| !value.is_empty());
    let (kind, of) = owner
        .or_else(|| Some(("Pod", named.map(String::as_str).or(pod).or(container)?)))
        .ok_or(Unreadable::Missing("PodName"))?;
    let container = container.unwrap_or(of);
    let short = id.map(|id| &id[..id.floor_char_boundary(SHORT)]);
    let parts = [pod, Some(container), short];
    if pod.is_none() && short.is_none() {
        return Err(Unreadable::Missing("ContainerID"));
    }
    let run: Vec<&str> = parts.into_iter().flatten().collect();
    let key = RunKey {
        workload: Workload {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            name: of.to_owned(),
            container: container.to_owned(),
        },
        image: image(&message.container_image)?,
        run: run.join("/"),
    };
    Ok(Whose::Run {
        run: Arc::new(key),
        labels: Arc::new(labels),
        container: id.unwrap_or_default().to_owned(),
    })
}

/// Whether the message names anybody.
pub(super) fn names_somebody(message: &Message) -> bool {
    !(message.container_id.is_empty() && message.namespace_name.is_empty())
}

/// `None` for an empty one.
fn name<'m>(
    field: &'static str,
    text: &'m str,
    most: usize,
) -> Result<Option<&'m str>, Unreadable> {
    let is_odd = |c: char| c == '/' || c.is_control() || c == char::REPLACEMENT_CHARACTER;
    if text.len() > most || text.contains(is_odd) {
        return Err(Unreadable::field(field, text, "is no name"));
    }
    Ok((!text.is_empty()).then_some(text))
}

fn image(text: &str) -> Result<String, Unreadable> {
    if text.len() > MAX_IMAGE || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Unreadable::field(
            "ContainerImage",
            text,
            "is no image reference",
        ));
    }
    Ok(text.to_owned())
}

/// A label that cannot be read is an error: a selector without it would select more.
fn labels(text: &str) -> Result<Labels, Unreadable> {
    let bad = |text| Unreadable::field("Labels", text, "is not KEY=VALUE between commas");
    if text.len() > MAX_LABELS || text.contains(char::is_control) {
        return Err(bad(text));
    }
    let mut labels = Labels::new();
    for label in text.split(',').filter(|label| !label.is_empty()) {
        match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                if !UNSTABLE.contains(&key) {
                    // KubeArmor writes them in any order: of two values the greater counts.
                    let kept = labels.entry(key.to_owned()).or_default();
                    if value > kept.as_str() {
                        value.clone_into(kept);
                    }
                }
            }
            _ => return Err(bad(label)),
        }
    }
    Ok(labels)
}

//! Decisions as Events on the workload, so that `kubectl describe` shows them.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, ResourceExt as _};

use super::error::{ClusterError, Doing};
use crate::workload::Workload;

/// Longest note of an Event, bytes.
const MAX_NOTE: usize = 1_000;

/// Tells what was decided.
pub struct News {
    client: Client,
    recorder: Recorder,
}

/// A decision, as an Event has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `Promoted`, `RolledBack`, `NewImage`.
    pub reason: &'static str,
    /// Whether a person should look at it.
    pub is_warning: bool,
    /// What was decided, and why.
    pub note: String,
}

impl News {
    /// By this job.
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: "learner.dev/promote".to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
        }
    }

    /// Tells it of a workload. One of a kind that Kubernetes itself does not have, or that is gone, is
    /// told of by its name alone.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn tell(&self, workload: &Workload, item: &Item) -> Result<(), ClusterError> {
        let known = kind(&workload.kind);
        let mut reference = ObjectReference {
            kind: Some(workload.kind.clone()),
            name: Some(workload.name.clone()),
            namespace: Some(workload.namespace.clone()),
            ..ObjectReference::default()
        };
        if let Some((resource, of)) = &known {
            reference.api_version = Some(of.api_version.clone());
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &workload.namespace, of);
            let found = api.get_metadata_opt(&workload.name).await;
            let found = found.map_err(|error| {
                let doing = Doing {
                    verb: "get",
                    resource,
                    namespace: Some(workload.namespace.clone()),
                    name: Some(workload.name.clone()),
                };
                ClusterError::of(doing, error)
            })?;
            reference.uid = found.and_then(|found| found.uid());
        }
        let mut note = item.note.clone();
        if note.len() > MAX_NOTE {
            let mut end = MAX_NOTE;
            while !note.is_char_boundary(end) {
                end -= 1;
            }
            note.truncate(end);
            note.push('…');
        }
        let event = Event {
            type_: if item.is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: item.reason.to_owned(),
            note: Some(note),
            action: "Promote".to_owned(),
            secondary: None,
        };
        let told = self.recorder.publish(&event, &reference).await;
        told.map_err(|error| {
            let doing = Doing {
                verb: "create",
                resource: "events.events.k8s.io",
                namespace: Some(workload.namespace.clone()),
                name: None,
            };
            ClusterError::of(doing, error)
        })
    }
}

/// The resource of a kind, as RBAC has it, and as it is asked for.
fn kind(kind: &str) -> Option<(&'static str, ApiResource)> {
    let (resource, group) = match kind {
        "Deployment" => ("deployments.apps", "apps"),
        "StatefulSet" => ("statefulsets.apps", "apps"),
        "DaemonSet" => ("daemonsets.apps", "apps"),
        "ReplicaSet" => ("replicasets.apps", "apps"),
        "CronJob" => ("cronjobs.batch", "batch"),
        "Job" => ("jobs.batch", "batch"),
        "Pod" => ("pods", ""),
        _ => return None,
    };
    let plural = resource.split('.').next().unwrap_or_default();
    // Only the metadata is asked for; of CronJobs older servers have it at v1beta1, and then no uid is known.
    let of = GroupVersionKind::gvk(group, "v1", kind);
    Some((resource, ApiResource::from_gvk_with_plural(&of, plural)))
}

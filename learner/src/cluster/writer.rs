//! Writing what a node has seen, by server-side apply.

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};

use super::error::{ClusterError, Doing};
use super::evidence::WorkloadEvidence;
use super::piece::{NODE_LABEL, REVISION_LABEL, label, pieces, revision_label};
use crate::observation::Moment;
use crate::posture::Revision;
use crate::shared::Part;

pub(super) const EVIDENCE: &str = "workloadevidences.learner.dev";

/// Writes for one node.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    node: String,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Objects that were applied.
    pub applied: usize,
    /// Objects of more pieces than there are now, which were deleted.
    pub deleted: usize,
}

impl Writer {
    /// For a node, by its name in the cluster.
    pub fn new(client: Client, node: &str) -> Self {
        Self {
            client,
            node: node.to_owned(),
        }
    }

    /// The field manager by which the node's objects are its own. At most 128 bytes.
    pub fn manager(&self) -> String {
        format!("learner-{}", label(&[&self.node]))
    }

    /// Writes what the node has seen of a revision: all pieces, then what is left of earlier ones is
    /// deleted. Nothing is taken over by force: what another manager has set is a conflict.
    ///
    /// # Errors
    /// [`ClusterError`]. Pieces before the one that failed are written; a reader takes no harm of it.
    pub async fn write(
        &self,
        revision: &Revision,
        alive: Moment,
        part: &Part,
    ) -> Result<Written, ClusterError> {
        let namespace = &revision.workload.namespace;
        let doing = |verb, name: Option<&str>| Doing {
            verb,
            resource: EVIDENCE,
            namespace: Some(namespace.clone()),
            name: name.map(str::to_owned),
        };
        let api: Api<WorkloadEvidence> = Api::namespaced(self.client.clone(), namespace);
        let objects =
            pieces(revision, &self.node, alive, part).map_err(|cause| ClusterError::Piece {
                doing: doing("patch", None),
                cause,
            })?;
        let how = PatchParams::apply(&self.manager());
        let mut written = Written::default();
        for object in &objects {
            let name = object.name_any();
            api.patch(&name, &how, &Patch::Apply(object))
                .await
                .map_err(|error| ClusterError::of(doing("patch", Some(&name)), error))?;
            written.applied += 1;
        }
        let selector = format!(
            "{REVISION_LABEL}={},{NODE_LABEL}={}",
            revision_label(revision),
            label(&[&self.node])
        );
        let found = api
            .list_metadata(&ListParams::default().labels(&selector))
            .await
            .map_err(|error| ClusterError::of(doing("list", None), error))?;
        for old in found {
            let name = old.name_any();
            if objects.iter().any(|object| object.name_any() == name) {
                continue;
            }
            api.delete(&name, &DeleteParams::default())
                .await
                .map_err(|error| ClusterError::of(doing("delete", Some(&name)), error))?;
            written.deleted += 1;
        }
        Ok(written)
    }
}

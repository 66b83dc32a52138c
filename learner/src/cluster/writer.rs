//! Writing what a node has seen, by server-side apply.

use std::collections::BTreeMap;

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, VersionMatch};
use kube::{Client, ResourceExt as _};

use super::error::{ClusterError, Doing};
use super::evidence::WorkloadEvidence;
use super::objects::{CONTENT, Holding, Objects, Place, whole};
use super::pages::{LARGE, each};
use super::piece::{NODE_LABEL, REVISION_LABEL, label, moment, revision_label};
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
        let objects = self.objects(revision, alive, part, &Holding::default())?;
        self.put(&objects).await
    }

    /// What tells of a revision by this node, to be written by [`Writer::put`].
    ///
    /// # Errors
    /// [`ClusterError::Piece`].
    pub fn objects(
        &self,
        revision: &Revision,
        alive: Moment,
        part: &Part,
        holding: &Holding,
    ) -> Result<Objects, ClusterError> {
        let objects = Objects::of(revision, &self.node, alive, part, holding);
        objects.map_err(|cause| ClusterError::Piece {
            doing: doing(revision, "patch", None),
            cause: Box::new(cause),
        })
    }

    /// Writes what tells of a revision, as [`Writer::write`] does.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn put(&self, objects: &Objects) -> Result<Written, ClusterError> {
        let Objects {
            revision, objects, ..
        } = objects;
        let api = self.api(&revision.workload.namespace);
        let how = PatchParams::apply(&self.manager());
        let mut written = Written::default();
        let mut version = None;
        for object in objects {
            let name = object.name_any();
            let applied = api
                .patch(&name, &how, &Patch::Apply(object))
                .await
                .map_err(|error| ClusterError::of(doing(revision, "patch", Some(&name)), error))?;
            version = applied.resource_version();
            written.applied += 1;
        }
        let selector = format!(
            "{REVISION_LABEL}={},{NODE_LABEL}={}",
            revision_label(revision),
            label(&[&self.node])
        );
        // As it is in the server's memory when what was written now is there: else the server would read all
        // evidence of the namespace for each write.
        let mut of_memory = ListParams::default().labels(&selector);
        if let Some(version) = version {
            of_memory = of_memory.matching(VersionMatch::NotOlderThan).at(&version);
        }
        let found = api
            .list_metadata(&of_memory)
            .await
            .map_err(|error| ClusterError::of(doing(revision, "list", None), error))?;
        for old in found {
            let name = old.name_any();
            if objects.iter().any(|object| object.name_any() == name) {
                continue;
            }
            self.delete(&api, revision, &name).await?;
            written.deleted += 1;
        }
        Ok(written)
    }

    /// What there is of this node in all namespaces, by its place: the [`Objects::content`] of what is
    /// there whole. What is there in part has an empty one.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn mine(&self) -> Result<BTreeMap<Place, String>, ClusterError> {
        let api: Api<WorkloadEvidence> = Api::all(self.client.clone());
        let selector = format!("{NODE_LABEL}={}", label(&[&self.node]));
        // As it is in the server's memory: else each agent that starts would have it read all evidence of the cluster.
        let page = ListParams::default().labels(&selector).match_any();
        let mut found: BTreeMap<Place, Vec<Option<String>>> = BTreeMap::new();
        let list = async |page: &ListParams| api.list_metadata(page).await;
        each(page, &Doing::list(EVIDENCE, None), list, |object| {
            let namespace = object.namespace().unwrap_or_default();
            let revision = object.labels().get(REVISION_LABEL).cloned();
            let place = (namespace, revision.unwrap_or_default());
            let content = object.annotations().get(CONTENT).cloned();
            found.entry(place).or_default().push(content);
        })
        .await?;
        let whole = found
            .into_iter()
            .map(|(place, pieces)| (place, whole(&pieces).unwrap_or_default()));
        Ok(whole.collect())
    }

    /// Takes away what all nodes have told of a revision, if none of them has had a run of it alive since.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn withdraw(
        &self,
        revision: &Revision,
        since: Moment,
    ) -> Result<Withdrawn, ClusterError> {
        let api = self.api(&revision.workload.namespace);
        let selector = format!("{REVISION_LABEL}={}", revision_label(revision));
        let page = ListParams::default().labels(&selector).limit(LARGE);
        let (mut names, mut runs_on) = (Vec::new(), None);
        let list = async |page: &ListParams| api.list(page).await;
        each(page, &doing(revision, "list", None), list, |object| {
            // What cannot be read is not known to be old.
            if alive(&object).is_none_or(|alive| alive >= since) {
                runs_on.get_or_insert(object.spec.node);
            } else {
                names.push(object.name_any());
            }
        })
        .await?;
        if let Some(node) = runs_on {
            return Ok(Withdrawn::Alive { node });
        }
        for name in &names {
            self.delete(&api, revision, name).await?;
        }
        let objects = names.len();
        Ok(Withdrawn::Gone { objects })
    }

    fn api(&self, namespace: &str) -> Api<WorkloadEvidence> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// What is gone already is as good as deleted.
    async fn delete(
        &self,
        api: &Api<WorkloadEvidence>,
        revision: &Revision,
        name: &str,
    ) -> Result<(), ClusterError> {
        let deleted = api.delete(name, &DeleteParams::default()).await;
        let deleted =
            deleted.map_err(|error| ClusterError::of(doing(revision, "delete", Some(name)), error));
        match deleted {
            Ok(_) | Err(ClusterError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What became of what was told of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// It stays: a run of it has been alive on this node.
    Alive {
        /// By its name.
        node: String,
    },
    /// It is gone.
    Gone {
        /// Objects that were deleted.
        objects: usize,
    },
}

fn alive(object: &WorkloadEvidence) -> Option<Moment> {
    moment(&object.spec.alive).ok()
}

fn doing(revision: &Revision, verb: &'static str, name: Option<&str>) -> Doing {
    Doing {
        verb,
        resource: EVIDENCE,
        namespace: Some(revision.workload.namespace.clone()),
        name: name.map(str::to_owned),
    }
}

//! Reading what all nodes have seen.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::error::{ClusterError, Doing};
use super::evidence::{Enforcement, Unenforced, WorkloadEvidence};
use super::packing::Packing;
use super::pages::{LARGE, each};
use super::piece::{BadPiece, moment};
use super::states::State;
use super::writer::EVIDENCE;
use crate::observation::{Loss, Moment};
use crate::posture::Revision;
use crate::shared::Joint;
use crate::visible::visible;
use crate::workload::Workload;

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// What the nodes have told.
    pub joint: Joint,
    /// Objects that are no evidence, each with the reason: somebody has changed them, or a Learner of
    /// another version has written them.
    pub refused: Vec<(String, BadPiece)>,
    /// Pieces that are not there, by revision and node. What runs of theirs may have done is lost, so
    /// they are partial.
    pub missing: BTreeMap<(Revision, String), usize>,
    /// When each node last told of each workload: by its own clock, and not after what the API server
    /// says.
    pub told: BTreeMap<(Workload, String), Moment>,
    /// The names of the objects that are no evidence, by the workload that they are of.
    pub unread: BTreeMap<Workload, BTreeSet<String>>,
    /// Revisions whose container KubeArmor does not hold to a policy, and why.
    pub unenforced: BTreeMap<Revision, BTreeSet<Unenforced>>,
    /// Who enforces on each node, as it told last; nothing of nodes whose agents are not to do it.
    pub enforcement: BTreeMap<String, Enforcement>,
    /// Why the agent of a node that holds others does not hold all containers of a revision.
    pub unheld: BTreeMap<(Revision, String), String>,
    /// The states of the objects of each workload; of one that the server has given none, nothing.
    pub states: BTreeMap<Workload, Vec<Option<State>>>,
}

impl Read {
    /// Says in the log which evidence cannot be used, and of which runs a part is missing.
    pub fn say_what_is_left_out(&self) {
        say_left_out(&self.refused, &self.missing);
    }
}

/// As [`Read::say_what_is_left_out`].
pub fn say_left_out(refused: &[(String, BadPiece)], missing: &BTreeMap<(Revision, String), usize>) {
    for (name, why) in refused {
        tracing::warn!("left out: WorkloadEvidence {}: {why}", visible(name));
    }
    for ((revision, node), count) in missing {
        tracing::warn!(
            "{}: {count} pieces of what node {} has seen are missing: its runs are partial",
            visible(&revision.workload.to_string()),
            visible(node)
        );
    }
}

/// All evidence of a namespace, or of all. What cannot be read is named, and the rest is read.
///
/// # Errors
/// [`ClusterError`], where the list cannot be had whole.
pub async fn read(client: &Client, namespace: Option<&str>) -> Result<Read, ClusterError> {
    let api: Api<WorkloadEvidence> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let mut reading = Reading::default();
    let page = ListParams::default().limit(LARGE);
    let list = async |page: &ListParams| api.list(page).await;
    each(page, &Doing::list(EVIDENCE, namespace), list, |object| {
        reading.add(&object);
    })
    .await?;
    Ok(reading.done())
}

/// When it was written, or last alive, whichever was before.
fn told(object: &WorkloadEvidence) -> Option<Moment> {
    let alive = moment(&object.spec.alive).ok()?;
    let written = written(object);
    // The server does not tell parts of a second.
    let written = written.map(|at| Moment(at.0.saturating_add(999_999)));
    Some(written.map_or(alive, |written| written.min(alive)))
}

/// When it was written last, by the API server.
fn written(object: &WorkloadEvidence) -> Option<Moment> {
    let writes = object.managed_fields().iter();
    writes
        .filter_map(|write| write.time.as_ref())
        .map(|time| Moment(time.0.as_microsecond()))
        .max()
}

/// What is being read, object by object.
#[derive(Default)]
pub struct Reading {
    read: Read,
    packing: Packing,
    /// By revision and node: how many pieces there are, and which were seen.
    pieces: BTreeMap<(Revision, String), (i32, BTreeSet<i32>)>,
    /// When each node told last, by the API server's clock, and who enforces on it.
    enforcing: BTreeMap<String, (Moment, Option<Enforcement>)>,
}

impl Reading {
    /// Takes an object.
    pub fn add(&mut self, object: &WorkloadEvidence) {
        match self.packing.add(object, &mut self.read.joint) {
            Ok(revision) => {
                let spec = &object.spec;
                let of_it = self.read.states.entry(revision.workload.clone());
                of_it.or_default().push(State::of(&object.metadata));
                if let Some(at) = told(object) {
                    let place = (revision.workload.clone(), spec.node.clone());
                    let last = self.read.told.entry(place).or_insert(at);
                    *last = at.max(*last);
                }
                if let Some(at) = written(object).or_else(|| moment(&spec.alive).ok()) {
                    let now = (at, spec.enforcement.clone());
                    match self.enforcing.get_mut(&spec.node) {
                        Some(known) if known.0 > at => {}
                        Some(known) => *known = now,
                        None => _ = self.enforcing.insert(spec.node.clone(), now),
                    }
                }
                if let Some(why) = &spec.unheld {
                    let of = (revision.clone(), spec.node.clone());
                    self.read.unheld.insert(of, why.clone());
                }
                if !spec.unenforced.is_empty() {
                    let why = self.read.unenforced.entry(revision.clone()).or_default();
                    why.extend(&spec.unenforced);
                }
                let of = self
                    .pieces
                    .entry((revision, spec.node.clone()))
                    .or_default();
                // While they are written, some are of more pieces than others.
                if spec.pieces > of.0 {
                    *of = (spec.pieces, BTreeSet::new());
                }
                if spec.pieces == of.0 {
                    of.1.insert(spec.piece);
                }
            }
            Err(why) => {
                let namespace = object.namespace().unwrap_or_default();
                let name = format!("{namespace}/{}", object.name_any());
                let workload = object.spec.workload.within(&namespace);
                let unread = self.read.unread.entry(workload).or_default();
                unread.insert(name.escape_debug().to_string());
                self.read.refused.push((name, why));
            }
        }
    }

    /// All objects were taken.
    pub fn done(self) -> Read {
        let mut read = self.read;
        let enforcing = self.enforcing.into_iter();
        read.enforcement = enforcing
            .filter_map(|(node, (_, enforcement))| Some((node, enforcement?)))
            .collect();
        for ((revision, node), (count, seen)) in self.pieces {
            let missing = usize::try_from(count)
                .unwrap_or(0)
                .saturating_sub(seen.len());
            if missing > 0 {
                let reason = Loss::Other("piece-missing".to_owned());
                read.joint.lose(&revision, &node, &reason, missing as u64);
                read.missing.insert((revision, node), missing);
            }
        }
        read
    }
}

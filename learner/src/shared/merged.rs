//! One evidence from the parts of all nodes.

use std::collections::BTreeMap;

use super::act::BadAct;
use super::joint::Joint;
use crate::behavior::Behavior;
use crate::generalize::Known;
use crate::observation::Moment;
use crate::posture::Revision;
use crate::profile::{Evidence, RunProfile, Sighting};
use crate::quarantine::{Opinion, Unjudged};
use crate::workload::RunKey;
use std::collections::BTreeSet;

/// What all nodes have seen, in the form that a policy is made of.
///
/// A run is named `<node>/<run>`. Where the name that was seen is not told, the paths are examples of
/// their shape. Which events fell to which run is not told either: all but one a run are counted for the
/// first of them.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    evidence: Evidence,
    pub(crate) rows: BTreeMap<Revision, Vec<Row>>,
    pub(crate) unjudged: BTreeMap<RunKey, BTreeSet<Unjudged>>,
}

/// An act of the runs of one node.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) behavior: Behavior,
    pub(crate) known: Known,
    pub(crate) entry: bool,
    /// Acts with names that vary, which the node would not learn, are not spoken for by those that it
    /// would: they may be of other names.
    pub(crate) group: u8,
    pub(crate) opinion: Opinion,
    pub(crate) seen: Sighting,
    pub(crate) runs: Vec<(RunKey, usize, Sighting)>,
}

impl Merged {
    /// Of all parts.
    ///
    /// # Errors
    /// [`BadAct`], for an act that no behaviour is like.
    pub fn of(joint: &Joint) -> Result<Self, BadAct> {
        let mut merged = Self::default();
        for (revision, node, part) in joint.parts() {
            let key = |run: &str| RunKey {
                workload: revision.workload.clone(),
                image: revision.image.clone(),
                run: format!("{node}/{run}"),
            };
            let mut profiles: BTreeMap<&str, RunProfile> = BTreeMap::new();
            for (name, facts) in &part.runs {
                let profile = RunProfile {
                    labels: facts.labels.clone(),
                    start: facts.start,
                    stop: facts.stop,
                    late: facts.late,
                    lost: facts.lost.clone(),
                    seen: BTreeMap::new(),
                };
                profiles.insert(name, profile);
                if !facts.unjudged.is_empty() {
                    merged.unjudged.insert(key(name), facts.unjudged.clone());
                }
            }
            let rows = merged.rows.entry(revision.clone()).or_default();
            for (act, facts) in &part.acts {
                let (behavior, known) = act.example()?;
                let mut runs = Vec::new();
                let mut left = facts.seen.count;
                let others = facts.runs.len().saturating_sub(1) as u64;
                for (at, (name, times)) in facts.runs.iter().enumerate() {
                    let count = if at == 0 {
                        left.saturating_sub(others).max(1)
                    } else {
                        1
                    };
                    left = left.saturating_sub(count);
                    let began = part.runs.get(name).and_then(|run| run.first);
                    let seen = Sighting {
                        count,
                        first: facts.seen.first.max(began.unwrap_or(Moment(i64::MIN))),
                        last: facts.seen.last,
                    }
                    .in_order();
                    // A run of which no more is told is partial.
                    let profile = profiles.entry(name).or_default();
                    profile
                        .seen
                        .entry(behavior.clone())
                        .and_modify(|known| *known = known.plus(seen))
                        .or_insert(seen);
                    runs.push((key(name), *times, seen));
                }
                rows.push(Row {
                    group: u8::from(act.varies() && !act.learned),
                    behavior,
                    known,
                    entry: act.entry,
                    opinion: facts.opinion.clone(),
                    seen: facts.seen,
                    runs,
                });
            }
            for (name, profile) in profiles {
                merged.evidence.insert(key(name), profile);
            }
        }
        Ok(merged)
    }

    /// The runs of all nodes.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The runs of all nodes, and nothing else.
    pub fn into_evidence(self) -> Evidence {
        self.evidence
    }
}

//! One evidence from the parts of all nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::act::BadAct;
use super::joint::Joint;
use crate::behavior::Behavior;
use crate::candidate::Ledger;
use crate::generalize::Known;
use crate::mention::Tombstones;
use crate::observation::Moment;
use crate::posture::Revision;
use crate::profile::{Evidence, RunProfile, Sighting};
use crate::quarantine::{
    self, Include, Opinion, Quarantine, Reason, Sighted, Sorted, Unjudged, Whose,
};
use crate::workload::RunKey;

/// What all nodes have seen, in the form that a policy is made of.
///
/// A run is named `<node>/<run>`. Where the name that was seen is not told, the paths are examples of
/// their shape. Which events fell to which run is not told either: all but one a run are counted for the
/// first of them, and each run has them from its own beginning to its own end.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    evidence: Evidence,
    pub(crate) rows: BTreeMap<Revision, Vec<Row>>,
    /// Of what enforcers tell by their alerts: it is judged, and not learned.
    pub(crate) hearsay: BTreeMap<Revision, Vec<Row>>,
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

impl Row {
    pub(crate) fn sighted(&self) -> Sighted<'_> {
        Sighted {
            behavior: &self.behavior,
            group: self.group,
            opinion: &self.opinion,
            seen: self.seen,
            runs: self.runs.len(),
        }
    }
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
            let is_hearsay: BTreeSet<&str> = profiles
                .iter()
                .filter(|(_, profile)| profile.is_hearsay())
                .map(|(name, _)| *name)
                .collect();
            let rows = merged.rows.entry(revision.clone()).or_default();
            let hearsay = merged.hearsay.entry(revision.clone()).or_default();
            for (act, facts) in &part.acts {
                let (behavior, known) = act.example()?;
                let (mut runs, mut heard) = (Vec::new(), Vec::new());
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
                    let ended = part.runs.get(name).and_then(|run| run.stop);
                    let seen = Sighting {
                        count,
                        first: facts.seen.first.max(began.unwrap_or(Moment(i64::MIN))),
                        last: facts.seen.last.min(ended.unwrap_or(Moment(i64::MAX))),
                    }
                    .in_order();
                    // A run of which no more is told is partial.
                    let profile = profiles.entry(name).or_default();
                    profile
                        .seen
                        .entry(behavior.clone())
                        .and_modify(|known| *known = known.plus(seen))
                        .or_insert(seen);
                    let told = (key(name), *times, seen);
                    match is_hearsay.contains(name.as_str()) {
                        true => heard.push(told),
                        false => runs.push(told),
                    }
                }
                let row = |runs| Row {
                    group: u8::from(act.varies() && !act.learned),
                    behavior: behavior.clone(),
                    known: known.clone(),
                    entry: act.entry,
                    opinion: facts.opinion.clone(),
                    seen: facts.seen,
                    runs,
                };
                if !heard.is_empty() {
                    hearsay.push(row(heard));
                }
                if !runs.is_empty() {
                    rows.push(row(runs));
                }
            }
            for (name, profile) in profiles {
                if !profile.is_watched() {
                    merged.unjudged.remove(&key(name));
                }
                merged.evidence.insert(key(name), profile);
            }
        }
        Ok(merged)
    }

    /// The runs of all nodes.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What the runs of a revision are sorted into, as [`sort_judged`](quarantine::sort_judged) does with
    /// whole runs, by what their nodes say of them.
    pub fn sorted(
        &self,
        revision: &Revision,
        include: &Include,
        forgotten: &Tombstones,
        ledger: &Ledger,
    ) -> Sorted<'_> {
        let rows = self.rows_of(revision);
        let (learned, held) = quarantine::sort_opinions(
            &revision.workload,
            rows.iter().map(Row::sighted),
            include,
            forgotten,
            ledger.frozen(revision),
        );
        let mut sorted = Sorted::default();
        let watched = self.runs_of(revision).filter(|(_, run)| run.is_watched());
        for (key, _) in watched {
            sorted.learned.insert(key, BTreeMap::new());
            sorted.entries.insert(key, BTreeSet::new());
        }
        for row in learned.into_iter().filter_map(|number| rows.get(number)) {
            for (key, _, seen) in &row.runs {
                let of_run = sorted.learned.entry(key).or_default();
                let known = of_run.entry(&row.behavior);
                known
                    .and_modify(|known| *known = known.plus(*seen))
                    .or_insert(*seen);
            }
        }
        for row in rows.iter().filter(|row| row.entry) {
            for (key, ..) in &row.runs {
                sorted.entries.entry(key).or_default().insert(&row.behavior);
            }
        }
        let unjudged = self.unjudged.iter();
        sorted.quarantine = Quarantine {
            held,
            unjudged: unjudged
                .filter(|(key, _)| revision.has(key))
                .map(|(key, unjudged)| (key.clone(), unjudged.clone()))
                .collect(),
        };
        sorted
    }

    /// What the runs of a revision did, each with the run, and whose doing it was.
    pub(crate) fn sightings(
        &self,
        revision: &Revision,
    ) -> impl Iterator<Item = (&RunKey, &RunProfile, &Behavior, Sighting, Whose)> {
        let rows = self.rows_of(revision).iter();
        let hearsay = self.hearsay.get(revision).into_iter().flatten();
        rows.chain(hearsay).flat_map(move |row| {
            row.runs.iter().filter_map(move |(key, _, seen)| {
                let run = self.evidence.runs().get(key)?;
                let whose = self.whose(row, key);
                Some((key, run, &row.behavior, *seen, whose))
            })
        })
    }

    /// Whose doing it was: the workload's own, if any run of the node says so.
    fn whose(&self, row: &Row, run: &RunKey) -> Whose {
        let Opinion {
            clean,
            unknown,
            reasons,
        } = &row.opinion;
        let is = |reason| reasons.contains(&reason);
        let is_unjudged = |unjudged: &BTreeSet<Unjudged>| unjudged.contains(&Unjudged::Ancestry);
        if *clean {
            Whose::Own
        } else if *unknown {
            Whose::Unknown
        } else if is(Reason::Tty) || is(Reason::OutsideAncestry) {
            Whose::Outside
        } else if row.behavior.source.is_none() || self.unjudged.get(run).is_some_and(is_unjudged) {
            Whose::Unknown
        } else {
            Whose::Own
        }
    }

    fn rows_of(&self, revision: &Revision) -> &[Row] {
        self.rows.get(revision).map_or(&[], Vec::as_slice)
    }

    fn runs_of(&self, revision: &Revision) -> impl Iterator<Item = (&RunKey, &RunProfile)> {
        let runs = self.evidence.runs().iter();
        runs.filter(move |(key, _)| revision.has(key))
    }

    /// The runs of all nodes, and nothing else.
    pub fn into_evidence(self) -> Evidence {
        self.evidence
    }
}

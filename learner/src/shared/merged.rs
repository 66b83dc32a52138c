//! One evidence from the parts of all nodes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::act::BadAct;
use super::joint::Joint;
use super::packed::Packed;
use crate::behavior::Behavior;
use crate::candidate::Ledger;
use crate::generalize::Known;
use crate::mention::Tombstones;
use crate::posture::Revision;
use crate::profile::{Evidence, RunProfile, Sighting, Sightings};
use crate::quarantine::{self, Include, Opinion, Quarantine, Reason, Sighted, Unjudged, Whose};
use crate::workload::{RunKey, Workload};

/// What all nodes have seen, in the form that a policy is made of.
///
/// A run is named `<node>/<run>`. Where the name that was seen is not told, the paths are examples of
/// their shape.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    evidence: Evidence,
    told: BTreeMap<Revision, Told>,
    pub(crate) unjudged: BTreeMap<RunKey, BTreeSet<Unjudged>>,
}

/// What the nodes have told of a revision.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Its runs, by their places in the rows.
    keys: Vec<RunKey>,
    rows: Vec<Row>,
    /// Of what enforcers tell by their alerts: it is judged, and not learned.
    hearsay: Vec<Row>,
}

/// An act of the runs of one node.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) behavior: Arc<Behavior>,
    pub(crate) known: Arc<Known>,
    pub(crate) entry: bool,
    /// Acts with names that vary, which the node would not learn, are not spoken for by those that it
    /// would: they may be of other names.
    pub(crate) group: u8,
    opinion: Arc<Opinion>,
    seen: Sighting,
    pub(crate) runs: Box<[Showed]>,
}

/// A run that showed an act.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Showed {
    /// Its place in [`Merged::keys_of`].
    pub(crate) key: u32,
    /// Distinct behaviours that the act stands for.
    pub(crate) weight: u32,
    pub(crate) seen: Sighting,
}

/// What is made of the runs of a revision, as far as a decision asks.
#[derive(Debug)]
pub(crate) struct Sifted<'a> {
    /// What may be learned.
    pub(crate) learned: BTreeSet<&'a Behavior>,
    /// The runs whose nodes say which act started them.
    pub(crate) entered: BTreeSet<&'a RunKey>,
    /// What is held back.
    pub(crate) quarantine: Quarantine,
}

fn run_key(revision: &Revision, node: &str, run: &str) -> RunKey {
    RunKey {
        workload: revision.workload.clone(),
        image: revision.image.clone(),
        run: format!("{node}/{run}"),
    }
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

/// What a run did.
type Done = (Arc<Behavior>, Sighting);
/// The place of a run in its part, and how it did something.
type InRun = (u32, Sighting);

impl Merged {
    /// Of all parts.
    ///
    /// # Errors
    /// [`BadAct`], for an act that no behaviour is like.
    pub fn of(joint: &Joint) -> Result<Self, BadAct> {
        let mut merged = Self::default();
        for (revision, node, part) in joint.packed() {
            merged.add(revision, node, part)?;
        }
        Ok(merged)
    }

    /// Of the parts of one workload; of each of the other containers of its owner a run, and nothing of that. That is all
    /// that a review of the workload, or a recommendation for it, asks for.
    ///
    /// # Errors
    /// As [`Merged::of`].
    pub fn of_workload(joint: &Joint, workload: &Workload) -> Result<Self, BadAct> {
        let mut merged = Self::default();
        for (revision, parts) in joint.by_revision() {
            if revision.workload == *workload {
                for (node, part) in parts {
                    merged.add(revision, node, part)?;
                }
            } else if revision.workload.is_beside(workload) {
                let mut runs = parts
                    .iter()
                    .flat_map(|(node, part)| part.runs.iter().map(move |run| (node, run)));
                if let Some((node, run)) = runs.next() {
                    let key = run_key(revision, node, &run.name);
                    merged.evidence.insert(key, RunProfile::default());
                }
            }
        }
        Ok(merged)
    }

    fn add(&mut self, revision: &Revision, node: &str, part: &Packed) -> Result<(), BadAct> {
        let mut runs: Vec<(RunProfile, Vec<Done>)> = Vec::new();
        let told = self.told.entry(revision.clone()).or_default();
        let first_key = told.keys.len();
        for run in &part.runs {
            // A run of which no more is told is partial.
            let facts = run.facts.clone().unwrap_or_default();
            let profile = RunProfile {
                labels: (*run.labels).clone(),
                start: facts.start,
                stop: facts.stop,
                late: facts.late,
                lost: facts.lost,
                seen: Sightings::default(),
            };
            let key = run_key(revision, node, &run.name);
            if !facts.unjudged.is_empty() {
                self.unjudged.insert(key.clone(), facts.unjudged);
            }
            told.keys.push(key);
            runs.push((profile, Vec::new()));
        }
        let mut rows: Vec<(&Arc<Behavior>, Vec<InRun>)> = Vec::with_capacity(part.rows.len());
        for packed in &part.rows {
            let (behavior, known) = packed.deed.example()?;
            let act = packed.deed.act();
            let (mut watched, mut heard) = (Vec::new(), Vec::new());
            let mut of_runs = Vec::with_capacity(packed.runs.len());
            for (at, (place, weight)) in packed.runs.iter().enumerate() {
                let number = *place as usize;
                let (Some(run), Some((profile, _))) = (part.runs.get(number), runs.get(number))
                else {
                    continue;
                };
                let seen = packed.seen_in(at, run);
                of_runs.push((*place, seen));
                let showed = Showed {
                    key: u32::try_from(first_key + number).unwrap_or(u32::MAX),
                    weight: u32::try_from(*weight).unwrap_or(u32::MAX),
                    seen,
                };
                match profile.is_hearsay() {
                    true => heard.push(showed),
                    false => watched.push(showed),
                }
            }
            rows.push((behavior, of_runs));
            let row = |runs: Vec<Showed>| Row {
                group: u8::from(act.varies() && !act.learned),
                behavior: behavior.clone(),
                known: known.clone(),
                entry: act.entry,
                opinion: packed.opinion.clone(),
                seen: packed.seen,
                runs: runs.into(),
            };
            if !heard.is_empty() {
                told.hearsay.push(row(heard));
            }
            if !watched.is_empty() {
                told.rows.push(row(watched));
            }
        }
        // Each run then has its behaviours in their order.
        rows.sort_by_key(|(behavior, _)| *behavior);
        for (behavior, of_runs) in rows {
            for (place, seen) in of_runs {
                let Some((_, did)) = runs.get_mut(place as usize) else {
                    continue;
                };
                match did.last_mut() {
                    Some((last, known)) if *last == *behavior => *known = known.plus(seen),
                    _ => did.push((behavior.clone(), seen)),
                }
            }
        }
        for ((mut profile, did), key) in runs.into_iter().zip(&told.keys[first_key..]) {
            profile.seen = did.into_iter().collect();
            if !profile.is_watched() {
                self.unjudged.remove(key);
            }
            self.evidence.insert(key.clone(), profile);
        }
        Ok(())
    }

    /// The runs of all nodes.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// What the runs of a revision are sorted into, as [`sort_judged`](quarantine::sort_judged) does with
    /// whole runs, by what their nodes say of them.
    pub(crate) fn sifted(
        &self,
        revision: &Revision,
        include: &Include,
        forgotten: &Tombstones,
        ledger: &Ledger,
    ) -> Sifted<'_> {
        let rows = self.rows_of(revision);
        let keys = self.keys_of(revision);
        let (learned, held) = quarantine::sort_opinions(
            &revision.workload,
            rows.iter().map(Row::sighted),
            include,
            forgotten,
            ledger.frozen(revision),
        );
        let entries = rows.iter().filter(|row| row.entry);
        let unjudged = self.unjudged.iter();
        Sifted {
            learned: distinct(learned.into_iter().filter_map(|number| rows.get(number))),
            entered: entries
                .flat_map(|row| row.runs.iter().filter_map(|run| keys.get(run.key as usize)))
                .collect(),
            quarantine: Quarantine {
                held,
                unjudged: unjudged
                    .filter(|(key, _)| revision.has(key))
                    .map(|(key, unjudged)| (key.clone(), unjudged.clone()))
                    .collect(),
            },
        }
    }

    /// What the runs of a revision did, each with the run, and whose doing it was; first what was watched, then
    /// what enforcers told.
    pub(crate) fn sightings(
        &self,
        revision: &Revision,
    ) -> impl Iterator<Item = (&RunKey, &RunProfile, &Behavior, Sighting, Whose)> {
        let keys = self.keys_of(revision).iter();
        let runs: Vec<_> = keys
            .map(|key| Some((key, self.evidence.runs().get(key)?)))
            .collect();
        let runs: Arc<[_]> = runs.into();
        let rows = self.rows_of(revision).iter();
        let hearsay = self.hearsay_of(revision).iter();
        rows.chain(hearsay).flat_map(move |row| {
            let runs = runs.clone();
            row.runs.iter().filter_map(move |showed| {
                let (key, run) = (*runs.get(showed.key as usize)?)?;
                let whose = self.whose(row, key);
                Some((key, run, &*row.behavior, showed.seen, whose))
            })
        })
    }

    /// Whose doing it was: the workload's own, if any run of the node says so.
    fn whose(&self, row: &Row, run: &RunKey) -> Whose {
        let Opinion {
            clean,
            unknown,
            reasons,
        } = &*row.opinion;
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

    /// What was done or tried by any run of a revision, watched or told of by an enforcer.
    pub(crate) fn deeds(&self, revision: &Revision) -> BTreeSet<&Behavior> {
        let rows = self.rows_of(revision).iter();
        distinct(rows.chain(self.hearsay_of(revision)))
    }

    /// The acts of a revision, by node.
    pub(crate) fn rows_of(&self, revision: &Revision) -> &[Row] {
        self.told.get(revision).map_or(&[], |told| &told.rows)
    }

    /// The same of what enforcers tell by their alerts.
    pub(crate) fn hearsay_of(&self, revision: &Revision) -> &[Row] {
        self.told.get(revision).map_or(&[], |told| &told.hearsay)
    }

    /// The runs of a revision, by their places in its rows.
    pub(crate) fn keys_of(&self, revision: &Revision) -> &[RunKey] {
        self.told.get(revision).map_or(&[], |told| &told.keys)
    }

    /// The runs of all nodes, and nothing else.
    pub fn into_evidence(self) -> Evidence {
        self.evidence
    }
}

/// The behaviours of rows. Many rows share one, which is compared once.
fn distinct<'r>(rows: impl Iterator<Item = &'r Row>) -> BTreeSet<&'r Behavior> {
    let mut known = HashSet::new();
    rows.filter(|row| known.insert(Arc::as_ptr(&row.behavior)))
        .map(|row| &*row.behavior)
        .collect()
}

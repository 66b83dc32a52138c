//! What a fold changes: reports joined with what is stored, as one batch.

use std::collections::BTreeMap;
use std::path::Path;

use crate::behavior::Behavior;
use crate::observation::Loss;
use crate::profile::{RunProfile, Sighting, Sightings};
use crate::workload::{RunKey, Workload};

use super::engine::{Batch, MAX_BATCH};
use super::error::StoreError;
use super::key;
use super::record::{self, Sum};
use super::run::{Root, Run, Summary};
use super::seen::{self, Kept};

/// Bytes of names that are kept for a workload revision.
const MAX_WEIGHT: u64 = 64 * 1024 * 1024;

/// How much of a revision's room is taken.
#[derive(Clone, Copy, Default)]
struct Taken {
    behaviors: usize,
    weight: u64,
}

/// A fold in the making. Nothing is changed before it is committed.
pub(super) struct Plan<'a> {
    pub(super) batch: Batch,
    pub(super) root: Root,
    /// The changed runs.
    pub(super) runs: BTreeMap<RunKey, Run>,
    /// Events that did not fit.
    pub(super) over: u64,
    dir: &'a Path,
    stored: &'a BTreeMap<RunKey, Run>,
    max_behaviors: usize,
    taken: BTreeMap<(Workload, String), Taken>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        dir: &'a Path,
        root: Root,
        stored: &'a BTreeMap<RunKey, Run>,
        max_behaviors: usize,
    ) -> Self {
        Self {
            batch: Batch::default(),
            root,
            runs: BTreeMap::new(),
            over: 0,
            dir,
            stored,
            max_behaviors,
            taken: BTreeMap::new(),
        }
    }

    /// Joins a report with `kept`, the behaviours that are stored of its run.
    pub(super) fn join(
        &mut self,
        key: &RunKey,
        report: &RunProfile,
        mut kept: BTreeMap<Behavior, Kept>,
    ) -> Result<(), StoreError> {
        let before = self.stored.get(key);
        let mut run = before.cloned().unwrap_or_else(|| self.new_run(key));
        let revision = (key.workload.clone(), key.image.clone());
        let mut taken = match self.taken.get(&revision) {
            Some(taken) => *taken,
            None => taken_by(self.stored, key),
        };
        let mut over = 0u64;
        for (behavior, sighting) in &report.seen {
            let known = kept.get(behavior).copied();
            let joined = known.map_or(*sighting, |known| known.sighting.join(*sighting));
            if known.is_some_and(|known| known.sighting == joined) {
                continue;
            }
            let number = known.map_or(run.summary.behaviors, |known| known.number);
            let at = key::seen(run.number, number);
            let (value, sum) = record::seal(&at, &seen::write(behavior, joined));
            match known {
                Some(known) => run.seen.remove(known.sum),
                None => {
                    let weight = seen::weight(behavior);
                    if taken.behaviors >= self.max_behaviors
                        || taken.weight.saturating_add(weight) > MAX_WEIGHT
                        || value.len() > record::MAX_LEN
                        || number == u32::MAX
                    {
                        over = over.saturating_add(sighting.count);
                        continue;
                    }
                    taken.behaviors += 1;
                    taken.weight += weight;
                    run.weight += weight;
                    run.summary.behaviors += 1;
                }
            }
            run.seen.add(sum);
            self.batch.insert(&at, value);
            let now = Kept {
                number,
                sighting: joined,
                sum,
            };
            kept.insert(behavior.clone(), now);
        }
        self.taken.insert(revision, taken);
        self.over = self.over.saturating_add(over);
        sum_up(&mut run.summary, report, over, &kept);
        if before != Some(&run) {
            self.keep(key, run)?;
        }
        Ok(())
    }

    /// Adds the root, unless nothing has changed.
    pub(super) fn finish(&mut self) -> Result<Option<Sum>, StoreError> {
        if self.batch.records() == 0 {
            return Ok(None);
        }
        if self.batch.bytes() > MAX_BATCH {
            return Err(StoreError::TooLarge {
                path: self.dir.to_owned(),
                what: "a fold of many runs at once".to_owned(),
                size: self.batch.bytes(),
                limit: MAX_BATCH,
            });
        }
        self.root.fold += 1;
        let (value, sum) = record::seal(&key::ROOT, &self.root.write());
        self.batch.insert(&key::ROOT, value);
        Ok(Some(sum))
    }

    fn new_run(&self, key: &RunKey) -> Run {
        let nothing = RunProfile::default();
        Run {
            number: self.root.runs,
            summary: Summary {
                key: key.clone(),
                labels: nothing.labels,
                start: nothing.start,
                stop: nothing.stop,
                late: nothing.late,
                lost: nothing.lost,
                behaviors: 0,
                events: 0,
                first: None,
                last: None,
            },
            weight: 0,
            seen: Sum::default(),
            sum: Sum::default(),
        }
    }

    fn keep(&mut self, key: &RunKey, mut run: Run) -> Result<(), StoreError> {
        let at = key::run(run.number);
        let (value, sum) = record::seal(&at, &run.write());
        if value.len() > record::MAX_LEN {
            return Err(StoreError::TooLarge {
                path: self.dir.to_owned(),
                what: format!(
                    "the names, labels and loss reasons of run '{}' of {}",
                    shown(&key.run),
                    shown(&key.workload.to_string()),
                ),
                size: value.len(),
                limit: record::MAX_LEN,
            });
        }
        match self.stored.get(key) {
            Some(before) => self.root.sum.remove(before.sum),
            None => self.root.runs += 1,
        }
        self.root.sum.add(sum);
        self.batch.insert(&at, value);
        run.sum = sum;
        self.runs.insert(key.clone(), run);
        Ok(())
    }
}

/// Joins everything but the behaviours, and counts those.
fn sum_up(summary: &mut Summary, report: &RunProfile, over: u64, kept: &BTreeMap<Behavior, Kept>) {
    let mut joined = summary.bare();
    let mut lost = report.lost.clone();
    if over > 0 {
        let store = lost.entry(Loss::Store).or_default();
        *store = store.saturating_add(over);
    }
    joined.join(RunProfile {
        labels: report.labels.clone(),
        start: report.start,
        stop: report.stop,
        late: report.late,
        lost,
        seen: Sightings::default(),
    });
    let sightings = || {
        kept.values()
            .map(|kept: &Kept| -> Sighting { kept.sighting })
    };
    *summary = Summary {
        key: summary.key.clone(),
        labels: joined.labels,
        start: joined.start,
        stop: joined.stop,
        late: joined.late,
        lost: joined.lost,
        behaviors: summary.behaviors,
        events: sightings().fold(0, |sum, s| sum.saturating_add(s.count)),
        first: sightings().map(|s| s.first).min(),
        last: sightings().map(|s| s.last).max(),
    };
}

/// What the stored runs of a revision take up.
fn taken_by(stored: &BTreeMap<RunKey, Run>, key: &RunKey) -> Taken {
    let lowest = RunKey {
        run: String::new(),
        ..key.clone()
    };
    stored
        .range(lowest..)
        .take_while(|(other, _)| other.workload == key.workload && other.image == key.image)
        .fold(Taken::default(), |taken, (_, run)| Taken {
            behaviors: taken.behaviors + run.summary.behaviors as usize,
            weight: taken.weight + run.weight,
        })
}

/// The beginning of a name that may be very long.
fn shown(name: &str) -> String {
    name.chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect()
}

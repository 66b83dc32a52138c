//! Folding: many observations become what each run did, how often and when.
//!
//! Folding is order-independent: the same observations in any order give the same profile.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

use crate::observation::{Fact, Loss, Moment, Observation};
use crate::workload::{Labels, RunKey, Workload};

mod sightings;

pub use sightings::Sightings;

/// Distinct behaviours that are kept for a workload revision, over all its runs, unless told
/// otherwise. Beyond it an observation is counted as lost with reason `store`, so that a workload
/// that makes up names fills neither memory nor disk.
pub const DEFAULT_MAX_BEHAVIORS: usize = 100_000;

/// How often and when a behaviour was seen in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Events, at least 1. Saturates.
    pub count: u64,
    /// First seen.
    pub first: Moment,
    /// Last seen.
    pub last: Moment,
}

impl Sighting {
    /// Two sightings of different events.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// With first before last, whatever a line says.
    #[must_use]
    pub fn in_order(self) -> Self {
        let Self { count, first, last } = self;
        Self {
            count,
            first: first.min(last),
            last: last.max(first),
        }
    }

    /// Two reports of the same events: the fuller one counts, so a report sent twice counts once.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            count: self.count.max(other.count),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// What one run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunProfile {
    /// Match labels of the owner. Of two values for one label the greater is kept, so that the
    /// order of the lines does not matter.
    pub labels: Labels,
    /// When the run began, if it was watched from its first exec.
    pub start: Option<Moment>,
    /// When the run ended, if that was seen.
    pub stop: Option<Moment>,
    /// The run had begun before it was watched.
    pub late: bool,
    /// Events that were seen and could not be recorded.
    pub lost: BTreeMap<Loss, u64>,
    /// Everything that was recorded.
    pub seen: Sightings,
}

/// Loss reason of what an enforcer that is not ours tells by its alerts alone. Its count is 1.
pub const HEARSAY: &str = "kubearmor-alerts";

/// Loss reasons of time in which an enforcer that is not ours may have told of something, and was not heard.
pub mod unheard {
    /// It dropped alerts, since there were too many a second.
    pub const THROTTLED: &str = "kubearmor-throttled";
    /// Its stream was broken, or could not be read.
    pub const INTERRUPTED: &str = "kubearmor-interrupted";
}

impl RunProfile {
    /// Whether it is no run, but stands for time in which an enforcer's alerts may have been missed: it has
    /// a beginning and an end, nothing was seen of it, and it was lost by [`unheard`] alone. Nothing is
    /// learned from it, and it is counted nowhere as a run; the time does not count as quiet.
    pub fn is_gap(&self) -> bool {
        let reasons = [unheard::THROTTLED, unheard::INTERRUPTED];
        let mut lost = self.lost.keys();
        self.late
            && self.start.is_some()
            && self.stop.is_some()
            && self.seen.is_empty()
            && !self.lost.is_empty()
            && lost.all(|reason| reasons.contains(&reason.as_str()))
    }

    /// Whether it is no run that was watched, but what an enforcer's alerts tell of one. What it did is judged,
    /// and nothing is learned from it; it is counted nowhere as a run, and neither adds to quiet time nor
    /// takes from it.
    pub fn is_hearsay(&self) -> bool {
        self.lost.keys().any(|reason| reason.as_str() == HEARSAY)
    }

    /// A run that was watched, wholly or in part: neither a gap nor hearsay.
    pub fn is_watched(&self) -> bool {
        !self.is_gap() && !self.is_hearsay()
    }

    /// A run without a start, or watched late, or with loss, is partial evidence.
    pub fn is_partial(&self) -> bool {
        self.start.is_none() || self.late || self.lost_total() > 0
    }

    /// Events lost, over all reasons.
    pub fn lost_total(&self) -> u64 {
        self.lost.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Adds to the loss account.
    pub fn lose(&mut self, reason: Loss, count: u64) {
        let total = self.lost.entry(reason).or_default();
        *total = total.saturating_add(count);
    }

    /// Merges another report of the same run, as a join: the same report twice counts once.
    pub fn join(&mut self, other: Self) {
        let Self {
            labels,
            start,
            stop,
            late,
            lost,
            seen,
        } = other;
        self.keep_labels(&labels);
        self.start = earlier(self.start, start);
        self.stop = self.stop.max(stop);
        self.late |= late;
        for (reason, count) in lost {
            let total = self.lost.entry(reason).or_default();
            *total = (*total).max(count);
        }
        for (behavior, sighting) in seen {
            self.seen
                .entry(behavior)
                .and_modify(|known| *known = known.join(sighting))
                .or_insert(sighting);
        }
    }

    fn keep_labels(&mut self, labels: &Labels) {
        for (key, value) in labels {
            let kept = self.labels.entry(key.clone()).or_default();
            if *value > *kept {
                kept.clone_from(value);
            }
        }
    }
}

fn earlier(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What many runs did, folded.
///
/// Guarantee: for every workload revision at most `max_behaviors` (behaviour, run) pairs are kept;
/// what comes beyond is counted as lost with reason `store`, never dropped in silence.
#[derive(Clone, Debug)]
pub struct Evidence {
    runs: BTreeMap<RunKey, RunProfile>,
    max_behaviors: usize,
    /// Pairs by workload and image.
    kept: BTreeMap<Workload, BTreeMap<String, usize>>,
}

impl Default for Evidence {
    fn default() -> Self {
        Self::with_limit(DEFAULT_MAX_BEHAVIORS)
    }
}

impl Evidence {
    /// Keeps at most `max_behaviors` distinct behaviours a workload revision.
    pub fn with_limit(max_behaviors: usize) -> Self {
        Self {
            runs: BTreeMap::new(),
            max_behaviors,
            kept: BTreeMap::new(),
        }
    }

    /// Folds one observation in. Lines that state the same behaviour of one run are different
    /// events: their counts add up.
    pub fn fold(&mut self, observation: Observation) {
        let Observation {
            run,
            labels,
            at,
            fact,
        } = observation;
        let profile = match self.runs.get_mut(&*run) {
            Some(known) => known,
            None => self.runs.entry((*run).clone()).or_default(),
        };
        profile.keep_labels(&labels);
        match fact {
            Fact::Start => profile.start = earlier(profile.start, Some(at)),
            Fact::Stop => profile.stop = profile.stop.max(Some(at)),
            Fact::Late => profile.late = true,
            Fact::Lost { reason, count } => profile.lose(reason, count),
            Fact::Seen {
                behavior,
                count,
                last,
            } => {
                let sighting = Sighting {
                    count,
                    first: at,
                    last,
                }
                .in_order();
                match profile.seen.entry(behavior) {
                    Entry::Occupied(mut known) => *known.get_mut() = known.get().plus(sighting),
                    Entry::Vacant(new) => {
                        let of_workload = match self.kept.get_mut(&run.workload) {
                            Some(known) => known,
                            None => self.kept.entry(run.workload.clone()).or_default(),
                        };
                        let kept = match of_workload.get_mut(&run.image) {
                            Some(known) => known,
                            None => of_workload.entry(run.image.clone()).or_default(),
                        };
                        if *kept < self.max_behaviors {
                            *kept += 1;
                            new.insert(sighting);
                        } else {
                            profile.lose(Loss::Store, count);
                        }
                    }
                }
            }
        }
    }

    /// Takes a whole run, joining it with what is known of it.
    pub fn insert(&mut self, key: RunKey, profile: RunProfile) {
        match self.runs.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(profile);
            }
            Entry::Occupied(mut slot) => slot.get_mut().join(profile),
        }
    }

    /// The runs, in the order of their keys.
    pub fn runs(&self) -> &BTreeMap<RunKey, RunProfile> {
        &self.runs
    }

    /// The runs, by value.
    pub fn into_runs(self) -> BTreeMap<RunKey, RunProfile> {
        self.runs
    }
}

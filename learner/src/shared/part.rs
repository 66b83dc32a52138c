//! What one node has seen of a revision.

use std::collections::{BTreeMap, BTreeSet};

use super::act::Act;
use crate::generalize::{Seen, Settled};
use crate::observation::{Loss, Moment};
use crate::profile::{RunProfile, Sighting};
use crate::quarantine::{Opinion, Unjudged, testimony};
use crate::workload::{Labels, RunKey};

/// At most so many runs of a node are told one by one. Those that began before them are one run,
/// [`OLDER`], which is partial: what they did is learned, and they do not count for readiness.
pub const MAX_RUNS: usize = 500;

/// The name of that run.
pub const OLDER: &str = "older";

/// The same of what an enforcer told by its alerts, and of the gaps in that.
const OLDER_ALERTS: &str = "kubearmor-older-alerts";
const OLDER_GAPS: &str = "kubearmor-older-gaps";

/// At most so many acts are told. What is beyond is counted as lost (`store`) in the runs that
/// showed it: first what is held, then what the fewest runs showed.
pub const MAX_ACTS: usize = 8_000;

/// What the runs of one node did at one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The runs, by name.
    pub runs: BTreeMap<String, RunFacts>,
    /// What they did.
    pub acts: BTreeMap<Act, Facts>,
}

/// A run, apart from what it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// As [`RunProfile::labels`].
    pub labels: Labels,
    /// As [`RunProfile::start`].
    pub start: Option<Moment>,
    /// As [`RunProfile::stop`].
    pub stop: Option<Moment>,
    /// When anything was first seen of it.
    pub first: Option<Moment>,
    /// As [`RunProfile::late`].
    pub late: bool,
    /// As [`RunProfile::lost`].
    pub lost: BTreeMap<Loss, u64>,
    /// What could not be judged of it.
    pub unjudged: BTreeSet<Unjudged>,
}

/// How often, when, and in which runs something was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Events of all these runs.
    pub seen: Sighting,
    /// What they say of it.
    pub opinion: Opinion,
    /// The runs, each with the number of distinct behaviours that it stands for, at least 1.
    pub runs: BTreeMap<String, usize>,
}

impl RunFacts {
    fn of(run: &RunProfile, unjudged: BTreeSet<Unjudged>) -> Self {
        Self {
            labels: run.labels.clone(),
            start: run.start,
            stop: run.stop,
            first: run.seen.values().map(|seen| seen.first).min(),
            late: run.late,
            lost: run.lost.clone(),
            unjudged,
        }
    }

    /// When it began, as far as is known.
    fn began(&self) -> Option<Moment> {
        self.start.or(self.first)
    }

    /// Two reports of one run: the fuller one counts, item by item.
    fn join(&mut self, other: &Self) {
        let Self {
            labels,
            start,
            stop,
            first,
            late,
            lost,
            unjudged,
        } = other;
        for (key, value) in labels {
            let kept = self.labels.entry(key.clone()).or_default();
            if value > kept {
                kept.clone_from(value);
            }
        }
        self.start = earlier(self.start, *start);
        self.stop = self.stop.max(*stop);
        self.first = earlier(self.first, *first);
        self.late |= late;
        for (reason, count) in lost {
            let total = self.lost.entry(reason.clone()).or_default();
            *total = (*total).max(*count);
        }
        self.unjudged.extend(unjudged);
    }

    /// Another run, of which it is not to be told any more.
    fn swallow(&mut self, other: &Self) {
        let mut lost = other.lost.clone();
        for (reason, count) in &self.lost {
            let total: &mut u64 = lost.entry(reason.clone()).or_default();
            *total = total.saturating_add(*count);
        }
        self.join(other);
        self.lost = lost;
        self.late = true;
    }
}

fn earlier(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Facts {
    /// Two reports of the same events.
    fn join(&mut self, other: &Self) {
        self.seen = self.seen.join(other.seen);
        self.opinion.join(&other.opinion);
        for (run, times) in &other.runs {
            let known = self.runs.entry(run.clone()).or_default();
            *known = (*known).max(*times);
        }
    }
}

/// A run, its own word on what it did, and whose acts of it are learned.
struct Heard<'a> {
    name: &'a str,
    /// An enforcer tells of it: it settles no names, and says nothing of whose doing it was that others know.
    is_hearsay: bool,
    /// What it is told as, if there are too many.
    older: &'static str,
    facts: RunFacts,
    told: crate::quarantine::Testimony<'a>,
}

impl Part {
    /// Of the runs of one revision. Names are replaced by their class only where no run elsewhere can
    /// show that they stay the same: those that vary by their class alone, and those that these runs
    /// have different ones of. The order of the runs makes no difference.
    pub fn of<'r>(runs: impl IntoIterator<Item = (&'r RunKey, &'r RunProfile)>) -> Self {
        let mut heard: Vec<Heard<'_>> = Vec::new();
        for (key, run) in runs {
            let told = testimony(run);
            heard.push(Heard {
                name: &key.run,
                is_hearsay: run.is_hearsay(),
                older: match (run.is_hearsay(), run.is_gap()) {
                    (true, _) => OLDER_ALERTS,
                    (false, true) => OLDER_GAPS,
                    (false, false) => OLDER,
                },
                facts: RunFacts::of(run, told.unjudged.clone()),
                told,
            });
        }
        heard.sort_by_key(|run| run.is_hearsay);
        let mut opinions: BTreeMap<crate::act::Act, Opinion> = BTreeMap::new();
        let watched = || heard.iter().filter(|run| !run.is_hearsay);
        for (behavior, _, opinion) in watched().flat_map(|run| &run.told.of) {
            let known = opinions.entry(crate::act::Act::of(behavior)).or_default();
            known.join(opinion);
        }
        let is_learned = |behavior: &crate::behavior::Behavior| {
            let opinion = opinions.get(&crate::act::Act::of(behavior));
            behavior.is_learnable() && opinion.is_some_and(|opinion| !opinion.is_held())
        };
        let mut seen = Vec::new();
        for (run, number) in watched().zip(0..) {
            for (behavior, sighting, _) in &run.told.of {
                if is_learned(behavior) {
                    seen.push(Seen {
                        run: number,
                        behavior,
                        sighting,
                        entry: run.told.entries.contains(behavior),
                        known: None,
                    });
                }
            }
        }
        let settled = Settled::until_joined(&seen);
        let older = older(&heard);
        let mut part = Self::default();
        for (run, number) in heard.iter().zip(0usize..) {
            let name = older.get(&number).copied().unwrap_or(run.name);
            match part.runs.entry(name.to_owned()) {
                std::collections::btree_map::Entry::Occupied(mut known) => {
                    known.get_mut().swallow(&run.facts);
                }
                std::collections::btree_map::Entry::Vacant(slot) => {
                    let facts = slot.insert(run.facts.clone());
                    facts.late |= older.contains_key(&number);
                }
            }
            for (behavior, sighting, opinion) in &run.told.of {
                let entry = run.told.entries.contains(behavior);
                let act = Act::of(behavior, &settled, entry, is_learned(behavior));
                let opinion = (!run.is_hearsay).then_some(opinion);
                part.note(act, name, *sighting, opinion);
            }
        }
        part.bound();
        part
    }

    /// Without an opinion what is known already of whose doing it was stays.
    fn note(&mut self, act: Act, run: &str, seen: Sighting, opinion: Option<&Opinion>) {
        match self.acts.get_mut(&act) {
            Some(known) => {
                known.seen = known.seen.plus(seen);
                if let Some(opinion) = opinion {
                    known.opinion.join(opinion);
                }
                *known.runs.entry(run.to_owned()).or_default() += 1;
            }
            None => {
                let facts = Facts {
                    seen,
                    // Nobody knows.
                    opinion: opinion.cloned().unwrap_or(Opinion {
                        unknown: true,
                        ..Opinion::default()
                    }),
                    runs: BTreeMap::from([(run.to_owned(), 1)]),
                };
                self.acts.insert(act, facts);
            }
        }
    }

    fn bound(&mut self) {
        if self.acts.len() <= MAX_ACTS {
            return;
        }
        let mut order: Vec<(bool, usize, Act)> = self
            .acts
            .iter()
            .map(|(act, facts)| (!act.learned, usize::MAX - facts.runs.len(), act.clone()))
            .collect();
        order.sort();
        for (_, _, act) in order.split_off(MAX_ACTS) {
            let Some(facts) = self.acts.remove(&act) else {
                continue;
            };
            for (run, times) in facts.runs {
                if let Some(run) = self.runs.get_mut(&run) {
                    let lost = run.lost.entry(Loss::Store).or_default();
                    *lost = lost.saturating_add(times as u64);
                }
            }
        }
    }

    /// Another report of the same node, or a piece of one.
    pub fn join(&mut self, other: &Self) {
        for (name, facts) in &other.runs {
            match self.runs.get_mut(name) {
                Some(known) => known.join(facts),
                None => {
                    self.runs.insert(name.clone(), facts.clone());
                }
            }
        }
        for (act, facts) in &other.acts {
            match self.acts.get_mut(act) {
                Some(known) => known.join(facts),
                None => {
                    self.acts.insert(act.clone(), facts.clone());
                }
            }
        }
    }
}

/// The places of the runs that are not told one by one, each with the name of the run that they are told as:
/// what enforcers told is no part of what was watched, nor a gap a part of either.
fn older(runs: &[Heard<'_>]) -> BTreeMap<usize, &'static str> {
    let mut by_kind: BTreeMap<&'static str, Vec<_>> = BTreeMap::new();
    for (run, number) in runs.iter().zip(0usize..) {
        let of = by_kind.entry(run.older).or_default();
        of.push((run.facts.began(), run.name, number));
    }
    let mut older = BTreeMap::new();
    for (name, mut order) in by_kind {
        if order.len() <= MAX_RUNS {
            continue;
        }
        order.sort();
        order.truncate(order.len() - (MAX_RUNS - 1));
        older.extend(order.into_iter().map(|(_, _, number)| (number, name)));
    }
    older
}

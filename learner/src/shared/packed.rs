//! A part as it is kept beside many others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::act::{Act, BadAct};
use super::part::{Facts, Part, RunFacts};
use crate::behavior::Behavior;
use crate::generalize::Known;
use crate::observation::Moment;
use crate::profile::{HEARSAY, Sighting};
use crate::quarantine::Opinion;
use crate::workload::Labels;

/// An act, and a behaviour that it stands for: once for all nodes that tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    act: Act,
    example: Result<(Arc<Behavior>, Arc<Known>), BadAct>,
}

impl Deed {
    /// Of an act.
    pub fn of(act: Act) -> Self {
        let example = act.example();
        let example = example.map(|(behavior, known)| (Arc::new(behavior), Arc::new(known)));
        Self { act, example }
    }

    /// The act.
    pub fn act(&self) -> &Act {
        &self.act
    }

    /// As [`Act::example`].
    ///
    /// # Errors
    /// [`BadAct`], if there is none.
    pub fn example(&self) -> Result<&(Arc<Behavior>, Arc<Known>), BadAct> {
        self.example.as_ref().map_err(Clone::clone)
    }
}

/// The runs that showed an act, by their places among the runs of the part, in order; each with the number of
/// distinct behaviours that the act stands for in it.
pub(super) type Showed = Arc<[(u32, usize)]>;

/// What one node has seen of a revision, as [`Part`]; what many parts have in common is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// In the order of their names.
    pub(super) runs: Vec<PackedRun>,
    /// In the order of their acts.
    pub(super) rows: Vec<PackedRow>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedRun {
    /// Its name on the node.
    pub name: Box<str>,
    /// As [`RunFacts::labels`].
    pub labels: Arc<Labels>,
    /// All else, with no labels; nothing, where acts name a run of which nothing is told.
    pub facts: Option<RunFacts>,
}

/// An act, and what is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedRow {
    /// The act.
    pub deed: Arc<Deed>,
    /// As [`Facts::seen`].
    pub seen: Sighting,
    /// As [`Facts::opinion`].
    pub opinion: Arc<Opinion>,
    /// As [`Facts::runs`].
    pub runs: Showed,
}

impl PackedRun {
    /// Whether an enforcer tells of it, and nobody has watched it.
    fn is_hearsay(&self) -> bool {
        let facts = self.facts.iter();
        let mut lost = facts.flat_map(|facts| facts.lost.keys());
        lost.any(|reason| reason.as_str() == HEARSAY)
    }
}

impl PackedRow {
    /// How the run did it that is at this place among those which showed it. Which events fell to which run is not told:
    /// all but one a run are counted for the first of them, and each run has them from its own beginning to its own end.
    pub(super) fn seen_in(&self, at: usize, run: &PackedRun) -> Sighting {
        let Sighting { count, first, last } = self.seen;
        let others = self.runs.len().saturating_sub(1) as u64;
        let began = run.facts.as_ref().and_then(|facts| facts.first);
        let ended = run.facts.as_ref().and_then(|facts| facts.stop);
        Sighting {
            count: match at {
                0 => count.saturating_sub(others).max(1),
                _ => 1,
            },
            first: first.max(began.unwrap_or(Moment(i64::MIN))),
            last: last.min(ended.unwrap_or(Moment(i64::MAX))),
        }
        .in_order()
    }
}

impl Packed {
    /// When the latest of its runs began, of those that were watched and in which something succeeded; where that is not
    /// known, long ago.
    pub(super) fn began(&self) -> Option<Moment> {
        let start = |run: &PackedRun| run.facts.as_ref().and_then(|facts| facts.start);
        let starts: Vec<Option<Moment>> = self.runs.iter().map(start).collect();
        // What was seen first, of those whose start was not.
        let mut first: Vec<Option<Moment>> = vec![None; starts.len()];
        let mut has_succeeded = vec![false; starts.len()];
        for row in &self.rows {
            for (at, (place, _)) in row.runs.iter().enumerate() {
                let number = *place as usize;
                let Some(run) = self.runs.get(number) else {
                    continue;
                };
                has_succeeded[number] |= !row.deed.act.denied;
                if starts[number].is_none() {
                    let seen = row.seen_in(at, run).first;
                    let known = first[number].get_or_insert(seen);
                    *known = seen.min(*known);
                }
            }
        }
        let began = starts.into_iter().zip(first);
        let runs = self.runs.iter().zip(has_succeeded).zip(began);
        runs.filter(|((run, has_succeeded), _)| *has_succeeded && !run.is_hearsay())
            .map(|(_, (start, first))| start.or(first).unwrap_or(Moment(i64::MIN)))
            .max()
    }

    /// Of runs and rows, if they are in their order, each is there once, and rows name runs that are there.
    pub fn new(runs: Vec<PackedRun>, rows: Vec<PackedRow>) -> Option<Self> {
        let in_order = runs.windows(2).all(|two| two[0].name < two[1].name)
            && rows.windows(2).all(|two| two[0].deed.act < two[1].deed.act);
        let count = u32::try_from(runs.len()).ok()?;
        let is_shown = |row: &PackedRow| {
            row.runs.last().is_none_or(|(last, _)| *last < count)
                && row.runs.windows(2).all(|two| two[0].0 < two[1].0)
        };
        (in_order && rows.iter().all(is_shown)).then_some(Self { runs, rows })
    }

    /// Of a part.
    pub fn of(part: &Part, pool: &mut Pool) -> Self {
        let named = part.acts.values().flat_map(|facts| facts.runs.keys());
        let names: BTreeSet<&str> = part.runs.keys().chain(named).map(String::as_str).collect();
        let places: BTreeMap<&str, u32> = names.iter().copied().zip(0..).collect();
        let runs = names.iter().map(|name| {
            let facts = part.runs.get(*name).cloned();
            pool.run(name, facts)
        });
        let runs = runs.collect();
        let rows = part.acts.iter().map(|(act, facts)| {
            let showed = facts.runs.iter();
            let showed = showed.filter_map(|(run, times)| Some((*places.get(&**run)?, *times)));
            PackedRow {
                deed: pool.deed(act),
                seen: facts.seen,
                opinion: pool.opinion(&facts.opinion),
                runs: pool.showed(showed.collect()),
            }
        });
        let rows = rows.collect();
        Self { runs, rows }
    }

    /// The part.
    pub fn unpack(&self) -> Part {
        let mut part = Part::default();
        for PackedRun {
            name,
            labels,
            facts,
        } in &self.runs
        {
            if let Some(facts) = facts {
                let facts = RunFacts {
                    labels: (**labels).clone(),
                    ..facts.clone()
                };
                part.runs.insert(name.to_string(), facts);
            }
        }
        for row in &self.rows {
            let runs = row.runs.iter();
            let runs = runs.filter_map(|(place, times)| {
                let run = self.runs.get(*place as usize)?;
                Some((run.name.to_string(), *times))
            });
            let facts = Facts {
                seen: row.seen,
                opinion: (*row.opinion).clone(),
                runs: runs.collect(),
            };
            part.acts.insert(row.deed.act.clone(), facts);
        }
        part
    }
}

/// What many parts have in common.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    deeds: BTreeMap<Act, Arc<Deed>>,
    labels: BTreeSet<Arc<Labels>>,
    opinions: BTreeSet<Arc<Opinion>>,
    showed: BTreeSet<Showed>,
}

impl Pool {
    /// An act, shared.
    pub fn deed(&mut self, act: &Act) -> Arc<Deed> {
        if let Some(known) = self.deeds.get(act) {
            return known.clone();
        }
        let deed = Arc::new(Deed::of(act.clone()));
        self.deeds.insert(act.clone(), deed.clone());
        deed
    }

    /// A run, with its labels shared.
    pub fn run(&mut self, name: &str, facts: Option<RunFacts>) -> PackedRun {
        let (labels, facts) = match facts {
            Some(mut facts) => (std::mem::take(&mut facts.labels), Some(facts)),
            None => (Labels::default(), None),
        };
        PackedRun {
            name: name.into(),
            labels: shared(&mut self.labels, labels),
            facts,
        }
    }

    /// An opinion, shared.
    pub fn opinion(&mut self, opinion: &Opinion) -> Arc<Opinion> {
        match self.opinions.get(opinion) {
            Some(known) => known.clone(),
            None => shared(&mut self.opinions, opinion.clone()),
        }
    }

    /// The runs that showed an act, shared.
    pub fn showed(&mut self, runs: Vec<(u32, usize)>) -> Showed {
        if let Some(known) = self.showed.get(runs.as_slice()) {
            return known.clone();
        }
        let new: Showed = runs.into();
        self.showed.insert(new.clone());
        new
    }
}

fn shared<T: Ord>(known: &mut BTreeSet<Arc<T>>, one: T) -> Arc<T> {
    if let Some(known) = known.get(&one) {
        return known.clone();
    }
    let new = Arc::new(one);
    known.insert(new.clone());
    new
}

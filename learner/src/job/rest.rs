//! Workloads at rest: they stand under block, that is done, and nothing that any node has told speaks against it.
//! Which states their evidence was in then is kept, so that a later pass reads only what is new since.
//!
//! A workload at rest goes back only for an alert, and an alert is of an act that the candidate does not allow, or
//! that was refused. What was looked at has none, and what is new is looked at: as long as that has none either, and
//! neither the standing nor the image of the latest run can be another one, the verdict is the same as of all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use crate::candidate::{Fate, Frozen};
use crate::cluster::{Reading, State, WorkloadEvidence};
use crate::digest::Digest;
use crate::mention::Mention;
use crate::observation::Moment;
use crate::posture::{Revision, Standing};
use crate::shared::{Joint, Merged};
use crate::workload::Workload;

/// What it is written by. A note of another format or version is none.
const BY: &str = concat!("1 ", env!("CARGO_PKG_VERSION"));

/// After so long all evidence of a workload is read again: for the number of its runs, and in case that anything
/// was overlooked.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Largest note, bytes: annotations of an object have 256 KiB.
const MAX_NOTE: usize = 200 << 10;

/// The workloads of a namespace that are at rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rest {
    by: String,
    workloads: Vec<Resting>,
}

/// A workload at rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resting {
    pub(super) workload: Workload,
    /// That of its latest run.
    pub(super) image: String,
    /// As [`standing`].
    standing: String,
    /// When the latest run of any other image began; nothing, if there is none.
    others: Option<Moment>,
    /// When all of its evidence was read.
    since: Moment,
    /// The states of all its evidence, in order.
    states: String,
}

/// What a pass has found of a workload under block that nothing speaks against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Calm {
    /// As [`Resting::others`].
    others: Option<Moment>,
}

impl Calm {
    /// By all that was told of a workload, of whose latest image this is.
    pub(super) fn of(revision: &Revision, joint: &Joint) -> Self {
        let began = joint.began(&revision.workload);
        let others = began.filter(|(_, image)| *image != revision.image);
        Self {
            others: others.map(|(began, _)| began).max(),
        }
    }
}

/// What a workload's verdict depends on beside its evidence.
pub(super) fn standing<'m>(
    standing: &Standing,
    forgotten: impl Iterator<Item = &'m Mention>,
) -> String {
    let forgotten: BTreeSet<&Mention> = forgotten.collect();
    Digest::of(format!("{standing:?} {forgotten:?}").as_bytes()).to_string()
}

impl Resting {
    /// `states`: nothing, where any of its evidence has none.
    pub(super) fn of(
        revision: &Revision,
        standing: String,
        calm: Calm,
        states: &[Option<State>],
        now: Moment,
    ) -> Option<Self> {
        let states: Option<BTreeSet<State>> = states.iter().copied().collect();
        Some(Self {
            workload: revision.workload.clone(),
            image: revision.image.clone(),
            standing,
            others: calm.others,
            since: now,
            states: text(&states.filter(|states| !states.is_empty())?),
        })
    }

    pub(super) fn revision(&self) -> Revision {
        Revision {
            workload: self.workload.clone(),
            image: self.image.clone(),
        }
    }

    /// Looks at something that is new of it. `frozen` is what it is judged by. Nothing, if it may be more than what is
    /// allowed, of the image that was the latest: then all of it is to be read. Else whether it shows by itself that
    /// this is the latest image.
    pub(super) fn looked_at(&self, object: &WorkloadEvidence, frozen: &Frozen) -> Option<bool> {
        let mut reading = Reading::default();
        reading.add(object);
        let read = reading.done();
        let revision = self.revision();
        let is_its = read.joint.revisions().eq([&revision]);
        // A piece is not whole by itself, and who enforces is a question that all nodes answer together.
        if !is_its || !read.missing.is_empty() || !read.enforcement.is_empty() {
            return None;
        }
        let merged = Merged::of(&read.joint).ok()?;
        let latest = read.joint.began(&self.workload).max();
        let is_latest = latest.is_some_and(|(began, _)| {
            let others = self.others;
            others.is_none_or(|others| began > others)
        });
        let is_allowed = merged.deeds(&revision).into_iter().all(|behavior| {
            behavior.is_learnable() && frozen.judge().judge(behavior) == Fate::Allowed
        });
        is_allowed.then_some(is_latest)
    }

    /// Whether all evidence that there was of it is among these.
    pub(super) fn is_within(&self, now: &BTreeSet<State>) -> bool {
        let names: BTreeSet<u64> = now.iter().map(|state| state.name).collect();
        states(&self.states).is_some_and(|all| all.iter().all(|one| names.contains(&one.name)))
    }

    /// With the states that its evidence is in now.
    pub(super) fn going_on(self, states: &BTreeSet<State>) -> Self {
        Self {
            states: text(states),
            ..self
        }
    }
}

/// What a pass has to read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Look {
    /// These are at rest, as far as what is new of them does not say otherwise; each with the states of what is not new.
    pub(super) at_rest: BTreeMap<Workload, (Resting, BTreeSet<State>)>,
    /// The names of what is to be read: all that is not known, and all of workloads that are not at rest.
    pub(super) fresh: BTreeSet<String>,
}

impl Rest {
    pub(super) fn of(workloads: Vec<Resting>) -> Self {
        Self {
            by: BY.to_owned(),
            workloads,
        }
    }

    /// What was noted; nothing, if it is not by this version, or was changed.
    pub(super) fn read(note: &str) -> Option<Self> {
        let rest: Self = serde_json::from_str(note).ok()?;
        (rest.by == BY && !rest.workloads.is_empty()).then_some(rest)
    }

    /// As it is noted: of as many workloads as there is room for. Nothing, of none.
    pub(super) fn note(mut self) -> Option<String> {
        loop {
            if self.workloads.is_empty() {
                return None;
            }
            let note = serde_json::to_string(&self).ok()?;
            if note.len() <= MAX_NOTE {
                return Some(note);
            }
            // The largest of them takes the least to be read anew, for its room.
            let largest = self.workloads.iter().enumerate();
            let largest = largest.max_by_key(|(_, one)| one.states.len());
            let (at, _) = largest?;
            self.workloads.remove(at);
        }
    }

    /// `now_there`: the evidence of the namespace by name. `standing_of` is what [`standing`] gives of a revision now,
    /// if it may be at rest.
    pub(super) fn look(
        self,
        now_there: &BTreeMap<String, State>,
        standing_of: impl Fn(&Revision) -> Option<String>,
        now: Moment,
    ) -> Look {
        let by_name: HashMap<u64, (State, &str)> = now_there
            .iter()
            .map(|(name, state)| (state.name, (*state, name.as_str())))
            .collect();
        let mut look = Look::default();
        let mut known: BTreeSet<u64> = BTreeSet::new();
        for one in self.workloads {
            let longest = i64::try_from(LONGEST.as_micros()).unwrap_or(i64::MAX);
            let age = now.0.saturating_sub(one.since.0);
            let is_same = standing_of(&one.revision()).as_ref() == Some(&one.standing);
            let Some(before) =
                states(&one.states).filter(|_| is_same && (0..longest).contains(&age))
            else {
                continue;
            };
            // Something that went may have been what the verdict is by.
            let is_there = |state: &State| by_name.contains_key(&state.name);
            if !before.iter().all(is_there) {
                continue;
            }
            let is_same =
                |state: &State| by_name.get(&state.name).map(|(now, _)| now) == Some(state);
            let same: BTreeSet<State> = before.into_iter().filter(is_same).collect();
            known.extend(same.iter().map(|state| state.name));
            look.at_rest.insert(one.workload.clone(), (one, same));
        }
        // Two that are one by the beginning of a hash are not told apart.
        if by_name.len() < now_there.len() {
            look.at_rest.clear();
            known.clear();
        }
        let fresh = now_there.iter();
        look.fresh = fresh
            .filter(|(_, state)| !known.contains(&state.name))
            .map(|(name, _)| name.clone())
            .collect();
        look
    }
}

fn text(states: &BTreeSet<State>) -> String {
    let words = states.iter().flat_map(|state| [state.name, state.state]);
    let bytes: Vec<u8> = words.flat_map(u64::to_be_bytes).collect();
    BASE64.encode(bytes)
}

/// Nothing for what is no such text, or for no states at all.
fn states(text: &str) -> Option<BTreeSet<State>> {
    let bytes = BASE64.decode(text).ok()?;
    let (pairs, rest) = bytes.as_chunks::<16>();
    let states = pairs.iter().map(|pair| {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&pair[at..at + 8]);
            u64::from_be_bytes(word)
        };
        State {
            name: word(0),
            state: word(8),
        }
    });
    let states: BTreeSet<State> = states.collect();
    let is_whole = rest.is_empty() && states.len() == pairs.len() && !states.is_empty();
    is_whole.then_some(states)
}

#[cfg(test)]
mod tests;

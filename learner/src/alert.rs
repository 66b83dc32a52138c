//! Shadow alerts: what a revision did, or tried, that its frozen candidate denies.
//!
//! An alert is derived from the evidence each time, by the evaluator of
//! who is to enforce the candidate, and stored nowhere. Alerts never teach: see
//! [`Reason::Alert`](crate::quarantine::Reason::Alert).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::act::{Act, ActId};
use crate::behavior::Behavior;
use crate::candidate::{Fate, Frozen};
use crate::mention::Tombstones;
use crate::observation::Moment;
use crate::posture::Revision;
use crate::profile::{RunProfile, Sighting};
use crate::quarantine::{Lineage, Whose, is_denied};
use crate::shared::Merged;
use crate::workload::RunKey;

/// An act that the candidate denies, over all the runs of a revision that showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What `learner accept` knows it by.
    pub id: ActId,
    /// Whose.
    pub revision: Revision,
    /// What was done or tried.
    pub act: Act,
    /// What came of it.
    pub kind: Kind,
    /// What decides, in a sentence.
    pub why: String,
    /// Events. A sighting that began before the freeze counts whole: when each of its events was is
    /// not recorded. Saturates.
    pub count: u64,
    /// First seen since the freeze. Of a sighting that began before the freeze only the last event is
    /// known to be after it.
    pub first: Moment,
    /// Last seen.
    pub last: Moment,
    /// The runs that showed it.
    pub runs: BTreeSet<String>,
    /// The acting user, in the sighting that came last.
    pub uid: Option<u32>,
    /// Whose doing: the workload's own if any of it was.
    pub whose: Whose,
    /// A person has had it forgotten: it stays denied, and holds nothing up.
    pub dismissed: bool,
    /// When it was first refused, or should have been, since the promotion to block, other than by who
    /// entered the container.
    pub denial: Option<Moment>,
}

/// What came of an act that the candidate denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It was done.
    Done,
    /// The kernel refused it, since the promotion to block and not before.
    Refused,
}

impl Kind {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

impl Alert {
    /// What an enforcer told of what was seen here too: whose doing it was is known better.
    fn hear(&mut self, other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.runs.extend(other.runs);
    }

    fn join(&mut self, other: Self) {
        if other.last > self.last {
            self.uid = other.uid;
        }
        self.kind = self.kind.max(other.kind);
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.runs.extend(other.runs);
        self.whose = match (self.whose, other.whose) {
            (Whose::Own, _) | (_, Whose::Own) => Whose::Own,
            (Whose::Unknown, _) | (_, Whose::Unknown) => Whose::Unknown,
            (Whose::Outside, Whose::Outside) => Whose::Outside,
        };
        self.denial = match (self.denial, other.denial) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

/// The alerts of a revision, in the order of their acts. Runs of other revisions are passed over.
///
/// Judged is what was last seen at or after the freeze, and succeeded; and what the kernel refused
/// (EACCES, EPERM) since the promotion to block and in no run before. What failed otherwise never came
/// to the enforcer.
pub fn alerts(
    revision: &Revision,
    runs: &[(&RunKey, &RunProfile)],
    frozen: &Frozen,
    tombstones: &Tombstones,
) -> Vec<Alert> {
    alerts_besides(revision, runs, frozen, tombstones, &BTreeSet::new())
}

/// As [`alerts`], of some of the runs: `refused_before` is what the kernel refused in others, before
/// the promotion to block.
pub fn alerts_besides(
    revision: &Revision,
    runs: &[(&RunKey, &RunProfile)],
    frozen: &Frozen,
    tombstones: &Tombstones,
    refused_before: &BTreeSet<Act>,
) -> Vec<Alert> {
    let runs = || runs.iter().filter(|(key, _)| revision.has(key));
    let blocked = frozen.freeze().blocked;
    let refused_here = runs()
        .flat_map(|(_, run)| &run.seen)
        .filter(|(behavior, seen)| {
            is_denied(&behavior.result) && blocked.is_none_or(|at| seen.first < at)
        })
        .map(|(behavior, _)| Act::of(behavior));
    let refused_before: BTreeSet<Act> =
        refused_before.iter().cloned().chain(refused_here).collect();
    let include = frozen.candidate().include();
    let (hearsay, watched): (Vec<_>, Vec<_>) = runs().partition(|(_, run)| run.is_hearsay());
    let sightings = watched.into_iter().chain(hearsay).flat_map(|(key, run)| {
        let lineage = Lineage::of(run, &include);
        run.seen.iter().map(move |(behavior, seen)| Told {
            key,
            run,
            behavior,
            seen: *seen,
            whose: lineage.whose(behavior, *seen),
        })
    });
    gather(revision, sightings, frozen, tombstones, &refused_before)
}

/// As [`alerts`], of what the nodes of a cluster have told. Whose doing it was is what they say.
pub fn alerts_told(
    revision: &Revision,
    merged: &Merged,
    frozen: &Frozen,
    tombstones: &Tombstones,
) -> Vec<Alert> {
    let blocked = frozen.freeze().blocked;
    let sightings = || {
        merged
            .sightings(revision)
            .map(|(key, run, behavior, seen, whose)| Told {
                key,
                run,
                behavior,
                seen,
                whose,
            })
    };
    let refused_before = sightings()
        .filter(|told| {
            is_denied(&told.behavior.result) && blocked.is_none_or(|at| told.seen.first < at)
        })
        .map(|told| Act::of(told.behavior))
        .collect();
    gather(revision, sightings(), frozen, tombstones, &refused_before)
}

/// A sighting, and whose doing it says it was.
struct Told<'a> {
    key: &'a RunKey,
    run: &'a RunProfile,
    behavior: &'a Behavior,
    seen: Sighting,
    whose: Whose,
}

/// `sightings`: first what was watched, then what enforcers told.
fn gather<'a>(
    revision: &Revision,
    sightings: impl Iterator<Item = Told<'a>>,
    frozen: &Frozen,
    tombstones: &Tombstones,
    refused_before: &BTreeSet<Act>,
) -> Vec<Alert> {
    let blocked = frozen.freeze().blocked;
    let mut alerts: BTreeMap<Act, Alert> = BTreeMap::new();
    let mut fates = Fates {
        frozen,
        known: HashMap::new(),
    };
    let mut seen_here = BTreeSet::new();
    for told in sightings {
        let Told {
            key,
            run,
            behavior,
            seen,
            whose: known,
        } = told;
        if !frozen.freeze().judges(seen.last) {
            continue;
        }
        let Some(found) = judge(behavior, seen, &mut fates, refused_before) else {
            continue;
        };
        let is_hearsay = run.is_hearsay();
        let whose = whose(known, run, (behavior, seen), frozen);
        let act = Act::of(behavior);
        let alert = Alert {
            id: ActId::of(&revision.workload, &act),
            revision: revision.clone(),
            kind: found.kind,
            why: found.why,
            count: seen.count,
            first: since(frozen.freeze().judged_from, seen),
            last: seen.last,
            runs: BTreeSet::from([key.run.clone()]),
            uid: behavior.uid,
            whose,
            dismissed: tombstones.bury(&revision.workload, behavior),
            denial: blocked
                .filter(|at| found.is_denied && whose != Whose::Outside && seen.last >= *at)
                .map(|at| since(Some(at), seen)),
            act: act.clone(),
        };
        if !is_hearsay {
            seen_here.insert(act.clone());
        }
        let is_known_better = is_hearsay && seen_here.contains(&act);
        match alerts.entry(act) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(alert);
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => match is_known_better {
                true => slot.get_mut().hear(alert),
                false => slot.get_mut().join(alert),
            },
        }
    }
    alerts.into_values().collect()
}

/// Of a run whose first program was not seen it is not known who descends from it. But under block the
/// workload's own tree executes only what the candidate allows: another program came from outside. So
/// did one that has no path, as a container's runtime that joins in: no rule can allow it.
fn whose(
    known: Whose,
    run: &RunProfile,
    (behavior, seen): (&Behavior, Sighting),
    frozen: &Frozen,
) -> Whose {
    let is_blocked = frozen.freeze().blocked.is_some_and(|at| seen.first >= at);
    if known != Whose::Unknown || !is_blocked {
        return known;
    }
    let may_be_own = match &behavior.source {
        Some(source) => {
            let programs = frozen.candidate().programs();
            frozen.judge().may_run(source, &programs)
        }
        // Some recordings name no programs at all.
        None => run.seen.keys().all(|behavior| behavior.source.is_none()),
    };
    match may_be_own {
        true => Whose::Unknown,
        false => Whose::Outside,
    }
}

/// The first moment of a sighting that is known to be at or after another.
fn since(from: Option<Moment>, seen: Sighting) -> Moment {
    match from {
        Some(from) if seen.first < from => seen.last,
        _ => seen.first,
    }
}

struct Found {
    kind: Kind,
    why: String,
    /// Whether it is known to be denied.
    is_denied: bool,
}

/// What the candidate says of behaviours. Many runs share one, which is judged once.
struct Fates<'a> {
    frozen: &'a Frozen,
    known: HashMap<*const Behavior, Fate>,
}

impl<'a> Fates<'a> {
    fn of(&mut self, behavior: &'a Behavior) -> &Fate {
        let at = std::ptr::from_ref(behavior);
        let known = self.known.entry(at);
        known.or_insert_with(|| self.frozen.judge().judge(behavior))
    }
}

fn judge<'a>(
    behavior: &'a Behavior,
    seen: Sighting,
    fates: &mut Fates<'a>,
    refused_before: &BTreeSet<Act>,
) -> Option<Found> {
    let frozen = fates.frozen;
    if behavior.is_learnable() {
        let (why, is_denied) = match fates.of(behavior) {
            Fate::Allowed => return None,
            Fate::Denied(why) => (why, true),
            Fate::Unknown(why) => (why, false),
        };
        return Some(Found {
            kind: Kind::Done,
            why: why.clone(),
            is_denied,
        });
    }
    let is_since_block = frozen.freeze().blocked.is_some_and(|at| seen.last >= at);
    if !is_denied(&behavior.result)
        || !is_since_block
        || refused_before.contains(&Act::of(behavior))
    {
        return None;
    }
    Some(Found {
        kind: Kind::Refused,
        why: match fates.of(behavior) {
            Fate::Denied(why) | Fate::Unknown(why) => why.clone(),
            // A person knows of it.
            Fate::Allowed if frozen.candidate().accepts(behavior) => return None,
            Fate::Allowed => format!(
                "the kernel answered {}, though the candidate allows it",
                behavior.result.as_str().escape_debug()
            ),
        },
        is_denied: true,
    })
}

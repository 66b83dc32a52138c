//! What was seen and is not to be learned without a person's word, and why.
//!
//! Who can run a program in a container while it is watched could teach the policy to allow it.
//! So what does not look like the workload's own doing is held back, unless the same was also seen
//! without anything against it. Nothing is held in silence: each comes with its reasons.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::act::Act as Deed;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::candidate::{Frozen, Ledger};
use crate::mention::{Mention, Tombstones};
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::posture::Revision;
use crate::profile::{RunProfile, Sighting};
use crate::workload::{RunKey, Workload};

/// How long after a run's first exec another by the same parent belongs to it, in microseconds: a
/// script and its interpreter arrive as two.
const ENTRY_SPAN: i64 = 1_000_000;

/// The service manager, where distributions have it.
const SYSTEMD: [&[u8]; 2] = [b"/usr/lib/systemd/systemd", b"/lib/systemd/systemd"];

/// What a person has allowed to be learned: held behaviours that are covered are learned.
///
/// An exec that is named makes the program the workload's own: what it does, and what it starts, is
/// not held for where the program came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Include {
    /// By a path, and by operation and program where told.
    pub mentions: Vec<Mention>,
    /// What was accepted, one by one: it is learned even if the kernel refused it.
    pub acts: BTreeSet<Deed>,
}

impl Include {
    fn covers(&self, behavior: &Behavior) -> bool {
        self.mentions.iter().any(|mention| mention.covers(behavior)) || self.accepts(behavior)
    }

    /// Whether it is named one by one: then it is learned even if it was denied.
    pub(crate) fn accepts(&self, behavior: &Behavior) -> bool {
        !self.acts.is_empty() && self.acts.contains(&Deed::of(behavior))
    }

    /// What either of them names.
    #[must_use]
    pub fn and(&self, other: Self) -> Self {
        let mut both = self.clone();
        both.mentions.extend(other.mentions);
        both.acts.extend(other.acts);
        both
    }
}

impl From<Vec<Mention>> for Include {
    fn from(mentions: Vec<Mention>) -> Self {
        Self {
            mentions,
            acts: BTreeSet::new(),
        }
    }
}

/// Why a behaviour is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The process had a terminal, and the run as such had none.
    Tty,
    /// The program is not from the image: it lies in the overlay's upper layer.
    Upper,
    /// The program was written, or moved to where it is, in the run itself.
    MadeAtRunTime,
    /// The kernel refused it, by EACCES or EPERM.
    Denied,
    /// The program does not descend from the run's first.
    OutsideAncestry,
    /// The candidate that the revision is judged by would deny it: it is an alert.
    Alert,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tty => "it was done only at a terminal",
            Self::Upper => "the program is not from the image",
            Self::MadeAtRunTime => "the program was made at run time",
            Self::Denied => "it was denied",
            Self::OutsideAncestry => "the program was not started by the workload",
            Self::Alert => "the frozen candidate denies it",
        })
    }
}

/// A behaviour that is held, over all the runs that showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose.
    pub workload: Workload,
    /// The operation.
    pub op: Op,
    /// The path.
    pub path: AbsPath,
    /// The acting program; for an exec its parent.
    pub source: Option<AbsPath>,
    /// Why; not empty.
    pub reasons: BTreeSet<Reason>,
    /// Runs that showed it.
    pub runs: usize,
    /// Events, over all these runs. Saturates.
    pub count: u64,
    /// First seen.
    pub first: Moment,
    /// Last seen.
    pub last: Moment,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.name(), self.path)?;
        if let Some(to) = self.op.to() {
            write!(f, " to {to}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " by {source}")?;
        }
        for (at, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason}", if at == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// What could not be judged of a run, so that nothing of it is held for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unjudged {
    /// [`Reason::OutsideAncestry`]: the run's first exec is not known, since it was watched late,
    /// or not from its start, or none was seen.
    Ancestry,
    /// [`Reason::Tty`]: the run itself was started at a terminal.
    Terminal,
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ancestry => {
                "the first program was not seen, so programs that were started from outside cannot be \
                 told from the workload's own"
            }
            Self::Terminal => {
                "the run was started at a terminal, so a session in it cannot be told from the \
                 workload itself"
            }
        })
    }
}

/// What is held back of a set of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine {
    /// By workload, operation, path, source.
    pub held: Vec<Held>,
    /// Runs of which something could not be judged.
    pub unjudged: BTreeMap<RunKey, BTreeSet<Unjudged>>,
}

/// Runs, sorted into what is learned and what is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted<'a> {
    /// For every run, also one without any: what it did and may be learned from.
    pub learned: BTreeMap<&'a RunKey, BTreeMap<&'a Behavior, Sighting>>,
    /// For every run the execs whose source is not the workload's own: as [`entries`], and those
    /// that were named by a person. No rule may be bound to such a source.
    pub entries: BTreeMap<&'a RunKey, BTreeSet<&'a Behavior>>,
    /// What is not.
    pub quarantine: Quarantine,
}

/// Sorts what the runs did. Learned is what succeeded, is not forgotten (`tombstones`), and was seen
/// at least once with nothing against it, in any run of its workload, or is named by `include`.
///
/// A sighting whose ancestry could not be judged does not speak for one that was judged and came from
/// outside. What was denied is never learned, named or not; what failed otherwise is passed over.
/// The order of the runs makes no difference.
pub fn sort<'a>(
    runs: &[(&'a RunKey, &'a RunProfile)],
    include: &Include,
    tombstones: &Tombstones,
) -> Sorted<'a> {
    sort_judged(runs, include, tombstones, &Ledger::default())
}

/// As [`sort`]. Of hearsay only what went into the candidate by a person's word is learned, and nothing is
/// held: it is an alert, or nothing. What a frozen candidate denies of its own revision is held too, whatever speaks for
/// it, from the freeze on; what went into the candidate by a person's word is learned.
pub fn sort_judged<'a>(
    runs: &[(&'a RunKey, &'a RunProfile)],
    include: &Include,
    tombstones: &Tombstones,
    ledger: &Ledger,
) -> Sorted<'a> {
    let mut sorted = Sorted::default();
    let mut cases: BTreeMap<&'a Workload, BTreeMap<Act<'a>, Case>> = BTreeMap::new();
    let mut terms: BTreeMap<Revision, Terms<'_>> = BTreeMap::new();
    for (key, run) in runs {
        let revision = Revision::of(key);
        let terms = terms
            .entry(revision)
            .or_insert_with_key(|revision| Terms::of(ledger.frozen(revision), include));
        let include = &*terms.include;
        let ground = Ground::of(run, include);
        let unjudged = ground.unjudged();
        if !unjudged.is_empty() {
            sorted.quarantine.unjudged.insert((*key).clone(), unjudged);
        }
        // The same act comes together: a run's behaviours are in the order of their acts.
        let mut of_this_run: Vec<(Act<'a>, Case)> = Vec::new();
        for (behavior, sighting) in &run.seen {
            let denied = is_denied(&behavior.result);
            if !(behavior.is_learnable() || denied) || tombstones.bury(&key.workload, behavior) {
                continue;
            }
            if run.is_hearsay() && !include.accepts(behavior) {
                continue;
            }
            let mut finding = ground.judge(behavior, *sighting);
            if include.accepts(behavior) {
                finding = Finding::Clean;
            } else if denied {
                finding = finding.with(Reason::Denied);
            } else {
                if include.covers(behavior) {
                    finding = Finding::Clean;
                }
                if terms
                    .frozen
                    .is_some_and(|frozen| frozen.holds(behavior, *sighting))
                {
                    finding = finding.with(Reason::Alert);
                }
            }
            let act = Act::of(behavior);
            match of_this_run.last_mut() {
                Some((same, case)) if *same == act => case.add(&finding, *sighting),
                _ => of_this_run.push((act, Case::new(&finding, *sighting))),
            }
        }
        let entries = ground.ancestry.map(|known| known.entries);
        sorted.entries.insert(key, entries.unwrap_or_default());
        let of_workload = cases.entry(&key.workload).or_default();
        for (act, case) in of_this_run {
            match of_workload.entry(act) {
                std::collections::btree_map::Entry::Vacant(slot) => {
                    slot.insert(case);
                }
                std::collections::btree_map::Entry::Occupied(mut slot) => {
                    slot.get_mut().merge(case)
                }
            }
        }
    }
    for (key, run) in runs {
        let include = terms
            .get(&Revision::of(key))
            .map_or(include, |terms| &*terms.include);
        let is_accepted =
            |behavior: &Behavior| is_denied(&behavior.result) && include.accepts(behavior);
        let of_workload = cases.get(&key.workload);
        let may_be = |behavior: &&Behavior| {
            (behavior.is_learnable() || is_accepted(behavior))
                && of_workload
                    .and_then(|cases| cases.get(&Act::of(behavior)))
                    .is_some_and(|case| !case.is_held())
        };
        let learned = run
            .seen
            .iter()
            .map(|(behavior, sighting)| (behavior, *sighting))
            .filter(|(behavior, _)| may_be(behavior))
            .collect();
        sorted.learned.insert(key, learned);
    }
    sorted.quarantine.held = cases
        .into_iter()
        .flat_map(|(workload, cases)| {
            cases
                .into_iter()
                .map(move |(act, case)| (workload, act, case))
        })
        .filter(|(_, _, case)| case.is_held())
        .map(|(workload, act, case)| act.held(workload, case))
        .collect();
    sorted
}

/// What a revision is sorted by, the same for all of its runs.
struct Terms<'l> {
    frozen: Option<&'l Frozen>,
    /// What is named now, and what went into the candidate.
    include: Cow<'l, Include>,
}

impl<'l> Terms<'l> {
    fn of(frozen: Option<&'l Arc<Frozen>>, include: &'l Include) -> Self {
        Self {
            frozen: frozen.map(Arc::as_ref),
            include: match frozen {
                Some(frozen) => Cow::Owned(include.and(frozen.candidate().include())),
                None => Cow::Borrowed(include),
            },
        }
    }
}

/// The execs by which the workload was started: the run's earliest, others by the same parent
/// within a second, or at any time if that is systemd, which starts in a unit what the unit's file names; and
/// those by which such a program was replaced later, since it keeps its parent.
/// A process whose parent has ended and that executes a program has another parent, and is none.
///
/// Their source is who started the run, the observer or the container runtime, and no part of the
/// workload. None for a run that was watched late or not from its start, or showed no exec.
pub fn entries(run: &RunProfile) -> BTreeSet<&Behavior> {
    Ancestry::of(run, &Include::default())
        .map(|ancestry| ancestry.entries)
        .unwrap_or_default()
}

/// Whether the kernel refused it, by EACCES or EPERM.
pub(crate) fn is_denied(result: &Outcome) -> bool {
    matches!(result, Outcome::Failed(errno) if matches!(errno.as_str(), "EACCES" | "EPERM"))
}

/// What makes two behaviours of a workload the same here. The order is that of behaviours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Act<'a> {
    op: &'a Op,
    path: &'a AbsPath,
    source: Option<&'a AbsPath>,
}

impl<'a> Act<'a> {
    fn of(behavior: &'a Behavior) -> Self {
        Self {
            op: &behavior.op,
            path: &behavior.path,
            source: behavior.source.as_ref(),
        }
    }

    fn held(self, workload: &Workload, case: Case) -> Held {
        let Case {
            opinion: Opinion { reasons, .. },
            runs,
            seen: Sighting { count, first, last },
        } = case;
        Held {
            workload: workload.clone(),
            op: self.op.clone(),
            path: self.path.clone(),
            source: self.source.cloned(),
            reasons,
            runs,
            count,
            first,
            last,
        }
    }
}

/// What one sighting says.
enum Finding {
    /// Nothing is against it.
    Clean,
    /// Nothing is against it, and who started the program could not be judged.
    Unknown,
    /// Not empty.
    Against(BTreeSet<Reason>),
}

impl Finding {
    fn with(self, reason: Reason) -> Self {
        let mut reasons = match self {
            Self::Against(reasons) => reasons,
            Self::Clean | Self::Unknown => BTreeSet::new(),
        };
        reasons.insert(reason);
        Self::Against(reasons)
    }
}

/// What all sightings of an act say of it, in any order and as often as they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opinion {
    /// It was seen with nothing against it.
    pub clean: bool,
    /// It was seen with nothing against it, where who started the program could not be judged.
    pub unknown: bool,
    /// What was against it.
    pub reasons: BTreeSet<Reason>,
}

impl Opinion {
    fn note(&mut self, finding: &Finding) {
        match finding {
            Finding::Clean => self.clean = true,
            Finding::Unknown => self.unknown = true,
            Finding::Against(reasons) => self.reasons.extend(reasons),
        }
    }

    /// What both say.
    pub fn join(&mut self, other: &Self) {
        self.clean |= other.clean;
        self.unknown |= other.unknown;
        self.reasons.extend(&other.reasons);
    }

    /// Whether it is not to be learned.
    pub fn is_held(&self) -> bool {
        let speaks_for_it =
            self.clean || (self.unknown && !self.reasons.contains(&Reason::OutsideAncestry));
        self.reasons.contains(&Reason::Alert) || (!self.reasons.is_empty() && !speaks_for_it)
    }
}

/// What a run says of its own behaviours, nothing being named, forgotten or frozen.
pub(crate) struct Testimony<'a> {
    /// As [`entries`].
    pub(crate) entries: BTreeSet<&'a Behavior>,
    /// What could not be judged.
    pub(crate) unjudged: BTreeSet<Unjudged>,
    /// Each that succeeded or was denied.
    pub(crate) of: Vec<(&'a Behavior, Sighting, Opinion)>,
}

/// What a run says of its own behaviours.
pub(crate) fn testimony(run: &RunProfile) -> Testimony<'_> {
    let ground = Ground::of(run, &Include::default());
    let mut of = Vec::new();
    for (behavior, seen) in &run.seen {
        let denied = is_denied(&behavior.result);
        if behavior.is_learnable() || denied {
            let mut finding = ground.judge(behavior, *seen);
            if denied {
                finding = finding.with(Reason::Denied);
            }
            let mut opinion = Opinion::default();
            opinion.note(&finding);
            of.push((behavior, *seen, opinion));
        }
    }
    let unjudged = ground.unjudged();
    let entries = ground.ancestry.map(|known| known.entries);
    Testimony {
        entries: entries.unwrap_or_default(),
        unjudged,
        of,
    }
}

/// What of many opinions is learned, and what is held, as [`sort_judged`] does with whole runs.
///
/// `sighted`: behaviours, each with what its runs say of it and the number of them. Those with the same
/// `group` are spoken for by one another, if they are the same act.
pub(crate) fn sort_opinions<'b>(
    workload: &Workload,
    sighted: impl IntoIterator<Item = Sighted<'b>>,
    include: &Include,
    tombstones: &Tombstones,
    frozen: Option<&Arc<Frozen>>,
) -> (Vec<usize>, Vec<Held>) {
    let terms = Terms::of(frozen, include);
    let include = &*terms.include;
    let mut cases: BTreeMap<(Act<'b>, u8), Case> = BTreeMap::new();
    // Many nodes share a behaviour: it is judged once.
    let mut denied_by: HashMap<*const Behavior, bool> = HashMap::new();
    let mut known = Vec::new();
    for (number, sighted) in sighted.into_iter().enumerate() {
        let Sighted {
            behavior,
            group,
            opinion,
            seen,
            runs,
        } = sighted;
        if tombstones.bury(workload, behavior) {
            continue;
        }
        let denied = is_denied(&behavior.result);
        let mut opinion = opinion.clone();
        if include.accepts(behavior) || (!denied && include.covers(behavior)) {
            opinion = Opinion {
                clean: true,
                ..Opinion::default()
            };
        }
        let is_alert = |frozen: &Frozen| {
            let at = std::ptr::from_ref(behavior);
            let mut is_denied = || {
                *denied_by
                    .entry(at)
                    .or_insert_with(|| frozen.denies(behavior))
            };
            !denied && frozen.freeze().judges(seen.last) && is_denied()
        };
        if !include.accepts(behavior) && terms.frozen.is_some_and(is_alert) {
            opinion.reasons.insert(Reason::Alert);
        }
        let act = (Act::of(behavior), group);
        let case = Case {
            opinion,
            runs,
            seen,
        };
        match cases.entry(act) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(case);
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => slot.get_mut().merge(case),
        }
        known.push((number, act, behavior, denied));
    }
    let learned = known
        .into_iter()
        .filter(|(_, _, behavior, denied)| !denied || include.accepts(behavior))
        .filter(|(_, act, ..)| !cases[act].opinion.is_held())
        .map(|(number, ..)| number)
        .collect();
    let held = cases
        .into_iter()
        .filter(|(_, case)| case.opinion.is_held())
        .map(|((act, _), case)| act.held(workload, case))
        .collect();
    (learned, held)
}

/// A behaviour over the runs of one node.
pub(crate) struct Sighted<'b> {
    pub(crate) behavior: &'b Behavior,
    pub(crate) group: u8,
    pub(crate) opinion: &'b Opinion,
    pub(crate) seen: Sighting,
    pub(crate) runs: usize,
}

/// All sightings of an act.
struct Case {
    opinion: Opinion,
    runs: usize,
    seen: Sighting,
}

impl Case {
    fn new(finding: &Finding, seen: Sighting) -> Self {
        let mut opinion = Opinion::default();
        opinion.note(finding);
        Self {
            opinion,
            runs: 1,
            seen,
        }
    }

    /// Of the same run.
    fn add(&mut self, finding: &Finding, seen: Sighting) {
        self.opinion.note(finding);
        self.seen = self.seen.plus(seen);
    }

    /// Of another run.
    fn merge(&mut self, other: Self) {
        self.opinion.join(&other.opinion);
        self.runs += other.runs;
        self.seen = self.seen.plus(other.seen);
    }

    fn is_held(&self) -> bool {
        self.opinion.is_held()
    }
}

fn execs(run: &RunProfile) -> impl Iterator<Item = (&Behavior, &Sighting)> {
    run.seen
        .iter()
        .filter(|(behavior, _)| behavior.op == Op::Exec && behavior.is_learnable())
}

/// Which programs of a run are the workload's own.
struct Ancestry<'a> {
    /// Own programs' execs by who started the run, and those that a person named.
    entries: BTreeSet<&'a Behavior>,
    /// Own programs' execs by another parent, which has adopted the process: the machine's first, or
    /// one that reaps for it. One of the workload's programs opened them.
    orphans: BTreeSet<&'a Behavior>,
    /// The first programs, those that a person named, and all that these have started.
    own: BTreeSet<&'a AbsPath>,
    /// Who started the run: the parent of its first program, and what ran in that process before. Of a
    /// container the one is its shim, and the other its runtime.
    starters: BTreeSet<&'a AbsPath>,
    /// Until when what the starters do belongs to the start.
    until: Moment,
    /// The entries, by who executed them.
    entered: BTreeMap<&'a AbsPath, Vec<(&'a AbsPath, Sighting)>>,
    /// The first program had a terminal.
    at_terminal: bool,
}

impl<'a> Ancestry<'a> {
    /// `None` where the run's first exec is not known.
    fn of(run: &'a RunProfile, include: &Include) -> Option<Self> {
        if run.late || run.start.is_none() {
            return None;
        }
        let (first, began) = execs(run).min_by_key(|(exec, seen)| (seen.first, *exec))?;
        let until = Moment(began.first.0.saturating_add(ENTRY_SPAN));
        // What systemd starts in a unit it starts by that unit's file: a reload, or what is done before a stop.
        let of_a_unit = first.source.as_ref().is_some_and(is_systemd);
        let is_first = |exec: &Behavior, seen: &Sighting| {
            exec.source == first.source && (seen.first <= until || of_a_unit)
        };

        // A process that replaces its program keeps its parent, so the parent is not all that may
        // have executed it. Who did has also opened it: the kernel opens it in that one's name.
        let programs: BTreeSet<&AbsPath> = execs(run).map(|(exec, _)| &exec.path).collect();
        let mut executed_by: BTreeMap<&AbsPath, BTreeSet<&AbsPath>> = BTreeMap::new();
        let mut opened: BTreeMap<&AbsPath, Vec<(&AbsPath, Sighting)>> = BTreeMap::new();
        for (behavior, seen) in run.seen.iter().filter(|(b, _)| b.is_learnable()) {
            let is_executing = match behavior.op {
                Op::Exec => true,
                Op::Open(Access::Read) => programs.contains(&behavior.path),
                _ => false,
            };
            if let (true, Some(source)) = (is_executing, &behavior.source) {
                if behavior.op != Op::Exec {
                    let by = opened.entry(&behavior.path).or_default();
                    by.push((source, *seen));
                }
                executed_by
                    .entry(source)
                    .or_default()
                    .insert(&behavior.path);
            }
        }
        let mut to_follow: Vec<&AbsPath> = execs(run)
            .filter(|(exec, seen)| is_first(exec, seen) || include.covers(exec))
            .map(|(exec, _)| &exec.path)
            .collect();
        let mut own = BTreeSet::new();
        let mut replaced = BTreeSet::new();
        while let Some(program) = to_follow.pop() {
            if own.insert(program) {
                let executed = executed_by.get(program).into_iter().flatten().copied();
                replaced.extend(executed.clone());
                to_follow.extend(executed);
            }
        }
        let is_foreign = |exec: &Behavior| exec.source.as_ref().is_some_and(|s| !own.contains(s));
        let is_entry = |exec: &Behavior, seen: &Sighting| {
            let replaces = || exec.source == first.source && replaced.contains(&exec.path);
            is_first(exec, seen) || (is_foreign(exec) && (replaces() || include.covers(exec)))
        };
        // The parent says nothing of who executed it; the one that opened it does, at that time.
        let is_orphan = |exec: &Behavior, seen: &Sighting| {
            let by = opened.get(&exec.path).into_iter().flatten();
            is_foreign(exec)
                && !is_entry(exec, seen)
                && by
                    .filter(|(source, _)| own.contains(source))
                    .any(|(_, open)| {
                        open.first.0.saturating_sub(ENTRY_SPAN) <= seen.first.0
                            && seen.last.0 <= open.last.0.saturating_add(ENTRY_SPAN)
                    })
        };
        let entries = execs(run)
            .filter(|(exec, seen)| is_entry(exec, seen))
            .map(|(exec, _)| exec)
            .collect();
        let orphans = execs(run)
            .filter(|(exec, seen)| is_orphan(exec, seen))
            .map(|(exec, _)| exec)
            .collect();
        let starters = execs(run)
            .filter(|(exec, seen)| is_first(exec, seen))
            .filter_map(|(exec, _)| opened.get(&exec.path))
            .flatten()
            .filter(|(_, open)| open.first <= until)
            .map(|(source, _)| *source)
            .chain(&first.source)
            .collect();
        let mut entered: BTreeMap<&AbsPath, Vec<(&AbsPath, Sighting)>> = BTreeMap::new();
        for (exec, seen) in execs(run).filter(|(exec, seen)| is_entry(exec, seen)) {
            if let Some(source) = &exec.source {
                entered.entry(source).or_default().push((&exec.path, *seen));
            }
        }
        let at_terminal =
            execs(run).any(|(exec, seen)| is_first(exec, seen) && exec.tty == Some(true));
        Some(Self {
            entries,
            orphans,
            own,
            starters,
            until,
            entered,
            at_terminal,
        })
    }

    /// Whether it was done by a program that is not the workload's own.
    fn excludes(&self, behavior: &Behavior, source: &AbsPath, seen: Sighting) -> bool {
        let of_the_start = match behavior.op {
            Op::Exec => self.entries.contains(behavior) || self.orphans.contains(behavior),
            // The kernel opens the first program and its loader in a starter's name.
            _ => {
                (self.starters.contains(source) && seen.first <= self.until)
                    || self.is_of_an_entry(behavior, source, seen)
            }
        };
        !of_the_start && !self.own.contains(source)
    }

    /// Whether the kernel opened it for an entry, at any time: that program, or its loader, in the name of
    /// who executed it.
    fn is_of_an_entry(&self, behavior: &Behavior, source: &AbsPath, seen: Sighting) -> bool {
        let Op::Open(Access::Read) = behavior.op else {
            return false;
        };
        let path = &behavior.path;
        let entered = self.entered.get(source).into_iter().flatten();
        entered
            .filter(|(program, _)| *program == path || is_loader(path))
            .any(|(_, exec)| {
                exec.first.0.saturating_sub(ENTRY_SPAN) <= seen.first.0
                    && seen.last.0 <= exec.last.0.saturating_add(ENTRY_SPAN)
            })
    }
}

/// By its path: a name alone could be any program's.
fn is_systemd(path: &AbsPath) -> bool {
    SYSTEMD.contains(&path.as_bytes())
}

/// By its name, as ELF loaders are called: `ld-linux-x86-64.so.2`, `ld-musl-x86_64.so.1`, `ld64.so.2`.
fn is_loader(path: &AbsPath) -> bool {
    let name = path.as_path().file_name().unwrap_or_default();
    let name = name.as_encoded_bytes();
    name.starts_with(b"ld") && memchr::memmem::find(name, b".so").is_some()
}

/// Whose doing a behaviour was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// That of a program which descends from the run's first, at no terminal of its own.
    Own,
    /// Of who entered the container: by another program, or at a terminal.
    Outside,
    /// The run's first program was not seen, or the acting program is not known.
    Unknown,
}

impl Whose {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Own => "workload",
            Self::Outside => "outside",
            Self::Unknown => "unknown",
        }
    }
}

/// Which programs of a run are the workload's own.
pub struct Lineage<'a>(Ground<'a>);

impl<'a> Lineage<'a> {
    /// That of a run. What `include` names counts as own.
    pub fn of(run: &'a RunProfile, include: &Include) -> Self {
        Self(Ground::of(run, include))
    }

    /// Whose doing it was.
    pub fn whose(&self, behavior: &Behavior, seen: Sighting) -> Whose {
        match self.0.judge(behavior, seen) {
            Finding::Clean => Whose::Own,
            Finding::Unknown => Whose::Unknown,
            Finding::Against(reasons) => {
                let is = |reason| reasons.contains(&reason);
                if is(Reason::Tty) || is(Reason::OutsideAncestry) {
                    Whose::Outside
                } else if self.0.ancestry.is_none() || behavior.source.is_none() {
                    Whose::Unknown
                } else {
                    Whose::Own
                }
            }
        }
    }
}

/// What the behaviours of one run are judged by.
struct Ground<'a> {
    ancestry: Option<Ancestry<'a>>,
    /// Programs that were executed and are not from the image, unless a person named them.
    foreign: BTreeMap<&'a AbsPath, BTreeSet<Reason>>,
}

impl<'a> Ground<'a> {
    fn of(run: &'a RunProfile, include: &Include) -> Self {
        Self {
            ancestry: Ancestry::of(run, include),
            foreign: foreign(run, include),
        }
    }

    fn is_at_terminal(&self) -> bool {
        self.ancestry
            .as_ref()
            .is_some_and(|known| known.at_terminal)
    }

    fn unjudged(&self) -> BTreeSet<Unjudged> {
        let mut unjudged = BTreeSet::new();
        if self.ancestry.is_none() {
            unjudged.insert(Unjudged::Ancestry);
        }
        if self.is_at_terminal() {
            unjudged.insert(Unjudged::Terminal);
        }
        unjudged
    }

    fn judge(&self, behavior: &Behavior, seen: Sighting) -> Finding {
        let mut reasons = BTreeSet::new();
        if behavior.tty == Some(true) && !self.is_at_terminal() {
            reasons.insert(Reason::Tty);
        }
        // A foreign program is held, and so is what it does: that is done only if it runs.
        let program = (behavior.op == Op::Exec).then_some(&behavior.path);
        for program in program.into_iter().chain(behavior.source.as_ref()) {
            reasons.extend(self.foreign.get(program).into_iter().flatten());
        }
        let known = self.ancestry.as_ref().zip(behavior.source.as_ref());
        if known.is_some_and(|(ancestry, source)| ancestry.excludes(behavior, source, seen)) {
            reasons.insert(Reason::OutsideAncestry);
        }
        if !reasons.is_empty() {
            Finding::Against(reasons)
        } else if known.is_none() {
            Finding::Unknown
        } else {
            Finding::Clean
        }
    }
}

fn foreign<'a>(run: &'a RunProfile, include: &Include) -> BTreeMap<&'a AbsPath, BTreeSet<Reason>> {
    let mut made: BTreeMap<&[u8], Moment> = BTreeMap::new();
    let mut moved: BTreeMap<&[u8], Moment> = BTreeMap::new();
    let note = |names: &mut BTreeMap<&'a [u8], Moment>, path: &'a AbsPath, at: Moment| {
        let first = names.entry(path.as_bytes()).or_insert(at);
        *first = at.min(*first);
    };
    for (behavior, seen) in run.seen.iter().filter(|(b, _)| b.is_learnable()) {
        match &behavior.op {
            Op::Open(access) if access.as_str().contains('w') => {
                note(&mut made, &behavior.path, seen.first);
            }
            Op::Create | Op::Symlink | Op::Truncate => {
                note(&mut made, &behavior.path, seen.first);
            }
            Op::Link { to } => note(&mut made, to, seen.first),
            Op::Rename { to } => {
                note(&mut made, to, seen.first);
                note(&mut moved, to, seen.first);
            }
            _ => {}
        }
    }
    let mut foreign: BTreeMap<&AbsPath, BTreeSet<Reason>> = BTreeMap::new();
    for (exec, seen) in execs(run).filter(|(exec, _)| !include.covers(exec)) {
        let path = exec.path.as_bytes();
        let is_before = |at: Option<&Moment>| at.is_some_and(|at| *at <= seen.last);
        let in_a_moved_directory = || {
            (1..path.len())
                .filter(|at| path[*at] == b'/')
                .any(|at| is_before(moved.get(&path[..at])))
        };
        if exec.upper == Some(true) {
            foreign.entry(&exec.path).or_default().insert(Reason::Upper);
        }
        if is_before(made.get(path)) || in_a_moved_directory() {
            let reasons = foreign.entry(&exec.path).or_default();
            reasons.insert(Reason::MadeAtRunTime);
        }
    }
    foreign
}

#[cfg(test)]
mod tests;

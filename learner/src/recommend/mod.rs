//! Recommending: from evidence to a policy, with all that has to be said about it.
//!
//! What was seen is sorted first (quarantine), then generalised, then written in KubeArmor's words,
//! and at last held against the enforcer's own meaning: whatever was learned and would still be
//! denied is named.

mod evidence;
mod mark;
mod note;
mod render;
mod replay;
mod subject;

use std::collections::{BTreeMap, BTreeSet};

pub use evidence::{Grant, RuleEvidence};
pub use mark::Mark;
pub use note::{Note, Refusal};

use crate::behavior::{Behavior, Op};
use crate::candidate::Ledger;
use crate::generalize::{
    self, Dialect, Generalized, Known, LeftOut, Loss, Options, Seen, Tightness, Why,
};
use crate::mention::Tombstones;
use crate::path::AbsPath;
use crate::policy::crd::{MAX_DEPTH, MAX_ENTRIES, MAX_KEY_BYTES};
use crate::policy::{CONTAINER_LABEL, Metadata, Policy, Reason, names};
use crate::posture::Revision;
use crate::profile::Evidence;
use crate::quarantine::{self, Include, Quarantine};
use crate::readiness::Readiness;
use crate::shared::{Merged, Row, Showed};
use crate::workload::{RunKey, Workload};

/// From so many complete runs on, in which nothing was written, a rule may be read-only while the
/// posture is still audit: KubeArmor denies writes to such a rule under audit too.
pub const RUNS_FOR_READ_ONLY: usize = 3;

/// How far a policy is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is to be applied under audit posture.
    #[default]
    Audit,
    /// It is to be applied under block posture.
    Block,
}

/// Each run is left out in turn; of more runs than this, as many as this, evenly spread.
pub const RUNS_TO_LEAVE_OUT: usize = 40;

/// What a policy is made by.
#[derive(Clone, Debug)]
pub struct Criteria {
    /// How far rules may go beyond what was seen.
    pub tightness: Tightness,
    /// For which enforcer.
    pub enforcer: Dialect,
    /// For which posture.
    pub stage: Stage,
    /// What is learned although it is held.
    pub include: Include,
    /// What is never learned.
    pub forgotten: Tombstones,
    /// What is decided of the revisions: what their candidates deny is not learned.
    pub ledger: Ledger,
    /// At most so many runs are left out in turn, to hold each against what the others lead to.
    /// That takes as long as so many recommendations.
    pub leave_out: usize,
}

impl Default for Criteria {
    fn default() -> Self {
        Self {
            tightness: Tightness::default(),
            enforcer: Dialect::default(),
            stage: Stage::default(),
            include: Include::default(),
            forgotten: Tombstones::default(),
            ledger: Ledger::default(),
            leave_out: RUNS_TO_LEAVE_OUT,
        }
    }
}

/// A policy for one workload, with what stands behind it, what it leaves out and what it grants.
#[derive(Clone, Debug)]
pub struct Recommendation {
    /// Whose policy.
    pub workload: Workload,
    /// The policy.
    pub policy: Policy,
    /// Each rule with its evidence, in the order of the rules.
    pub rules: Vec<RuleEvidence>,
    /// What was seen and has no rule.
    pub left_out: Vec<LeftOut>,
    /// What was given up so that the rules fit.
    pub losses: Vec<Loss>,
    /// Entries of the container's rule map that the rules take, and how many there are. `None` for
    /// an enforcer without such a map.
    pub budget: Option<(usize, usize)>,
    /// What is held and was not learned from.
    pub quarantine: Quarantine,
    /// New behaviours of each run, in the order in which the runs began.
    pub convergence: Vec<NewInRun>,
    /// How much the next run may still show.
    pub readiness: Readiness,
    /// What else one has to know before the policy is used.
    pub notes: Vec<Note>,
}

/// What a run added to those before it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NewInRun {
    /// The run.
    pub run: String,
    /// Distinct behaviours: all that one rule allows is one.
    pub behaviors: usize,
    /// Of these, those that no earlier run had shown.
    pub new: usize,
}

/// A behaviour that may be learned from.
struct Learned<'a> {
    behavior: &'a Behavior,
    /// It started those runs.
    entry: bool,
    /// What a node has settled of its paths.
    known: Option<&'a Known>,
    shown: Shown<'a>,
}

impl Learned<'_> {
    /// As any of the runs showed it.
    fn first(&self) -> Option<Showing<'_>> {
        let showed = self.shown.all().first()?;
        Some(Showing {
            run: 0,
            learned: self,
            showed,
        })
    }
}

/// How runs showed a behaviour.
enum Shown<'a> {
    One(Showed),
    /// All of a node.
    Many(&'a [Showed]),
}

impl Shown<'_> {
    fn all(&self) -> &[Showed] {
        match self {
            Self::One(showed) => std::slice::from_ref(showed),
            Self::Many(all) => all,
        }
    }
}

/// Where it stands that a run showed something. Of many nodes there are millions.
#[derive(Clone, Copy)]
struct Place {
    run: u32,
    /// In [`Lesson::learned`].
    learned: u32,
    /// In [`Learned::shown`].
    shown: u32,
}

/// What a run showed.
#[derive(Clone, Copy)]
struct Showing<'l> {
    run: u32,
    learned: &'l Learned<'l>,
    showed: &'l Showed,
}

impl<'l> Showing<'l> {
    fn behavior(&self) -> &'l Behavior {
        self.learned.behavior
    }

    /// Distinct behaviours of the run that it stands for.
    fn weight(&self) -> usize {
        self.showed.weight as usize
    }

    fn seen(&self) -> Seen<'l> {
        Seen {
            run: self.run,
            behavior: self.learned.behavior,
            sighting: &self.showed.seen,
            entry: self.learned.entry,
            known: self.learned.known,
        }
    }
}

/// What a person has accepted of what was never seen here: it is named, or went into the candidate.
fn accepts(criteria: &Criteria) -> impl Fn(&RunKey, &Behavior) -> bool {
    |key, behavior| {
        let frozen = criteria.ledger.frozen(&Revision::of(key));
        criteria.include.accepts(behavior)
            || frozen.is_some_and(|frozen| frozen.candidate().accepts(behavior))
    }
}

/// What is learned from, of all runs of the subject.
struct Lesson<'a> {
    subject: subject::Subject<'a>,
    learned: Vec<Learned<'a>>,
    /// In the order of the runs.
    places: Vec<Place>,
    quarantine: Quarantine,
}

impl<'a> Lesson<'a> {
    fn of(
        workload: &Workload,
        evidence: &'a Evidence,
        criteria: &Criteria,
    ) -> Result<Self, Refusal> {
        let subject = subject::Subject::of(workload, evidence, &accepts(criteria))?;
        let sorted = quarantine::sort_judged(
            &subject.runs,
            &criteria.include,
            &criteria.forgotten,
            &criteria.ledger,
        );
        Self::sorted(subject, sorted)
    }

    fn sorted(
        subject: subject::Subject<'a>,
        sorted: quarantine::Sorted<'a>,
    ) -> Result<Self, Refusal> {
        let quarantine::Sorted {
            learned,
            entries,
            quarantine,
        } = sorted;
        let (mut all, mut places) = (Vec::new(), Vec::new());
        for ((key, _), run) in subject.runs.iter().zip(0..) {
            let entries = entries.get(key);
            let of_run = learned.get(key).into_iter().flatten();
            for ((behavior, sighting), number) in of_run.zip(place(all.len())..) {
                places.push(Place {
                    run,
                    learned: number,
                    shown: 0,
                });
                all.push(Learned {
                    behavior,
                    entry: entries.is_some_and(|entries| entries.contains(behavior)),
                    known: None,
                    shown: Shown::One(Showed {
                        key: run,
                        weight: 1,
                        seen: *sighting,
                    }),
                });
            }
        }
        Self::learned(subject, all, places, quarantine)
    }

    fn of_merged(
        workload: &Workload,
        merged: &'a Merged,
        criteria: &Criteria,
    ) -> Result<Self, Refusal> {
        let subject = subject::Subject::of(workload, merged.evidence(), &accepts(criteria))?;
        let numbers: BTreeMap<&RunKey, u32> = subject.keys().zip(0..).collect();
        let Some(revision) = subject.keys().next().map(Revision::of) else {
            return Err(Refusal::NothingSeen);
        };
        let accepts = accepts(criteria);
        let keys = merged.keys_of(&revision);
        let is_accepted = |row: &&Row| {
            let mut keys = row.runs.iter().filter_map(|run| keys.get(run.key as usize));
            keys.any(|key| accepts(key, &row.behavior))
        };
        let rows = merged.rows_of(&revision).iter();
        let hearsay = merged.hearsay_of(&revision).iter();
        let rows: Vec<&Row> = rows.chain(hearsay.filter(is_accepted)).collect();
        let (learned, held) = quarantine::sort_opinions(
            workload,
            rows.iter().copied().map(Row::sighted),
            &criteria.include,
            &criteria.forgotten,
            criteria.ledger.frozen(&revision),
        );
        let numbers_of: Vec<Option<u32>> =
            keys.iter().map(|key| numbers.get(key).copied()).collect();
        let (mut all, mut places) = (Vec::new(), Vec::new());
        for row in learned.into_iter().map(|number: usize| rows[number]) {
            let learned = place(all.len());
            let before = places.len();
            for (showed, shown) in row.runs.iter().zip(0..) {
                let run = numbers_of.get(showed.key as usize).copied().flatten();
                places.extend(run.map(|run| Place {
                    run,
                    learned,
                    shown,
                }));
            }
            if places.len() > before {
                all.push(Learned {
                    behavior: &row.behavior,
                    entry: row.entry,
                    known: Some(&row.known),
                    shown: Shown::Many(&row.runs),
                });
            }
        }
        let unjudged = merged
            .unjudged
            .iter()
            .filter(|(key, _)| numbers.contains_key(key))
            .map(|(key, unjudged)| (key.clone(), unjudged.clone()))
            .collect();
        Self::learned(subject, all, places, Quarantine { held, unjudged })
    }

    fn learned(
        subject: subject::Subject<'a>,
        learned: Vec<Learned<'a>>,
        mut places: Vec<Place>,
        quarantine: Quarantine,
    ) -> Result<Self, Refusal> {
        places.sort_by_key(|place| place.run);
        if places.is_empty() {
            return Err(if quarantine.held.is_empty() {
                Refusal::NothingSeen
            } else {
                Refusal::AllHeld
            });
        }
        Ok(Self {
            subject,
            learned,
            places,
            quarantine,
        })
    }

    fn at(&self, place: &Place) -> Showing<'_> {
        let learned = &self.learned[place.learned as usize];
        Showing {
            run: place.run,
            learned,
            showed: &learned.shown.all()[place.shown as usize],
        }
    }

    /// What all runs showed, run by run.
    fn shown(&self) -> impl Iterator<Item = Showing<'_>> {
        self.places.iter().map(|place| self.at(place))
    }

    /// Rules from all runs but this one.
    fn rules(&self, without: Option<u32>, criteria: &Criteria) -> Result<Generalized, Refusal> {
        let seen: Vec<Seen<'_>> = self
            .shown()
            .filter(|showing| Some(showing.run) != without)
            .map(|showing| showing.seen())
            .collect();
        let complete = (0..)
            .zip(&self.subject.runs)
            .filter(|(number, (_, run))| Some(*number) != without && !run.is_partial())
            .count();
        let options = Options {
            tightness: criteria.tightness,
            enforcer: criteria.enforcer,
            read_only: criteria.stage == Stage::Block || complete >= RUNS_FOR_READ_ONLY,
            entries: MAX_ENTRIES,
        };
        Ok(generalize::generalize(&seen, &options)?)
    }

    fn policy(&self, workload: &Workload, rules: &Generalized) -> Policy {
        let metadata = Metadata {
            name: names::policy_name(workload),
            namespace: workload.namespace.clone(),
            ..Metadata::default()
        };
        let selector = self.subject.selector.clone();
        Policy::new(metadata, render::spec(workload, selector, &rules.rules))
    }

    fn of_run(&self, number: u32) -> impl Iterator<Item = Showing<'_>> {
        let from = self.places.partition_point(|place| place.run < number);
        let of_it = self.places[from..].iter();
        let of_it = of_it.take_while(move |place| place.run == number);
        of_it.map(|place| self.at(place))
    }
}

/// The least that lets the workload go on doing what it was seen to do, in the words of the
/// enforcer and as wide as the tightness says.
///
/// Learned is what succeeded and is neither held nor forgotten, in the runs of one image: that of
/// the run that began last. The selector is made of the labels of that run. It names the container
/// only where the evidence holds other containers of the same owner; a pod with containers that were
/// never watched is selected whole.
///
/// Guarantees: whatever was learned is allowed, or listed as left out or not allowed; no rule can be
/// taken away without denying something that was learned; the order of the evidence does not matter.
///
/// # Errors
/// [`Refusal`] says why no policy can be made that is both true and safe.
pub fn recommend(
    workload: &Workload,
    evidence: &Evidence,
    criteria: &Criteria,
) -> Result<Recommendation, Refusal> {
    made(
        workload,
        Lesson::of(workload, evidence, criteria)?,
        criteria,
    )
}

/// As [`recommend`], of what the nodes of a cluster have told.
///
/// Names that no node could settle are settled over all their runs, so the policy is that of one node
/// which has seen everything; but what varies by the runs of one node varies, whatever the others show.
///
/// # Errors
/// As [`recommend`].
pub fn recommend_merged(
    workload: &Workload,
    merged: &Merged,
    criteria: &Criteria,
) -> Result<Recommendation, Refusal> {
    made(
        workload,
        Lesson::of_merged(workload, merged, criteria)?,
        criteria,
    )
}

/// As [`recommend_merged`], for KubeArmor in a cluster: the policy always names the container. Of the other
/// containers of the pod there may be no word yet, and new ones may come.
///
/// # Errors
/// As [`recommend`].
pub fn recommend_told(
    workload: &Workload,
    merged: &Merged,
    criteria: &Criteria,
) -> Result<Recommendation, Refusal> {
    let mut made = recommend_merged(workload, merged, criteria)?;
    let Workload { container, .. } = workload;
    let labels = &mut made.policy.spec.selector.match_labels;
    if !labels.contains_key(CONTAINER_LABEL) {
        // A comma or a bracket in it would select another container.
        if !names::is_dns_label(container) {
            return Err(Refusal::BadLabel {
                key: CONTAINER_LABEL.to_owned(),
                value: container.clone(),
            });
        }
        labels.insert(CONTAINER_LABEL.to_owned(), format!("[{container}]"));
    }
    Ok(made)
}

fn made(
    workload: &Workload,
    lesson: Lesson<'_>,
    criteria: &Criteria,
) -> Result<Recommendation, Refusal> {
    let rules = lesson.rules(None, criteria)?;
    if rules.rules.is_empty() {
        return Err(nothing_expressed(&rules));
    }
    let policy = lesson.policy(workload, &rules);
    let mut notes = lesson.subject.notes.clone();
    notes.extend(limits(&lesson, &rules, criteria.enforcer));
    notes.extend(replay::denied(&lesson, &rules, &policy, criteria.enforcer));
    notes.extend(replay::forgotten(workload, &rules, &policy, criteria));
    let has_budget = criteria.enforcer.has_budget();
    let budget = has_budget.then_some((rules.entries, MAX_ENTRIES));
    Ok(Recommendation {
        workload: workload.clone(),
        rules: rules.rules.iter().map(RuleEvidence::of).collect(),
        convergence: replay::convergence(&lesson, &rules),
        readiness: replay::readiness(workload, &lesson, &rules, criteria),
        policy,
        left_out: rules.left_out,
        losses: rules.losses,
        budget,
        quarantine: lesson.quarantine,
        notes,
    })
}

/// The readiness of [`recommend`], and nothing else of it. `sorted` is what the quarantine made of the
/// runs of the latest image, by the same criteria.
///
/// # Errors
/// As [`recommend`].
pub fn assess(
    workload: &Workload,
    evidence: &Evidence,
    criteria: &Criteria,
    sorted: quarantine::Sorted<'_>,
) -> Result<Readiness, Refusal> {
    let subject = subject::Subject::of(workload, evidence, &accepts(criteria))?;
    let lesson = Lesson::sorted(subject, sorted)?;
    let rules = lesson.rules(None, criteria)?;
    if rules.rules.is_empty() {
        return Err(nothing_expressed(&rules));
    }
    Ok(replay::readiness(workload, &lesson, &rules, criteria))
}

fn nothing_expressed(rules: &Generalized) -> Refusal {
    let unexpressed = rules.left_out.iter().filter_map(|left| match &left.why {
        Why::Unexpressed(reason) => left
            .support
            .samples
            .first()
            .map(|path| (path.clone(), reason.clone())),
        Why::Varies | Why::Wide { .. } => None,
    });
    let unexpressed: BTreeSet<(AbsPath, Reason)> = unexpressed.collect();
    if unexpressed.is_empty() {
        Refusal::NothingSeen
    } else {
        Refusal::NothingExpressed(unexpressed.into_iter().collect())
    }
}

/// What the enforcers make of the rules that the rules do not show.
fn limits(lesson: &Lesson<'_>, rules: &Generalized, enforcer: Dialect) -> Vec<Note> {
    let mut notes = Vec::new();
    let has = |class| rules.rules.iter().any(|chosen| chosen.rule.class == class);
    if !has(generalize::RuleClass::Process) {
        notes.push(Note::NoPrograms);
    }
    if !has(generalize::RuleClass::File) {
        notes.push(Note::NoFiles);
    }
    // The others are KubeArmor's.
    if enforcer == Dialect::Learner {
        return notes;
    }
    let behaviors = || lesson.learned.iter().map(|learned| learned.behavior);
    if behaviors().any(|behavior| behavior.path.as_bytes() == b"/") {
        notes.push(Note::RootOpened);
    }
    let paths = |is_so: &dyn Fn(&Behavior) -> bool| -> Vec<AbsPath> {
        let found: BTreeSet<&AbsPath> = behaviors().filter(|b| is_so(b)).map(|b| &b.path).collect();
        found.into_iter().cloned().collect()
    };
    let mut note = |paths: Vec<AbsPath>, note: fn(Vec<AbsPath>) -> Note| {
        if !paths.is_empty() {
            notes.push(note(paths));
        }
    };
    note(
        paths(&|b| b.path.as_bytes().len() == MAX_KEY_BYTES),
        |paths| Note::GrantsLonger { paths },
    );
    note(paths(&|b| depth(&b.path) > MAX_DEPTH), |paths| {
        Note::TooDeep { paths }
    });
    note(
        paths(&|b| {
            b.upper == Some(false)
                && !matches!(b.op, Op::Exec | Op::Open(crate::behavior::Access::Read))
        }),
        |paths| Note::CopiesUp { paths },
    );
    note(
        paths(&|b| {
            let name = b.path.as_bytes().rsplit(|byte| *byte == b'/').next();
            b.op == Op::Exec && matches!(name, Some(b"e" | b"f"))
        }),
        |paths| Note::PostureNames { paths },
    );
    notes
}

fn depth(path: &AbsPath) -> usize {
    let components = path.as_bytes().split(|byte| *byte == b'/');
    components.filter(|component| !component.is_empty()).count()
}

/// The image that [`recommend`] learns from: that of the run which began last, of those in which
/// something succeeded. `None` without any.
pub fn latest_image<'a>(workload: &Workload, evidence: &'a Evidence) -> Option<&'a str> {
    subject::newest(workload, evidence).map(|(key, _)| key.image.as_str())
}

/// A place in a list that memory has room for.
fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Runs in the order in which they began.
fn in_order<'l>(lesson: &'l Lesson<'_>) -> Vec<(u32, &'l RunKey)> {
    let mut order: Vec<_> = (0..)
        .zip(&lesson.subject.runs)
        .map(|(number, (key, run))| (subject::began(run), number, *key))
        .collect();
    order.sort();
    order
        .into_iter()
        .map(|(_, number, key)| (number, key))
        .collect()
}

#[cfg(test)]
mod growth;
#[cfg(test)]
mod tests;

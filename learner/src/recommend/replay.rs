//! The policy held against the runs: those that it was made of, and each against the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use indexmap::IndexSet;

use super::{Criteria, Learned, Lesson, NewInRun, Note, Showing, in_order, place};
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::candidate::{Fate, Judge};
use crate::generalize::{Chosen, Dialect, Generalized, Known, Need, Support};
use crate::mention::Mention;
use crate::path::AbsPath;
use crate::policy::Policy;
use crate::readiness::{self, LeftOut, Partial, Readiness};
use crate::workload::Workload;

/// Why it is not allowed; whatever cannot be told counts as denied.
fn denies(held: &Judge, behavior: &Behavior) -> Option<String> {
    match held.judge(behavior) {
        Fate::Allowed => None,
        Fate::Denied(why) | Fate::Unknown(why) => Some(why),
    }
}

/// What was learned and would be denied all the same, apart from what is left out.
pub(super) fn denied(
    lesson: &Lesson<'_>,
    rules: &Generalized,
    policy: &Policy,
    dialect: Dialect,
) -> Option<Note> {
    let held = Judge::of(policy, dialect);
    let left_out: BTreeSet<&Need> = rules.left_out.iter().map(|left| &left.need).collect();
    let mut operations = BTreeSet::new();
    // Many runs and nodes share a behaviour, which is judged once.
    let mut fates: HashMap<*const Behavior, Option<String>> = HashMap::new();
    for showing in lesson.learned.iter().filter_map(Learned::first) {
        let behavior = showing.behavior();
        let fate = fates.entry(std::ptr::from_ref(behavior));
        let Some(why) = fate.or_insert_with(|| denies(&held, behavior)) else {
            continue;
        };
        let needs = rules.needs_of(&showing.seen());
        if !needs.iter().any(|need| left_out.contains(need)) {
            operations.insert(format!("{behavior}: {why}"));
        }
    }
    (!operations.is_empty()).then(|| Note::NotAllowed {
        operations: operations.into_iter().collect(),
    })
}

/// What was forgotten and is allowed all the same, by a rule that is wider than what was seen.
pub(super) fn forgotten(
    workload: &Workload,
    rules: &Generalized,
    policy: &Policy,
    criteria: &Criteria,
) -> Option<Note> {
    let held = Judge::of(policy, criteria.enforcer);
    let sources: BTreeSet<Option<&AbsPath>> = rules
        .rules
        .iter()
        .map(|chosen| chosen.rule.source.as_ref())
        .collect();
    let allows = |mention: &Mention, op: Op| {
        let attempt = |source: Option<&AbsPath>| Behavior {
            op: op.clone(),
            path: mention.path.clone(),
            source: source.cloned(),
            uid: None,
            owner: Some(true),
            upper: None,
            tty: Some(false),
            result: Outcome::Ok,
        };
        match &mention.source {
            Some(source) => denies(&held, &attempt(Some(source))).is_none(),
            None => sources
                .iter()
                .any(|s| denies(&held, &attempt(*s)).is_none()),
        }
    };
    let paths: BTreeSet<&AbsPath> = criteria
        .forgotten
        .iter()
        .filter(|(of, _)| *of == workload)
        .map(|(_, mention)| mention)
        .filter(|mention| {
            let is_meant = |op: &Op| mention.op.is_none_or(|kind| kind == op.kind());
            let ops = [Op::Exec, Op::Open(Access::Read), Op::Create, Op::Unlink];
            ops.into_iter()
                .filter(is_meant)
                .any(|op| allows(mention, op))
        })
        .map(|mention| &mention.path)
        .collect();
    (!paths.is_empty()).then(|| Note::GrantsForgotten {
        paths: paths.into_iter().cloned().collect(),
    })
}

/// What each run added to those that began before it.
pub(super) fn convergence(lesson: &Lesson<'_>, rules: &Generalized) -> Vec<NewInRun> {
    let mut units = Units::of(rules);
    let mut known: BTreeSet<Numbered> = BTreeSet::new();
    in_order(lesson)
        .into_iter()
        .map(|(number, key)| {
            let shown = units.shown_in(lesson, number);
            let behaviors = shown.len();
            let before = known.len();
            known.extend(shown);
            NewInRun {
                run: key.run.clone(),
                behaviors,
                new: known.len() - before,
            }
        })
        .collect()
}

/// What counts as one behaviour: all that a rule allows, since another name that it allows is nothing
/// new.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Unit {
    /// What the rule at this place allows.
    Rule(usize),
    /// What was left out: it is denied in each run, and so it is new in each.
    LeftOut(u32, Need),
    /// What the enforcer does not ask about.
    NotAsked(Need),
}

/// A unit, by the number that it got when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Numbered {
    number: u32,
    is_asked: bool,
}

/// By which rule each need is allowed: of several, by the one that most runs had a use for.
struct Units<'a> {
    rules: &'a Generalized,
    allowed_by: BTreeMap<&'a Need, usize>,
    left_out: BTreeSet<&'a Need>,
    /// All that were found.
    found: IndexSet<Unit>,
    /// What is the same in each run, by behaviour, what is settled of it, and whether it started the run.
    known: HashMap<(*const Behavior, Option<*const Known>, bool), Needed>,
}

/// The units that an operation needs, in the order of the units.
type Needed = Rc<[Numbered]>;

impl<'a> Units<'a> {
    fn of(rules: &'a Generalized) -> Self {
        let in_runs = |chosen: &Chosen| {
            let supports = chosen.needs.iter().map(|(_, support)| support);
            supports.flat_map(Support::runs).collect::<BTreeSet<_>>()
        };
        let mut order: Vec<(usize, &Chosen)> = rules.rules.iter().enumerate().collect();
        order.sort_by_key(|(at, chosen)| (std::cmp::Reverse(in_runs(chosen).len()), *at));
        let mut allowed_by = BTreeMap::new();
        for (at, chosen) in order {
            for (need, _) in &chosen.needs {
                allowed_by.entry(need).or_insert(at);
            }
        }
        Self {
            rules,
            allowed_by,
            left_out: rules.left_out.iter().map(|left| &left.need).collect(),
            found: IndexSet::new(),
            known: HashMap::new(),
        }
    }

    /// For the distinct operations of the run what each needs (an exec needs two rules), and how many need it.
    fn of_run(&mut self, lesson: &Lesson<'_>, number: u32) -> Vec<(Needed, usize)> {
        let of_run = lesson.of_run(number);
        of_run
            .map(|showing| (self.needed(showing), showing.weight()))
            .collect()
    }

    /// What the run showed.
    fn shown_in(&mut self, lesson: &Lesson<'_>, number: u32) -> BTreeSet<Numbered> {
        let operations = self.of_run(lesson, number);
        let units = operations.iter().flat_map(|(needed, _)| &**needed);
        units.copied().collect()
    }

    fn needed(&mut self, showing: Showing<'_>) -> Needed {
        let Learned {
            behavior,
            entry,
            known,
            ..
        } = *showing.learned;
        let settled = known.map(std::ptr::from_ref);
        let key = (std::ptr::from_ref(behavior), settled, entry);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let unit = |need: Need| match self.allowed_by.get(&need) {
            Some(rule) => Unit::Rule(*rule),
            None if self.left_out.contains(&need) => Unit::LeftOut(showing.run, need),
            None => Unit::NotAsked(need),
        };
        let needs = self.rules.needs_of(&showing.seen());
        let units: BTreeSet<Unit> = needs.into_iter().map(unit).collect();
        // What was left out is another one in each run.
        let is_same = !units.iter().any(|unit| matches!(unit, Unit::LeftOut(..)));
        let numbered = units.into_iter().map(|unit| {
            let is_asked = !matches!(unit, Unit::NotAsked(_));
            let (number, _) = self.found.insert_full(unit);
            Numbered {
                number: place(number),
                is_asked,
            }
        });
        let needed: Needed = numbered.collect();
        if is_same {
            self.known.insert(key, needed.clone());
        }
        needed
    }
}

/// Of each of so many runs the behaviours, each with the operations that count for it. An operation is denied if
/// one of the things that it needs is, so it counts for the one that the fewest runs showed.
fn counted(
    runs: usize,
    mut of_run: impl FnMut(usize) -> Vec<(Needed, usize)>,
) -> Vec<Vec<(u32, usize)>> {
    let mut in_runs: BTreeMap<u32, usize> = BTreeMap::new();
    for run in 0..runs {
        let operations = of_run(run);
        let units = operations.iter().flat_map(|(needed, _)| &**needed);
        for unit in units.collect::<BTreeSet<_>>() {
            *in_runs.entry(unit.number).or_default() += 1;
        }
    }
    let rarest = |unit: &&Numbered| (!unit.is_asked, in_runs[&unit.number]);
    // All operations of all runs at a time would be as much again as the evidence.
    let counted = (0..runs).map(|run| {
        let operations = of_run(run);
        let units = operations.iter().flat_map(|(needed, _)| &**needed);
        let mut units: BTreeMap<u32, usize> = units.map(|unit| (unit.number, 0)).collect();
        for (needed, times) in &operations {
            if let Some(unit) = needed.iter().min_by_key(rarest) {
                *units.entry(unit.number).or_default() += times;
            }
        }
        units.into_iter().collect()
    });
    counted.collect()
}

/// What the complete runs say about the next one, each of them held against the policy that the
/// others lead to.
pub(super) fn readiness(
    workload: &Workload,
    lesson: &Lesson<'_>,
    rules: &Generalized,
    criteria: &Criteria,
) -> Readiness {
    let runs = || (0..).zip(&lesson.subject.runs);
    let partial = runs().filter_map(|(_, (key, run))| Partial::of(key, run));
    let complete: Vec<_> = runs().filter(|(_, (_, run))| !run.is_partial()).collect();
    let mut units = Units::of(rules);
    let counted = counted(complete.len(), |run| {
        let (number, _) = complete[run];
        units.of_run(lesson, number)
    });
    let most = criteria.leave_out.min(complete.len());
    let every = complete.len().div_ceil(most.max(1)).max(1);
    let left_one_out = complete
        .iter()
        .step_by(every)
        .filter(|_| most > 1)
        .filter_map(|(number, (key, _))| {
            let others = lesson.rules(Some(*number), criteria).ok()?;
            let policy = lesson.policy(workload, &others);
            let held = Judge::of(&policy, criteria.enforcer);
            let is_denied = |one: &Showing<'_>| denies(&held, one.behavior()).is_some();
            let of_run = || lesson.of_run(*number);
            Some(LeftOut {
                run: (*key).clone(),
                denied: of_run().filter(is_denied).map(|one| one.weight()).sum(),
                of: of_run().map(|one| one.weight()).sum(),
            })
        })
        .collect();
    readiness::assess(&counted, partial.collect(), left_one_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_counts_once_and_for_what_the_fewest_runs_showed() {
        let op = |rules: &[u32]| -> (Needed, usize) {
            let units = rules.iter().map(|rule| Numbered {
                number: *rule,
                is_asked: true,
            });
            (units.collect(), 1)
        };
        let runs = [
            vec![op(&[1, 2]), op(&[1])],
            vec![op(&[1])],
            vec![op(&[1, 3])],
        ];
        let weights: Vec<Vec<usize>> = counted(runs.len(), |run| runs[run].clone())
            .iter()
            .map(|run| run.iter().map(|(_, times)| *times).collect())
            .collect();
        assert_eq!(weights, [vec![1, 1], vec![1], vec![0, 1]]);
    }
}

//! The policy held against the runs: those that it was made of, and each against the others.

use std::collections::BTreeSet;

use super::{Criteria, Lesson, NewInRun, Note, in_order};
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::generalize::{Dialect, Generalized, Need};
use crate::mention::Mention;
use crate::path::AbsPath;
use crate::policy::Policy;
use crate::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures, Verdict};
use crate::readiness::{self, LeftOut, Partial, Readiness};
use crate::workload::Workload;

fn enforcers(dialect: Dialect) -> &'static [Enforcer] {
    match dialect {
        Dialect::Bpf => &[Enforcer::Bpf],
        Dialect::AppArmor => &[Enforcer::AppArmor],
        Dialect::Both => &[Enforcer::Bpf, Enforcer::AppArmor],
    }
}

/// A policy as the enforcers hold it, under block.
pub(super) struct Held(Vec<Enforced>);

impl Held {
    pub(super) fn new(policy: &Policy, dialect: Dialect) -> Self {
        let postures = Postures::all(Posture::Block);
        let held = |enforcer: &Enforcer| Enforced::new(*enforcer, &[policy], postures);
        Self(enforcers(dialect).iter().map(held).collect())
    }

    /// Why it is not allowed; whatever cannot be told counts as denied.
    fn denies(&self, behavior: &Behavior) -> Option<String> {
        let operation = Operation::from(behavior);
        self.0.iter().find_map(|enforced| {
            let judgement = enforced.judge(&operation);
            (judgement.verdict != Verdict::Allowed).then(|| judgement.why.to_string())
        })
    }
}

/// What was learned and would be denied all the same, apart from what is left out.
pub(super) fn denied(
    lesson: &Lesson<'_>,
    rules: &Generalized,
    policy: &Policy,
    dialect: Dialect,
) -> Option<Note> {
    let held = Held::new(policy, dialect);
    let left_out: BTreeSet<&Need> = rules.left_out.iter().map(|left| &left.need).collect();
    let mut operations = BTreeSet::new();
    for learned in &lesson.learned {
        let needs = rules.needs_of(learned.behavior, learned.entry);
        if needs.iter().any(|need| left_out.contains(need)) {
            continue;
        }
        if let Some(why) = held.denies(learned.behavior) {
            operations.insert(format!("{}: {why}", learned.behavior));
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
    let held = Held::new(policy, criteria.enforcer);
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
            Some(source) => held.denies(&attempt(Some(source))).is_none(),
            None => sources.iter().any(|s| held.denies(&attempt(*s)).is_none()),
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
    let mut known: BTreeSet<Need> = BTreeSet::new();
    in_order(lesson)
        .into_iter()
        .map(|(number, key)| {
            let shown = generalised(lesson, rules, number);
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

fn generalised(lesson: &Lesson<'_>, rules: &Generalized, number: u32) -> BTreeSet<Need> {
    lesson
        .of_run(number)
        .flat_map(|learned| rules.needs_of(learned.behavior, learned.entry))
        .collect()
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
    let shown: Vec<BTreeSet<Need>> = complete
        .iter()
        .map(|(number, _)| generalised(lesson, rules, *number))
        .collect();
    let most = criteria.leave_out.min(complete.len());
    let every = complete.len().div_ceil(most.max(1)).max(1);
    let left_one_out = complete
        .iter()
        .step_by(every)
        .filter(|_| most > 1)
        .filter_map(|(number, (key, _))| {
            let others = lesson.rules(Some(*number), criteria).ok()?;
            let policy = lesson.policy(workload, &others);
            let held = Held::new(&policy, criteria.enforcer);
            let behaviors: BTreeSet<&Behavior> = lesson
                .of_run(*number)
                .map(|learned| learned.behavior)
                .collect();
            let denied = behaviors
                .iter()
                .filter(|b| held.denies(b).is_some())
                .count();
            Some(LeftOut {
                run: (*key).clone(),
                denied,
                of: behaviors.len(),
            })
        })
        .collect();
    readiness::assess(&shown, partial.collect(), left_one_out)
}

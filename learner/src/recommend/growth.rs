//! What more runs may take away, and what they may not.
//!
//! A policy from more runs is not always the wider one: a name that looked like one of many proves to
//! be the same in every run, and the rule for its class goes. So what is promised is about what was
//! seen, and about names that are told by their class alone (docs/generalisation.md, "More runs").

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::behavior::{Access, Outcome};
use crate::candidate::{Fate, Judge};
use crate::generalize::Need;
use crate::observation::{Fact, Moment, Observation};

const APP: &str = "/usr/bin/app";
const TOOL: &str = "/usr/bin/tool";

fn workload() -> Workload {
    Workload {
        namespace: "default".into(),
        kind: "CronJob".into(),
        name: "job".into(),
        container: "job".into(),
    }
}

fn path(text: &str) -> AbsPath {
    AbsPath::new(text).expect("absolute")
}

/// A name, and another one of the same class where the class alone says that it varies.
#[derive(Clone, Debug)]
struct Name {
    seen: String,
    twin: String,
}

/// Names that vary by their class whatever the runs say, in places of every tier; and those that
/// the runs decide about, which have no twin.
fn any_name() -> impl Strategy<Value = Name> {
    let place = prop::sample::select(vec![
        "/srv/data",
        "/srv/data/0123456789abcdef",
        "/srv/data/run-17",
        "/etc/app.d",
        "/usr/lib/app",
        "/tmp",
        "/var/lib/app",
        "/dev/app",
        "/run/secrets/app",
        "",
    ]);
    let twins = (place.clone(), 0..5usize, 10u32..40).prop_map(|(place, kind, n)| {
        let name = |n: u32| match kind {
            0 => format!("/proc/{n}/stat"),
            1 => format!("/proc/self/task/{n}/comm"),
            2 => format!("{place}/tmp.Ab{}Zx{}", n / 8, n / 8),
            3 => format!("{place}/tmp.Ab{}Zx{}/inner", n / 8, n / 8),
            _ => format!("{place}/..2025_06_01_12_00_{n}.123/app.yaml"),
        };
        Name {
            seen: name(n),
            twin: name(n + 50),
        }
    });
    let others = (
        place,
        prop_oneof![
            Just("config".to_owned()),
            Just("lib.so.1".to_owned()),
            (0u32..30).prop_map(|n| format!("temp-{n}.db")),
            (100_000u32..100_006).prop_map(|n| n.to_string()),
            (0u32..6).prop_map(|n| format!("{n}123456789abcdef0123")),
            "[a-c]{1,2}",
        ],
    );
    let others = others.prop_map(|(place, name)| {
        let seen = format!("{place}/{name}");
        Name {
            twin: seen.clone(),
            seen,
        }
    });
    prop_oneof![twins, others]
}

/// What was done, and the same done to the twin.
#[derive(Clone, Debug)]
struct Deed {
    seen: Behavior,
    twin: Behavior,
}

fn any_deed() -> impl Strategy<Value = Deed> {
    let op = prop::sample::select(vec![
        Op::Open(Access::Read),
        Op::Open(Access::Read),
        Op::Open(Access::Write),
        Op::Create,
        Op::Mkdir,
        Op::Unlink,
        Op::Exec,
    ]);
    let source = prop::sample::select(vec![APP, TOOL, "/usr/bin/stranger"]);
    (op, source, any_name()).prop_map(|(op, source, name)| {
        let done = |at: &str| Behavior {
            op: op.clone(),
            path: path(at),
            source: Some(path(source)),
            uid: None,
            owner: None,
            upper: None,
            tty: None,
            result: Outcome::Ok,
        };
        Deed {
            seen: done(&name.seen),
            twin: done(&name.twin),
        }
    })
}

/// Some runs, and more of them: the first few of all.
fn any_growth() -> impl Strategy<Value = (Vec<Vec<Deed>>, usize)> {
    let runs = prop::collection::vec(prop::collection::vec(any_deed(), 0..14), 2..7);
    runs.prop_flat_map(|runs| {
        let all = runs.len();
        (Just(runs), 1..all)
    })
}

fn evidence(runs: &[Vec<Deed>]) -> Evidence {
    let mut evidence = Evidence::default();
    for (deeds, number) in runs.iter().zip(0..) {
        let run = Arc::new(RunKey {
            workload: workload(),
            image: "job:1".into(),
            run: format!("job-{number}"),
        });
        let exec = |source: &str, at: &str| Behavior {
            op: Op::Exec,
            path: path(at),
            source: Some(path(source)),
            uid: None,
            owner: None,
            upper: None,
            tty: None,
            result: Outcome::Ok,
        };
        let started = [exec("/runc", APP), exec(APP, TOOL)];
        let all = started
            .into_iter()
            .chain(deeds.iter().map(|deed| deed.seen.clone()));
        let facts = all.map(|behavior| Fact::Seen {
            behavior,
            count: 1,
            last: Moment(number),
        });
        for fact in std::iter::once(Fact::Start).chain(facts) {
            evidence.fold(Observation {
                run: Arc::clone(&run),
                labels: Arc::new([("app".to_owned(), "job".to_owned())].into()),
                at: Moment(number),
                fact,
            });
        }
    }
    evidence
}

/// A policy, and what is needed for each behaviour that it was learned from.
struct Made {
    judge: Judge,
    rules: Generalized,
    learned: Vec<(Behavior, bool)>,
    left_out: BTreeSet<Need>,
    /// What the recommendation says that it does not allow.
    told: Vec<String>,
}

impl Made {
    fn of(runs: &[Vec<Deed>], criteria: &Criteria) -> Option<Self> {
        let evidence = evidence(runs);
        let lesson = Lesson::of(&workload(), &evidence, criteria).ok()?;
        let rules = lesson.rules(None, criteria).ok()?;
        let policy = lesson.policy(&workload(), &rules);
        let told = match replay::denied(&lesson, &rules, &policy, criteria.enforcer) {
            Some(Note::NotAllowed { operations }) => operations,
            _ => Vec::new(),
        };
        let learned = lesson.learned.iter();
        Some(Self {
            judge: Judge::of(&policy, criteria.enforcer),
            learned: learned
                .map(|learned| (learned.behavior.clone(), learned.entry))
                .collect(),
            left_out: rules
                .left_out
                .iter()
                .map(|left| left.need.clone())
                .collect(),
            rules,
            told,
        })
    }

    fn allows(&self, behavior: &Behavior) -> bool {
        matches!(self.judge.judge(behavior), Fate::Allowed)
    }

    fn needs(&self, behavior: &Behavior) -> Vec<Need> {
        let entry = self
            .learned
            .iter()
            .any(|(learned, entry)| learned == behavior && *entry);
        self.rules.needs_of_behavior(behavior, entry)
    }

    fn tells(&self, behavior: &Behavior) -> bool {
        let begins = format!("{behavior}: ");
        self.told.iter().any(|told| told.starts_with(&begins))
    }

    fn has_learned(&self, behavior: &Behavior) -> bool {
        self.learned.iter().any(|(learned, _)| learned == behavior)
    }
}

fn any_criteria() -> impl Strategy<Value = Criteria> {
    let tightness = prop::sample::select(vec![
        Tightness::Exact,
        Tightness::Balanced,
        Tightness::Durable,
    ]);
    let enforcer = prop::sample::select(vec![
        Dialect::Bpf,
        Dialect::AppArmor,
        Dialect::Both,
        Dialect::Learner,
    ]);
    (tightness, enforcer).prop_map(|(tightness, enforcer)| Criteria {
        tightness,
        enforcer,
        leave_out: 0,
        ..Criteria::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Nothing that was seen is lost without a word, and none for which a rule needs no more than the
    /// path that was seen.
    #[test]
    fn more_runs_take_away_nothing_that_was_seen_but_what_they_list_as_varying(
        (runs, few) in any_growth(),
        criteria in any_criteria(),
    ) {
        let Some(before) = Made::of(&runs[..few], &criteria) else { return Ok(()) };
        let Some(after) = Made::of(&runs, &criteria) else { return Ok(()) };
        for (behavior, _) in &before.learned {
            prop_assert!(after.has_learned(behavior), "{behavior} is learned no more");
        }
        for (behavior, _) in &after.learned {
            if !before.allows(behavior) || after.allows(behavior) || after.tells(behavior) {
                continue;
            }
            let listed: Vec<Need> = after
                .needs(behavior)
                .into_iter()
                .filter(|need| after.left_out.contains(need))
                .collect();
            prop_assert!(!listed.is_empty(), "{behavior} is lost");
            prop_assert!(listed.iter().any(|need| need.shape.varies()), "{behavior}: {listed:?}");
        }
    }

    /// What a class grants beyond what was seen, whatever the runs say of the name, stays granted.
    #[test]
    fn more_runs_take_away_no_name_of_a_class_that_always_varies_but_what_they_list(
        (runs, few) in any_growth(),
        criteria in any_criteria(),
    ) {
        let Some(before) = Made::of(&runs[..few], &criteria) else { return Ok(()) };
        let Some(after) = Made::of(&runs, &criteria) else { return Ok(()) };
        for deed in runs[..few].iter().flatten() {
            if !before.has_learned(&deed.seen) || !before.allows(&deed.twin) {
                continue;
            }
            let listed = after
                .needs(&deed.seen)
                .iter()
                .any(|need| after.left_out.contains(need));
            let listed = listed || after.tells(&deed.seen);
            prop_assert!(after.allows(&deed.twin) || listed, "{} is lost", deed.twin);
        }
    }
}

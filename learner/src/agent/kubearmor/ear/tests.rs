use super::*;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::candidate::Candidate;
use crate::generalize::Dialect;
use crate::path::AbsPath;
use crate::posture::{Freeze, Standing};
use crate::profile::Sighting;

const ID: &str = "5d1f0a6be0e2a7c45d1f0a6be0e2a7c45d1f0a6be0e2a7c45d1f0a6be0e2a7c4";
const OTHER: &str = "77aa0a6be0e2a7c45d1f0a6be0e2a7c45d1f0a6be0e2a7c45d1f0a6be0e2a7c4";

fn key() -> RunKey {
    RunKey {
        workload: "shop/Deployment/web".parse().expect("a workload"),
        image: "web:1".to_owned(),
        run: "5d1f0a6be0e2-2026-11-30T00:00:00Z-3".to_owned(),
    }
}

fn act(path: &str, result: Outcome, at: i64) -> (Behavior, Sighting) {
    let behavior = Behavior {
        op: Op::Open(Access::Read),
        path: AbsPath::new(path).expect("a path"),
        source: None,
        uid: None,
        owner: None,
        upper: None,
        tty: None,
        result,
    };
    let seen = Sighting {
        count: 2,
        first: Moment(at),
        last: Moment(at),
    };
    (behavior, seen)
}

fn refused() -> Outcome {
    Outcome::Failed("EACCES".to_owned())
}

fn taken(id: &str, acts: impl IntoIterator<Item = (Behavior, Sighting)>) -> Taken {
    Taken {
        alerts: [(id.to_owned(), acts.into_iter().collect())].into(),
        ..Taken::default()
    }
}

fn missed(whose: Option<&str>) -> Taken {
    let (from, to, why) = (Moment(10), Moment(20), Missed::Ended);
    Taken {
        missed: vec![(whose.map(str::to_owned), Interruption { from, to, why })],
        ..Taken::default()
    }
}

/// Frozen at this moment.
fn frozen(at: i64) -> Ledger {
    let candidate = Candidate::reads_etc(Dialect::Bpf);
    let freeze = Freeze {
        candidate: candidate.digest(),
        judged_from: Some(Moment(at)),
        window_from: Moment(at),
        blocked: None,
    };
    let since = Moment(at);
    let mut ledger = Ledger::default();
    ledger
        .follow(
            Revision::of(&key()),
            Standing::Audit { since, freeze },
            Some(candidate),
        )
        .expect("followed");
    ledger
}

/// The runs and what each did, in short.
fn shown(reports: &[Report]) -> Vec<(String, Vec<String>)> {
    let paths = |run: &RunProfile| {
        let seen = run.seen.iter();
        seen.map(|(behavior, seen)| format!("{} {}", behavior.path, seen.count))
            .collect()
    };
    let all = reports.iter();
    all.map(|(key, run)| (key.run.clone(), paths(run)))
        .collect()
}

fn both(at: i64) -> Taken {
    taken(
        ID,
        [
            act("/done", Outcome::Ok, at),
            act("/refused", refused(), at),
        ],
    )
}

#[test]
fn on_a_host_what_is_judged_or_was_refused_is_of_the_run_that_goes_on() {
    let mut sorter = Sorter::new(false);
    sorter.note(&key());
    let none = BTreeSet::new();
    let run = key().run;
    let reports = sorter.sort(both(5), &none, &Ledger::default(), Moment(6));
    assert_eq!(shown(&reports), [(run.clone(), vec!["/refused 2".into()])]);
    let reports = sorter.sort(both(100), &none, &frozen(50), Moment(101));
    // The fuller report counts, so it has what was told before.
    let both = vec!["/done 2".to_owned(), "/refused 4".to_owned()];
    assert_eq!(shown(&reports), [(run, both)]);
    assert!(
        reports
            .iter()
            .all(|(_, run)| run.is_watched() && run.lost.is_empty())
    );
}

#[test]
fn on_a_node_what_was_done_is_hearsay_that_the_job_judges() {
    let mut sorter = Sorter::new(true);
    sorter.note(&key());
    let reports = sorter.sort(both(5), &BTreeSet::new(), &Ledger::default(), Moment(6));
    assert_eq!(
        shown(&reports),
        [
            (key().run, vec!["/refused 2".to_owned()]),
            ("kubearmor-5d1f0a6be0e2".to_owned(), vec!["/done 2".into()]),
        ]
    );
    let hearsay: Vec<bool> = reports.iter().map(|(_, run)| run.is_hearsay()).collect();
    assert_eq!(hearsay, [false, true]);
}

#[test]
fn what_is_heard_before_its_run_is_known_waits_and_what_never_is_known_is_elsewhere() {
    let mut sorter = Sorter::new(true);
    let none = BTreeSet::new();
    let sort = |sorter: &mut Sorter, taken, now| {
        let reports = sorter.sort(taken, &none, &Ledger::default(), Moment(now));
        shown(&reports)
    };
    let refusal = |id: &str| taken(id, [act("/refused", refused(), 5)]);
    assert_eq!(sort(&mut sorter, refusal(ID), 6), []);
    assert_eq!(sort(&mut sorter, refusal(OTHER), 6), []);
    assert_eq!(sort(&mut sorter, refusal(ID), 7), []);
    sorter.note(&key());
    let found = sort(&mut sorter, Taken::default(), 8);
    assert_eq!(found, [(key().run, vec!["/refused 4".to_owned()])]);
    assert_eq!(sort(&mut sorter, Taken::default(), 7 + PATIENCE), []);
    assert_eq!((sorter.elsewhere, sorter.dropped), (2, 0));
}

#[test]
fn what_was_not_heard_is_a_gap_of_all_that_runs_or_of_one() {
    let mut sorter = Sorter::new(true);
    let other = RunKey {
        workload: "shop/Deployment/db".parse().expect("a workload"),
        run: "77aa0a6be0e2-2026-11-30T00:00:00Z-4".to_owned(),
        ..key()
    };
    sorter.note(&key());
    sorter.note(&other);
    let running: BTreeSet<_> = [Revision::of(&key()), Revision::of(&other)].into();
    let gaps = |sorter: &mut Sorter, taken, ledger: &Ledger| -> Vec<String> {
        let reports = sorter.sort(taken, &running, ledger, Moment(30));
        assert!(reports.iter().all(|(_, run)| run.is_gap()));
        let names = reports.iter().map(|(key, _)| key.workload.name.clone());
        names.collect()
    };
    let none = Ledger::default();
    assert_eq!(gaps(&mut sorter, missed(None), &none), ["db", "web"]);
    assert_eq!(gaps(&mut sorter, missed(Some(ID)), &none), ["web"]);
    assert_eq!(gaps(&mut sorter, missed(Some("ab")), &none), [""; 0]);
    // On a host it is known of which it matters.
    let mut sorter = Sorter::new(false);
    assert_eq!(gaps(&mut sorter, missed(None), &none), [""; 0]);
    assert_eq!(gaps(&mut sorter, missed(None), &frozen(1)), ["web"]);
}

#[test]
fn a_throttled_container_is_known_later_too() {
    let mut sorter = Sorter::new(true);
    let none = BTreeSet::new();
    let ledger = Ledger::default();
    assert_eq!(
        sorter.sort(missed(Some(ID)), &none, &ledger, Moment(21)),
        []
    );
    sorter.note(&key());
    let reports = sorter.sort(Taken::default(), &none, &ledger, Moment(22));
    assert!(
        matches!(&reports[..], [(_, gap)] if gap.is_gap()),
        "{reports:?}"
    );
}

#[test]
fn alerts_of_strangers_without_end_are_bounded_and_said() {
    let mut sorter = Sorter::new(true);
    let running: BTreeSet<_> = [Revision::of(&key())].into();
    let many = (0..MAX_HELD + 7).map(|n| act(&format!("/made/{n}"), refused(), 5));
    let reports = sorter.sort(taken(OTHER, many), &running, &Ledger::default(), Moment(6));
    assert_eq!(sorter.dropped, 14);
    assert!(
        matches!(&reports[..], [(_, gap)] if gap.is_gap()),
        "{reports:?}"
    );
    let held: usize = sorter.held.values().map(|(_, acts)| acts.len()).sum();
    assert_eq!(held, MAX_HELD);
}

#[test]
fn of_runs_that_have_ended_the_last_are_remembered() {
    let mut sorter = Sorter::new(false);
    for number in 0..MAX_RUNS + 10 {
        sorter.note(&RunKey {
            run: format!("{number:012x}-2026-{number}"),
            ..key()
        });
    }
    sorter.note(&RunKey {
        run: "nginx.service-2026-3".to_owned(),
        ..key()
    });
    assert_eq!(sorter.runs.len(), MAX_RUNS);
    assert!(sorter.run(&format!("{:012x}", MAX_RUNS + 9)).is_some());
    assert!(sorter.run(&format!("{:012x}", 0)).is_none());
}

use std::collections::BTreeMap;

use super::*;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::digest::Digest;
use crate::observation::Loss;
use crate::path::AbsPath;
use crate::posture::Freeze;
use crate::profile::{RunProfile, Sighting};
use crate::workload::RunKey;
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;

fn freeze() -> Freeze {
    Freeze {
        candidate: Digest::of(b"policy"),
        judged_from: Some(Moment(100)),
        window_from: Moment(100),
        blocked: None,
    }
}

fn audit() -> Standing {
    Standing::Audit {
        since: Moment(100),
        freeze: freeze(),
    }
}

fn block(canary_until: i64) -> Standing {
    Standing::Block {
        since: Moment(100),
        freeze: freeze(),
        canary_until: Moment(canary_until),
        slice: None,
    }
}

/// Nothing speaks against it.
fn good() -> Figures {
    Figures {
        runs: 4,
        whole: 4,
        started: 1,
        active: 9,
        quiet: Criteria::default().window,
        quiet_from: Some(Moment(100)),
        rules: 10,
        hit: 7,
        risk: Some(0.4),
        ..Figures::default()
    }
}

fn listed(names: &[&str]) -> Listed {
    names.iter().collect()
}

fn words(verdict: &Verdict) -> Vec<&'static str> {
    match verdict {
        Verdict::Hold(reasons) => reasons.iter().map(Reason::word).collect(),
        other => panic!("{other:?}"),
    }
}

fn decided(figures: &Figures, criteria: &Criteria) -> Verdict {
    decide(Some(&audit()), figures, criteria, Moment(1_000))
}

#[test]
fn nothing_against_it_promotes() {
    assert_eq!(decided(&good(), &Criteria::default()), Verdict::Promote);
    let strict = Criteria {
        min_exercise: Some(0.7),
        max_risk: Some(0.4),
        ..Criteria::default()
    };
    assert_eq!(decided(&good(), &strict), Verdict::Promote);
}

#[test]
fn each_figure_that_is_short_holds_and_all_of_them_are_named() {
    type Change = fn(&mut Figures);
    let all: [(&str, Change); 10] = [
        ("alerts", |f| {
            f.alerts = Some(Opened {
                since: Moment(200),
                last: Moment(300),
                alerts: listed(&["open /etc/x by /bin/y"]),
            });
        }),
        ("not-quiet", |f| f.quiet -= 1),
        ("idle", |f| f.active = 0),
        ("no-start", |f| f.started = 0),
        ("too-few-runs", |f| f.whole = 2),
        ("unexercised", |f| f.hit = 4),
        ("undecided", |f| f.undecided = listed(&["exec /bin/sh"])),
        ("risk", |f| f.risk = None),
        ("allows-forgotten", |f| {
            f.allows_forgotten = listed(&["/etc/shadow"]);
        }),
        ("denies-its-own", |f| {
            f.own_denied = listed(&["exec /bin/sh"])
        }),
    ];
    let criteria = Criteria {
        min_exercise: Some(0.5),
        max_risk: Some(0.5),
        ..Criteria::default()
    };
    let mut worst = good();
    for (word, change) in all {
        let mut figures = good();
        change(&mut figures);
        change(&mut worst);
        assert_eq!(words(&decided(&figures, &criteria)), [word]);
    }
    let every: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
    assert_eq!(words(&decided(&worst, &criteria)), every);
}

#[test]
fn a_held_workload_is_told_why_with_the_numbers() {
    let named: Vec<String> = (1..8)
        .map(|n| format!("open /etc/{n} by /usr/sbin/ldconfig"))
        .collect();
    let alerts = Reason::Alerts {
        since: Moment(1_764_036_840 * SECOND),
        alerts: named.iter().take(3).collect(),
    };
    assert_eq!(
        alerts.to_string(),
        "3 alerts since 2025-11-25T02:14:00Z (open /etc/1 by /usr/sbin/ldconfig, open /etc/2 by \
         /usr/sbin/ldconfig, open /etc/3 by /usr/sbin/ldconfig)"
    );
    let many: Listed = named.iter().collect();
    assert_eq!((many.count, many.named.len()), (7, NAMED));
    assert!(
        many.to_string()
            .ends_with("open /etc/5 by /usr/sbin/ldconfig, …)")
    );
    let quiet = Reason::NotQuiet {
        quiet: (6 * 3_600 + 12 * 60) * 1_000_000,
        window: 24 * 3_600 * 1_000_000,
        unwatched: Listed::default(),
        interruptions: Listed::default(),
    };
    assert_eq!(quiet.to_string(), "6h 12m of 24h quiet");
}

#[test]
fn a_present_before_the_posture_began_holds_whatever_else() {
    let before = Moment(99);
    let verdict = decide(Some(&audit()), &good(), &Criteria::default(), before);
    assert_eq!(words(&verdict), ["clock-behind"]);
    let learning = Standing::Learning { since: Moment(100) };
    let verdict = decide(Some(&learning), &good(), &Criteria::default(), before);
    assert_eq!(words(&verdict), ["clock-behind"]);
}

#[test]
fn a_denial_rolls_back_by_the_canary_or_as_told() {
    let denied = |at| Figures {
        denial: Some(Seen {
            at: Moment(at),
            what: "exec /bin/sh".to_owned(),
            why: "no rule".to_owned(),
        }),
        ..good()
    };
    let by = |rollback, at| {
        let criteria = Criteria {
            rollback,
            ..Criteria::default()
        };
        let verdict = decide(Some(&block(500)), &denied(at), &criteria, Moment(1_000));
        matches!(verdict, Verdict::Demote(Reason::Denial { .. }))
    };
    assert!(by(Rollback::Canary, 499) && !by(Rollback::Canary, 500));
    assert!(by(Rollback::Always, 499) && by(Rollback::Always, 900));
    assert!(!by(Rollback::Never, 499));
    let quiet = decide(
        Some(&block(500)),
        &good(),
        &Criteria::default(),
        Moment(400),
    );
    assert_eq!(quiet, Verdict::Stay);
}

#[test]
fn a_workload_without_a_whole_run_stays_in_learning() {
    let mut figures = Figures::default();
    assert_eq!(
        decide(None, &figures, &Criteria::default(), Moment(0)),
        Verdict::Promote
    );
    figures.no_freeze.push(Reason::NoWholeRun {
        runs: 2,
        since: None,
    });
    let verdict = decide(None, &figures, &Criteria::default(), Moment(0));
    assert_eq!(words(&verdict), ["no-whole-run"]);
}

proptest! {
    /// Nothing that is promoted to block breaks a promise.
    #[test]
    fn what_is_promoted_to_block_keeps_the_promises(
        quiet in 0u64..200, window in 0u64..200, started in 0usize..3, active in 0usize..3,
        whole in 0usize..5, min_runs in 0usize..5, undecided in 0usize..2, own in 0usize..2,
        alerts in any::<bool>(), now in 0i64..200,
    ) {
        let names = ["x"];
        let figures = Figures {
            quiet, started, active, whole,
            undecided: listed(&names[..undecided]),
            own_denied: listed(&names[..own]),
            alerts: alerts.then(|| Opened { since: Moment(1), last: Moment(2), alerts: listed(&names) }),
            ..good()
        };
        let criteria = Criteria { window, min_runs, ..Criteria::default() };
        let promoted = decide(Some(&audit()), &figures, &criteria, Moment(now)) == Verdict::Promote;
        let kept = quiet >= window && started > 0 && active > 0 && whole >= min_runs
            && undecided == 0 && own == 0 && !alerts && now >= 100;
        prop_assert_eq!(promoted, kept);
    }
}

fn seen(first: i64, last: i64) -> Sighting {
    Sighting {
        count: 1,
        first: Moment(first * SECOND),
        last: Moment(last * SECOND),
    }
}

fn did(path: &str) -> Behavior {
    Behavior {
        op: Op::Open(Access::Read),
        path: AbsPath::try_from(path).expect("absolute"),
        source: None,
        uid: None,
        owner: None,
        upper: None,
        tty: None,
        result: Outcome::Ok,
    }
}

fn key(run: &str) -> RunKey {
    RunKey {
        workload: "shop/Deployment/web".parse().expect("a workload"),
        image: String::new(),
        run: run.to_owned(),
    }
}

/// A run between two seconds.
fn run(start: Option<i64>, stop: Option<i64>, sightings: &[(i64, i64)]) -> RunProfile {
    let moment = |at: i64| Moment(at * SECOND);
    RunProfile {
        start: start.map(moment),
        stop: stop.map(moment),
        seen: (0..)
            .zip(sightings)
            .map(|(n, (first, last))| (did(&format!("/{n}")), seen(*first, *last)))
            .collect(),
        ..RunProfile::default()
    }
}

fn quiet_of(runs: &[RunProfile], from: i64, now: i64) -> (u64, Vec<Unwatched>) {
    let keys: Vec<RunKey> = (0..runs.len()).map(|n| key(&n.to_string())).collect();
    let runs: Vec<_> = keys.iter().zip(runs).collect();
    let found = quiet(&runs, Moment(from * SECOND), Moment(now * SECOND));
    (
        found.spans.total().as_secs(),
        found.unwatched.into_values().collect(),
    )
}

#[test]
fn a_run_is_watched_from_its_start_to_its_stop_or_to_what_was_last_seen() {
    let late = RunProfile {
        late: true,
        ..run(None, None, &[(30, 40), (50, 55)])
    };
    for (what, wanted) in [
        (run(Some(10), Some(70), &[(20, 30)]), 60),
        (run(Some(10), None, &[(20, 30)]), 20),
        (run(None, None, &[(20, 30)]), 10),
        (late, 25),
        (run(Some(10), None, &[]), 0),
        (run(None, Some(10), &[]), 0),
        (RunProfile::default(), 0),
    ] {
        assert_eq!(
            quiet_of(std::slice::from_ref(&what), 0, 100),
            (wanted, vec![]),
            "{what:?}"
        );
    }
}

#[test]
fn only_what_lies_in_the_window_counts() {
    let whole = run(Some(10), Some(70), &[]);
    assert_eq!(quiet_of(std::slice::from_ref(&whole), 50, 100).0, 20);
    assert_eq!(quiet_of(std::slice::from_ref(&whole), 80, 100).0, 0);
    // Still within the tolerance: cut at the present.
    assert_eq!(quiet_of(&[whole], 50, 66), (16, vec![]));
}

#[test]
fn a_run_that_the_clock_was_set_in_counts_for_nothing_and_says_so() {
    let by = 6_000_000;
    for (what, wanted) in [
        (run(Some(50), Some(44), &[]), Unwatched::Backwards { by }),
        (
            run(Some(50), Some(60), &[(44, 55)]),
            Unwatched::OutOfBounds { by },
        ),
        (
            run(Some(50), Some(60), &[(55, 66)]),
            Unwatched::OutOfBounds { by },
        ),
        (run(Some(50), Some(106), &[]), Unwatched::Ahead { by }),
    ] {
        assert_eq!(quiet_of(&[what], 0, 100), (0, vec![wanted]));
    }
    // An event on its way when the run ended.
    assert_eq!(
        quiet_of(&[run(Some(50), Some(60), &[(46, 64)])], 0, 100),
        (10, vec![])
    );
    // Before the window nobody asks.
    assert_eq!(
        quiet_of(&[run(Some(50), Some(44), &[])], 60, 100),
        (0, vec![])
    );
}

proptest! {
    /// However the runs lie: never more than the time there was, and none that a lossy run covers.
    #[test]
    fn quiet_time_is_never_more_than_the_time_there_was(
        spans in prop::collection::vec((0i64..100, 0i64..100, any::<bool>()), 0..6),
        from in 0i64..100,
        now in 0i64..100,
    ) {
        let runs: Vec<RunProfile> = spans.iter().map(|(start, stop, lossy)| RunProfile {
            lost: if *lossy { BTreeMap::from([(Loss::RingFull, 1)]) } else { BTreeMap::new() },
            ..run(Some(*start), Some(*stop), &[])
        }).collect();
        let covered = |second: i64, lossy: bool| spans.iter().any(|(start, stop, is_lossy)| {
            *is_lossy == lossy && *start <= second && second < *stop
                && (lossy || *stop - now <= 5)
        });
        let wanted = (from..now).filter(|s| covered(*s, false) && !covered(*s, true)).count();
        prop_assert!(quiet_of(&runs, from, now).0 <= wanted as u64);
        prop_assert!(quiet_of(&runs, from, now).0 <= (now - from).max(0) as u64);
    }
}

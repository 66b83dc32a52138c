//! Bounds and names.

use std::collections::BTreeMap;
use std::fs;

use learner::behavior::{Behavior, Op};
use learner::observation::{Loss, Moment};
use learner::profile::{Evidence, RunProfile};
use learner::store::{Options, Store, StoreError};

use crate::world::*;

#[test]
fn beyond_the_limit_events_are_counted_as_lost_and_once() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let options = Options { max_behaviors: 10 };
    let store = Store::open_with(&dir, options).expect("open");
    store.fold(&run("a"), &profile(4, 1)).expect("fold");
    let mut report = profile(25, 3);
    report.lose(Loss::Store, 2);
    // Six more fit: the limit is over both runs.
    let folded = store.fold(&run("b"), &report).expect("fold");
    assert_eq!(folded.over, 19 * 3);
    let runs = everything(&store);
    assert_eq!(runs[&run("b")].seen.len(), 6);
    assert_eq!(runs[&run("b")].lost[&Loss::Store], 2 + 19 * 3);

    let size = store.size_on_disk().expect("size");
    for _ in 0..3 {
        let again = store.fold(&run("b"), &report).expect("fold");
        assert_eq!((again.records, again.fold), (0, folded.fold));
    }
    assert_eq!(everything(&store), runs);
    assert_eq!(store.size_on_disk().expect("size"), size);

    // Another image is another revision, with room of its own; what is known still counts up.
    let mut other = run("b");
    other.image = "img@sha256:1".into();
    assert_eq!(store.fold(&other, &profile(9, 1)).expect("fold").over, 0);
    store.fold(&run("a"), &profile(4, 8)).expect("fold");
    assert_eq!(everything(&store)[&run("a")], profile(4, 8));
}

#[test]
fn paths_of_full_length_fill_a_leaf_and_longer_ones_are_counted() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let long = |n: usize, len: usize| path(&format!("/{n:06}{}", "x".repeat(len - 7)));
    let mut report = RunProfile::default();
    for n in 0..120 {
        let behavior = Behavior {
            op: Op::Rename { to: long(n, 4095) },
            path: long(n, 4095),
            source: Some(long(n, 4095)),
            ..opened("/x")
        };
        report.seen.insert(behavior, times(1));
    }
    let mut expected = report.clone();
    let huge = Behavior {
        path: long(0, 20_000),
        ..opened("/x")
    };
    report.seen.insert(huge, times(5));
    expected.lose(Loss::Store, 5);
    let store = Store::open(&dir).expect("open");
    store.fold(&run("a"), &report).expect("fold");
    drop(store);
    assert_eq!(
        fs::read_dir(dir.join("sled/blobs")).expect("list").count(),
        0,
        "no page went to a file of its own"
    );
    let store = Store::open(&dir).expect("open");
    assert_eq!(everything(&store)[&run("a")], expected);

    let error = store
        .fold(&run(&"y".repeat(20_000)), &profile(3, 1))
        .expect_err("too large");
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert!(error.to_string().len() < 500);
    assert_eq!(everything(&store)[&run("a")], expected);
}

#[test]
fn hostile_names_do_not_stand_in_for_one_another() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let store = Store::open(&tmp.path().join("store")).expect("open");
    let names = [
        "", "a", "a/b", "b/a", "a\0", "\0a", "a\u{1}", "\n", "é", "../x",
    ];
    let mut expected = BTreeMap::new();
    let mut n = 0;
    for name in names {
        for image in names {
            for id in ["", "a", "a\0b"] {
                let mut key = run(id);
                key.workload.name = name.into();
                key.workload.container = id.into();
                key.image = image.into();
                n += 1;
                let mut report = profile(1, n);
                report.labels.insert(name.into(), image.into());
                expected.insert(key, report);
            }
        }
    }
    let mut evidence = Evidence::default();
    for (key, report) in &expected {
        evidence.insert(key.clone(), report.clone());
    }
    store.fold_all(&evidence).expect("fold");
    assert_eq!(everything(&store), expected);
}

#[test]
fn a_summary_says_what_the_run_holds() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let store = Store::open(&dir).expect("open");
    assert_eq!(store.summaries().expect("summaries"), []);
    let mut report = profile(7, 3);
    report.lose(Loss::RingFull, 4);
    report.late = true;
    store.fold(&run("a"), &report).expect("fold");
    drop(store);
    let store = Store::open(&dir).expect("open");
    let [summary] = &store.summaries().expect("summaries")[..] else {
        panic!("one run");
    };
    assert_eq!(summary.key, run("a"));
    assert_eq!(summary.behaviors, 7);
    assert_eq!(summary.events, 21);
    assert_eq!(summary.first, Some(Moment(1_000)));
    assert_eq!(summary.last, Some(Moment(1_003)));
    assert_eq!(summary.lost, report.lost);
    assert_eq!(summary.start, report.start);
    assert!(summary.late);
}

//! Tombstones: what is not to be learned again.

use std::fs;

use learner::behavior::OpKind;
use learner::mention::{Mention, Tombstones};
use learner::path::AbsPath;
use learner::quarantine::{Include, sort};
use learner::store::{Store, StoreError};
use learner::workload::Workload;

use crate::world::*;

fn named(text: &[u8]) -> (Workload, Mention) {
    let mention = Mention::parse(text).expect("a mention");
    (run("").workload, mention)
}

/// Newlines, bytes that are not UTF-8, colons, a name as long as Linux has them.
fn hostile() -> Vec<(Workload, Mention)> {
    let mut long = vec![b'/'; 4_096];
    long[1..].fill(0xff);
    let source = AbsPath::new(long.clone()).expect("absolute");
    vec![
        named(b"/tmp/a\nb: [x]\xff\x1b[31m"),
        named(b"exec:/tmp/: 'y"),
        (
            run("").workload,
            Mention {
                op: OpKind::parse("rename"),
                path: AbsPath::new(long).expect("absolute"),
                source: Some(source),
            },
        ),
    ]
}

fn format_of(dir: &std::path::Path) -> String {
    fs::read_to_string(dir.join("FORMAT")).expect("FORMAT")
}

#[test]
fn what_was_forgotten_is_so_after_opening_again_whatever_its_name() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let store = Store::open(&dir).expect("open");
    assert_eq!(store.forget(hostile()).expect("forget"), 3);
    assert_eq!(store.forget(hostile()).expect("again"), 0);
    drop(store);
    let wanted: Tombstones = hostile().into_iter().collect();
    let store = Store::open(&dir).expect("open");
    assert_eq!(store.tombstones().expect("tombstones"), wanted);
}

#[test]
fn what_was_forgotten_is_not_learned_from_evidence_that_comes_again() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let (report, key) = (profile(4, 1), run("a"));
    let learned = |store: &Store| {
        let evidence = store.load(|_| true).expect("load");
        assert_eq!(evidence.runs()[&key].seen.len(), 4, "evidence was touched");
        let runs: Vec<_> = evidence.runs().iter().collect();
        let tombstones = store.tombstones().expect("tombstones");
        sort(&runs, &Include::default(), &tombstones).learned[&key].len()
    };
    let store = Store::open(&dir).expect("open");
    store.fold(&key, &report).expect("fold");
    assert_eq!(learned(&store), 4);
    store.forget([named(b"/srv/data/000002")]).expect("forget");
    assert_eq!(learned(&store), 3);
    store.fold(&key, &profile(4, 9)).expect("fold again");
    drop(store);
    let store = Store::open(&dir).expect("open");
    assert_eq!(learned(&store), 3);
    let other = run("b");
    store.fold(&other, &report).expect("fold another");
    assert_eq!(learned(&store), 3);
    assert_eq!(
        store.unforget([named(b"/srv/data/000002")]).expect("undo"),
        1
    );
    assert_eq!(learned(&store), 4);
}

#[test]
fn a_tombstone_can_be_taken_away_and_set_again() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let (kept, undone) = (named(b"/kept"), named(b"/undone"));
    {
        let store = Store::open(&dir).expect("open");
        assert_eq!(store.unforget([undone.clone()]).expect("nothing there"), 0);
        assert_eq!(format_of(&dir), "learner store, format 1\n");
        store
            .forget([kept.clone(), undone.clone()])
            .expect("forget");
        assert_eq!(store.unforget([undone.clone()]).expect("undo"), 1);
        assert_eq!(store.unforget([undone.clone()]).expect("again"), 0);
    }
    {
        let store = Store::open(&dir).expect("open");
        let standing: Tombstones = [kept.clone()].into_iter().collect();
        assert_eq!(store.tombstones().expect("tombstones"), standing);
        assert_eq!(
            store.forget([undone.clone(), undone.clone()]).expect("set"),
            1
        );
    }
    let store = Store::open(&dir).expect("open");
    let standing: Tombstones = [kept, undone].into_iter().collect();
    assert_eq!(store.tombstones().expect("tombstones"), standing);
}

/// An older Learner reads formats up to 1: it may open a store until there is a tombstone in it, and
/// never after.
#[test]
fn a_store_has_the_older_format_until_something_is_forgotten() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let report = profile(4, 1);
    {
        let store = Store::open(&dir).expect("open");
        store.fold(&run("a"), &report).expect("fold");
        assert_eq!(format_of(&dir), "learner store, format 1\n");
        store.forget([named(b"/x")]).expect("forget");
        assert_eq!(format_of(&dir), "learner store, format 2\n");
        store.unforget([named(b"/x")]).expect("undo");
        store.fold(&run("b"), &report).expect("fold");
    }
    assert_eq!(format_of(&dir), "learner store, format 2\n");
    let store = Store::open(&dir).expect("open");
    assert_eq!(everything(&store).len(), 2);
    assert!(store.tombstones().expect("tombstones").is_empty());
}

/// Killed between the file `FORMAT` and the tombstone.
#[test]
fn a_format_that_runs_ahead_of_its_first_tombstone_is_no_damage() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let store = Store::open(&dir).expect("open");
    store.fold(&run("a"), &profile(4, 1)).expect("fold");
    drop(store);
    fs::write(dir.join("FORMAT"), "learner store, format 2\n").expect("write");
    let store = Store::open(&dir).expect("open");
    assert_eq!(everything(&store).len(), 1);
    assert_eq!(store.forget([named(b"/x")]).expect("forget"), 1);
}

#[test]
fn a_tombstone_that_does_not_fit_a_record_is_refused_and_nothing_is_changed() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let store = Store::open(&dir).expect("open");
    let long = AbsPath::new(vec![b'/'; 20_000]).expect("absolute");
    let (workload, mention) = named(b"/x");
    let too_long = Mention {
        path: long,
        ..mention.clone()
    };
    let error = store
        .forget([(workload.clone(), mention), (workload, too_long)])
        .expect_err("refused");
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert!(store.tombstones().expect("tombstones").is_empty());
    assert_eq!(format_of(&dir), "learner store, format 1\n");
}

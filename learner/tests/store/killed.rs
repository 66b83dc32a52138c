//! Killed in the middle, and one at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use learner::profile::Evidence;
use learner::store::{Options, Store, StoreError};
use learner::workload::RunKey;

use crate::world::*;

const TOGETHER: usize = 3;

/// Runs that are folded together, in their first and their final version.
fn group(round: usize, n: usize, version: u64) -> Evidence {
    let mut evidence = Evidence::default();
    for member in 0..TOGETHER {
        let size = 20 + (n * 37 + member * 11) % 150;
        let behaviors = if version == 1 { size / 2 } else { size };
        evidence.insert(
            run(&format!("{round}-{n}-{member}")),
            profile(behaviors, version),
        );
    }
    evidence
}

#[test]
#[ignore = "the child of another test"]
fn child_folds_until_it_is_killed() {
    let Some((dir, round)) = task() else { return };
    // A fast machine folds more than the default limit keeps.
    let options = Options {
        max_behaviors: usize::MAX,
    };
    let store = Store::open_with(&dir, options).expect("open");
    say("open");
    for n in 0.. {
        for version in [1, 2] {
            let folded = store.fold_all(&group(round, n, version)).expect("fold");
            assert_eq!(folded.over, 0);
            if !say(&format!("{n} {version}")) {
                return;
            }
        }
    }
}

#[test]
fn a_fold_is_whole_or_not_there_however_often_the_process_is_killed() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let mut dice = Dice(1);
    let mut confirmed: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let rounds = 36;
    for round in 0..rounds {
        if round == rounds / 2 {
            // Once more from nothing.
            fs::remove_dir_all(&dir).expect("remove");
            confirmed.clear();
        }
        let mut child = child("killed::child_folds_until_it_is_killed", &dir, round);
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        let reader = {
            let (open, opened) = std::sync::mpsc::channel();
            let lines = std::thread::spawn(move || {
                let mut folds = Vec::new();
                for line in out.lines().map_while(Result::ok) {
                    match said(&line) {
                        Some("open") => drop(open.send(())),
                        Some(fold) => folds.push(fold.to_owned()),
                        None => {}
                    }
                }
                folds
            });
            // Every third time it may be killed while opening, the first time while making.
            if round % 3 != 0 {
                opened.recv().expect("the child opens the store");
            }
            lines
        };
        std::thread::sleep(Duration::from_micros(dice.roll() % 250_000));
        child.kill().expect("kill");
        child.wait().expect("wait");
        for fold in reader.join().expect("reader") {
            let (n, version) = fold.split_once(' ').expect("two numbers");
            let n = n.parse().expect("number");
            let version = version.parse().expect("number");
            confirmed.insert((round, n), version);
        }

        let store = Store::open(&dir).expect("the store opens after a kill");
        let runs = everything(&store);
        for ((round, n), version) in &confirmed {
            let there = group(*round, *n, *version);
            let after = group(*round, *n, 2);
            let now = |key: &RunKey| runs.get(key);
            let is_before = there.runs().iter().all(|(key, run)| now(key) == Some(run));
            let is_after = after.runs().iter().all(|(key, run)| now(key) == Some(run));
            assert!(is_before || is_after, "confirmed: {round}-{n} {version}");
        }
        // What was not confirmed is there whole, all three runs of it, or not at all.
        assert_eq!(runs.len() % TOGETHER, 0);
        for key in runs.keys() {
            let numbers: Vec<usize> = key
                .run
                .split('-')
                .map(|part| part.parse().expect("number"))
                .collect();
            let is = |version| {
                group(numbers[0], numbers[1], version)
                    .runs()
                    .iter()
                    .all(|(key, run)| runs.get(key) == Some(run))
            };
            assert!(is(1) || is(2), "in part: {}", key.run);
        }
    }
    eprintln!("{rounds} kills, {} confirmed groups", confirmed.len());
    assert!(confirmed.len() > rounds / 3, "hardly any fold was reached");
}

/// Two runs that say the same number.
fn pair(version: u64) -> Evidence {
    let mut evidence = Evidence::default();
    for name in ["a", "b"] {
        evidence.insert(run(name), profile(700, version));
    }
    evidence
}

#[test]
#[ignore = "the child of another test"]
fn child_rewrites_until_it_is_killed() {
    let Some((dir, before)) = task() else { return };
    let store = Store::open(&dir).expect("open");
    for version in before as u64 + 1.. {
        store.fold_all(&pair(version)).expect("fold");
        if !say(&version.to_string()) {
            return;
        }
    }
}

/// Here sled's cleaner moves pages and reuses segments while the process is killed.
#[test]
fn what_is_rewritten_again_and_again_survives_kills() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let mut dice = Dice(2);
    let mut last = 0;
    for round in 0..20 {
        let mut child = child(
            "killed::child_rewrites_until_it_is_killed",
            &dir,
            last as usize,
        );
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        let wanted = 1 + dice.below(15);
        let delay = Duration::from_micros(dice.roll() % 40_000);
        let mut lines = out.lines().map_while(Result::ok);
        let mut confirmed = last;
        let mut hear = |line: String| {
            if let Some(version) = said(&line) {
                confirmed = version.parse().expect("number");
            }
        };
        for line in lines
            .by_ref()
            .filter(|line| said(line).is_some())
            .take(wanted)
        {
            hear(line);
        }
        std::thread::sleep(delay);
        child.kill().expect("kill");
        child.wait().expect("wait");
        lines.for_each(hear);

        let store = Store::open(&dir).expect("the store opens after a kill");
        let runs = everything(&store);
        let found = runs[&run("a")].seen[&opened("/srv/data/000000")].count;
        assert!(found >= confirmed, "round {round}: {found} < {confirmed}");
        assert!(runs == *pair(found).runs(), "round {round}: in part");
        last = found;
    }
    eprintln!("rewritten {last} times");
}

#[test]
#[ignore = "the child of another test"]
fn child_holds_the_store() {
    let Some((dir, _)) = task() else { return };
    let _store = Store::open(&dir).expect("open");
    say("open");
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_second_process_is_told_who_is_in_the_way_and_gets_in_afterwards() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let mut child = child("killed::child_holds_the_store", &dir, 0);
    let out = BufReader::new(child.stdout.take().expect("stdout"));
    assert!(
        out.lines()
            .map_while(Result::ok)
            .any(|line| said(&line) == Some("open"))
    );
    let error = Store::open(&dir).expect_err("locked");
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "{}: another process has the store open; stop it, or use another store with --store DIR",
            dir.display()
        )
    );
    child.kill().expect("kill");
    child.wait().expect("wait");
    Store::open(&dir).expect("free again");
}

#[test]
fn a_store_that_was_closed_opens_at_once_in_the_same_process() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    for n in 1..=10 {
        let store = Store::open(&dir).expect("open");
        store.fold(&run("a"), &profile(50, n)).expect("fold");
        assert_eq!(everything(&store)[&run("a")], profile(50, n));
    }
}

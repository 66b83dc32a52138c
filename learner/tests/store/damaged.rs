//! Other formats, damage, loss.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use learner::mention::Mention;
use learner::observation::Loss;
use learner::profile::RunProfile;
use learner::store::{Store, StoreError};
use learner::workload::{RunKey, Workload};

use crate::world::*;

/// A closed store of some folds and openings, and what is in it.
fn example(dir: &Path) -> BTreeMap<RunKey, RunProfile> {
    for opening in 0..3u64 {
        let store = Store::open(dir).expect("open");
        store.forget(forgotten()).expect("forget");
        for n in 0..6 {
            let mut report = profile(5 + n * 9, 1 + opening);
            report.lose(Loss::RingFull, opening);
            store
                .fold(&run(&format!("{opening}-{}", n / 2)), &report)
                .expect("fold");
        }
    }
    let store = Store::open(dir).expect("open");
    everything(&store)
}

fn forgotten() -> [(Workload, Mention); 1] {
    let mention = Mention::parse(b"/srv/data/000001").expect("a mention");
    [(run("").workload, mention)]
}

#[test]
#[ignore = "the child of another test"]
fn child_leaves_an_unclosed_store() {
    let Some((dir, _)) = task() else { return };
    let scale = number("LEARNER_STORE_SCALE").unwrap_or(1) as usize;
    let store = Store::open(&dir).expect("open");
    for n in 0..12 {
        store
            .fold(&run(&format!("u-{}", n / 3)), &profile(scale * 8 * n, 4))
            .expect("fold");
    }
    say("open");
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// As [`example`], with more in it, and left behind by a process that was killed.
fn example_of_a_killed_process(dir: &Path) -> BTreeMap<RunKey, RunProfile> {
    example(dir);
    let mut child = child("damaged::child_leaves_an_unclosed_store", dir, 0);
    let out = BufReader::new(child.stdout.take().expect("stdout"));
    assert!(
        out.lines()
            .map_while(Result::ok)
            .any(|line| said(&line) == Some("open"))
    );
    child.kill().expect("kill");
    child.wait().expect("wait");
    let look = dir.with_extension("look");
    copy(dir, &look);
    let store = Store::open(&look).expect("open");
    everything(&store)
}

/// From the environment, for longer tests by hand.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_future_format_is_refused_and_the_directory_is_left_as_it_was() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    example(&dir);
    fs::write(dir.join("FORMAT"), "learner store, format 4\n").expect("write");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    let before = contents(tmp.path());
    let error = Store::open(&dir).expect_err("refused");
    assert_eq!(
        error.to_string(),
        format!(
            "{}: the store has format 4 and this learner knows formats up to 3; use the learner \
             that wrote it, or another store with --store DIR",
            dir.display()
        )
    );
    assert!(before == contents(tmp.path()), "something was touched");
}

#[test]
fn a_flipped_bit_anywhere_gives_an_error_or_the_same_data() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let expected = example(&dir);
    flip_bits(&dir, &expected);
}

#[test]
fn a_flipped_bit_in_what_a_killed_process_left_gives_an_error_or_the_same_data() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let expected = example_of_a_killed_process(&dir);
    flip_bits(&dir, &expected);
}

fn flip_bits(dir: &Path, expected: &BTreeMap<RunKey, RunProfile>) {
    let files: Vec<(PathBuf, Vec<u8>)> = contents(dir)
        .into_iter()
        .filter(|(_, (_, bytes))| !bytes.is_empty())
        .map(|(path, (_, bytes))| {
            let name = path.strip_prefix(dir).expect("below").to_owned();
            (name, bytes)
        })
        .collect();
    let rounds = number("LEARNER_STORE_FLIPS").unwrap_or(120);
    let seed = number("LEARNER_STORE_SEED").unwrap_or(7);
    let mut counts = BTreeMap::new();
    for round in 0..rounds {
        let mut dice = Dice(seed << 32 | round);
        // Half of all flips hit sled's log, and there mostly what is not empty.
        let (name, bytes) = match dice.below(2) {
            0 => files
                .iter()
                .find(|(name, _)| name.ends_with("sled/db"))
                .expect("sled's log"),
            _ => &files[dice.below(files.len())],
        };
        let mut at = dice.below(bytes.len());
        while name.ends_with("db") && bytes[at] == 0 && dice.below(8) != 0 {
            at = dice.below(bytes.len());
        }
        let bit = dice.below(8);
        let hurt = dir.with_extension("hurt");
        copy(dir, &hurt);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(hurt.join(name), flipped).expect("write");
        let what = format!(
            "seed {seed} round {round}: {} bit {at}.{bit}",
            name.display()
        );
        if number("LEARNER_STORE_FLIPS").is_some() {
            eprintln!("{what}");
        }
        // The second opening sees what the first one's recovery has written.
        for opening in ["first", "second"] {
            let again = dir.with_extension("again");
            copy(&hurt, &again);
            fs::remove_dir_all(&hurt).expect("remove");
            fs::rename(&again, &hurt).expect("rename");
            let outcome = Store::open(&hurt)
                .and_then(|store| Ok((store.load(|_| true)?, store.tombstones()?)));
            let verdict = match outcome {
                Ok((evidence, tombstones)) => {
                    let kept = forgotten().into_iter().collect();
                    assert_eq!(tombstones, kept, "{opening} {what}");
                    assert!(evidence.runs() == expected, "{opening} {what}: other data");
                    "same".to_owned()
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(hurt.to_str().expect("UTF-8")), "{text}");
                    let debug = format!("{error:?}");
                    let kind = debug.split([' ', '{']).next();
                    kind.unwrap_or_default().to_owned()
                }
            };
            let file = name.with_extension("").display().to_string();
            *counts.entry((file, opening, verdict)).or_insert(0) += 1;
        }
        fs::remove_dir_all(&hurt).expect("remove");
    }
    for ((file, opening, verdict), times) in counts {
        eprintln!("{file}, {opening} opening: {verdict} {times}");
    }
}

#[test]
fn a_log_that_was_cut_or_replaced_by_an_older_one_is_reported_as_lost_folds() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    Store::open(&dir)
        .expect("open")
        .fold(&run("a"), &profile(20, 1))
        .expect("fold");
    let old = tmp.path().join("old");
    copy(&dir, &old);
    Store::open(&dir)
        .expect("open")
        .fold(&run("b"), &profile(20, 1))
        .expect("fold");

    let mixed = tmp.path().join("mixed");
    copy(&old, &mixed);
    fs::copy(dir.join("HEAD"), mixed.join("HEAD")).expect("copy");
    for _ in 0..2 {
        let error = Store::open(&mixed).expect_err("lost");
        assert!(
            matches!(
                error,
                StoreError::LostFolds {
                    found: 1,
                    confirmed: 2,
                    ..
                }
            ),
            "{error}"
        );
    }

    fs::write(dir.join("sled/db"), b"").expect("cut");
    let error = Store::open(&dir).expect_err("lost");
    assert!(!error.to_string().is_empty());

    fs::remove_file(old.join("HEAD")).expect("remove");
    let error = Store::open(&old).expect_err("no HEAD");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_behaviour_that_vanished_or_went_back_in_time_is_damage() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let raw = |change: &dyn Fn(&sled::Db)| {
        let open = || {
            sled::Config::new()
                .path(dir.join("sled"))
                .segment_size(1024 * 1024)
                .open()
        };
        let db = loop {
            match open() {
                Ok(db) => break db,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        change(&db);
        db.flush().expect("flush");
    };
    let key: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0, 3];
    let store = Store::open(&dir).expect("open");
    store.fold(&run("a"), &profile(9, 1)).expect("fold");
    drop(store);
    let old = std::cell::RefCell::new(None);
    raw(&|db| *old.borrow_mut() = db.get(key).expect("get"));
    let store = Store::open(&dir).expect("open");
    store.fold(&run("a"), &profile(9, 2)).expect("fold");
    store.fold(&run("b"), &profile(9, 2)).expect("fold");
    drop(store);

    let stale = old.borrow().clone().expect("there");
    for replacement in [Some(stale), None] {
        raw(&|db| {
            match &replacement {
                Some(value) => db.insert(key, value.clone()),
                None => db.remove(key),
            }
            .expect("change");
        });
        let store = Store::open(&dir).expect("open");
        let error = store.load(|_| true).expect_err("damaged");
        assert!(error.to_string().contains("run 'a'"), "{error}");
        let again = store.fold(&run("a"), &profile(9, 3));
        assert!(matches!(again, Err(StoreError::Damaged { .. })));
        let other = store.load(|key| key.run == "b").expect("the other run");
        assert_eq!(other.runs()[&run("b")], profile(9, 2));
    }
    raw(&|db| {
        db.remove([1, 0, 0, 0, 1]).expect("remove");
    });
    let error = Store::open(&dir).expect_err("a run is missing");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

//! The store on real files, with real processes killed in the middle.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::observation::{Loss, Moment};
use learner::path::AbsPath;
use learner::profile::{Evidence, RunProfile, Sighting};
use learner::store::{Options, Store, StoreError};
use learner::workload::{RunKey, Workload};
use proptest::prelude::*;

const DIR: &str = "LEARNER_STORE_TEST_DIR";
const ROUND: &str = "LEARNER_STORE_TEST_ROUND";

/// A small random number generator, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }
}

fn run(name: &str) -> RunKey {
    RunKey {
        workload: Workload {
            namespace: "default".into(),
            kind: "Command".into(),
            name: "sh".into(),
            container: "sh".into(),
        },
        image: String::new(),
        run: name.into(),
    }
}

fn path(text: &str) -> AbsPath {
    AbsPath::try_from(text).expect("absolute")
}

fn opened(name: &str) -> Behavior {
    Behavior {
        op: Op::Open(Access::Read),
        path: path(name),
        source: Some(path("/usr/bin/sh")),
        uid: Some(0),
        owner: Some(true),
        upper: None,
        tty: Some(false),
        result: Outcome::Ok,
    }
}

fn times(count: u64) -> Sighting {
    Sighting {
        count,
        first: Moment(1_000),
        last: Moment(1_000 + count as i64),
    }
}

/// A run with `behaviors` behaviours, each seen `count` times.
fn profile(behaviors: usize, count: u64) -> RunProfile {
    RunProfile {
        labels: BTreeMap::from([("app".into(), "sh".into())]),
        start: Some(Moment(900)),
        seen: (0..behaviors)
            .map(|n| (opened(&format!("/srv/data/{n:06}")), times(count)))
            .collect(),
        ..RunProfile::default()
    }
}

fn everything(store: &Store) -> BTreeMap<RunKey, RunProfile> {
    store.load(|_| true).expect("load").into_runs()
}

/// Name, mode and contents of everything below.
fn contents(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("list") {
        let path = entry.expect("entry").path();
        let meta = fs::symlink_metadata(&path).expect("metadata");
        if meta.is_dir() {
            found.extend(contents(&path));
            found.insert(path, (meta.mode(), Vec::new()));
        } else {
            let bytes = fs::read(&path).expect("read");
            found.insert(path, (meta.mode(), bytes));
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("mkdir");
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).expect("chmod");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copy");
        }
    }
}

/// This test binary again, running only the named child.
fn child(name: &str, dir: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().expect("own path"))
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("spawn")
}

/// Where a child is to work; `None` when it was not started as one.
fn task() -> Option<(PathBuf, usize)> {
    let dir = std::env::var_os(DIR)?;
    let round = std::env::var(ROUND).ok()?.parse().ok()?;
    Some((dir.into(), round))
}

/// Says to the parent; `false` when it is gone.
fn say(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{line}")
        .and_then(|()| out.flush())
        .is_ok()
}

fn said(line: &str) -> Option<&str> {
    line.strip_prefix('@')
}

// --- Killed in the middle ---

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
    let store = Store::open(&dir).expect("open");
    say("open");
    for n in 0.. {
        for version in [1, 2] {
            store.fold_all(&group(round, n, version)).expect("fold");
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
    let rounds = 25;
    for round in 0..rounds {
        let mut child = child("child_folds_until_it_is_killed", &dir, round);
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        let reader = std::thread::spawn({
            let (open, opened) = std::sync::mpsc::channel();
            let lines = std::thread::spawn(move || {
                let mut folds = Vec::new();
                for line in out.lines().map_while(Result::ok) {
                    match said(&line) {
                        Some("open") => open.send(()).expect("parent waits"),
                        Some(fold) => folds.push(fold.to_owned()),
                        None => {}
                    }
                }
                folds
            });
            opened.recv().expect("the child opens the store");
            move || lines.join().expect("reader")
        });
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
    assert!(confirmed.len() > rounds / 2, "hardly any fold was reached");
}

// --- One at a time ---

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
    let mut child = child("child_holds_the_store", &dir, 0);
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

// --- Disk full ---

struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir(at).expect("mkdir");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={size},mode=0700"))
            .arg("learner-test")
            .arg(at)
            .output();
        matches!(done, Ok(output) if output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_named_and_the_store_opens_again_with_all_that_was_confirmed() {
    let tmp = tempfile::tempdir().expect("tempdir");
    for size_mib in [5, 8, 11] {
        let at = tmp.path().join(format!("small-{size_mib}"));
        let Some(_mount) = Mount::tmpfs(&at, &format!("{size_mib}m")) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "a tmpfs cannot be mounted, and CI must not skip"
            );
            eprintln!("skipped: full disk: a tmpfs cannot be mounted (needs root)");
            return;
        };
        let ballast = at.join("ballast");
        fs::write(&ballast, vec![1; 2 << 20]).expect("ballast");
        let dir = at.join("store");
        let store = Store::open(&dir).expect("open");
        let mut confirmed = 0;
        let error = loop {
            match store.fold(&run(&confirmed.to_string()), &profile(2000, 1)) {
                Ok(_) => confirmed += 1,
                Err(e) => break e,
            }
            assert!(confirmed < 10_000, "the disk does not fill");
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(dir.to_str().expect("UTF-8")), "{text}");
        assert!(text.contains("disk is full"), "{text}");
        let after = store.fold(&run("x"), &profile(1, 1));
        assert!(matches!(after, Err(StoreError::Stopped { .. })));
        drop(store);
        if let Ok(store) = Store::open(&dir) {
            assert!(everything(&store).len() >= confirmed);
        }

        fs::remove_file(&ballast).expect("room");
        let store = Store::open(&dir).expect("opens again");
        let runs = everything(&store);
        for n in 0..confirmed {
            assert_eq!(runs.get(&run(&n.to_string())), Some(&profile(2000, 1)));
        }
        assert!(runs.values().all(|run| *run == profile(2000, 1)));
        store.fold(&run("x"), &profile(5, 1)).expect("fold");
        assert_eq!(everything(&store)[&run("x")], profile(5, 1));
        eprintln!("{size_mib} MiB: {confirmed} folds confirmed, then: {text}");
    }
}

// --- Formats, damage, loss ---

/// A closed store of some folds and openings, and what is in it.
fn example(dir: &Path) -> BTreeMap<RunKey, RunProfile> {
    for opening in 0..3u64 {
        let store = Store::open(dir).expect("open");
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

#[test]
fn a_future_format_is_refused_and_the_directory_is_left_as_it_was() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    example(&dir);
    fs::write(dir.join("FORMAT"), "learner store, format 2\n").expect("write");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
    let before = contents(tmp.path());
    let error = Store::open(&dir).expect_err("refused");
    assert_eq!(
        error.to_string(),
        format!(
            "{}: the store has format 2 and this learner knows formats up to 1; use the learner \
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
    let files: Vec<(PathBuf, Vec<u8>)> = contents(&dir)
        .into_iter()
        .filter(|(_, (_, bytes))| !bytes.is_empty())
        .map(|(path, (_, bytes))| {
            let name = path.strip_prefix(&dir).expect("below").to_owned();
            (name, bytes)
        })
        .collect();
    let var = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let rounds = var("LEARNER_STORE_FLIPS").unwrap_or(150);
    let seed = var("LEARNER_STORE_SEED").unwrap_or(7);
    let mut counts = BTreeMap::new();
    for round in 0..rounds {
        let mut dice = Dice(seed << 32 | round);
        // Half of all flips hit sled's log, and there what is not empty.
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
        let hurt = tmp.path().join("hurt");
        copy(&dir, &hurt);
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(hurt.join(name), flipped).expect("write");
        let what = format!(
            "seed {seed} round {round}: {} bit {at}.{bit}",
            name.display()
        );
        if var("LEARNER_STORE_FLIPS").is_some() {
            eprintln!("{what}");
        }
        // The second opening sees what the first one's recovery has written.
        for opening in ["first", "second"] {
            let outcome = Store::open(&hurt).and_then(|store| store.load(|_| true));
            let verdict = match outcome {
                Ok(evidence) => {
                    assert!(*evidence.runs() == expected, "{opening} {what}: other data");
                    "same".to_owned()
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains(hurt.to_str().expect("UTF-8")), "{text}");
                    let debug = format!("{error:?}");
                    debug
                        .split([' ', '{'])
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                }
            };
            let file = name.to_string_lossy().into_owned();
            *counts.entry((file, opening, verdict)).or_insert(0) += 1;
        }
        fs::remove_dir_all(&hurt).expect("remove");
    }
    eprintln!("{counts:#?}");
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

// --- Who may see it ---

#[test]
#[ignore = "the child of another test"]
fn child_writes_under_umask_zero() {
    let Some((dir, _)) = task() else { return };
    rustix::process::umask(rustix::fs::Mode::empty());
    for n in 1..=3 {
        let store = Store::open(&dir).expect("open");
        store.fold(&run("a"), &profile(500, n)).expect("fold");
        for (path, (mode, _)) in contents(&dir) {
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        }
    }
    say("done");
}

#[test]
fn nobody_else_can_read_the_store_even_under_umask_zero() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("a/b/store");
    let output = child("child_writes_under_umask_zero", &dir, 0)
        .wait_with_output()
        .expect("child");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.lines().any(|line| said(line) == Some("done")), "{out}");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").mode() & 0o7777;
    assert_eq!(mode(&dir), 0o700);
    for (path, (found, _)) in contents(&dir) {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(found & 0o7777, wanted, "{}", path.display());
    }
}

#[test]
fn an_open_directory_of_ours_is_closed_and_a_foreign_one_is_left_alone() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").mode() & 0o777;
    let empty = tmp.path().join("empty");
    fs::create_dir(&empty).expect("mkdir");
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o755)).expect("chmod");
    Store::open(&empty).expect("open");
    assert_eq!(mode(&empty), 0o700);

    let home = tmp.path().join("home");
    fs::create_dir(&home).expect("mkdir");
    fs::write(home.join("letter"), "dear").expect("write");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("chmod");
    let error = Store::open(&home).expect_err("foreign");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(mode(&home), 0o755);

    let error = Store::open(&home.join("letter")).expect_err("a file");
    assert!(matches!(error, StoreError::NotDirectory { .. }), "{error}");
}

// --- Bounds ---

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

// --- Any order, any number of times ---

fn any_path() -> impl Strategy<Value = AbsPath> {
    prop_oneof![
        "/[ab]{0,2}".prop_map(|text| path(&text)),
        proptest::collection::vec(1..=255u8, 0..12).prop_map(|mut bytes| {
            bytes.insert(0, b'/');
            AbsPath::new(bytes).expect("absolute")
        }),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Exec),
        Just(Op::Open(Access::Read)),
        Just(Op::Open(Access::Write)),
        Just(Op::Open(Access::ReadWrite)),
        Just(Op::Create),
        Just(Op::Mkdir),
        Just(Op::Unlink),
        Just(Op::Rmdir),
        Just(Op::Symlink),
        Just(Op::Chmod),
        Just(Op::Truncate),
        any_path().prop_map(|to| Op::Rename { to }),
        any_path().prop_map(|to| Op::Link { to }),
    ]
}

fn any_behavior() -> impl Strategy<Value = Behavior> {
    (
        any_op(),
        any_path(),
        proptest::option::of(any_path()),
        proptest::option::of(prop_oneof![Just(0), any::<u32>()]),
        any::<(Option<bool>, Option<bool>, Option<bool>)>(),
        prop_oneof![Just(Outcome::Ok), "E[A-Z]{0,4}".prop_map(Outcome::Failed)],
    )
        .prop_map(|(op, path, source, uid, flags, result)| Behavior {
            op,
            path,
            source,
            uid,
            owner: flags.0,
            upper: flags.1,
            tty: flags.2,
            result,
        })
}

fn any_sighting() -> impl Strategy<Value = Sighting> {
    let moment = || prop_oneof![-9..9i64, any::<i64>()].prop_map(Moment);
    let count = prop_oneof![1..9u64, 1..=u64::MAX];
    (count, moment(), moment()).prop_map(|(count, a, b)| Sighting {
        count,
        first: a.min(b),
        last: a.max(b),
    })
}

fn any_report() -> impl Strategy<Value = RunProfile> {
    let moment = || proptest::option::of((-9..9i64).prop_map(Moment));
    (
        proptest::collection::btree_map("[a-c]{0,1}", "[a-c]{0,2}", 0..3),
        moment(),
        moment(),
        any::<bool>(),
        proptest::collection::btree_map(
            prop_oneof![Just("store"), Just("ring-full"), Just("other")].prop_map(Loss::from),
            0..99u64,
            0..3,
        ),
        proptest::collection::btree_map(any_behavior(), any_sighting(), 0..25),
    )
        .prop_map(|(labels, start, stop, late, lost, seen)| RunProfile {
            labels,
            start,
            stop,
            late,
            lost,
            seen,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn reports_in_any_order_and_any_number_of_times_give_the_same_store(
        reports in proptest::collection::vec((0..3usize, any_report()), 1..6),
        seed in any::<u64>(),
    ) {
        let tmp = tempfile::tempdir().expect("tempdir");
        let key = |n: usize| run(["a", "b", "a/b"][n]);
        let mut joined = Evidence::default();
        for (n, report) in &reports {
            joined.insert(key(*n), report.clone());
        }
        let one = Store::open(&tmp.path().join("one")).expect("open");
        for (n, report) in &reports {
            one.fold(&key(*n), report).expect("fold");
        }
        prop_assert_eq!(&everything(&one), joined.runs());
        let again = one.fold_all(&joined).expect("fold");
        prop_assert_eq!(again.records, 0);

        let mut dice = Dice(seed);
        let mut shuffled: Vec<_> = reports.iter().chain(&reports).collect();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, dice.below(i + 1));
        }
        let dir = tmp.path().join("two");
        let two = Store::open(&dir).expect("open");
        for (n, report) in shuffled {
            two.fold(&key(*n), report).expect("fold");
        }
        drop(two);
        let two = Store::open(&dir).expect("open");
        prop_assert_eq!(&everything(&two), joined.runs());
        let fold_all = Store::open(&tmp.path().join("three")).expect("open");
        fold_all.fold_all(&joined).expect("fold");
        prop_assert_eq!(&everything(&fold_all), joined.runs());
        prop_assert_eq!(
            one.summaries().expect("summaries"),
            two.summaries().expect("summaries")
        );
    }
}

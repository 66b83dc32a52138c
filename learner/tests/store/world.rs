//! Small evidence, and children of this binary that are killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::observation::Moment;
use learner::path::AbsPath;
use learner::profile::{RunProfile, Sighting};
use learner::store::Store;
use learner::workload::{RunKey, Workload};

pub(crate) const DIR: &str = "LEARNER_STORE_TEST_DIR";
pub(crate) const ROUND: &str = "LEARNER_STORE_TEST_ROUND";

/// A small random number generator, so that a failing seed can be run again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }
}

pub(crate) fn run(name: &str) -> RunKey {
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

pub(crate) fn path(text: &str) -> AbsPath {
    AbsPath::try_from(text).expect("absolute")
}

pub(crate) fn opened(name: &str) -> Behavior {
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

pub(crate) fn times(count: u64) -> Sighting {
    Sighting {
        count,
        first: Moment(1_000),
        last: Moment(1_000 + count as i64),
    }
}

/// A run with `behaviors` behaviours, each seen `count` times.
pub(crate) fn profile(behaviors: usize, count: u64) -> RunProfile {
    RunProfile {
        labels: BTreeMap::from([("app".into(), "sh".into())]),
        start: Some(Moment(900)),
        seen: (0..behaviors)
            .map(|n| (opened(&format!("/srv/data/{n:06}")), times(count)))
            .collect(),
        ..RunProfile::default()
    }
}

pub(crate) fn everything(store: &Store) -> BTreeMap<RunKey, RunProfile> {
    store.load(|_| true).expect("load").into_runs()
}

/// Name, mode and contents of everything below.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
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

pub(crate) fn copy(from: &Path, to: &Path) {
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
pub(crate) fn child(name: &str, dir: &Path, round: usize) -> Child {
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
pub(crate) fn task() -> Option<(PathBuf, usize)> {
    let dir = std::env::var_os(DIR)?;
    let round = std::env::var(ROUND).ok()?.parse().ok()?;
    Some((dir.into(), round))
}

/// Says to the parent; `false` when it is gone.
pub(crate) fn say(line: &str) -> bool {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{line}")
        .and_then(|()| out.flush())
        .is_ok()
}

pub(crate) fn said(line: &str) -> Option<&str> {
    line.strip_prefix('@')
}

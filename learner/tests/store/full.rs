//! A full disk, and who may see the store.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use learner::store::{Store, StoreError};

use crate::world::*;

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
    let output = child("full::child_writes_under_umask_zero", &dir, 0)
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

    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a directory of somebody else's (needs root)");
        return;
    }
    let theirs = tmp.path().join("theirs");
    fs::create_dir(&theirs).expect("mkdir");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o770)).expect("chmod");
    std::os::unix::fs::chown(&theirs, Some(65534), None).expect("chown");
    let error = Store::open(&theirs).expect_err("exposed");
    assert!(matches!(error, StoreError::Exposed { .. }), "{error}");
    assert_eq!(mode(&theirs), 0o770);
}

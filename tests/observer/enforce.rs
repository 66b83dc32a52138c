//! Policies in force, in the kernel: what `learner run` lets be and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use learner::kernel::Rung;
use libtest_mimic::Failed;

use crate::check;
use crate::watched::World;

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[
    (
        "a learned command runs under its policy and nothing else does",
        learned_and_blocked,
    ),
    (
        "block is refused where the kernel does not ask BPF programs",
        refused,
    ),
];

pub(crate) fn enforces(rung: Rung) -> bool {
    rung == Rung::Lsm
}

/// Learns a shell script's policy, changes the script's input, and runs it under the policy.
fn learned_and_blocked(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let world = World::new();
    let allowed = world.file("allowed");
    let secret = world.file("secret");
    let script = world.join("script");
    fs::write(&script, "#!/bin/sh\nfor f in \"$@\"; do cat \"$f\"; done\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let policy = world.join("policy.yaml");
    let learned = learner(&world)
        .args(["observe", "-o"])
        .arg(&policy)
        .args(["--rung", rung.as_str(), "--"])
        .args([&script, &allowed])
        .output()?;
    check(learned.status.success(), || text(&learned))?;

    let run = |arguments: &[&Path]| {
        learner(&world)
            .args(["run", "--policy"])
            .arg(&policy)
            .arg("--")
            .arg(&script)
            .args(arguments)
            .output()
    };
    let again = run(&[&allowed])?;
    check(again.status.success() && again.stdout == b"x", || {
        text(&again)
    })?;
    check(!text(&again).contains("denied:"), || text(&again))?;

    let other = run(&[&secret])?;
    check(!other.status.success() && other.stdout.is_empty(), || {
        text(&other)
    })?;
    check(text(&other).contains("Permission denied"), || text(&other))?;
    check(
        text(&other).contains(&format!("denied: open r {}", secret.display())),
        || text(&other),
    )?;
    let mut pinned = Path::new("/sys/fs/bpf/learner").read_dir()?.flatten();
    let is_a_run = |name: std::ffi::OsString| name.to_string_lossy().starts_with("run-");
    check(!pinned.any(|entry| is_a_run(entry.file_name())), || {
        "something is pinned when all has ended".into()
    })
}

fn refused(rung: Rung) -> Result<(), Failed> {
    if learner::kernel::enforcer::is_active().is_ok() {
        return Ok(());
    }
    let world = World::new();
    let policy = world.join("policy.yaml");
    fs::write(
        &policy,
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata:\n  name: p\nspec:\n  selector:\n    matchLabels:\n      app: p\n  file:\n    matchPaths:\n    - path: /etc/hostname\n  action: Allow\n",
    )?;
    let blocked = learner(&world)
        .args(["run", "--policy"])
        .arg(&policy)
        .args(["--rung", rung.as_str(), "--", "/bin/true"])
        .output()?;
    check(blocked.status.code() == Some(2), || text(&blocked))?;
    check(text(&blocked).contains("lsm="), || text(&blocked))?;
    let audited = learner(&world)
        .args(["run", "--posture", "audit", "--policy"])
        .arg(&policy)
        .args(["--rung", rung.as_str(), "--", "/bin/true"])
        .output()?;
    check(audited.status.success(), || text(&audited))?;
    check(
        text(&audited).contains("would be denied under block: open r /"),
        || text(&audited),
    )
}

fn learner(world: &World) -> Command {
    let mut command = Command::new(super::learner());
    command
        .env("LEARNER_STORE", world.join("store"))
        .env("NO_COLOR", "1");
    command
}

fn text(output: &Output) -> String {
    format!(
        "{:?}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

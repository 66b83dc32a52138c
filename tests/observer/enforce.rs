//! Policies in force, in the kernel: what `learner run` lets be and what it refuses.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

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
        "enforced: on an overlay root what was learned goes on working",
        overlay_root,
    ),
    (
        "enforced: killed by kill -9 it goes on refusing until it is released",
        killed,
    ),
    (
        "a workload under block is held to its candidate by its name",
        by_name,
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
        text(&other).contains(&format!("denied: open {}", secret.display())),
        || text(&other),
    )?;
    let mut pinned = Path::new("/sys/fs/bpf/learner").read_dir()?.flatten();
    let is_a_run = |name: std::ffi::OsString| name.to_string_lossy().starts_with("run-");
    check(!pinned.any(|entry| is_a_run(entry.file_name())), || {
        "something is pinned when all has ended".into()
    })
}

/// What overlayfs opens for itself, as it copies a file up, is nobody's and not refused.
fn overlay_root(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let world = World::new();
    let policy = world.join("policy.yaml");
    let own = std::env::current_exe()?;
    for turn in ["learned", "enforced"] {
        let dir = world.join("container");
        let _ = fs::remove_dir_all(&dir);
        for name in ["image-file", "other-file", "third-file"] {
            world.file(&format!("container/lower/work-here/{name}"));
        }
        for name in ["upper", "work", "merged"] {
            fs::create_dir(dir.join(name))?;
        }
        let mut command = learner(&world);
        match turn {
            "learned" => command.args(["observe", "--rung", rung.as_str(), "-o"]),
            _ => command.args(["run", "--policy"]),
        };
        let output = command
            .arg(&policy)
            .arg("--")
            .arg(&own)
            .args(["act", "overlay"])
            .arg(&dir)
            .output()?;
        check(output.status.success(), || text(&output))?;
        check(!text(&output).contains("denied:"), || text(&output))?;
    }
    Ok(())
}

/// A shell that reads what it is not to read, once when Learner was killed, and once when what
/// that left behind was released.
fn killed(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let world = World::new();
    let (allowed, secret) = (world.file("allowed"), world.file("secret"));
    let policy = world.join("policy.yaml");
    let script = world.join("script");
    fs::write(
        &script,
        "#!/bin/sh\necho begun; read x; cat \"$1\"; echo again; read x; cat \"$1\"\n",
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let start = |command: &mut Command, file: &Path| {
        command
            .arg(&policy)
            .arg("--")
            .args([&script, file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let mut learning = start(
        learner(&world).args(["observe", "--rung", rung.as_str(), "-o"]),
        &allowed,
    )?;
    learning.stdin.take().ok_or("a pipe")?.write_all(b"\n\n")?;
    let learned = learning.wait_with_output()?;
    check(learned.status.success(), || text(&learned))?;

    let mut running = start(learner(&world).args(["run", "--policy"]), &secret)?;
    let mut stdin = running.stdin.take().ok_or("a pipe")?;
    let mut stderr = running.stderr.take().ok_or("a pipe")?;
    let mut lines = BufReader::new(running.stdout.take().ok_or("a pipe")?).lines();
    let mut line =
        || -> Result<String, Failed> { Ok(lines.next().transpose()?.unwrap_or_default()) };
    let begun = line()?;
    running.kill()?;
    running.wait()?;
    stdin.write_all(b"\n")?;
    let again = line()?;
    let instance = format!("run-{}", running.id());
    let released = learner(&world).args(["release", &instance]).output()?;
    stdin.write_all(b"\n")?;
    let read = line()?;
    drop(stdin);
    let mut said = String::new();
    stderr.read_to_string(&mut said)?;
    check(
        [&*begun, &*again, &*read] == ["begun", "again", "x"],
        || format!("{begun}, {again}, {read}\n{said}"),
    )?;
    check(released.status.success(), || text(&released))?;
    check(said.matches("Permission denied").count() == 1, || said)
}

/// A script that is learned, promoted and run again, each time as the workload that it is.
fn by_name(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let world = World::new();
    let (allowed, secret) = (world.file("allowed"), world.file("secret"));
    let name = "shop/Deployment/web";
    let run = |file: &Path| {
        learner(&world)
            .args(["run", "--name", name, "--", "/bin/cat"])
            .arg(file)
            .output()
    };
    let promote = |more: &[&str]| learner(&world).arg("promote").args(more).output();
    let first = run(&allowed)?;
    check(
        first.status.success() && text(&first).contains("in learning"),
        || text(&first),
    )?;
    let said = promote(&[])?;
    check(text(&said).contains("learning -> audit"), || text(&said))?;
    let audited = run(&secret)?;
    check(
        audited.status.success() && text(&audited).contains("would be denied under block: open"),
        || text(&audited),
    )?;
    let forgotten = learner(&world)
        .args(["forget", "-n", "shop"])
        .arg(&secret)
        .output()?;
    check(forgotten.status.success(), || text(&forgotten))?;
    let again = run(&allowed)?;
    check(again.status.success(), || text(&again))?;
    let said = promote(&["--window", "0s", "--min-runs", "1"])?;
    check(text(&said).contains("audit -> block"), || text(&said))?;

    let held = run(&allowed)?;
    check(held.status.success() && held.stdout == b"x", || text(&held))?;
    let refused = run(&secret)?;
    check(
        !refused.status.success() && refused.stdout.is_empty(),
        || text(&refused),
    )?;
    check(text(&refused).contains("denied: open"), || text(&refused))?;
    // It is recorded as refused, and not as done.
    let alerts = learner(&world).args(["alerts", "-f", "json"]).output()?;
    check(
        text(&alerts).contains("\"refused\"") || text(&alerts).contains("forgotten"),
        || text(&alerts),
    )?;
    let exported = learner(&world).arg("export").output()?;
    let secret = secret.display().to_string();
    let lines = text(&exported);
    let mut of_secret = lines.lines().filter(|line| line.contains(&secret));
    check(of_secret.any(|line| line.contains("EACCES")), || {
        lines.clone()
    })?;

    let observed = learner(&world)
        .args(["observe", "--name", name, "-o", "-", "--", "/bin/true"])
        .output()?;
    check(text(&observed).contains("this only observes"), || {
        text(&observed)
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
        text(&audited).contains("would be denied under block: open /"),
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

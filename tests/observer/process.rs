//! `observe --pid` where cgroup v2 does not tell processes apart: by pid and mount namespace.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use learner::behavior::Behavior;
use learner::kernel::{Rung, cgroup};
use learner::observation::Fact;
use learner::recording;
use libtest_mimic::Failed;

use crate::check;
use crate::watched::{World, line};

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[
    (
        "a process in namespaces of its own is watched by them, and nobody else",
        by_namespaces,
    ),
    (
        "a process that nothing tells apart from the observer is refused",
        not_told_apart,
    ),
];

fn observe(rung: Rung, world: &World, pid: u32) -> Command {
    let mut command = Command::new(crate::learner());
    command
        .env("LEARNER_STORE", world.join("store"))
        .args([
            "observe",
            "--rung",
            rung.as_str(),
            "--pid",
            &pid.to_string(),
        ])
        .arg("--recording")
        .arg(world.join("run.jsonl"))
        .arg("-o")
        .arg(world.join("policy.yaml"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// On a machine with cgroup v2 alone a process is watched by its cgroup, unless that is the root.
fn has_a_cgroup(pid: u32) -> bool {
    let own = cgroup::of_process(pid).and_then(|path| cgroup::identify(&path));
    let has = own.is_ok_and(|id| id.level != Some(0));
    if has {
        eprintln!("skipped: --pid by namespaces: the processes of this machine have cgroups");
    }
    has
}

/// A shell in a pid and a mount namespace of its own, ended with this if it has not ended.
struct Apart(Child);

impl Drop for Apart {
    fn drop(&mut self) {
        // unshare passes its end on to the shell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn by_namespaces(rung: Rung) -> Result<(), Failed> {
    if has_a_cgroup(std::process::id()) {
        return Ok(());
    }
    let world = World::new();
    let held = world.file("held");
    let (inside, deeper, outside) = (
        world.file("inside"),
        world.file("deeper"),
        world.file("outside"),
    );
    let (ready, go) = (world.join("ready"), world.join("go"));
    // /proc is still that of the outer namespace, and so is the number that the shell reads there.
    let script = format!(
        "read pid rest < /proc/self/stat; exec 3< {held}; echo $pid > {ready}.new
         mv {ready}.new {ready}
         while [ ! -e {go} ]; do sleep 0.1; done
         cat {inside} > /dev/null
         sh -c 'cat {deeper} > /dev/null; :'",
        held = held.display(),
        ready = ready.display(),
        go = go.display(),
        inside = inside.display(),
        deeper = deeper.display(),
    );
    let mut apart = Apart(
        Command::new("unshare")
            .args(["--pid", "--mount", "--fork", "--kill-child", "sh", "-c"])
            .arg(script)
            .spawn()?,
    );
    let begun = Instant::now();
    while !ready.exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid: u32 = std::fs::read_to_string(&ready)?.trim().parse()?;

    let mut observer = observe(rung, &world, pid).spawn()?;
    let mut talk = BufReader::new(observer.stderr.take().ok_or("no stderr")?);
    let mut err = String::new();
    while !err.contains("watching") && talk.read_line(&mut err)? > 0 {}
    let status = Command::new("cat")
        .arg(&outside)
        .stdout(Stdio::null())
        .status()?;
    check(status.success(), || "cat failed".to_owned())?;
    std::fs::write(&go, "")?;
    talk.read_to_string(&mut err)?;
    let code = observer.wait()?.code();
    check(code == Some(0), || format!("{code:?} {err}"))?;
    check(apart.0.wait()?.success(), || "the shell failed".to_owned())?;

    let (mut is_late, mut has_start) = (false, false);
    let mut behaviors: Vec<Behavior> = Vec::new();
    recording::read(&world.join("run.jsonl"), &mut |line| match line.fact {
        Fact::Late => is_late = true,
        Fact::Start => has_start = true,
        Fact::Seen { behavior, .. } => behaviors.push(behavior),
        _ => {}
    })?;
    let lines: BTreeSet<String> = behaviors.iter().map(line).collect();
    let said = || format!("{lines:#?}\n{err}");
    check(is_late && !has_start, said)?;
    let opened = |path: &Path| lines.contains(&format!("open r {}", path.display()));
    check(opened(&inside) && opened(&deeper), said)?;
    check(opened(&held), || format!("what it held open: {}", said()))?;
    let shell = Path::new("/bin/sh").canonicalize()?;
    let executed = lines.contains(&format!("exec {}", shell.display()));
    check(executed && opened(&shell), || {
        format!("what it is: {}", said())
    })?;
    let mapped = lines.iter().any(|line| line.contains(".so"));
    check(mapped, || format!("what it has mapped: {}", said()))?;
    check(!opened(&outside), said)?;
    check(err.contains("it ran before it was watched"), || err.clone())
}

fn not_told_apart(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let mut beside = Apart(Command::new("sleep").arg("100").spawn()?);
    if has_a_cgroup(beside.0.id()) {
        return Ok(());
    }
    let output = observe(rung, &world, beside.0.id()).output()?;
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    check(output.status.code() == Some(2), || err.clone())?;
    check(err.contains("shares cgroup and namespaces"), || err.clone())?;
    check(!world.join("run.jsonl").exists(), || err.clone())?;
    check(beside.0.try_wait()?.is_none(), || "it was ended".to_owned())
}

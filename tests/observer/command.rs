//! `learner observe` as it is typed: exit codes, signals, time limits.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use learner::kernel::Rung;
use learner::kernel::cgroup::Group;
use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};

use crate::check;
use crate::watched::World;

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[
    (
        "output and exit code are those of the command",
        passed_through,
    ),
    (
        "a command that is not there is an error with its name",
        not_there,
    ),
    ("when the time is up the command is asked to end", time_up),
    (
        "an interrupt ends the command and gives the policy",
        interrupted,
    ),
    ("the observer does not watch itself", beside_itself),
];

fn observe(rung: Rung, world: &World, args: &[&str]) -> Command {
    let mut command = Command::new(crate::learner());
    command
        .env("LEARNER_STORE", world.join("store"))
        .args(["observe", "--rung", rung.as_str(), "-o"])
        .arg(world.join("policy.yaml"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn policy(world: &World) -> String {
    std::fs::read_to_string(world.join("policy.yaml")).unwrap_or_default()
}

fn passed_through(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let args = ["--", "sh", "-c", "echo out; echo err >&2; exit 7"];
    let (code, out, err) = told(&observe(rung, &world, &args).output()?);
    check(code == Some(7) && out == "out\n", || {
        format!("{code:?} {out} {err}")
    })?;
    check(err.contains("err\n") && err.contains("lost 0"), || err)?;
    check(policy(&world).contains("action: Allow"), || policy(&world))?;
    let args = ["--", "sh", "-c", "kill -9 $$"];
    let (code, _, err) = told(&observe(rung, &world, &args).output()?);
    check(code == Some(137), || format!("{code:?} {err}"))
}

fn not_there(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let args = ["--", "/no/such/program"];
    let (code, out, err) = told(&observe(rung, &world, &args).output()?);
    check(code != Some(0) && out.is_empty(), || {
        format!("{code:?} {out}")
    })?;
    check(err.contains("/no/such/program"), || err)
}

fn time_up(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let args = ["--for", "1s", "--", "sleep", "100"];
    let (code, _, err) = told(&observe(rung, &world, &args).output()?);
    check(code == Some(128 + 15), || format!("{code:?} {err}"))?;
    check(err.matches("the time is up").count() == 1, || err)?;
    check(policy(&world).contains("sleep"), || policy(&world))
}

fn interrupted(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let ready = world.join("ready");
    // Not `exec sleep`: the shell has to be there to be interrupted.
    let script = format!(
        "trap 'exit 5' INT; echo > {}; while :; do sleep 0.1; done",
        ready.display()
    );
    let child = observe(rung, &world, &["--", "sh", "-c", &script]).spawn()?;
    let begun = Instant::now();
    while !ready.exists() && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(50));
    }
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let (code, _, err) = told(&child.wait_with_output()?);
    check(code == Some(5), || format!("{code:?} {err}"))?;
    check(policy(&world).contains("sleep"), || policy(&world))
}

fn beside_itself(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let group = Group::create("beside")?;
    let procs = group.path().join("cgroup.procs");
    let recording = world.join("run.jsonl");
    let (turn, stop) = (world.join("turn"), world.join("stop"));
    // Both are in the group; the watch ends when the observer is alone in it.
    let script = format!(
        "echo $$ > {procs}; while [ ! -e {stop} ]; do sleep 0.1; echo >> {turn}; done & \
         exec {learner} --store {store} observe --rung {rung} \
         --cgroup {group} --recording {recording} -o {policy}",
        procs = procs.display(),
        stop = stop.display(),
        turn = turn.display(),
        learner = crate::learner().display(),
        store = world.join("store").display(),
        group = group.path().display(),
        recording = recording.display(),
        policy = world.join("policy.yaml").display(),
    );
    let mut child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stderr(Stdio::piped())
        .spawn()?;
    let mut talk = BufReader::new(child.stderr.take().ok_or("no stderr")?);
    let mut err = String::new();
    while !err.contains("watching") && talk.read_line(&mut err)? > 0 {}
    // Two turns more: one of them is whole, and begins under watch.
    let turns = || std::fs::metadata(&turn).map_or(0, |file| file.len());
    let (before, begun) = (turns(), Instant::now());
    while turns() < before + 2 && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::write(&stop, "")?;
    talk.read_to_string(&mut err)?;
    let code = child.wait()?.code();
    check(code == Some(0), || format!("{code:?} {err}"))?;
    let lines = std::fs::read_to_string(Path::new(&recording))?;
    let own = lines
        .lines()
        .filter(|line| line.contains(&format!("\"source\":\"{}\"", crate::learner().display())));
    check(lines.contains("sleep"), || lines.clone())?;
    check(own.count() == 0, || lines.clone())
}

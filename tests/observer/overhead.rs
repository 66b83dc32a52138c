//! What watching costs, counted in instructions: in a virtual machine whose clock is the count of
//! instructions (QEMU's `-icount`), so that what else the machine does makes no difference.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use learner::kernel::Rung;
use learner::kernel::cgroup::Group;
use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};

use crate::attempts::acting;
use crate::watched::{World, act, detach};

const OPENS: u32 = 5000;
const EXECS: u32 = 100;
const ROUNDS: usize = 3;
/// What follows is a line for a state: its name, nanoseconds of an open and close, of an exec.
pub(crate) const MARK: &str = "overhead:";

/// Repeats what is measured, and prints what one turn takes: the least of some rounds.
pub(crate) fn turn(state: &Path, file: &Path) {
    let open = || drop(File::open(file).expect("open"));
    let execute = || {
        let status = Command::new("/bin/true").status().expect("execute");
        assert!(status.success());
    };
    let (opens, execs) = (least(OPENS, open), least(EXECS, execute));
    println!("{MARK} {}: {opens} {execs}", state.display());
}

fn least(turns: u32, what: impl Fn()) -> u128 {
    let round = || {
        let begin = Instant::now();
        (0..turns).for_each(|_| what());
        begin.elapsed().as_nanos() / u128::from(turns)
    };
    // What happens the first time is not what is repeated.
    what();
    (0..ROUNDS).map(|_| round()).min().unwrap_or_default()
}

/// Measures one state after another. For the virtual machine.
pub(crate) fn measure() -> ExitCode {
    match all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or("failed"));
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("some/file");
    alone("nothing", &file)?;
    for rung in [Rung::Lsm, Rung::Fentry, Rung::Tracepoint] {
        act(rung, "turn", &[Path::new(rung.as_str()), &file])?;
        detach();
    }
    let mut tracer = trace()?;
    let traced = alone("bpftrace", &file);
    kill_process(Pid::from_child(&tracer), Signal::INT)?;
    tracer.wait()?;
    traced?;
    alone("nothing again", &file)
}

/// In a cgroup, as what is watched: the kernel accounts for what it opens there.
fn alone(state: &str, file: &Path) -> Result<(), Failed> {
    let group = Group::create("overhead")?;
    let mut command = acting(&group)?;
    let status = command.args(["turn", state]).arg(file).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{state}: {status}").into())
    }
}

/// Prints every open of the machine, as opensnoop does.
fn trace() -> Result<Child, Failed> {
    let program = "BEGIN { printf(\"begun\\n\"); } \
        tracepoint:syscalls:sys_enter_openat { printf(\"%d %s %s\\n\", pid, comm, str(args->filename)); }";
    let mut tracer = Command::new("/usr/bin/bpftrace")
        .args(["-e", program])
        .stdout(Stdio::piped())
        .spawn()?;
    let out = tracer.stdout.take().ok_or("bpftrace has no output")?;
    let mut lines = BufReader::new(out).lines();
    loop {
        match lines.next() {
            Some(Ok(line)) if line == "begun" => break,
            Some(Ok(_)) => {}
            _ => return Err("bpftrace ended before it began".into()),
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
    Ok(tracer)
}

//! The observer against a real kernel: a program does one thing, and exactly that is expected.
//!
//! This binary is three things: the tests; with `act` as its first argument the program that is
//! watched; and what runs inside the virtual machine. Tests need root and BPF. Without them they
//! are left out, aloud; with `CI` set they fail instead.

mod act;
mod attempts;
mod command;
mod compat;
mod cost;
mod enforce;
mod enforced;
mod execs;
mod limits;
mod maze;
mod overhead;
mod overlay;
mod process;
mod real;
mod repeated;
mod roots;
mod scenarios;
mod vm;
mod watched;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use learner::kernel::{Rung, Sensor, Settings};
use libtest_mimic::{Arguments, Failed, Trial};

const SLOW: Duration = Duration::from_secs(10);

/// One observer at a time: the counts of a scope are exact only if nobody else counts.
static ALONE: Mutex<()> = Mutex::new(());

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|first| first == "act") {
        act::run(args.collect());
        return ExitCode::SUCCESS;
    }
    let is_first = |word: &str| {
        std::env::args_os()
            .nth(1)
            .is_some_and(|first| first == word)
    };
    if is_first("overhead") {
        return overhead::measure();
    }
    if is_first("real") {
        return real::run();
    }
    let mut arguments = Arguments::from_args();
    let mut trials = Vec::new();
    if std::env::var_os("LEARNER_IN_VM").is_some() {
        arguments.test_threads = Some(1);
    } else {
        // The virtual machines first, since they take longest: the rest runs beside them.
        arguments.test_threads = Some(2);
        trials.push(Trial::test(
            "real programs go from learning to block; a repeated open costs at most a third of bpftrace's",
            vm::real_and_overhead,
        ));
        trials.push(Trial::test(
            "every rung gives the same in a virtual machine",
            vm::all_rungs,
        ));
    }
    for rung in rungs() {
        for (name, test) in scenarios::ALL
            .iter()
            .chain(overlay::ALL)
            .chain(roots::ALL)
            .chain(compat::ALL)
            .chain(command::ALL)
            .chain(process::ALL)
            .chain(enforce::ALL)
            .chain(enforced::ALL)
            .chain(repeated::ALL)
            .chain(cost::ALL)
        {
            let test = *test;
            if leaves_out(rung, name) {
                continue;
            }
            trials.push(Trial::test(format!("{rung}: {name}"), move || {
                let _alone = ALONE.lock();
                let begun = Instant::now();
                test(rung)?;
                // Where it runs so slowly, it is good to know what takes the time.
                if begun.elapsed() > SLOW {
                    eprintln!("{name}: {} s", begun.elapsed().as_secs());
                }
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The rungs to test: those named in `LEARNER_RUNGS`, else those that this kernel allows.
fn rungs() -> Vec<Rung> {
    if let Ok(named) = std::env::var("LEARNER_RUNGS") {
        return Rung::ALL
            .into_iter()
            .filter(|rung| named.split_whitespace().any(|name| name == rung.as_str()))
            .collect();
    }
    let mut allowed = Vec::new();
    for rung in Rung::ALL {
        match Sensor::attach(Settings {
            rung: Some(rung),
            ..Settings::default()
        }) {
            Ok(_) => allowed.push(rung),
            Err(reason) => eprintln!("skipped: the {rung} rung on this machine: {reason}"),
        }
    }
    if allowed.is_empty() && std::env::var_os("CI").is_some() {
        eprintln!("CI is set, and no rung is available: failing");
        std::process::exit(1);
    }
    allowed
}

/// In the virtual machine the tracepoint rung is tested where its kernel may differ from the host's,
/// and the command line not at all: the rest has been tested on the host, and takes its time
/// without hardware virtualisation.
fn leaves_out(rung: Rung, name: &str) -> bool {
    let is_among = |tests: &[(&str, _)]| tests.iter().any(|(other, _)| *other == name);
    let may_differ = || {
        name.contains("io_uring")
            || [overlay::ALL, roots::ALL, compat::ALL]
                .into_iter()
                .any(is_among)
    };
    std::env::var_os("LEARNER_IN_VM").is_some()
        && (is_among(command::ALL)
            || is_among(process::ALL)
            || (rung == Rung::Tracepoint && !may_differ()))
}

/// The binary under test.
fn learner() -> PathBuf {
    std::env::var_os("LEARNER_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_learner").into(), PathBuf::from)
}

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds {
        Ok(())
    } else {
        Err(otherwise().into())
    }
}

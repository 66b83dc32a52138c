//! The same tests on a stock Debian kernel, where LSM programs and fexit are allowed.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;

use crate::check;

/// Boots Debian's cloud kernel with this binary, and gives what it prints; None: it is skipped,
/// which is said.
fn boot(what: &str, settings: &[(&str, &str)]) -> Result<Option<String>, Failed> {
    let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/boot");
    let need = Command::new(&boot)
        .arg("--check")
        .envs(settings.iter().copied())
        .output()?;
    if !need.status.success() {
        let why = String::from_utf8_lossy(&need.stderr).trim().to_owned();
        if std::env::var_os("CI").is_some() {
            return Err(format!("CI is set, and the virtual machine cannot run: {why}").into());
        }
        eprintln!("skipped: the virtual machine ({what}): {why}");
        return Ok(None);
    }
    let own: PathBuf = std::env::current_exe()?;
    let output = Command::new(&boot)
        .arg(&own)
        .arg(super::learner())
        .envs(settings.iter().copied())
        .output()?;
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!("{console}");
    check(
        console.contains("observer in the virtual machine: exit 0"),
        || {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("see the console above\n{errors}")
        },
    )?;
    Ok(Some(console))
}

/// What watching costs, in instructions, beside what bpftrace costs.
fn overhead() -> Result<(), Failed> {
    let settings = [
        ("COUNTED", "1"),
        ("TESTS", "overhead"),
        ("PROGRAMS", "/usr/bin/bpftrace"),
        ("MEM", "3000"),
    ];
    let Some(console) = boot("what watching costs", &settings)? else {
        return Ok(());
    };
    let open = |state: &str| {
        let mark = format!("{} {state}: ", super::overhead::MARK);
        let lines = console.lines().filter_map(|line| line.split_once(&mark));
        let mut opens =
            lines.filter_map(|(_, figures)| figures.split(' ').next()?.parse::<u64>().ok());
        opens.next_back().ok_or(format!("{state} was not measured"))
    };
    let (without, traced) = (open("nothing")?, open("bpftrace")?);
    for rung in ["lsm", "fentry"] {
        let watched = open(rung)?;
        check(3 * (watched - without) <= traced - without, || {
            format!("{rung}: {watched}, without {without}, with bpftrace {traced}")
        })?;
    }
    Ok(())
}

/// Real programs under policies that were learned of them.
fn real() -> Result<(), Failed> {
    let postgresql = super::real::packages().join(" ");
    let settings = [
        ("TESTS", "real"),
        ("PROGRAMS", "/usr/bin/curl /usr/bin/setpriv /usr/sbin/runc"),
        ("PACKAGES", postgresql.as_str()),
        ("MEM", "3000"),
    ];
    boot("real programs, from learning to block", &settings).map(drop)
}

/// Both, in two machines at once: the one counts instructions, so the other does not disturb it.
pub(crate) fn real_and_overhead() -> Result<(), Failed> {
    std::thread::scope(|scope| {
        let beside = scope.spawn(overhead);
        let real = real();
        let overhead = beside
            .join()
            .map_err(|_| "the other virtual machine's thread panicked")?;
        real.and(overhead)
    })
}

/// The same tests as on the host, on every rung: in two machines at once, since one of them keeps one
/// processor busy.
pub(crate) fn all_rungs() -> Result<(), Failed> {
    let rungs = |rungs| boot("LSM and fentry rungs, overlay root", &[("RUNGS", rungs)]);
    let (lsm, others) = std::thread::scope(|scope| {
        let others = scope.spawn(|| rungs("fentry tracepoint"));
        (rungs("lsm"), others.join())
    });
    let others = others.map_err(|_| "the other virtual machine's thread panicked")?;
    let (Some(lsm), Some(others)) = (lsm?, others?) else {
        return Ok(());
    };
    let console = lsm + &others;
    check(console.contains("lsm: each operation"), || {
        "the LSM rung was not tested".into()
    })?;
    check(console.contains("fentry: each operation"), || {
        "the fentry rung was not tested".into()
    })?;
    check(console.contains("tracepoint: an open by io_uring"), || {
        "the tracepoint rung was not tested".into()
    })
}

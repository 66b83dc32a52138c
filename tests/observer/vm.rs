//! The same tests on a stock Debian kernel, where LSM programs and fexit are allowed.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Failed;

use crate::check;

/// Boots the kernel that `LEARNER_VM_KERNEL` names, or Debian's cloud kernel, with this binary.
pub(crate) fn all_rungs() -> Result<(), Failed> {
    let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/boot");
    let need = Command::new(&boot).arg("--check").output()?;
    if !need.status.success() {
        let why = String::from_utf8_lossy(&need.stderr).trim().to_owned();
        if std::env::var_os("CI").is_some() {
            return Err(format!("CI is set, and the virtual machine cannot run: {why}").into());
        }
        eprintln!("skipped: the virtual machine (LSM and fentry rungs, overlay root): {why}");
        return Ok(());
    }
    let own: PathBuf = std::env::current_exe()?;
    let output = Command::new(&boot)
        .arg(&own)
        .arg(super::learner())
        .env("RUNGS", "lsm fentry tracepoint")
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

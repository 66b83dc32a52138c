//! The programs that tell a runtime in a container from the workload: see
//! `learner-ebpf/src/bpf/newcomer.rs`.

use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, FEntry, Program, ProgramError};
use aya::{Btf, Ebpf};

use super::sensor::{patiently, reason};

/// Each with the tracepoint that it is on. Who executes something is let go before anybody is noted.
const TRACED: [(&str, &str); 2] = [
    ("newcomer_executed", "sched_process_exec"),
    ("newcomer_forked", "sched_process_fork"),
];
const MOVED: &str = "newcomer_moved";
const ENTERED: (&str, &str) = ("newcomer_entered", "cgroup_attach_task");

/// Attaches them, as long as the links live. Each link comes with its program's name. Linux 5.14.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf) -> Result<Vec<(&'static str, FdLink)>, String> {
    let mut links = Vec::new();
    for (name, on) in TRACED {
        links.push((name, trace(ebpf, btf, name, on)?));
    }
    match moved(ebpf, btf) {
        Ok(link) => links.push((MOVED, link)),
        Err(refused) => {
            let (name, on) = ENTERED;
            let link = trace(ebpf, btf, name, on).map_err(|e| format!("{refused}; {e}"))?;
            links.push((name, link));
        }
    }
    Ok(links)
}

fn trace(ebpf: &mut Ebpf, btf: &Btf, name: &str, on: &str) -> Result<FdLink, String> {
    let told = |e: ProgramError| format!("{name}: {}", reason(&e));
    let program: &mut BtfTracePoint = program(ebpf, name)?.try_into().map_err(told)?;
    patiently(|| program.load(on, btf)).map_err(|e| format!("{name}: {e}"))?;
    let link = program.attach().map_err(told)?;
    Ok(program.take_link(link).map_err(told)?.into())
}

/// By fentry: the old cgroup of the task is still known.
fn moved(ebpf: &mut Ebpf, btf: &Btf) -> Result<FdLink, String> {
    let told = |e: ProgramError| format!("{MOVED}: {}", reason(&e));
    let program: &mut FEntry = program(ebpf, MOVED)?.try_into().map_err(told)?;
    patiently(|| program.load("cgroup_attach_task", btf)).map_err(|e| format!("{MOVED}: {e}"))?;
    let link = program.attach().map_err(told)?;
    Ok(program.take_link(link).map_err(told)?.into())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, String> {
    ebpf.program_mut(name)
        .ok_or_else(|| format!("{name}: the kernel object lacks the program"))
}

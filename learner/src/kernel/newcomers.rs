//! The programs that tell a runtime in a container from the workload: see
//! `learner-ebpf/src/bpf/newcomer.rs`.

use aya::programs::links::FdLink;
use aya::{Btf, Ebpf};

use super::attach::{enter, trace};

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
    // By fentry the old cgroup of the task is still known.
    match enter(ebpf, btf, MOVED, "cgroup_attach_task") {
        Ok(link) => links.push((MOVED, link)),
        Err(refused) => {
            let (name, on) = ENTERED;
            let link = trace(ebpf, btf, name, on).map_err(|e| format!("{refused}; {e}"))?;
            links.push((name, link));
        }
    }
    Ok(links)
}

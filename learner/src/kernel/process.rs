//! Processes by their ids in the initial pid namespace, which is how the kernel programs tell them.

use std::path::Path;

fn is_in_initial_namespace() -> bool {
    const INITIAL: &str = "pid:[4026531836]";
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == INITIAL)
}

/// This process, 0 if it is in another pid namespace and cannot tell.
pub(super) fn own() -> u32 {
    if is_in_initial_namespace() {
        std::process::id()
    } else {
        0
    }
}

/// Whether a process has not ended. True as well where that cannot be told.
pub(super) fn may_be_alive(pid: u32) -> bool {
    !is_in_initial_namespace() || Path::new(&format!("/proc/{pid}")).exists()
}

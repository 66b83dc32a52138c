//! Which programs are a container runtime's or systemd's own, and not the workload's.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::path::AbsPath;

/// What sets a container's cgroup up before the workload's own program is executed there.
const RUNTIMES: [&[u8]; 8] = [
    b"runc",
    b"crun",
    b"youki",
    b"runsc",
    b"conmon",
    b"conmonrs",
    b"containerd-shim",
    b"containerd-shim-runc-v2",
];
/// What sets a unit's cgroup up.
const MANAGERS: [&[u8]; 2] = [b"systemd", b"systemd-executor"];

/// The path of a file that is mounted by itself, where nothing leads to.
const COPY: &[u8] = b"/";

/// How far a cgroup is, as one of its processes tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is still set up: the exec of the workload is to come.
    SettingUp,
    /// The workload runs.
    Running,
    /// The process is gone.
    Gone,
}

/// Whether a program is a container runtime's, by its name, or its copy of itself: a mount of that
/// one file that nothing leads to, so that its path is `/`.
pub fn is_runtime(path: &AbsPath) -> bool {
    path.as_bytes() == COPY || is_among(path, &RUNTIMES)
}

/// Whether a program is systemd's, which it starts units with, by its name.
pub fn is_manager(path: &AbsPath) -> bool {
    is_among(path, &MANAGERS)
}

fn is_among(path: &AbsPath, names: &[&[u8]]) -> bool {
    let name = path.as_bytes().rsplit(|b| *b == b'/').next();
    name.is_some_and(|name| names.contains(&name))
}

/// What a process is that runs in a cgroup, `is_runtime` telling what sets it up.
pub fn stage(pid: u32, is_runtime: fn(&AbsPath) -> bool) -> Stage {
    match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(exe) if is_copy(&exe) => Stage::SettingUp,
        Ok(exe) => match AbsPath::new(exe.as_os_str().as_bytes()) {
            Ok(path) if is_runtime(&path) => Stage::SettingUp,
            _ => Stage::Running,
        },
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Stage::Running,
        Err(_) => Stage::Gone,
    }
}

/// A runtime's copy of itself in memory: `/memfd:runc_cloned:/proc/self/exe (deleted)`.
fn is_copy(exe: &Path) -> bool {
    exe.as_os_str()
        .as_bytes()
        .strip_prefix(b"/memfd:")
        .is_some_and(|name| {
            RUNTIMES.iter().any(|runtime| {
                name.strip_prefix(*runtime)
                    .is_some_and(|rest| rest.starts_with(b"_cloned"))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_name_and_by_their_copies_in_memory() {
        let path = |text| AbsPath::try_from(text).expect("absolute");
        assert!(is_runtime(&path("/usr/sbin/runc")));
        assert!(is_runtime(&path("/")));
        assert!(is_manager(&path("/usr/lib/systemd/systemd-executor")));
        // A container may well have systemd for its own program.
        assert!(!is_runtime(&path("/usr/lib/systemd/systemd")));
        assert!(!is_runtime(&path("/usr/bin/runc-helper")));
        assert!(!is_runtime(&path("/runc/sh")));
        assert!(is_copy(Path::new(
            "/memfd:runc_cloned:/proc/self/exe (deleted)"
        )));
        assert!(is_copy(Path::new(
            "/memfd:crun_cloned:/proc/self/exe (deleted)"
        )));
        assert!(!is_copy(Path::new("/memfd:payload (deleted)")));
        assert_eq!(stage(std::process::id(), is_runtime), Stage::Running);
        assert_eq!(stage(u32::MAX, is_runtime), Stage::Gone);
    }
}

//! Which programs are a container runtime's or systemd's own, and not the workload's.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::path::AbsPath;

/// What sets a cgroup up before the workload's own program is executed there.
const NAMES: [&[u8]; 10] = [
    b"runc",
    b"crun",
    b"youki",
    b"runsc",
    b"conmon",
    b"conmonrs",
    b"docker-init",
    b"systemd",
    b"systemd-executor",
    b"containerd-shim-runc-v2",
];

/// Whether a program of this path is a runtime's, by its name. A runtime may also execute a copy of
/// itself that has no path.
pub fn is_runtime(path: &AbsPath) -> bool {
    let name = path.as_bytes().rsplit(|b| *b == b'/').next();
    name.is_some_and(|name| NAMES.contains(&name))
}

/// Whether a process is still a runtime that sets up, so that the exec of the workload is to come. A
/// process that is gone, or cannot be looked at, is not.
pub fn is_setting_up(pid: u32) -> bool {
    let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return false;
    };
    is_copy(&exe) || AbsPath::new(exe.as_os_str().as_bytes()).is_ok_and(|path| is_runtime(&path))
}

/// A runtime's copy of itself in memory: `/memfd:runc_cloned:/proc/self/exe (deleted)`.
fn is_copy(exe: &Path) -> bool {
    exe.as_os_str()
        .as_bytes()
        .strip_prefix(b"/memfd:")
        .is_some_and(|name| {
            NAMES.iter().any(|runtime| {
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
        assert!(is_runtime(&path("/usr/lib/systemd/systemd-executor")));
        assert!(!is_runtime(&path("/usr/bin/runc-helper")));
        assert!(!is_runtime(&path("/runc/sh")));
        assert!(is_copy(Path::new(
            "/memfd:runc_cloned:/proc/self/exe (deleted)"
        )));
        assert!(is_copy(Path::new(
            "/memfd:crun_cloned:/proc/self/exe (deleted)"
        )));
        assert!(!is_copy(Path::new("/memfd:payload (deleted)")));
        assert!(!is_setting_up(std::process::id()));
        assert!(!is_setting_up(u32::MAX));
    }
}

//! The hooks and the ladder: what is observed, and by which of the kernel's means.

use std::fmt;

/// How a hook is attached, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// fexit on the `security_*` function, where the verdict of all LSMs is known. Needs Linux 5.5 with
    /// BTF and BPF trampolines.
    Fentry,
    /// A BPF LSM program. Needs Linux 5.7, `CONFIG_BPF_LSM` and `bpf` among the active LSMs.
    Lsm,
    /// BTF tracepoints: `sys_enter`, `sys_exit`, `sched_process_exec`. Needs Linux 5.5 with BTF.
    Tracepoint,
}

impl Rung {
    /// All rungs, best first.
    pub const ALL: [Self; 3] = [Self::Fentry, Self::Lsm, Self::Tracepoint];

    /// `lsm`, `fentry` or `tracepoint`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Fentry => "fentry",
            Self::Tracepoint => "tracepoint",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operation as the kernel's security hooks divide them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// execve: script and interpreter.
    Exec,
    /// Opens.
    Open,
    /// mknod and creating opens.
    Create,
    /// mkdir.
    Mkdir,
    /// unlink.
    Unlink,
    /// rmdir.
    Rmdir,
    /// rename.
    Rename,
    /// link.
    Link,
    /// symlink.
    Symlink,
    /// chmod.
    Chmod,
    /// truncate(2); before Linux 6.2 every truncation.
    Truncate,
    /// ftruncate and `O_TRUNC`, from Linux 6.2 on.
    FileTruncate,
}

impl Hook {
    /// All hooks, in the order in which they are served: where exec is seen depends on open.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Exec,
        Self::Create,
        Self::Mkdir,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Link,
        Self::Symlink,
        Self::Chmod,
        Self::Truncate,
        Self::FileTruncate,
    ];

    /// The LSM hook's name; `security_` before it gives the function's, but for exec.
    pub fn lsm_name(self) -> &'static str {
        match self {
            Self::Exec => "bprm_check_security",
            Self::Open => "file_open",
            Self::Create => "path_mknod",
            Self::Mkdir => "path_mkdir",
            Self::Unlink => "path_unlink",
            Self::Rmdir => "path_rmdir",
            Self::Rename => "path_rename",
            Self::Link => "path_link",
            Self::Symlink => "path_symlink",
            Self::Chmod => "path_chmod",
            Self::Truncate => "path_truncate",
            Self::FileTruncate => "file_truncate",
        }
    }

    /// The function that fexit attaches to.
    pub fn function(self) -> &'static str {
        match self {
            Self::Exec => "security_bprm_check",
            Self::Open => "security_file_open",
            Self::Create => "security_path_mknod",
            Self::Mkdir => "security_path_mkdir",
            Self::Unlink => "security_path_unlink",
            Self::Rmdir => "security_path_rmdir",
            Self::Rename => "security_path_rename",
            Self::Link => "security_path_link",
            Self::Symlink => "security_path_symlink",
            Self::Chmod => "security_path_chmod",
            Self::Truncate => "security_path_truncate",
            Self::FileTruncate => "security_file_truncate",
        }
    }

    /// The program in the kernel object; `rung` is not [`Rung::Tracepoint`].
    pub(super) fn program(self, rung: Rung) -> String {
        let name = match self {
            Self::Exec => "exec",
            Self::Open => "open",
            Self::Create => "create",
            Self::Mkdir => "mkdir",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Symlink => "symlink",
            Self::Chmod => "chmod",
            Self::Truncate => "truncate",
            Self::FileTruncate => "ftruncate",
        };
        let prefix = if rung == Rung::Lsm { "lsm" } else { "fexit" };
        format!("{prefix}_{name}")
    }

    /// What a rung does not see of this hook, for `probe`. Empty: nothing.
    pub fn misses(self, rung: Rung) -> &'static str {
        match (rung, self) {
            (Rung::Lsm, Self::Open) => "failures before the check; denials by a later LSM",
            (Rung::Lsm, Self::Exec) => "failures before the check",
            (Rung::Fentry, Self::Open | Self::Exec) => "failures before the check",
            (Rung::Lsm | Rung::Fentry, Self::Create) => {
                "failures before the check; an open that fails to create"
            }
            (Rung::Lsm | Rung::Fentry, _) => "failures before the check",
            (Rung::Tracepoint, Self::Exec) => {
                "script and loader read from the files after the fact; 32-bit processes (counted)"
            }
            (Rung::Tracepoint, Self::Open) => {
                "io_uring and 32-bit processes (counted); opens by the kernel other than exec's"
            }
            (Rung::Tracepoint, Self::Chmod | Self::Truncate | Self::FileTruncate) => {
                "paths by name resolved after the fact; io_uring and 32-bit processes (counted)"
            }
            (Rung::Tracepoint, _) => {
                "paths resolved after the fact; io_uring and 32-bit processes (counted); owner"
            }
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.lsm_name())
    }
}

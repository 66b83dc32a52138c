//! What the kernel asks an enforcer: one call of one LSM hook.

use crate::behavior::Access;

/// One call of a hook.
#[derive(Clone, Copy, Debug)]
pub struct HookCall<'a> {
    /// Which hook, and about what.
    pub hook: Hook<'a>,
    /// The executable of the acting process; for [`Hook::Exec`] that of its parent
    /// (KubeArmor/BPF/enforcer.bpf.c, enforce_proc).
    pub source: Program<'a>,
    /// The process has a controlling terminal.
    pub tty: Option<bool>,
}

/// An executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program<'a> {
    /// It has this path.
    Path(&'a [u8]),
    /// It has none: a memfd.
    Nameless,
    /// Not known.
    Unknown,
}

/// A hook with what it is asked about.
#[derive(Clone, Copy, Debug)]
pub enum Hook<'a> {
    /// `bprm_check_security`, once for a script and once for its interpreter.
    Exec {
        /// The resolved path.
        path: &'a [u8],
        /// The acting user owns the file.
        owner: Option<bool>,
        /// All arguments, that of the program's own name included.
        arguments: Option<&'a [&'a [u8]]>,
    },
    /// A hook about a file.
    File {
        /// Which.
        hook: FileHook,
        /// The resolved path. A slash at the end is left out.
        path: &'a [u8],
        /// The acting user owns the file; for [`FileHook::Mknod`] and [`FileHook::Mkdir`] the
        /// directory; for another name that is not there yet, whether root acts
        /// (KubeArmor/BPF/shared.h, is_owner_path; verdicts owneronly-007).
        owner: Option<bool>,
    },
    /// `socket_create`, `socket_connect` and `socket_accept`.
    Socket {
        /// `SOCK_STREAM` and so on, without flags.
        kind: u32,
        /// `IPPROTO_TCP` and so on, 0 for the usual one of the type.
        protocol: u32,
    },
    /// `capable`.
    Capable {
        /// The number of the capability.
        capability: u8,
    },
}

/// The hooks about files that KubeArmor has programs on (KubeArmor/BPF/enforcer.bpf.c,
/// enforcer_path.bpf.c). There is none for chown, setxattr, stat, readlink and chdir.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileHook {
    /// `file_open`: also of directories and of programs that are executed.
    Open(Access),
    /// `file_permission` for writing: write, append, fallocate, sendfile; not a store to a mapping.
    Write,
    /// `path_mknod`: also an open that creates the file, and a bound Unix socket.
    Mknod,
    /// `path_mkdir`.
    Mkdir,
    /// `path_unlink`.
    Unlink,
    /// `path_rmdir`.
    Rmdir,
    /// `path_symlink`.
    Symlink,
    /// `path_link`, for each of the two names.
    Link,
    /// `path_rename`, for each of the two names.
    Rename,
    /// `path_chmod`.
    Chmod,
    /// `path_truncate`: truncate(2), and up to Linux 6.1 also ftruncate(2) and `O_TRUNC`.
    Truncate,
}

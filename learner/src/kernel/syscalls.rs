//! Which system calls make up a hook on the tracepoint rung, and where their arguments stand.

use learner_ebpf::op;
use learner_ebpf::syscall::{
    BIND, CREAT, EXEC, FD_OP, NONE, OPEN, OPENAT2, PATH_OP, UNLINKAT, entry,
};

use super::hook::Hook;

const CHMOD: u32 = PATH_OP + op::CHMOD;

/// (number, entry of the `SYSCALLS` map) of every system call that can do what the hook covers.
///
/// Opens are one entry for [`Hook::Open`], [`Hook::Create`] and [`Hook::FileTruncate`] together.
pub(super) fn of(hook: Hook) -> Vec<(u32, u32)> {
    let call = |number: libc::c_long, kind, dir, path, dir2, path2, flags| {
        (number as u32, entry(kind, dir, path, dir2, path2, flags))
    };
    let one = |number, kind, path| call(number, kind, NONE, path, NONE, NONE, NONE);
    let at = |number, kind| call(number, kind, 0, 1, NONE, NONE, NONE);
    let fd = |number, operation| call(number, FD_OP + operation, NONE, NONE, NONE, NONE, NONE);
    let pair = |number, operation| call(number, PATH_OP + operation, 0, 1, 2, 3, NONE);
    let calls = match hook {
        Hook::Exec => vec![one(libc::SYS_execve, EXEC, 0), at(libc::SYS_execveat, EXEC)],
        Hook::Open => vec![
            call(libc::SYS_openat, OPEN, 0, 1, NONE, NONE, 2),
            call(libc::SYS_openat2, OPENAT2, 0, 1, NONE, NONE, 2),
            call(libc::SYS_open_by_handle_at, OPEN, NONE, NONE, NONE, NONE, 2),
        ],
        Hook::Create => vec![
            at(libc::SYS_mknodat, PATH_OP + op::CREATE),
            one(libc::SYS_bind, BIND, 1),
        ],
        Hook::Mkdir => vec![at(libc::SYS_mkdirat, PATH_OP + op::MKDIR)],
        Hook::Unlink | Hook::Rmdir => {
            vec![call(libc::SYS_unlinkat, UNLINKAT, 0, 1, NONE, NONE, 2)]
        }
        Hook::Rename => vec![pair(libc::SYS_renameat2, op::RENAME)],
        Hook::Link => vec![pair(libc::SYS_linkat, op::LINK)],
        Hook::Symlink => vec![call(
            libc::SYS_symlinkat,
            PATH_OP + op::SYMLINK,
            1,
            2,
            NONE,
            NONE,
            NONE,
        )],
        Hook::Chmod => vec![
            at(libc::SYS_fchmodat, CHMOD),
            at(SYS_FCHMODAT2, CHMOD),
            fd(libc::SYS_fchmod, op::CHMOD),
        ],
        Hook::Truncate => vec![one(libc::SYS_truncate, PATH_OP + op::TRUNCATE, 0)],
        Hook::FileTruncate => vec![fd(libc::SYS_ftruncate, op::TRUNCATE)],
    };
    #[cfg(target_arch = "x86_64")]
    let calls = {
        let two = |number, operation| call(number, PATH_OP + operation, NONE, 0, NONE, 1, NONE);
        let mut calls = calls;
        calls.extend(match hook {
            Hook::Open => vec![
                call(libc::SYS_open, OPEN, NONE, 0, NONE, NONE, 1),
                one(libc::SYS_creat, CREAT, 0),
            ],
            Hook::Create => vec![one(libc::SYS_mknod, PATH_OP + op::CREATE, 0)],
            Hook::Mkdir => vec![one(libc::SYS_mkdir, PATH_OP + op::MKDIR, 0)],
            Hook::Unlink => vec![one(libc::SYS_unlink, PATH_OP + op::UNLINK, 0)],
            Hook::Rmdir => vec![one(libc::SYS_rmdir, PATH_OP + op::RMDIR, 0)],
            Hook::Rename => {
                vec![
                    two(libc::SYS_rename, op::RENAME),
                    pair(libc::SYS_renameat, op::RENAME),
                ]
            }
            Hook::Link => vec![two(libc::SYS_link, op::LINK)],
            Hook::Symlink => vec![one(libc::SYS_symlink, PATH_OP + op::SYMLINK, 1)],
            Hook::Chmod => vec![one(libc::SYS_chmod, CHMOD, 0)],
            Hook::Exec | Hook::Truncate | Hook::FileTruncate => vec![],
        });
        calls
    };
    calls
}

/// The same number on every architecture (Linux 6.6).
const SYS_FCHMODAT2: libc::c_long = 452;

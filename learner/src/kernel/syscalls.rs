//! Which system calls make up a hook on the tracepoint rung, and where their arguments stand.

use std::collections::BTreeMap;

use learner_ebpf::syscall::{
    BIND, COMPAT, COMPAT_SOCKET, CREAT, EXEC, FD_OP, NONE, OPEN, OPENAT2, PATH_OP, UNLINKAT, entry,
};
use learner_ebpf::{COMPAT_FROM, op};

use super::hook::Hook;

const CHMOD: u32 = PATH_OP + op::CHMOD;

/// The `SYSCALLS` map: index and entry of every system call that can do what the hooks cover that are on
/// the tracepoint rung.
///
/// An open creates and truncates too: what it reports is said by `SCOPING`.
pub(super) fn table(floor: &[Hook]) -> BTreeMap<u32, u32> {
    let mut table = BTreeMap::new();
    for hook in floor {
        table.extend(all(*hook));
        table.extend(of_32_bit(*hook));
    }
    table
}

/// The system calls of a hook and, where an open may do the same, those of opens.
fn all(hook: Hook) -> Vec<(u32, u32)> {
    let mut calls = of(hook);
    match hook {
        Hook::Create => calls.extend(of(Hook::Open)),
        // Before Linux 6.2 path_truncate is the hook of every truncation.
        Hook::Truncate | Hook::FileTruncate => {
            calls.extend(of(Hook::Open));
            calls.extend(of(Hook::FileTruncate));
        }
        _ => {}
    }
    calls
}

/// The 32-bit calls of x86: seen by number, and counted. None elsewhere.
fn of_32_bit(hook: Hook) -> impl Iterator<Item = (u32, u32)> {
    const OPENS: [u32; 4] = [5, 8, 295, 437];
    let numbers: &[u32] = match hook {
        _ if !cfg!(target_arch = "x86_64") => &[],
        Hook::Exec => &[11, 358],
        Hook::Open => &OPENS,
        Hook::Create => &[14, 297, 361, SOCKETCALL, 5, 8, 295, 437],
        Hook::Mkdir => &[39, 296],
        Hook::Unlink => &[10, 301],
        Hook::Rmdir => &[40, 301],
        Hook::Rename => &[38, 302, 353],
        Hook::Link => &[9, 303],
        Hook::Symlink => &[83, 304],
        Hook::Chmod => &[15, 94, 306, 452],
        Hook::Truncate => &[92, 193],
        Hook::FileTruncate => &[93, 194, 5, 8, 295, 437],
    };
    numbers.iter().map(|number| {
        let kind = if *number == SOCKETCALL {
            COMPAT_SOCKET
        } else {
            COMPAT
        };
        let entry = entry(kind, NONE, NONE, NONE, NONE, NONE);
        (COMPAT_FROM + *number, entry)
    })
}

/// i386 binds a socket by this one.
const SOCKETCALL: u32 = 102;

/// (number, entry) of the native system calls that are the hook's own.
fn of(hook: Hook) -> Vec<(u32, u32)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_is_looked_at_for_what_it_creates_and_truncates_too() {
        let kind = |table: &BTreeMap<u32, u32>, number| table.get(&number).map(|e| e & 0xff);
        let openat = libc::SYS_openat as u32;
        for hook in [Hook::Open, Hook::Create, Hook::Truncate] {
            assert_eq!(kind(&table(&[hook]), openat), Some(OPEN), "{hook}");
        }
        assert_eq!(kind(&table(&[Hook::Mkdir]), openat), None);
    }

    #[test]
    fn every_number_has_its_place_in_the_map() {
        let table = table(&Hook::ALL);
        assert!(table.keys().all(|number| *number < COMPAT_FROM * 2));
        if cfg!(target_arch = "x86_64") {
            assert!(table.contains_key(&(COMPAT_FROM + 5)), "open of i386");
        }
    }
}

//! What came of an operation. A hook is asked before it is done, and often before permissions are checked:
//! its record waits for the function that does it, and says what that returned.
//!
//! Such a function is asked with the very name that the hook was, so a file system's own doings on other
//! names (overlayfs has each operation done on its layers) are not taken for it. Where the kernel gives up
//! in between, no function is asked, and the record goes when the task is asked the next time, or ends.
//! An open that creates is told by the hook of the open: it is asked with a file that is open.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};
use learner_ebpf::{doer, field, lost, op};

use super::atomic::{decrement, increment};
use super::hooks::{FMODE_CREATED, MAX_ERRNO};
use super::maps::{self, AWAITED, AWAITING, Awaited, PENDING, PENDING_MAX, offset};
use super::read::{current_task, file_path, read, value};
use super::record::{BPF_NOEXIST, Record};
use super::scope::lose;

pub(crate) const ENOEXEC: u32 = 8;
/// From here on errno values are the kernel's own: the call is restarted and seen again.
pub(crate) const ERESTARTSYS: u32 = 512;
const O_CREAT: u32 = 0o100;
/// Any odd number: tells the keys of a behaviour by what came of it.
const OUTCOME: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Keeps the record until it is known what comes of it. Where the hook is told that it is refused, that is
/// what came of it. `subject`: the `struct dentry` that it is done to, 0 for an exec. Releases the slot.
#[inline(always)]
pub(crate) fn wait(record: Record, subject: u64) {
    if !record.mark() {
        return record.release();
    }
    let (errno, op) = (record.head().errno, record.head().op);
    if errno != 0 || !keep(record, op, subject) {
        record.tell();
    }
    record.release();
}

/// False: it has to be told at once.
#[inline(always)]
fn keep(record: Record, op: u32, subject: u64) -> bool {
    let task = current_task();
    let mut awaited = Awaited {
        subject,
        op,
        scope: record.scope,
        records: 0,
        pid: pid(),
    };
    match AWAITED.get_ptr_mut(task) {
        Some(before) => {
            // SAFETY: a map value that only this task writes.
            let before = unsafe { &mut *before };
            // A script and its interpreters wait for one exec; anything else was not done.
            if op == op::EXEC && before.op == op && before.pid == awaited.pid {
                awaited.records = before.records;
            } else {
                drop_records(task, before.records);
            }
            if awaited.records >= PENDING_MAX {
                return false;
            }
            awaited.records += 1;
            *before = awaited;
        }
        None => {
            awaited.records = 1;
            if AWAITED.insert(task, awaited, BPF_NOEXIST).is_err() {
                lose(record.scope, lost::IN_FLIGHT);
                return true;
            }
            // SAFETY: a map value, aligned to 8; the add is atomic.
            unsafe { increment(&raw mut AWAITING) };
        }
    }
    let key = task.wrapping_add(u64::from(awaited.records - 1));
    // SAFETY: the slot is held.
    if PENDING.insert(key, unsafe { &*record.scratch }, 0).is_err() {
        lose(record.scope, lost::IN_FLIGHT);
    }
    true
}

#[inline(always)]
fn drop_records(task: u64, records: u32) {
    for index in 0..PENDING_MAX {
        if index >= records {
            break;
        }
        let _ = PENDING.remove(task.wrapping_add(u64::from(index)));
    }
}

#[inline(always)]
fn end(task: u64, records: u32) {
    drop_records(task, records);
    if AWAITED.remove(task).is_ok() {
        // SAFETY: a map value, aligned to 8; the add is atomic.
        unsafe { decrement(&raw mut AWAITING) };
    }
}

#[inline(always)]
fn is_any_awaited() -> bool {
    // SAFETY: map memory; counted atomically.
    unsafe { core::ptr::read_volatile(&raw const AWAITING) != 0 }
}

/// What the current task waits for. Asked by all tasks, and nearly always by one that waits for nothing.
#[inline(always)]
fn awaited() -> Option<(u64, Awaited)> {
    if !is_any_awaited() {
        return None;
    }
    let task = current_task();
    // SAFETY: a map value that only this task writes.
    let awaited = *unsafe { AWAITED.get(task) }?;
    // That of a task that is gone and was at the same address is none of this one's.
    (awaited.pid == pid()).then_some((task, awaited))
}

/// Reports what waited.
#[inline(never)]
fn tell(task: u64, awaited: &Awaited, errno: u32) -> i32 {
    // A file of no known format has passed every check of an exec: a shell reads it as a script.
    let as_script = awaited.op == op::EXEC && errno == ENOEXEC;
    let errno = if as_script { 0 } else { errno };
    for index in 0..PENDING_MAX {
        if index >= awaited.records || errno >= ERESTARTSYS {
            break;
        }
        let Some(scratch) = PENDING.get_ptr_mut(task.wrapping_add(u64::from(index))) else {
            continue;
        };
        let record = Record {
            scratch,
            scope: awaited.scope,
        };
        let head = record.head();
        head.errno = errno;
        // The key was made for a success.
        head.key[0] ^= u64::from(errno).wrapping_mul(OUTCOME);
        record.tell();
    }
    end(task, awaited.records);
    0
}

/// An open: what it created is there, or what it was asked to create if it is not.
#[inline(always)]
pub(crate) fn opened(file: u64, errno: impl Fn() -> u32) {
    let Some((task, awaited)) = awaited() else {
        return;
    };
    if awaited.op != op::CREATE {
        return;
    }
    let created = value::<u32>(file, field::FILE_MODE) & FMODE_CREATED != 0;
    // Whether a name is there is not always known yet when the hook is asked.
    let asked = value::<u32>(file, field::FILE_FLAGS) & O_CREAT != 0
        && file_path(file).dentry == awaited.subject;
    if created || asked {
        tell(task, &awaited, errno());
    }
}

/// The function did what it returns the result of.
#[inline(always)]
fn done(ctx: &FExitContext, function: usize, operations: u32) {
    let Some((task, awaited)) = awaited() else {
        return;
    };
    if operations & 1 << awaited.op == 0 {
        return;
    }
    let shape = maps::doer(function);
    let argument =
        |n: u32| read::<u64>((ctx.as_ptr() as u64).wrapping_add(u64::from(n & 0xff) * 8));
    let mut subject = argument(shape >> doer::DENTRY);
    if shape & doer::IN_RENAMEDATA != 0 {
        subject = read(subject.wrapping_add(offset(field::RENAMEDATA_OLD)));
    }
    if subject != awaited.subject {
        return;
    }
    let result = argument(shape >> doer::ARGUMENTS);
    tell(task, &awaited, errno(result, function == doer::MKDIR));
}

/// A result as a positive errno, 0 for success.
#[inline(always)]
fn errno(result: u64, may_be_pointer: bool) -> u32 {
    // From Linux 6.15 on mkdir returns a dentry, or an error in the place of one.
    if may_be_pointer && !matches!(result >> 32, 0 | 0xffff_ffff) {
        return 0;
    }
    let error = (result as i32).wrapping_neg();
    if error > 0 && error as u64 <= MAX_ERRNO {
        error as u32
    } else {
        0
    }
}

macro_rules! done {
    ($program:ident, $function:literal, $index:ident, $operations:expr) => {
        #[fexit(function = $function)]
        pub(crate) fn $program(ctx: FExitContext) -> i32 {
            done(&ctx, doer::$index, $operations);
            0
        }
    };
}

done!(done_create, "vfs_create", CREATE, 1 << op::CREATE);
done!(done_mknod, "vfs_mknod", MKNOD, 1 << op::CREATE);
done!(done_mkdir, "vfs_mkdir", MKDIR, 1 << op::MKDIR);
done!(done_unlink, "vfs_unlink", UNLINK, 1 << op::UNLINK);
done!(done_rmdir, "vfs_rmdir", RMDIR, 1 << op::RMDIR);
done!(done_rename, "vfs_rename", RENAME, 1 << op::RENAME);
done!(done_link, "vfs_link", LINK, 1 << op::LINK);
done!(done_symlink, "vfs_symlink", SYMLINK, 1 << op::SYMLINK);
done!(
    done_change,
    "notify_change",
    CHANGE,
    1 << op::CHMOD | 1 << op::TRUNCATE
);

#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn done_exec(_ctx: BtfTracePointContext) -> i32 {
    if let Some((task, awaited)) = awaited()
        && awaited.op == op::EXEC
    {
        tell(task, &awaited, 0);
    }
    0
}

/// An exec that failed.
#[inline(always)]
fn executed(ctx: &FExitContext) {
    if let Some((task, awaited)) = awaited()
        && awaited.op == op::EXEC
    {
        // SAFETY: the function has one argument, and its result is behind.
        let result = unsafe { *(ctx.as_ptr() as *const u64).add(1) };
        tell(task, &awaited, errno(result, false));
    }
}

macro_rules! executed {
    ($($program:ident),*) => {
        $(
            #[fexit]
            pub(crate) fn $program(ctx: FExitContext) -> i32 {
                executed(&ctx);
                0
            }
        )*
    };
}

executed!(
    failed_execve,
    failed_execveat,
    failed_compat_execve,
    failed_compat_execveat
);

/// What a task waits for when it ends is not done any more.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn done_all(_ctx: BtfTracePointContext) -> i32 {
    if !is_any_awaited() {
        return 0;
    }
    let task = current_task();
    // SAFETY: a map value that only this task writes.
    if let Some(awaited) = unsafe { AWAITED.get(task) } {
        end(task, awaited.records);
    }
    0
}

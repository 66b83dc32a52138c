//! The floor: system calls and `sched_process_exec`, for kernels that allow neither LSM programs
//! nor fexit. Arguments are kept at entry and looked at on return, when the kernel has done the
//! work: for an open, in the task's file table.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use learner_ebpf::{SYSCALL_MAX, field, flag, lost, op, segment, syscall};

use super::hooks::{report_open, report_path};
use super::maps::{CALLS, Call, IMAGES, Image, SCOPING, SYSCALLS, offset};
use super::read::{Location, current_task, file_path, path, pointer, read, value};
use super::record::Record;
use super::scope::{self, lose};
use super::walk::position;

const AT_FDCWD: i32 = -100;
const AT_REMOVEDIR: u64 = 0x200;
const O_CREAT_WRONLY_TRUNC: u64 = 0o1101;
const O_TRUNC: u64 = 0o1000;
const FMODE_WRITE: u32 = 2;
const FMODE_PATH: u32 = 1 << 14;
const FMODE_CREATED: u32 = 1 << 20;
const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const TS_COMPAT: u32 = 2;
const AF_UNIX: u16 = 1;

#[inline(always)]
fn argument(ctx: &BtfTracePointContext, n: usize) -> u64 {
    // SAFETY: each program reads only arguments that its tracepoint has.
    unsafe { *(ctx.as_ptr() as *const u64).add(n) }
}

#[inline(always)]
fn tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

#[btf_tracepoint(function = "sys_enter")]
pub(crate) fn tp_enter(ctx: BtfTracePointContext) -> i32 {
    let (regs, number) = (argument(&ctx, 0), argument(&ctx, 1));
    if number >= u64::from(SYSCALL_MAX) {
        return 0;
    }
    let entry = SYSCALLS.get(number as u32).copied().unwrap_or(0);
    if entry == 0 {
        return 0;
    }
    let scope = scope::current();
    if scope == 0 {
        return 0;
    }
    let status = offset(field::TASK_TI_STATUS);
    if status != 0 && value::<u32>(current_task(), field::TASK_TI_STATUS) & TS_COMPAT != 0 {
        lose(scope, lost::COMPAT);
        return 0;
    }
    let call = Call {
        entry,
        scope,
        args: [
            value(regs, field::REGS_ARG0),
            value(regs, field::REGS_ARG1),
            value(regs, field::REGS_ARG2),
            value(regs, field::REGS_ARG3),
            value(regs, field::REGS_ARG4),
        ],
    };
    if CALLS.insert(tid(), call, 0).is_err() {
        lose(scope, lost::IN_FLIGHT);
    } else if entry & 0xff == syscall::EXEC {
        keep_image(scope);
    }
    0
}

/// Keeps the path of the image that an execve may replace: it is the source of the kernel's opens.
#[inline(always)]
fn keep_image(scope: u32) {
    let Some(record) = Record::begin(scope, op::EXEC) else {
        return;
    };
    record.source(current_task());
    // SAFETY: the slot is held, its data is 8-aligned and larger than an Image; a source is the
    // first segment here, so the path lies where the Image has it.
    let kept = unsafe {
        let image = (&raw mut (*record.scratch).data).cast::<Image>();
        (*image).len = position(record.scratch);
        IMAGES.insert(tid(), &*image, 0)
    };
    if kept.is_err() {
        lose(scope, lost::IN_FLIGHT);
    }
    record.release();
}

#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn tp_exec(ctx: BtfTracePointContext) -> i32 {
    let (task, old_tid, bprm) = (
        argument(&ctx, 0),
        argument(&ctx, 1) as u32,
        argument(&ctx, 2),
    );
    let scope = scope::current();
    if scope != 0 {
        report_exec(scope, task, old_tid, bprm);
    }
    let _ = IMAGES.remove(old_tid);
    let _ = CALLS.remove(old_tid);
    0
}

#[inline(always)]
fn report_exec(scope: u32, task: u64, old_tid: u32, bprm: u64) {
    let Some(record) = Record::begin(scope, op::EXEC) else {
        return;
    };
    let file = pointer(bprm, field::BPRM_FILE);
    let at = file_path(file);
    let inode = pointer(file, field::FILE_INODE);
    record.head().flags |= flag::EXEC_DONE;
    record.owner(inode);
    record.upper(at.dentry, inode);
    if !record.path(segment::PATH, at) {
        return record.release();
    }
    if let Some(image) = IMAGES.get_ptr(old_tid) {
        record.image(segment::TO, image);
    }
    record.source(pointer(task, field::TASK_REAL_PARENT));
    record.head().mnt_ns = mount_namespace();
    let fs = pointer(task, field::TASK_FS);
    let name = pointer(bprm, field::BPRM_FILENAME);
    if name != pointer(bprm, field::BPRM_INTERP)
        && (!record.kernel_string(segment::RAW, name)
            || !record.path(
                segment::RAW_TO,
                path(fs.wrapping_add(offset(field::FS_PWD))),
            ))
    {
        return record.release();
    }
    if !record.path(segment::ROOT, path(fs.wrapping_add(offset(field::FS_ROOT)))) {
        return record.release();
    }
    record.emit(true);
}

#[inline(always)]
fn mount_namespace() -> u32 {
    let nsproxy = pointer(current_task(), field::TASK_NSPROXY);
    value(pointer(nsproxy, field::NSPROXY_MNT), field::MNT_NS_INUM)
}

#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn tp_exit(ctx: BtfTracePointContext) -> i32 {
    let tid = tid();
    // SAFETY: the value is only written by this task.
    let Some(call) = (unsafe { CALLS.get(tid) }).copied() else {
        return 0;
    };
    let _ = CALLS.remove(tid);
    let result = argument(&ctx, 1) as i64;
    let kind = call.entry & 0xff;
    if kind == syscall::EXEC {
        let _ = IMAGES.remove(tid);
    }
    let errno = if result < 0 {
        result.wrapping_neg() as u32
    } else {
        0
    };
    if errno == 0 && kind <= syscall::CREAT {
        opened(&call, kind, result as u32);
    } else if errno == 0 && kind >= syscall::FD_OP && kind < syscall::BIND {
        on_descriptor(&call, kind);
    } else if call.entry >> PATH & 15 != syscall::NONE && (errno != 0 || kind != syscall::EXEC) {
        named(&call, kind, errno);
    }
    0
}

/// The argument that bits `shift` of the entry name, or the default.
#[inline(always)]
fn pick(call: &Call, shift: u32, default: u64) -> u64 {
    match call.entry >> shift & 15 {
        0 => call.args[0],
        1 => call.args[1],
        2 => call.args[2],
        3 => call.args[3],
        4 => call.args[4],
        _ => default,
    }
}

const DIR: u32 = 8;
const PATH: u32 = 12;
const DIR2: u32 = 16;
const PATH2: u32 = 20;
const FLAGS: u32 = 24;

/// The open file behind a descriptor of the current task, or 0.
#[inline(always)]
fn file_of(fd: u32) -> u64 {
    let table = pointer(pointer(current_task(), field::TASK_FILES), field::FILES_FDT);
    if table == 0 || fd >= value::<u32>(table, field::FDTABLE_MAX) {
        return 0;
    }
    let slot = pointer(table, field::FDTABLE_FD).wrapping_add(u64::from(fd) * 8);
    read(slot)
}

/// A successful open: the file is in the task's table.
#[inline(always)]
fn opened(call: &Call, kind: u32, fd: u32) {
    let file = file_of(fd);
    if file == 0 {
        return lose(call.scope, lost::GONE);
    }
    let mode: u32 = value(file, field::FILE_MODE);
    if mode & FMODE_PATH != 0 {
        return;
    }
    let at = file_path(file);
    let inode = pointer(file, field::FILE_INODE);
    let reports = SCOPING.get(2).copied().unwrap_or(0);
    let mut also = 0;
    let mut owned_by = inode;
    if mode & FMODE_CREATED != 0 {
        if reports & 1 != 0 {
            also = op::CREATE;
            owned_by = pointer(
                pointer(at.dentry, field::DENTRY_PARENT),
                field::DENTRY_INODE,
            );
        }
    } else if reports & 2 != 0
        && mode & FMODE_WRITE != 0
        && value::<u16>(inode, field::INODE_MODE) & S_IFMT == S_IFREG
        && open_flags(call, kind) & O_TRUNC != 0
    {
        also = op::TRUNCATE;
    }
    if also != 0 {
        report_path(call.scope, also, at, owned_by, 0);
    }
    if let Some(record) = Record::begin(call.scope, op::OPEN) {
        report_open(record, file, 0);
    }
}

#[inline(always)]
fn open_flags(call: &Call, kind: u32) -> u64 {
    let flags = pick(call, FLAGS, 0);
    match kind {
        syscall::CREAT => O_CREAT_WRONLY_TRUNC,
        // SAFETY: probe_read checks the address; `struct open_how` begins with its flags.
        syscall::OPENAT2 => unsafe { bpf_probe_read_user(flags as *const u64) }.unwrap_or(0),
        _ => flags,
    }
}

/// What a call that names paths is called in the record.
#[inline(always)]
fn operation(call: &Call, kind: u32) -> u32 {
    match kind {
        syscall::EXEC => op::EXEC,
        syscall::OPEN | syscall::OPENAT2 | syscall::CREAT => op::OPEN,
        syscall::BIND => op::CREATE,
        syscall::UNLINKAT if pick(call, FLAGS, 0) & AT_REMOVEDIR != 0 => op::RMDIR,
        syscall::UNLINKAT => op::UNLINK,
        _ => kind & 31,
    }
}

/// A successful call on an open file.
#[inline(always)]
fn on_descriptor(call: &Call, kind: u32) {
    let file = file_of(call.args[0] as u32);
    if file == 0 {
        return lose(call.scope, lost::GONE);
    }
    let inode = pointer(file, field::FILE_INODE);
    report_path(call.scope, operation(call, kind), file_path(file), inode, 0);
}

/// Reports base directories and the strings that were passed; user space resolves them.
///
/// The same string may mean another path next time, so a success is never deduplicated here. A
/// failure is never learned from, so it may be.
#[inline(never)]
fn named(call: &Call, kind: u32, errno: u32) {
    let mut string = pick(call, PATH, 0);
    if kind == syscall::BIND {
        // SAFETY: probe_read checks the address.
        let family = unsafe { bpf_probe_read_user(string as *const u16) }.unwrap_or(0);
        string = string.wrapping_add(2);
        // SAFETY: as above.
        let first = unsafe { bpf_probe_read_user(string as *const u8) }.unwrap_or(0);
        if family != AF_UNIX || first == 0 {
            return;
        }
    }
    let Some(record) = Record::begin(call.scope, operation(call, kind)) else {
        return;
    };
    let head = record.head();
    head.errno = errno;
    head.flags |= flag::RAW;
    head.mnt_ns = mount_namespace();
    let fs = pointer(current_task(), field::TASK_FS);
    let two = call.entry >> PATH2 & 15 != syscall::NONE;
    let whole = record.path(segment::PATH, base(call, DIR, fs))
        && (!two || record.path(segment::TO, base(call, DIR2, fs)));
    if !whole {
        return record.release();
    }
    record.source(current_task());
    if record.user_string(segment::RAW, string)
        && (!two || record.user_string(segment::RAW_TO, pick(call, PATH2, 0)))
        && record.path(segment::ROOT, path(fs.wrapping_add(offset(field::FS_ROOT))))
    {
        record.emit(errno != 0);
    } else {
        record.release();
    }
}

/// The directory that a relative string starts from.
#[inline(always)]
fn base(call: &Call, shift: u32, fs: u64) -> Location {
    let fd = pick(call, shift, AT_FDCWD as u64) as i32;
    if fd == AT_FDCWD {
        return path(fs.wrapping_add(offset(field::FS_PWD)));
    }
    let file = file_of(fd as u32);
    if file == 0 {
        path(fs.wrapping_add(offset(field::FS_ROOT)))
    } else {
        file_path(file)
    }
}

/// io_uring's file operations pass none of the above: counted, since this rung cannot resolve them.
#[inline(always)]
fn uring(request: u64) -> i32 {
    let scope = scope::current();
    // openat, close excluded, openat2, renameat, unlinkat, mkdirat, symlinkat, linkat: UAPI.
    let opcode: u8 = value(request, field::KIOCB_OPCODE);
    if scope != 0 && matches!(opcode, 18 | 28 | 35..=39) {
        lose(scope, lost::IO_URING);
    }
    0
}

#[btf_tracepoint(function = "io_uring_submit_req")]
pub(crate) fn tp_uring(ctx: BtfTracePointContext) -> i32 {
    uring(argument(&ctx, 0))
}

#[btf_tracepoint(function = "io_uring_submit_sqe")]
pub(crate) fn tp_uring_sqe(ctx: BtfTracePointContext) -> i32 {
    uring(argument(&ctx, 1))
}

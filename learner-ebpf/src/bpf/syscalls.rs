//! The floor: system calls and `sched_process_exec`, for kernels that allow neither LSM programs
//! nor fexit. Arguments are kept at entry and looked at on return, when the kernel has done the
//! work: for an open, in the task's file table.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use learner_ebpf::{
    COMPAT_FROM, SYSCALL_MAX, field, flag, lost, op, scoping, segment, setting, stage, syscall,
};

use super::atomic::{decrement, increment};
use super::hooks::{FMODE_CREATED, S_IFMT, record_path, report_open};
use super::maps::{self, CALLS, Call, IMAGES, IN_FLIGHT, Image, SCOPING, STAGES, SYSCALLS, offset};
use super::outcome::{ENOEXEC, ERESTARTSYS};
use super::read::{Location, current_task, executable, file_path, path, pointer, read, value};
use super::record::{BPF_NOEXIST, Record};
use super::scope::{self, lose};
use super::walk::position;

const BPF_EXIST: u64 = 2;
const AT_FDCWD: i32 = -100;
const AT_REMOVEDIR: u64 = 0x200;
const O_CREAT_WRONLY_TRUNC: u64 = 0o1101;
const O_TRUNC: u64 = 0o1000;
const FMODE_PATH: u32 = 1 << 14;

const S_IFREG: u16 = 0o100_000;
const TS_COMPAT: u32 = 2;
const AF_UNIX: u16 = 1;
/// First argument of i386's socketcall for a bind.
const SYS_BIND: u64 = 2;
/// Set in the number of a system call of the x32 ABI.
const X32: u64 = 0x4000_0000;

#[inline(always)]
fn argument(ctx: &BtfTracePointContext, n: usize) -> u64 {
    // SAFETY: each program reads only arguments that its tracepoint has.
    unsafe { *(ctx.as_ptr() as *const u64).add(n) }
}

#[btf_tracepoint(function = "sys_enter")]
pub(crate) fn tp_enter(ctx: BtfTracePointContext) -> i32 {
    let (regs, number) = (argument(&ctx, 0), argument(&ctx, 1));
    let x32 = number & X32 != 0;
    let number = number & !X32;
    if number >= u64::from(SYSCALL_MAX) {
        return 0;
    }
    let number = number as u32;
    let native = SYSCALLS.get(number).copied().unwrap_or(0);
    let compat = SYSCALLS.get(COMPAT_FROM + number).copied().unwrap_or(0);
    if native | compat == 0 {
        return 0;
    }
    let scope = scope::current();
    if scope == 0 {
        return 0;
    }
    let task = current_task();
    let status = offset(field::TASK_TI_STATUS);
    let is_compat = status != 0 && value::<u32>(task, field::TASK_TI_STATUS) & TS_COMPAT != 0;
    let entry = if is_compat { compat } else { native };
    if entry == 0 {
        return 0;
    }
    let kind = entry & 0xff;
    if kind == syscall::COMPAT_SOCKET && value::<u64>(regs, field::REGS_BX) != SYS_BIND {
        return 0;
    }
    let is_blind = x32 || kind == syscall::COMPAT || kind == syscall::COMPAT_SOCKET;
    if is_blind {
        lose(scope, lost::COMPAT);
        return 0;
    }
    let call = Call {
        entry,
        scope,
        stages: 0,
        result: 0,
        args: [
            value(regs, field::REGS_ARG0),
            value(regs, field::REGS_ARG1),
            value(regs, field::REGS_ARG2),
            value(regs, field::REGS_ARG3),
            value(regs, field::REGS_ARG4),
        ],
    };
    if !begin_call(task, &call) {
        lose(scope, lost::IN_FLIGHT);
    } else if kind == syscall::EXEC {
        keep_image(scope, task);
    }
    0
}

/// Keeps a call until it returns. False: there is no room.
#[inline(always)]
fn begin_call(task: u64, call: &Call) -> bool {
    let Some(count) = IN_FLIGHT.get_ptr_mut(0) else {
        return false;
    };
    if CALLS.insert(task, call, BPF_NOEXIST).is_ok() {
        // SAFETY: a map value, aligned to 8; the add is atomic.
        unsafe { increment(count) };
        return true;
    }
    // One that never returned, of a task that is gone, and counted already.
    CALLS.insert(task, call, BPF_EXIST).is_ok()
}

#[inline(always)]
fn end_call(task: u64) {
    if CALLS.remove(task).is_ok()
        && let Some(count) = IN_FLIGHT.get_ptr_mut(0)
    {
        // SAFETY: as above.
        unsafe { decrement(count) };
    }
}

/// Keeps the path of the image that an execve may replace: it is the source of the kernel's opens.
#[inline(always)]
fn keep_image(scope: u32, task: u64) {
    let Some(record) = Record::take(scope, op::EXEC) else {
        return;
    };
    record.source(task);
    // SAFETY: the slot is held, its data is 8-aligned and larger than an Image; a source is the
    // first segment here, so the path lies where the Image has it.
    unsafe {
        let image = (&raw mut (*record.scratch).data).cast::<Image>();
        (*image).len = position(record.scratch);
        // If there is no room the source of the opens is not known; no event is lost.
        let _ = IMAGES.insert(task, &*image, 0);
    }
    record.release();
}

#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn tp_exec(ctx: BtfTracePointContext) -> i32 {
    let (task, bprm) = (argument(&ctx, 0), argument(&ctx, 2));
    let scope = scope::current();
    if scope != 0 {
        report_exec(scope, task, bprm);
    }
    let _ = IMAGES.remove(task);
    end_call(task);
    0
}

#[inline(always)]
fn report_exec(scope: u32, task: u64, bprm: u64) {
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
    if let Some(image) = IMAGES.get_ptr(task) {
        record.image(segment::TO, image);
    }
    record.source(pointer(task, field::TASK_REAL_PARENT));
    record.head().mnt_ns = mount_namespace();
    let fs = pointer(task, field::TASK_FS);
    let root = path(fs.wrapping_add(offset(field::FS_ROOT)));
    record.head().root_mnt = mount_id(root);
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
    if !record.path(segment::ROOT, root) {
        return record.release();
    }
    record.emit(true);
}

#[inline(always)]
fn mount_namespace() -> u32 {
    let nsproxy = pointer(current_task(), field::TASK_NSPROXY);
    value(pointer(nsproxy, field::NSPROXY_MNT), field::MNT_NS_INUM)
}

#[inline(always)]
fn mount_id(at: Location) -> u32 {
    let mount = at.mnt.wrapping_sub(offset(field::MOUNT_MNT));
    value(mount, field::MOUNT_ID)
}

/// The return of a system call. The work is done in stages, each a program of its own that calls the
/// next: the verifier has only so much patience with one.
#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn tp_exit(ctx: BtfTracePointContext) -> i32 {
    // Asked first, since it is asked for every return of everybody's.
    if IN_FLIGHT.get(0).copied().unwrap_or(1) == 0 {
        return 0;
    }
    let task = current_task();
    let Some(call) = CALLS.get_ptr_mut(task) else {
        return 0;
    };
    // SAFETY: a map value that only this task writes.
    let call = unsafe { &mut *call };
    call.result = argument(&ctx, 1) as i64;
    let kind = call.entry & 0xff;
    let errno = call.errno();
    if kind == syscall::EXEC {
        let _ = IMAGES.remove(task);
    }
    call.stages = if errno >= ERESTARTSYS {
        0
    } else if errno == 0 && kind <= syscall::CREAT {
        1 << stage::DONE | 1 << stage::OPENED
    } else if errno == 0 && kind >= syscall::FD_OP && kind < syscall::BIND {
        1 << stage::DONE
    } else if call.entry >> PATH & 15 != syscall::NONE && (errno != 0 || kind != syscall::EXEC) {
        1 << stage::NAMED
    } else {
        0
    };
    go_on(&ctx, task, call)
}

impl Call {
    /// The result as a positive errno, 0 for success.
    #[inline(always)]
    fn errno(&self) -> u32 {
        if self.result < 0 {
            self.result.wrapping_neg() as u32
        } else {
            0
        }
    }
}

/// Goes to the next stage, or ends the call.
#[inline(always)]
fn go_on(ctx: &BtfTracePointContext, task: u64, call: &mut Call) -> i32 {
    let next = if call.stages & 1 << stage::DONE != 0 {
        stage::DONE
    } else if call.stages & 1 << stage::OPENED != 0 {
        stage::OPENED
    } else if call.stages & 1 << stage::NAMED != 0 {
        stage::NAMED
    } else {
        end_call(task);
        return 0;
    };
    call.stages &= !(1 << next);
    // SAFETY: nothing is held here. It does not return unless the stage is not there.
    unsafe { STAGES.tail_call(ctx, next) };
    lose(call.scope, lost::IN_FLIGHT);
    end_call(task);
    0
}

macro_rules! stage {
    ($name:ident, $body:ident) => {
        #[btf_tracepoint(function = "sys_exit")]
        pub(crate) fn $name(ctx: BtfTracePointContext) -> i32 {
            let task = current_task();
            let Some(call) = CALLS.get_ptr_mut(task) else {
                return 0;
            };
            // SAFETY: a map value that only this task writes.
            let call = unsafe { &mut *call };
            $body(task, call);
            go_on(&ctx, task, call)
        }
    };
}

stage!(tp_done, done);
stage!(tp_opened, opened);
stage!(tp_named, named);

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
const FLAGS: u32 = syscall::FLAGS;

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

/// The file that a successful open returned; 0, counted, if there is none any more, or if it was
/// opened for its path alone, which no rule governs.
#[inline(always)]
fn opened_file(call: &Call) -> u64 {
    let file = file_of(call.result as u32);
    if file == 0 {
        lose(call.scope, lost::GONE);
        return 0;
    }
    if value::<u32>(file, field::FILE_MODE) & FMODE_PATH != 0 {
        return 0;
    }
    file
}

/// A successful open: the file is in the task's table.
#[inline(always)]
fn opened(_task: u64, call: &mut Call) {
    if SCOPING.get(scoping::REPORTS).copied().unwrap_or(0) & 4 == 0 {
        return;
    }
    let file = opened_file(call);
    if file == 0 {
        return;
    }
    if let Some(record) = Record::begin(call.scope, op::OPEN) {
        report_open(record, file, 0);
    }
}

/// What a successful open did beside opening, or an operation on a descriptor.
#[inline(always)]
fn done(_task: u64, call: &mut Call) {
    let kind = call.entry & 0xff;
    let is_open = kind <= syscall::CREAT;
    let file = file_of(if is_open {
        call.result as u32
    } else {
        call.args[0] as u32
    });
    if file == 0 {
        // Of an open it is counted by the next stage.
        if !is_open || SCOPING.get(scoping::REPORTS).copied().unwrap_or(0) & 4 == 0 {
            lose(call.scope, lost::GONE);
        }
        return;
    }
    let at = file_path(file);
    let inode = pointer(file, field::FILE_INODE);
    let mut operation = kind & 31;
    let mut owned_by = inode;
    if is_open {
        let mode: u32 = value(file, field::FILE_MODE);
        let reports = SCOPING.get(scoping::REPORTS).copied().unwrap_or(0);
        let is_file = value::<u16>(inode, field::INODE_MODE) & S_IFMT == S_IFREG;
        if mode & FMODE_PATH != 0 {
            return;
        } else if mode & FMODE_CREATED != 0 && reports & 1 != 0 {
            operation = op::CREATE;
            let parent = pointer(at.dentry, field::DENTRY_PARENT);
            owned_by = pointer(parent, field::DENTRY_INODE);
        } else if mode & FMODE_CREATED == 0
            && reports & 2 != 0
            && is_file
            && open_flags(call, kind) & O_TRUNC != 0
        {
            operation = op::TRUNCATE;
        } else {
            return;
        }
    }
    if let Some(record) = record_path(call.scope, operation, at, owned_by) {
        record.emit(true);
    }
}

#[inline(always)]
fn open_flags(call: &Call, kind: u32) -> u64 {
    let flags = pick(call, FLAGS, 0);
    match kind {
        syscall::CREAT => O_CREAT_WRONLY_TRUNC,
        // SAFETY: probe_read checks the address; `struct open_how` begins with its flags.
        syscall::OPENAT2 => {
            unsafe { bpf_probe_read_user(flags as *const u64) }.unwrap_or_else(|_| {
                lose(call.scope, lost::UNREADABLE);
                0
            })
        }
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

/// Reports base directories and the strings that were passed; user space resolves them.
///
/// The same string may mean another path next time, so a success is never deduplicated here. A
/// failure is never learned from, so it may be.
#[inline(always)]
fn named(task: u64, call: &mut Call) {
    let (kind, errno) = (call.entry & 0xff, call.errno());
    let mut string = pick(call, PATH, 0);
    if kind == syscall::BIND {
        // SAFETY: probe_read checks the address.
        let family = unsafe { bpf_probe_read_user(string as *const u16) };
        string = string.wrapping_add(2);
        // SAFETY: as above.
        let first = unsafe { bpf_probe_read_user(string as *const u8) };
        let (Ok(family), Ok(first)) = (family, first) else {
            if errno == 0 {
                lose(call.scope, lost::UNREADABLE);
            }
            return;
        };
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
    let fs = pointer(task, field::TASK_FS);
    let two = call.entry >> PATH2 & 15 != syscall::NONE;
    // An exec that failed: its source is the parent's image, and the own one opened the file. Told
    // apart by values rather than by branches, of which the verifier would follow each.
    let is_exec = kind == syscall::EXEC;
    let second = if is_exec {
        executable(task)
    } else {
        base(call, DIR2, fs)
    };
    let whole = record.path(segment::PATH, base(call, DIR, fs))
        && (!(two || is_exec) || record.path(segment::TO, second));
    if !whole {
        return record.release();
    }
    record.source(if is_exec {
        pointer(task, field::TASK_REAL_PARENT)
    } else {
        task
    });
    let root = path(fs.wrapping_add(offset(field::FS_ROOT)));
    record.head().root_mnt = mount_id(root);
    if record.user_string(segment::RAW, string)
        && (!two || record.user_string(segment::RAW_TO, pick(call, PATH2, 0)))
        && record.path(segment::ROOT, root)
    {
        let as_script = kind == syscall::EXEC && errno == ENOEXEC;
        record.emit(errno != 0 && !as_script);
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
    // openat, openat2, renameat, unlinkat, mkdirat, symlinkat, linkat, ftruncate, bind: UAPI.
    let opcode: u8 = value(request, field::KIOCB_OPCODE);
    if scope != 0 && matches!(opcode, 18 | 28 | 35..=39 | 55 | 56) {
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
    if maps::setting(setting::URING_ARGUMENT) == 0 {
        uring(argument(&ctx, 0))
    } else {
        uring(argument(&ctx, 1))
    }
}

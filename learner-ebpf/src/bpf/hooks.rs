//! The `security_*` hooks. Each body is written once and attached as an LSM program or as fexit on
//! the `security_*` function of the same arguments, whichever the kernel allows.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fexit, lsm};
use aya_ebpf::programs::{FExitContext, LsmContext};
use learner_ebpf::{access, field, flag, op, segment};

use super::read::{Location, current_task, file_path, path, pointer, read, typed_task, value};
use super::record::Record;
use super::repeat::{self, Known};
use super::{outcome, scope};

pub(crate) const S_IFMT: u16 = 0o170_000;
const S_IFDIR: u16 = 0o040_000;
const SB_KERNMOUNT: u64 = 1 << 22;
pub(crate) const MAX_ERRNO: u64 = 4095;
pub(crate) const FMODE_CREATED: u32 = 1 << 20;
/// `__FMODE_EXEC`.
const OPENED_TO_EXECUTE: u32 = 0x20;

/// The arguments of a hook; behind them the verdict so far.
#[derive(Clone, Copy)]
pub(crate) struct Args(pub(crate) *const u64);

impl Args {
    #[inline(always)]
    pub(crate) fn get(self, n: usize) -> u64 {
        // SAFETY: every hook reads only the arguments that its function has, and one behind.
        unsafe { *self.0.add(n) }
    }

    /// As [`Self::get`], where the verifier is not to know that it is a pointer: it lets no pointer be
    /// passed to a function that it follows by itself.
    #[inline(always)]
    fn address(self, n: usize) -> u64 {
        read((self.0 as u64).wrapping_add(n as u64 * 8))
    }

    /// The verdict behind `n` arguments, as a positive errno.
    #[inline(always)]
    fn errno(self, n: usize) -> u32 {
        let verdict = self.get(n) as i32;
        if verdict < 0 {
            verdict.wrapping_neg() as u32
        } else {
            0
        }
    }
}

macro_rules! hook {
    ($body:ident, $name:literal, $function:literal, $lsm:ident, $fexit:ident) => {
        #[lsm(hook = $name)]
        pub(crate) fn $lsm(ctx: LsmContext) -> i32 {
            $body(Args(ctx.as_ptr() as *const u64));
            0
        }
        #[fexit(function = $function)]
        pub(crate) fn $fexit(ctx: FExitContext) -> i32 {
            $body(Args(ctx.as_ptr() as *const u64));
            0
        }
    };
}

hook!(
    bprm_check,
    "bprm_check_security",
    "security_bprm_check",
    lsm_exec,
    fexit_exec
);
hook!(
    file_open,
    "file_open",
    "security_file_open",
    lsm_open,
    fexit_open
);
hook!(
    path_mknod,
    "path_mknod",
    "security_path_mknod",
    lsm_create,
    fexit_create
);
hook!(
    path_mkdir,
    "path_mkdir",
    "security_path_mkdir",
    lsm_mkdir,
    fexit_mkdir
);
hook!(
    path_unlink,
    "path_unlink",
    "security_path_unlink",
    lsm_unlink,
    fexit_unlink
);
hook!(
    path_rmdir,
    "path_rmdir",
    "security_path_rmdir",
    lsm_rmdir,
    fexit_rmdir
);
hook!(
    path_rename,
    "path_rename",
    "security_path_rename",
    lsm_rename,
    fexit_rename
);
hook!(
    path_link,
    "path_link",
    "security_path_link",
    lsm_link,
    fexit_link
);
hook!(
    path_symlink,
    "path_symlink",
    "security_path_symlink",
    lsm_symlink,
    fexit_symlink
);
hook!(
    path_chmod,
    "path_chmod",
    "security_path_chmod",
    lsm_chmod,
    fexit_chmod
);
hook!(
    path_truncate,
    "path_truncate",
    "security_path_truncate",
    lsm_truncate,
    fexit_truncate
);
hook!(
    file_truncate,
    "file_truncate",
    "security_file_truncate",
    lsm_ftruncate,
    fexit_ftruncate
);

/// Whether the file system opened this file for itself: overlayfs opens the lower layer's file and
/// the work file of a copy-up in the caller's name. Either the file's inode is not that of its
/// path (kernels before 6.5), or its mount is a private clone that is in no namespace. What the
/// kernel itself mounted (memfd, pipe) is in none either, and is not meant.
#[inline(always)]
pub(crate) fn is_inner(at: Location, inode: u64) -> bool {
    if inode != pointer(at.dentry, field::DENTRY_INODE) {
        return true;
    }
    let mount = at.mnt.wrapping_sub(super::maps::offset(field::MOUNT_MNT));
    let in_no_namespace = pointer(mount, field::MOUNT_NS) >= 0u64.wrapping_sub(MAX_ERRNO);
    in_no_namespace
        && value::<u64>(pointer(at.dentry, field::DENTRY_SB), field::SB_FLAGS) & SB_KERNMOUNT == 0
}

#[inline(always)]
pub(crate) fn is_directory(inode: u64) -> bool {
    value::<u16>(inode, field::INODE_MODE) & S_IFMT == S_IFDIR
}

/// What is to be said of an open file, by any rung. Emits. Gives the key under which the kernel counts
/// it from now on, if it has a path.
#[inline(always)]
pub(crate) fn report_open(record: Record, file: u64, errno: u32) -> Option<[u64; 2]> {
    let at = file_path(file);
    let inode = pointer(file, field::FILE_INODE);
    let mode: u32 = value(file, field::FILE_MODE);
    let head = record.head();
    head.errno = errno;
    head.access = mode & (access::READ | access::WRITE);
    if value::<u32>(file, field::FILE_FLAGS) & OPENED_TO_EXECUTE != 0 {
        head.flags |= flag::FOR_EXEC;
    }
    if is_directory(inode) {
        head.flags |= flag::DIRECTORY;
    }
    record.owner(inode);
    record.upper(at.dentry, inode);
    if !record.path(segment::PATH, at) {
        record.release();
        return None;
    }
    record.source(current_task());
    let has_names =
        head.flags & (flag::NO_PATH | flag::NEWCOMER) == 0 && head.len[segment::SOURCE] != 0;
    record.emit(true).filter(|_| has_names)
}

#[inline(always)]
fn file_open(args: Args) {
    let file = args.get(0);
    let verdict = args.get(1) as i32;
    let errno = || args.errno(1);
    let task = typed_task();
    let scope = scope::watched(task);
    if scope == 0 {
        return;
    }
    outcome::opened(file, errno);
    let mut before = MaybeUninit::uninit();
    let known = if verdict == 0 {
        repeat::count(file, task, scope, &mut before)
    } else {
        Known::Untold
    };
    // What the observer does is never taken for repeated.
    if known == Known::Repeated || scope::is_observer() {
        return;
    }
    if is_inner(file_path(file), pointer(file, field::FILE_INODE)) {
        return;
    }
    let Some(record) = Record::begin(scope, op::OPEN) else {
        return;
    };
    if let Some(seen) = report_open(record, file, errno())
        && known == Known::New
    {
        // SAFETY: written for one that is new.
        let before = unsafe { before.assume_init_ref() };
        repeat::keep(file, scope, before, &seen);
    }
}

#[inline(always)]
fn bprm_check(args: Args) {
    let file = pointer(args.get(0), field::BPRM_FILE);
    let errno = args.errno(1);
    let scope = scope::current();
    if scope == 0 {
        return;
    }
    let Some(record) = Record::begin(scope, op::EXEC) else {
        return;
    };
    let at = file_path(file);
    let inode = pointer(file, field::FILE_INODE);
    record.head().errno = errno;
    record.owner(inode);
    record.upper(at.dentry, inode);
    if record.path(segment::PATH, at) {
        record.source(pointer(current_task(), field::TASK_REAL_PARENT));
        outcome::wait(record, 0);
    } else {
        record.release();
    }
}

/// Begins a record of an operation on one name. `owned_by`: the inode whose owner counts.
#[inline(always)]
pub(crate) fn record_path(
    scope: u32,
    operation: u32,
    at: Location,
    owned_by: u64,
) -> Option<Record> {
    let record = Record::begin(scope, operation)?;
    record.owner(owned_by);
    if record.path(segment::PATH, at) {
        record.source(current_task());
        Some(record)
    } else {
        record.release();
        None
    }
}

/// An operation on a name in a directory: `(struct path *dir, struct dentry *, …)`.
#[inline(always)]
fn on_name(operation: u32, args: Args, errno: u32, is_new: bool) {
    let (dir, dentry) = (args.get(0), args.address(1));
    let scope = scope::current();
    if scope == 0 {
        return;
    }
    let at = Location {
        dentry,
        mnt: path(dir).mnt,
    };
    let owner = if is_new { path(dir).dentry } else { dentry };
    if let Some(record) = record_path(scope, operation, at, pointer(owner, field::DENTRY_INODE)) {
        record.head().errno = errno;
        outcome::wait(record, dentry);
    }
}

#[inline(always)]
fn path_mknod(args: Args) {
    on_name(op::CREATE, args, args.errno(4), true);
}
#[inline(always)]
fn path_mkdir(args: Args) {
    on_name(op::MKDIR, args, args.errno(3), true);
}
#[inline(always)]
fn path_unlink(args: Args) {
    on_name(op::UNLINK, args, args.errno(2), false);
}
#[inline(always)]
fn path_rmdir(args: Args) {
    on_name(op::RMDIR, args, args.errno(2), false);
}
#[inline(always)]
fn path_symlink(args: Args) {
    on_name(op::SYMLINK, args, args.errno(3), true);
}

#[inline(always)]
fn on_path(operation: u32, at: Location, errno: u32) {
    let scope = scope::current();
    if scope == 0 {
        return;
    }
    if let Some(record) = record_path(
        scope,
        operation,
        at,
        pointer(at.dentry, field::DENTRY_INODE),
    ) {
        record.head().errno = errno;
        outcome::wait(record, at.dentry);
    }
}

#[inline(always)]
fn path_chmod(args: Args) {
    on_path(op::CHMOD, path(args.get(0)), args.errno(2));
}
#[inline(always)]
fn path_truncate(args: Args) {
    on_path(op::TRUNCATE, path(args.get(0)), args.errno(1));
}
#[inline(always)]
fn file_truncate(args: Args) {
    on_path(op::TRUNCATE, file_path(args.get(0)), args.errno(1));
}

/// Reports an operation on two names.
#[inline(always)]
fn report_pair(operation: u32, from: Location, to: Location, errno: u32) {
    let scope = scope::current();
    if scope == 0 {
        return;
    }
    let Some(record) = Record::begin(scope, operation) else {
        return;
    };
    record.head().errno = errno;
    record.owner(pointer(from.dentry, field::DENTRY_INODE));
    if record.path(segment::PATH, from) && record.path(segment::TO, to) {
        record.source(current_task());
        outcome::wait(record, from.dentry);
    } else {
        record.release();
    }
}

#[inline(always)]
fn path_rename(args: Args) {
    let from = Location {
        dentry: args.address(1),
        mnt: path(args.get(0)).mnt,
    };
    let to = Location {
        dentry: args.address(3),
        mnt: path(args.get(2)).mnt,
    };
    report_pair(op::RENAME, from, to, args.errno(5));
}
#[inline(always)]
fn path_link(args: Args) {
    let mnt = path(args.get(1)).mnt;
    let from = Location {
        dentry: args.address(0),
        mnt,
    };
    let to = Location {
        dentry: args.address(2),
        mnt,
    };
    report_pair(op::LINK, from, to, args.errno(3));
}

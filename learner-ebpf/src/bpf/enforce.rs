//! The enforcing programs: LSM programs that look an operation up in the policy of its cgroup, and
//! let it be, report it, or refuse it with EACCES.
//!
//! Where the path cannot be told, it is judged as one that no rule is about: under block it is
//! refused.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_uid_gid};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use learner_ebpf::enforce::{Policy, kept, node, posture};
use learner_ebpf::{CGROUP_LEVELS, access, field, flag, lost, op, segment};

use super::hooks::{Args, is_directory, is_inner};
use super::maps::{KEPT, POLICIES, Route};
use super::read::{Location, current_task, executable, file_path, path, pointer, value};
use super::record::Record;
use super::route::{self, half};
use super::rule::{self, Actor, Meeting, verdict};
use super::scope::lose;
use super::walk::end;

const EACCES: i32 = 13;

/// The policy of the current task's cgroup; of nested ones the outermost.
#[inline(always)]
fn policy() -> Option<Policy> {
    let levels = KEPT.get(kept::LEVELS).copied().unwrap_or(0);
    for level in 0..CGROUP_LEVELS {
        if levels & (1 << level) == 0 {
            continue;
        }
        // SAFETY: the helper has no preconditions; it gives 0 for a level that is not there.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        // SAFETY: the value is replaced whole, and freed when no program holds it.
        if let Some(policy) = unsafe { POLICIES.get(id) } {
            return Some(*policy);
        }
    }
    None
}

/// What is asked.
#[derive(Clone, Copy)]
struct Question {
    op: u32,
    /// Whose executable is the source.
    task: u64,
    at: Location,
    /// The inode whose owner counts; 0: there is none yet, and root counts as its owner.
    owned: u64,
    /// [`access`] bits of an open.
    access: u32,
    is_directory: bool,
}

#[inline(always)]
fn meeting(question: Question) -> Meeting {
    match (question.op, question.access & access::WRITE != 0) {
        (op::OPEN, true) => Meeting::OpenToWrite,
        (op::OPEN, false) => Meeting::Open,
        _ => Meeting::Change,
    }
}

#[inline(always)]
fn actor(owned: u64) -> Actor {
    // SAFETY: the helper has no preconditions.
    let uid = unsafe { bpf_get_current_uid_gid() } as u32;
    let tty = pointer(
        pointer(current_task(), field::TASK_SIGNAL),
        field::SIGNAL_TTY,
    );
    Actor {
        owner: if owned == 0 {
            uid == 0
        } else {
            value::<u32>(owned, field::INODE_UID) == uid
        },
        tty: tty != 0,
    }
}

/// The node at which the rules for a task's executable start, 0 if it has none of its own.
#[inline(always)]
fn source(route: *mut Route, policy: &Policy, task: u64) -> u32 {
    let exe = executable(task);
    if exe.dentry == 0 || route::trace(route, exe) != end::WHOLE {
        return 0;
    }
    route::follow(route, policy.generation, node::SOURCES, half::SOURCE) as u32
}

/// The verdict on one name.
#[inline(always)]
fn name(route: *mut Route, policy: &Policy, from: u32, question: Question) -> u32 {
    let is_exec = question.op == op::EXEC;
    let (half, posture) = if is_exec {
        (half::PROCESS, policy.process)
    } else {
        (half::FILE, policy.file)
    };
    match route::trace(route, question.at) {
        end::WHOLE => {}
        // A pipe or a memfd has no name that a rule could have. It may be opened, not executed.
        end::NO_PATH if !is_exec => return verdict::ALLOWED,
        end::NO_PATH => return rule::unmatched(posture),
        end::TOO_DEEP => {
            lose(policy.scope, lost::PATH_TOO_DEEP);
            return rule::unmatched(posture);
        }
        _ => {
            lose(policy.scope, lost::UNREADABLE);
            return rule::unmatched(posture);
        }
    }
    if route::count(route) == 0 {
        // The root directory.
        return verdict::ALLOWED;
    }
    let mut found = 0;
    if from != 0 {
        found = route::follow(route, policy.generation, from, half);
    }
    if found == 0 {
        found = route::follow(route, policy.generation, node::GLOBAL, half);
        if is_exec && found & route::OBJECT == 0 {
            let named = route::by_name(route, policy.generation);
            if named != 0 {
                found = named;
            }
        }
    }
    if found == 0 {
        return rule::unmatched(posture);
    }
    let actor = actor(question.owned);
    if is_exec {
        rule::process(found, actor)
    } else {
        rule::file(
            found,
            meeting(question),
            actor,
            policy.file != posture::NONE,
        )
    }
}

/// Judges one name or two, reports, and gives what the hook returns.
#[inline(always)]
fn judge(question: Question, to: Option<Location>) -> i32 {
    let Some(policy) = policy() else { return 0 };
    let verdict = match route::take() {
        Some(route) => {
            let from = source(route, &policy, question.task);
            let mut verdict = name(route, &policy, from, question);
            if let Some(at) = to
                && verdict != verdict::DENIED
            {
                let second = Question {
                    at,
                    owned: pointer(at.dentry, field::DENTRY_INODE),
                    ..question
                };
                let other = name(route, &policy, from, second);
                if other != verdict::ALLOWED {
                    verdict = other;
                }
            }
            route::release(route);
            verdict
        }
        None => {
            lose(policy.scope, lost::SCRATCH_BUSY);
            rule::unmatched(if question.op == op::EXEC {
                policy.process
            } else {
                policy.file
            })
        }
    };
    if verdict == verdict::ALLOWED {
        return 0;
    }
    report(&policy, question, to, verdict == verdict::DENIED);
    if verdict == verdict::DENIED {
        -EACCES
    } else {
        0
    }
}

#[inline(always)]
fn report(policy: &Policy, question: Question, to: Option<Location>, denied: bool) {
    let Some(record) = Record::begin(policy.scope, question.op) else {
        return;
    };
    let head = record.head();
    head.flags |= flag::ALERT;
    head.access = question.access;
    if question.is_directory {
        head.flags |= flag::DIRECTORY;
    }
    if denied {
        head.errno = EACCES as u32;
    }
    record.owner(question.owned);
    let mut whole = record.path(segment::PATH, question.at);
    if let Some(to) = to {
        whole = whole && record.path(segment::TO, to);
    }
    if whole {
        record.source(question.task);
        record.emit(true);
    } else {
        record.release();
    }
}

macro_rules! enforcing {
    ($program:ident, $hook:literal, $body:ident) => {
        #[lsm(hook = $hook)]
        pub(crate) fn $program(ctx: LsmContext) -> i32 {
            $body(Args(ctx.as_ptr() as *const u64))
        }
    };
}

enforcing!(enforce_exec, "bprm_check_security", exec);
enforcing!(enforce_open, "file_open", open);
enforcing!(enforce_create, "path_mknod", create);
enforcing!(enforce_mkdir, "path_mkdir", mkdir);
enforcing!(enforce_unlink, "path_unlink", unlink);
enforcing!(enforce_rmdir, "path_rmdir", rmdir);
enforcing!(enforce_rename, "path_rename", rename);
enforcing!(enforce_link, "path_link", link);
enforcing!(enforce_symlink, "path_symlink", symlink);
enforcing!(enforce_chmod, "path_chmod", chmod);
enforcing!(enforce_truncate, "path_truncate", truncate);

#[inline(always)]
fn exec(args: Args) -> i32 {
    let at = file_path(pointer(args.get(0), field::BPRM_FILE));
    let question = Question {
        op: op::EXEC,
        task: pointer(current_task(), field::TASK_REAL_PARENT),
        at,
        owned: pointer(at.dentry, field::DENTRY_INODE),
        access: 0,
        is_directory: false,
    };
    judge(question, None)
}

#[inline(always)]
fn open(args: Args) -> i32 {
    let file = args.get(0);
    let at = file_path(file);
    let inode = pointer(file, field::FILE_INODE);
    if is_inner(at, inode) {
        return 0;
    }
    let mode: u32 = value(file, field::FILE_MODE);
    let question = Question {
        op: op::OPEN,
        task: current_task(),
        at,
        owned: inode,
        access: mode & (access::READ | access::WRITE),
        is_directory: is_directory(inode),
    };
    judge(question, None)
}

/// `(struct path *dir, struct dentry *, …)`. A new name counts as owned by who owns `owner`.
#[inline(always)]
fn in_directory(op: u32, args: Args, owned: u64) -> i32 {
    let at = Location {
        dentry: args.get(1),
        mnt: path(args.get(0)).mnt,
    };
    let question = Question {
        op,
        task: current_task(),
        at,
        owned,
        access: 0,
        is_directory: false,
    };
    judge(question, None)
}

#[inline(always)]
fn directory(args: Args) -> u64 {
    pointer(path(args.get(0)).dentry, field::DENTRY_INODE)
}

#[inline(always)]
fn itself(args: Args) -> u64 {
    pointer(args.get(1), field::DENTRY_INODE)
}

#[inline(always)]
fn create(args: Args) -> i32 {
    in_directory(op::CREATE, args, directory(args))
}
#[inline(always)]
fn mkdir(args: Args) -> i32 {
    in_directory(op::MKDIR, args, directory(args))
}
#[inline(always)]
fn unlink(args: Args) -> i32 {
    in_directory(op::UNLINK, args, itself(args))
}
#[inline(always)]
fn rmdir(args: Args) -> i32 {
    in_directory(op::RMDIR, args, itself(args))
}
#[inline(always)]
fn symlink(args: Args) -> i32 {
    in_directory(op::SYMLINK, args, 0)
}

#[inline(always)]
fn on_path(op: u32, at: Location) -> i32 {
    let question = Question {
        op,
        task: current_task(),
        at,
        owned: pointer(at.dentry, field::DENTRY_INODE),
        access: 0,
        is_directory: false,
    };
    judge(question, None)
}

#[inline(always)]
fn chmod(args: Args) -> i32 {
    on_path(op::CHMOD, path(args.get(0)))
}
#[inline(always)]
fn truncate(args: Args) -> i32 {
    on_path(op::TRUNCATE, path(args.get(0)))
}

#[inline(always)]
fn on_pair(op: u32, from: Location, to: Location) -> i32 {
    let question = Question {
        op,
        task: current_task(),
        at: from,
        owned: pointer(from.dentry, field::DENTRY_INODE),
        access: 0,
        is_directory: false,
    };
    judge(question, Some(to))
}

#[inline(always)]
fn rename(args: Args) -> i32 {
    let from = Location {
        dentry: args.get(1),
        mnt: path(args.get(0)).mnt,
    };
    let to = Location {
        dentry: args.get(3),
        mnt: path(args.get(2)).mnt,
    };
    on_pair(op::RENAME, from, to)
}

#[inline(always)]
fn link(args: Args) -> i32 {
    let mnt = path(args.get(1)).mnt;
    let from = Location {
        dentry: args.get(0),
        mnt,
    };
    let to = Location {
        dentry: args.get(2),
        mnt,
    };
    on_pair(op::LINK, from, to)
}

//! The enforcing programs: LSM programs that look an operation up in the policy of its cgroup, and
//! let it be, report it, or refuse it with EACCES.
//!
//! Where the path cannot be told, it is judged as one that no rule is about: under block it is
//! refused.

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_uid_gid};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use learner_ebpf::enforce::{Policy, kept, node, posture};
use learner_ebpf::{CGROUP_LEVELS, access, field, lost, op};

use super::alert::report;
use super::case::{self, Case, Trail, get, put};
use super::follow::{OBJECT, by_name, follow, half};
use super::group::Group;
use super::hooks::{Args, is_directory, is_inner};
use super::maps::{KEPT, POLICIES};
use super::newcomer;
use super::read::{Location, Typed, current_task, file_path, path, pointer, typed_task, value};
use super::repeat::{self, Known};
use super::rule::{self, Actor, Meeting, verdict};
use super::scope::lose;
use super::trace::{trace, trace_executable};
use super::walk::end;

const EACCES: i32 = 13;

/// The policy of the current task's cgroup, null for none; of nested ones the outermost.
#[inline(never)]
fn policy() -> *const Policy {
    let levels = KEPT.get(kept::LEVELS).copied().unwrap_or(0);
    for level in 0..CGROUP_LEVELS {
        if levels & (1 << level) == 0 {
            continue;
        }
        // SAFETY: the helper has no preconditions; it gives 0 for a level that is not there.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        // SAFETY: the value is replaced whole, and freed when no program holds it.
        if let Some(policy) = unsafe { POLICIES.get(id) } {
            return policy;
        }
    }
    core::ptr::null()
}

/// The generation of that policy, 0 for none.
#[inline(always)]
fn generation(task: Typed) -> u32 {
    let group = Group::of(task);
    group.known().unwrap_or_else(|| {
        let policy = policy();
        let generation = if policy.is_null() {
            0
        } else {
            // SAFETY: a map value.
            unsafe { (*policy).generation }
        };
        group.keep(generation);
        generation
    })
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
fn actor(trail: *const Trail) -> Actor {
    // SAFETY: the helper has no preconditions.
    let uid = unsafe { bpf_get_current_uid_gid() } as u32;
    let tty = pointer(
        pointer(current_task(), field::TASK_SIGNAL),
        field::SIGNAL_TTY,
    );
    let owner = match get!(trail, owned) {
        0 => 0,
        inode => value::<u32>(inode, field::INODE_UID),
    };
    Actor {
        owner: owner == uid,
        tty: tty != 0,
    }
}

/// The verdict on one name.
#[inline(never)]
fn name(case: *mut Case, trail: *mut Trail) -> u32 {
    let is_exec = get!(case, op) == u64::from(op::EXEC);
    let (half, posture) = if is_exec {
        (half::PROCESS, get!(case, policy.process))
    } else {
        (half::FILE, get!(case, policy.file))
    };
    match trace(trail) {
        end::WHOLE => {}
        // A pipe or a memfd has no name that a rule could have. It may be opened, not executed.
        end::NO_PATH if !is_exec => return verdict::ALLOWED,
        end::NO_PATH => return rule::unmatched(posture),
        _ => {
            lose(get!(case, policy.scope), lost::PATH_TOO_DEEP);
            return rule::unmatched(posture);
        }
    }
    if get!(trail, count) == 0 {
        // The root directory.
        return verdict::ALLOWED;
    }
    let mut found = 0;
    let from = get!(case, from);
    if from != 0 {
        found = follow(case, trail, from, half);
    }
    if found == 0 {
        found = follow(case, trail, u64::from(node::GLOBAL), half);
        if is_exec && found & OBJECT == 0 {
            let named = by_name(case, trail);
            if named != 0 {
                found = named;
            }
        }
    }
    if found == 0 {
        return rule::unmatched(posture);
    }
    let actor = actor(trail);
    if is_exec {
        return rule::process(found, actor);
    }
    let meeting = if get!(case, op) != u64::from(op::OPEN) {
        Meeting::Change
    } else if get!(case, access) & u64::from(access::WRITE) != 0 {
        Meeting::OpenToWrite
    } else {
        Meeting::Open
    };
    let restricted = get!(case, policy.file) != posture::NONE;
    rule::file(found, meeting, actor, restricted)
}

/// The verdict on a case: on its name, or on both.
#[inline(never)]
fn decide(case: *mut Case) -> u32 {
    // SAFETY: fields of a map value that the caller holds.
    let (source, path, to) = unsafe {
        (
            &raw mut (*case).source,
            &raw mut (*case).path,
            &raw mut (*case).to,
        )
    };
    put!(case, from, 0);
    if get!(case, policy.sources) != 0 && trace_executable(source, get!(case, task)) == end::WHOLE {
        let from = follow(case, source, u64::from(node::SOURCES), half::SOURCE);
        put!(case, from, from);
    }
    let mut verdict = name(case, path);
    if get!(case, is_pair) != 0 {
        // Asked in any case: a report has both.
        let other = name(case, to);
        if verdict < other {
            verdict = other;
        }
    }
    if verdict == verdict::ALLOWED {
        return verdict;
    }
    // What it executes is held to the policy.
    if get!(case, op) != u64::from(op::EXEC) && is_newcomer(get!(case, policy.level)) {
        return verdict::PASSED;
    }
    report(case, u64::from(verdict == verdict::DENIED));
    verdict
}

/// Whether the current process came into the policy's cgroup from outside and has executed nothing since.
#[inline(always)]
fn is_newcomer(level: u32) -> bool {
    // 0: not known.
    level != 0 && newcomer::origin() < u64::from(level) - 1
}

/// Judges one name or two, reports, and gives what the hook returns.
#[inline(always)]
fn judge(policy: Policy, question: Question, to: Option<Location>) -> i32 {
    answer(verdict_on(policy, question, to))
}

#[inline(always)]
fn answer(verdict: u32) -> i32 {
    if verdict == verdict::DENIED {
        -EACCES
    } else {
        0
    }
}

#[inline(always)]
fn verdict_on(policy: Policy, question: Question, to: Option<Location>) -> u32 {
    match case::take() {
        Some(case) => {
            put!(case, policy, policy);
            put!(case, op, u64::from(question.op));
            put!(case, access, u64::from(question.access));
            put!(case, is_directory, u64::from(question.is_directory));
            put!(case, task, question.task);
            put!(case, is_pair, u64::from(to.is_some()));
            // SAFETY: fields of a map value that is held.
            let (path, second) = unsafe { (&raw mut (*case).path, &raw mut (*case).to) };
            case::begin(path, question.at, question.owned);
            if let Some(to) = to {
                case::begin(second, to, pointer(to.dentry, field::DENTRY_INODE));
            }
            let verdict = decide(case);
            case::release(case);
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
    }
}

macro_rules! enforcing {
    ($program:ident, $hook:literal, $body:ident) => {
        #[lsm(hook = $hook)]
        pub(crate) fn $program(ctx: LsmContext) -> i32 {
            // Asked first: most tasks have none, and are to cost next to nothing.
            if generation(typed_task()) == 0 {
                return 0;
            }
            let policy = policy();
            if policy.is_null() {
                return 0;
            }
            // SAFETY: a map value.
            $body(unsafe { *policy }, Args(ctx.as_ptr() as *const u64))
        }
    };
}

enforcing!(enforce_exec, "bprm_check_security", exec);
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
fn exec(policy: Policy, args: Args) -> i32 {
    let file = pointer(args.get(0), field::BPRM_FILE);
    if newcomer::is_prelude(file) && is_newcomer(policy.level) {
        return 0;
    }
    let at = file_path(file);
    let question = Question {
        op: op::EXEC,
        task: pointer(current_task(), field::TASK_REAL_PARENT),
        at,
        owned: pointer(at.dentry, field::DENTRY_INODE),
        access: 0,
        is_directory: false,
    };
    judge(policy, question, None)
}

#[lsm(hook = "file_open")]
pub(crate) fn enforce_open(ctx: LsmContext) -> i32 {
    let task = typed_task();
    let generation = generation(task);
    if generation == 0 {
        return 0;
    }
    let file = Args(ctx.as_ptr() as *const u64).get(0);
    // A generation is never used twice: what it allows it allows as long as the policy holds.
    let mut before = MaybeUninit::uninit();
    let known = repeat::was_allowed(file, task, generation, &mut before);
    if known == Known::Repeated {
        return 0;
    }
    let policy = policy();
    if policy.is_null() {
        return 0;
    }
    // SAFETY: a map value.
    let policy = unsafe { *policy };
    let verdict = open(policy, file);
    if verdict == verdict::ALLOWED && policy.generation == generation && known == Known::New {
        // SAFETY: written for one that is new.
        let before = unsafe { before.assume_init_ref() };
        repeat::keep(file, generation, before, &[0; 2]);
    }
    answer(verdict)
}

#[inline(always)]
fn open(policy: Policy, file: u64) -> u32 {
    let at = file_path(file);
    let inode = pointer(file, field::FILE_INODE);
    if is_inner(at, inode) {
        // Not kept: it is no open of the workload's.
        return verdict::PASSED;
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
    verdict_on(policy, question, None)
}

/// `(struct path *dir, struct dentry *, …)`. A new name counts as owned by who owns `owner`.
#[inline(always)]
fn in_directory(policy: Policy, op: u32, args: Args, owned: u64) -> i32 {
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
    judge(policy, question, None)
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
fn create(policy: Policy, args: Args) -> i32 {
    in_directory(policy, op::CREATE, args, directory(args))
}
#[inline(always)]
fn mkdir(policy: Policy, args: Args) -> i32 {
    in_directory(policy, op::MKDIR, args, directory(args))
}
#[inline(always)]
fn unlink(policy: Policy, args: Args) -> i32 {
    in_directory(policy, op::UNLINK, args, itself(args))
}
#[inline(always)]
fn rmdir(policy: Policy, args: Args) -> i32 {
    in_directory(policy, op::RMDIR, args, itself(args))
}
#[inline(always)]
fn symlink(policy: Policy, args: Args) -> i32 {
    in_directory(policy, op::SYMLINK, args, 0)
}

#[inline(always)]
fn on_path(policy: Policy, op: u32, at: Location) -> i32 {
    let question = Question {
        op,
        task: current_task(),
        at,
        owned: pointer(at.dentry, field::DENTRY_INODE),
        access: 0,
        is_directory: false,
    };
    judge(policy, question, None)
}

#[inline(always)]
fn chmod(policy: Policy, args: Args) -> i32 {
    on_path(policy, op::CHMOD, path(args.get(0)))
}
#[inline(always)]
fn truncate(policy: Policy, args: Args) -> i32 {
    on_path(policy, op::TRUNCATE, path(args.get(0)))
}

#[inline(always)]
fn on_pair(policy: Policy, op: u32, from: Location, to: Location) -> i32 {
    let question = Question {
        op,
        task: current_task(),
        at: from,
        owned: pointer(from.dentry, field::DENTRY_INODE),
        access: 0,
        is_directory: false,
    };
    judge(policy, question, Some(to))
}

#[inline(always)]
fn rename(policy: Policy, args: Args) -> i32 {
    let from = Location {
        dentry: args.get(1),
        mnt: path(args.get(0)).mnt,
    };
    let to = Location {
        dentry: args.get(3),
        mnt: path(args.get(2)).mnt,
    };
    on_pair(policy, op::RENAME, from, to)
}

#[inline(always)]
fn link(policy: Policy, args: Args) -> i32 {
    let mnt = path(args.get(1)).mnt;
    let from = Location {
        dentry: args.get(0),
        mnt,
    };
    let to = Location {
        dentry: args.get(2),
        mnt,
    };
    on_pair(policy, op::LINK, from, to)
}

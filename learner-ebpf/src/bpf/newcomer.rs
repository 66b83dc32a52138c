//! Who came into a cgroup from outside and has executed nothing there: a runtime that sets a container
//! up, or that joins one. What it does is not the workload's doing.
//!
//! A process is a newcomer from the moment that it is moved, or forked, into a cgroup below one that
//! its origin is not in, and so are its children. It stops being one when it executes something.
//! Whoever is in a cgroup cannot become one: it would have to leave first.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use aya_ebpf::macros::{btf_tracepoint, fentry};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext};
use learner_ebpf::{CGROUP_LEVELS, field, scoping};

use super::hooks::MAX_ERRNO;
use super::maps::{CGROUPS, NEWCOMERS, SCOPING, offset, set_own_memory};
use super::read::{current_task, file_path, pointer, value};
use super::scope;

/// A process: its id, and when it was started, which no other one of the id was.
type Process = [u64; 2];

/// Cgroups from either side to the one that both are in.
const STEPS: u32 = 64;

#[inline(always)]
fn process(task: u64) -> Process {
    let leader = pointer(task, field::TASK_LEADER);
    [
        u64::from(value::<u32>(task, field::TASK_TGID)),
        value(leader, field::TASK_START),
    ]
}

/// The `struct cgroup` of a task.
#[inline(always)]
fn group(task: u64) -> u64 {
    pointer(pointer(task, field::TASK_CGROUPS), field::CSS_SET_GROUP)
}

#[inline(always)]
fn parent(group: u64) -> u64 {
    let state = pointer(
        group.wrapping_add(offset(field::CGROUP_SELF)),
        field::CSS_PARENT,
    );
    match state {
        0 => 0,
        state => state.wrapping_sub(offset(field::CGROUP_SELF)),
    }
}

/// The level of the deepest cgroup that both are in; None: they are in different hierarchies.
#[inline(never)]
fn common_level(mut a: u64, mut b: u64) -> u64 {
    for _ in 0..STEPS {
        if a == 0 || b == 0 {
            break;
        }
        let (level_a, level_b) = (
            value::<u32>(a, field::CGROUP_LEVEL),
            value::<u32>(b, field::CGROUP_LEVEL),
        );
        if a == b {
            return u64::from(level_a);
        }
        if level_a >= level_b {
            a = parent(a);
        } else {
            b = parent(b);
        }
    }
    u64::MAX
}

/// Notes that a task came from one cgroup into another. `before`: how far up it came from already.
#[inline(always)]
fn note(task: u64, from: u64, to: u64, before: u64) {
    if from == to {
        return keep(task, before);
    }
    let common = common_level(from, to);
    keep(task, if common < before { common } else { before });
}

#[inline(always)]
fn keep(task: u64, level: u64) {
    if level != u64::MAX {
        // What is used least makes room: it is judged as anybody then.
        let value = [level, pointer(task, field::TASK_MM)];
        let _ = NEWCOMERS.insert(process(task), value, 0);
    }
}

/// How far up a process came from; `u64::MAX`: it is no newcomer.
#[inline(always)]
fn known(process: Process) -> u64 {
    // SAFETY: of words that are written at the same time either may be read.
    unsafe { NEWCOMERS.get(process) }.map_or(u64::MAX, |known| known[0])
}

#[fentry(function = "cgroup_attach_task")]
pub(crate) fn newcomer_moved(ctx: FEntryContext) -> i32 {
    let args = ctx.as_ptr() as *const u64;
    // SAFETY: the function has three arguments.
    let (to, task) = unsafe { (*args, *args.add(1)) };
    note(task, group(task), to, known(process(task)));
    0
}

/// Where there is no fentry. The task has left its old cgroup by then: it is taken for one that came from
/// outside of the new one.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub(crate) fn newcomer_entered(ctx: BtfTracePointContext) -> i32 {
    let args = ctx.as_ptr() as *const u64;
    // SAFETY: the tracepoint has four arguments.
    let (to, task) = unsafe { (*args, *args.add(2)) };
    let level = u64::from(value::<u32>(to, field::CGROUP_LEVEL));
    // Those of other hierarchies are told too.
    if level == 0 || group(task) != to {
        return 0;
    }
    let before = known(process(task));
    let outside = level.wrapping_sub(1);
    keep(task, if outside < before { outside } else { before });
    0
}

#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn newcomer_forked(ctx: BtfTracePointContext) -> i32 {
    let args = ctx.as_ptr() as *const u64;
    // SAFETY: the tracepoint has two arguments.
    let (task, child) = unsafe { (*args, *args.add(1)) };
    let by = process(task);
    if scope::is_observer() {
        set_own_memory(pointer(task, field::TASK_MM));
    }
    if by[0] != u64::from(value::<u32>(child, field::TASK_TGID)) {
        note(child, group(task), group(child), known(by));
    }
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn newcomer_executed(ctx: BtfTracePointContext) -> i32 {
    let args = ctx.as_ptr() as *const u64;
    // SAFETY: the tracepoint has three arguments.
    let (task, bprm) = unsafe { (*args, *args.add(2)) };
    let process = process(task);
    // SAFETY: as in `known`.
    let Some([level, memory]) = unsafe { NEWCOMERS.get(process) }.copied() else {
        return 0;
    };
    if memory == pointer(task, field::TASK_MM) {
        // This was under way when it came: who waits for it is told earlier.
        return 0;
    }
    if is_prelude(pointer(bprm, field::BPRM_FILE)) {
        keep(task, level);
    } else {
        let _ = NEWCOMERS.remove(process);
    }
    0
}

/// How far up the current process came from: the level of the deepest cgroup that it was in all the
/// time. `u64::MAX` for one that has executed something since, or came from nowhere.
#[inline(always)]
pub(crate) fn origin() -> u64 {
    newcomer_origin()
}

/// Known by its name in the object: see `walk_steps`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn newcomer_origin() -> u64 {
    let leader = pointer(current_task(), field::TASK_LEADER);
    known([
        bpf_get_current_pid_tgid() >> 32,
        value(leader, field::TASK_START),
    ])
}

/// Whether the current process is a newcomer in the scope that it is in.
#[inline(always)]
pub(crate) fn is_in_scope() -> bool {
    newcomer_is_in_scope() != 0
}

/// Known by its name in the object: see `walk_steps`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn newcomer_is_in_scope() -> u32 {
    let origin = origin();
    if origin >= u64::from(CGROUP_LEVELS) {
        return 0;
    }
    let levels = SCOPING.get(scoping::LEVELS).copied().unwrap_or(0);
    for level in 0..CGROUP_LEVELS {
        if levels & (1 << level) == 0 {
            continue;
        }
        // SAFETY: the helper has no preconditions; it gives 0 for a level that is not there.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        if CGROUPS.get_ptr(id).is_some() {
            return u32::from(origin < u64::from(level));
        }
    }
    0
}

/// Whether a runtime executes its own copy, which has no path, before it has entered the container: then
/// it goes on being a newcomer. In the container's mount namespace it could be the workload's file.
#[inline(always)]
pub(crate) fn is_prelude(file: u64) -> bool {
    let mount = file_path(file).mnt.wrapping_sub(offset(field::MOUNT_MNT));
    let namespace = pointer(mount, field::MOUNT_NS);
    // A memfd is on a mount of the kernel's own; a mount that was taken away again is in none.
    if namespace != 0 && namespace < 0u64.wrapping_sub(MAX_ERRNO) {
        return false;
    }
    let task = current_task();
    let mounts = |task| pointer(pointer(task, field::TASK_NSPROXY), field::NSPROXY_MNT);
    mounts(task) == mounts(pointer(task, field::TASK_REAL_PARENT))
}

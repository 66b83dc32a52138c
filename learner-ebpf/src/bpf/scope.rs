//! Which watched workload the current task belongs to, if any.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use learner_ebpf::{CGROUP_LEVELS, field, scoping, setting};

use super::atomic::increment;
use super::group::Group;
use super::maps::{self, CGROUPS, LOST, NAMESPACES, SCOPING};
use super::read::{Typed, current_task, pointer, typed_task, value};

/// The scope of the current task, or 0. Nested cgroups count as their ancestor's; the observer
/// itself is in none.
#[inline(always)]
pub(crate) fn current() -> u32 {
    let scope = watched(typed_task());
    if scope != 0 && is_observer() {
        return 0;
    }
    scope
}

/// The observer may run in what it watches: a login session's cgroup, say.
#[inline(always)]
pub(crate) fn is_observer() -> bool {
    (bpf_get_current_pid_tgid() >> 32) as u32 == maps::setting(setting::SELF)
}

/// The scope of the current task, which is `task`, or 0; the observer has one too.
#[inline(always)]
pub(crate) fn watched(task: Typed) -> u32 {
    let group = Group::of(task);
    let scope = match group.known() {
        Some(scope) => scope,
        None => {
            let scope = scope_of_group();
            group.keep(scope);
            scope
        }
    };
    if scope == 0 && SCOPING.get(scoping::NAMESPACES).copied().unwrap_or(0) != 0 {
        return scope_of_namespaces();
    }
    scope
}

/// Known by its name in the object, as [`scope_of_namespaces`]: see `walk_steps`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn scope_of_group() -> u32 {
    let levels = SCOPING.get(scoping::LEVELS).copied().unwrap_or(0);
    for level in 0..CGROUP_LEVELS {
        if levels & (1 << level) == 0 {
            continue;
        }
        // SAFETY: the helper has no preconditions; it gives 0 for a level that is not there.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        // SAFETY: the value is a u32 that is only ever replaced whole.
        if let Some(scope) = unsafe { CGROUPS.get(id) } {
            return *scope;
        }
    }
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn scope_of_namespaces() -> u32 {
    let nsproxy = pointer(current_task(), field::TASK_NSPROXY);
    let mnt: u32 = value(pointer(nsproxy, field::NSPROXY_MNT), field::MNT_NS_INUM);
    let pid: u32 = value(pointer(nsproxy, field::NSPROXY_PID), field::PID_NS_INUM);
    // SAFETY: as above.
    unsafe { NAMESPACES.get(u64::from(pid) << 32 | u64::from(mnt)) }
        .copied()
        .unwrap_or(0)
}

/// Counts an event that could not be reported. User space makes the entries when it makes the scope.
#[inline(always)]
pub(crate) fn lose(scope: u32, kind: u32) {
    if let Some(count) = LOST.get_ptr_mut(u64::from(scope) << 32 | u64::from(kind)) {
        // SAFETY: a map value, aligned to 8; the add is atomic.
        unsafe { increment(count) };
    }
}

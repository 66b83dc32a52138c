//! A path as a trail: the way of `walk`, by the kernel's own loop.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use learner_ebpf::{PATH_MAX, field};

use super::case::{STEPS, Trail, begin, dentry, get, put, repeat};
use super::maps::{DATA_LIMIT, Scratch, offset};
use super::read::{executable, pointer};
use super::walk::{end, position, set_position};

/// Gathers the components, leaf first; gives how that ended, which the trail keeps.
#[inline(never)]
pub(crate) fn trace(trail: *mut Trail) -> u64 {
    put!(trail, end, end::TOO_DEEP);
    if get!(trail, dentry) == 0 || get!(trail, mount) == 0 {
        put!(trail, end, end::NO_PATH);
    } else {
        let mut trail = trail;
        repeat(STEPS, step, &raw mut trail);
    }
    get!(trail, end)
}

unsafe extern "C" fn step(_: u64, state: *mut *mut Trail) -> i64 {
    // SAFETY: as `trace` passes it.
    let trail = unsafe { *state };
    let dentry = get!(trail, dentry);
    let mount = get!(trail, mount);
    let root = pointer(
        mount.wrapping_add(offset(field::MOUNT_MNT)),
        field::VFSMOUNT_ROOT,
    );
    if dentry == root {
        let parent = pointer(mount, field::MOUNT_PARENT);
        if parent == mount {
            put!(trail, end, end::WHOLE);
            return 1;
        }
        put!(trail, dentry, pointer(mount, field::MOUNT_MOUNTPOINT));
        put!(trail, mount, parent);
        return 0;
    }
    let parent = pointer(dentry, field::DENTRY_PARENT);
    if parent == dentry {
        put!(trail, end, end::NO_PATH);
        return 1;
    }
    let count = get!(trail, count);
    // SAFETY: masked to the bounds of `dentries`.
    unsafe {
        core::ptr::write_volatile(
            (&raw mut (*trail).dentries)
                .cast::<u64>()
                .add(count as usize & 127),
            dentry,
        );
    }
    put!(trail, count, count.wrapping_add(1));
    put!(trail, dentry, parent);
    0
}

/// Gathers the path of a task's executable.
#[inline(always)]
pub(crate) fn trace_executable(trail: *mut Trail, task: u64) -> u64 {
    begin(trail, executable(task), 0);
    trace(trail)
}

struct Spelling {
    trail: *const Trail,
    scratch: *mut Scratch,
}

/// Appends the names of a trail to a record, each with its NUL; gives their bytes, 0 if that is too many.
#[inline(never)]
pub(crate) fn spell(trail: *const Trail, scratch: *mut Scratch) -> u64 {
    let start = position(scratch);
    let mut state = Spelling { trail, scratch };
    repeat(STEPS, name, &raw mut state);
    let written = position(scratch).wrapping_sub(start);
    if written > PATH_MAX as u64 {
        0
    } else {
        written
    }
}

unsafe extern "C" fn name(index: u64, state: *mut Spelling) -> i64 {
    // SAFETY: as `spell` passes it.
    let Spelling { trail, scratch } = unsafe { core::ptr::read(state) };
    if index & 127 >= get!(trail, count) {
        return 1;
    }
    let pos = position(scratch);
    if pos >= DATA_LIMIT as u64 {
        return 1;
    }
    let name = pointer(dentry(trail, index), field::DENTRY_NAME);
    // SAFETY: `pos` < DATA_LIMIT and DATA_SLACK > 256 bytes lie behind; probe_read checks `name`.
    let written = unsafe {
        bpf_probe_read_kernel_str(
            (*scratch).data.as_mut_ptr().add(pos as usize).cast(),
            256,
            name as *const _,
        )
    };
    if written <= 1 {
        return 1;
    }
    set_position(scratch, pos.wrapping_add(written as u64));
    0
}

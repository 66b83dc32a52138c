//! From a dentry up to the root of its mount namespace: the path as KubeArmor's `prepend_path`
//! sees it, which is the container's root also for a process that has chroot'ed further down.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use learner_ebpf::{DEPTH_MAX, PATH_MAX, field};

use super::maps::{DATA_LIMIT, Scratch, offset};
use super::read::{Location, pointer};

/// Mount points that a path may cross beside its components.
const CROSSINGS: usize = 32;

/// How a walk ended.
pub(crate) mod end {
    pub(crate) const WHOLE: u64 = 0;
    pub(crate) const NO_PATH: u64 = 1;
    pub(crate) const TOO_DEEP: u64 = 2;
    pub(crate) const TOO_LONG: u64 = 3;
    pub(crate) const UNREADABLE: u64 = 4;
}

#[inline(always)]
pub(crate) fn position(scratch: *mut Scratch) -> u64 {
    // SAFETY: `scratch` is a slot that the caller holds.
    unsafe { core::ptr::read_volatile(&raw const (*scratch).pos) }
}

#[inline(always)]
pub(crate) fn set_position(scratch: *mut Scratch, pos: u64) {
    // SAFETY: `scratch` is a slot that the caller holds.
    unsafe { core::ptr::write_volatile(&raw mut (*scratch).pos, pos) }
}

/// Appends the components of a path, leaf first, each with its NUL, and says how that ended.
#[inline(always)]
pub(crate) fn walk(scratch: *mut Scratch, at: Location) -> u64 {
    walk_steps(scratch, at.dentry, at.mnt)
}

/// Known by its name in the object, so that the verifier follows it once a program, not once a call.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn walk_steps(scratch: *mut Scratch, dentry: u64, vfsmount: u64) -> u64 {
    if scratch.is_null() || dentry == 0 || vfsmount == 0 {
        return end::NO_PATH;
    }
    let start = position(scratch);
    let mut dentry = dentry;
    let mut mount = vfsmount.wrapping_sub(offset(field::MOUNT_MNT));
    for _ in 0..DEPTH_MAX + CROSSINGS {
        let root = pointer(
            mount.wrapping_add(offset(field::MOUNT_MNT)),
            field::VFSMOUNT_ROOT,
        );
        if dentry == root {
            let parent = pointer(mount, field::MOUNT_PARENT);
            if parent == mount {
                return end::WHOLE;
            }
            dentry = pointer(mount, field::MOUNT_MOUNTPOINT);
            mount = parent;
            continue;
        }
        let parent = pointer(dentry, field::DENTRY_PARENT);
        if parent == dentry {
            return end::NO_PATH;
        }
        let pos = position(scratch);
        if pos >= DATA_LIMIT as u64 {
            return end::TOO_LONG;
        }
        let name = pointer(dentry, field::DENTRY_NAME);
        // SAFETY: `pos` < DATA_LIMIT and DATA_SLACK > 256 bytes lie behind; probe_read checks `name`.
        let written = unsafe {
            bpf_probe_read_kernel_str(
                (*scratch).data.as_mut_ptr().add(pos as usize).cast(),
                256,
                name as *const _,
            )
        };
        if written <= 1 {
            return end::UNREADABLE;
        }
        let now = pos.wrapping_add(written as u64);
        set_position(scratch, now);
        if now.wrapping_sub(start) > PATH_MAX as u64 {
            return end::TOO_LONG;
        }
        dentry = parent;
    }
    end::TOO_DEEP
}

//! Reading kernel memory by address and field. A failed read gives 0, as a null pointer would.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel,
};
use learner_ebpf::{field, place};

use super::maps::offset;

#[inline(always)]
pub(crate) fn value<T: Copy + Default>(base: u64, field: usize) -> T {
    read(base.wrapping_add(offset(field)))
}

/// Reads without a branch: the helper zeroes what it could not read, and a state less in a loop is
/// a state less for the verifier. A null base fails as any other user-space address does.
#[inline(always)]
pub(crate) fn read<T: Copy + Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: probe_read checks the address; T is an integer, for which any bits are valid.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
    }
    value
}

#[inline(always)]
pub(crate) fn pointer(base: u64, field: usize) -> u64 {
    value::<u64>(base, field)
}

#[inline(always)]
pub(crate) fn current_task() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task() }
}

/// The current task, as the verifier knows it.
#[inline(always)]
pub(crate) fn typed_task() -> Typed {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task_btf() as Typed }
}

/// A pointer whose type the verifier knows.
pub(crate) type Typed = *const u8;

/// A field of what `base` points at. The instruction names it: see [`learner_ebpf::place`].
#[inline(always)]
pub(crate) fn load<T: Copy>(base: Typed, field: usize) -> T {
    let at = place::of(field) as usize;
    // SAFETY: the verifier checks that there is a field of this size, and a fault reads 0.
    unsafe { core::ptr::read_volatile(base.wrapping_add(at).cast()) }
}

/// A `struct path` taken apart.
#[derive(Clone, Copy)]
pub(crate) struct Location {
    pub dentry: u64,
    pub mnt: u64,
}

/// What a `struct path *` points at.
#[inline(always)]
pub(crate) fn path(address: u64) -> Location {
    Location {
        dentry: pointer(address, field::PATH_DENTRY),
        mnt: pointer(address, field::PATH_MNT),
    }
}

#[inline(always)]
pub(crate) fn file_path(file: u64) -> Location {
    path(file.wrapping_add(offset(field::FILE_PATH)))
}

/// The executable of a task; a null location for kernel threads.
#[inline(always)]
pub(crate) fn executable(task: u64) -> Location {
    let file = pointer(pointer(task, field::TASK_MM), field::MM_EXE_FILE);
    if file == 0 {
        Location { dentry: 0, mnt: 0 }
    } else {
        file_path(file)
    }
}

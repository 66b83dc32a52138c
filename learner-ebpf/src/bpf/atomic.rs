//! Atomic operations on map memory. The prebuilt `core` for bpf offers none beyond load and store,
//! since the oldest instruction set has no more; the object is built for v3 (Linux 5.12), which has.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg};

/// Adds some.
///
/// # Safety
/// `counter` points at an aligned u64 in map memory.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, more: u64) {
    // SAFETY: as the caller argues.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, more) };
}

/// Adds one.
///
/// # Safety
/// `counter` points at an aligned u64 in map memory.
#[inline(always)]
pub(crate) unsafe fn increment(counter: *mut u64) {
    // SAFETY: as the caller argues.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, 1) };
}

/// Takes one away.
///
/// # Safety
/// As [`increment`].
#[inline(always)]
pub(crate) unsafe fn decrement(counter: *mut u64) {
    // SAFETY: as the caller argues; the sum wraps.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, u64::MAX) };
}

/// Stores a value and gives the one before.
///
/// # Safety
/// `cell` points at an aligned u64 in map memory.
#[inline(always)]
pub(crate) unsafe fn swap(cell: *mut u64, value: u64) -> u64 {
    // SAFETY: as the caller argues.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::Relaxed }>(cell, value) }
}

/// Stores `new` if the value is `old`, and gives the one before.
///
/// # Safety
/// As [`swap`].
#[inline(always)]
pub(crate) unsafe fn exchange(cell: *mut u64, old: u64, new: u64) -> u64 {
    // SAFETY: as the caller argues.
    let (before, _) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(cell, old, new)
    };
    before
}

//! A case: an operation under a policy, while it is judged.
//!
//! Everything that a loop or a call changes is in the case, in map memory, and is read and written
//! as volatile: so the verifier knows nothing of it, and sees one state where it would see many.

use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use learner_ebpf::enforce::{EdgeKey, LONG_WORDS, Policy};
use learner_ebpf::field;

use super::atomic::swap;
use super::maps::{CASES, SLOTS, offset};
use super::read::Location;

/// Names that a path may have, and mount points that it crosses.
pub(crate) const STEPS: u32 = 96;

/// The components of a path, as the kernel's dentries.
#[repr(C)]
pub(crate) struct Trail {
    /// Where to go on: a `struct dentry *`; 0 at first: there is no path.
    pub dentry: u64,
    /// On which `struct mount *`.
    pub mount: u64,
    /// The inode whose owner counts; 0: there is none yet, and root counts as its owner.
    pub owned: u64,
    /// How the walk ended: one of `walk::end`.
    pub end: u64,
    /// Components.
    pub count: u64,
    /// Leaf first; as long as a mask wants it.
    pub dentries: [u64; 128],
}

/// Per CPU there are several, as of `Scratch`.
#[repr(C)]
pub(crate) struct Case {
    pub busy: u64,
    pub policy: Policy,
    /// One of `op`.
    pub op: u64,
    /// `access` bits of an open.
    pub access: u64,
    /// 1: what is opened is a directory.
    pub is_directory: u64,
    /// 1: there are two names.
    pub is_pair: u64,
    /// Whose executable is the source.
    pub task: u64,
    /// The node at which the rules for the source begin, 0 for none.
    pub from: u64,
    /// The node that the next component starts from.
    pub node: u64,
    /// Which half of an edge is asked for: one of `follow::half`.
    pub half: u64,
    /// Components that are still to follow.
    pub left: u64,
    /// The rule of the last recursive directory above.
    pub recursive: u64,
    /// The rule of the last directory, if it is not recursive.
    pub nearest: u64,
    /// What was found at the leaf.
    pub found: u64,
    /// Where a long name is looked up from.
    pub long: EdgeKey<LONG_WORDS>,
    pub source: Trail,
    pub path: Trail,
    /// The second name of a rename or a link.
    pub to: Trail,
}

macro_rules! get {
    ($case:expr, $($field:tt).+) => {
        // SAFETY: a field of a map value that the caller holds; the value outlives the program.
        unsafe { core::ptr::read_volatile(&raw const (*$case).$($field).+) }
    };
}

macro_rules! put {
    ($case:expr, $($field:tt).+, $value:expr) => {{
        let value = $value;
        // SAFETY: a field of a map value that the caller holds; the value outlives the program.
        unsafe { core::ptr::write_volatile(&raw mut (*$case).$($field).+, value) }
    }};
}

pub(crate) use {get, put};

/// Takes a free slot.
#[inline(always)]
pub(crate) fn take() -> Option<*mut Case> {
    for slot in 0..SLOTS {
        let case = CASES.get_ptr_mut(slot)?;
        // SAFETY: `busy` is an aligned u64 in a map value that lives as long as the program.
        if unsafe { swap(&raw mut (*case).busy, 1) } == 0 {
            return Some(case);
        }
    }
    None
}

#[inline(always)]
pub(crate) fn release(case: *mut Case) {
    put!(case, busy, 0);
}

/// Sets where a trail begins.
#[inline(always)]
pub(crate) fn begin(trail: *mut Trail, at: Location, owned: u64) {
    put!(trail, dentry, at.dentry);
    let mount = match at.mnt {
        0 => 0,
        mnt => mnt.wrapping_sub(offset(field::MOUNT_MNT)),
    };
    put!(trail, mount, mount);
    put!(trail, owned, owned);
    put!(trail, count, 0);
}

/// The dentry of a component.
#[inline(always)]
pub(crate) fn dentry(trail: *const Trail, index: u64) -> u64 {
    // SAFETY: the index is below 128, and the caller holds the case.
    unsafe {
        core::ptr::read_volatile(
            (&raw const (*trail).dentries)
                .cast::<u64>()
                .add(index as usize & 127),
        )
    }
}

/// Calls `turn` until it returns 1, at most `most` times: the verifier looks at it once, however
/// often that is. Linux 5.17. `state` is on the stack.
#[inline(always)]
pub(crate) fn repeat<T>(most: u32, turn: unsafe extern "C" fn(u64, *mut T) -> i64, state: *mut T) {
    // SAFETY: `turn` has the type that the helper calls, with what it is given here.
    unsafe { bpf_loop(most, turn as *mut c_void, state.cast(), 0) };
}

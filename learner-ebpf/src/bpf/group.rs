//! What was found for the cgroup of the current task, so that it need not be looked for at every hook.
//!
//! A cgroup's serial number is never used twice, and what can be found for it changes only when user space says so,
//! by another epoch. The two words of an entry are written and read one by one, on any CPU: the first
//! one is made of the number and the second, so that words of two entries are nobody's.

use learner_ebpf::field;

use super::maps::{GROUPS, GROUPS_KEPT, epoch};
use super::read::{Typed, load};

/// Any odd number.
const FOUND: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// The cgroup of a task in an epoch.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    id: u64,
    epoch: u64,
    entry: *mut u64,
}

impl Group {
    #[inline(always)]
    pub(crate) fn of(task: Typed) -> Self {
        let epoch = epoch();
        let group: Typed = load(load(task, field::TASK_CGROUPS), field::CSS_SET_GROUP);
        let id: u64 = load(group, field::CGROUP_SERIAL);
        let first: *mut u64 = (&raw mut GROUPS).cast();
        Self {
            id,
            epoch,
            entry: first.wrapping_add(2 * (id as usize & (GROUPS_KEPT as usize - 1))),
        }
    }

    /// What was found in this epoch.
    #[inline(always)]
    pub(crate) fn known(self) -> Option<u32> {
        // SAFETY: two words of a map value.
        let (tie, found) = unsafe {
            (
                core::ptr::read_volatile(self.entry),
                core::ptr::read_volatile(self.entry.add(1)),
            )
        };
        // In an odd epoch nothing is kept.
        if found >> 32 == self.epoch && tie == self.tie(found) {
            Some(found as u32)
        } else {
            None
        }
    }

    /// Keeps what was found.
    #[inline(always)]
    pub(crate) fn keep(self, what: u32) {
        if self.epoch & 1 != 0 {
            return;
        }
        let found = self.epoch << 32 | u64::from(what);
        // SAFETY: as above.
        unsafe {
            core::ptr::write_volatile(self.entry, self.tie(found));
            core::ptr::write_volatile(self.entry.add(1), found);
        }
    }

    #[inline(always)]
    fn tie(self, found: u64) -> u64 {
        self.id ^ found.wrapping_mul(FOUND)
    }
}

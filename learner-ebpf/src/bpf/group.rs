//! What was found for the cgroup of the current task, so that it need not be looked for at every hook.
//!
//! A cgroup's id is never used twice, and what can be found for it changes only when user space says so,
//! by another epoch. The two words of an entry are written and read one by one, on any CPU: the first
//! one is made of the id and the second, so that words of two entries are nobody's.

use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;

use super::maps::{GROUPS, GROUPS_KEPT};

/// Any two odd numbers.
const ID: u64 = 0x9e37_79b9_7f4a_7c15;
const FOUND: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// The current task's cgroup in an epoch.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    id: u64,
    epoch: u32,
    entry: *mut u64,
}

impl Group {
    #[inline(always)]
    pub(crate) fn current(epoch: u32) -> Self {
        // SAFETY: the helper has no preconditions.
        let id = unsafe { bpf_get_current_cgroup_id() };
        let entry = GROUPS.get_ptr_mut(id as u32 & (GROUPS_KEPT - 1));
        Self {
            id,
            epoch,
            entry: entry.map_or(core::ptr::null_mut(), <*mut [u64; 2]>::cast),
        }
    }

    /// What was found in this epoch.
    #[inline(always)]
    pub(crate) fn known(self) -> Option<u32> {
        if self.entry.is_null() {
            return None;
        }
        // SAFETY: two words of a map value.
        let (tie, found) = unsafe {
            (
                core::ptr::read_volatile(self.entry),
                core::ptr::read_volatile(self.entry.add(1)),
            )
        };
        if self.epoch & 1 == 0 && found >> 32 == u64::from(self.epoch) && tie == self.tie(found) {
            Some(found as u32)
        } else {
            None
        }
    }

    /// Keeps what was found.
    #[inline(always)]
    pub(crate) fn keep(self, what: u32) {
        if self.entry.is_null() || self.epoch & 1 != 0 {
            return;
        }
        let found = u64::from(self.epoch) << 32 | u64::from(what);
        // SAFETY: as above.
        unsafe {
            core::ptr::write_volatile(self.entry, self.tie(found));
            core::ptr::write_volatile(self.entry.add(1), found);
        }
    }

    #[inline(always)]
    fn tie(self, found: u64) -> u64 {
        self.id.wrapping_mul(ID) ^ found.wrapping_mul(FOUND)
    }
}

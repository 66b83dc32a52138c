//! An open that is repeated, told by the objects that it goes through, so that no path is walked.
//!
//! The path of a dentry on a mount stays what it was while nothing is renamed (`rename_lock`) and
//! nothing mounted or unmounted (`mount_lock`), and the kernel counts both. A dentry may go and its
//! memory be used for another one; then its name or its directory is another. A directory has one
//! path on a mount, and is told by its inode number and generation, since a mount is of one file system;
//! removals of directories are counted too, since not every file system has generations.
//!
//! Fields of what the hook is given are read directly, as the kernel's types allow: that costs one
//! instruction where a helper costs sixty.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_ktime_get_boot_ns};
use learner_ebpf::{
    AGAIN_SET, AGAIN_SETS, Again, AgainKey, Both, Identity, access, again, field, place,
};

use super::atomic::{add, exchange, increment, swap};
use super::hooks::S_IFMT;
use super::maps::{AGAIN, REMOVALS, SEEN, offset, sequence};
use super::read::read;
use super::record::OVERLAYFS_SUPER_MAGIC;

/// What every kernel keeps of a name in the dentry itself, bytes with the NUL.
const SHORT: u32 = 32;

/// A pointer whose type the verifier knows.
type Typed = *const u8;

/// A field of what `base` points at. The instruction names it: see [`learner_ebpf::place`].
#[inline(always)]
fn load<T: Copy>(base: Typed, field: usize) -> T {
    load_behind(base, field, 0)
}

/// What lies `further` bytes behind the beginning of a field.
#[inline(always)]
fn load_behind<T: Copy>(base: Typed, field: usize, further: u32) -> T {
    let at = place::of(field, further) as usize;
    // SAFETY: the verifier checks that there is a field of this size, and a fault reads 0.
    unsafe { core::ptr::read_volatile(base.wrapping_add(at).cast()) }
}

/// How the names and mounts of the machine stand; None: they are changing, or it cannot be told.
#[inline(always)]
fn sequences() -> Option<u64> {
    let (renames, mounts) = (sequence(0), sequence(1));
    if renames == 0 || mounts == 0 {
        return None;
    }
    let (renames, mounts): (u32, u32) = (read(renames), read(mounts));
    if (renames | mounts) & 1 != 0 {
        return None;
    }
    Some(u64::from(renames) << 32 | u64::from(mounts))
}

/// Counts a removal of a directory, whoever does it.
#[inline(always)]
pub(crate) fn removed() {
    if let Some(count) = REMOVALS.get_ptr_mut(0) {
        // SAFETY: a map value, aligned to 8; the add is atomic.
        unsafe { increment(count) };
    }
}

/// Entries that an open may have.
const PROBES: u32 = 4;
const SLOT_BITS: u32 = (AGAIN_SET * AGAIN_SETS).ilog2();

/// What may change of an open while its path is walked. All zeros for one that is not to be kept.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standing {
    sequences: u64,
    removals: u64,
    bits: u64,
}

/// An open, told by the objects that it goes through.
pub(crate) struct Repeat {
    key: AgainKey,
    file: Typed,
    exe: Typed,
    /// The first of the entries that it may have. How names and mounts stand is left out of it: what stood
    /// otherwise makes room for what stands now.
    slot: u32,
}

impl Repeat {
    /// `whose`: the scope, or the generation of the policy. None: the path has to be walked.
    #[inline(always)]
    fn of(file: u64, whose: u32) -> Option<Self> {
        let sequences = sequences()?;
        let counter = REMOVALS.get_ptr(0)?;
        // SAFETY: a map value; counted atomically.
        let removals = unsafe { core::ptr::read_volatile(counter) };
        if removals == 0 {
            // Nobody counts them.
            return None;
        }
        let file = file as Typed;
        let dentry: Typed = load(file, field::FILE_DENTRY);
        let inode: Typed = load(file, field::FILE_INODE);
        // What overlayfs opens for itself.
        if inode != load::<Typed>(dentry, field::DENTRY_INODE) {
            return None;
        }
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_task_btf() } as Typed;
        let image: Typed = load(load(task, field::TASK_MM), field::MM_EXE_FILE);
        let exe: Typed = load(image, field::FILE_DENTRY);
        let uid: u32 = load(load(task, field::TASK_CRED), field::CRED_UID);
        let tty: Typed = load(load(task, field::TASK_SIGNAL), field::SIGNAL_TTY);
        let mode: u32 = load(file, field::FILE_MODE);
        let kind: u16 = load(inode, field::INODE_MODE);
        let mut bits =
            u64::from(mode & (access::READ | access::WRITE)) | u64::from(kind & S_IFMT) << 16;
        if !tty.is_null() {
            bits |= again::TTY;
        }
        if load::<u32>(inode, field::INODE_UID) == uid {
            bits |= again::OWNER;
        }
        if offset(field::OVL_UPPER) != 0 {
            let magic: u64 = load(load(inode, field::INODE_SB), field::SB_MAGIC);
            if magic == OVERLAYFS_SUPER_MAGIC {
                let of_overlay = (inode as u64).wrapping_sub(offset(field::OVL_VFS_INODE));
                if read::<u64>(of_overlay.wrapping_add(offset(field::OVL_UPPER))) != 0 {
                    bits |= again::UPPER;
                }
            }
        }
        let key = AgainKey {
            dentry: dentry as u64,
            mnt: load::<Typed>(file, field::FILE_MNT) as u64,
            exe: exe as u64,
            exe_mnt: load::<Typed>(image, field::FILE_MNT) as u64,
            sequences,
            removals,
            whose: u64::from(whose) << 32 | u64::from(uid),
            bits,
        };
        // The verifier lets nobody calculate with addresses, but take one from the other.
        let number = |address: u64| address.wrapping_sub(counter as u64);
        let objects = number(key.dentry).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ (number(key.exe) ^ number(key.mnt)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let mixed = (objects ^ key.whose ^ key.bits << 8).wrapping_mul(0xff51_afd7_ed55_8ccd);
        Some(Self {
            key,
            file: dentry,
            exe,
            slot: (mixed >> (u64::BITS - SLOT_BITS)) as u32,
        })
    }

    #[inline(always)]
    fn standing(&self) -> Standing {
        Standing {
            sequences: self.key.sequences,
            removals: self.key.removals,
            bits: self.key.bits,
        }
    }

    #[inline(always)]
    fn set(slot: u32) -> Option<*mut Again> {
        AGAIN
            .get_ptr_mut(slot / AGAIN_SET)
            .map(<*mut [Again; AGAIN_SET as usize]>::cast)
    }

    /// The entry of this open, and its state before the entry was looked at.
    #[inline(always)]
    fn find(&self) -> Option<(*mut Again, u64)> {
        let slot = self.slot;
        let set = Self::set(slot)?;
        for probe in 0..PROBES {
            // SAFETY: inside the set.
            let entry = unsafe { set.add(((slot ^ probe) % AGAIN_SET) as usize) };
            // SAFETY: a map value; whether it was whole is told by its state.
            let (state, there) = unsafe {
                (
                    core::ptr::read_volatile(&raw const (*entry).state),
                    &(*entry).key,
                )
            };
            if is_same(there, &self.key) && state & again::WRITTEN == 0 {
                return Some((entry, state));
            }
        }
        None
    }

    #[inline(always)]
    fn are(&self, entry: *mut Again) -> bool {
        // SAFETY: as above.
        let of = unsafe { &(*entry).of };
        is(self.file, &of.file) && is(self.exe, &of.exe)
    }

    /// Counts an open that was seen before; false: its path has to be walked.
    #[inline(always)]
    fn count(&self) -> bool {
        let Some((entry, mut state)) = self.find() else {
            return false;
        };
        if !self.are(entry) {
            return false;
        }
        // SAFETY: a map value, aligned to 8.
        let cell = unsafe { &raw mut (*entry).state };
        for _ in 0..4 {
            // SAFETY: as above.
            let now = unsafe { exchange(cell, state, state + 1) };
            if now == state {
                // SAFETY: as above; of concurrent stores any may win.
                unsafe {
                    core::ptr::write_volatile(&raw mut (*entry).last, bpf_ktime_get_boot_ns());
                }
                return true;
            }
            if (now ^ state) & !again::COUNT != 0 {
                // It has made room for another one.
                return false;
            }
            // Somebody else counted.
            state = now;
        }
        false
    }

    /// Whether the policy has let this open be before.
    #[inline(always)]
    fn was_allowed(&self) -> bool {
        let Some((entry, state)) = self.find() else {
            return false;
        };
        // SAFETY: as above.
        self.are(entry) && state == unsafe { core::ptr::read_volatile(&raw const (*entry).state) }
    }

    /// Writes an entry.
    #[inline(always)]
    fn keep(&self, seen: &[u64; 2]) -> i32 {
        // Named or mounted otherwise since the path was walked: what was found may be either.
        if sequences() != Some(self.key.sequences) {
            return 0;
        }
        let mut of = Both::default();
        if !identify(self.file, &mut of.file) || !identify(self.exe, &mut of.exe) {
            return 0;
        }
        if self.find().is_some() {
            // Another one at the same addresses goes first when names or mounts change.
            return 0;
        }
        let Some((entry, state)) = self.room() else {
            return 0;
        };
        let writing = (state & !again::COUNT).wrapping_add(again::WRITTEN);
        // SAFETY: a map value, aligned to 8. Who has made its state odd writes it alone.
        unsafe {
            if exchange(&raw mut (*entry).state, state, writing) != state {
                return 0;
            }
            hand_over(entry, state & again::COUNT);
            (*entry).seen = *seen;
            (*entry).last = 0;
            (*entry).key = self.key;
            (*entry).of = of;
            swap(
                &raw mut (*entry).state,
                writing.wrapping_add(again::WRITTEN),
            );
        }
        0
    }

    /// The entry to write to: one that cannot be found any more, or else the first.
    #[inline(always)]
    fn room(&self) -> Option<(*mut Again, u64)> {
        let slot = self.slot;
        let set = Self::set(slot)?;
        // SAFETY: inside the set.
        let mut chosen = unsafe { set.add((slot % AGAIN_SET) as usize) };
        for probe in 0..PROBES {
            // SAFETY: as above.
            let entry = unsafe { set.add(((slot ^ probe) % AGAIN_SET) as usize) };
            // SAFETY: as above.
            let there = unsafe { &(*entry).key };
            if there.sequences != self.key.sequences || there.removals != self.key.removals {
                chosen = entry;
                break;
            }
        }
        // SAFETY: as above.
        let state = unsafe { core::ptr::read_volatile(&raw const (*chosen).state) };
        (state & again::WRITTEN == 0).then_some((chosen, state))
    }
}

/// Counts an open that was seen before; false: its path has to be walked, and may then be kept.
///
/// A function of its own, as the two below: what it needs room for is not kept through the walk, through
/// which the verifier would follow each of its ways.
#[inline(never)]
pub(crate) fn count(file: u64, scope: u32, before: &mut Standing) -> bool {
    let Some(again) = Repeat::of(file, scope) else {
        return false;
    };
    *before = again.standing();
    again.count()
}

/// Whether the policy of this generation has let an open be before.
#[inline(never)]
pub(crate) fn was_allowed(file: u64, generation: u32, before: &mut Standing) -> bool {
    let Some(again) = Repeat::of(file, generation) else {
        return false;
    };
    *before = again.standing();
    again.was_allowed()
}

/// From now on this open needs no walk: it is counted under `seen`, or let be. Not so if something has
/// changed since it was looked for.
#[inline(never)]
pub(crate) fn keep(file: u64, whose: u32, before: &Standing, seen: &[u64; 2]) -> i32 {
    if let Some(again) = Repeat::of(file, whose)
        && again.key.sequences == before.sequences
        && again.key.removals == before.removals
        && again.key.bits == before.bits
    {
        again.keep(seen);
    }
    0
}

/// Adds the count of an entry that goes to that of its behaviour. Without one there it was forgotten.
#[inline(always)]
unsafe fn hand_over(entry: *mut Again, count: u64) {
    if count == 0 {
        return;
    }
    // SAFETY: the entry is the caller's alone; the other is a map value, changed atomically.
    unsafe {
        let (key, last) = ((*entry).seen, (*entry).last);
        if let Some(seen) = SEEN.get_ptr_mut(key) {
            add(&raw mut (*seen).count, count);
            if core::ptr::read_volatile(&raw const (*seen).last) < last {
                core::ptr::write_volatile(&raw mut (*seen).last, last);
            }
        }
    }
}

#[inline(always)]
fn is_same(one: &AgainKey, other: &AgainKey) -> bool {
    one.dentry == other.dentry
        && one.exe == other.exe
        && one.whose == other.whose
        && one.bits == other.bits
        && one.sequences == other.sequences
        && one.removals == other.removals
        && one.mnt == other.mnt
        && one.exe_mnt == other.exe_mnt
}

#[inline(always)]
fn directory(dentry: Typed) -> Typed {
    load(
        load::<Typed>(dentry, field::DENTRY_PARENT),
        field::DENTRY_INODE,
    )
}

#[inline(always)]
fn word(dentry: Typed, index: u32) -> u64 {
    load_behind(dentry, field::DENTRY_SHORT, index * 8)
}

#[inline(always)]
fn name(dentry: Typed) -> u64 {
    let (hash, len): (u32, u32) = (
        load(dentry, field::DENTRY_HASH),
        load(dentry, field::DENTRY_LEN),
    );
    u64::from(hash) << 32 | u64::from(len)
}

/// Notes what tells a dentry; false: its name is too long for that.
#[inline(always)]
fn identify(dentry: Typed, identity: &mut Identity) -> bool {
    let directory = directory(dentry);
    let name = name(dentry);
    identity.name = name;
    identity.text = [
        word(dentry, 0),
        word(dentry, 1),
        word(dentry, 2),
        word(dentry, 3),
    ];
    identity.ino = load(directory, field::INODE_INO);
    identity.generation = u64::from(load::<u32>(directory, field::INODE_GENERATION));
    (name as u32) < SHORT && offset(field::DENTRY_SHORT) != 0
}

/// Without a branch where none is needed: each costs more than what it could save.
#[inline(always)]
fn is(dentry: Typed, identity: &Identity) -> bool {
    let directory = directory(dentry);
    let name = name(dentry);
    let differs = |index: usize| identity.text[index] ^ word(dentry, index as u32);
    let mut difference = identity.name ^ name
        | identity.ino ^ load::<u64>(directory, field::INODE_INO)
        | identity.generation ^ u64::from(load::<u32>(directory, field::INODE_GENERATION))
        | differs(0);
    // The words behind that in which the name ends are not the name's.
    let len = name as u32;
    if len >= 8 {
        difference |= differs(1);
        if len >= 16 {
            difference |= differs(2) | differs(3);
        }
    }
    difference == 0
}

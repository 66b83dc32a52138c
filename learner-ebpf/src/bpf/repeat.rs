//! An open that is repeated, told by the objects that it goes through, so that no path is walked.
//!
//! The path of a dentry on a mount stays what it was while nothing is renamed, which is counted here, and
//! nothing is mounted or unmounted in the mount's namespace, which the kernel counts. A dentry may go and its
//! memory be used for another one; then its name or its directory is another. A name is told by its hash, which is
//! made with an address that nobody outside of the kernel knows. A directory has one path on a mount, and is told by its
//! inode number, which no other one gets before it is removed; removals are counted too.
//!
//! An executable's dentry stays as long as a process runs it, and another process comes to run it only by an exec. So it
//! is compared once after each exec on the machine, not at each open. (Who has `CAP_SYS_RESOURCE` can name any file as
//! its executable without an exec; of it no source can be told anyhow.)
//!
//! What changes at the same time may count as having changed later. A path that is to be kept is walked
//! while nothing changes at all: the kernel's locks of names and mounts tell that (`rename_lock`,
//! `mount_lock`), and asking them costs too much for what is kept already.
//!
//! Fields of what the hook is given are read directly, as the kernel's types allow: that costs one
//! instruction where a helper costs sixty.

use core::mem::MaybeUninit;

use aya_ebpf::macros::{btf_tracepoint, fentry, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, FExitContext};
use learner_ebpf::{
    AGAIN_SET, AGAIN_SETS, Again, AgainKey, Both, Identity, access, again, field, setting,
};

use super::atomic::{add, exchange, increment, swap};
use super::hooks::S_IFMT;
use super::maps::{AGAIN, CHANGES, EXECS, SEEN, clock, offset, own_memory, sequence, setting};
use super::read::{
    Location, Typed, current_task, executable, file_path, load, pointer, read, typed_task,
};
use super::record::OVERLAYFS_SUPER_MAGIC;

/// The file system hashes names in a way of its own.
const DCACHE_OP_HASH: u32 = 1;

/// How often the kernel's locks of names and mounts were taken; None: one is, or it cannot be told.
#[inline(always)]
fn locks() -> Option<u64> {
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

/// Counts a change of names, whoever makes it.
#[inline(always)]
fn changed() {
    let count = &raw mut CHANGES;
    // SAFETY: map memory, aligned to 8; the add is atomic. Where not all are counted, none is.
    unsafe {
        if core::ptr::read_volatile(count) != 0 {
            increment(count);
        }
    }
}

/// Every change of a dentry's name or directory goes through this function of the kernel, which is asked
/// with `rename_lock` held: so before anybody else can know of it.
#[fexit(function = "__d_move")]
pub(crate) fn renamed(_: FExitContext) -> i32 {
    changed();
    0
}

/// Every removal of a directory that this machine makes, before it is done: a directory has nothing in it then.
#[fentry(function = "vfs_rmdir")]
pub(crate) fn removed(_: FEntryContext) -> i32 {
    changed();
    0
}

/// Every exec, when the process has its new executable and has opened nothing by it.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn executed(_: BtfTracePointContext) -> i32 {
    // SAFETY: map memory, aligned to 8; the add is atomic.
    unsafe { increment(&raw mut EXECS) };
    0
}

/// See [`Again::execs`].
#[inline(always)]
fn execs() -> u64 {
    // SAFETY: map memory; counted atomically.
    unsafe { core::ptr::read_volatile(&raw const EXECS) }
}

/// Entries that an open may have.
const PROBES: u32 = 4;
const SLOT_BITS: u32 = (AGAIN_SET * AGAIN_SETS).ilog2();

/// What may change of an open while its path is walked.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    locks: u64,
    changes: u64,
    mounts: u64,
    mount_changes: u64,
    bits: u64,
}

/// An open, told by the objects that it goes through. What few others have in common with it is read at once, the
/// rest when an entry is compared.
pub(crate) struct Repeat {
    file: Typed,
    image: Typed,
    task: Typed,
    dentry: Typed,
    inode: Typed,
    exe: Typed,
    changes: u64,
    whose: u64,
    bits: u64,
    /// The first of the entries that it may have. How names and mounts stand is left out of it: what stood
    /// otherwise makes room for what stands now.
    slot: u32,
}

impl Repeat {
    /// `whose`: the scope, or the generation of the policy. None: the path has to be walked.
    #[inline(always)]
    fn of(file: u64, task: Typed, whose: u32) -> Option<Self> {
        let counter = &raw const CHANGES;
        // SAFETY: map memory; counted atomically.
        let changes = unsafe { core::ptr::read_volatile(counter) };
        if changes == 0 {
            // Nobody counts them.
            return None;
        }
        let file = file as Typed;
        let dentry: Typed = load(file, field::FILE_DENTRY);
        let inode: Typed = load(file, field::FILE_INODE);
        let memory: Typed = load(task, field::TASK_MM);
        if memory as u64 == own_memory() {
            return None;
        }
        let image: Typed = load(memory, field::MM_EXE_FILE);
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
        let whose = u64::from(whose) << 32 | u64::from(uid);
        // The verifier lets nobody calculate with addresses, but take one from the other.
        let number = |address: Typed| (address as u64).wrapping_sub(counter as u64);
        let objects = number(dentry).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number(exe);
        let mixed = (objects ^ whose ^ bits << 8).wrapping_mul(0xff51_afd7_ed55_8ccd);
        Some(Self {
            file,
            image,
            task,
            dentry,
            inode,
            exe,
            changes,
            whose,
            bits,
            slot: (mixed >> (u64::BITS - SLOT_BITS)) as u32,
        })
    }

    /// `struct mnt_namespace` of the task.
    #[inline(always)]
    fn mounts(&self) -> Typed {
        load(load(self.task, field::TASK_NSPROXY), field::NSPROXY_MNT)
    }

    /// Whether it is the open of an entry, as far as addresses and counts tell. The count of changes of mounts
    /// is one for all namespaces: no two have the same.
    #[inline(always)]
    fn is(&self, there: &AgainKey) -> bool {
        there.dentry == self.dentry as u64
            && there.exe == self.exe as u64
            && there.whose == self.whose
            && (there.bits ^ self.bits) & !again::LAYERS == 0
            && there.changes == self.changes
            && there.inode == self.inode as u64
            && there.mnt == load::<Typed>(self.file, field::FILE_MNT) as u64
            && there.mount_changes == load::<u64>(self.mounts(), field::MNT_NS_EVENT)
    }

    /// The bits of its layer; 0: it is on no overlay, or the kernel does not tell.
    #[inline(always)]
    fn layers(&self) -> u64 {
        if offset(field::OVL_UPPER) == 0 {
            return 0;
        }
        let magic: u64 = load(load(self.inode, field::INODE_SB), field::SB_MAGIC);
        if magic != OVERLAYFS_SUPER_MAGIC {
            return 0;
        }
        let of_overlay = (self.inode as u64).wrapping_sub(offset(field::OVL_VFS_INODE));
        if read::<u64>(of_overlay.wrapping_add(offset(field::OVL_UPPER))) == 0 {
            again::OVERLAY
        } else {
            again::LAYERS
        }
    }

    /// Notes how everything stands, before the path is walked; false: not to be told.
    #[inline(always)]
    fn stand(&self, before: &mut MaybeUninit<Standing>) -> bool {
        let Some(locks) = locks() else {
            return false;
        };
        let mounts = self.mounts();
        before.write(Standing {
            locks,
            changes: self.changes,
            mounts: mounts as u64,
            mount_changes: load(mounts, field::MNT_NS_EVENT),
            bits: self.bits | self.layers(),
        });
        true
    }

    /// Whether it stands so still.
    #[inline(always)]
    fn stands(&self, before: &Standing) -> bool {
        let mounts = self.mounts();
        locks() == Some(before.locks)
            // One that nothing was ever mounted in has no count of its own.
            && before.mount_changes != 0
            && self.changes == before.changes
            && mounts as u64 == before.mounts
            && load::<u64>(mounts, field::MNT_NS_EVENT) == before.mount_changes
            && self.bits == before.bits & !again::LAYERS
            && self.layers() == before.bits & again::LAYERS
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
            if !again::is_being_written(state) && self.is(there) {
                let layers = there.bits & again::LAYERS;
                if layers != 0 && layers != self.layers() {
                    return None;
                }
                return Some((entry, state));
            }
        }
        None
    }

    /// Whether the dentries of the entry at these addresses are the same, and the executable's mount.
    #[inline(always)]
    fn are(&self, entry: *mut Again) -> bool {
        // SAFETY: as above. What is written is true of whichever entry is there by now: who writes it runs the
        // executable that it names.
        unsafe {
            let (of, execs) = (&(*entry).of, execs());
            if !is(self.dentry, &of.file) {
                return false;
            }
            let (image, then) = (&raw mut (*entry).image, &raw mut (*entry).execs);
            if core::ptr::read_volatile(then) == execs
                && core::ptr::read_volatile(image) == self.image as u64
            {
                return true;
            }
            let mnt: Typed = load(self.image, field::FILE_MNT);
            let same = (*entry).key.exe_mnt == mnt as u64 && is(self.exe, &of.exe);
            if same {
                core::ptr::write_volatile(image, self.image as u64);
                core::ptr::write_volatile(then, execs);
            }
            same
        }
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
            let now = unsafe { exchange(cell, state, state.wrapping_add(again::ONE)) };
            let difference = now ^ state;
            if difference & again::WRITINGS != 0 {
                // It has made room for another one.
                return false;
            }
            if difference < again::ONE {
                // SAFETY: as above; of concurrent stores any may win.
                unsafe {
                    core::ptr::write_volatile(&raw mut (*entry).last, clock());
                }
                return true;
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
    fn keep(&self, seen: &[u64; 2], layers: u64) -> i32 {
        let execs = execs();
        let mut of = Both::default();
        if !identify(self.dentry, &mut of.file) || !identify(self.exe, &mut of.exe) {
            return 0;
        }
        // What overlayfs opens for itself.
        if self.inode != load::<Typed>(self.dentry, field::DENTRY_INODE) {
            return 0;
        }
        let mounts = self.mounts();
        // One at the same addresses is of names that are gone, unless another CPU has just written it.
        let found = self.find();
        if found.is_some_and(|(entry, _)| self.are(entry)) {
            return 0;
        }
        let Some((entry, state)) = found.or_else(|| self.room()) else {
            return 0;
        };
        let writing = state.wrapping_add(1) & again::WRITINGS;
        // SAFETY: a map value, aligned to 8. Who has made its state odd writes it alone.
        unsafe {
            if exchange(&raw mut (*entry).state, state, writing) != state {
                return 0;
            }
            hand_over(entry, again::count(state));
            (*entry).seen = *seen;
            (*entry).last = 0;
            (*entry).key = AgainKey {
                dentry: self.dentry as u64,
                inode: self.inode as u64,
                mnt: load::<Typed>(self.file, field::FILE_MNT) as u64,
                exe: self.exe as u64,
                exe_mnt: load::<Typed>(self.image, field::FILE_MNT) as u64,
                changes: self.changes,
                mounts: mounts as u64,
                mount_changes: load(mounts, field::MNT_NS_EVENT),
                whose: self.whose,
                bits: self.bits | layers,
            };
            (*entry).of = of;
            (*entry).image = self.image as u64;
            (*entry).execs = execs;
            swap(
                &raw mut (*entry).state,
                writing.wrapping_add(1) & again::WRITINGS,
            );
        }
        0
    }

    /// The entry to write to: one that cannot be found any more, or else the first.
    #[inline(always)]
    fn room(&self) -> Option<(*mut Again, u64)> {
        let slot = self.slot;
        let set = Self::set(slot)?;
        let mounts = self.mounts();
        let mount_changes: u64 = load(mounts, field::MNT_NS_EVENT);
        // SAFETY: inside the set.
        let mut chosen = unsafe { set.add((slot % AGAIN_SET) as usize) };
        for probe in 0..PROBES {
            // SAFETY: as above.
            let entry = unsafe { set.add(((slot ^ probe) % AGAIN_SET) as usize) };
            // SAFETY: as above.
            let there = unsafe { &(*entry).key };
            let is_gone = there.changes != self.changes
                || (there.mounts == mounts as u64 && there.mount_changes != mount_changes);
            if is_gone {
                chosen = entry;
                break;
            }
        }
        // SAFETY: as above.
        let state = unsafe { core::ptr::read_volatile(&raw const (*chosen).state) };
        (!again::is_being_written(state)).then_some((chosen, state))
    }
}

/// What is known of an open.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Known {
    /// It is repeated.
    Repeated,
    /// Its path has to be walked, and may then be kept.
    New,
    /// Its path has to be walked each time.
    Untold,
}

#[inline(always)]
fn known(again: &Repeat, is_repeated: bool, before: &mut MaybeUninit<Standing>) -> Known {
    if is_repeated {
        Known::Repeated
    } else if again.stand(before) {
        Known::New
    } else {
        Known::Untold
    }
}

/// Counts an open that was seen before. `before` is written for one that is new.
///
/// A function of its own, as the two below: what it needs room for is not kept through the walk, through
/// which the verifier would follow each of its ways.
#[inline(never)]
pub(crate) fn count(
    file: u64,
    task: Typed,
    scope: u32,
    before: &mut MaybeUninit<Standing>,
) -> Known {
    match Repeat::of(file, task, scope) {
        Some(again) => known(&again, again.count(), before),
        None => Known::Untold,
    }
}

/// Whether the policy of this generation has let an open be before. `before` as above.
#[inline(never)]
pub(crate) fn was_allowed(
    file: u64,
    task: Typed,
    generation: u32,
    before: &mut MaybeUninit<Standing>,
) -> Known {
    match Repeat::of(file, task, generation) {
        Some(again) => known(&again, again.was_allowed(), before),
        None => Known::Untold,
    }
}

/// From now on this open needs no walk: it is counted under `seen`, or let be. Not so if something has
/// changed since it was looked for, or if changes of its mounts are not told by the task's namespace.
#[inline(never)]
pub(crate) fn keep(file: u64, whose: u32, before: &Standing, seen: &[u64; 2]) -> i32 {
    // Nothing is told as repeated before the observer can be told by its memory.
    let is_told = setting(setting::SELF) == 0 || own_memory() != 0;
    if is_told
        && are_of_the_namespace(file)
        && let Some(again) = Repeat::of(file, typed_task(), whose)
        && again.stands(before)
    {
        again.keep(seen, before.bits & again::LAYERS);
    }
    0
}

/// Whether the mounts of a file and of the acting executable are in the task's own namespace.
#[inline(always)]
fn are_of_the_namespace(file: u64) -> bool {
    let task = current_task();
    let namespace = pointer(pointer(task, field::TASK_NSPROXY), field::NSPROXY_MNT);
    let of = |at: Location| {
        let mount = at.mnt.wrapping_sub(offset(field::MOUNT_MNT));
        pointer(mount, field::MOUNT_NS)
    };
    namespace != 0 && of(file_path(file)) == namespace && of(executable(task)) == namespace
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
fn directory(dentry: Typed) -> Typed {
    load(
        load::<Typed>(dentry, field::DENTRY_PARENT),
        field::DENTRY_INODE,
    )
}

/// Notes what tells a dentry; false: its file system compares names in a way of its own, so that two names may be
/// one and have one hash.
#[inline(always)]
fn identify(dentry: Typed, identity: &mut Identity) -> bool {
    let directory = directory(dentry);
    *identity = Identity {
        name: u64::from(load::<u32>(dentry, field::DENTRY_HASH)),
        ino: load(directory, field::INODE_INO),
    };
    load::<u32>(dentry, field::DENTRY_FLAGS) & DCACHE_OP_HASH == 0
}

/// Without a branch where none is needed: each costs more than what it could save.
#[inline(always)]
fn is(dentry: Typed, identity: &Identity) -> bool {
    let directory = directory(dentry);
    let difference = identity.name ^ u64::from(load::<u32>(dentry, field::DENTRY_HASH))
        | identity.ino ^ load::<u64>(directory, field::INODE_INO);
    difference == 0
}

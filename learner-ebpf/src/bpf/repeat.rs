//! An open that is repeated, told by the objects that it goes through, so that no path is walked.
//!
//! The path of a dentry on a mount stays what it was while nothing is renamed (`rename_lock`) and
//! nothing mounted or unmounted (`mount_lock`), and the kernel counts both. A dentry may go and its
//! memory be used for another one; then its name or its directory is another. A directory has one
//! path on a mount, and is told by its file system, inode number and generation; removals of
//! directories are counted too, since not every file system has generations.
//!
//! Fields of what the hook is given are read directly, as the kernel's types allow: that costs one
//! instruction where a helper costs sixty.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
};
use learner_ebpf::{Again, AgainKey, Allowed, Both, Identity, access, again, field};

use super::atomic::increment;
use super::hooks::S_IFMT;
use super::maps::{AGAIN, ALLOWED, REMOVALS, SEQUENCE, offset, sequence};
use super::read::read;
use super::record::{BPF_NOEXIST, OVERLAYFS_SUPER_MAGIC};

/// What every kernel keeps of a name in the dentry itself, bytes with the NUL.
const SHORT: u32 = 32;

/// A pointer whose type the verifier knows.
pub(crate) type Typed = *const u8;

/// A field of what `base` points at.
#[inline(always)]
pub(crate) fn load<T: Copy>(base: Typed, field: usize) -> T {
    at(base, offset(field))
}

#[inline(always)]
fn at<T: Copy>(base: Typed, offset: u64) -> T {
    // SAFETY: the verifier checks that there is a field of this size, and a fault reads 0.
    unsafe { core::ptr::read_volatile(base.wrapping_add(offset as usize).cast()) }
}

#[derive(Clone, Copy)]
struct Place {
    dentry: Typed,
    mnt: Typed,
}

#[inline(always)]
fn place(file: Typed) -> Place {
    Place {
        dentry: at(file, offset(field::FILE_PATH) + offset(field::PATH_DENTRY)),
        mnt: at(file, offset(field::FILE_PATH) + offset(field::PATH_MNT)),
    }
}

#[inline(always)]
fn executable() -> Place {
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task_btf() } as Typed;
    place(load(load(task, field::TASK_MM), field::MM_EXE_FILE))
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

/// What tells this open; None: its path has to be walked.
#[inline(always)]
pub(crate) fn key(file: u64, scope: u32) -> Option<AgainKey> {
    let sequences = sequences()?;
    let removals = REMOVALS.get(0).copied().unwrap_or(0);
    if removals == 0 {
        // Nobody counts them.
        return None;
    }
    let file = file as Typed;
    let (of, exe) = (place(file), executable());
    let inode: Typed = load(file, field::FILE_INODE);
    // What overlayfs opens for itself.
    if inode != load::<Typed>(of.dentry, field::DENTRY_INODE) {
        return None;
    }
    // SAFETY: the helper has no preconditions.
    let (task, uid) = unsafe {
        (
            bpf_get_current_task_btf() as Typed,
            bpf_get_current_uid_gid() as u32,
        )
    };
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
    Some(AgainKey {
        dentry: of.dentry as u64,
        mnt: of.mnt as u64,
        exe: exe.dentry as u64,
        exe_mnt: exe.mnt as u64,
        sequences,
        removals,
        whose: u64::from(scope) << 32 | u64::from(uid),
        bits,
    })
}

/// Counts an open that was seen before; false: its path has to be walked.
#[inline(always)]
pub(crate) fn count(file: u64, key: &AgainKey) -> bool {
    let Some(known) = AGAIN.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: a map value; who and where does not change once it is in the map.
    let known_again = unsafe { &*known };
    if !are(file, &known_again.of) {
        return false;
    }
    // SAFETY: the count is changed atomically, and of concurrent stores to `last` any may win.
    unsafe {
        increment(&raw mut (*known).count);
        core::ptr::write_volatile(&raw mut (*known).last, bpf_ktime_get_boot_ns());
    }
    true
}

/// From now on this open is counted without a walk, under `seen`.
#[inline(never)]
pub(crate) fn keep(file: u64, key: &AgainKey, seen: &[u64; 2]) -> i32 {
    // Named or mounted otherwise since the path was walked: what was found may be either.
    if sequences() != Some(key.sequences) {
        return 0;
    }
    let mut value = Again {
        seen: *seen,
        count: 0,
        last: 0,
        of: Both::default(),
    };
    if !identify_both(file, &mut value.of) {
        return 0;
    }
    if let Some(now) = SEQUENCE.get_ptr_mut(0) {
        // SAFETY: a map value; any of concurrent stores may win.
        unsafe { core::ptr::write_volatile(now, key.sequences) };
    }
    // If there is no room, or another CPU was first, nothing is lost.
    let _ = AGAIN.insert(key, &value, BPF_NOEXIST);
    0
}

/// Whether the policy has let this open be before.
#[inline(always)]
pub(crate) fn was_allowed(file: u64, key: &AgainKey) -> bool {
    let Some(known) = ALLOWED.get_ptr(key) else {
        return false;
    };
    // SAFETY: a map value, which may be written meanwhile, from its beginning on: read from its end.
    unsafe {
        are(file, &(*known).of)
            && core::ptr::read_volatile(&raw const (*known).bits) == key.bits
            && core::ptr::read_volatile(&raw const (*known).whose) == key.whose
    }
}

/// From now on this open is let be without a walk, as long as the policy holds.
#[inline(never)]
pub(crate) fn allow(file: u64, key: &AgainKey) -> i32 {
    // As in `keep`.
    if sequences() != Some(key.sequences) {
        return 0;
    }
    let mut value = Allowed {
        whose: key.whose,
        bits: key.bits,
        of: Both::default(),
    };
    if identify_both(file, &mut value.of) {
        let _ = ALLOWED.insert(key, &value, 0);
    }
    0
}

#[inline(always)]
fn are(file: u64, both: &Both) -> bool {
    is(place(file as Typed).dentry, &both.file) && is(executable().dentry, &both.exe)
}

#[inline(always)]
fn identify_both(file: u64, both: &mut Both) -> bool {
    identify(place(file as Typed).dentry, &mut both.file)
        && identify(executable().dentry, &mut both.exe)
}

#[inline(always)]
fn directory(dentry: Typed) -> Typed {
    load(
        load::<Typed>(dentry, field::DENTRY_PARENT),
        field::DENTRY_INODE,
    )
}

#[inline(always)]
fn word(dentry: Typed, index: u64) -> u64 {
    at(dentry, offset(field::DENTRY_SHORT) + index * 8)
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
    identity.sb = load::<Typed>(directory, field::INODE_SB) as u64;
    (name as u32) < SHORT && offset(field::DENTRY_SHORT) != 0
}

#[inline(always)]
fn is(dentry: Typed, identity: &Identity) -> bool {
    let directory = directory(dentry);
    identity.name == name(dentry)
        && identity.text[0] == word(dentry, 0)
        && identity.text[1] == word(dentry, 1)
        && identity.text[2] == word(dentry, 2)
        && identity.text[3] == word(dentry, 3)
        && identity.ino == load(directory, field::INODE_INO)
        && identity.generation == u64::from(load::<u32>(directory, field::INODE_GENERATION))
        && identity.sb == load::<Typed>(directory, field::INODE_SB) as u64
}

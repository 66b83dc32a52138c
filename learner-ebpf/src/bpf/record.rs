//! A record: begun for an operation, filled segment by segment, emitted once per behaviour.

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user_str, bpf_ringbuf_output,
};
use learner_ebpf::{HASHED_FROM, Header, PATH_MAX, Seen, field, flag, lost, segment};

use super::atomic::{increment, swap};
use super::maps::{DATA_LIMIT, EVENTS, Image, SCRATCH, SEEN, SLOTS, Scratch, set_clock, sip_key};
use super::newcomer;
use super::read::{Location, current_task, executable, pointer, value};
use super::scope::lose;
use super::sip::{self, round, word};
use super::walk::{end, position, set_position, walk};

pub(crate) const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
pub(crate) const BPF_NOEXIST: u64 = 1;

/// A scratch slot that is held until [`Record::release`].
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub scratch: *mut Scratch,
    pub scope: u32,
}

impl Record {
    /// Takes a free slot; counts the event as lost if there is none.
    #[inline(always)]
    pub(crate) fn begin(scope: u32, op: u32) -> Option<Self> {
        let record = Self::take(scope, op);
        if record.is_none() {
            lose(scope, lost::SCRATCH_BUSY);
        }
        record
    }

    /// Takes a free slot.
    #[inline(always)]
    pub(crate) fn take(scope: u32, op: u32) -> Option<Self> {
        for slot in 0..SLOTS {
            let Some(scratch) = SCRATCH.get_ptr_mut(slot) else {
                break;
            };
            // SAFETY: `busy` is an aligned u64 in a map value that lives as long as the program.
            let busy = unsafe { swap(&raw mut (*scratch).busy, 1) };
            if busy == 0 {
                let record = Self { scratch, scope };
                record.start(op);
                return Some(record);
            }
        }
        None
    }

    #[inline(always)]
    fn start(self, op: u32) {
        set_position(self.scratch, 0);
        let head = self.head();
        // SAFETY: the helpers have no preconditions.
        let (at, pid, uid) = unsafe {
            (
                bpf_ktime_get_boot_ns(),
                bpf_get_current_pid_tgid() >> 32,
                bpf_get_current_uid_gid(),
            )
        };
        set_clock(at);
        *head = Header {
            key: [0; 2],
            at,
            pid: pid as u32,
            root_mnt: 0,
            scope: self.scope,
            op,
            access: 0,
            uid: uid as u32,
            flags: 0,
            errno: 0,
            mnt_ns: 0,
            len: [0; segment::COUNT],
        };
        let tty = pointer(
            pointer(current_task(), field::TASK_SIGNAL),
            field::SIGNAL_TTY,
        );
        if tty != 0 {
            head.flags |= flag::TTY;
        }
        if newcomer::is_in_scope() {
            head.flags |= flag::NEWCOMER;
        }
    }

    #[inline(always)]
    pub(crate) fn head(self) -> &'static mut Header {
        // SAFETY: the slot is held by this record alone, and map memory outlives the program.
        unsafe { &mut (*self.scratch).head }
    }

    #[inline(always)]
    pub(crate) fn release(self) {
        // SAFETY: as in `begin`.
        unsafe { core::ptr::write_volatile(&raw mut (*self.scratch).busy, 0) };
    }

    /// Appends a resolved path as the given segment. False: the event is lost and counted.
    #[inline(always)]
    pub(crate) fn path(self, seg: usize, at: Location) -> bool {
        let start = position(self.scratch);
        let kind = match walk(self.scratch, at) {
            end::WHOLE => {
                self.head().len[seg] = position(self.scratch).wrapping_sub(start) as u16;
                return true;
            }
            end::NO_PATH => {
                self.head().flags |= flag::NO_PATH;
                self.head().len[seg] = position(self.scratch).wrapping_sub(start) as u16;
                return true;
            }
            end::TOO_DEEP => lost::PATH_TOO_DEEP,
            end::TOO_LONG => lost::PATH_TOO_LONG,
            _ => lost::UNREADABLE,
        };
        lose(self.scope, kind);
        false
    }

    /// Appends the executable of a task as the source. A source that cannot be told is empty.
    #[inline(always)]
    pub(crate) fn source(self, task: u64) {
        self.executable(segment::SOURCE, task);
    }

    /// Appends the executable of a task as the given segment, empty if it cannot be told.
    #[inline(always)]
    pub(crate) fn executable(self, seg: usize, task: u64) {
        let start = position(self.scratch);
        let exe = executable(task);
        if exe.dentry != 0 && walk(self.scratch, exe) == end::WHOLE {
            self.head().len[seg] = position(self.scratch).wrapping_sub(start) as u16;
        } else {
            set_position(self.scratch, start);
        }
    }

    /// Appends a string from user memory. False: the event is lost and counted.
    #[inline(always)]
    pub(crate) fn user_string(self, seg: usize, address: u64) -> bool {
        self.string(seg, address, true)
    }

    /// Appends a string from kernel memory. False: the event is lost and counted.
    #[inline(always)]
    pub(crate) fn kernel_string(self, seg: usize, address: u64) -> bool {
        self.string(seg, address, false)
    }

    #[inline(always)]
    fn string(self, seg: usize, address: u64, user: bool) -> bool {
        let pos = position(self.scratch);
        if pos >= DATA_LIMIT as u64 {
            lose(self.scope, lost::PATH_TOO_LONG);
            return false;
        }
        let most = PATH_MAX as u32 + 1;
        // SAFETY: `pos` < DATA_LIMIT, and DATA_SLACK > PATH_MAX + 1 bytes lie behind.
        let written = unsafe {
            let to = (*self.scratch).data.as_mut_ptr().add(pos as usize).cast();
            if user {
                bpf_probe_read_user_str(to, most, address as *const _)
            } else {
                bpf_probe_read_kernel_str(to, most, address as *const _)
            }
        };
        if written <= 0 {
            lose(self.scope, lost::UNREADABLE);
            return false;
        }
        let written = written as u64;
        set_position(self.scratch, pos.wrapping_add(written));
        self.head().len[seg] = written as u16;
        true
    }

    /// Appends a kept image path.
    #[inline(always)]
    pub(crate) fn image(self, seg: usize, image: *const Image) {
        let pos = position(self.scratch);
        if pos >= DATA_LIMIT as u64 {
            return;
        }
        // SAFETY: `image` is a map value; the copy is bounded by both buffers.
        let (done, len) = unsafe {
            let len = (*image).len & 0xfff;
            let to = (*self.scratch).data.as_mut_ptr().add(pos as usize).cast();
            (
                bpf_probe_read_kernel(to, len as u32, (&raw const (*image).path).cast()),
                len,
            )
        };
        if done == 0 {
            set_position(self.scratch, pos.wrapping_add(len));
            self.head().len[seg] = len as u16;
        }
    }

    /// Notes whether the acting user owns the inode.
    #[inline(always)]
    pub(crate) fn owner(self, inode: u64) {
        if inode != 0 {
            let head = self.head();
            head.flags |= flag::OWNER_KNOWN;
            if value::<u32>(inode, field::INODE_UID) == head.uid {
                head.flags |= flag::OWNER;
            }
        }
    }

    /// Notes whether a file on overlayfs is in the upper layer, where the offsets are known.
    #[inline(always)]
    pub(crate) fn upper(self, dentry: u64, inode: u64) {
        let to_upper = super::maps::offset(field::OVL_UPPER);
        if to_upper == 0 || inode == 0 {
            return;
        }
        let magic: u64 = value(pointer(dentry, field::DENTRY_SB), field::SB_MAGIC);
        if magic != OVERLAYFS_SUPER_MAGIC {
            return;
        }
        let ovl_inode = inode.wrapping_sub(super::maps::offset(field::OVL_VFS_INODE));
        self.head().flags |= flag::UPPER_KNOWN;
        if pointer(ovl_inode, field::OVL_UPPER) != 0 {
            self.head().flags |= flag::UPPER;
        }
    }

    /// Counts the behaviour, and reports it if it is new. Releases the slot. Gives the key under which
    /// the kernel counts it from now on.
    ///
    /// Each call is accounted for exactly once: in the count of `SEEN`, or by an event whose key is
    /// not in `SEEN`, or in `LOST`.
    #[inline(always)]
    pub(crate) fn emit(self, deduplicate: bool) -> Option<[u64; 2]> {
        let counted = self.deliver(deduplicate);
        let key = self.head().key;
        self.release();
        counted.then_some(key)
    }

    /// True: the kernel counts it under the key of its head.
    #[inline(always)]
    fn deliver(self, deduplicate: bool) -> bool {
        if deduplicate {
            self.mark() && self.tell()
        } else {
            self.send(false)
        }
    }

    /// Counts the behaviour of a record whose head has its key, and reports it if it is new. True: the
    /// kernel counts it from now on.
    #[inline(always)]
    pub(crate) fn tell(self) -> bool {
        self.is_known() || self.send(true)
    }

    /// Gives the head its key. False: the event is lost and counted.
    #[inline(always)]
    pub(crate) fn mark(self) -> bool {
        let used = position(self.scratch);
        if used > (DATA_LIMIT + PATH_MAX) as u64 {
            lose(self.scope, lost::PATH_TOO_LONG);
            return false;
        }
        self.head().key = hash(self.scratch, used);
        true
    }

    /// Counts a behaviour that was sent already. False: it was not.
    #[inline(always)]
    pub(crate) fn is_known(self) -> bool {
        let head = self.head();
        let key = head.key;
        let Some(seen) = SEEN.get_ptr_mut(key) else {
            return false;
        };
        count(seen, head.at);
        true
    }

    /// Sends the record, and marks it as seen if `deduplicate`: then true, if it could be.
    #[inline(always)]
    pub(crate) fn send(self, deduplicate: bool) -> bool {
        let head = self.head();
        // SAFETY: head and data are adjacent in the slot; `used` is bounded above.
        let sent = unsafe {
            bpf_ringbuf_output(
                (&raw const EVENTS).cast_mut().cast(),
                (&raw mut (*self.scratch).head).cast(),
                size_of::<Header>() as u64 + bounded(position(self.scratch)),
                0,
            )
        };
        if sent != 0 {
            lose(self.scope, lost::RING_FULL);
            return false;
        }
        if !deduplicate {
            return false;
        }
        // Marked as seen only once its event is on its way: if there was no room, the next
        // occurrence tries again. If the map is full the event stands for itself, and so does the
        // next one. A twin on another CPU may have sent the same event; user space folds by key.
        let first = Seen {
            count: 1,
            first: head.at,
            last: head.at,
        };
        let key = head.key;
        if SEEN.insert(key, first, BPF_NOEXIST).is_err() {
            let Some(seen) = SEEN.get_ptr_mut(key) else {
                return false;
            };
            count(seen, head.at);
        }
        true
    }
}

/// A length that the verifier can see to lie within the slot. It was checked before.
#[inline(always)]
fn bounded(used: u64) -> u64 {
    if used > (DATA_LIMIT + PATH_MAX) as u64 {
        0
    } else {
        used
    }
}

#[inline(always)]
fn count(seen: *mut Seen, at: u64) {
    // SAFETY: a map value; the count is changed atomically, and of concurrent stores to `last`
    // any may win.
    unsafe {
        increment(&raw mut (*seen).count);
        core::ptr::write_volatile(&raw mut (*seen).last, at);
    }
}

/// SipHash-1-3 with 128 bits of output over the hashed part of the head and `used` bytes of data.
///
/// The bytes up to the next word are zeroed first; the lengths in the head keep that unambiguous.
/// In two parts, with the state in memory between them, so that the verifier need not follow the
/// second for every length of the first.
#[inline(always)]
fn hash(scratch: *mut Scratch, used: u64) -> [u64; 2] {
    hash_absorb(scratch, used);
    // SAFETY: the slot is held.
    sip::end(unsafe { core::ptr::read_volatile(&raw const (*scratch).sip) })
}

/// Known by its name in the object: see `walk_steps`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn hash_absorb(scratch: *mut Scratch, used: u64) -> u64 {
    if scratch.is_null() || used > (DATA_LIMIT + PATH_MAX) as u64 {
        return 0;
    }
    // SAFETY: `used` + 8 is within `data`: DATA_SLACK > PATH_MAX + 8 bytes lie behind the limit.
    unsafe {
        core::ptr::write_unaligned(
            (*scratch)
                .data
                .as_mut_ptr()
                .add(used as usize)
                .cast::<u64>(),
            0,
        );
    }
    let mut v = sip::begin(sip_key());
    v[1] ^= 0xee;
    // SAFETY: the head is 8-aligned and its hashed part a multiple of 8 bytes.
    let head = unsafe {
        (&raw const (*scratch).head)
            .cast::<u8>()
            .add(HASHED_FROM)
            .cast::<u64>()
    };
    for i in 0..(size_of::<Header>() - HASHED_FROM) / 8 {
        // SAFETY: inside the head.
        word!(v, unsafe { core::ptr::read(head.add(i)) });
    }
    for i in 0..((DATA_LIMIT + PATH_MAX) / 8 + 1) {
        if i as u64 * 8 >= used {
            break;
        }
        // SAFETY: inside `data`, which is 8-aligned behind the head.
        word!(v, unsafe {
            core::ptr::read((*scratch).data.as_ptr().cast::<u64>().add(i))
        });
    }
    // SAFETY: the slot is held.
    unsafe { core::ptr::write_volatile(&raw mut (*scratch).sip, v) };
    0
}

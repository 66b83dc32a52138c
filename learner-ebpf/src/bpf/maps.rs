//! Maps and globals that the programs share with user space.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use learner_ebpf::enforce::{Edge, EdgeKey, LONG_WORDS, Policy, SHORT_WORDS, kept};
use learner_ebpf::{
    AGAIN_SET, AGAIN_SETS, Again, COMPAT_FROM, Header, SYSCALL_MAX, Seen, doer, field, scoping,
    setting, stage,
};

use super::case::Case;

/// Bytes that segments may begin at; one more path fits behind. Three paths of the greatest length
/// and a string fit, which is what the longest common record needs.
pub(crate) const DATA_LIMIT: usize = 3 * 4096;
/// Room behind [`DATA_LIMIT`] for the longest single write.
pub(crate) const DATA_SLACK: usize = 4352;

/// A record under construction. Per CPU there are several, since a program may be preempted by
/// another one on kernels with full preemption.
#[repr(C)]
pub(crate) struct Scratch {
    pub busy: u64,
    /// Bytes of `data` in use. Read and written through memory so that the verifier sees one state
    /// for every turn of a loop.
    pub pos: u64,
    /// State of the hash between its parts, in memory for the same reason.
    pub sip: [u64; 4],
    pub head: Header,
    pub data: [u8; DATA_LIMIT + DATA_SLACK],
}

/// An image's path, kept from the call of execve until it is replaced.
#[repr(C)]
pub(crate) struct Image {
    pub path: [u8; 4352],
    pub len: u64,
}

/// A system call between entry and exit.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub entry: u32,
    pub scope: u32,
    /// Bits of the stages that are still to come on return.
    pub stages: u32,
    /// What the call returned.
    pub result: i64,
    pub args: [u64; 5],
}

/// What a task was asked about, and has not done yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Awaited {
    /// The `struct dentry` that it is done to; of two the first. 0 for an exec.
    pub subject: u64,
    /// One of `op`.
    pub op: u32,
    pub scope: u32,
    /// Records in `PENDING`.
    pub records: u32,
    pub pid: u32,
}

/// Most records that wait for one result: a script and five interpreters. What comes beyond is taken as
/// done.
pub(crate) const PENDING_MAX: u32 = 6;

pub(crate) const SLOTS: u32 = 4;

/// A power of two.
pub(crate) const GROUPS_KEPT: u32 = 1024;

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);
#[map]
pub(crate) static SEEN: HashMap<[u64; 2], Seen> = HashMap::with_max_entries(131_072, 0);
#[map]
pub(crate) static LOST: HashMap<u64, u64> = HashMap::with_max_entries(65_536, 0);
/// cgroup v2 id → scope.
#[map]
pub(crate) static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(4096, 0);
/// (pid namespace << 32 | mount namespace) → scope.
#[map]
pub(crate) static NAMESPACES: HashMap<u64, u32> = HashMap::with_max_entries(4096, 0);
/// See [`learner_ebpf::scoping`].
#[map]
pub(crate) static SCOPING: Array<u32> = Array::with_max_entries(scoping::COUNT, 0);
#[map]
pub(crate) static SYSCALLS: Array<u32> = Array::with_max_entries(COMPAT_FROM + SYSCALL_MAX, 0);
/// By address of the task, which an exec does not change and the thread id it may.
#[map]
pub(crate) static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(16_384, 0);
/// How many entries `CALLS` has, at least: most system calls return when there is none.
#[map]
pub(crate) static IN_FLIGHT: Array<u64> = Array::with_max_entries(1, 0);
/// What is not done yet, by address of the task.
#[map]
pub(crate) static AWAITED: HashMap<u64, Awaited> = HashMap::with_max_entries(4096, 0);
/// The records of it, by address of the task plus the number of the record.
#[map]
pub(crate) static PENDING: HashMap<u64, Scratch> = HashMap::with_max_entries(512, 0);
/// The programs that a system call's return goes through, one after the other.
#[map]
pub(crate) static STAGES: ProgramArray = ProgramArray::with_max_entries(stage::COUNT, 0);
/// By address of the task.
#[map]
pub(crate) static IMAGES: HashMap<u64, Image> = HashMap::with_max_entries(1024, 0);
/// Opens that are known by the objects that they go through: seen before, or let be by a policy before.
#[map]
pub(crate) static AGAIN: Array<[Again; AGAIN_SET as usize]> =
    Array::with_max_entries(AGAIN_SETS, 0);
/// Processes that came into their cgroup from outside and have executed nothing since: the level of the
/// deepest cgroup that they were in all the time, and the address of their memory when they came.
#[map]
pub(crate) static NEWCOMERS: LruHashMap<[u64; 2], [u64; 2]> =
    LruHashMap::with_max_entries(16_384, 0);
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);

/// An entry that is replaced or removed is freed only when no program can hold it any more, which
/// the kernel does not promise of preallocated entries.
const NO_PREALLOC: u32 = 1;

/// Policies by cgroup v2 id.
#[map]
pub(crate) static POLICIES: HashMap<u64, Policy> = HashMap::with_max_entries(4096, NO_PREALLOC);
/// Their rules.
#[map]
pub(crate) static EDGES: HashMap<EdgeKey<SHORT_WORDS>, Edge> =
    HashMap::with_max_entries(262_144, NO_PREALLOC);
/// Those for long names.
#[map]
pub(crate) static LONG_EDGES: HashMap<EdgeKey<LONG_WORDS>, Edge> =
    HashMap::with_max_entries(65_536, NO_PREALLOC);
/// See [`learner_ebpf::enforce::kept`].
#[map]
pub(crate) static KEPT: Array<u64> = Array::with_max_entries(kept::COUNT, 0);
#[map]
pub(crate) static CASES: PerCpuArray<Case> = PerCpuArray::with_max_entries(SLOTS, 0);

#[unsafe(no_mangle)]
static OFFSETS: [u32; field::COUNT] = [0; field::COUNT];
#[unsafe(no_mangle)]
static SIP_KEY: [u64; 2] = [0; 2];

#[unsafe(no_mangle)]
static SETTINGS: [u32; setting::COUNT] = [0; setting::COUNT];

#[inline(always)]
pub(crate) fn setting(index: usize) -> u32 {
    // SAFETY: `index` is one of the constants of `setting`, all below COUNT.
    unsafe { core::ptr::read_volatile(SETTINGS.as_ptr().add(index)) }
}

/// See [`learner_ebpf::doer`].
#[unsafe(no_mangle)]
static DOERS: [u32; doer::COUNT] = [0; doer::COUNT];

#[inline(always)]
pub(crate) fn doer(index: usize) -> u32 {
    // SAFETY: `index` is one of the constants of `doer`, all below COUNT.
    unsafe { core::ptr::read_volatile(DOERS.as_ptr().add(index)) }
}

/// A field's offset. The map behind it is frozen, so the verifier folds it to a constant.
#[inline(always)]
pub(crate) fn offset(field: usize) -> u64 {
    // SAFETY: `field` is one of the constants of `field`, all below COUNT.
    u64::from(unsafe { core::ptr::read_volatile(OFFSETS.as_ptr().add(field)) })
}

// Each in a section of its own, which makes it a map of its own: those that user space knows are in
// `learner_ebpf::cell`.

#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.epoch")]
static mut EPOCH: u64 = 0;

#[inline(always)]
pub(crate) fn epoch() -> u64 {
    // SAFETY: map memory that user space writes.
    unsafe { core::ptr::read_volatile(&raw const EPOCH) }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.changes")]
pub(crate) static mut CHANGES: u64 = 0;

/// Programs that were executed, where [`CHANGES`] are counted.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.execs")]
pub(crate) static mut EXECS: u64 = 0;

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.own")]
static mut OWN: u64 = 0;

/// `struct mm_struct` of the observer, once it has started a thread; 0 until then. It stays as long as the observer.
#[inline(always)]
pub(crate) fn own_memory() -> u64 {
    // SAFETY: map memory that is written whole.
    unsafe { core::ptr::read_volatile(&raw const OWN) }
}

#[inline(always)]
pub(crate) fn set_own_memory(memory: u64) {
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(&raw mut OWN, memory) }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.now")]
static mut NOW: u64 = 0;

/// See [`learner_ebpf::cell::NOW`].
#[inline(always)]
pub(crate) fn clock() -> u64 {
    // SAFETY: map memory that is written whole.
    unsafe { core::ptr::read_volatile(&raw const NOW) }
}

#[inline(always)]
pub(crate) fn set_clock(at: u64) {
    // SAFETY: as above; of concurrent stores any may win.
    unsafe { core::ptr::write_volatile(&raw mut NOW, at) }
}

/// How many entries `AWAITED` has, at least.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.awaiting")]
pub(crate) static mut AWAITING: u64 = 0;

/// What was found for cgroups: see `group`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.groups")]
pub(crate) static mut GROUPS: [[u64; 2]; GROUPS_KEPT as usize] = [[0; 2]; GROUPS_KEPT as usize];

/// Where the kernel counts renames, and mounts; 0: not known.
#[unsafe(no_mangle)]
static SEQUENCES: [u64; 2] = [0; 2];

#[inline(always)]
pub(crate) fn sequence(index: usize) -> u64 {
    // SAFETY: `index` is 0 or 1.
    unsafe { core::ptr::read_volatile(SEQUENCES.as_ptr().add(index)) }
}

#[inline(always)]
pub(crate) fn sip_key() -> (u64, u64) {
    // SAFETY: both are inside the static.
    unsafe {
        (
            core::ptr::read_volatile(SIP_KEY.as_ptr()),
            core::ptr::read_volatile(SIP_KEY.as_ptr().add(1)),
        )
    }
}

//! What the enforcing programs report: a record like the observer's, from the trails that were
//! judged. Each behaviour is sent once and counted, as there.

use learner_ebpf::{HASHED_FROM, Header, PATH_MAX, flag, lost, segment};

use super::case::{Case, Trail, get, repeat};
use super::maps::{DATA_LIMIT, Scratch, sip_key};
use super::record::Record;
use super::scope::lose;
use super::sip::{self, round, word};
use super::trace::{spell, trace_executable};
use super::walk::{end, position};

const EACCES: u32 = 13;

/// Reports a case. Where a path could not be told, that is counted already.
#[inline(never)]
pub(crate) fn report(case: *mut Case, denied: u64) -> u64 {
    let Some(record) = Record::begin(get!(case, policy.scope), get!(case, op) as u32) else {
        return 0;
    };
    let head = record.head();
    head.flags |= flag::ALERT;
    if get!(case, is_directory) != 0 {
        head.flags |= flag::DIRECTORY;
    }
    if denied != 0 {
        head.errno = EACCES;
    }
    head.access = get!(case, access) as u32;
    record.owner(get!(case, path.owned));
    // SAFETY: fields of a map value that the caller holds.
    let (path, to, source) = unsafe {
        (
            &raw const (*case).path,
            &raw const (*case).to,
            &raw mut (*case).source,
        )
    };
    let mut whole = append(record, segment::PATH, path);
    if whole && get!(case, is_pair) != 0 {
        whole = append(record, segment::TO, to);
    }
    let told = match get!(case, policy.sources) {
        // Who acts made no difference, and was not asked.
        0 => trace_executable(source, get!(case, task)),
        _ => get!(case, source.end),
    };
    if whole && told == end::WHOLE {
        whole = append(record, segment::SOURCE, source);
    }
    if whole {
        record.head().key = digest(record.scratch);
        if !record.is_known() {
            record.send(true);
        }
    }
    record.release();
    0
}

#[inline(always)]
fn append(record: Record, seg: usize, trail: *const Trail) -> bool {
    match get!(trail, end) {
        end::WHOLE => {}
        end::NO_PATH => record.head().flags |= flag::NO_PATH,
        _ => return false,
    }
    let written = spell(trail, record.scratch);
    if written == 0 && get!(trail, count) != 0 {
        lose(record.scope, lost::PATH_TOO_LONG);
        return false;
    }
    record.head().len[seg] = written as u16;
    true
}

/// What [`hash`](super::record) makes of head and segments, by the kernel's own loop.
#[inline(never)]
fn absorb(scratch: *mut Scratch) -> u64 {
    let used = position(scratch);
    if used > (DATA_LIMIT + PATH_MAX) as u64 {
        return 0;
    }
    // SAFETY: `used` + 8 is within `data`: DATA_SLACK > PATH_MAX + 8 bytes lie behind the limit.
    unsafe {
        let end = (&raw mut (*scratch).data).cast::<u8>().add(used as usize);
        core::ptr::write_unaligned(end.cast::<u64>(), 0);
    }
    let mut v = sip::begin(sip_key());
    v[1] ^= 0xee;
    // SAFETY: the head is 8-aligned and its hashed part a multiple of 8 bytes.
    unsafe {
        let head = (&raw const (*scratch).head)
            .cast::<u64>()
            .add(HASHED_FROM / 8);
        for i in 0..(size_of::<Header>() - HASHED_FROM) / 8 {
            word!(v, core::ptr::read(head.add(i)));
        }
        core::ptr::write_volatile(&raw mut (*scratch).sip, v);
    }
    let mut state = scratch;
    repeat(used.div_ceil(8) as u32, turn, &raw mut state);
    1
}

unsafe extern "C" fn turn(index: u64, state: *mut *mut Scratch) -> i64 {
    // SAFETY: as `absorb` passes it.
    let scratch = unsafe { *state };
    if index > ((DATA_LIMIT + PATH_MAX) / 8) as u64 {
        return 1;
    }
    // SAFETY: inside `data`, which is 8-aligned behind the head; the slot is held.
    unsafe {
        let mut v = core::ptr::read_volatile(&raw const (*scratch).sip);
        let data = (&raw const (*scratch).data).cast::<u64>();
        word!(v, core::ptr::read(data.add(index as usize)));
        core::ptr::write_volatile(&raw mut (*scratch).sip, v);
    }
    0
}

#[inline(always)]
fn digest(scratch: *mut Scratch) -> [u64; 2] {
    absorb(scratch);
    // SAFETY: the slot is held.
    sip::end(unsafe { core::ptr::read_volatile(&raw const (*scratch).sip) })
}

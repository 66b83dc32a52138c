//! Opens that the kernel counts without walking their paths, as `learner_ebpf::Again` has them.

use std::collections::HashMap as Known;
use std::sync::OnceLock;

use aya::maps::{Array, MapData, MapError};
use aya::programs::links::FdLink;
use aya::{Btf, Ebpf};
use learner_ebpf::again::{VALUE_WORDS, count, is_being_written};
use learner_ebpf::{AGAIN_SET, AGAIN_SETS, cell, field};

use super::attach::{chain, enter, leave, trace};
use super::btf::Offsets;

/// The program that counts renames, and the kernel's function that it is on.
const RENAMED: (&str, &str) = ("renamed", "__d_move");
/// The program that counts removals of directories, and the kernel's function that it is on.
const REMOVED: (&str, &str) = ("removed", "vfs_rmdir");
/// The program that counts what is executed, and the tracepoint that it is on.
const EXECUTED: (&str, &str) = ("executed", "sched_process_exec");

/// A value of the `AGAIN` map.
pub(super) type Set = [u64; VALUE_WORDS * AGAIN_SET as usize];

/// How often, and when last, in `CLOCK_BOOTTIME` nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Repeated {
    pub(super) count: u64,
    pub(super) last: u64,
}

impl Repeated {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.last = self.last.max(other.last);
    }
}

/// What was counted so, by the key of the behaviour.
pub(super) struct Repeats {
    again: Array<MapData, Set>,
    /// Which entries count for a behaviour, as of [`Repeats::gather`].
    entries: Known<[u64; 2], Vec<u32>>,
}

impl Repeats {
    pub(super) fn new(again: Array<MapData, Set>) -> Self {
        Self {
            again,
            entries: Known::new(),
        }
    }

    /// Looks which entries count for which behaviour.
    pub(super) fn gather(&mut self) -> Result<(), MapError> {
        self.entries.clear();
        for index in 0..self.again.len().min(AGAIN_SETS) {
            let set = self.again.get(&index, 0)?;
            for (slot, entry) in (index * AGAIN_SET..).zip(entries(&set)) {
                if let Some((seen, repeated)) = read(entry)
                    && repeated.count > 0
                {
                    self.entries.entry(seen).or_default().push(slot);
                }
            }
        }
        Ok(())
    }

    /// Further opens of a behaviour; None: none were there at the last [`Repeats::gather`].
    pub(super) fn of(&self, seen: [u64; 2]) -> Option<Counting<'_>> {
        let slots = self.entries.get(&seen)?.clone();
        Some(Counting {
            again: &self.again,
            seen,
            slots,
        })
    }

    /// Forgets behaviours that are not watched any more. Their entries make room for others.
    pub(super) fn forget(&mut self, seen: &[[u64; 2]]) {
        for key in seen {
            self.entries.remove(key);
        }
    }
}

/// The entries that count for a behaviour.
pub(super) struct Counting<'a> {
    again: &'a Array<MapData, Set>,
    seen: [u64; 2],
    slots: Vec<u32>,
}

impl Counting<'_> {
    /// Their sum. None: some of them have made room for others, and are left out from now on; what they
    /// counted is in the behaviour's own count.
    pub(super) fn now(&mut self) -> Result<Option<Repeated>, MapError> {
        let mut sum = Repeated::default();
        let mut kept = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let set = self.again.get(&(slot / AGAIN_SET), 0)?;
            let entry = entries(&set).nth((slot % AGAIN_SET) as usize);
            if let Some((seen, repeated)) = entry.and_then(read)
                && seen == self.seen
            {
                sum.add(repeated);
                kept.push(*slot);
            }
        }
        let is_whole = kept.len() == self.slots.len();
        self.slots = kept;
        Ok(is_whole.then_some(sum))
    }
}

fn entries(set: &Set) -> impl Iterator<Item = &[u64]> {
    set.chunks_exact(VALUE_WORDS)
}

/// What an entry counts, and for which behaviour; None: it is being written.
fn read(entry: &[u64]) -> Option<([u64; 2], Repeated)> {
    let [state, last, first, second, ..] = *entry else {
        return None;
    };
    let repeated = Repeated {
        count: count(state),
        last,
    };
    (!is_being_written(state)).then_some(([first, second], repeated))
}

/// Has renames, removals of directories, and execs counted as long as the links live; to be called before anything is
/// watched. Each link comes with its program's name. Linux 5.14.
///
/// # Errors
/// Why not: the path of every open is walked then.
pub(super) fn count_changes(
    ebpf: &mut Ebpf,
    btf: &Btf,
    offsets: &Offsets,
) -> Result<Vec<(&'static str, FdLink)>, String> {
    if offsets[field::MNT_NS_EVENT] == 0 {
        return Err("this kernel does not tell how often mounts have changed".into());
    }
    let (name, on) = EXECUTED;
    let mut links = vec![(name, trace(ebpf, btf, name, on)?)];
    let (name, function) = REMOVED;
    links.push((name, enter(ebpf, btf, name, function)?));
    let (name, function) = RENAMED;
    links.push((name, leave(ebpf, btf, name, function)?));
    let map = ebpf.map_mut(cell::CHANGES);
    let map = map.ok_or_else(|| format!("the kernel object lacks the map {}", cell::CHANGES))?;
    let mut changes: Array<_, u64> = Array::try_from(map).map_err(|e| chain(&e))?;
    changes.set(0, 1, 0).map_err(|e| chain(&e))?;
    Ok(links)
}

/// Addresses of `rename_lock` and `mount_lock`, with which the kernel counts changes of names and
/// mounts; zeros if they are not told (without `CAP_SYSLOG`, or a kernel without
/// `CONFIG_KALLSYMS_ALL`): then the path of every open is walked.
pub(super) fn sequences() -> [u64; 2] {
    static KNOWN: OnceLock<[u64; 2]> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let mut found = [0; 2];
        for line in symbols.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(_), Some(name), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let slot = match name {
                "rename_lock" => 0,
                "mount_lock" => 1,
                _ => continue,
            };
            found[slot] = u64::from_str_radix(address, 16).unwrap_or_default();
        }
        found
    })
}

#[cfg(test)]
mod tests {
    use learner_ebpf::again::ONE;

    use super::*;

    #[test]
    fn an_entry_counts_for_its_behaviour_unless_it_is_written() {
        let mut entry = [0; VALUE_WORDS];
        entry[..4].copy_from_slice(&[7 * ONE + 4, 90, 1, 2]);
        let (seen, repeated) = read(&entry).expect("whole");
        assert_eq!((seen, repeated.count, repeated.last), ([1, 2], 7, 90));
        entry[0] += 1;
        assert!(read(&entry).is_none());
    }
}

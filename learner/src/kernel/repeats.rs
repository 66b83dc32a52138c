//! Opens that the kernel counts without walking their paths, as `learner_ebpf::Again` has them.

use std::collections::HashMap as Known;
use std::sync::OnceLock;

use aya::maps::{Array, HashMap, MapData, MapError};
use learner_ebpf::again::{KEY_WORDS, VALUE_WORDS};

type Key = [u64; KEY_WORDS];
type Value = [u64; VALUE_WORDS];

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
    again: HashMap<MapData, Key, Value>,
    /// How names and mounts stood when an entry was made last, and removals of directories.
    standing: (Array<MapData, u64>, Array<MapData, u64>),
    /// Counts of entries that are gone.
    retired: Known<[u64; 2], Repeated>,
    /// As of [`Repeats::gather`].
    now: Known<[u64; 2], Repeated>,
    entries: Vec<Key>,
    before: Standing,
}

impl Repeats {
    pub(super) fn new(
        again: HashMap<MapData, Key, Value>,
        standing: (Array<MapData, u64>, Array<MapData, u64>),
    ) -> Self {
        Self {
            again,
            standing,
            retired: Known::new(),
            now: Known::new(),
            entries: Vec::new(),
            before: Standing::default(),
        }
    }

    /// Reads the counts, and makes room: an entry that cannot be found any more is removed when it
    /// was so the last time too, so that no program that had found it counts still.
    pub(super) fn gather(&mut self) -> Result<(), MapError> {
        let now = Standing::of(self.standing.0.get(&0, 0)?, self.standing.1.get(&0, 0)?);
        self.entries.clear();
        let mut counted: Known<[u64; 2], Repeated> = Known::new();
        let mut gone = Vec::new();
        for entry in self.again.iter() {
            let (key, value) = entry?;
            let [first, second, count, last, ..] = value;
            let (seen, repeated) = ([first, second], Repeated { count, last });
            let [.., sequences, removals, _, _] = key;
            if Standing::of(sequences, removals).is_before(self.before) {
                self.retired.entry(seen).or_default().add(repeated);
                gone.push(key);
            } else {
                counted.entry(seen).or_default().add(repeated);
                self.entries.push(key);
            }
        }
        for key in gone {
            match self.again.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        for (seen, retired) in &self.retired {
            counted.entry(*seen).or_default().add(*retired);
        }
        self.now = counted;
        self.before = now;
        Ok(())
    }

    /// Further opens of a behaviour, as of the last [`Repeats::gather`].
    pub(super) fn of(&self, seen: [u64; 2]) -> Repeated {
        self.now.get(&seen).copied().unwrap_or_default()
    }

    /// Forgets behaviours of a scope that is not watched any more.
    pub(super) fn forget(&mut self, scope: u32, seen: &[[u64; 2]]) {
        for key in seen {
            self.retired.remove(key);
            self.now.remove(key);
        }
        let again = &mut self.again;
        self.entries.retain(|key| {
            let [.., whose, _] = *key;
            let is_of_scope = whose >> 32 == u64::from(scope);
            if is_of_scope {
                // What is not there need not be removed.
                let _ = again.remove(key);
            }
            !is_of_scope
        });
    }
}

/// How often something was renamed, mounted or unmounted, and a directory removed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Standing {
    renames: u32,
    mounts: u32,
    removals: u64,
}

impl Standing {
    fn of(sequences: u64, removals: u64) -> Self {
        Self {
            renames: (sequences >> 32) as u32,
            mounts: sequences as u32,
            removals,
        }
    }

    /// Whether it was so once and is not any more. The counts of the kernel wrap.
    fn is_before(self, other: Self) -> bool {
        let is_less = |one: u32, other: u32| one.wrapping_sub(other) as i32 <= -1;
        is_less(self.renames, other.renames)
            || is_less(self.mounts, other.mounts)
            || self.removals < other.removals
    }
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
    use super::*;

    #[test]
    fn what_stands_before_is_told_also_when_the_count_wraps() {
        let at = |renames, mounts, removals| Standing {
            renames,
            mounts,
            removals,
        };
        let now = at(4, 2, 1);
        assert!(!now.is_before(now));
        assert!(at(2, 2, 1).is_before(now));
        assert!(at(4, 0, 1).is_before(now));
        assert!(at(4, 2, 0).is_before(now));
        assert!(at(u32::MAX - 1, 2, 1).is_before(now));
        assert!(!at(6, 2, 1).is_before(now));
        assert!(
            at(6, 0, 1).is_before(now),
            "an older mount table is no longer found"
        );
    }
}

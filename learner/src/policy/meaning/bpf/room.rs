//! Keys, and the map with the room it has for them.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Bounds;
use super::map::Entry;
use crate::policy::crd::MAX_ENTRIES;
use crate::policy::meaning::budget::{Budget, Dropped};
use crate::policy::meaning::enforcer::Class;
use crate::policy::meaning::judgement::Rule;

/// The bytes of a key, for its path as for its source. What is longer is cut here, and then has no
/// end by which the kernel's strings could equal it.
const KEY_BYTES: usize = 200;

/// A key of the rule map.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) path: Box<[u8]>,
    pub(super) source: Box<[u8]>,
}

impl Key {
    pub(super) fn new(path: &[u8], source: &str, bounds: Bounds) -> Self {
        Self {
            path: bounds.key(path),
            source: bounds.key(source.as_bytes()),
        }
    }
}

impl Bounds {
    /// A key without the zeros that fill it up.
    pub(super) fn key(self, bytes: &[u8]) -> Box<[u8]> {
        if self == Self::Unlimited {
            return bytes.into();
        }
        let bytes = &bytes[..bytes.len().min(KEY_BYTES)];
        let end = bytes.iter().rposition(|byte| *byte != 0);
        bytes[..end.map_or(0, |end| end + 1)].into()
    }
}

/// The map while it is filled.
#[derive(Default)]
pub(super) struct Room {
    pub(super) entries: IndexMap<Key, Entry>,
    pub(super) dropped: IndexMap<Key, Option<Arc<Rule>>>,
    pub(super) unrestricted: Vec<Class>,
    pub(super) bounds: Bounds,
}

impl Room {
    /// A new key is refused by a full map; one that is there is written over.
    pub(super) fn put(&mut self, key: Key, entry: Entry) -> bool {
        let is_full = self.bounds == Bounds::KubeArmor && self.entries.len() >= MAX_ENTRIES;
        if is_full && !self.entries.contains_key(&key) {
            let rule = entry.file_rule.or(entry.process_rule);
            self.dropped.entry(key).or_insert(rule);
            return false;
        }
        self.entries.insert(key, entry);
        true
    }

    pub(super) fn budget(&self) -> Budget {
        let there: HashSet<&Key> = self.entries.keys().collect();
        let dropped: Vec<Dropped> = self
            .dropped
            .iter()
            .filter(|(key, _)| !there.contains(key))
            .map(|(key, rule)| Dropped {
                key: String::from_utf8_lossy(&key.path).into_owned(),
                rule: rule.clone(),
            })
            .collect();
        Budget {
            wanted: self.entries.len() + dropped.len(),
            limit: (self.bounds == Bounds::KubeArmor).then_some(MAX_ENTRIES),
            dropped,
            unrestricted: self.unrestricted.clone(),
        }
    }
}

//! The rule map of one container: keys of path and source, and two masks.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::find::Source;
use super::{Bounds, posture_key};
use crate::policy::meaning::enforcer::Class;
use crate::policy::meaning::judgement::Rule;

/// Masks of one key, with the rules they come from.
#[derive(Clone, Debug, Default)]
pub(in crate::policy::meaning) struct Entry {
    /// For programs; for sockets and capabilities the only one.
    pub(super) process: u16,
    /// For files.
    pub(super) file: u16,
    pub(super) process_rule: Option<Arc<Rule>>,
    pub(super) file_rule: Option<Arc<Rule>>,
}

/// By the bytes of a key, or of a name in it.
type ByKey<T> = HashMap<Box<[u8]>, T, BuildHasherDefault<KeyHasher>>;

/// Entries of one source.
#[derive(Debug)]
pub(in crate::policy::meaning) struct Table {
    /// By path.
    entries: ByKey<Entry>,
    /// Those whose key ends in a slash once more, as a path is walked: name after name. The first one is
    /// where walks start.
    directories: Vec<Directory>,
}

/// What is known of a prefix that ends in a slash.
#[derive(Debug, Default)]
struct Directory {
    /// If the prefix is a key.
    entry: Option<Entry>,
    /// Where in the table the directories below are, by name.
    below: ByKey<usize>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: ByKey::default(),
            directories: vec![Directory::default()],
        }
    }
}

impl Table {
    fn insert(&mut self, key: Box<[u8]>, entry: Entry) {
        if let Some(names) = key.strip_suffix(b"/") {
            let mut at = 0;
            for name in names.split(|byte| *byte == b'/') {
                at = self.below_or_new(at, name);
            }
            self.directories[at].entry = Some(entry.clone());
        }
        self.entries.insert(key, entry);
    }

    fn below_or_new(&mut self, at: usize, name: &[u8]) -> usize {
        if let Some(below) = self.directories[at].below.get(name) {
            return *below;
        }
        let new = self.directories.len();
        self.directories[at].below.insert(name.into(), new);
        self.directories.push(Directory::default());
        new
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(key, entry)| (&**key, entry))
    }

    /// What [`Table::get`] has of each prefix of a path that ends in a slash, from the root on.
    pub(super) fn above<'m>(&'m self, path: &[u8]) -> impl Iterator<Item = Option<&'m Entry>> {
        let mut walked = self.directories.first();
        let mut start = 0;
        memchr::memchr_iter(b'/', path).map(move |slash| {
            let at = walked.and_then(|walked| walked.below.get(&path[start..slash]));
            walked = at.map(|at| &self.directories[*at]);
            start = slash + 1;
            walked?.entry.as_ref()
        })
    }
}

/// All entries of a container.
#[derive(Debug, Default)]
pub(super) struct RuleMap {
    /// Entries without a source.
    pub(super) global: Table,
    /// Entries with one.
    sources: ByKey<Table>,
    /// Which arguments a program may have, by path and source; not limited by the rule map.
    pub(super) arguments: Arguments,
    pub(super) bounds: Bounds,
    /// Without KubeArmor's limits: the posture of each class that has an Allow rule.
    pub(super) postures: [Option<u16>; 4],
    classes: [bool; 4],
    by_class: [Vec<Box<[u8]>>; 4],
}

/// Arguments by the path and the source of their rule.
type Arguments = HashMap<(Box<[u8]>, Box<[u8]>), Vec<Box<[u8]>>>;

impl RuleMap {
    pub(super) fn insert(&mut self, path: Box<[u8]>, source: Box<[u8]>, entry: Entry) {
        if source.is_empty() {
            self.global.insert(path, entry);
        } else {
            self.sources.entry(source).or_default().insert(path, entry);
        }
    }

    /// Remembers that the policies have rules of a class, and for which sources.
    pub(super) fn note(&mut self, class: Class, source: &[u8]) {
        self.classes[class as usize] = true;
        let sources = &mut self.by_class[class as usize];
        if !source.is_empty() && !sources.iter().any(|known| **known == *source) {
            sources.push(source.into());
        }
    }

    pub(super) fn has(&self, class: Class) -> bool {
        self.classes[class as usize]
    }

    pub(super) fn posture(&self, class: Class) -> Option<u16> {
        if self.bounds == Bounds::Unlimited {
            return self.postures[class as usize];
        }
        let key = [posture_key(class)];
        self.global.get(&key[..]).map(|entry| entry.process)
    }

    /// All sources with what is held for them.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&[u8], &Table)> {
        self.sources
            .iter()
            .map(|(source, table)| (&**source, table))
    }

    /// The source with what is held for it.
    pub(super) fn source(&self, path: &[u8]) -> Source<'_> {
        self.sources.get(path).map_or(Source::Other, Source::Named)
    }

    /// The sources that rules of a class name.
    pub(super) fn sources_of(&self, class: Class) -> impl Iterator<Item = &Table> {
        self.by_class[class as usize]
            .iter()
            .filter_map(|source| self.sources.get(source))
    }
}

/// xxh3 of the bytes of a key: paths are short, and looked up several times an operation.
#[derive(Default)]
pub(in crate::policy::meaning) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    /// The length that goes before the bytes tells nothing that they do not.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

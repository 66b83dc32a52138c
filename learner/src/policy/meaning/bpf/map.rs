//! The rule map of one container: keys of path and source, and two masks.

use std::collections::HashMap;
use std::sync::Arc;

use super::find::Source;
use super::{Bounds, posture_key};
use crate::policy::meaning::enforcer::Class;
use crate::policy::meaning::judgement::Rule;
use crate::policy::meaning::names::{ByKey, Directories};

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

/// Entries of one source.
#[derive(Debug, Default)]
pub(in crate::policy::meaning) struct Table {
    /// By path.
    entries: ByKey<Entry>,
    /// Those whose key ends in a slash once more.
    directories: Directories<Entry>,
}

impl Table {
    fn insert(&mut self, key: Box<[u8]>, entry: Entry) {
        if let Some(directory) = key.strip_suffix(b"/") {
            *self.directories.at(directory) = Some(entry.clone());
        }
        self.entries.insert(key, entry);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(key, entry)| (&**key, entry))
    }

    /// What [`Table::get`] has of each prefix of a path that ends in a slash, from the root on. The first one that is
    /// no key, and on the way to none, is the last one.
    pub(super) fn above<'m>(&'m self, path: &[u8]) -> impl Iterator<Item = Option<&'m Entry>> {
        self.directories.above(path).map(|(entry, _)| entry)
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

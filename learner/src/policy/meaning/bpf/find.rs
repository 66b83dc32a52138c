//! Which entry matches a path: path with source, directory with source, path, name of the
//! program, directory (KubeArmor/BPF/shared.h, match_and_enforce_path_hooks; enforcer.bpf.c,
//! enforce_proc; verdicts fromsource-*, execname-*).

use super::map::{Entry, RuleMap, Table};
use super::{Bounds, bit};
use crate::policy::crd::MAX_DIR_BYTES;
use crate::policy::meaning::enforcer::Class;

/// Who acts.
#[derive(Clone, Copy)]
pub(in crate::policy::meaning) enum Source<'m> {
    /// A program that rules name, with its entries.
    Named(&'m Table),
    /// A program that no rule names.
    Other,
    /// A program without a path.
    Nameless,
}

/// The half of an entry that a class reads.
#[derive(Clone, Copy)]
pub(super) struct Half {
    class: Class,
    /// Without this bit the entry is not for the class.
    applies: u16,
}

impl Half {
    pub(super) const PROCESS: Self = Self {
        class: Class::Process,
        applies: bit::EXEC,
    };
    pub(super) const FILE: Self = Self {
        class: Class::File,
        applies: bit::READ,
    };

    pub(super) fn mask(self, entry: &Entry) -> u16 {
        match self.class {
            Class::File => entry.file,
            _ => entry.process,
        }
    }
}

impl RuleMap {
    /// The entry that decides about a path, as [`super::seen::path`] has it. `name` is the last
    /// component, for programs.
    pub(super) fn find<'m>(
        &'m self,
        half: Half,
        path: &[u8],
        name: Option<&[u8]>,
        source: Source<'m>,
    ) -> Option<&'m Entry> {
        if let Source::Named(table) = source
            && let Some(entry) = exact(table, half, path)
                .or_else(|| directory(table, half, path, false, self.bounds))
        {
            return Some(entry);
        }
        exact(&self.global, half, path)
            .or_else(|| exact(&self.global, half, name?))
            .or_else(|| directory(&self.global, half, path, true, self.bounds))
    }
}

fn exact<'m>(table: &'m Table, half: Half, key: &[u8]) -> Option<&'m Entry> {
    table
        .get(key)
        .filter(|entry| half.mask(entry) & half.applies != 0)
}

/// The directory that a path is in, walking from the root: only slashes among the first 64 bytes
/// end a prefix that is looked up (verdicts dir-length-*), and the first prefix that is no key ends
/// the walk. The deepest recursive directory wins; one that is not recursive matches where no
/// prefix was looked up after it, and no recursive one was met (verdicts dir-nested-*).
fn directory<'m>(
    table: &'m Table,
    half: Half,
    path: &[u8],
    global: bool,
    bounds: Bounds,
) -> Option<&'m Entry> {
    let looked_at = match bounds {
        Bounds::KubeArmor => MAX_DIR_BYTES,
        Bounds::Unlimited => usize::MAX,
    };
    let mut recursive = None;
    let mut last = None;
    for entry in table.above(&path[..path.len().min(looked_at)]) {
        last = None;
        let Some(entry) = entry else {
            break;
        };
        let mask = half.mask(entry);
        if mask & bit::DIR != 0 && mask & half.applies != 0 {
            if mask & bit::RECURSIVE == 0 {
                last = Some(entry);
                continue;
            }
            recursive = Some(entry);
            if mask & bit::HINT == 0 {
                break;
            }
        }
        // For programs without a source, a key that is not on the way to another ends the walk.
        if global && half.class == Class::Process && mask & bit::HINT == 0 {
            break;
        }
    }
    recursive.or(last)
}

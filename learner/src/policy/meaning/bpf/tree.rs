//! From the rule map without KubeArmor's limits to the tree that Learner's programs look it up in.

use super::map::{Entry, RuleMap, Table};
use super::{bit, posture_of};
use crate::policy::meaning::enforcer::Class;
use crate::policy::meaning::tree::{Branch, NodeId, Rule, Tree};

/// The same rules as a tree. Nodes are numbered in the order of the names, so that the same rules
/// give the same tree.
pub(super) fn grow(map: &RuleMap) -> Tree {
    let mut growing = Growing {
        tree: Tree {
            process: map.posture(Class::Process).map(posture_of),
            file: map.posture(Class::File).map(posture_of),
            ..Tree::default()
        },
        next: NodeId::FIRST,
    };
    growing.table(NodeId::GLOBAL, &map.global);
    for (name, entry) in sorted(&map.global) {
        if !name.is_empty() && !name.contains(&b'/') {
            let key = (NodeId::NAMES, name.into());
            growing.tree.branches.entry(key).or_default().own = rule(entry);
        }
    }
    let mut sources: Vec<_> = map.sources().collect();
    sources.sort_by_key(|(source, _)| *source);
    for (source, table) in sources {
        // A source that is no path is nobody's.
        if let Some(rest) = source.strip_prefix(b"/") {
            let start = growing.node();
            growing.at(NodeId::SOURCES, rest).source = Some(start);
            growing.table(start, table);
        }
    }
    growing.tree
}

fn sorted(table: &Table) -> Vec<(&[u8], &Entry)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn rule(entry: &Entry) -> Rule {
    Rule {
        process: entry.process,
        file: entry.file,
    }
}

/// A directory that is only on the way to another one says nothing of what is in it.
fn below(entry: &Entry) -> Rule {
    let of = |mask: u16| if mask & bit::DIR != 0 { mask } else { 0 };
    Rule {
        process: of(entry.process),
        file: of(entry.file),
    }
}

struct Growing {
    tree: Tree,
    next: u32,
}

impl Growing {
    fn node(&mut self) -> NodeId {
        let node = NodeId(self.next);
        self.next += 1;
        node
    }

    fn table(&mut self, start: NodeId, table: &Table) {
        for (key, entry) in sorted(table) {
            let Some(rest) = key.strip_prefix(b"/") else {
                continue;
            };
            match (rest.is_empty(), rest.strip_suffix(b"/")) {
                (true, _) => self.at(start, b"").below = below(entry),
                (_, Some(directory)) => self.at(start, directory).below = below(entry),
                (_, None) => self.at(start, rest).own = rule(entry),
            }
        }
    }

    /// The branch of a path without its first slash, made where it is not there yet.
    fn at(&mut self, start: NodeId, path: &[u8]) -> &mut Branch {
        let mut node = start;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        let mut name = names.next().unwrap_or_default();
        while names.peek().is_some() {
            let key = (node, Box::from(name));
            let child = self.tree.branches.get(&key).and_then(|branch| branch.child);
            node = child.unwrap_or_else(|| {
                let made = self.node();
                self.tree.branches.entry(key).or_default().child = Some(made);
                made
            });
            name = names.next().unwrap_or_default();
        }
        self.tree.branches.entry((node, name.into())).or_default()
    }
}

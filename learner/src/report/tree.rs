//! Rules by directory.

use std::collections::BTreeMap;

use super::rule::Rule;

/// A directory with the rules in it and below it.
#[derive(Debug, Default)]
pub(super) struct Tree<'r, 'a> {
    /// By name, each with its slash; chains of single directories are one.
    pub(super) directories: BTreeMap<String, Tree<'r, 'a>>,
    /// By what comes after the directory: the rules for the same, one a program.
    pub(super) rules: BTreeMap<String, Vec<&'r Rule<'a>>>,
}

impl<'r, 'a> Tree<'r, 'a> {
    pub(super) fn of(rules: impl IntoIterator<Item = &'r Rule<'a>>) -> Self {
        let mut root = Self::default();
        for rule in rules {
            let mut place = &mut root;
            let mut parts = rule.shown.split_inclusive('/').peekable();
            while let Some(part) = parts.next() {
                if parts.peek().is_some() {
                    place = place.directories.entry(part.to_owned()).or_default();
                } else {
                    place.rules.entry(part.to_owned()).or_default().push(rule);
                }
            }
        }
        root.joined()
    }

    /// A directory with nothing but one directory in it is joined with that.
    fn joined(self) -> Self {
        let Self { directories, rules } = self;
        let directories = directories.into_iter().map(|(name, below)| {
            let mut below = below.joined();
            if below.rules.is_empty()
                && below.directories.len() == 1
                && let Some((rest, only)) = below.directories.pop_first()
            {
                return (name + &rest, only);
            }
            (name, below)
        });
        Self {
            directories: directories.collect(),
            rules,
        }
    }

    /// The directories that stand at the top: those of `/` one by one, unless it has rules itself.
    pub(super) fn top(&self) -> Vec<(String, &Self)> {
        match self.directories.iter().next() {
            Some((root, below)) if root == "/" && below.rules.is_empty() => {
                let below = below.directories.iter();
                below
                    .map(|(name, tree)| (format!("{root}{name}"), tree))
                    .collect()
            }
            _ => self
                .directories
                .iter()
                .map(|(name, tree)| (name.clone(), tree))
                .collect(),
        }
    }

    /// All rules in it and below it.
    pub(super) fn all(&self) -> Vec<&'r Rule<'a>> {
        let below = self.directories.values().flat_map(Self::all);
        self.rules
            .values()
            .flatten()
            .copied()
            .chain(below)
            .collect()
    }
}

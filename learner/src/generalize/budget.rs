//! A container's rule map has 256 entries. What does not fit is made wider, cheapest loss first.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use super::class;
use super::item::RuleClass;
use super::names::segments;
use super::rule::{Rule, Target};
use super::tier::{self, Tier};
use crate::path::AbsPath;
use crate::policy::crd::MAX_DIR_BYTES;

/// An entry of the rule map: a path as the enforcer looks it up, and the program.
type Key = (Vec<u8>, Option<AbsPath>);

/// Entries that the postures of programs and files take.
pub(super) const POSTURE_ENTRIES: usize = 2;

/// What was given up so that the rules fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase", tag = "step")]
pub enum Loss {
    /// Rules for several programs became rules for all.
    Unscoped {
        /// So many paths.
        paths: usize,
    },
    /// Rules for names of one directory became one for the directory.
    Collapsed {
        /// The directory.
        dir: String,
        /// So many paths.
        paths: usize,
        /// All below it.
        recursive: bool,
    },
}

/// How many entries each rule takes.
#[derive(Debug, Default)]
struct Keys(BTreeMap<Key, usize>);

impl Keys {
    fn add(&mut self, rule: &Rule) {
        for key in keys(rule) {
            *self.0.entry(key).or_default() += 1;
        }
    }

    fn remove(&mut self, rule: &Rule) {
        for key in keys(rule) {
            if let Some(count) = self.0.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(&key);
                }
            }
        }
    }
}

/// A directory takes an entry for each prefix that leads to it, for itself, and for its object.
///
/// KubeArmor, `dirtoMap` in enforcer/bpflsm/rulesHandling.go.
fn keys(rule: &Rule) -> Vec<Key> {
    let key = |bytes: &[u8]| (bytes.to_vec(), rule.source.clone());
    match &rule.target {
        Target::Path(path) => vec![key(path.as_bytes())],
        Target::Pattern(_) => Vec::new(),
        Target::Directory { dir, .. } => {
            let bytes = dir.as_bytes();
            let slashes = (0..bytes.len()).filter(|at| bytes[*at] == b'/');
            let mut keys: Vec<Key> = slashes.map(|at| key(&bytes[..=at])).collect();
            if bytes.len() > 1 {
                keys.push(key(&bytes[..bytes.len() - 1]));
            }
            keys
        }
    }
}

/// Entries that the rules take, those of the postures included.
pub(super) fn entries<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> usize {
    let mut all = Keys::default();
    for rule in rules {
        all.add(rule);
    }
    all.0.len() + POSTURE_ENTRIES
}

/// The changes of one kind that may be made to the rules.
type Step<'a> = &'a dyn Fn(&BTreeSet<Rule>) -> Vec<Move>;

/// A change that makes rules wider and saves entries.
struct Move {
    from: Vec<Rule>,
    to: Rule,
    loss: Loss,
}

/// Makes rules wider until they fit. `written`: rules that something needs for writing.
///
/// # Errors
/// How many entries are still needed when nothing more may be given up.
pub(super) fn fit(
    mut rules: BTreeSet<Rule>,
    written: &dyn Fn(&Rule) -> bool,
    options: &Options,
) -> Result<(BTreeSet<Rule>, Vec<Loss>), usize> {
    let limit = options.entries;
    let mut taken = Keys::default();
    for rule in &rules {
        taken.add(rule);
    }
    let mut losses = Vec::new();
    let read = |rule: &Rule| is_read(rule, written);
    let classed = |_: &Rule, name: &[u8]| class::form(name, class::Place { before: &[] }).is_some();
    let steps: [Step<'_>; 7] = [
        &|rules| unscope(rules, &read),
        &|rules| collapse(rules, Tier::Own, false, &classed),
        &|rules| collapse(rules, Tier::Own, false, &|rule, _| read(rule)),
        &|rules| unscope(rules, &|rule| rule.class == RuleClass::File),
        &|rules| collapse(rules, Tier::Package, false, &|rule, _| read(rule)),
        // Under AppArmor a rule for all programs would not be one for each.
        &|rules| unscope(rules, &|_| options.enforcer.is_by_path()),
        &|rules| collapse(rules, Tier::Own, true, &|rule, _| read(rule)),
    ];
    for step in steps {
        if taken.0.len() + POSTURE_ENTRIES <= limit {
            break;
        }
        // What saves most is given up first: so the fewest are.
        let mut moves = step(&rules);
        moves.sort_by_key(|m| (std::cmp::Reverse(m.from.len()), m.to.clone()));
        for Move { from, to, loss } in moves {
            if taken.0.len() + POSTURE_ENTRIES <= limit {
                break;
            }
            let from: Vec<Rule> = from
                .into_iter()
                .filter(|rule| rules.contains(rule))
                .collect();
            let before = taken.0.len();
            for rule in &from {
                taken.remove(rule);
            }
            if !rules.contains(&to) {
                taken.add(&to);
            }
            if taken.0.len() >= before {
                for rule in &from {
                    taken.add(rule);
                }
                if !rules.contains(&to) {
                    taken.remove(&to);
                }
                continue;
            }
            for rule in &from {
                rules.remove(rule);
            }
            rules.insert(to);
            losses.push(loss);
        }
    }
    let needed = taken.0.len() + POSTURE_ENTRIES;
    if needed > limit {
        return Err(needed);
    }
    losses.sort();
    Ok((rules, joined(losses)))
}

fn is_read(rule: &Rule, written: &dyn Fn(&Rule) -> bool) -> bool {
    rule.class == RuleClass::File && !written(rule)
}

/// One loss for all rules that lost their programs.
fn joined(losses: Vec<Loss>) -> Vec<Loss> {
    let mut unscoped = 0;
    let mut rest = Vec::new();
    for loss in losses {
        match loss {
            Loss::Unscoped { paths } => unscoped += paths,
            other @ Loss::Collapsed { .. } => rest.push(other),
        }
    }
    if unscoped > 0 {
        rest.insert(0, Loss::Unscoped { paths: unscoped });
    }
    rest
}

fn unscope(rules: &BTreeSet<Rule>, may: &dyn Fn(&Rule) -> bool) -> Vec<Move> {
    let mut same: BTreeMap<(RuleClass, &Target), Vec<&Rule>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| may(rule) && !is_shared(rule)) {
        same.entry((rule.class, &rule.target))
            .or_default()
            .push(rule);
    }
    same.into_iter()
        .filter(|(_, list)| list.len() > 1)
        .map(|((class, target), list)| Move {
            from: list.into_iter().cloned().collect(),
            to: Rule {
                class,
                target: target.clone(),
                source: None,
            },
            loss: Loss::Unscoped { paths: 1 },
        })
        .collect()
}

/// A place that others share was opened for one program, and stays so.
fn is_shared(rule: &Rule) -> bool {
    match &rule.target {
        Target::Directory { dir, recursive } => tier::of(dir, *recursive) != Tier::Own,
        _ => false,
    }
}

/// Fewer names than this are not worth a directory.
const NAMES_TO_COLLAPSE: usize = 4;

/// One rule for a directory of the tier in place of those for the names in it.
fn collapse(
    rules: &BTreeSet<Rule>,
    wanted: Tier,
    recursive: bool,
    may: &dyn Fn(&Rule, &[u8]) -> bool,
) -> Vec<Move> {
    let mut siblings: BTreeMap<(AbsPath, Option<&AbsPath>), Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        let path = match &rule.target {
            Target::Path(path) => path,
            Target::Directory { dir, .. } if recursive => dir,
            _ => continue,
        };
        let names: Vec<&[u8]> = segments(path).collect();
        let Some((name, before)) = names.split_last() else {
            continue;
        };
        if rule.class != RuleClass::File || !may(rule, name) {
            continue;
        }
        let depths = if recursive {
            1..=before.len()
        } else {
            before.len()..=before.len()
        };
        for depth in depths {
            let Some(dir) = directory(&before[..depth]) else {
                continue;
            };
            let small = dir.as_bytes().len() <= MAX_DIR_BYTES;
            if small && tier::of(&dir, recursive) == wanted {
                siblings
                    .entry((dir, rule.source.as_ref()))
                    .or_default()
                    .push(rule);
            }
        }
    }
    siblings
        .into_iter()
        .filter(|(_, list)| list.len() >= NAMES_TO_COLLAPSE)
        // One more name beside a library would be loaded as one.
        .filter(|(_, list)| wanted == Tier::Own || !list.iter().any(|rule| is_loaded(rule)))
        .map(|((dir, source), list)| Move {
            loss: Loss::Collapsed {
                dir: dir.to_string(),
                paths: list.len(),
                recursive,
            },
            from: list.into_iter().cloned().collect(),
            to: Rule {
                class: RuleClass::File,
                target: Target::Directory { dir, recursive },
                source: source.cloned(),
            },
        })
        .collect()
}

fn is_loaded(rule: &Rule) -> bool {
    match &rule.target {
        Target::Path(path) => path.as_bytes().windows(3).any(|window| window == b".so"),
        _ => false,
    }
}

fn directory(names: &[&[u8]]) -> Option<AbsPath> {
    let mut bytes = vec![b'/'];
    for name in names {
        bytes.extend_from_slice(name);
        bytes.push(b'/');
    }
    AbsPath::new(bytes).ok()
}

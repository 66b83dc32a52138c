//! A container's rule map has 256 entries. What does not fit is made wider, cheapest loss first.

use std::cmp::Reverse;
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

/// Rules on their way to fit.
#[derive(Debug, Default)]
pub(super) struct Fitted {
    /// The rules.
    pub(super) rules: BTreeSet<Rule>,
    /// Those that something needs for writing.
    written: BTreeSet<Rule>,
    /// Directories that stand in for names that are only read. Nothing is written by them.
    pub(super) reading: BTreeSet<Rule>,
    /// What was given up.
    pub(super) losses: Vec<Loss>,
}

impl Fitted {
    fn is_read(&self, rule: &Rule) -> bool {
        rule.class == RuleClass::File && !self.written.contains(rule)
    }

    fn apply(&mut self, made: Move) {
        if made.from.iter().any(|rule| self.written.contains(rule)) {
            self.written.insert(made.to.clone());
        }
        if made.reads && !self.rules.contains(&made.to) {
            self.reading.insert(made.to.clone());
        }
        for rule in &made.from {
            self.rules.remove(rule);
        }
        self.rules.insert(made.to);
        self.losses.push(made.loss);
    }
}

/// The changes of one kind that may be made to the rules.
type Step<'a> = &'a dyn Fn(&Fitted) -> Vec<Move>;

/// A change that makes rules wider and saves entries.
struct Move {
    from: Vec<Rule>,
    to: Rule,
    /// Nothing is to be written by it.
    reads: bool,
    loss: Loss,
}

impl Move {
    /// What saves most is given up first: so the fewest are. But all below a directory is more the
    /// further up it stands.
    fn order(&self) -> (Reverse<usize>, Reverse<usize>, Rule) {
        let depth = match &self.to.target {
            Target::Directory {
                dir,
                recursive: true,
            } => segments(dir).count(),
            _ => 0,
        };
        (Reverse(depth), Reverse(self.from.len()), self.to.clone())
    }
}

/// Makes rules wider until they fit. `written`: rules that something needs for writing.
///
/// # Errors
/// How many entries are still needed when nothing more may be given up.
pub(super) fn fit(
    rules: BTreeSet<Rule>,
    written: BTreeSet<Rule>,
    options: &Options,
) -> Result<Fitted, usize> {
    let limit = options.entries.saturating_sub(POSTURE_ENTRIES);
    let mut taken = Keys::default();
    for rule in &rules {
        taken.add(rule);
    }
    let mut fitted = Fitted {
        rules,
        written,
        ..Fitted::default()
    };
    let steps: [Step<'_>; 8] = [
        &|fitted| unscope(fitted, &|rule| fitted.is_read(rule)),
        &|fitted| collapse(fitted, Tier::Own, false, Which::Classed),
        &|fitted| collapse(fitted, Tier::Own, false, Which::Read),
        &|fitted| unscope(fitted, &|rule| rule.class == RuleClass::File),
        &|fitted| collapse(fitted, Tier::Package, false, Which::Read),
        // Under AppArmor a rule for all programs would not be one for each.
        &|fitted| unscope(fitted, &|_| options.enforcer.is_by_path()),
        &|fitted| collapse(fitted, Tier::Own, true, Which::Read),
        &|fitted| collapse(fitted, Tier::Own, true, Which::ReadByAny),
    ];
    for step in steps {
        if taken.0.len() <= limit {
            break;
        }
        let mut moves = step(&fitted);
        moves.sort_by_cached_key(Move::order);
        for mut made in moves {
            if taken.0.len() <= limit {
                break;
            }
            made.from.retain(|rule| fitted.rules.contains(rule));
            let before = taken.0.len();
            for rule in &made.from {
                taken.remove(rule);
            }
            let is_new = !fitted.rules.contains(&made.to);
            if is_new {
                taken.add(&made.to);
            }
            if taken.0.len() >= before {
                for rule in &made.from {
                    taken.add(rule);
                }
                if is_new {
                    taken.remove(&made.to);
                }
                continue;
            }
            fitted.apply(made);
        }
    }
    let needed = taken.0.len() + POSTURE_ENTRIES;
    if taken.0.len() > limit {
        return Err(needed);
    }
    fitted.losses.sort();
    fitted.losses = joined(fitted.losses);
    Ok(fitted)
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

fn unscope(fitted: &Fitted, may: &dyn Fn(&Rule) -> bool) -> Vec<Move> {
    let mut same: BTreeMap<(RuleClass, &Target), Vec<&Rule>> = BTreeMap::new();
    for rule in fitted
        .rules
        .iter()
        .filter(|rule| may(rule) && !is_shared(rule))
    {
        same.entry((rule.class, &rule.target))
            .or_default()
            .push(rule);
    }
    same.into_iter()
        .filter(|(_, list)| list.len() > 1)
        .map(|((class, target), list)| Move {
            reads: list.iter().all(|rule| fitted.reading.contains(rule)),
            from: list.into_iter().cloned().collect(),
            to: Rule {
                class,
                target: target.clone(),
                source: None,
            },
            loss: Loss::Unscoped { paths: 1 },
        })
        .filter(|made| {
            let is_written = made.from.iter().any(|rule| fitted.written.contains(rule));
            let shadows = |reading: &Rule| is_shadowed(&made.to, reading);
            !(is_written && fitted.reading.iter().any(shadows))
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

/// Whose names a directory may stand in for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Names that a class knows.
    Classed,
    /// Names that one program, or whichever, only reads.
    Read,
    /// Names that are only read, whoever does. The directory is for all programs.
    ReadByAny,
}

/// Whether the enforcer finds the directory before the rule, asked about what the rule is for: one for
/// a program before a rule for all, and of two directories the deepest with all below it.
fn is_shadowed(rule: &Rule, reading: &Rule) -> bool {
    let Target::Directory { dir, .. } = &reading.target else {
        return false;
    };
    let (path, stands_back) = match &rule.target {
        Target::Path(path) => (path, false),
        Target::Directory { dir: of, recursive } => (of, !recursive || of == dir),
        Target::Pattern(_) => return false,
    };
    let is_of_another = rule.source.is_none() && reading.source.is_some();
    path.as_bytes().starts_with(dir.as_bytes())
        && (is_of_another || (stands_back && rule.source == reading.source))
}

/// One rule for a directory of the tier in place of those for the names in it.
fn collapse(fitted: &Fitted, wanted: Tier, recursive: bool, which: Which) -> Vec<Move> {
    let classed = |name: &[u8]| class::form(name, class::Place { before: &[] }).is_some();
    let may = |rule: &Rule, name: &[u8]| match which {
        Which::Classed => classed(name),
        Which::Read | Which::ReadByAny => fitted.is_read(rule) && !is_shared(rule),
    };
    let mut siblings: BTreeMap<(AbsPath, Option<&AbsPath>), Vec<&Rule>> = BTreeMap::new();
    for rule in &fitted.rules {
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
                let source = rule.source.as_ref().filter(|_| which != Which::ReadByAny);
                siblings.entry((dir, source)).or_default().push(rule);
            }
        }
    }
    siblings
        .into_iter()
        .filter(|(_, list)| list.len() >= NAMES_TO_COLLAPSE)
        // One more name beside a library would be loaded as one.
        .filter(|(_, list)| wanted == Tier::Own || !list.iter().any(|rule| is_loaded(rule)))
        .map(|((dir, source), list)| Move {
            reads: which != Which::Classed,
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
        .filter(|made| {
            let shadowed = |rule: &Rule| is_shadowed(rule, &made.to);
            which == Which::Classed || !fitted.written.iter().any(shadowed)
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

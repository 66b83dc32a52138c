//! From needs to rules: the tightest that the enforcer's dialect has for each.

use std::collections::{BTreeMap, BTreeSet};

use super::item::{Need, RuleClass, Support};
use super::names::segments;
use super::pattern::Patterns;
use super::rule::{Chosen, Rule, Target};
use super::shape::{self, Segment, Shape};
use super::tier::{self, Tier};
use super::{Dialect, LeftOut, Options, Tightness, Why};
use crate::path::AbsPath;
use crate::policy::crd::MAX_DIR_BYTES;
use crate::policy::expressible;

/// The rules that allow the needs, and the needs that have none.
pub(super) fn rules(
    needs: &BTreeMap<Need, Support>,
    options: &Options,
) -> (BTreeSet<Rule>, Vec<LeftOut>) {
    let written: BTreeSet<(&Shape, Option<&AbsPath>)> = needs
        .iter()
        .filter(|(_, support)| support.writes)
        .map(|(need, _)| (&need.shape, need.source.as_ref()))
        .collect();
    let mut sources: BTreeMap<(RuleClass, &Shape), BTreeSet<Option<&AbsPath>>> = BTreeMap::new();
    for need in needs.keys() {
        let by = sources.entry((need.class, &need.shape)).or_default();
        by.insert(need.source.as_ref());
    }
    let mut rules = BTreeSet::new();
    let mut left_out = Vec::new();
    for (need, support) in needs {
        if !is_asked(need, options.enforcer) {
            continue;
        }
        let writes_below = |dir: &AbsPath| {
            written.iter().any(|(shape, source)| {
                *source == need.source.as_ref() && Target::covers(&below(dir), shape)
            })
        };
        match targets(need, support, options, &writes_below) {
            Ok(targets) => {
                let by = &sources[&(need.class, &need.shape)];
                for target in targets {
                    let source = source(need, support, &target, by, options);
                    let class = need.class;
                    rules.insert(Rule {
                        class,
                        target,
                        source,
                    });
                }
            }
            Err(why) => left_out.push(LeftOut {
                need: need.clone(),
                support: support.clone(),
                why,
            }),
        }
    }
    (rules, left_out)
}

/// The BPF-LSM enforcer never asks about the root itself.
pub(super) fn is_asked(need: &Need, dialect: Dialect) -> bool {
    !dialect.is_by_path() || !need.shape.is_root()
}

/// Whether a rule for all programs is one for each: under AppArmor a program that has a profile of
/// its own is taken out of the rules for all (KubeArmor, ResolvedProcessWhiteListConflicts).
pub(super) fn is_for_each(class: RuleClass, dialect: Dialect) -> bool {
    class == RuleClass::File || dialect.is_by_path()
}

fn below(dir: &AbsPath) -> Target {
    Target::Directory {
        dir: dir.clone(),
        recursive: true,
    }
}

/// Two for `both`, where a directory that was opened is another path for each enforcer.
fn targets(
    need: &Need,
    support: &Support,
    options: &Options,
    writes_below: &dyn Fn(&AbsPath) -> bool,
) -> Result<Vec<Target>, Why> {
    let shape = &need.shape;
    if let Some(path) = shape.literal() {
        return literal(need.class, &path, options.enforcer);
    }
    if options.tightness == Tightness::Exact {
        return Err(Why::Varies);
    }
    if options.enforcer == Dialect::AppArmor && need.class == RuleClass::File {
        return Ok(vec![Target::Pattern(shape.clone())]);
    }
    let mut targets = vec![directory(need, support, options, writes_below)?];
    if options.enforcer == Dialect::Both && shape.directory {
        targets.push(Target::Pattern(shape.clone()));
    }
    Ok(targets)
}

fn literal(class: RuleClass, path: &AbsPath, dialect: Dialect) -> Result<Vec<Target>, Why> {
    let bytes = path.as_bytes();
    let directory = bytes.len() > 1 && bytes.ends_with(b"/");
    if bytes == b"/" {
        return Ok(vec![named(path)]);
    }
    let object = bytes.strip_suffix(b"/").unwrap_or(bytes);
    if directory && class == RuleClass::Process {
        return Err(Why::Unexpressed(crate::policy::Reason::NotAProgram));
    }
    expressible(object).map_err(Why::Unexpressed)?;
    let object = AbsPath::new(object).map_err(|_| Why::Varies)?;
    let plain = dialect.is_by_path() || is_plain(path);
    if !plain && (dialect == Dialect::Both || class == RuleClass::Process) {
        return Err(Why::Unexpressed(crate::policy::Reason::AppArmorSyntax));
    }
    if !plain {
        return Ok(vec![named(path)]);
    }
    Ok(match (directory, dialect) {
        (false, _) | (true, Dialect::Bpf | Dialect::Learner) => vec![Target::Path(object)],
        // AppArmor's name of a directory has a slash, which the CRD refuses in a path.
        (true, Dialect::AppArmor) => vec![named(path)],
        (true, Dialect::Both) => vec![Target::Path(object), named(path)],
    })
}

/// A path as a pattern names it: a directory with its slash, and what is AppArmor's syntax as any
/// one byte.
fn named(path: &AbsPath) -> Target {
    Target::Pattern(Shape {
        segments: segments(path)
            .map(|name| Segment::Literal(name.into()))
            .collect(),
        directory: path.as_bytes().ends_with(b"/"),
    })
}

/// The tightest directory that the BPF-LSM enforcer can match: as deep as the names are fixed, and
/// no longer than it looks.
fn directory(
    need: &Need,
    support: &Support,
    options: &Options,
    writes_below: &dyn Fn(&AbsPath) -> bool,
) -> Result<Target, Why> {
    let shape = &need.shape;
    let fixed = shape.fixed();
    let (depth, dir) = (0..=fixed)
        .rev()
        .filter_map(|depth| Some((depth, shape.directory_of(depth)?)))
        .find(|(_, dir)| {
            options.enforcer == Dialect::Learner || dir.as_bytes().len() <= MAX_DIR_BYTES
        })
        .ok_or(Why::Varies)?;
    // A directory rule is text like any other.
    if dir.as_bytes().len() > 1 {
        let object = &dir.as_bytes()[..dir.as_bytes().len() - 1];
        let text = expressible(object).map_err(Why::Unexpressed)?;
        if text.ends_with('\n') {
            return Err(Why::Unexpressed(crate::policy::Reason::Newline));
        }
    }
    let recursive = depth < fixed || !shape.is_child_at(depth);
    let target = Target::Directory {
        dir: dir.clone(),
        recursive,
    };
    let tier = tier::of(&dir, recursive);
    if need.class == RuleClass::Process {
        return if tier == Tier::Own && !tier::is_writable(&dir) {
            Ok(target)
        } else {
            Err(Why::Wide { dir, recursive })
        };
    }
    match (tier, options.tightness) {
        (Tier::Own, _) | (Tier::Shared, Tightness::Durable) => Ok(target),
        (Tier::Shared, _) if need.source.is_some() && !support.writes && !writes_below(&dir) => {
            Ok(target)
        }
        _ => Err(Why::Wide { dir, recursive }),
    }
}

/// For which program the rule is.
fn source(
    need: &Need,
    support: &Support,
    target: &Target,
    by: &BTreeSet<Option<&AbsPath>>,
    options: &Options,
) -> Option<AbsPath> {
    match target {
        // A pattern takes no fromSource.
        Target::Pattern(_) => return None,
        // Nor does AppArmor take the name of such a program.
        _ if !options.enforcer.is_by_path() && !need.source.as_ref().is_none_or(is_plain) => {
            return None;
        }
        // What others share is opened for the one that needs it, whoever else was seen there.
        Target::Directory { dir, recursive } if tier::of(dir, *recursive) != Tier::Own => {
            return need.source.clone();
        }
        // Where some source is not known, the rule is for all.
        _ if by.contains(&None) && is_for_each(need.class, options.enforcer) => return None,
        _ => {}
    }
    let free = match options.tightness {
        Tightness::Exact => false,
        Tightness::Balanced => by.len() > 1 && is_runtime(&need.shape),
        Tightness::Durable => !support.writes,
    };
    let free = free
        && need.class == RuleClass::File
        && matches!(target, Target::Path(path) if !is_sensitive(path));
    if free { None } else { need.source.clone() }
}

fn is_plain(path: &AbsPath) -> bool {
    path.as_bytes().iter().all(|byte| shape::is_plain(*byte))
}

fn is_sensitive(path: &AbsPath) -> bool {
    let secret = segments(path).any(|s| matches!(s, b"secrets" | b".ssh" | b"private" | b"shadow"));
    secret
        || tier::SENSITIVE
            .iter()
            .any(|(known, _)| known.as_bytes() == path.as_bytes())
}

/// What the C library opens for any program: whoever may run at all may read it.
fn is_runtime(shape: &Shape) -> bool {
    let Some(path) = shape.literal() else {
        return false;
    };
    let bytes = path.as_bytes();
    const FILES: &[&[u8]] = &[
        b"/etc/ld.so.cache",
        b"/etc/ld.so.preload",
        b"/etc/nsswitch.conf",
        b"/etc/passwd",
        b"/etc/group",
        b"/etc/localtime",
        b"/etc/locale.alias",
        b"/etc/host.conf",
        b"/etc/hosts",
        b"/etc/resolv.conf",
        b"/dev/null",
        b"/dev/zero",
        b"/dev/full",
        b"/dev/random",
        b"/dev/urandom",
        b"/dev/tty",
    ];
    const TREES: &[&[u8]] = &[
        b"/usr/lib/locale/",
        b"/usr/share/locale/",
        b"/usr/share/zoneinfo/",
    ];
    let name = bytes.rsplit(|byte| *byte == b'/').next().unwrap_or(bytes);
    let library = [&b"/usr/lib"[..], b"/lib"]
        .iter()
        .any(|lib| bytes.starts_with(lib))
        && name.windows(3).any(|window| window == b".so");
    library
        || FILES.contains(&bytes)
        || TREES.iter().any(|tree| bytes.starts_with(tree))
        || bytes.ends_with(b"/gconv-modules.cache")
}

/// Rules by what they may match, so that those of a need are found at once.
#[derive(Debug, Default)]
pub(super) struct Index {
    paths: BTreeMap<(RuleClass, AbsPath), Vec<Rule>>,
    directories: BTreeMap<(RuleClass, AbsPath), Vec<Rule>>,
    patterns: Patterns,
}

impl Index {
    pub(super) fn of<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Self {
        let mut index = Self::default();
        for rule in rules {
            let list = match &rule.target {
                Target::Path(path) => index.paths.entry((rule.class, path.clone())).or_default(),
                Target::Directory { dir, .. } => index
                    .directories
                    .entry((rule.class, dir.clone()))
                    .or_default(),
                Target::Pattern(shape) => {
                    index.patterns.add(shape, rule);
                    continue;
                }
            };
            list.push(rule.clone());
        }
        index
    }

    /// The rules that allow the need, writing left aside.
    pub(super) fn covering<'a>(&'a self, need: &Need) -> Vec<&'a Rule> {
        let mut found: Vec<&Rule> = Vec::new();
        let shape = &need.shape;
        let listed = |list: Option<&'a Vec<Rule>>| list.into_iter().flatten();
        if let Some(path) = shape.literal() {
            let bytes = path.as_bytes();
            let object = bytes.strip_suffix(b"/").unwrap_or(bytes);
            if let Ok(object) = AbsPath::new(object) {
                found.extend(listed(self.paths.get(&(need.class, object))));
            }
        }
        for depth in 0..=shape.fixed() {
            if let Some(dir) = shape.directory_of(depth) {
                found.extend(listed(self.directories.get(&(need.class, dir))));
            }
        }
        found.extend(self.patterns.covering(need.class, shape));
        found.retain(|rule| rule.covers(need));
        found
    }
}

/// Leaves out each rule whose needs others allow, the widest first: none of the rest can be left
/// out without losing a need. Nothing is written by those that are for `reading`.
pub(super) fn irredundant(
    rules: BTreeSet<Rule>,
    needs: &BTreeMap<Need, Support>,
    reading: &BTreeSet<Rule>,
    read_only: bool,
    dialect: Dialect,
) -> Vec<Chosen> {
    let index = Index::of(&rules);
    let mut by_rule: BTreeMap<&Rule, Vec<&Need>> = rules.iter().map(|r| (r, Vec::new())).collect();
    let mut cover: BTreeMap<&Need, BTreeSet<&Rule>> = BTreeMap::new();
    let written: BTreeSet<&Shape> = needs
        .iter()
        .filter(|(_, support)| support.writes)
        .map(|(need, _)| &need.shape)
        .collect();
    // A pattern that is only read does not become one to write for what it takes in.
    let may_hold = |rule: &Rule, support: &Support| match &rule.target {
        Target::Pattern(shape) => !(read_only && support.writes) || written.contains(shape),
        // One that is not told to be read alone is written to as well.
        Target::Directory { .. } => {
            let is_read_alone = reading.contains(rule) && (read_only || is_forced(rule));
            !(support.writes && is_read_alone)
        }
        Target::Path(_) => true,
    };
    for (need, support) in needs {
        let covering: BTreeSet<&Rule> = index
            .covering(need)
            .into_iter()
            .filter_map(|rule| rules.get(rule))
            .filter(|rule| is_for_each(rule.class, dialect) || rule.source == need.source)
            .filter(|rule| dialect.is_by_path() || !is_object(rule, need))
            .filter(|rule| may_hold(rule, support))
            .collect();
        for rule in &covering {
            if let Some(list) = by_rule.get_mut(rule) {
                list.push(need);
            }
        }
        cover.insert(need, covering);
    }
    let mut order: Vec<&Rule> = rules.iter().collect();
    order.sort_by_key(|rule| (std::cmp::Reverse(rule.width()), *rule));
    let mut kept: BTreeSet<&Rule> = rules.iter().collect();
    for rule in order {
        let spare = by_rule[rule]
            .iter()
            .all(|need| spared(&cover[*need], rule, need, dialect));
        if spare {
            kept.remove(rule);
            for need in &by_rule[rule] {
                if let Some(covering) = cover.get_mut(*need) {
                    covering.remove(rule);
                }
            }
        }
    }
    kept.into_iter()
        .map(|rule| {
            let needs: Vec<(Need, Support)> = by_rule[rule]
                .iter()
                .map(|need| ((*need).clone(), needs[*need].clone()))
                .collect();
            let writes = needs.iter().any(|(_, support)| support.writes);
            Chosen {
                rule: rule.clone(),
                read_only: rule.class == RuleClass::File
                    && !writes
                    && (read_only || is_forced(rule)),
                needs,
            }
        })
        .collect()
}

/// Whether what a rule allows to be read is never written to by it: a directory of one program in which others
/// write too.
fn is_forced(rule: &Rule) -> bool {
    matches!(&rule.target, Target::Directory { dir, recursive }
        if tier::of(dir, *recursive) == Tier::Shared && rule.source.is_some())
}

/// Whether a directory's rule is asked for the directory itself by its name without a slash, which
/// AppArmor's does not match.
pub(super) fn is_object(rule: &Rule, need: &Need) -> bool {
    let Target::Directory { dir, .. } = &rule.target else {
        return false;
    };
    !need.shape.directory && need.shape.segments.len() == segments(dir).count()
}

/// Whether the need is allowed without the rule.
fn spared(covering: &BTreeSet<&Rule>, rule: &Rule, need: &Need, dialect: Dialect) -> bool {
    let apart = dialect == Dialect::Both && need.shape.directory;
    covering
        .iter()
        .any(|other| *other != rule && (!apart || stands_in(&other.target, &rule.target)))
}

/// Whether one target does for the other where both enforcers have to find a directory: BPF-LSM knows
/// no patterns, and AppArmor's name of a directory has a slash, which only what is recursive matches.
fn stands_in(target: &Target, other: &Target) -> bool {
    match (target, other) {
        (Target::Pattern(_), _) => matches!(other, Target::Pattern(_)),
        (Target::Directory { recursive, .. }, Target::Pattern(_)) => *recursive,
        (Target::Path(_), Target::Pattern(_)) => false,
        _ => true,
    }
}

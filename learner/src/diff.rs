//! What changes when the suggested policies are applied: by meaning, not by text.
//!
//! Both sides are compiled into what the enforcer would hold, and asked about the same operations:
//! all that were seen, and for each rule of either side those at its boundary (`diff/probe.rs`).
//! Messages, tags and severities are no meaning.

use std::collections::BTreeSet;
use std::fmt;

use crate::behavior::Access;
use crate::path::AbsPath;
use crate::policy::meaning::{Class, Enforcer};
use crate::policy::{Identity, Kind, Policy};
use crate::profile::Evidence;

mod compare;
mod line;
mod probe;
mod subject;

use compare::compare;
use subject::{Seen, Subject, subjects};

/// What the suggested policies would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// By container, in the order of their names; also those for which nothing changes.
    pub containers: Vec<Container>,
    /// Host policies of either side: they are not compared.
    pub for_hosts: BTreeSet<Identity>,
}

/// What changes for one container, or for all that a selector describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// `namespace/kind/name/container` of what was seen, or namespace and labels of a selector.
    pub name: String,
    /// Applied policies from elsewhere that change what the suggested ones do.
    pub elsewhere: Vec<Elsewhere>,
    /// Applied policies that the suggested ones replace.
    pub replaced: Vec<Identity>,
    /// What is different.
    pub comparison: Comparison,
}

/// A policy from elsewhere: not made by Learner, and not one that is suggested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which.
    pub policy: Identity,
    /// What it changes in the suggested policies as long as it is applied beside them:
    /// [`Change::Allowed`] is what they close and it opens again.
    pub changes: Vec<Deeds>,
}

/// Two sides, compared.
///
/// Guarantee: a side compared with itself changes nothing, and swapped sides give the
/// [inverse](Comparison::inverse).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Operations of which something else becomes, by what decides about them.
    pub changes: Vec<Deeds>,
    /// All rules of both sides.
    pub rules: Vec<RuleChange>,
    /// What is different and cannot be judged by operations: presets, system calls and the like.
    pub unjudged: Vec<String>,
    /// Room in the enforcer.
    pub keys: Keys,
}

/// Operations that the same decides about, before and after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deeds {
    /// What becomes of them.
    pub change: Change,
    /// What decided before.
    pub before: String,
    /// What decides after.
    pub after: String,
    /// The operations, and how often each was seen: 0 for one that only shows the boundary of a
    /// rule.
    pub deeds: Vec<(Done, u64)>,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It was denied and is allowed.
    Allowed,
    /// It was allowed and is denied.
    Denied,
    /// One side cannot be told from what is known.
    Unclear,
    /// It is allowed, and now reported.
    Reported,
    /// It is allowed, and no longer reported.
    Unreported,
}

impl Change {
    /// With the sides swapped.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Allowed => Self::Denied,
            Self::Denied => Self::Allowed,
            Self::Unclear => Self::Unclear,
            Self::Reported => Self::Unreported,
            Self::Unreported => Self::Reported,
        }
    }
}

/// An operation, as it is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Done {
    /// The path. `*` stands for any name that no rule holds. None for sockets and capabilities.
    pub object: Option<AbsPath>,
    /// `open`, `exec` and so on, as in recordings; `socket (stream)`, `capability chown`.
    pub op: String,
    /// Of an open.
    pub access: Option<Access>,
    /// The second path of a rename or link.
    pub to: Option<AbsPath>,
    /// By which program.
    pub source: Program,
    /// By the owner of the file or by another, where a rule asks for it.
    pub owner: Option<bool>,
    /// With a terminal or without, where a rule asks for it.
    pub terminal: Option<bool>,
}

/// The program that acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// No rule tells them apart.
    Any,
    /// Any that no rule names.
    Other,
    /// This one.
    Path(AbsPath),
    /// It was not recorded.
    Unknown,
}

/// A rule of either side or of both, by what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleChange {
    /// The class.
    pub class: Class,
    /// The path, directory, name, pattern, protocol or capability, as it is written.
    pub target: String,
    /// The programs that it is bound to.
    pub sources: BTreeSet<String>,
    /// Where it stands before: `spec.file.matchPaths[3] of nginx`. Empty: nowhere.
    pub before: BTreeSet<String>,
    /// Where it stands after.
    pub after: BTreeSet<String>,
    /// What becomes of what it reaches, whichever rules decide about that.
    pub meaning: Meaning,
}

/// What becomes of what a rule reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meaning {
    /// The same as before: where the rule is new or gone, others do what it does.
    Equal,
    /// More is allowed.
    Wider,
    /// Less is allowed.
    Narrower,
    /// Some more and some less, or what one side allows by a rule the other blocks by one.
    Conflicting,
    /// One side cannot be told from what is known.
    Unclear,
    /// The same is allowed, and reported otherwise.
    Reported,
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Equal => "equal",
            Self::Wider => "wider",
            Self::Narrower => "narrower",
            Self::Conflicting => "conflicting",
            Self::Unclear => "unclear",
            Self::Reported => "reported",
        })
    }
}

/// Keys of the container's rule map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Wanted before.
    pub before: usize,
    /// Wanted after.
    pub after: usize,
    /// There is room for so many; none where the enforcer has no limit.
    pub limit: Option<usize>,
}

impl Comparison {
    /// Nothing is different.
    pub fn is_same(&self) -> bool {
        self.changes.is_empty() && self.unjudged.is_empty()
    }

    /// The comparison with the sides swapped.
    #[must_use]
    pub fn inverse(self) -> Self {
        let changes = self.changes.into_iter().map(|deeds| Deeds {
            change: deeds.change.inverse(),
            before: deeds.after,
            after: deeds.before,
            deeds: deeds.deeds,
        });
        let mut changes: Vec<Deeds> = changes.collect();
        changes.sort();
        let rules = self.rules.into_iter().map(|rule| RuleChange {
            before: rule.after,
            after: rule.before,
            meaning: match rule.meaning {
                Meaning::Wider => Meaning::Narrower,
                Meaning::Narrower => Meaning::Wider,
                other => other,
            },
            ..rule
        });
        Self {
            changes,
            rules: rules.collect(),
            unjudged: self.unjudged,
            keys: Keys {
                before: self.keys.after,
                after: self.keys.before,
                limit: self.keys.limit,
            },
        }
    }
}

impl Diff {
    /// Nothing is different, and nothing from elsewhere changes what is suggested.
    pub fn is_same(&self) -> bool {
        self.containers
            .iter()
            .all(|container| container.comparison.is_same() && container.elsewhere.is_empty())
    }
}

/// What changes when the suggested policies are applied where the others are applied.
///
/// A suggested policy replaces the applied one of the same kind, namespace and name. Where it
/// selects a container, it also replaces what Learner recommended for it under another name.
/// Applied policies from elsewhere stay beside what Learner recommends; where none of the
/// suggested policies is Learner's, the two sides are compared as they are. Where nothing suggested
/// selects a container, all that is applied stays.
pub fn diff(
    applied: &[Policy],
    suggested: &[Policy],
    evidence: &Evidence,
    enforcer: Enforcer,
) -> Diff {
    let all: Vec<&Policy> = applied.iter().chain(suggested).collect();
    let sides = Sides { applied, suggested };
    Diff {
        containers: subjects(evidence, &all)
            .into_iter()
            .map(|(subject, seen)| sides.container(subject, &seen, enforcer))
            .collect(),
        for_hosts: all
            .iter()
            .filter(|policy| policy.kind == Kind::HostPolicy)
            .map(|policy| policy.identity())
            .collect(),
    }
}

struct Sides<'a> {
    applied: &'a [Policy],
    suggested: &'a [Policy],
}

impl<'a> Sides<'a> {
    fn container(&self, subject: Subject, seen: &Seen<'_>, enforcer: Enforcer) -> Container {
        let selecting = |policies: &'a [Policy]| {
            let mut own: Vec<&Policy> = policies
                .iter()
                .filter(|policy| policy.selects(&subject.pod()))
                .collect();
            own.sort_by_cached_key(|policy| policy.identity());
            own
        };
        let (before, suggested) = (selecting(self.applied), selecting(self.suggested));
        let names: BTreeSet<Identity> = self.suggested.iter().map(Policy::identity).collect();
        let is_learned = suggested.iter().any(|policy| policy.is_learned());
        let stays = |policy: &&Policy| {
            !names.contains(&policy.identity())
                && (suggested.is_empty() || (is_learned && !policy.is_learned()))
        };
        let together = |others: &[&'a Policy]| {
            let mut all = suggested.clone();
            all.extend(others);
            all.sort_by_cached_key(|policy| policy.identity());
            all
        };
        let staying: Vec<&Policy> = before.iter().copied().filter(stays).collect();
        let after = together(&staying);
        let foreign = before.iter().copied().filter(|policy| {
            !suggested.is_empty() && !policy.is_learned() && !names.contains(&policy.identity())
        });
        let elsewhere = foreign.filter_map(|policy| {
            let with = together(&[policy]);
            let changes = compare(&suggested, &with, seen, enforcer).changes;
            (!changes.is_empty()).then(|| Elsewhere {
                policy: policy.identity(),
                changes,
            })
        });
        Container {
            elsewhere: elsewhere.collect(),
            replaced: before
                .iter()
                .filter(|policy| !stays(policy))
                .map(|policy| policy.identity())
                .collect(),
            comparison: compare(&before, &after, seen, enforcer),
            name: subject.name,
        }
    }
}

#[cfg(test)]
mod tests;

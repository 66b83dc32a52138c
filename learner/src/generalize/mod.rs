//! Generalising: from what was seen to rules that hold in the next run, and to no more than that.
//!
//! Names that machines make are told by their class and by the runs that have them ([`Class`]).
//! Each thing that has to stay possible gets the tightest rule that the enforcer's dialect has for
//! it. What is widened is known with what it opens; what would have to be opened too far is left
//! out and listed. The same evidence gives the same rules, in whatever order it arrived.

mod budget;
mod choose;
mod class;
mod item;
mod names;
mod pattern;
mod rule;
mod settled;
mod shape;
mod tier;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

pub use budget::Loss;
pub use class::Class;
pub use item::{Need, RuleClass, Seen, Support};
pub use rule::{Chosen, Rule, Target};
pub use settled::Settled;
pub use shape::{BadShape, Known, Shape};

use crate::behavior::Behavior;
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::policy::Reason;
use crate::policy::meaning::Enforcer;
use crate::profile::Sighting;

/// How far rules may go beyond what was seen.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Tightness {
    /// Not at all: what has another name in each run is left out and listed.
    Exact,
    /// By class; where that opens a place that others share, for one program and for reading only.
    #[default]
    Balanced,
    /// By class wherever a rule can be made of it, and reads for all programs of the workload.
    Durable,
}

/// For which enforcer rules are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// KubeArmor's BPF-LSM: paths and directories, 256 entries a container.
    #[default]
    Bpf,
    /// KubeArmor's AppArmor: patterns too.
    AppArmor,
    /// The same rules hold under either of KubeArmor's.
    Both,
    /// Learner's own programs: paths and directories, as many as there are.
    Learner,
}

impl Dialect {
    /// Those who hold the rules.
    pub fn enforcers(self) -> &'static [Enforcer] {
        match self {
            Self::Bpf => &[Enforcer::Bpf],
            Self::AppArmor => &[Enforcer::AppArmor],
            Self::Both => &[Enforcer::Bpf, Enforcer::AppArmor],
            Self::Learner => &[Enforcer::Learner],
        }
    }

    /// Whether rules are found by path and directory alone: there are no patterns, and a rule for all
    /// programs is one for each.
    pub(crate) fn is_by_path(self) -> bool {
        matches!(self, Self::Bpf | Self::Learner)
    }

    /// Whether KubeArmor's room for entries bounds the rules.
    pub(crate) fn has_budget(self) -> bool {
        matches!(self, Self::Bpf | Self::Both)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bpf => "bpf",
            Self::AppArmor => "apparmor",
            Self::Both => "both",
            Self::Learner => "learner",
        })
    }
}

/// A word that is none of those that may stand here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is none of {expected}", given.escape_debug())]
pub struct BadWord {
    given: String,
    expected: &'static str,
}

impl FromStr for Tightness {
    type Err = BadWord;
    fn from_str(text: &str) -> Result<Self, BadWord> {
        match text {
            "exact" => Ok(Self::Exact),
            "balanced" => Ok(Self::Balanced),
            "durable" => Ok(Self::Durable),
            _ => Err(BadWord {
                given: text.to_owned(),
                expected: "exact, balanced, durable",
            }),
        }
    }
}

impl FromStr for Dialect {
    type Err = BadWord;
    fn from_str(text: &str) -> Result<Self, BadWord> {
        match text {
            "bpf" => Ok(Self::Bpf),
            "apparmor" => Ok(Self::AppArmor),
            "both" => Ok(Self::Both),
            "learner" => Ok(Self::Learner),
            _ => Err(BadWord {
                given: text.to_owned(),
                expected: "bpf, apparmor, both, learner",
            }),
        }
    }
}

/// What rules are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How far they may go.
    pub tightness: Tightness,
    /// For which enforcer.
    pub enforcer: Dialect,
    /// Rules may be read-only where nothing was written. KubeArmor denies writes to such a rule
    /// under audit too, so this is for evidence that shows it to be safe, or for the block stage.
    pub read_only: bool,
    /// Entries that a container's rule map has room for.
    pub entries: usize,
}

/// A need without a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What.
    pub need: Need,
    /// What was seen of it.
    pub support: Support,
    /// Why it has no rule.
    pub why: Why,
}

/// Why a need has no rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It has another name in each run, and no rule goes beyond what was seen.
    Varies,
    /// The only rule for it opens a directory that this tightness keeps closed.
    Wide {
        /// The directory.
        dir: AbsPath,
        /// With all below it.
        recursive: bool,
    },
    /// The path cannot stand in a policy.
    Unexpressed(Reason),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Varies => f.write_str("it has another name in each run"),
            Self::Wide { dir, recursive } => {
                let all = if *recursive { "all below" } else { "all of" };
                write!(f, "the tightest rule for it opens {all} {dir}")?;
                let opened = opened(dir, *recursive);
                if !opened.is_empty() {
                    write!(f, ", {} among it", opened.join(", "))?;
                }
                Ok(())
            }
            Self::Unexpressed(reason) => write!(f, "{reason}"),
        }
    }
}

/// The sensitive paths that a rule for a directory opens.
pub fn opened(dir: &AbsPath, recursive: bool) -> Vec<&'static str> {
    let children = |path: &str| {
        path.as_bytes()
            .strip_prefix(dir.as_bytes())
            .is_some_and(|rest| recursive || !rest.contains(&b'/'))
    };
    tier::SENSITIVE
        .iter()
        .map(|(path, _)| *path)
        .filter(|path| children(path))
        .collect()
}

/// Whether any user may make a file there.
pub(crate) fn is_writable(path: &AbsPath) -> bool {
    tier::is_writable(path)
}

/// Rules, and what they leave out and give up.
#[derive(Debug)]
pub struct Generalized {
    /// The rules, in their order.
    pub rules: Vec<Chosen>,
    /// Needs without a rule.
    pub left_out: Vec<LeftOut>,
    /// What was given up so that the rules fit.
    pub losses: Vec<Loss>,
    /// Entries of the rule map that the rules take.
    pub entries: usize,
    needs: item::Needs,
}

/// The rules take more entries than there are, and no more may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the tightest rules that may be made take {needed} entries, and a container's rule map has {limit}"
)]
pub struct OverBudget {
    /// So many are needed.
    pub needed: usize,
    /// So many there are.
    pub limit: usize,
}

/// Makes rules of what was seen.
///
/// Guarantees: every need is allowed by a rule or listed as left out; no rule can be taken away
/// without losing a need; the order of `seen` does not matter.
///
/// # Errors
/// [`OverBudget`], for an enforcer that has a budget.
pub fn generalize(seen: &[Seen<'_>], options: &Options) -> Result<Generalized, OverBudget> {
    let needs = item::Needs::of(seen, names::Until::Now);
    let (rules, left_out) = choose::rules(&needs.all, options);
    let out: BTreeSet<&Need> = left_out.iter().map(|left| &left.need).collect();
    let held: BTreeMap<Need, Support> = needs
        .all
        .iter()
        .filter(|(need, _)| !out.contains(need) && choose::is_asked(need, options.enforcer))
        .map(|(need, support)| (need.clone(), support.clone()))
        .collect();
    let prune = |rules, reading: &BTreeSet<Rule>| {
        choose::irredundant(rules, &held, reading, options.read_only, options.enforcer)
    };
    let mut chosen = prune(rules, &BTreeSet::new());
    let mut losses = Vec::new();
    if options.enforcer.has_budget() {
        let written: BTreeSet<Rule> = chosen
            .iter()
            .filter(|chosen| chosen.needs.iter().any(|(_, support)| support.writes))
            .map(|chosen| chosen.rule.clone())
            .collect();
        let rules = chosen.into_iter().map(|chosen| chosen.rule).collect();
        let fitted = budget::fit(rules, written, options).map_err(|needed| OverBudget {
            needed,
            limit: options.entries,
        })?;
        losses = fitted.losses;
        chosen = prune(fitted.rules, &fitted.reading);
    }
    // A need that was left out may be allowed all the same, by the rule for another.
    let for_reading: BTreeSet<&Rule> = chosen
        .iter()
        .filter(|chosen| chosen.read_only)
        .map(|chosen| &chosen.rule)
        .collect();
    let index = choose::Index::of(chosen.iter().map(|chosen| &chosen.rule));
    let is_allowed = |left: &LeftOut| {
        let covering = index.covering(&left.need);
        covering
            .iter()
            .any(|rule| !(left.support.writes && for_reading.contains(rule)))
    };
    let left_out = left_out.into_iter().filter(|left| !is_allowed(left));
    let left_out = left_out.collect();
    Ok(Generalized {
        entries: budget::entries(chosen.iter().map(|chosen| &chosen.rule)),
        rules: chosen,
        left_out,
        losses,
        needs,
    })
}

impl Generalized {
    /// What was seen, generalised: what it needs, as the runs are compared by.
    pub fn needs_of(&self, seen: &Seen<'_>) -> Vec<Need> {
        let needs = self.needs.of_behavior(seen);
        needs.into_iter().map(|(need, _, _)| need).collect()
    }

    /// As [`Generalized::needs_of`], of a behaviour in no run. `entry`: it would start one.
    pub fn needs_of_behavior(&self, behavior: &Behavior, entry: bool) -> Vec<Need> {
        let sighting = Sighting {
            count: 1,
            first: Moment(0),
            last: Moment(0),
        };
        self.needs_of(&Seen {
            run: 0,
            behavior,
            sighting: &sighting,
            entry,
            known: None,
        })
    }
}

#[cfg(test)]
mod tests;

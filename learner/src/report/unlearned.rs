//! What was seen and is not in the policy as it was seen: left out, held, given up.

use serde::Serialize;

use super::reason::{Said, held_for};
use super::shown::{Name, Path, count, said, time};
use crate::generalize::{self, Loss, RuleClass, Why};
use crate::quarantine;

/// What was seen and has no rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Left<'a> {
    pub(super) class: RuleClass,
    pub(super) shape: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from_source: Option<Path<'a>>,
    pub(super) writes: bool,
    pub(super) observations: u64,
    pub(super) runs: usize,
    pub(super) first_seen: Option<jiff::Timestamp>,
    pub(super) last_seen: Option<jiff::Timestamp>,
    pub(super) samples: Vec<Path<'a>>,
    pub(super) why: Said,
}

/// What was given up so that the rules fit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GivenUp<'a> {
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recursive: Option<bool>,
    paths: usize,
    pub(super) text: String,
}

/// What is held back until a person has said otherwise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Held<'a> {
    pub(super) op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<&'static str>,
    #[serde(flatten)]
    pub(super) path: Path<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Path<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from_source: Option<Path<'a>>,
    pub(super) observations: u64,
    pub(super) runs: usize,
    pub(super) first_seen: Option<jiff::Timestamp>,
    pub(super) last_seen: Option<jiff::Timestamp>,
    pub(super) reasons: Vec<Said>,
}

impl<'a> Left<'a> {
    pub(super) fn of(left: &'a generalize::LeftOut) -> Self {
        let generalize::LeftOut { need, support, why } = left;
        Self {
            class: need.class,
            shape: said(&need.shape),
            from_source: need.source.as_ref().map(Path),
            writes: support.writes,
            observations: support.count,
            runs: support.runs().count(),
            first_seen: time(support.first),
            last_seen: time(support.last),
            samples: support.samples.iter().map(Path).collect(),
            why: Said::new(
                match why {
                    Why::Varies => "varies",
                    Why::Wide { .. } => "wide",
                    Why::Unexpressed(_) => "unexpressed",
                },
                why,
            ),
        }
    }
}

impl<'a> GivenUp<'a> {
    pub(super) fn of(loss: &'a Loss) -> Self {
        let of = |paths: usize| count(paths, "path", "paths");
        match loss {
            Loss::Unscoped { paths } => Self {
                step: "unscoped",
                dir: None,
                recursive: None,
                paths: *paths,
                text: format!(
                    "rules for {} are for every program of the workload, no longer for some",
                    of(*paths)
                ),
            },
            Loss::Collapsed {
                dir,
                paths,
                recursive,
            } => Self {
                step: "collapsed",
                dir: Some(Name(dir)),
                recursive: Some(*recursive),
                paths: *paths,
                text: format!(
                    "rules for {} became one for {} {}",
                    of(*paths),
                    if *recursive {
                        "all below"
                    } else {
                        "all names in"
                    },
                    Name(dir),
                ),
            },
        }
    }
}

impl<'a> Held<'a> {
    pub(super) fn of(held: &'a quarantine::Held) -> Self {
        let quarantine::Held {
            workload: _,
            op,
            path,
            source,
            reasons,
            runs,
            count,
            first,
            last,
        } = held;
        Self {
            op: op.name(),
            access: op.access().map(|access| access.as_str()),
            path: Path(path),
            to: op.to().map(Path),
            from_source: source.as_ref().map(Path),
            observations: *count,
            runs: *runs,
            first_seen: time(*first),
            last_seen: time(*last),
            reasons: reasons.iter().map(held_for).collect(),
        }
    }

    /// The operation with both its paths, without who did it.
    pub(super) fn what(&self) -> String {
        let access = self.access.map(|access| format!(" ({access})"));
        let to = self.to.map(|to| format!(" to {to}"));
        format!(
            "{}{} {}{}",
            self.op,
            access.unwrap_or_default(),
            self.path,
            to.unwrap_or_default()
        )
    }
}

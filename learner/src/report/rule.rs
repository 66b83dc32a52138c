//! A rule of the policy in the report.

use serde::Serialize;

use super::shown::{Path, said, time};
use crate::generalize::{Class, RuleClass, Target};
use crate::recommend::{Grant, Mark, RuleEvidence};

/// A rule, with what stands behind it and what it goes beyond.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule<'a> {
    pub(super) class: RuleClass,
    #[serde(flatten)]
    pub(super) target: Aim,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from_source: Option<Path<'a>>,
    pub(super) read_only: bool,
    pub(super) observations: u64,
    pub(super) runs: usize,
    pub(super) first_seen: Option<jiff::Timestamp>,
    pub(super) last_seen: Option<jiff::Timestamp>,
    pub(super) programs: Vec<Path<'a>>,
    pub(super) samples: Vec<Path<'a>>,
    pub(super) classes: Vec<Class>,
    pub(super) grants: Vec<Granted<'a>>,
    pub(super) marks: Vec<Mark>,
    /// It opens more than the names that were seen, or that are like them.
    pub(super) wide: bool,
    /// The target as it is shown.
    #[serde(skip)]
    pub(super) shown: String,
}

/// What the rule is about, by KubeArmor's own names.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Aim {
    Path { path: String },
    Directory { dir: String, recursive: bool },
    Pattern { pattern: String, shape: String },
}

/// Something that the rule allows and nobody was seen to do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Granted<'a> {
    /// `directory`, `names`, `anyProgram`, `writing`, `longer`.
    pub(super) grant: &'static str,
    pub(super) text: String,
    /// Sensitive paths among it.
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    pub(super) opens: &'a [&'static str],
}

impl<'a> Rule<'a> {
    pub(super) fn of(evidence: &'a RuleEvidence) -> Self {
        let RuleEvidence {
            class,
            target,
            source,
            read_only,
            observations,
            runs,
            first,
            last,
            sources,
            samples,
            classes,
            grants,
            marks,
        } = evidence;
        let exact = |path: &crate::path::AbsPath| {
            // Rules are only made of paths that are text.
            path.as_str()
                .map_or_else(|| path.to_string(), str::to_owned)
        };
        Self {
            class: *class,
            target: match target {
                Target::Path(path) => Aim::Path { path: exact(path) },
                Target::Directory { dir, recursive } => Aim::Directory {
                    dir: exact(dir),
                    recursive: *recursive,
                },
                Target::Pattern(shape) => Aim::Pattern {
                    pattern: shape.glob(),
                    shape: said(shape),
                },
            },
            from_source: source.as_ref().map(Path),
            read_only: *read_only,
            observations: *observations,
            runs: *runs,
            first_seen: time(*first),
            last_seen: time(*last),
            programs: sources.iter().map(Path).collect(),
            samples: samples.iter().map(Path).collect(),
            classes: classes.iter().copied().collect(),
            grants: grants.iter().map(Granted::of).collect(),
            marks: marks.clone(),
            wide: evidence.is_wide(),
            shown: said(target),
        }
    }

    pub(super) fn grants(&self, which: &str) -> bool {
        self.grants.iter().any(|granted| granted.grant == which)
    }

    /// What may be done by it.
    pub(super) fn access(&self) -> &'static str {
        match (self.class, self.read_only) {
            (RuleClass::Process, _) => "execute",
            (RuleClass::File, true) => "read",
            (RuleClass::File, false) => "read, write",
        }
    }

    /// The samples, unless they only say again what the rule is about.
    pub(super) fn telling_samples(&self) -> &[Path<'a>] {
        match self.target {
            Aim::Path { .. } => &[],
            Aim::Directory { .. } | Aim::Pattern { .. } => &self.samples,
        }
    }
}

impl<'a> Granted<'a> {
    fn of(grant: &'a Grant) -> Self {
        let (name, opens): (_, &[&str]) = match grant {
            Grant::Directory { opens, .. } => ("directory", opens),
            Grant::Names => ("names", &[]),
            Grant::AnyProgram => ("anyProgram", &[]),
            Grant::Writing => ("writing", &[]),
            Grant::Longer => ("longer", &[]),
        };
        Self {
            grant: name,
            text: said(grant),
            opens,
        }
    }
}

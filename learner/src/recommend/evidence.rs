//! Where a rule comes from, and what it allows beyond that.

use std::collections::BTreeSet;
use std::fmt;

use super::mark::{Mark, marks};
use crate::generalize::{Chosen, Class, RuleClass, Target, opened};
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::policy::crd::MAX_KEY_BYTES;

/// A rule of the policy with what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleEvidence {
    /// Process or file.
    pub class: RuleClass,
    /// The path, directory or pattern.
    pub target: Target,
    /// For this program alone.
    pub source: Option<AbsPath>,
    /// Reading only.
    pub read_only: bool,
    /// Events that it allows.
    pub observations: u64,
    /// Runs that showed one of them.
    pub runs: usize,
    /// First seen.
    pub first: Moment,
    /// Last seen.
    pub last: Moment,
    /// The programs that were seen to act; empty where the recorder could not tell.
    pub sources: BTreeSet<AbsPath>,
    /// Paths as they were, the first few.
    pub samples: BTreeSet<AbsPath>,
    /// Classes of the names that vary, and so widened it.
    pub classes: BTreeSet<Class>,
    /// What it allows that was not seen.
    pub grants: Vec<Grant>,
    /// What an attacker would use it for.
    pub marks: Vec<Mark>,
}

/// Something that a rule allows and nobody was seen to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Other names in a directory.
    Directory {
        /// All below it, not only its direct children.
        recursive: bool,
        /// Sensitive paths among them.
        opens: Vec<&'static str>,
    },
    /// Other names of the same classes.
    Names,
    /// Other programs of the workload than those that were seen.
    AnyProgram,
    /// Writing, where only reading was seen.
    Writing,
    /// Every path that begins with this one.
    Longer,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { recursive, opens } => {
                f.write_str(if *recursive {
                    "everything below it"
                } else {
                    "every name in it"
                })?;
                if !opens.is_empty() {
                    write!(f, ", {} among it", opens.join(", "))?;
                }
                Ok(())
            }
            Self::Names => f.write_str("other names of the same classes"),
            Self::AnyProgram => f.write_str("other programs of the workload"),
            Self::Writing => f.write_str("writing, where only reading was seen"),
            Self::Longer => f.write_str("every path that begins with it"),
        }
    }
}

impl RuleEvidence {
    pub(super) fn of(chosen: &Chosen) -> Self {
        let mut runs = BTreeSet::new();
        let mut evidence = Self {
            class: chosen.rule.class,
            target: chosen.rule.target.clone(),
            source: chosen.rule.source.clone(),
            read_only: chosen.read_only,
            observations: 0,
            runs: 0,
            first: Moment(i64::MAX),
            last: Moment(i64::MIN),
            sources: BTreeSet::new(),
            samples: BTreeSet::new(),
            classes: BTreeSet::new(),
            grants: Vec::new(),
            marks: marks(&chosen.rule),
        };
        let mut writes = false;
        for (need, support) in &chosen.needs {
            runs.extend(support.runs());
            evidence.observations = evidence.observations.saturating_add(support.count);
            evidence.first = evidence.first.min(support.first);
            evidence.last = evidence.last.max(support.last);
            evidence.sources.extend(need.source.clone());
            evidence.samples.extend(support.samples.iter().cloned());
            evidence.classes.extend(need.shape.classes());
            writes |= support.writes;
        }
        while evidence.samples.len() > SAMPLES {
            evidence.samples.pop_last();
        }
        evidence.runs = runs.len();
        evidence.grants = evidence.granted(writes);
        evidence
    }

    fn granted(&self, writes: bool) -> Vec<Grant> {
        let mut grants = Vec::new();
        match &self.target {
            Target::Path(path) if path.as_bytes().len() == MAX_KEY_BYTES => {
                grants.push(Grant::Longer);
            }
            Target::Path(_) => {}
            Target::Directory { dir, recursive } => grants.push(Grant::Directory {
                recursive: *recursive,
                opens: opened(dir, *recursive),
            }),
            Target::Pattern(shape) => {
                if shape.classes().contains(&Class::Within) {
                    grants.push(Grant::Directory {
                        recursive: true,
                        opens: Vec::new(),
                    });
                }
                if shape.varies() || shape.glob().contains('?') {
                    grants.push(Grant::Names);
                }
            }
        }
        if self.source.is_none() && !self.sources.is_empty() {
            grants.push(Grant::AnyProgram);
        }
        if self.class == RuleClass::File && !writes && !self.read_only {
            grants.push(Grant::Writing);
        }
        grants
    }
}

/// So many raw paths are kept as samples of a rule.
const SAMPLES: usize = 5;

impl RuleEvidence {
    /// Whether it opens more than the names that were seen, or that are like them.
    pub fn is_wide(&self) -> bool {
        self.grants
            .iter()
            .any(|grant| matches!(grant, Grant::Directory { .. } | Grant::Longer))
    }
}

/// In one line: what it is about, for whom, and what it grants.
impl fmt::Display for RuleEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            RuleClass::Process => "process",
            RuleClass::File => "file",
        };
        write!(f, "{class} {}", self.target)?;
        if let Some(source) = &self.source {
            write!(f, " by {source}")?;
        }
        if self.read_only {
            f.write_str(", read-only")?;
        }
        for (at, grant) in self.grants.iter().enumerate() {
            write!(f, "{} {grant}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

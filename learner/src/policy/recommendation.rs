//! A policy and all that has to be said about it; or why there is none.

use std::fmt;

use super::crd::{MAX_DEPTH, MAX_DIR_BYTES, MAX_ENTRIES, MAX_KEY_BYTES};
use super::document::Policy;
use crate::observation::Loss;
use crate::path::AbsPath;
use crate::workload::Workload;

/// A policy for one workload, with what it leaves out and what it grants beyond what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Whose policy.
    pub workload: Workload,
    /// The policy.
    pub policy: Policy,
    /// What was seen and KubeArmor cannot be told, in the order of the paths.
    pub unexpressed: Vec<Unexpressed>,
    /// What else one has to know before the policy is used.
    pub notes: Vec<Note>,
}

/// A path that was seen and has no rule: under a blocking posture KubeArmor would refuse it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unexpressed {
    /// The path.
    pub what: AbsPath,
    /// Why it has no rule.
    pub reason: Reason,
}

/// Why a path has no rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// YAML and KubeArmor's CRD hold text.
    NotUtf8,
    /// The CRD's pattern does not match a newline before the end.
    Newline,
    /// KubeArmor compares [`MAX_KEY_BYTES`] at most.
    TooLong {
        /// The length of the path.
        bytes: usize,
    },
    /// `//`, `/./` or `/../`: KubeArmor compares resolved paths, which have none.
    NotResolved,
    /// A program whose path ends in a slash.
    NotAProgram,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("it is not UTF-8, and a policy holds only text"),
            Self::Newline => f.write_str("KubeArmor's CRD refuses a newline within a path"),
            Self::TooLong { bytes } => write!(
                f,
                "it is {bytes} bytes long, and KubeArmor matches {MAX_KEY_BYTES} at most"
            ),
            Self::NotResolved => f.write_str(
                "it holds '//', '.' or '..', and KubeArmor compares resolved paths, which do not",
            ),
            Self::NotAProgram => f.write_str("it ends in '/', which no program does"),
        }
    }
}

impl fmt::Display for Unexpressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, reason } = self;
        write!(f, "no rule for {what}: {reason}")
    }
}

/// Something that the policy alone does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Runs that were not watched whole: what they did may be more than what was seen.
    PartialEvidence {
        /// So many of them.
        partial: usize,
        /// Of so many.
        runs: usize,
    },
    /// Events that were seen and could not be recorded.
    Lost {
        /// Why.
        reason: Loss,
        /// How many, over all runs.
        count: u64,
    },
    /// Only the image of the latest run was learned from.
    OtherImages {
        /// The one.
        used: String,
        /// The others.
        left_out: Vec<String>,
    },
    /// Runs of the same image had other labels; those of the latest run select.
    LabelsDiffer,
    /// Several containers of the owner were watched, so the policy is for one of them.
    OneContainer {
        /// The one.
        container: String,
    },
    /// No program was seen to start: the policy does not restrict programs.
    NoPrograms,
    /// No file was seen to be used: the policy does not restrict files.
    NoFiles,
    /// `/` was opened. KubeArmor never enforces it, so it needs no rule.
    RootOpened,
    /// Directories that were opened: their rules also allow their direct children.
    GrantsChildren {
        /// With a slash at the end.
        directories: Vec<AbsPath>,
    },
    /// Directories too long for their children to be found by the BPF-LSM enforcer.
    ChildrenNotFound {
        /// With a slash at the end.
        directories: Vec<AbsPath>,
    },
    /// Paths of just the longest length: their rules match whatever begins with them.
    GrantsLonger {
        /// Those paths.
        paths: Vec<AbsPath>,
    },
    /// Paths deeper than the BPF-LSM enforcer looks.
    TooDeep {
        /// Those paths.
        paths: Vec<AbsPath>,
    },
    /// More rules than a container's rule map has room for.
    TooManyRules {
        /// So many.
        rules: usize,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PartialEvidence { partial, runs } => write!(
                f,
                "partial evidence: {partial} of {runs} runs were not watched whole, so the policy may lack what they did unseen"
            ),
            Self::Lost { reason, count } => write!(
                f,
                "lost {count} events ({}): the policy may lack what they did",
                reason.as_str().escape_debug()
            ),
            Self::OtherImages { used, left_out } => write!(
                f,
                "learned from image '{}' alone, that of the latest run; left out: '{}'",
                used.escape_debug(),
                left_out.join("', '").escape_debug()
            ),
            Self::LabelsDiffer => {
                f.write_str("the runs have different labels; those of the latest run select")
            }
            Self::OneContainer { container } => write!(
                f,
                "several containers of the owner were watched; the policy selects '{}' alone",
                container.escape_debug()
            ),
            Self::NoPrograms => f.write_str(
                "no program was seen to start, so the policy does not restrict programs",
            ),
            Self::NoFiles => {
                f.write_str("no file was seen to be used, so the policy does not restrict files")
            }
            Self::RootOpened => {
                f.write_str("'/' itself was opened; KubeArmor never enforces it, so it has no rule")
            }
            Self::GrantsChildren { directories } => write!(
                f,
                "granted beyond what was seen: the direct children of {}, which were opened as directories",
                List(directories)
            ),
            Self::ChildrenNotFound { directories } => write!(
                f,
                "longer than {MAX_DIR_BYTES} bytes, so the BPF-LSM enforcer allows the directory and not its children: {}",
                List(directories)
            ),
            Self::GrantsLonger { paths } => write!(
                f,
                "granted beyond what was seen: every path that begins with {} ({MAX_KEY_BYTES} bytes, all that KubeArmor compares)",
                List(paths)
            ),
            Self::TooDeep { paths } => write!(
                f,
                "deeper than the {MAX_DEPTH} components that the BPF-LSM enforcer follows, so their rules never match there: {}",
                List(paths)
            ),
            Self::TooManyRules { rules } => write!(
                f,
                "{rules} rules, and a container's rule map has room for {MAX_ENTRIES} entries: KubeArmor would drop some of them"
            ),
        }
    }
}

/// A line of text names so many paths; the policy itself has all of them.
const NAMED: usize = 20;

struct List<'a>(&'a [AbsPath]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().take(NAMED).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{path}")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more, all in the policy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_says_by_how_much() {
        let paths: Vec<AbsPath> = (0..23)
            .map(|n| AbsPath::new(format!("/d{n}/")).expect("absolute"))
            .collect();
        let text = List(&paths).to_string();
        assert!(text.starts_with("/d0/, /d1/"), "{text}");
        assert!(
            text.ends_with("/d19/ and 3 more, all in the policy"),
            "{text}"
        );
        assert_eq!(List(&paths[..2]).to_string(), "/d0/, /d1/");
    }
}

/// Why there is no policy for a workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No run, or nothing in them that succeeded.
    #[error("nothing was seen to succeed that a policy could allow")]
    NothingSeen,
    /// All that was seen is in the list.
    #[error("nothing that was seen can be said in a KubeArmorPolicy: {}", Sentences(.0))]
    NothingExpressed(Vec<Unexpressed>),
    /// An empty selector would select the whole namespace.
    #[error(
        "its runs carry no labels, and a policy without labels would select the whole namespace"
    )]
    NoLabels,
    /// No pod can carry the label, and leaving it out would select more.
    #[error("'{}={}' is not a Kubernetes label, so no selector can be made of it", key.escape_debug(), value.escape_debug())]
    BadLabel {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Not a DNS-1123 label.
    #[error("'{}' is not the name of a Kubernetes namespace", .0.escape_debug())]
    BadNamespace(String),
}

struct Sentences<'a>(&'a [Unexpressed]);

impl fmt::Display for Sentences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}

//! What has to be said about a policy; or why there is none.

use std::fmt;

use crate::generalize::OverBudget;
use crate::observation::Loss;
use crate::path::AbsPath;
use crate::policy::Reason;
use crate::policy::crd::{MAX_DEPTH, MAX_KEY_BYTES};

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
    /// Rules whose paths are just of the longest length match whatever begins with them.
    GrantsLonger {
        /// Those paths.
        paths: Vec<AbsPath>,
    },
    /// Paths deeper than the BPF-LSM enforcer looks.
    TooDeep {
        /// Those paths.
        paths: Vec<AbsPath>,
    },
    /// Files of the image that are written. On an overlay root the first write to each also opens a
    /// work file on the host's file system, in the name of the writer, which no rule names.
    CopiesUp {
        /// Those paths.
        paths: Vec<AbsPath>,
    },
    /// Programs called `e` or `f` meet KubeArmor's own entries for postures.
    PostureNames {
        /// Those paths.
        paths: Vec<AbsPath>,
    },
    /// What was forgotten lies where a rule for a directory or a pattern allows it all the same.
    GrantsForgotten {
        /// What was forgotten.
        paths: Vec<AbsPath>,
    },
    /// Operations that were seen and that the enforcer would not allow all the same.
    NotAllowed {
        /// The operation, and what decides.
        operations: Vec<String>,
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
            Self::CopiesUp { paths } => write!(
                f,
                "files of the image are written; on an overlay root KubeArmor's BPF-LSM enforcer denies the first write to each under block posture, since the file system then opens a work file of its own: put them on a volume: {}",
                List(paths)
            ),
            Self::PostureNames { paths } => write!(
                f,
                "a program called 'e' or 'f' meets KubeArmor's own entry for a posture and escapes its list: {}",
                List(paths)
            ),
            Self::GrantsForgotten { paths } => write!(
                f,
                "forgotten, and allowed all the same by a rule for where it lies: {}",
                List(paths)
            ),
            Self::NotAllowed { operations } => write!(
                f,
                "seen, and not allowed by the enforcer all the same: {}",
                Cut(operations)
            ),
        }
    }
}

/// A line of text names so many; the report has all of them.
const NAMED: usize = 20;

struct List<'a>(&'a [AbsPath]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Cut(self.0).fmt(f)
    }
}

struct Cut<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Cut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().take(NAMED).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{item}")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more, all in the report"),
        }
    }
}

/// Why there is no policy for a workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No run, or nothing in them that succeeded.
    #[error("nothing was seen to succeed that a policy could allow")]
    NothingSeen,
    /// All that was seen is held back.
    #[error("all that was seen is held in quarantine; `--include` names what may be learned")]
    AllHeld,
    /// All that was seen is left out.
    #[error("nothing that was seen can be said in a KubeArmorPolicy: {}", Sentences(.0))]
    NothingExpressed(Vec<(AbsPath, Reason)>),
    /// It does not fit.
    #[error(
        "{0}; what can be done: --tightness durable, --enforcer apparmor (no such limit), or one container for fewer programs"
    )]
    OverBudget(#[from] OverBudget),
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

struct Sentences<'a>(&'a [(AbsPath, Reason)]);

impl fmt::Display for Sentences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (path, reason)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "no rule for {path}: {reason}")?;
        }
        Ok(())
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
            text.ends_with("/d19/ and 3 more, all in the report"),
            "{text}"
        );
        assert_eq!(List(&paths[..2]).to_string(), "/d0/, /d1/");
    }
}

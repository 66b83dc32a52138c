//! What becomes of an operation, and why.

use std::fmt;
use std::sync::Arc;

use super::enforcer::{Class, Posture};
use crate::policy::document::Effect;

/// What becomes of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it is done.
    pub verdict: Verdict,
    /// Whether KubeArmor reports it. Where the verdict is unknown: whether it may.
    pub alert: bool,
    /// What decided.
    pub why: Why,
}

/// Whether an operation is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is done.
    Allowed,
    /// It fails: with EACCES, or with EPERM where a capability is refused.
    Denied,
    /// What is known of it does not decide; [`Judgement::why`] says what is missing.
    Unknown,
}

/// A rule, as it can be found in its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name of the policy.
    pub policy: String,
    /// The field: `spec.file.matchPaths[3]`.
    pub field: String,
    /// The program that the rule is bound to.
    pub source: Option<String>,
    /// What it says.
    pub effect: Effect,
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A rule that matches.
    Rule {
        /// The rule.
        rule: Arc<Rule>,
        /// What of it.
        because: Because,
    },
    /// No rule of the class matches, and at least one allows something.
    Posture {
        /// The class.
        class: Class,
        /// What happens then.
        posture: Posture,
    },
    /// No rule of the class matches, and none allows anything.
    NotRestricted(Class),
    /// A program named `e` or `f`: KubeArmor finds its own posture key under that name.
    PostureKey,
    /// The root directory, or a file without a path: KubeArmor cannot name it and does nothing.
    Nameless,
    /// AppArmor: part of every profile that KubeArmor writes.
    Baseline,
    /// The kernel asks no hook that KubeArmor has.
    NoHook,
    /// What is not known and decides.
    Missing(Fact),
    /// The file is copied up from the image, under a path of the host that no rule allows.
    CopyUp(Box<Why>),
    /// What KubeArmor does here was not measured.
    NotMeasured(&'static str),
}

/// What of a rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Because {
    /// It allows.
    Allows,
    /// It blocks.
    Blocks,
    /// It allows reading only.
    ReadOnly,
    /// It is for the owner, and the actor is not.
    NotOwner,
    /// It is for the owner, and the actor is.
    Owner,
    /// The process has a terminal.
    Terminal,
    /// The process has no terminal.
    NoTerminal,
    /// It blocks other arguments.
    Arguments,
    /// It blocks, but the acting program has no path and the class has an Allow rule.
    SourceNameless,
}

/// What may not be known of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// The acting program.
    Source,
    /// Whether the actor owns the file.
    Owner,
    /// Who the actor is.
    User,
    /// Whether the process has a terminal.
    Terminal,
    /// The arguments of the program.
    Arguments,
    /// Whether the file is from the image.
    Layer,
    /// The overlay's work directory.
    WorkDirectory,
    /// The capabilities that the file system asks for in the actor's name.
    Capabilities,
}

impl Judgement {
    pub(super) fn allowed(why: Why) -> Self {
        Self {
            verdict: Verdict::Allowed,
            alert: false,
            why,
        }
    }

    pub(super) fn reported(why: Why) -> Self {
        Self {
            alert: true,
            ..Self::allowed(why)
        }
    }

    pub(super) fn denied(why: Why) -> Self {
        Self {
            verdict: Verdict::Denied,
            alert: true,
            why,
        }
    }

    pub(super) fn unknown(why: Why) -> Self {
        Self {
            verdict: Verdict::Unknown,
            alert: true,
            why,
        }
    }

    /// The next hook of the same operation: what is refused stays refused, and a report is a
    /// report whichever hook made it.
    pub(super) fn then(self, next: impl FnOnce() -> Self) -> Self {
        match self.verdict {
            Verdict::Denied => self,
            Verdict::Allowed => {
                let next = next();
                Self {
                    alert: self.alert || next.alert,
                    // An operation that is let through is explained by its first hook, unless a
                    // later one had something to report.
                    why: if next.verdict == Verdict::Allowed && (self.alert || !next.alert) {
                        self.why
                    } else {
                        next.why
                    },
                    verdict: next.verdict,
                }
            }
            Verdict::Unknown => {
                let next = next();
                if next.verdict == Verdict::Denied {
                    next
                } else {
                    self
                }
            }
        }
    }

    /// Either this or the other happens, and it is not known which.
    pub(super) fn or(self, other: Self, fact: Fact) -> Self {
        if self.verdict == other.verdict {
            Self {
                alert: self.alert || other.alert,
                ..self
            }
        } else {
            Self::unknown(Why::Missing(fact))
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reported = match (self.verdict, self.alert) {
            (Verdict::Allowed, true) => " and reported",
            _ => "",
        };
        write!(f, "{}{reported}: {}", self.verdict, self.why)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.field, self.policy.escape_debug())?;
        if let Some(source) = &self.source {
            write!(f, " for {}", source.escape_debug())?;
        }
        Ok(())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { rule, because } => write!(f, "{rule} {because}"),
            Self::Posture { class, posture } => {
                write!(
                    f,
                    "no rule allows it, and the posture of {class} is {posture}"
                )
            }
            Self::NotRestricted(class) => write!(f, "no policy restricts {class}"),
            Self::PostureKey => f.write_str(
                "the program has the name of KubeArmor's own posture key, and its owner may run it",
            ),
            Self::Nameless => f.write_str("KubeArmor cannot name the file and does nothing"),
            Self::Baseline => f.write_str("it is in every AppArmor profile of KubeArmor"),
            Self::NoHook => f.write_str("KubeArmor is not asked"),
            Self::Missing(fact) => write!(f, "{fact} decides and is not known"),
            Self::CopyUp(why) => write!(
                f,
                "the file is copied up from the image under a path of the host, and {why}"
            ),
            Self::NotMeasured(what) => write!(f, "{what} was not measured"),
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allows => "allows it",
            Self::Blocks => "blocks it",
            Self::ReadOnly => "allows reading only",
            Self::NotOwner => "is for the owner, who does not act",
            Self::Owner => "is for the owner, who acts",
            Self::Terminal => "refuses processes with a terminal",
            Self::NoTerminal => "refuses only processes with a terminal",
            Self::Arguments => "blocks it with these arguments",
            Self::SourceNameless => {
                "blocks it, but not for a program without a path where the class has an Allow rule"
            }
        })
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "which program acts",
            Self::Owner => "whether the actor owns the file",
            Self::User => "which user acts",
            Self::Terminal => "whether the process has a terminal",
            Self::Arguments => "with which arguments the program starts",
            Self::Layer => "whether the file is from the image",
            Self::WorkDirectory => "where the overlay keeps its work directory",
            Self::Capabilities => "which capabilities the overlay asks for",
        })
    }
}

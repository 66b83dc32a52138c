//! Enforcers, classes of rules and postures.

use std::fmt;
use std::str::FromStr;

/// What enforces the policies on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Enforcer {
    /// BPF programs on LSM hooks: `bpf`.
    Bpf,
    /// Profiles of the AppArmor LSM: `apparmor`.
    AppArmor,
    /// Learner's own programs on LSM hooks: `learner`. The rules of [`Enforcer::Bpf`] without its
    /// limits, for programs and files; sockets, capabilities and arguments are not looked at.
    Learner,
}

/// What KubeArmor does with what no rule of a class allows, once the class has an Allow rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Posture {
    /// Let it happen and report it: `audit`.
    Audit,
    /// Refuse it and report it: `block`.
    Block,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Programs.
    Process,
    /// Files.
    File,
    /// Sockets.
    Network,
    /// Capabilities.
    Capabilities,
}

/// The posture of each class. There is none for programs: they go by that of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postures {
    /// For files and programs.
    pub file: Posture,
    /// For sockets.
    pub network: Posture,
    /// For capabilities.
    pub capabilities: Posture,
}

impl Postures {
    /// The same for all classes.
    pub fn all(posture: Posture) -> Self {
        Self {
            file: posture,
            network: posture,
            capabilities: posture,
        }
    }

    /// That of a class.
    pub fn of(&self, class: Class) -> Posture {
        match class {
            Class::Process | Class::File => self.file,
            Class::Network => self.network,
            Class::Capabilities => self.capabilities,
        }
    }
}

/// Not one of the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not one of: {}", found.escape_debug(), words.join(", "))]
pub struct UnknownWord {
    found: String,
    words: &'static [&'static str],
}

impl FromStr for Enforcer {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "bpf" => Ok(Self::Bpf),
            "apparmor" => Ok(Self::AppArmor),
            "learner" => Ok(Self::Learner),
            _ => Err(UnknownWord {
                found: text.to_owned(),
                words: &["bpf", "apparmor", "learner"],
            }),
        }
    }
}

impl FromStr for Posture {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        match text {
            "audit" => Ok(Self::Audit),
            "block" => Ok(Self::Block),
            _ => Err(UnknownWord {
                found: text.to_owned(),
                words: &["audit", "block"],
            }),
        }
    }
}

impl fmt::Display for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bpf => "bpf",
            Self::AppArmor => "apparmor",
            Self::Learner => "learner",
        })
    }
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Audit => "audit",
            Self::Block => "block",
        })
    }
}

/// What the class is called in a sentence: `files`.
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Process => "programs",
            Self::File => "files",
            Self::Network => "sockets",
            Self::Capabilities => "capabilities",
        })
    }
}

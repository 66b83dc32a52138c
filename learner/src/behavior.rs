//! What a workload does: one behaviour is one thing that a policy may allow or deny.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::path::AbsPath;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Access {
    /// For reading: `r`.
    Read,
    /// For writing: `w`.
    Write,
    /// For both: `rw`.
    ReadWrite,
}

impl Access {
    /// `r`, `w` or `rw`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Write => "w",
            Self::ReadWrite => "rw",
        }
    }

    /// The inverse of [`Access::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "r" => Some(Self::Read),
            "w" => Some(Self::Write),
            "rw" => Some(Self::ReadWrite),
            _ => None,
        }
    }
}

/// An operation that KubeArmor's process and file rules govern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Op {
    /// A program was executed; a script and its interpreter are two of these.
    Exec,
    /// A file or directory was opened.
    Open(Access),
    /// A name was made: mknod, a bound Unix socket, or an open that created the file.
    Create,
    /// A directory was made.
    Mkdir,
    /// A name was removed.
    Unlink,
    /// A directory was removed.
    Rmdir,
    /// A name was moved.
    Rename {
        /// The new name.
        to: AbsPath,
    },
    /// A hard link was made.
    Link {
        /// The new name.
        to: AbsPath,
    },
    /// A symbolic link was made; the behaviour's path is the link.
    Symlink,
    /// The mode was changed.
    Chmod,
    /// The length was changed, by truncate, ftruncate or an open with `O_TRUNC`.
    Truncate,
}

impl Op {
    /// The name in recordings: `exec`, `open`, `create`, …
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Open(_) => "open",
            Self::Create => "create",
            Self::Mkdir => "mkdir",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Rename { .. } => "rename",
            Self::Link { .. } => "link",
            Self::Symlink => "symlink",
            Self::Chmod => "chmod",
            Self::Truncate => "truncate",
        }
    }

    /// What of it is named in recordings.
    pub fn kind(&self) -> OpKind {
        OpKind(self.name())
    }

    /// The second path of a rename or link.
    pub fn to(&self) -> Option<&AbsPath> {
        match self {
            Self::Rename { to } | Self::Link { to } => Some(to),
            _ => None,
        }
    }

    /// The access of an open.
    pub fn access(&self) -> Option<Access> {
        match self {
            Self::Open(access) => Some(*access),
            _ => None,
        }
    }
}

/// The kind of an operation: its name in recordings, without access and second path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct OpKind(&'static str);

impl<'de> Deserialize<'de> for OpKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| D::Error::custom("no operation has this name"))
    }
}

impl OpKind {
    /// All there are, in the order of [`Op`].
    pub const ALL: [Self; 11] = [
        Self("exec"),
        Self("open"),
        Self("create"),
        Self("mkdir"),
        Self("unlink"),
        Self("rmdir"),
        Self("rename"),
        Self("link"),
        Self("symlink"),
        Self("chmod"),
        Self("truncate"),
    ];

    /// The inverse of [`OpKind::as_str`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.0 == name)
    }

    /// The name in recordings.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// What the kernel answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done: may be learned from.
    Ok,
    /// It failed with this errno, by name (`ENOENT`): never learned from.
    Failed(String),
}

impl Outcome {
    /// `ok` or the errno's name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ok => "ok",
            Self::Failed(errno) => errno,
        }
    }
}

/// One thing that a workload did, apart from when and how often.
///
/// `None` in a field means that the recorder could not tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Behavior {
    /// The operation.
    pub op: Op,
    /// The path it was done to, resolved, as seen from the container's root.
    ///
    /// A directory that was opened itself has a slash at the end: `/usr/`, and `/` for the root.
    /// No other operation has one.
    pub path: AbsPath,
    /// Executable of the acting process; for [`Op::Exec`] that of the parent task, which is what
    /// KubeArmor's `fromSource` means there.
    pub source: Option<AbsPath>,
    /// The acting user.
    pub uid: Option<u32>,
    /// The acting user owns the file, or for a new name the directory it is made in.
    pub owner: Option<bool>,
    /// The file is not from the image (overlay upper layer): it was made at run time.
    pub upper: Option<bool>,
    /// The process has a terminal: an interactive session.
    pub tty: Option<bool>,
    /// What the kernel answered.
    pub result: Outcome,
}

impl Behavior {
    /// Whether a policy may be learned from it: only what succeeded may.
    pub fn is_learnable(&self) -> bool {
        self.result == Outcome::Ok
    }
}

impl fmt::Display for Behavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.name(), self.path)?;
        if let Some(to) = self.op.to() {
            write!(f, " to {to}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " by {source}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_of_a_kind_that_can_be_named() {
        let to = AbsPath::try_from("/b").expect("absolute");
        let all = [
            Op::Exec,
            Op::Open(Access::Read),
            Op::Create,
            Op::Mkdir,
            Op::Unlink,
            Op::Rmdir,
            Op::Rename { to: to.clone() },
            Op::Link { to },
            Op::Symlink,
            Op::Chmod,
            Op::Truncate,
        ];
        assert_eq!(all.each_ref().map(Op::kind), OpKind::ALL);
        for op in all {
            assert_eq!(OpKind::parse(op.name()), Some(op.kind()));
        }
        assert_eq!(OpKind::parse("start"), None);
    }
}

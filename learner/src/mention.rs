//! What a person names: behaviours by a path, and by operation and acting program where told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::behavior::{Behavior, OpKind};
use crate::path::{AbsPath, NotAbsolute};
use crate::workload::Workload;

/// Behaviours that a person names together.
///
/// A path that ends in a slash means the directory and all that is below it, at any depth; `/` is
/// everything. Any other path means that name alone, also where it was opened as a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mention {
    /// Only operations of this kind; all, if not told.
    pub op: Option<OpKind>,
    /// The name, or with a slash at the end all below it.
    pub path: AbsPath,
    /// Only what this program did; for an exec, its parent. All, if not told.
    pub source: Option<AbsPath>,
}

/// Why text names no behaviours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMention {
    /// What is before the colon names no operation.
    #[error("'{0}' is no operation: PATH or OP:PATH, where OP is one of {ops}", ops = all_ops())]
    Op(String),
    /// The path is none.
    #[error(transparent)]
    Path(#[from] NotAbsolute),
}

fn all_ops() -> String {
    OpKind::ALL.map(OpKind::as_str).join(", ")
}

impl Mention {
    /// Reads `PATH` or `OP:PATH`. What begins with a slash is a path, whatever colons it has.
    ///
    /// # Errors
    /// [`BadMention`] for an unknown operation, or a path that is not absolute.
    pub fn parse(text: &[u8]) -> Result<Self, BadMention> {
        let colon = text.iter().position(|byte| *byte == b':');
        let (op, path) = match colon {
            Some(at) if text[0] != b'/' => {
                let name = String::from_utf8_lossy(&text[..at]);
                let op = OpKind::parse(&name)
                    .ok_or_else(|| BadMention::Op(name.escape_default().to_string()))?;
                (Some(op), &text[at + 1..])
            }
            _ => (None, text),
        };
        Ok(Self {
            op,
            path: AbsPath::new(path)?,
            source: None,
        })
    }

    /// Whether every path of the behaviour is named: what is granted for it was asked for.
    pub fn covers(&self, behavior: &Behavior) -> bool {
        self.is_of(behavior)
            && self.names(&behavior.path)
            && behavior.op.to().is_none_or(|to| self.names(to))
    }

    /// Whether any path of the behaviour is named.
    pub fn touches(&self, behavior: &Behavior) -> bool {
        self.is_of(behavior)
            && (self.names(&behavior.path) || behavior.op.to().is_some_and(|to| self.names(to)))
    }

    fn is_of(&self, behavior: &Behavior) -> bool {
        self.op.is_none_or(|op| op == behavior.op.kind())
            && self
                .source
                .as_ref()
                .is_none_or(|source| behavior.source.as_ref() == Some(source))
    }

    fn names(&self, path: &AbsPath) -> bool {
        let (wanted, path) = (self.path.as_bytes(), path.as_bytes());
        let object = path.strip_suffix(b"/").unwrap_or(path);
        match wanted.strip_suffix(b"/") {
            Some(dir) => object == dir || path.starts_with(wanted),
            None => object == wanted,
        }
    }
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Some(op) => write!(f, "{} {}", op.as_str(), self.path)?,
            None => write!(f, "{}", self.path)?,
        }
        if let Some(source) = &self.source {
            write!(f, " by {source}")?;
        }
        Ok(())
    }
}

/// What must not be learned again, by workload, in every revision of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(BTreeMap<Workload, BTreeSet<Mention>>);

impl Tombstones {
    /// Adds one.
    pub fn insert(&mut self, workload: Workload, mention: Mention) {
        self.0.entry(workload).or_default().insert(mention);
    }

    /// Whether the workload must not be learned to do it. A rename or link is forgotten with either
    /// of its names.
    pub fn bury(&self, workload: &Workload, behavior: &Behavior) -> bool {
        self.0
            .get(workload)
            .is_some_and(|mentions| mentions.iter().any(|mention| mention.touches(behavior)))
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Workload, &Mention)> {
        self.0
            .iter()
            .flat_map(|(workload, mentions)| mentions.iter().map(move |m| (workload, m)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Workload, Mention)> for Tombstones {
    fn from_iter<I: IntoIterator<Item = (Workload, Mention)>>(all: I) -> Self {
        let mut tombstones = Self::default();
        for (workload, mention) in all {
            tombstones.insert(workload, mention);
        }
        tombstones
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behavior::{Access, Op, Outcome};

    fn path(text: &str) -> AbsPath {
        AbsPath::try_from(text).expect("absolute")
    }

    fn did(op: Op, at: &str, source: Option<&str>) -> Behavior {
        Behavior {
            op,
            path: path(at),
            source: source.map(path),
            uid: None,
            owner: None,
            upper: None,
            tty: None,
            result: Outcome::Ok,
        }
    }

    fn named(text: &str) -> Mention {
        Mention::parse(text.as_bytes()).expect("a mention")
    }

    #[test]
    fn a_slash_at_the_end_names_all_below_and_nothing_beside() {
        let read = |at: &str| did(Op::Open(Access::Read), at, None);
        for (mention, at, wanted) in [
            ("/srv/a", "/srv/a", true),
            ("/srv/a", "/srv/a/", true),
            ("/srv/a", "/srv/a/b", false),
            ("/srv/a", "/srv/ab", false),
            ("/srv/a/", "/srv/a/", true),
            ("/srv/a/", "/srv/a", true),
            ("/srv/a/", "/srv/a/b/c", true),
            ("/srv/a/", "/srv/ab", false),
            ("/", "/", true),
            ("/", "/srv", true),
            ("open:/srv/a", "/srv/a", true),
            ("exec:/srv/a", "/srv/a", false),
        ] {
            assert_eq!(named(mention).covers(&read(at)), wanted, "{mention} {at}");
        }
    }

    #[test]
    fn a_rename_is_granted_by_both_names_and_forgotten_by_either() {
        let rename = did(Op::Rename { to: path("/b/x") }, "/a/x", None);
        assert!(!named("/a/").covers(&rename) && named("/a/").touches(&rename));
        assert!(!named("/b/x").covers(&rename) && named("/b/x").touches(&rename));
        assert!(named("rename:/").covers(&rename));
        assert!(!named("/c/").touches(&rename));
    }

    #[test]
    fn a_source_is_needed_where_it_is_told() {
        let mention = Mention {
            source: Some(path("/bin/sh")),
            ..named("exec:/bin/ls")
        };
        assert!(mention.covers(&did(Op::Exec, "/bin/ls", Some("/bin/sh"))));
        assert!(!mention.covers(&did(Op::Exec, "/bin/ls", Some("/bin/bash"))));
        assert!(!mention.covers(&did(Op::Exec, "/bin/ls", None)));
        assert_eq!(mention.to_string(), "exec /bin/ls by /bin/sh");
    }

    #[test]
    fn a_path_may_hold_colons_and_any_bytes_and_an_operation_must_be_one() {
        assert_eq!(named("/a:b").path, path("/a:b"));
        let odd = Mention::parse(b"exec:/a\n\xff:").expect("a mention");
        assert_eq!(odd.path.as_bytes(), b"/a\n\xff:");
        assert_eq!(odd.to_string(), "exec /a\\n\\xff:");
        assert!(matches!(Mention::parse(b"run:/a"), Err(BadMention::Op(_))));
        for relative in ["", "a", "exec:", "exec:a"] {
            let bad = Mention::parse(relative.as_bytes());
            assert_eq!(bad, Err(NotAbsolute::Relative.into()), "{relative}");
        }
    }
}

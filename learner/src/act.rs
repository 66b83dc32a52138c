//! What makes two behaviours one: operation, path and acting program, whoever did it and when.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::path::AbsPath;
use crate::workload::Workload;

/// An operation of a program on a path. Users, owners, terminals and results do not tell two apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Act {
    /// The operation.
    pub op: Op,
    /// The path.
    pub path: AbsPath,
    /// The acting program; for an exec its parent. `None` where the recorder could not tell.
    pub source: Option<AbsPath>,
}

impl Act {
    /// That of a behaviour.
    pub fn of(behavior: &Behavior) -> Self {
        Self {
            op: behavior.op.clone(),
            path: behavior.path.clone(),
            source: behavior.source.clone(),
        }
    }

    /// A behaviour that succeeded, of which nothing else is known.
    pub fn done(&self) -> Behavior {
        Behavior {
            op: self.op.clone(),
            path: self.path.clone(),
            source: self.source.clone(),
            uid: None,
            owner: None,
            upper: None,
            tty: None,
            result: Outcome::Ok,
        }
    }
}

/// Safe for a terminal: `open /etc/passwd by /usr/bin/id`.
impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.done().fmt(f)
    }
}

/// Twelve hexadecimal digits that name an act of a workload.
///
/// The same act of the same workload has the same name in every revision, run and store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ActId([u8; 6]);

impl ActId {
    /// The name of an act.
    pub fn of(workload: &Workload, act: &Act) -> Self {
        let Workload {
            namespace,
            kind,
            name,
            container,
        } = workload;
        let Act { op, path, source } = act;
        let access = op.access().map_or("", Access::as_str);
        let parts = [
            namespace.as_bytes(),
            kind.as_bytes(),
            name.as_bytes(),
            container.as_bytes(),
            op.name().as_bytes(),
            access.as_bytes(),
            path.as_bytes(),
            op.to().map_or(&[][..], AbsPath::as_bytes),
            source.as_ref().map_or(&[][..], AbsPath::as_bytes),
        ];
        let mut hash = Sha256::new();
        for part in parts {
            // Its length before each, so that no name can pass for two.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 6];
        id.copy_from_slice(&digest[..6]);
        Self(id)
    }

    /// Reads what [`ActId`] is shown as; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 6];
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(Self(id))
    }
}

impl fmt::Display for ActId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl TryFrom<String> for ActId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("'{}' is not an id", text.escape_debug()))
    }
}

impl From<ActId> for String {
    fn from(id: ActId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(op: Op, path: &[u8], source: Option<&[u8]>) -> Act {
        let path_of = |bytes: &[u8]| AbsPath::new(bytes).expect("absolute");
        Act {
            op,
            path: path_of(path),
            source: source.map(path_of),
        }
    }

    #[test]
    fn an_id_names_one_act_of_one_workload_and_is_read_back() {
        let web: Workload = "shop/Deployment/web".parse().expect("a workload");
        let other: Workload = "shop/Deployment/we/b".parse().expect("a workload");
        let to = AbsPath::try_from("/b").expect("absolute");
        let acts = [
            act(Op::Exec, b"/a", None),
            act(Op::Exec, b"/a", Some(b"/b")),
            act(Op::Open(Access::Read), b"/a", None),
            act(Op::Open(Access::Write), b"/a", None),
            act(Op::Rename { to: to.clone() }, b"/a", None),
            act(Op::Link { to }, b"/a", None),
            act(Op::Exec, b"/a\n\xff", None),
        ];
        let mut ids = std::collections::BTreeSet::new();
        for act in &acts {
            for workload in [&web, &other] {
                let id = ActId::of(workload, act);
                assert!(ids.insert(id), "{act}");
                assert_eq!(ActId::parse(&id.to_string()), Some(id));
            }
        }
        // It stands in scripts and journals: it never changes.
        assert_eq!(ActId::of(&web, &acts[0]).to_string(), "138443549f56");
        for bad in ["", "12", "zzzzzzzzzzzz", "1234567890abc", "+12345678901"] {
            assert_eq!(ActId::parse(bad), None, "{bad}");
        }
    }
}

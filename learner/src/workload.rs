//! Whose behaviour it is: a workload, a revision of it, a run of that.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One container of one owner, as `namespace/kind/name/container`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// Kubernetes namespace; `default` on a plain host.
    pub namespace: String,
    /// Owner kind: `Deployment`, `StatefulSet`, …; `Command` for an observed command.
    pub kind: String,
    /// Owner name.
    pub name: String,
    /// Container name within the owner's pods.
    pub container: String,
}

impl Workload {
    /// Whether both are containers of one owner.
    pub fn is_beside(&self, other: &Self) -> bool {
        (&self.namespace, &self.kind, &self.name) == (&other.namespace, &other.kind, &other.name)
    }
}

/// `NS/KIND/NAME[/CONTAINER]` was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not NAMESPACE/KIND/NAME or NAMESPACE/KIND/NAME/CONTAINER")]
pub struct BadWorkload(String);

impl FromStr for Workload {
    type Err = BadWorkload;
    /// Without a container the owner's name stands for it.
    fn from_str(text: &str) -> Result<Self, BadWorkload> {
        let parts: Vec<&str> = text.split('/').collect();
        let (namespace, kind, name, container) = match parts[..] {
            [ns, kind, name] => (ns, kind, name, name),
            [ns, kind, name, container] => (ns, kind, name, container),
            _ => return Err(BadWorkload(text.into())),
        };
        if [namespace, kind, name, container]
            .iter()
            .any(|p| p.is_empty())
        {
            return Err(BadWorkload(text.into()));
        }
        Ok(Self {
            namespace: namespace.into(),
            kind: kind.into(),
            name: name.into(),
            container: container.into(),
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            kind,
            name,
            container,
        } = self;
        write!(f, "{namespace}/{kind}/{name}/{container}")
    }
}

/// One life of one container, or of one observed command: the unit of evidence.
///
/// The same `run` under another workload or image is another run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// The workload.
    pub workload: Workload,
    /// Image reference with digest where known, empty otherwise. A new digest is a new revision.
    pub image: String,
    /// Identifies the run within the revision.
    pub run: String,
}

/// The owner's stable match labels: they become the policy's selector.
pub type Labels = BTreeMap<String, String>;

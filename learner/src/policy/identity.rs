//! Which policy it is, and who wrote it.

use std::fmt;

use super::document::{Kind, Policy};

/// Label of what Learner has made, with [`LEARNER`] as its value.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Tag of the policies that Learner recommends.
const LEARNER: &str = "learner";

/// What Kubernetes knows a policy by: applying another one of the same identity replaces it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for the kinds that belong to the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Policy {
    /// What Kubernetes knows it by.
    pub fn identity(&self) -> Identity {
        Identity {
            kind: self.kind,
            namespace: self.namespace().unwrap_or_default().to_owned(),
            name: self.metadata.name.clone(),
        }
    }

    /// Learner recommended it: it has the tag `learner`, or the label or annotation
    /// `app.kubernetes.io/managed-by: learner`.
    pub fn is_learned(&self) -> bool {
        let metadata = &self.metadata;
        self.spec.tags.iter().any(|tag| tag == LEARNER)
            || [&metadata.labels, &metadata.annotations]
                .iter()
                .any(|map| map.get(MANAGED_BY).is_some_and(|value| value == LEARNER))
    }
}

/// `namespace/name`, or the name alone for what belongs to the cluster.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace.escape_debug())?;
        }
        write!(f, "{}", self.name.escape_debug())
    }
}

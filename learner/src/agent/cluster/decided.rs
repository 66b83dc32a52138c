//! What the promotion job has decided of the node's workloads, and whether it is Learner's own programs that
//! enforce it here: as last told, and kept in a file beside the store. Told everything, and asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::unnamed::beside;
use crate::candidate::Ledger;
use crate::cluster::nodes::ENFORCER;
use crate::cluster::postures::Decision;
use crate::cluster::standings::{BadStanding, ledger_of};
use crate::cluster::{EnforcedBy, Enforcement, WorkloadPosture};

/// The namespaces of the pods of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) namespaces: BTreeSet<String>,
    /// All pods of the node are known.
    pub(super) is_whole: bool,
}

/// Whether KubeArmor is there, as the API server told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum KubeArmor {
    Absent,
    /// What its label of the node says.
    There(String),
}

/// An object that could be read, with what it says.
struct Known {
    object: WorkloadPosture,
    ledger: Ledger,
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
struct Kept {
    node: String,
    kubearmor: Option<KubeArmor>,
    postures: Vec<WorkloadPosture>,
}

/// What is decided, of the namespaces that have pods on the node.
pub(super) struct Decided {
    node: String,
    path: PathBuf,
    /// What is in the file.
    written: Option<Vec<u8>>,
    /// Why Learner's own programs cannot enforce on this machine.
    unenforceable: Option<String>,
    kubearmor: Option<KubeArmor>,
    /// That was told since the agent began.
    is_asked: bool,
    wanted: Wanted,
    /// By namespace and name.
    known: BTreeMap<String, BTreeMap<String, Known>>,
    /// What cannot be read, by namespace and name.
    unread: BTreeMap<String, BTreeMap<String, BadStanding>>,
    /// Namespaces of which all was told since the agent began.
    listed: BTreeSet<String>,
}

impl Decided {
    /// Nothing but what an agent of this node on the same store knew last.
    pub(super) fn open(node: &str, store: &Path, unenforceable: Option<String>) -> Self {
        let mut new = Self {
            node: node.to_owned(),
            path: beside(store, "postures.json"),
            written: None,
            unenforceable,
            kubearmor: None,
            is_asked: false,
            wanted: Wanted::default(),
            known: BTreeMap::new(),
            unread: BTreeMap::new(),
            listed: BTreeSet::new(),
        };
        if let Err(cause) = new.read() {
            let path = new.path.display();
            tracing::error!(
                "{path}: what was decided last cannot be read: {cause}; what is enforced stays so until the API \
                 server tells"
            );
        }
        new
    }

    fn read(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let text = match std::fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let kept: Kept = serde_json::from_slice(&text)?;
        if kept.node != self.node {
            return Err(format!("it is of node {}", kept.node.escape_debug()).into());
        }
        for object in kept.postures {
            let ledger = ledger_of(&object)?;
            self.note(object, ledger);
        }
        self.kubearmor = kept.kubearmor;
        self.written = Some(text);
        Ok(())
    }

    /// Writes down what is known, if that is something else than what is in the file: it has this, or, killed
    /// meanwhile, what it had before.
    pub(super) fn keep(&mut self) -> std::io::Result<()> {
        let of_namespaces = self.known.values();
        let postures = of_namespaces.flat_map(|of| of.values().map(|known| known.object.clone()));
        let kept = Kept {
            node: self.node.clone(),
            kubearmor: self.kubearmor.clone(),
            postures: postures.collect(),
        };
        let text = serde_json::to_vec(&kept)?;
        if self.written.as_ref() == Some(&text) {
            return Ok(());
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // Made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, &text)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        self.written = Some(text);
        Ok(())
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn note(&mut self, object: WorkloadPosture, ledger: Ledger) {
        let object = object.in_short();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let name = name(&object);
        let of = self.known.entry(namespace).or_default();
        of.insert(name, Known { object, ledger });
    }

    /// The pods of the node are in these namespaces. What is decided of others is nothing to this node, once
    /// all pods are known.
    pub(super) fn wanted(&mut self, wanted: Wanted) {
        if wanted.is_whole {
            let of_node = |namespace: &String| wanted.namespaces.contains(namespace);
            self.known.retain(|namespace, _| of_node(namespace));
            self.unread.retain(|namespace, _| of_node(namespace));
            self.listed.retain(of_node);
        }
        self.wanted = wanted;
    }

    /// The API server told of a namespace. Of what cannot be read, what was known before goes on being so.
    pub(super) fn told(&mut self, namespace: &str, decision: Decision) {
        let objects = match decision {
            Decision::All(objects) => {
                let names: BTreeSet<String> = objects.iter().map(name).collect();
                let known = self.known.entry(namespace.to_owned()).or_default();
                known.retain(|name, _| names.contains(name));
                self.unread.remove(namespace);
                self.listed.insert(namespace.to_owned());
                objects
            }
            Decision::One(object) => vec![*object],
            Decision::Gone(name) => {
                let known = self.known.entry(namespace.to_owned()).or_default();
                known.remove(&name);
                self.is_read(namespace, &name);
                return;
            }
        };
        for object in objects {
            let name = name(&object);
            match ledger_of(&object) {
                Ok(ledger) => {
                    self.is_read(namespace, &name);
                    self.note(object, ledger);
                }
                Err(bad) => {
                    let unread = self.unread.entry(namespace.to_owned()).or_default();
                    unread.insert(name, bad);
                }
            }
        }
    }

    fn is_read(&mut self, namespace: &str, name: &str) {
        if let Some(unread) = self.unread.get_mut(namespace) {
            unread.remove(name);
        }
    }

    /// What of a namespace cannot be read, if anything.
    pub(super) fn unread(&self, namespace: &str) -> Option<&BadStanding> {
        self.unread.get(namespace)?.values().next()
    }

    /// The API server told whether KubeArmor is there.
    pub(super) fn is_there(&mut self, label: Option<String>) {
        self.kubearmor = Some(label.map_or(KubeArmor::Absent, KubeArmor::There));
        self.is_asked = true;
    }

    /// Who enforces on the node; nothing while it is not known.
    pub(super) fn enforcement(&self) -> Option<Enforcement> {
        Some(match (self.kubearmor.as_ref()?, &self.unenforceable) {
            (KubeArmor::There(label), _) => {
                let label = label.escape_debug();
                Enforcement {
                    by: EnforcedBy::Kubearmor,
                    why: Some(format!("the node is labelled {ENFORCER}: {label}")),
                }
            }
            (KubeArmor::Absent, Some(why)) => Enforcement::nobody(why),
            (KubeArmor::Absent, None) => Enforcement {
                by: EnforcedBy::Learner,
                why: None,
            },
        })
    }

    /// Where the workloads stand, for who enforces it: nothing where KubeArmor does, or where that is not
    /// known.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        if self.kubearmor == Some(KubeArmor::Absent) {
            for known in self.known.values().flat_map(BTreeMap::values) {
                ledger.absorb(&known.ledger);
            }
        }
        ledger
    }

    /// Whether all of it is as the API server told since the agent began.
    pub(super) fn is_whole(&self) -> bool {
        self.is_asked && self.wanted.is_whole && self.wanted.namespaces.is_subset(&self.listed)
    }
}

/// Who enforces: not who is to, where that was tried in vain.
pub(super) fn in_fact(
    is_to: Option<&Enforcement>,
    unenforced: Option<String>,
) -> Option<Enforcement> {
    let is_to = is_to?.clone();
    Some(match (is_to.by, unenforced) {
        (EnforcedBy::Learner, Some(why)) => Enforcement::nobody(&why),
        _ => is_to,
    })
}

fn name(object: &WorkloadPosture) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests;

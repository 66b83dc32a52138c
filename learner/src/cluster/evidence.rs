//! `WorkloadEvidence`: what one node has seen of one revision of a workload, or a piece of it.
#![expect(
    unreachable_pub,
    reason = "kube derives a copy of the specification for its schema"
)]

use std::collections::{BTreeMap, BTreeSet};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::workload::Workload;

/// What one node has seen of a workload at one image. Names that vary are told by their class
/// (`/proc/{pid}/stat`), as far as the node could settle them. Written by the node's agent, which
/// overwrites it; what is too large is several pieces.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "learner.dev",
    version = "v1alpha1",
    kind = "WorkloadEvidence",
    plural = "workloadevidences",
    shortname = "wle",
    category = "learner",
    namespaced,
    doc = "What one node has seen of one revision of a workload.",
    derive = "PartialEq",
    validation = Rule::new("self.spec.piece < self.spec.pieces").message("piece is counted from 0 and less than pieces"),
    validation = Rule::new("self.spec.workload == oldSelf.spec.workload && self.spec.image == oldSelf.spec.image && self.spec.node == oldSelf.spec.node && self.spec.piece == oldSelf.spec.piece").message("workload, image, node and piece do not change"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.workload.kind"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload.name"),
    printcolumn(name = "Container", type_ = "string", json_path = ".spec.workload.container"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
    printcolumn(name = "Piece", type_ = "integer", json_path = ".spec.piece", priority = "1"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = "1"),
    printcolumn(name = "Alive", type_ = "date", json_path = ".spec.alive"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadEvidenceSpec {
    /// Whose evidence, within the object's namespace.
    pub workload: WorkloadName,
    /// Image reference with digest where known; empty where none is.
    #[schemars(length(max = 1024))]
    pub image: String,
    /// The node that has seen it and writes this object.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// Which piece this is, from 0.
    #[schemars(range(min = 0, max = 65535))]
    pub piece: i32,
    /// How many there are. A row is in a piece by its hash.
    #[schemars(range(min = 1, max = 65536))]
    pub pieces: i32,
    /// When a run of the revision was last alive on the node, at most a day ago while one is.
    #[schemars(schema_with = "date_time")]
    pub alive: String,
    /// Why KubeArmor would not hold the container to a policy; empty where it would.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 8))]
    pub unenforced: BTreeSet<Unenforced>,
    /// Who holds its containers on the node to what is decided; told where Learner's agent is to do it if
    /// KubeArmor does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// Why Learner's agent does not hold all of its containers on the node, where it holds others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub unheld: Option<String>,
    /// The runs that this piece tells of. A run in two pieces is one run.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub runs: Vec<RunRow>,
    /// What they did.
    #[serde(default)]
    #[schemars(length(max = 8000))]
    pub acts: Vec<ActRow>,
}

/// A workload within a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadName {
    /// Owner kind: `Deployment`, `StatefulSet`, `CronJob`, `Pod`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Owner name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Container.
    #[schemars(length(min = 1, max = 253))]
    pub container: String,
}

impl WorkloadName {
    /// Without its namespace.
    pub fn of(workload: &Workload) -> Self {
        let Workload {
            namespace: _,
            kind,
            name,
            container,
        } = workload.clone();
        Self {
            kind,
            name,
            container,
        }
    }

    /// In a namespace.
    pub fn within(&self, namespace: &str) -> Workload {
        let Self {
            kind,
            name,
            container,
        } = self.clone();
        Workload {
            namespace: namespace.to_owned(),
            kind,
            name,
            container,
        }
    }
}

/// A run, apart from what it did.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    /// Its name on the node.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// Stable match labels of the owner.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it began, if it was watched from its first exec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_date_time")]
    pub start: Option<String>,
    /// When it ended, if that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_date_time")]
    pub stop: Option<String>,
    /// When anything was first seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_date_time")]
    pub first: Option<String>,
    /// It had begun before it was watched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Events that were seen and could not be recorded, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<String, i64>,
    /// What could not be judged of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unjudged: Vec<NotJudged>,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActRow {
    /// The operation.
    pub op: OpName,
    /// Of an open: `r`, `w`, `rw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    pub access: Option<String>,
    /// The path by its shape.
    #[schemars(length(min = 1, max = 16384))]
    pub path: String,
    /// Of a rename or link: the second path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub to: Option<String>,
    /// The acting program; for an exec its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub from_source: Option<String>,
    /// The acting user owns the file, or the directory of a new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<bool>,
    /// The file was made at run time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<bool>,
    /// The kernel refused it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub denied: bool,
    /// It started its run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entry: bool,
    /// Why the node's own runs do not let it be learned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldFor>,
    /// The node would learn it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
    /// It was seen with nothing against it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean: bool,
    /// It was seen with nothing against it in a run whose first program is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// Events.
    #[schemars(range(min = 1))]
    pub count: i64,
    /// First seen.
    #[schemars(schema_with = "date_time")]
    pub first: String,
    /// Last seen.
    #[schemars(schema_with = "date_time")]
    pub last: String,
    /// The runs that showed it, by their places in this object: `0-3,7`.
    #[schemars(length(min = 1, max = 4096))]
    pub runs: String,
    /// For each of these runs, how many distinct behaviours it stands for; empty if one for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub times: Vec<i32>,
}

/// An operation, by its name in recordings.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are those of crate::behavior::Op")]
pub enum OpName {
    Exec,
    Open,
    Create,
    Mkdir,
    Unlink,
    Rmdir,
    Rename,
    Link,
    Symlink,
    Chmod,
    Truncate,
}

/// Why KubeArmor does not hold a container to a policy for its pod: it looks at the pod's own containers
/// alone, and takes pods that see the processes of their host for the host.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Unenforced {
    /// It is an init container.
    Init,
    /// It is an init container that goes on beside the others.
    Sidecar,
    /// It was put into the pod by a person.
    Ephemeral,
    /// Its pod has `hostPID`.
    HostPid,
}

impl Unenforced {
    /// As a sentence says it.
    pub fn why(&self) -> &'static str {
        match self {
            Self::Init => "it is an init container",
            Self::Sidecar => "it is an init container that goes on beside the others",
            Self::Ephemeral => "it is an ephemeral container",
            Self::HostPid => "its pods have hostPID",
        }
    }
}

/// Who holds containers of a node to policies, where its agent is to do it if KubeArmor does not.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enforcement {
    /// Who.
    pub by: EnforcedBy,
    /// Why it is not Learner's agent, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub why: Option<String>,
}

/// Who enforces.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EnforcedBy {
    /// Learner's own programs.
    Learner,
    /// KubeArmor: where both are there, it is the one.
    Kubearmor,
    /// Neither.
    Nobody,
}

impl Enforcement {
    /// Nobody does. What is too long is cut.
    pub fn nobody(why: &str) -> Self {
        Self {
            by: EnforcedBy::Nobody,
            why: Some(why.chars().take(1024).collect()),
        }
    }
}

impl EnforcedBy {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Kubearmor => "kubearmor",
            Self::Nobody => "nobody",
        }
    }
}

/// As a sentence says it.
impl std::fmt::Display for Enforcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.by {
            EnforcedBy::Learner => "Learner's own programs enforce",
            EnforcedBy::Kubearmor => {
                "KubeArmor enforces, and Learner's own programs hold nothing of the cluster"
            }
            EnforcedBy::Nobody => "nobody enforces",
        })?;
        let why = self.why.as_deref();
        why.map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

/// Why something is held.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are those of crate::quarantine::Reason")]
pub enum HeldFor {
    Tty,
    Upper,
    MadeAtRunTime,
    Denied,
    OutsideAncestry,
    Alert,
}

/// What could not be judged of a run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are those of crate::quarantine::Unjudged")]
pub enum NotJudged {
    Ancestry,
    Terminal,
}

pub(super) fn date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time" })
}

pub(super) fn maybe_date_time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}

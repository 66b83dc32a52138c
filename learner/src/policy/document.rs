//! KubeArmor's policies as documents: every field of the CRDs of KubeArmorPolicy,
//! KubeArmorHostPolicy and KubeArmorClusterPolicy, in the order in which they are written.
//!
//! Reading is as lenient as KubeArmor: what is against the CRD is kept as it is written and listed
//! by [`violations`](super::violations). An unknown field in `spec` is an error: a rule that is not
//! understood must not be read as if it were not there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

mod action;
mod capabilities;
mod device;
mod network;
mod preset;
mod rule;
mod syscalls;

pub use action::{Action, Effect};
pub use capabilities::{Capabilities, Capability};
pub use device::{Device, DeviceRule};
pub use network::{DnsQuery, Network, Protocol};
pub use preset::Preset;
pub use rule::{Directory, FileRules, PathRule, Pattern, ProcessRules, Source};
pub use syscalls::{SyscallPath, SyscallRule, SyscallSource, Syscalls};

/// One policy document of group `security.kubearmor.com`, version `v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    #[serde(default)]
    api_version: ApiVersion,
    /// Whom it is for.
    pub kind: Kind,
    /// Name and namespace.
    pub metadata: Metadata,
    /// The rules.
    #[serde(default, deserialize_with = "or_default")]
    pub spec: Spec,
}

impl Policy {
    /// The only version that KubeArmor serves. A document without one is taken for this one, as
    /// KubeArmor's own client does.
    pub const API_VERSION: &str = "security.kubearmor.com/v1";

    /// A KubeArmorPolicy.
    pub fn new(metadata: Metadata, spec: Spec) -> Self {
        Self {
            api_version: ApiVersion::V1,
            kind: Kind::Policy,
            metadata,
            spec,
        }
    }

    /// The namespace whose pods it is for: `default` where a KubeArmorPolicy names none, and none
    /// for the two kinds that belong to the cluster.
    pub fn namespace(&self) -> Option<&str> {
        match (self.kind, self.metadata.namespace.as_str()) {
            (Kind::Policy, "") => Some("default"),
            (Kind::Policy, namespace) => Some(namespace),
            (Kind::HostPolicy | Kind::ClusterPolicy, _) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum ApiVersion {
    #[default]
    #[serde(rename = "security.kubearmor.com/v1")]
    V1,
}

/// Whom a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Containers of the pods of a namespace.
    #[serde(rename = "KubeArmorPolicy")]
    Policy,
    /// Hosts.
    #[serde(rename = "KubeArmorHostPolicy")]
    HostPolicy,
    /// Containers of the pods of several namespaces.
    #[serde(rename = "KubeArmorClusterPolicy")]
    ClusterPolicy,
}

impl Kind {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Policy, Self::HostPolicy, Self::ClusterPolicy];

    /// The word after `kind:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "KubeArmorPolicy",
            Self::HostPolicy => "KubeArmorHostPolicy",
            Self::ClusterPolicy => "KubeArmorClusterPolicy",
        }
    }
}

/// What Kubernetes knows the policy by. Other metadata is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// A DNS-1123 subdomain.
    pub name: String,
    /// A DNS-1123 label; empty where the document names none. See [`Policy::namespace`].
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub namespace: String,
    /// Labels of the policy itself.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the policy itself.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// Selector and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Spec {
    /// 1 (lowest) to 10, copied into alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<i64>,
    /// Copied into alerts.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Copied into alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Which hosts. Only a host policy has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<NodeSelector>,
    /// Which pods.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "Selector::is_empty"
    )]
    pub selector: Selector,
    /// What may be executed.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "ProcessRules::is_empty"
    )]
    pub process: ProcessRules,
    /// What may be opened, made, renamed and removed.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "FileRules::is_empty"
    )]
    pub file: FileRules,
    /// Which sockets may be made.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "Network::is_empty"
    )]
    pub network: Network,
    /// Which capabilities may be used.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "Capabilities::is_empty"
    )]
    pub capabilities: Capabilities,
    /// System calls that are reported, never refused.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "Syscalls::is_empty"
    )]
    pub syscalls: Syscalls,
    /// Ready-made protections, each enforced by a program of its own.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub presets: Vec<Preset>,
    /// USB devices. Only a host policy has it.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "Device::is_empty"
    )]
    pub device: Device,
    /// Lines for the AppArmor profile, as they are. The BPF-LSM enforcer has no use for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// For all rules that have none of their own, nor of their section. Missing: Block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

impl Spec {
    /// What KubeArmor does about a match of a rule: the rule's own action, or that of its section,
    /// or that of the policy, or Block (KubeArmor/core/kubeUpdate.go, CreateSecurityPolicy).
    pub fn effect(&self, section: Option<&Action>, rule: Option<&Action>) -> Effect {
        // Only the policy's own action is brought to its capital letter.
        match (rule.or(section), &self.action) {
            (Some(action), _) => action.effect(),
            (None, Some(action)) => action.capitalised().effect(),
            (None, None) => Effect::Block,
        }
    }
}

/// Which pods a policy is for. An empty one selects all of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selector {
    /// All of these must be on the pod.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub match_labels: BTreeMap<String, String>,
    /// All of these must hold for the pod.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<MatchExpression>,
}

impl Selector {
    /// Selects everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

/// A condition on the pod's labels, or in a cluster policy on its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MatchExpression {
    /// `label`, or in a cluster policy also `namespace`.
    pub key: String,
    /// `In` or `NotIn`.
    pub operator: String,
    /// For labels `key=value`, for namespaces their names.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Which hosts a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeSelector {
    /// All of these must be on the node.
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub match_labels: BTreeMap<String, String>,
}

/// `null` is what is not there, as the API server has it.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The text of an [`Action`], borrowed where it is one of the CRD's.
type Word = Cow<'static, str>;

#[cfg(test)]
mod tests;

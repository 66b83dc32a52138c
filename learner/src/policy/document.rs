//! KubeArmorPolicy as a document: the fields that Learner writes, in the order it writes them.
//!
//! An unknown field in `spec` is an error: a rule that is not understood must not be read as if it
//! were not there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `security.kubearmor.com/v1`, kind `KubeArmorPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeArmorPolicy {
    /// Always [`KubeArmorPolicy::API_VERSION`].
    pub api_version: String,
    /// Always [`KubeArmorPolicy::KIND`].
    pub kind: String,
    /// Name and namespace.
    pub metadata: Metadata,
    /// The rules.
    pub spec: Spec,
}

impl KubeArmorPolicy {
    /// The only version that KubeArmor serves.
    pub const API_VERSION: &str = "security.kubearmor.com/v1";
    /// The namespaced kind.
    pub const KIND: &str = "KubeArmorPolicy";

    /// A document of the one version and kind that there is.
    pub fn new(metadata: Metadata, spec: Spec) -> Self {
        Self {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            metadata,
            spec,
        }
    }
}

/// What Kubernetes knows the policy by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// A DNS-1123 subdomain.
    pub name: String,
    /// A DNS-1123 label. KubeArmor selects pods of this namespace only.
    pub namespace: String,
    /// Labels of the policy itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the policy itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What KubeArmor does about a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Allowed; and whatever no rule of the class allows falls to the posture.
    Allow,
    /// Allowed and reported.
    Audit,
    /// Refused and reported.
    Block,
}

/// Selector and rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// 1 (lowest) to 10, copied into alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// Copied into alerts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Copied into alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Which pods.
    pub selector: Selector,
    /// What may be executed.
    #[serde(default, skip_serializing_if = "ProcessRules::is_empty")]
    pub process: ProcessRules,
    /// What may be opened, made, renamed and removed.
    #[serde(default, skip_serializing_if = "FileRules::is_empty")]
    pub file: FileRules,
    /// For all rules. KubeArmor takes a missing one for Block.
    pub action: Action,
}

/// Which pods a policy is for. An empty one would select the whole namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// All of these must be on the pod.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// Rules about programs. Empty: programs are not restricted at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessRules {
    /// One program each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_paths: Vec<PathRule>,
    /// All programs in a directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_directories: Vec<Directory>,
}

impl ProcessRules {
    /// No rule at all.
    pub fn is_empty(&self) -> bool {
        self.match_paths.is_empty() && self.match_directories.is_empty()
    }
}

/// Rules about files. Empty: files are not restricted at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRules {
    /// One file each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_paths: Vec<PathRule>,
    /// A directory and what is in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_directories: Vec<Directory>,
}

impl FileRules {
    /// No rule at all.
    pub fn is_empty(&self) -> bool {
        self.match_paths.is_empty() && self.match_directories.is_empty()
    }
}

/// A rule for one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathRule {
    /// As [`crate::policy::crd::is_path`] wants it.
    pub path: String,
    /// Reading only; has no meaning for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Only for the owner of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_only: Option<bool>,
    /// Only for these programs. Empty: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_source: Vec<Source>,
}

/// A rule for a directory: the directory itself and its direct children, or all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directory {
    /// As [`crate::policy::crd::is_directory`] wants it, with a slash at the end.
    pub dir: String,
    /// All below it, not only its direct children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    /// Reading only; has no meaning for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Only for the owner of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_only: Option<bool>,
    /// Only for these programs. Empty: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from_source: Vec<Source>,
}

/// The program that acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// As [`crate::policy::crd::is_path`] wants it.
    pub path: String,
}

//! Rules about capabilities.

use serde::{Deserialize, Serialize};

use super::{Action, Source, or_default};

/// Rules about capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Capabilities {
    /// One capability each.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_capabilities: Vec<Capability>,
    /// 1 (lowest) to 10, copied into alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<i64>,
    /// Copied into alerts.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Copied into alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For the rules here that have none of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

impl Capabilities {
    /// Nothing at all is written in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule for a capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Capability {
    /// As in `capabilities(7)`, in small letters, without `cap_`.
    pub capability: String,
    /// Only for these programs. Empty: for all.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub from_source: Vec<Source>,
    /// 1 (lowest) to 10, copied into alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<i64>,
    /// Copied into alerts.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Copied into alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Goes before that of the section and that of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

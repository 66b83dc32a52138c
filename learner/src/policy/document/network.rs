//! Rules about sockets.

use serde::{Deserialize, Serialize};

use super::{Action, Source, or_default};

/// Rules about sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// One protocol or socket type each.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_protocols: Vec<Protocol>,
    /// One name each.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "matchDNSQueries")]
    pub match_dns_queries: Vec<DnsQuery>,
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

impl Network {
    /// Nothing at all is written in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule for a protocol or a socket type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Protocol {
    /// `tcp`, `udp`, `icmp`, `raw`, … or `all`; several with commas between.
    pub protocol: String,
    /// `false`: only where the process has a terminal. `true` is as if it were not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pts: Option<bool>,
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

/// A rule for a name that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DnsQuery {
    /// The name.
    pub domain: String,
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

//! Rules about USB devices.

use serde::{Deserialize, Serialize};

use super::{Action, or_default};

/// USB devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Device {
    /// One kind of device each.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_device: Vec<DeviceRule>,
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

impl Device {
    /// Nothing at all is written in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A kind of USB device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeviceRule {
    /// The class, by name or number.
    pub class: String,
    /// The subclass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_class: Option<i64>,
    /// The protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<i64>,
    /// The depth of hubs, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<i64>,
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

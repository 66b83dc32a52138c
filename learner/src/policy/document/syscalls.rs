//! System calls that are to be reported.

use serde::{Deserialize, Serialize};

use super::or_default;

/// System calls that are reported, whatever the action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Syscalls {
    /// Calls by name.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_syscalls: Vec<SyscallRule>,
    /// Calls by name and path.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_paths: Vec<SyscallPath>,
    /// 1 (lowest) to 10, copied into alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<i64>,
    /// Copied into alerts.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Copied into alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Syscalls {
    /// Nothing at all is written in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// System calls by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SyscallRule {
    /// Names.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub syscall: Vec<String>,
    /// Only for these programs. Empty: for all.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub from_source: Vec<SyscallSource>,
}

/// System calls by name and path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SyscallPath {
    /// A file, or a directory with a slash at the end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// All below the directory, not only its direct children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    /// Names.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub syscall: Vec<String>,
    /// Only for these programs. Empty: for all.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub from_source: Vec<SyscallSource>,
}

/// The programs that call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SyscallSource {
    /// One program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The programs in a directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dir: String,
    /// All below the directory, not only its direct children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
}

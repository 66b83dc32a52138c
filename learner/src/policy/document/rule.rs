//! Rules about programs and files.

use serde::{Deserialize, Serialize};

use super::{Action, or_default};

/// Rules about programs. Empty: programs are not restricted at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProcessRules {
    /// One program each.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_paths: Vec<PathRule>,
    /// All programs in a directory.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_directories: Vec<Directory>,
    /// Programs by pattern, for AppArmor.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_patterns: Vec<Pattern>,
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

impl ProcessRules {
    /// Nothing at all is written in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Rules about files. Empty: files are not restricted at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FileRules {
    /// One file each.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_paths: Vec<PathRule>,
    /// A directory and what is in it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_directories: Vec<Directory>,
    /// Files by pattern, for AppArmor.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub match_patterns: Vec<Pattern>,
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

impl FileRules {
    /// Nothing at all is written in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule for one path, or for programs of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PathRule {
    /// As [`crate::policy::crd::is_path`] wants it. Empty where a name is given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The last component of a program, wherever it is. Files have no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execname: Option<String>,
    /// The arguments a program may have; files have no such field.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub allowed_args: Vec<String>,
    /// Reading only; programs have no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Only for the owner of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_only: Option<bool>,
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

/// A rule for a directory: the directory itself and its direct children, or all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Directory {
    /// As [`crate::policy::crd::is_directory`] wants it, with a slash at the end.
    pub dir: String,
    /// All below it, not only its direct children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    /// Reading only; programs have no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Only for the owner of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_only: Option<bool>,
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

/// A rule for paths by pattern. Only AppArmor's enforcer knows patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Pattern {
    /// In AppArmor's syntax.
    pub pattern: String,
    /// Reading only; programs have no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Only for the owner of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_only: Option<bool>,
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

/// The program that acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// As [`crate::policy::crd::is_path`] wants it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
}

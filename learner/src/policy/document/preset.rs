//! Ready-made protections.

use serde::{Deserialize, Serialize};

use super::Action;

/// A ready-made protection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Preset {
    /// `filelessExec`, `anonMapExec`, `protectEnv`, `protectProc` or `exec`.
    pub name: String,
    /// Audit or Block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

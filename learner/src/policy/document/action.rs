//! What a rule does about a match: as it is written, and as KubeArmor takes it.

use serde::{Deserialize, Serialize};

use super::Word;

/// `action` as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "Word")]
pub enum Action {
    /// Allowed; and whatever no rule of the class allows falls to the posture.
    Allow,
    /// Allowed and reported.
    Audit,
    /// Refused and reported.
    Block,
    /// Any other text. The CRD refuses it.
    Other(String),
}

/// What a rule comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Allowed; and whatever no rule of the class allows falls to the posture.
    Allow,
    /// Not enforced: it is matched against telemetry and reported.
    Audit,
    /// Refused and reported.
    Block,
    /// No enforcer knows the word, so there is no rule.
    Nothing,
}

impl Action {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Allow => "Allow",
            Self::Audit => "Audit",
            Self::Block => "Block",
            Self::Other(text) => text,
        }
    }

    /// What the enforcers make of it: they compare whole words.
    pub(super) fn effect(&self) -> Effect {
        match self {
            Self::Allow => Effect::Allow,
            Self::Audit => Effect::Audit,
            Self::Block => Effect::Block,
            Self::Other(_) => Effect::Nothing,
        }
    }

    /// `allow`, `audit` and `block` with a capital letter; an empty one is Block.
    pub(super) fn capitalised(&self) -> Self {
        match self {
            Self::Other(text) if text == "allow" => Self::Allow,
            Self::Other(text) if text == "audit" => Self::Audit,
            Self::Other(text) if text == "block" || text.is_empty() => Self::Block,
            other => other.clone(),
        }
    }
}

impl From<String> for Action {
    fn from(text: String) -> Self {
        match text.as_str() {
            "Allow" => Self::Allow,
            "Audit" => Self::Audit,
            "Block" => Self::Block,
            _ => Self::Other(text),
        }
    }
}

impl From<Action> for Word {
    fn from(action: Action) -> Self {
        match action {
            Action::Allow => Word::Borrowed("Allow"),
            Action::Audit => Word::Borrowed("Audit"),
            Action::Block => Word::Borrowed("Block"),
            Action::Other(text) => Word::Owned(text),
        }
    }
}

//! When the alerts of an enforcer that is not ours may have been missed.

use std::fmt;

use super::reason::At;
use crate::observation::Moment;
use crate::span::{Span, Spans};

/// Time that does not count as quiet, though nothing was heard in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// Since when.
    pub from: Moment,
    /// Until when.
    pub to: Moment,
    /// Why.
    pub why: Missed,
}

/// Why alerts may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// There were too many a second, and the enforcer dropped some.
    Throttled,
    /// The stream of alerts ended.
    Ended,
    /// The stream of alerts broke, or could not be had; in words that are safe for a terminal.
    Broken(String),
    /// The enforcer does not tell what the candidate is about, as when KubeArmor's visibility is off.
    Blind(String),
    /// A node that runs it told nothing; its name, safe for a terminal.
    Silent(String),
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled => f.write_str("KubeArmor dropped alerts"),
            Self::Ended => f.write_str("KubeArmor's alerts ended"),
            Self::Broken(cause) => write!(f, "KubeArmor's alerts broke off ({cause})"),
            Self::Blind(what) => write!(f, "KubeArmor did not tell of {what}"),
            Self::Silent(node) => write!(f, "node {node} told nothing"),
        }
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, why } = self;
        match from.0 {
            i64::MIN => write!(f, "{why} until {}", At(*to)),
            _ => write!(f, "{why} from {} to {}", At(*from), At(*to)),
        }
    }
}

/// The time that interruptions take, together.
pub(super) fn spans(interruptions: &[Interruption]) -> Spans {
    let spans = interruptions.iter();
    spans
        .filter_map(|one| Span::new(one.from.0, one.to.0))
        .collect()
}

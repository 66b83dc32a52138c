//! What was observed: a fact about a run, and when.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::behavior::Behavior;
use crate::workload::{Labels, RunKey};

/// Microseconds since the Unix epoch, UTC. Negative before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment(pub i64);

/// Why an event that was seen could not be recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Loss {
    /// The ring buffer between kernel and user space had no room.
    RingFull,
    /// More than 64 components.
    PathTooDeep,
    /// More than 4,095 bytes.
    PathTooLong,
    /// Beyond the limit of distinct behaviours of a workload.
    Store,
    /// Any other reason, by the name it has in the recording.
    Other(String),
}

impl Loss {
    /// The name in recordings.
    pub fn as_str(&self) -> &str {
        match self {
            Self::RingFull => "ring-full",
            Self::PathTooDeep => "path-too-deep",
            Self::PathTooLong => "path-too-long",
            Self::Store => "store",
            Self::Other(reason) => reason,
        }
    }
}

impl From<String> for Loss {
    fn from(reason: String) -> Self {
        match reason.as_str() {
            "ring-full" => Self::RingFull,
            "path-too-deep" => Self::PathTooDeep,
            "path-too-long" => Self::PathTooLong,
            "store" => Self::Store,
            _ => Self::Other(reason),
        }
    }
}

impl From<&str> for Loss {
    fn from(reason: &str) -> Self {
        Self::from(reason.to_owned())
    }
}

impl From<Loss> for String {
    fn from(loss: Loss) -> Self {
        loss.as_str().to_owned()
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Whose run.
    pub run: Arc<RunKey>,
    /// The owner's stable match labels.
    pub labels: Arc<Labels>,
    /// When first seen; for [`Fact::Start`] and [`Fact::Stop`], when the run began or ended.
    pub at: Moment,
    /// What is stated.
    pub fact: Fact,
}

/// What an observation states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The run began, and was watched from its first exec.
    Start,
    /// The run ended.
    Stop,
    /// The run had begun before it was watched.
    Late,
    /// Events were seen and could not be recorded.
    Lost {
        /// Why.
        reason: Loss,
        /// How many.
        count: u64,
    },
    /// A behaviour was seen.
    Seen {
        /// What was done.
        behavior: Behavior,
        /// How many events the line stands for, at least 1.
        count: u64,
        /// When last seen; equal to `at` for a single event.
        last: Moment,
    },
}

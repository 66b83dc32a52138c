//! What became of the messages.

use std::collections::BTreeMap;

use super::error::Unreadable;
use super::event::{Beside, Gap};

/// So many of the messages that say nothing are named.
pub const NAMED: usize = 5;

/// A message that says nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The line, or the message of a stream; from 1.
    pub number: u64,
    /// What is wrong with it.
    pub cause: Unreadable,
}

/// Counts over all messages. Each is counted once, in one of these; but for those with a gap, which may
/// be recorded all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages.
    pub messages: u64,
    /// Recorded as done, and may be learned from.
    pub done: u64,
    /// Recorded as failed, by telemetry or an alert, and never learned from.
    pub failed: u64,
    /// Done and audited, of what a frozen candidate judges: recorded, as alerts teach nothing there.
    pub judged: u64,
    /// Done and audited, of anything else: not recorded, since it would be learned from.
    pub audited: u64,
    /// Telemetry, where alerts alone are gathered.
    pub telemetry: u64,
    /// Times that KubeArmor said that it drops alerts.
    pub throttled: u64,
    /// Of something that recordings do not have.
    pub beside: BTreeMap<Beside, u64>,
    /// Something of it is not known.
    pub gaps: BTreeMap<Gap, u64>,
    /// Of a container that is never named, or beyond what is held until it is.
    pub unattributed: u64,
    /// Of runs beyond [`MAX_RUNS`](super::MAX_RUNS).
    pub beyond: u64,
    /// Messages that say nothing.
    pub unreadable: u64,
    /// The first [`NAMED`] of them.
    pub refused: Vec<Refused>,
}

impl Account {
    pub(super) fn refuse(&mut self, number: u64, cause: Unreadable) {
        self.unreadable += 1;
        if self.refused.len() < NAMED {
            self.refused.push(Refused { number, cause });
        }
    }

    /// Messages whose run is not known, so that every run may lack them.
    pub fn nobodys(&self) -> u64 {
        self.unreadable + self.unattributed + self.beyond
    }
}

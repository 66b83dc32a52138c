//! Promotion: whether a revision moves to another posture, and why not.
//!
//! [`decide`] is told everything: where the revision stands, what the evidence says, the criteria and
//! the time. [`review`] reads the evidence, decides, and says what is to be written down.

mod figures;
mod interruption;
mod quiet;
mod reason;
mod review;
mod surroundings;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observation::Moment;
use crate::posture::{Posture, Share, Standing};

pub use figures::{Figures, Opened, Seen, still_allowed};
pub use interruption::{Interruption, Missed, keep_gaps};
pub use quiet::{Quiet, TOLERANCE, Unwatched, quiet};
pub use reason::{At, Listed, NAMED, Reason, sentences};
pub use review::{
    Change, Docket, Hearing, Move, Review, Told, Unacceptable, accept, accept_told, demote, hear,
    hear_told, review, review_told,
};
pub use surroundings::{PodFacts, Surroundings};

/// What a promotion to block takes, and what takes it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// Quiet time that is wanted, in microseconds.
    pub window: u64,
    /// Runs of the revision, watched whole, that are wanted.
    pub min_runs: usize,
    /// Share of the policy's rules, 0 to 1, that must have been used since the window began.
    pub min_exercise: Option<f64>,
    /// Highest bound, 0 to 1, on the chance that the next run shows anything new.
    pub max_risk: Option<f64>,
    /// How long after the promotion a denial takes it back, in microseconds.
    pub canary: u64,
    /// Which denials take it back.
    pub rollback: Rollback,
    /// How many of its pods are held until the end of the canary, where Learner's agents hold them; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
}

impl Default for Criteria {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600).as_micros() as u64;
        Self {
            window: hours(24),
            min_runs: 3,
            min_exercise: None,
            max_risk: None,
            canary: hours(1),
            rollback: Rollback::Canary,
            share: None,
        }
    }
}

/// Which denials of the workload's own doing take it from block back to audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rollback {
    /// Each.
    Always,
    /// Those before the end of the canary: later on, who provokes a denial cannot switch enforcement
    /// off.
    #[default]
    Canary,
    /// None.
    Never,
}

/// What is to become of a revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// To the next posture.
    Promote,
    /// It stays, for these reasons; not empty.
    Hold(Vec<Reason>),
    /// Back to audit.
    Demote(Reason),
    /// It is under block, and nothing takes it back.
    Stay,
    /// To audit, with the candidate of the image before. [`review`] says so; [`decide`] never does.
    NewImage,
}

/// Decides. The same arguments give the same verdict.
///
/// Guarantees: nothing is promoted to block with an alert or anything held undecided, with less quiet
/// time than the window, without a start-up seen since the freeze, or while the present is before the
/// posture began. All reasons are named, not the first alone.
pub fn decide(
    standing: Option<&Standing>,
    figures: &Figures,
    criteria: &Criteria,
    now: Moment,
) -> Verdict {
    let behind = standing
        .map(Standing::since)
        .filter(|since| now < *since)
        .map(|since| Reason::ClockBehind { now, since });
    match standing {
        None | Some(Standing::Learning { .. }) => {
            let mut reasons: Vec<Reason> = behind.into_iter().collect();
            reasons.extend(figures.no_freeze.clone());
            verdict(reasons)
        }
        Some(Standing::Audit { freeze, .. }) => {
            let mut reasons: Vec<Reason> = behind.into_iter().collect();
            reasons.extend(figures.against_block(freeze, criteria));
            verdict(reasons)
        }
        Some(Standing::Block { canary_until, .. }) => {
            let denial = figures
                .denial
                .as_ref()
                .filter(|denial| match criteria.rollback {
                    Rollback::Always => true,
                    Rollback::Canary => denial.at < *canary_until,
                    Rollback::Never => false,
                });
            denial.map_or(Verdict::Stay, |denial| {
                Verdict::Demote(Reason::Denial {
                    at: denial.at,
                    alert: denial.what.clone(),
                    why: denial.why.clone(),
                    canary_until: *canary_until,
                })
            })
        }
    }
}

fn verdict(reasons: Vec<Reason>) -> Verdict {
    if reasons.is_empty() {
        Verdict::Promote
    } else {
        Verdict::Hold(reasons)
    }
}

impl Posture {
    /// Where a promotion leads; block is the last.
    pub fn next(self) -> Self {
        match self {
            Self::Learning => Self::Audit,
            Self::Audit | Self::Block => Self::Block,
        }
    }
}

#[cfg(test)]
mod tests;

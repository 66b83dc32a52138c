//! How far a workload revision is on its way: learning, audit, block.

mod canary;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::observation::Moment;
use crate::workload::{RunKey, Workload};

pub use canary::{BadShare, Share, Slice};

/// What becomes of what a revision does.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Posture {
    /// It is watched, and may teach its policy.
    #[default]
    Learning,
    /// A candidate is frozen; what that would deny is done, and is an alert.
    Audit,
    /// What the candidate denies is refused, and is an alert.
    Block,
}

impl Posture {
    /// That of a revision that stands there: learning, if nothing was decided of it so far.
    pub fn at(standing: Option<&Standing>) -> Self {
        standing.map_or(Self::Learning, Standing::posture)
    }
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Learning => "learning",
            Self::Audit => "audit",
            Self::Block => "block",
        })
    }
}

/// A workload at one image: the unit that has a posture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Revision {
    /// The workload.
    pub workload: Workload,
    /// Its image, with digest where known; empty where none is.
    pub image: String,
}

impl Revision {
    /// Whose run it is.
    pub fn of(run: &RunKey) -> Self {
        Self {
            workload: run.workload.clone(),
            image: run.image.clone(),
        }
    }

    /// Whether the run is one of it.
    pub fn has(&self, run: &RunKey) -> bool {
        self.workload == run.workload && self.image == run.image
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, image } = self;
        if image.is_empty() {
            write!(f, "{workload}")
        } else {
            write!(f, "{workload} at {image}")
        }
    }
}

/// Where a revision stands, since when, and by which candidate it is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "posture")]
pub enum Standing {
    /// No candidate.
    Learning {
        /// A whole run that began before it does not freeze a candidate.
        since: Moment,
    },
    /// Judged, and let be.
    Audit {
        /// When the posture began.
        since: Moment,
        /// What it is judged by.
        freeze: Freeze,
    },
    /// Judged, and refused.
    Block {
        /// When the posture began.
        since: Moment,
        /// What it is judged by.
        freeze: Freeze,
        /// Until when a denial of its own doing takes it back to audit.
        canary_until: Moment,
        /// The pods that are held until then; all, if it says nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slice: Option<Slice>,
    },
}

/// A candidate in force, and from when on what counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// The SHA-256 of the policy document.
    pub candidate: Digest,
    /// What was seen at or after it is judged: the moment of freezing. `None` where the candidate
    /// is another image's: then all that the revision did is judged.
    pub judged_from: Option<Moment>,
    /// Quiet time counts from here.
    pub window_from: Moment,
    /// When the revision was last promoted to block. What the kernel refused from then on, and not
    /// before, counts as refused by the candidate. `None` before that.
    pub blocked: Option<Moment>,
}

impl Freeze {
    /// Whether a sighting that ended then is judged.
    pub fn judges(&self, last: Moment) -> bool {
        self.judged_from.is_none_or(|from| last >= from)
    }
}

impl Standing {
    /// The posture.
    pub fn posture(&self) -> Posture {
        match self {
            Self::Learning { .. } => Posture::Learning,
            Self::Audit { .. } => Posture::Audit,
            Self::Block { .. } => Posture::Block,
        }
    }

    /// When it began.
    pub fn since(&self) -> Moment {
        match self {
            Self::Learning { since } | Self::Audit { since, .. } | Self::Block { since, .. } => {
                *since
            }
        }
    }

    /// The pods that are held while the canary lasts, and until when; nothing where all are.
    pub fn slice(&self) -> Option<(&Slice, Moment)> {
        match self {
            Self::Block {
                slice: Some(slice),
                canary_until,
                ..
            } => Some((slice, *canary_until)),
            Self::Learning { .. } | Self::Audit { .. } | Self::Block { .. } => None,
        }
    }

    /// What it is judged by; nothing while learning.
    pub fn freeze(&self) -> Option<&Freeze> {
        match self {
            Self::Learning { .. } => None,
            Self::Audit { freeze, .. } | Self::Block { freeze, .. } => Some(freeze),
        }
    }
}

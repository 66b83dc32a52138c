//! Why a pass cannot be made.

use crate::candidate::NoCandidate;
use crate::cluster::lease::NoLease;
use crate::cluster::standings::BadStanding;
use crate::cluster::{ClusterError, MAX_FORGOTTEN};
use crate::shared::BadAct;
use crate::workload::Workload;

/// A pass was broken off.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The API server refused something, or cannot be reached.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Another job is at work.
    #[error(transparent)]
    Lease(#[from] NoLease),
    /// What is kept of a workload was changed.
    #[error(transparent)]
    Standing(#[from] BadStanding),
    /// What a node tells is nothing that can be done.
    #[error("what the nodes have told cannot be put together: {0}")]
    Evidence(#[from] BadAct),
    /// More is to be forgotten than can be kept.
    #[error(
        "{}: at most {MAX_FORGOTTEN} things are forgotten of one workload; name a directory, or take some back: learner \
         forget --cluster --undo PATH",
        workload.to_string().escape_debug()
    )]
    TooMuch {
        /// Of which.
        workload: Workload,
    },
    /// A candidate is gone.
    #[error(transparent)]
    Candidate(#[from] NoCandidate),
}

//! Learner built without the feature `cluster`.

use std::sync::Arc;

use super::figures::Figures;
use super::node::{Link, Node};
use super::run::AgentError;
use super::shelf::Shelf;
use crate::kernel::Clock;

/// It cannot be one of a cluster.
///
/// # Errors
/// [`AgentError::NoCluster`].
pub(super) async fn check(_: &Node) -> Result<(), AgentError> {
    Err(AgentError::NoCluster)
}

/// As [`check`].
///
/// # Errors
/// As [`check`].
pub(super) fn begin(
    _: &Node,
    _: &Arc<Shelf>,
    _: Clock,
    _: &Arc<Figures>,
    _: Option<&str>,
) -> Result<Link, AgentError> {
    Err(AgentError::NoCluster)
}

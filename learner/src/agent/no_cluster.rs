//! Learner built without the feature `cluster`.

use std::sync::Arc;

use super::figures::Figures;
use super::node::{Link, Node};
use super::run::AgentError;
use super::shelf::Shelf;
use crate::kernel::Clock;

/// Is not possible.
pub(super) async fn begin(
    _: &Node,
    _: &Arc<Shelf>,
    _: Clock,
    _: &Arc<Figures>,
) -> Result<Link, AgentError> {
    Err(AgentError::NoCluster)
}

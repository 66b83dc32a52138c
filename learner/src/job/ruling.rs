//! What is decided of one workload, and of those that go together.

use super::rest::Calm;
use crate::cluster::ClusterError;
use crate::cluster::news::{Item, News};
use crate::journal::{Cause, Entry};
use crate::posture::{Posture, Standing};
use crate::promotion::{Reason, Review, Verdict};

/// What was decided of a workload.
#[derive(Debug)]
pub struct Ruling {
    /// By what.
    pub review: Review,
    /// Where it stands from now on, if it moves.
    pub after: Option<Standing>,
    /// The entry of its journal, if it moves and that was written down.
    pub entry: Option<Entry>,
    /// Whether Learner's agents are to enforce it, and not KubeArmor.
    pub by_agents: bool,
    /// While a canary holds a share of its pods: how many of how many there are.
    pub canary: Option<(usize, usize)>,
    /// What the next pass is to know, if it is at rest.
    pub(super) calm: Option<Calm>,
}

/// A promotion to block waits for all others of the namespace that go by its annotation.
pub(super) fn together(rulings: &mut [Ruling]) {
    let is_ready = |ruling: &Ruling| {
        let to = ruling.after.as_ref().map(Standing::posture);
        to.unwrap_or(ruling.review.posture()) == Posture::Block
    };
    let waits: Vec<String> = rulings
        .iter()
        .filter(|ruling| !ruling.by_agents && !is_ready(ruling))
        .map(|ruling| ruling.review.revision.workload.to_string())
        .collect();
    if waits.is_empty() {
        return;
    }
    for ruling in rulings.iter_mut() {
        let is_promoted = ruling.review.verdict == Verdict::Promote;
        if is_promoted && is_ready(ruling) && !ruling.by_agents {
            let workloads = waits.iter().map(|name| name.escape_debug()).collect();
            ruling.hold(Reason::Waits { workloads });
        }
    }
}

impl Ruling {
    /// It stays where it is, for this.
    pub(super) fn hold(&mut self, reason: Reason) {
        self.canary = None;
        self.review.verdict = Verdict::Hold(vec![reason]);
        self.review.decision = None;
        self.after = None;
    }
}

/// Tells of a decision. That it is not to be told is said, and is no failure.
pub(super) async fn tell(news: &News, entry: &Entry) -> Result<(), ClusterError> {
    match news
        .tell(&entry.draft.revision.workload, &item(entry))
        .await
    {
        Err(error) if error.is_refusal() => {
            tracing::warn!("not told of: {error}");
            Ok(())
        }
        told => told,
    }
}

fn item(entry: &Entry) -> Item {
    let draft = &entry.draft;
    let (reason, is_warning) = match &draft.cause {
        Cause::Promoted => ("Promoted", false),
        Cause::NewImage { .. } => ("NewImage", false),
        Cause::RolledBack { .. } => ("RolledBack", true),
        Cause::Demoted { .. } => ("Demoted", true),
        Cause::Accepted { .. } => ("Accepted", false),
    };
    Item {
        reason,
        is_warning,
        note: format!(
            "{}: {} -> {}: {}",
            draft.revision.workload.container.escape_debug(),
            draft.from,
            draft.to,
            draft.cause
        ),
    }
}

//! What was said of a revision's alerts, and where its workload stands.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use crate::act::{Act, ActId};
use crate::alert::Alert;
use crate::observation::Moment;
use crate::posture::{Freeze, Revision};
use crate::promotion::Review;

/// The alerts of a revision that were said, each once for a freeze and for a promotion to block.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Since when is judged, and since when is refused.
    of: (Option<Moment>, Option<Moment>),
    /// Those that are said, with whether they were open at the last review.
    said: BTreeMap<ActId, bool>,
    /// Refused in a run, which counts only if it was refused in no run before.
    suspects: BTreeSet<Act>,
    /// Suspects that had been refused before.
    cleared: BTreeSet<Act>,
    /// All that were said, since the agent began.
    pub(super) found: u64,
}

impl Known {
    /// Begins anew if another candidate was frozen, or it was promoted to block: what is done then is
    /// said again. A candidate that only accepts more is the same in this.
    pub(super) fn follow(&mut self, freeze: &Freeze) {
        let of = (freeze.judged_from, freeze.blocked);
        if self.of != of {
            *self = Self {
                of,
                found: self.found,
                ..Self::default()
            };
        }
    }

    /// Takes note of alerts that are open; gives those that are new.
    pub(super) fn add<A: Borrow<Alert>>(
        &mut self,
        open: impl IntoIterator<Item = A>,
    ) -> Vec<Alert> {
        let mut new = Vec::new();
        for alert in open {
            let alert: &Alert = alert.borrow();
            if self.said.insert(alert.id, true).is_none() {
                self.found += 1;
                new.push(alert.clone());
            }
        }
        new
    }

    /// What is open, by all runs: the rest was accepted or forgotten, and is not said again.
    pub(super) fn settle(&mut self, all: &[Alert]) {
        let open: BTreeSet<ActId> = all
            .iter()
            .filter(|alert| !alert.dismissed)
            .map(|alert| alert.id)
            .collect();
        for (id, is_open) in &mut self.said {
            *is_open = open.contains(id);
        }
        let of_alerts: BTreeSet<&Act> = all.iter().map(|alert| &alert.act).collect();
        let suspects = std::mem::take(&mut self.suspects);
        let cleared = suspects.into_iter().filter(|act| !of_alerts.contains(act));
        self.cleared.extend(cleared);
    }

    pub(super) fn has(&self, id: ActId) -> bool {
        self.said.contains_key(&id)
    }

    pub(super) fn suspect(&mut self, act: Act) {
        self.suspects.insert(act);
    }

    /// What was refused before, in another run.
    pub(super) fn cleared(&self) -> &BTreeSet<Act> {
        &self.cleared
    }

    /// Alerts that are open.
    pub(super) fn open(&self) -> u64 {
        self.said.values().filter(|is_open| **is_open).count() as u64
    }
}

/// How far a workload is at the image of its latest run, as of its last review.
#[derive(Clone, Debug)]
pub(super) struct Stand {
    pub revision: Revision,
    /// Alerts that are open.
    pub open: u64,
    /// Alerts that were found since the agent began.
    pub found: u64,
    /// Quiet time, and how much is wanted, in microseconds; none while learning.
    pub quiet: Option<(u64, u64)>,
}

impl Stand {
    pub(super) fn of(review: &Review, window: u64) -> Self {
        let quiet = review
            .figures
            .quiet_from
            .map(|_| (review.figures.quiet, window));
        Self {
            revision: review.revision.clone(),
            open: 0,
            found: 0,
            quiet,
        }
    }
}

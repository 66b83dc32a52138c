//! What may be learned of the evidence, and what is said of the rest.

use std::collections::BTreeMap;

use learner::mention::Tombstones;
use learner::profile::Evidence;
use learner::quarantine::{Held, Include, Quarantine, Reason, Sorted, Unjudged, sort};
use learner::workload::Workload;

use crate::talk::visible;

/// Held behaviours of a workload that are said one by one, unless more is to be said.
const SAID: usize = 20;

/// The evidence without what was forgotten and what is held back, which is said.
pub(crate) fn learnable(
    evidence: &Evidence,
    include: &Include,
    tombstones: &Tombstones,
) -> Evidence {
    let runs: Vec<_> = evidence.runs().iter().collect();
    let Sorted {
        learned,
        quarantine,
        ..
    } = sort(&runs, include, tombstones);
    say(evidence, &quarantine);
    let mut kept = Evidence::default();
    for (key, run) in runs {
        let mut run = run.clone();
        let learned = &learned[key];
        run.seen
            .retain(|behavior, _| !behavior.is_learnable() || learned.contains_key(behavior));
        kept.insert(key.clone(), run);
    }
    kept
}

fn say(evidence: &Evidence, quarantine: &Quarantine) {
    let Quarantine { held, unjudged } = quarantine;
    let mut by_workload: BTreeMap<&Workload, Vec<&Held>> = BTreeMap::new();
    for held in held {
        let name = visible(&held.workload.to_string());
        // No word would make it learned.
        if held.reasons.contains(&Reason::Denied) {
            tracing::debug!("{name}: not learned: {held}");
        } else {
            by_workload.entry(&held.workload).or_default().push(held);
        }
    }
    for (workload, held) in by_workload {
        let name = visible(&workload.to_string());
        for held in held.iter().take(SAID) {
            tracing::warn!("{name}: held back: {held}");
        }
        for held in held.iter().skip(SAID) {
            tracing::debug!("{name}: held back: {held}");
        }
        let more = held.len().saturating_sub(SAID);
        if more > 0 {
            tracing::warn!("{name}: {more} more are held back; all are shown with -v");
        }
        tracing::warn!(
            "{name}: what is held back is learned if you name it: learner recommend --include OP:PATH"
        );
    }
    let mut counts: BTreeMap<(&Workload, Unjudged), usize> = BTreeMap::new();
    for (key, what) in unjudged {
        for what in what {
            *counts.entry((&key.workload, *what)).or_default() += 1;
        }
    }
    for ((workload, what), count) in counts {
        let name = visible(&workload.to_string());
        let keys = evidence.runs().keys();
        let runs = keys.filter(|key| key.workload == *workload).count();
        tracing::warn!("{name}: {count} of {runs} runs could not be judged whole: {what}");
    }
}

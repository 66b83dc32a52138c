//! What is held back, in words.

use std::collections::BTreeMap;

use learner::quarantine::{Quarantine, Reason, Unjudged};
use learner::recommend::Recommendation;

use crate::talk::visible;

/// Held behaviours of a workload that are said one by one, unless more is to be said.
const SAID: usize = 20;

/// Says what was not learned of the workload's runs, and why.
pub(crate) fn say(recommendation: &Recommendation) {
    let Quarantine { held, unjudged } = &recommendation.quarantine;
    let name = visible(&recommendation.workload.to_string());
    // No word would make learned what was denied.
    let (denied, held): (Vec<_>, Vec<_>) = held
        .iter()
        .partition(|held| held.reasons.contains(&Reason::Denied));
    for held in denied {
        tracing::debug!("{name}: not learned: {held}");
    }
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
    let alerts = held
        .iter()
        .filter(|held| held.reasons.contains(&Reason::Alert))
        .count();
    if held.len() > alerts {
        tracing::warn!(
            "{name}: what is held back is learned if you name it: learner recommend --include OP:PATH"
        );
    }
    if alerts > 0 {
        tracing::warn!(
            "{name}: what the frozen candidate denies is learned once it is accepted: learner accept ALERT"
        );
    }
    let mut counts: BTreeMap<Unjudged, usize> = BTreeMap::new();
    for what in unjudged.values().flatten() {
        *counts.entry(*what).or_default() += 1;
    }
    let runs = recommendation.convergence.len();
    for (what, count) in counts {
        tracing::warn!("{name}: {count} of {runs} runs could not be judged whole: {what}");
    }
}

//! A folded run, unfolded into the lines of a recording.

use std::sync::Arc;

use crate::behavior::Behavior;
use crate::observation::{Fact, Moment, Observation};
use crate::profile::{RunProfile, Sighting};
use crate::workload::RunKey;

/// What a run did, as observations: its start, its behaviours as they were first seen, its loss,
/// its end. Folded again they give the same profile, but for a run of which nothing is known: it
/// has no lines.
pub fn observations<'a>(
    key: &'a RunKey,
    profile: &'a RunProfile,
) -> impl Iterator<Item = Observation> + 'a {
    let RunProfile {
        labels,
        start,
        stop,
        late,
        lost,
        seen,
    } = profile;
    let run = Arc::new(key.clone());
    let labels = Arc::new(labels.clone());
    let mut seen: Vec<(&Behavior, &Sighting)> = seen.iter().collect();
    seen.sort_by_key(|(behavior, sighting)| (sighting.first, *behavior));
    let first = seen.first().map(|(_, sighting)| sighting.first);
    let last = seen.iter().map(|(_, sighting)| sighting.last).max();
    // Of these two only that they are stated counts, not when.
    let late_at = first.or(*start).or(*stop).unwrap_or(Moment(0));
    let lost_at = (*stop).or(last).or(*start).unwrap_or(Moment(0));
    let begin = start.map(|at| (at, Fact::Start));
    let late = late.then_some((late_at, Fact::Late));
    let seen = seen.into_iter().map(|(behavior, sighting)| {
        let Sighting { count, first, last } = *sighting;
        let fact = Fact::Seen {
            behavior: behavior.clone(),
            count,
            last,
        };
        (first, fact)
    });
    let lost = lost.iter().filter(|(_, count)| **count > 0);
    let lost = lost.map(move |(reason, count)| {
        let fact = Fact::Lost {
            reason: reason.clone(),
            count: *count,
        };
        (lost_at, fact)
    });
    let end = stop.map(|at| (at, Fact::Stop));
    begin
        .into_iter()
        .chain(late)
        .chain(seen)
        .chain(lost)
        .chain(end)
        .map(move |(at, fact)| Observation {
            run: run.clone(),
            labels: labels.clone(),
            at,
            fact,
        })
}

//! Quiet time: how long a revision was watched without loss.

use std::collections::BTreeMap;
use std::fmt;

use crate::observation::Moment;
use crate::profile::RunProfile;
use crate::span::{Shown, Span, Spans};
use crate::workload::RunKey;

/// How far, in microseconds, what was seen in a run may lie outside of its bounds: five seconds. An
/// event on its way when the run ended is so near; a clock that was set is not.
pub const TOLERANCE: i64 = 5_000_000;

/// Why a run adds nothing to quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwatched {
    /// Events were lost, so an alert may be among them.
    Lossy {
        /// How many.
        lost: u64,
    },
    /// It ended before it began: the clock was set meanwhile.
    Backwards {
        /// By so much, in microseconds.
        by: u64,
    },
    /// Something was seen outside of its bounds: the clock was set meanwhile.
    OutOfBounds {
        /// By so much, in microseconds.
        by: u64,
    },
    /// It ends after the present: the clock was set since.
    Ahead {
        /// By so much, in microseconds.
        by: u64,
    },
}

impl fmt::Display for Unwatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |by: &u64| Shown(std::time::Duration::from_micros(*by));
        match self {
            Self::Lossy { lost } => write!(f, "lost {lost} events"),
            Self::Backwards { by } => write!(f, "ended {} before it began", shown(by)),
            Self::OutOfBounds { by } => write!(f, "was active {} outside of its bounds", shown(by)),
            Self::Ahead { by } => write!(f, "ends {} in the future", shown(by)),
        }
    }
}

/// When a revision was watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    /// When it was, without loss.
    pub spans: Spans,
    /// Runs that add nothing, though they reach into the time that counts.
    pub unwatched: BTreeMap<RunKey, Unwatched>,
}

/// When runs were watched between two moments, as the union over them; what a lossy run covers does
/// not count, whichever other run covers it too.
///
/// A run is watched from its start, or from the first that was seen of it where it was watched late,
/// to its stop, or to the last that was seen of it.
pub fn quiet(runs: &[(&RunKey, &RunProfile)], from: Moment, now: Moment) -> Quiet {
    let (mut watched, mut lossy) = (Vec::new(), Vec::new());
    let mut unwatched = BTreeMap::new();
    for (key, run) in runs {
        let Some((begin, end)) = bounds(run) else {
            continue;
        };
        if begin.max(end) < from {
            continue;
        }
        let span = Span::new(begin.0, end.0.min(now.0));
        if run.lost_total() > 0 {
            lossy.extend(span);
        }
        match fault(run, begin, end, now) {
            None => watched.extend(span),
            Some(fault) => {
                unwatched.insert((*key).clone(), fault);
            }
        }
    }
    let watched: Spans = watched.into_iter().collect();
    let lossy: Spans = lossy.into_iter().collect();
    Quiet {
        spans: watched.without(&lossy).within(from.0, now.0),
        unwatched,
    }
}

/// When it was watched, as it says; nothing for a run that says nothing.
fn bounds(run: &RunProfile) -> Option<(Moment, Moment)> {
    let first = run.seen.values().map(|seen| seen.first).min();
    let last = run.seen.values().map(|seen| seen.last).max();
    let begin = run.start.filter(|_| !run.late).or(first).or(run.start)?;
    let end = run.stop.or(last).unwrap_or(begin);
    Some((begin, end))
}

fn fault(run: &RunProfile, begin: Moment, end: Moment, now: Moment) -> Option<Unwatched> {
    let beyond = |later: Moment, earlier: Moment| later.0.saturating_sub(earlier.0);
    if end < begin {
        let by = begin.0.abs_diff(end.0);
        return Some(Unwatched::Backwards { by });
    }
    let outside = run
        .seen
        .values()
        .map(|seen| beyond(begin, seen.first).max(beyond(seen.last, end)))
        .max()
        .unwrap_or(0);
    if outside > TOLERANCE {
        let by = outside.unsigned_abs();
        return Some(Unwatched::OutOfBounds { by });
    }
    if beyond(end, now) > TOLERANCE {
        let by = end.0.abs_diff(now.0);
        return Some(Unwatched::Ahead { by });
    }
    match run.lost_total() {
        0 => None,
        lost => Some(Unwatched::Lossy { lost }),
    }
}

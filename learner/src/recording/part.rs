//! A recording in parts that can be read each on its own: one after another, or several at once.

use std::iter::Enumerate;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::{thread, vec};

use super::error::{Problem, RecordingError};
use super::line::Line;
use super::meaning::Meaning;
use super::tally::{Tally, in_order};
use crate::observation::Observation;
use crate::profile::Evidence;

/// What takes lines with their numbers.
pub(super) type LineSink<'s> = &'s mut dyn FnMut(u64, &Line<'_>) -> Result<(), Problem>;

/// Successive lines, or rows, of a recording.
pub(super) trait Part: Send {
    /// Hands over its lines in order, up to the first that something is wrong with.
    fn each(&self, sink: LineSink<'_>) -> Result<(), RecordingError>;

    /// Counts its lines in, and says how many they are.
    fn tally(&self, tally: &mut Tally) -> Result<u64, RecordingError>;
}

/// A part, or why the recording could not be read on.
pub(super) type Next = Result<Box<dyn Part>, RecordingError>;

/// The parts of a recording in order; nothing comes after an error.
pub(super) type Parts<'a> = Box<dyn Iterator<Item = Next> + 'a>;

/// Hands over every line as an observation.
pub(super) fn observe(
    parts: Parts<'_>,
    sink: &mut dyn FnMut(Observation),
) -> Result<(), RecordingError> {
    let mut meaning = Meaning::default();
    for part in parts {
        part?.each(&mut |_, line| {
            sink(meaning.of(line)?);
            Ok(())
        })?;
    }
    Ok(())
}

/// Parts that are shared out together.
const BATCH: usize = 32;

/// More threads than that wait for the one that reads, and each has its part in memory.
const MOST_THREADS: usize = 4;

/// About the bytes that the tallies take, all together, before they are folded.
const MOST_WEIGHT: usize = 128 << 20;

/// Folds all lines as [`Evidence::fold`] would, one after another: which thread did what, and
/// when, makes no difference. `progress` is told how many lines were done more.
///
/// The error is that of the first line in the file that something is wrong with.
pub(super) fn fold(
    mut parts: Parts<'_>,
    mut evidence: Evidence,
    progress: &mut dyn FnMut(u64),
) -> Result<Evidence, RecordingError> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS));
    let mut tallies: Vec<Tally> = (0..threads).map(|_| Tally::default()).collect();
    let mut batch: Vec<Next> = parts.by_ref().take(BATCH).collect();
    while !batch.is_empty() {
        let mut to_do = Mutex::new(batch.into_iter().enumerate());
        batch = Vec::new();
        while len(&mut to_do) > 0 {
            let outcomes = thread::scope(|scope| {
                let begin = |tally| scope.spawn(|| work(&to_do, tally, MOST_WEIGHT / threads));
                let workers: Vec<_> = tallies.iter_mut().map(begin).collect();
                if batch.is_empty() {
                    batch = parts.by_ref().take(BATCH).collect();
                }
                let joined = workers.into_iter().map(|worker| worker.join());
                let outcomes = joined.map(|end| end.unwrap_or_else(|panic| resume_unwind(panic)));
                outcomes.collect::<Vec<_>>()
            });
            let (done, failed): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
            let first = failed.into_iter().filter_map(Result::err);
            if let Some(first) = first.min_by_key(|failed| failed.part) {
                return Err(first.error);
            }
            progress(done.into_iter().flatten().sum());
            let is_full = tallies.iter().map(Tally::weight).sum::<usize>() > MOST_WEIGHT / 2;
            if is_full || (batch.is_empty() && len(&mut to_do) == 0) {
                let entries = tallies.iter_mut().flat_map(Tally::drain).collect();
                in_order(entries).for_each(|observation| evidence.fold(observation));
            }
        }
    }
    Ok(evidence)
}

/// What is shared out: parts with their numbers.
type ToDo = Mutex<Enumerate<vec::IntoIter<Next>>>;

fn len(to_do: &mut ToDo) -> usize {
    let parts = to_do.get_mut().unwrap_or_else(PoisonError::into_inner);
    parts.len()
}

/// A part with something wrong in it.
struct Failed {
    part: usize,
    error: RecordingError,
}

/// Tallies one part after another, until none is left, the tally is full, or something is wrong
/// with one.
fn work(to_do: &ToDo, tally: &mut Tally, full: usize) -> Result<u64, Failed> {
    let mut lines = 0;
    while tally.weight() < full {
        let next = to_do.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((part, next)) = next else {
            break;
        };
        lines += next
            .and_then(|part| part.tally(tally))
            .map_err(|error| Failed { part, error })?;
    }
    Ok(lines)
}

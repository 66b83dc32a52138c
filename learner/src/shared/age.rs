//! Which revisions nobody runs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::observation::Moment;
use crate::posture::Revision;
use crate::workload::Workload;

/// A part, as far as its age goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose.
    pub revision: Revision,
    /// When a run of it was last alive at its node.
    pub alive: Moment,
}

/// Revisions of which no node has had a run alive for as long as `keep`, while a later one of the same
/// workload has been. The last revision of a workload never is one of them, however long it rests: a
/// job that runs once a year has nothing else.
pub fn superseded(parts: &[Kept], now: Moment, keep: Duration) -> BTreeSet<Revision> {
    let mut alive: BTreeMap<&Workload, BTreeMap<&Revision, Moment>> = BTreeMap::new();
    for part in parts {
        let of = alive.entry(&part.revision.workload).or_default();
        let last = of.entry(&part.revision).or_insert(part.alive);
        *last = part.alive.max(*last);
    }
    let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
    let mut old = BTreeSet::new();
    for revisions in alive.values() {
        let last = revisions.values().max();
        for (revision, alive) in revisions {
            let is_old = now.0.saturating_sub(alive.0) > keep;
            if is_old && Some(alive) < last {
                old.insert((*revision).clone());
            }
        }
    }
    old
}

//! What the programs report, and how often it happened.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, MapError, RingBuf};
use indexmap::IndexMap;
use learner_ebpf::flag;

use super::error::EnforceError;
use crate::behavior::Behavior;
use crate::kernel::clock::Clock;
use crate::kernel::decode::{Event, decode};
use crate::kernel::meaning::{as_directory, behavior, operation};
use crate::kernel::sensor::{Seen, look, settle};
use crate::observation::Moment;

/// What a policy denies, as the kernel met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The workload's number.
    pub scope: u32,
    /// What was tried. Where the file has no path (a memfd), the path is what the kernel calls it.
    pub behavior: Behavior,
    /// It was refused. If not, the posture is audit.
    pub denied: bool,
    /// First tried.
    pub first: Moment,
    /// Last tried.
    pub last: Moment,
    /// How often, since it was told last.
    pub count: u64,
}

/// Most reports that are held here until they are asked for. What comes beyond waits in the ring
/// buffer, and is counted as lost where that has no room.
const GATHERED: usize = 65_536;

/// The behaviours that were reported.
pub(super) struct Alerts {
    events: RingBuf<MapData>,
    gathered: Vec<Event>,
    /// By key: how often, first and last.
    seen: Seen,
    /// What was told of those that the kernel counts.
    told: IndexMap<[u64; 2], Alert>,
    /// Keys that were there when this process took over, until the first look.
    inherited: HashSet<[u64; 2]>,
    untold: u64,
}

impl Alerts {
    pub(super) fn new(events: RingBuf<MapData>, seen: Seen) -> Result<Self, EnforceError> {
        let inherited = seen.keys().collect::<Result<_, _>>()?;
        Ok(Self {
            events,
            gathered: Vec::new(),
            seen,
            told: IndexMap::new(),
            inherited,
            untold: 0,
        })
    }

    /// Empties the ring buffer: see [`super::Enforcer::gather`].
    pub(super) fn gather(&mut self) {
        while self.gathered.len() < GATHERED
            && let Some(record) = self.events.next()
        {
            match decode(&record) {
                Ok(event) => self.gathered.push(event),
                Err(malformed) => tracing::warn!(%malformed),
            }
        }
    }

    /// What was tried since the last time: see [`super::Enforcer::alerts`].
    pub(super) fn take(&mut self, clock: Clock) -> Result<Vec<Alert>, EnforceError> {
        self.gather();
        let new: Vec<_> = std::mem::take(&mut self.gathered)
            .iter()
            .filter_map(|event| Some((event.key, alert(event, clock)?)))
            .collect();
        if !new.is_empty() {
            // A record is sent before it is counted: who sent these has counted them then.
            settle();
        }
        let mut alerts = Vec::new();
        for (key, alert) in new {
            if self.count(key)?.is_none() {
                // It stands for itself.
                alerts.push(Alert { count: 1, ..alert });
            } else {
                self.told.entry(key).or_insert(alert);
            }
        }
        self.forget_inherited()?;
        for (key, told) in &mut self.told {
            let Some([count, _, last]) = look(&self.seen, *key)? else {
                continue;
            };
            if count > told.count {
                let since = count - told.count;
                told.count = count;
                told.last = clock.at(last);
                alerts.push(Alert {
                    count: since,
                    ..told.clone()
                });
            }
        }
        Ok(alerts)
    }

    /// Of what the process before was told this one knows nothing: so that it is reported again.
    fn forget_inherited(&mut self) -> Result<(), EnforceError> {
        for key in std::mem::take(&mut self.inherited) {
            if self.told.contains_key(&key) {
                continue;
            }
            self.untold += self.count(key)?.unwrap_or(0);
            match self.seen.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Alerts of behaviours that only the process before this one was told of.
    pub(super) fn untold(&self) -> u64 {
        self.untold
    }

    fn count(&self, key: [u64; 2]) -> Result<Option<u64>, EnforceError> {
        Ok(look(&self.seen, key)?.map(|[count, _, _]| count))
    }
}

impl AsFd for Alerts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// An alert that was not told yet.
fn alert(event: &Event, clock: Clock) -> Option<Alert> {
    let op = operation(event, event.to.clone())?;
    let path = if event.has(flag::DIRECTORY) {
        as_directory(event.path.clone())
    } else {
        event.path.clone()
    };
    let at = clock.at(event.at);
    Some(Alert {
        scope: event.scope,
        behavior: behavior(event, op, path, event.source.clone()),
        denied: event.errno != 0,
        first: at,
        last: at,
        count: 0,
    })
}

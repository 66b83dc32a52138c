//! A run as a record, and the root that sums up the runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::observation::{Loss, Moment};
use crate::profile::{RunProfile, Sightings};
use crate::workload::{Labels, RunKey, Workload};

use super::codec::{Reader, Writer};
use super::format;
use super::record::Sum;

/// What is known of a run without reading its behaviours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Whose run.
    pub key: RunKey,
    /// Match labels of the owner.
    pub labels: Labels,
    /// When the run began, if it was watched from its first exec.
    pub start: Option<Moment>,
    /// When the run ended, if that was seen.
    pub stop: Option<Moment>,
    /// The run had begun before it was watched.
    pub late: bool,
    /// Events that were seen and could not be recorded.
    pub lost: BTreeMap<Loss, u64>,
    /// Distinct behaviours.
    pub behaviors: u32,
    /// Events, over all behaviours. Saturates.
    pub events: u64,
    /// When the first event was seen.
    pub first: Option<Moment>,
    /// When the last event was seen.
    pub last: Option<Moment>,
}

impl Summary {
    /// The run apart from its behaviours.
    pub(super) fn bare(&self) -> RunProfile {
        RunProfile {
            labels: self.labels.clone(),
            start: self.start,
            stop: self.stop,
            late: self.late,
            lost: self.lost.clone(),
            seen: Sightings::default(),
        }
    }
}

/// A run's record, as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) number: u32,
    pub(super) summary: Summary,
    /// Sum of [`super::seen::weight`] of its behaviours.
    pub(super) weight: u64,
    /// Sum of its behaviours' checksums.
    pub(super) seen: Sum,
    /// Checksum of this record.
    pub(super) sum: Sum,
}

impl Run {
    pub(super) fn write(&self) -> Writer {
        let Self {
            number: _,
            summary,
            weight,
            seen,
            sum: _,
        } = self;
        let Summary {
            key:
                RunKey {
                    workload:
                        Workload {
                            namespace,
                            kind,
                            name,
                            container,
                        },
                    image,
                    run,
                },
            labels,
            start,
            stop,
            late,
            lost,
            behaviors,
            events,
            first,
            last,
        } = summary;
        let mut w = Writer::default();
        for text in [namespace, kind, name, container, image, run] {
            w.bytes(text.as_bytes());
        }
        w.number(labels.len() as u64);
        for (label, value) in labels {
            w.bytes(label.as_bytes());
            w.bytes(value.as_bytes());
        }
        w.optional(start.map(|at| at.0));
        w.optional(stop.map(|at| at.0));
        w.byte(u8::from(*late));
        w.number(lost.len() as u64);
        for (reason, count) in lost {
            w.bytes(reason.as_str().as_bytes());
            w.number(*count);
        }
        w.number(u64::from(*behaviors));
        w.number(*events);
        w.optional(first.map(|at| at.0));
        w.optional(last.map(|at| at.0));
        w.number(*weight);
        w.number(seen.0);
        w
    }

    pub(super) fn read(number: u32, r: &mut Reader<'_>) -> Option<Self> {
        let key = RunKey {
            workload: Workload {
                namespace: r.text()?,
                kind: r.text()?,
                name: r.text()?,
                container: r.text()?,
            },
            image: r.text()?,
            run: r.text()?,
        };
        let mut labels = Labels::new();
        for _ in 0..r.number()? {
            labels.insert(r.text()?, r.text()?);
        }
        let start = r.optional()?.map(Moment);
        let stop = r.optional()?.map(Moment);
        let late = r.flag()?;
        let mut lost = BTreeMap::new();
        for _ in 0..r.number()? {
            lost.insert(Loss::from(r.text()?), r.number()?);
        }
        let summary = Summary {
            key,
            labels,
            start,
            stop,
            late,
            lost,
            behaviors: u32::try_from(r.number()?).ok()?,
            events: r.number()?,
            first: r.optional()?.map(Moment),
            last: r.optional()?.map(Moment),
        };
        Some(Self {
            number,
            summary,
            weight: r.number()?,
            seen: Sum(r.number()?),
            sum: Sum::default(),
        })
    }
}

/// The one record about the whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// Format of the store; that in the file `FORMAT` may be newer.
    pub(super) format: u64,
    /// Number of the last fold that changed something.
    pub(super) fold: u64,
    /// Number of runs: they are numbered from 0 without gaps.
    pub(super) runs: u32,
    /// Sum of the runs' checksums.
    pub(super) sum: Sum,
    /// Number of tombstones: they are numbered from 0 without gaps. 0 before their format.
    pub(super) tombstones: u32,
    /// Sum of the tombstones' checksums.
    pub(super) tombstone_sum: Sum,
    /// What was decided; nothing before its format.
    pub(super) decided: Decided,
}

/// Postures, candidates and the journal, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    /// Number of standings: they are numbered from 0 without gaps.
    pub(super) standings: u32,
    /// Sum of the standings' checksums.
    pub(super) standing_sum: Sum,
    /// Number of candidates: they are numbered from 0 without gaps.
    pub(super) candidates: u32,
    /// Sum of the checksums of the candidates' pages.
    pub(super) candidate_sum: Sum,
    /// Number of the journal's entries: they are numbered from 1 without gaps.
    pub(super) entries: u32,
    /// Hash of the last of them.
    pub(super) last: Digest,
}

impl Decided {
    fn write(self, w: &mut Writer) {
        let Self {
            standings,
            standing_sum,
            candidates,
            candidate_sum,
            entries,
            last,
        } = self;
        w.number(u64::from(standings));
        w.number(standing_sum.0);
        w.number(u64::from(candidates));
        w.number(candidate_sum.0);
        w.number(u64::from(entries));
        w.bytes(last.as_bytes());
    }

    fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            standings: u32::try_from(r.number()?).ok()?,
            standing_sum: Sum(r.number()?),
            candidates: u32::try_from(r.number()?).ok()?,
            candidate_sum: Sum(r.number()?),
            entries: u32::try_from(r.number()?).ok()?,
            last: Digest::from_bytes(r.bytes()?.try_into().ok()?),
        })
    }
}

impl Root {
    pub(super) fn write(self) -> Writer {
        let Self {
            format,
            fold,
            runs,
            sum,
            tombstones,
            tombstone_sum,
            decided,
        } = self;
        let mut w = Writer::default();
        w.number(format);
        w.number(fold);
        w.number(u64::from(runs));
        w.number(sum.0);
        if format >= format::TOMBSTONES {
            w.number(u64::from(tombstones));
            w.number(tombstone_sum.0);
        }
        if format >= format::POSTURES {
            decided.write(&mut w);
        }
        w
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let mut root = Self {
            format: r.number()?,
            fold: r.number()?,
            runs: u32::try_from(r.number()?).ok()?,
            sum: Sum(r.number()?),
            tombstones: 0,
            tombstone_sum: Sum::default(),
            decided: Decided::default(),
        };
        if root.format >= format::TOMBSTONES {
            root.tombstones = u32::try_from(r.number()?).ok()?;
            root.tombstone_sum = Sum(r.number()?);
        }
        if root.format >= format::POSTURES {
            root.decided = Decided::read(r)?;
        }
        Some(root)
    }
}

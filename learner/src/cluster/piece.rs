//! Parts as objects, and back: a border that is crossed here alone.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ObjectMeta;

use super::evidence::{
    ActRow, HeldFor, NotJudged, OpName, RunRow, WorkloadEvidence, WorkloadEvidenceSpec,
    WorkloadName,
};
use crate::behavior::{Access, OpKind};
use crate::digest::Digest;
use crate::generalize::{BadShape, Shape};
use crate::observation::{Loss, Moment};
use crate::policy::names;
use crate::posture::Revision;
use crate::profile::Sighting;
use crate::quarantine::{Opinion, Reason, Unjudged};
use crate::shared::{Act, Facts, Part, RunFacts, split};

/// Largest object, bytes of JSON: etcd refuses a request of more than 1.5 MiB, and what is watched is
/// sent whole at each change.
pub const MAX_OBJECT: usize = 256 << 10;

/// What the API server adds, and room for names: the rest of [`MAX_OBJECT`] is for the specification.
const ADDED: usize = 12 << 10;

/// An object that is no piece of evidence, or cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPiece {
    /// It has no namespace.
    #[error("it has no namespace")]
    NoNamespace,
    /// A path that is no shape.
    #[error("'{}': {cause}", .text.escape_debug())]
    Shape {
        /// As it stands there.
        text: String,
        /// Why.
        cause: BadShape,
    },
    /// A time that is none.
    #[error("'{}' is no time", .0.escape_debug())]
    Time(String),
    /// A list of runs that is none, or names one that is not there.
    #[error("'{}' names no runs of this object", .0.escape_debug())]
    Runs(String),
    /// An access that is none.
    #[error("'{}' is no access: r, w, rw", .0.escape_debug())]
    Access(String),
    /// As many numbers are needed as there are runs.
    #[error("{times} numbers for {runs} runs")]
    Times {
        /// So many numbers.
        times: usize,
        /// So many runs.
        runs: usize,
    },
    /// An act that is none.
    #[error("{0}")]
    Act(#[from] crate::shared::BadAct),
    /// What cannot be cut is too large for an object.
    #[error("a piece of {bytes} bytes cannot be cut, and an object has at most {MAX_OBJECT}")]
    TooLarge {
        /// So large it is.
        bytes: usize,
    },
}

/// A row of a part: what is cut into pieces.
enum Row<'p> {
    Run(&'p str),
    Act(&'p Act, &'p Facts),
}

impl Row<'_> {
    fn hash(&self) -> u64 {
        let text = match self {
            Self::Run(name) => name.to_string(),
            Self::Act(act, _) => {
                let shape = |shape: &Option<Shape>| shape.as_ref().map(Shape::text);
                let (to, source) = (shape(&act.to), shape(&act.source));
                let path = act.path.text();
                [act.op.as_str(), &path]
                    .into_iter()
                    .chain([to.as_deref(), source.as_deref()].into_iter().flatten())
                    .collect::<Vec<_>>()
                    .join("\0")
            }
        };
        Digest::of(text.as_bytes()).words()[0]
    }
}

/// What a node has seen of a revision, as the objects that it writes; at least one. Each is complete in
/// itself: it has the runs that its acts name, so whatever mixture of old and new pieces is read,
/// nothing is taken for what it is not.
///
/// # Errors
/// [`BadPiece::TooLarge`].
pub fn pieces(
    revision: &Revision,
    node: &str,
    alive: Moment,
    part: &Part,
) -> Result<Vec<WorkloadEvidence>, BadPiece> {
    let rows = part.runs.keys().map(|name| Row::Run(name));
    let acts = part.acts.iter().map(|(act, facts)| Row::Act(act, facts));
    let rows: Vec<Row<'_>> = rows.chain(acts).collect();
    let spec = |rows: &[Row<'_>], piece, pieces| {
        let (runs, acts) = tables(rows, part);
        WorkloadEvidenceSpec {
            workload: WorkloadName::of(&revision.workload),
            image: revision.image.clone(),
            node: node.to_owned(),
            piece,
            pieces,
            alive: time(alive),
            unenforced: BTreeSet::new(),
            enforcement: None,
            unheld: None,
            runs,
            acts,
        }
    };
    let size = |spec: &WorkloadEvidenceSpec| {
        let json = serde_json::to_vec(spec);
        json.map_or(usize::MAX, |json| json.len().saturating_add(ADDED))
    };
    let fits = |rows: &[Row<'_>]| size(&spec(rows, 0, 1)) <= MAX_OBJECT;
    let split = split(rows, Row::hash, fits);
    let count = i32::try_from(split.len()).unwrap_or(i32::MAX);
    let mut pieces = Vec::with_capacity(split.len());
    for (rows, number) in split.iter().zip(0..) {
        let spec = spec(rows, number, count);
        let bytes = size(&spec);
        if bytes > MAX_OBJECT {
            return Err(BadPiece::TooLarge { bytes });
        }
        pieces.push(WorkloadEvidence {
            metadata: metadata(revision, node, number),
            spec,
        });
    }
    Ok(pieces)
}

/// Of a workload, so that a selector finds it.
pub(super) const WORKLOAD_LABEL: &str = "learner.dev/workload";
/// Of a revision.
pub(super) const REVISION_LABEL: &str = "learner.dev/revision";
/// Of a node.
pub(super) const NODE_LABEL: &str = "learner.dev/node";

/// Label values are 63 bytes at most, and names of nodes 253: they are told by a hash.
pub(super) fn label(parts: &[&str]) -> String {
    let mut text = Digest::of(parts.join("\0").as_bytes()).to_string();
    text.truncate(20);
    text
}

pub(super) fn revision_label(revision: &Revision) -> String {
    let workload = &revision.workload;
    label(&[
        &workload.kind,
        &workload.name,
        &workload.container,
        &revision.image,
    ])
}

fn metadata(revision: &Revision, node: &str, piece: i32) -> ObjectMeta {
    let workload = &revision.workload;
    let of = label(&[&workload.kind, &workload.name, &workload.container]);
    let at = label(&[&revision_label(revision), node]);
    let name = names::object_name(&[&workload.name, &workload.container, &at, &piece.to_string()]);
    ObjectMeta {
        name: Some(name),
        namespace: Some(workload.namespace.clone()),
        labels: Some(BTreeMap::from([
            (
                "app.kubernetes.io/managed-by".to_owned(),
                "learner".to_owned(),
            ),
            (WORKLOAD_LABEL.to_owned(), of),
            (REVISION_LABEL.to_owned(), revision_label(revision)),
            (NODE_LABEL.to_owned(), label(&[node])),
        ])),
        ..ObjectMeta::default()
    }
}

/// Runs and acts of some rows; with them the runs that the acts name.
fn tables(rows: &[Row<'_>], part: &Part) -> (Vec<RunRow>, Vec<ActRow>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for row in rows {
        match row {
            Row::Run(name) => {
                names.insert(name);
            }
            Row::Act(_, facts) => names.extend(facts.runs.keys().map(String::as_str)),
        }
    }
    let places: BTreeMap<&str, usize> = names.iter().copied().zip(0..).collect();
    let runs = names
        .iter()
        .map(|name| match part.runs.get(*name) {
            Some(facts) => run_row(name, facts),
            None => RunRow {
                name: (*name).to_owned(),
                ..RunRow::default()
            },
        })
        .collect();
    let acts = rows
        .iter()
        .filter_map(|row| match row {
            Row::Run(_) => None,
            Row::Act(act, facts) => Some(act_row(act, facts, &places)),
        })
        .collect();
    (runs, acts)
}

fn run_row(name: &str, facts: &RunFacts) -> RunRow {
    let RunFacts {
        labels,
        start,
        stop,
        first,
        late,
        lost,
        unjudged,
    } = facts.clone();
    RunRow {
        name: name.to_owned(),
        labels,
        start: start.map(time),
        stop: stop.map(time),
        first: first.map(time),
        late,
        lost: lost
            .into_iter()
            .map(|(reason, count)| (reason.into(), whole(count)))
            .collect(),
        unjudged: unjudged
            .into_iter()
            .map(|unjudged| match unjudged {
                Unjudged::Ancestry => NotJudged::Ancestry,
                Unjudged::Terminal => NotJudged::Terminal,
            })
            .collect(),
    }
}

fn act_row(act: &Act, facts: &Facts, places: &BTreeMap<&str, usize>) -> ActRow {
    let Act {
        op,
        access,
        path,
        to,
        source,
        owner,
        upper,
        denied,
        entry,
        learned,
    } = act;
    let Facts {
        seen: Sighting { count, first, last },
        opinion: Opinion {
            clean,
            unknown,
            reasons,
        },
        runs,
    } = facts;
    let times: Vec<i32> = runs
        .values()
        .map(|times| i32::try_from(*times).unwrap_or(i32::MAX))
        .collect();
    ActRow {
        op: op_name(*op),
        access: access.map(|access| access.as_str().to_owned()),
        path: path.text(),
        to: to.as_ref().map(Shape::text),
        from_source: source.as_ref().map(Shape::text),
        owner: *owner,
        upper: *upper,
        denied: *denied,
        entry: *entry,
        held: reasons.iter().map(|reason| held_for(*reason)).collect(),
        learned: *learned,
        clean: *clean,
        unknown: *unknown,
        count: whole(*count),
        first: time(*first),
        last: time(*last),
        runs: ranges(
            runs.keys()
                .filter_map(|run| places.get(run.as_str()).copied()),
        ),
        times: if times.iter().all(|times| *times == 1) {
            Vec::new()
        } else {
            times
        },
    }
}

/// What an object tells, in its own namespace.
///
/// # Errors
/// [`BadPiece`] says which of it is nothing that a node writes.
pub fn part_of(object: &WorkloadEvidence) -> Result<(Revision, Part), BadPiece> {
    let namespace = object.metadata.namespace.as_deref();
    let namespace = namespace.ok_or(BadPiece::NoNamespace)?;
    let spec = &object.spec;
    let revision = Revision {
        workload: spec.workload.within(namespace),
        image: spec.image.clone(),
    };
    let mut part = Part::default();
    for row in &spec.runs {
        part.runs.insert(row.name.clone(), run_facts(row)?);
    }
    for row in &spec.acts {
        let (act, facts) = act_facts(row, &spec.runs)?;
        // Whoever reads it makes a behaviour of it.
        act.example()?;
        let piece = Part {
            runs: BTreeMap::new(),
            acts: BTreeMap::from([(act, facts)]),
        };
        part.join(&piece);
    }
    Ok((revision, part))
}

/// A run, apart from what it did.
pub(super) fn run_facts(row: &RunRow) -> Result<RunFacts, BadPiece> {
    let RunRow {
        name: _,
        labels,
        start,
        stop,
        first,
        late,
        lost,
        unjudged,
    } = row;
    let maybe = |time: &Option<String>| time.as_deref().map(moment).transpose();
    Ok(RunFacts {
        labels: labels.clone(),
        start: maybe(start)?,
        stop: maybe(stop)?,
        first: maybe(first)?,
        late: *late,
        lost: lost
            .iter()
            .map(|(reason, count)| (Loss::from(reason.as_str()), count.unsigned_abs()))
            .collect(),
        unjudged: unjudged
            .iter()
            .map(|unjudged| match unjudged {
                NotJudged::Ancestry => Unjudged::Ancestry,
                NotJudged::Terminal => Unjudged::Terminal,
            })
            .collect(),
    })
}

fn act_facts(row: &ActRow, table: &[RunRow]) -> Result<(Act, Facts), BadPiece> {
    let runs = showed_by(row, table.len())?.into_iter();
    let runs = runs.map(|(place, times)| (table[place as usize].name.clone(), times));
    let runs = runs.collect();
    let act = act_of(row)?;
    let (seen, opinion) = seen_of(row)?;
    let facts = Facts {
        seen,
        opinion,
        runs,
    };
    Ok((act, facts))
}

/// The places below `count` of the runs that showed it, in order, each with the number of behaviours that it
/// stands for.
pub(super) fn showed_by(row: &ActRow, count: usize) -> Result<Vec<(u32, usize)>, BadPiece> {
    let ActRow { runs, times, .. } = row;
    let places = places(runs, count).ok_or_else(|| BadPiece::Runs(runs.clone()))?;
    if !times.is_empty() && times.len() != places.len() {
        return Err(BadPiece::Times {
            times: times.len(),
            runs: places.len(),
        });
    }
    let times = times.iter().copied().chain(std::iter::repeat(1));
    let runs = places.iter().zip(times);
    let runs = runs.map(|(place, times)| {
        let place = u32::try_from(*place);
        let place = place.map_err(|_| BadPiece::Runs(row.runs.clone()))?;
        Ok((place, times.max(1).unsigned_abs() as usize))
    });
    runs.collect()
}

/// The act itself.
pub(super) fn act_of(row: &ActRow) -> Result<Act, BadPiece> {
    let shape = |text: &str| {
        text.parse::<Shape>().map_err(|cause| BadPiece::Shape {
            text: text.to_owned(),
            cause,
        })
    };
    let access = match row.access.as_deref() {
        None => None,
        Some(text) => {
            let access = Access::parse(text);
            Some(access.ok_or_else(|| BadPiece::Access(text.to_owned()))?)
        }
    };
    Ok(Act {
        op: op_kind(row.op),
        access,
        path: shape(&row.path)?,
        to: row.to.as_deref().map(shape).transpose()?,
        source: row.from_source.as_deref().map(shape).transpose()?,
        owner: row.owner,
        upper: row.upper,
        denied: row.denied,
        entry: row.entry,
        learned: row.learned,
    })
}

/// How often and when it was done, and what is said of it.
pub(super) fn seen_of(row: &ActRow) -> Result<(Sighting, Opinion), BadPiece> {
    let seen = Sighting {
        count: row.count.unsigned_abs().max(1),
        first: moment(&row.first)?,
        last: moment(&row.last)?,
    };
    let opinion = Opinion {
        clean: row.clean,
        unknown: row.unknown,
        reasons: row.held.iter().map(|held| reason(*held)).collect(),
    };
    Ok((seen.in_order(), opinion))
}

fn op_name(op: OpKind) -> OpName {
    match op.as_str() {
        "open" => OpName::Open,
        "create" => OpName::Create,
        "mkdir" => OpName::Mkdir,
        "unlink" => OpName::Unlink,
        "rmdir" => OpName::Rmdir,
        "rename" => OpName::Rename,
        "link" => OpName::Link,
        "symlink" => OpName::Symlink,
        "chmod" => OpName::Chmod,
        "truncate" => OpName::Truncate,
        _ => OpName::Exec,
    }
}

fn op_kind(op: OpName) -> OpKind {
    // In the order of both.
    OpKind::ALL[op as usize]
}

fn held_for(reason: Reason) -> HeldFor {
    match reason {
        Reason::Tty => HeldFor::Tty,
        Reason::Upper => HeldFor::Upper,
        Reason::MadeAtRunTime => HeldFor::MadeAtRunTime,
        Reason::Denied => HeldFor::Denied,
        Reason::OutsideAncestry => HeldFor::OutsideAncestry,
        Reason::Alert => HeldFor::Alert,
    }
}

fn reason(held: HeldFor) -> Reason {
    match held {
        HeldFor::Tty => Reason::Tty,
        HeldFor::Upper => Reason::Upper,
        HeldFor::MadeAtRunTime => Reason::MadeAtRunTime,
        HeldFor::Denied => Reason::Denied,
        HeldFor::OutsideAncestry => Reason::OutsideAncestry,
        HeldFor::Alert => Reason::Alert,
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, to the microsecond; what lies beyond the year 9999 is its end.
pub(super) fn time(moment: Moment) -> String {
    let clamped = moment.0.clamp(
        jiff::Timestamp::MIN.as_microsecond(),
        jiff::Timestamp::MAX.as_microsecond(),
    );
    jiff::Timestamp::from_microsecond(clamped)
        .unwrap_or_default()
        .to_string()
}

pub(super) fn moment(text: &str) -> Result<Moment, BadPiece> {
    let time: jiff::Timestamp = text.parse().map_err(|_| BadPiece::Time(text.to_owned()))?;
    Ok(Moment(time.as_microsecond()))
}

/// `0-3,7` of places in order.
fn ranges(places: impl Iterator<Item = usize>) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for place in places {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == place => *to = place,
            _ => ranges.push((place, place)),
        }
    }
    let shown: Vec<String> = ranges
        .iter()
        .map(|(from, to)| match from == to {
            true => from.to_string(),
            false => format!("{from}-{to}"),
        })
        .collect();
    shown.join(",")
}

/// The places of `0-3,7`, in order, each below `below`; at least one.
fn places(text: &str, below: usize) -> Option<Vec<usize>> {
    let mut places = Vec::new();
    for range in text.split(',') {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        if from > to || to >= below || places.last().is_some_and(|last| *last >= from) {
            return None;
        }
        places.extend(from..=to);
    }
    Some(places)
}

#[cfg(test)]
mod tests;

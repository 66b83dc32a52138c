//! `learner runs`.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{Table, presets};
use jiff::Timestamp;
use learner::observation::Moment;
use learner::profile::RunProfile;
use learner::workload::{RunKey, Workload};
use serde::Serialize;

use crate::Verdict;
use crate::answer::{Answer, lines};
use crate::args::{Global, Runs, TableFormat};
use crate::failure::Failure;
use crate::selection::Stored;
use crate::talk::visible;

/// What has been recorded of one workload.
#[derive(Debug, Default, Serialize)]
struct Row {
    namespace: String,
    kind: String,
    workload: String,
    container: String,
    /// Revisions, by image; an empty name where none is known.
    images: BTreeSet<String>,
    runs: usize,
    /// Runs that were not watched whole.
    partial: usize,
    /// Events by the reason why they could not be recorded.
    lost: BTreeMap<String, u64>,
    /// Distinct behaviours, over all runs.
    behaviors: usize,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

pub(crate) fn run(global: &Global, args: &Runs) -> Result<Verdict, Failure> {
    let stored = Stored::open(global)?;
    let summaries = stored.summaries(&args.which)?;
    let mut by_workload: BTreeMap<&Workload, BTreeSet<&RunKey>> = BTreeMap::new();
    for summary in &summaries {
        let keys = by_workload.entry(&summary.key.workload).or_default();
        keys.insert(&summary.key);
    }
    let mut rows = Vec::new();
    // One workload at a time, so that memory does not grow with the store.
    for (workload, keys) in by_workload {
        rows.push(row(workload, &stored.load(&keys)?.into_runs()));
    }
    let mut answer = Answer::begin();
    match args.format {
        TableFormat::Table if rows.is_empty() => {}
        TableFormat::Table => answer.print(&table(&rows))?,
        TableFormat::Json => {
            let value = serde_json::to_value(&rows).unwrap_or(serde_json::Value::Null);
            answer.print(&format!("{value:#}\n"))?;
        }
    }
    answer.end()?;
    if rows.is_empty() {
        let place = stored.dir.display().to_string();
        tracing::warn!("{}", args.which.nothing_in(&place));
        return Ok(Verdict::No);
    }
    Ok(Verdict::Done)
}

fn row(workload: &Workload, runs: &BTreeMap<RunKey, RunProfile>) -> Row {
    let Workload {
        namespace,
        kind,
        name,
        container,
    } = workload.clone();
    let mut lost = BTreeMap::new();
    for (reason, count) in runs.values().flat_map(|run| &run.lost) {
        let total: &mut u64 = lost.entry(reason.as_str().to_owned()).or_default();
        *total = total.saturating_add(*count);
    }
    let behaviors: BTreeSet<_> = runs.values().flat_map(|run| run.seen.keys()).collect();
    let sightings = || runs.values().flat_map(|run| run.seen.values());
    let bounds = || {
        runs.values()
            .flat_map(|run| [run.start, run.stop])
            .flatten()
    };
    Row {
        namespace,
        kind,
        workload: name,
        container,
        images: runs.keys().map(|key| key.image.clone()).collect(),
        runs: runs.len(),
        partial: runs.values().filter(|run| run.is_partial()).count(),
        lost,
        behaviors: behaviors.len(),
        first: bounds()
            .chain(sightings().map(|s| s.first))
            .min()
            .and_then(timestamp),
        last: bounds()
            .chain(sightings().map(|s| s.last))
            .max()
            .and_then(timestamp),
    }
}

/// `None` beyond the years that a timestamp can hold.
fn timestamp(moment: Moment) -> Option<Timestamp> {
    Timestamp::from_microsecond(moment.0).ok()
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "NAMESPACE",
        "WORKLOAD",
        "CONTAINER",
        "IMAGES",
        "RUNS",
        "PARTIAL",
        "LOST",
        "BEHAVIORS",
        "FIRST SEEN",
        "LAST SEEN",
    ]);
    let to_second = |at: Option<Timestamp>| {
        at.map_or_else(|| "?".to_owned(), |at| at.strftime("%FT%TZ").to_string())
    };
    for row in rows {
        let lost = row
            .lost
            .values()
            .fold(0, |sum: u64, n| sum.saturating_add(*n));
        table.add_row([
            visible(&row.namespace),
            visible(&format!("{}/{}", row.kind, row.workload)),
            visible(&row.container),
            row.images.len().to_string(),
            row.runs.to_string(),
            row.partial.to_string(),
            lost.to_string(),
            row.behaviors.to_string(),
            to_second(row.first),
            to_second(row.last),
        ]);
    }
    lines(&table)
}

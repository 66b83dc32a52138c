//! `learner forget`.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use comfy_table::{Table, presets};
use learner::behavior::{Behavior, OpKind};
use learner::candidate::Frozen;
use learner::mention::{Mention, Tombstones};
use learner::path::AbsPath;
use learner::posture::Standing;
use learner::promotion::still_allowed;
use learner::workload::{RunKey, Workload};
use serde::Serialize;

use crate::Verdict;
use crate::answer::Answer;
use crate::args::{Forget, Global, TableFormat, Which};
use crate::failure::Failure;
use crate::selection::Stored;
use crate::talk::visible;

/// Something that is forgotten, as it is listed. A path that is not text is shown escaped, and stands
/// in base64 beside it, as in recordings.
#[derive(Debug, Serialize)]
struct Row {
    namespace: String,
    kind: String,
    workload: String,
    container: String,
    op: Option<&'static str>,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_bytes: Option<String>,
}

mod cluster;

pub(crate) fn run(global: &Global, args: &Forget) -> Result<Verdict, Failure> {
    if args.cluster {
        return cluster::run(args);
    }
    let stored = Stored::open(global)?;
    if args.list {
        return list(&stored, args);
    }
    let (found, missing) = if args.undo {
        forgotten(&stored, args)?
    } else {
        recorded(&stored, args)?
    };
    stored.bury(found.keys().cloned().collect(), args.undo)?;
    say(&found, args.undo);
    if !args.undo {
        say_what_is_still_allowed(
            &stored,
            found.keys().map(|(workload, _)| workload).collect(),
        )?;
    }
    Ok(named_all(args, &missing, &stored.dir.display().to_string()))
}

fn say(found: &BTreeMap<(Workload, Mention), usize>, undo: bool) {
    for ((workload, mention), behaviors) in found {
        let workload = visible(&workload.to_string());
        if undo {
            tracing::info!("{workload}: may be learned again: {mention}");
        } else {
            tracing::info!(
                "{workload}: forgotten: {mention} (behaviours: {behaviors}; the evidence is kept)"
            );
        }
    }
}

fn named_all(args: &Forget, missing: &[&AbsPath], place: &str) -> Verdict {
    for path in missing {
        if args.undo {
            tracing::warn!("{path}: nothing like it is forgotten in {place}");
        } else {
            tracing::warn!("{path}: nothing that was recorded in {place} matches");
        }
    }
    if missing.is_empty() {
        Verdict::Done
    } else {
        Verdict::No
    }
}

/// A candidate is frozen: what it allows it goes on to allow.
fn say_what_is_still_allowed(
    stored: &Stored,
    workloads: BTreeSet<&Workload>,
) -> Result<(), Failure> {
    let ledger = stored.ledger()?;
    let forgotten = stored.tombstones()?;
    let summaries = stored.summaries(&Which::default())?;
    for (revision, standing) in ledger.iter() {
        let workload = &revision.workload;
        let Some(frozen) = ledger
            .frozen(revision)
            .filter(|_| workloads.contains(workload))
        else {
            continue;
        };
        let keys = summaries.iter().map(|summary| &summary.key);
        let evidence = stored.load(&keys.filter(|key| key.workload == *workload).collect())?;
        for mention in still_allowed(workload, &evidence, frozen, &forgotten) {
            say_it_goes_on(workload, frozen, standing, mention);
        }
    }
    Ok(())
}

fn say_it_goes_on(workload: &Workload, frozen: &Frozen, standing: &Standing, mention: &Mention) {
    let name = visible(&workload.to_string());
    let candidate = frozen.candidate().digest().short();
    let posture = standing.posture();
    tracing::warn!(
        "{name}: its candidate {candidate}, under {posture}, goes on allowing {mention}, and is \
         not promoted. Make another: learner demote '{name}' --to learning --reason TEXT, \
         then a whole run, then learner promote"
    );
}

/// What is to be forgotten or learned again, with the number of behaviours that it names, and the
/// paths that name none.
type Found<'a> = (BTreeMap<(Workload, Mention), usize>, Vec<&'a AbsPath>);

/// What is named.
fn mentions(args: &Forget) -> BTreeSet<Mention> {
    let mention = |path: &AbsPath| Mention {
        op: args.op,
        path: path.clone(),
        source: args.source.clone(),
    };
    args.paths.iter().map(mention).collect()
}

/// What names nothing of what was found.
fn missing<'a>(found: &BTreeMap<(Workload, Mention), usize>, args: &'a Forget) -> Vec<&'a AbsPath> {
    let named: BTreeSet<&AbsPath> = found.keys().map(|(_, mention)| &mention.path).collect();
    let missing = args.paths.iter().filter(|path| !named.contains(path));
    missing.collect()
}

fn recorded<'a>(stored: &Stored, args: &'a Forget) -> Result<Found<'a>, Failure> {
    let mentions = mentions(args);
    let summaries = stored.summaries(&args.which)?;
    let mut by_workload: BTreeMap<&Workload, BTreeSet<&RunKey>> = BTreeMap::new();
    for summary in &summaries {
        let keys = by_workload.entry(&summary.key.workload).or_default();
        keys.insert(&summary.key);
    }
    let mut found = BTreeMap::new();
    // One workload at a time, so that memory does not grow with the store.
    for (workload, keys) in by_workload {
        let evidence = stored.load(&keys)?;
        let behaviors: BTreeSet<&Behavior> = evidence
            .runs()
            .values()
            .flat_map(|run| run.seen.keys())
            .collect();
        for mention in &mentions {
            let touched = behaviors.iter().filter(|b| mention.touches(b)).count();
            if touched > 0 {
                found.insert((workload.clone(), mention.clone()), touched);
            }
        }
    }
    let missing = missing(&found, args);
    Ok((found, missing))
}

/// Whether it is among what is to be learned again.
fn is_told(args: &Forget, mention: &Mention) -> bool {
    args.paths.contains(&mention.path)
        && (args.op.is_none() || mention.op == args.op)
        && (args.source.is_none() || mention.source == args.source)
}

fn forgotten<'a>(stored: &Stored, args: &'a Forget) -> Result<Found<'a>, Failure> {
    let tombstones = meant(stored, args)?;
    let found: BTreeMap<(Workload, Mention), usize> = tombstones
        .iter()
        .filter(|(_, mention)| is_told(args, mention))
        .map(|(workload, mention)| ((workload.clone(), mention.clone()), 0))
        .collect();
    let missing = missing(&found, args);
    Ok((found, missing))
}

/// What is forgotten of the workloads that are meant. Labels are those of the runs.
fn meant(stored: &Stored, args: &Forget) -> Result<Tombstones, Failure> {
    let tombstones = stored.tombstones()?;
    let labelled: Option<BTreeSet<Workload>> = if args.which.labels.is_empty() {
        None
    } else {
        let summaries = stored.summaries(&args.which)?;
        Some(summaries.into_iter().map(|s| s.key.workload).collect())
    };
    let is_meant = |workload: &Workload| {
        args.which.takes_namespace_of(workload)
            && labelled
                .as_ref()
                .is_none_or(|those| those.contains(workload))
    };
    Ok(tombstones
        .iter()
        .filter(|(workload, _)| is_meant(workload))
        .map(|(workload, mention)| (workload.clone(), mention.clone()))
        .collect())
}

fn list(stored: &Stored, args: &Forget) -> Result<Verdict, Failure> {
    let tombstones = meant(stored, args)?;
    listed(&tombstones, args, &stored.dir.display().to_string())
}

fn listed(tombstones: &Tombstones, args: &Forget, place: &str) -> Result<Verdict, Failure> {
    let rows: Vec<Row> = tombstones.iter().map(row).collect();
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
        tracing::warn!("nothing is forgotten in {place}");
        return Ok(Verdict::No);
    }
    Ok(Verdict::Done)
}

fn row((workload, mention): (&Workload, &Mention)) -> Row {
    let Workload {
        namespace,
        kind,
        name,
        container,
    } = workload.clone();
    let Mention { op, path, source } = mention;
    let (path, path_bytes) = written(path);
    let (source, source_bytes) = source.as_ref().map(written).unzip();
    Row {
        namespace,
        kind,
        workload: name,
        container,
        op: op.map(OpKind::as_str),
        path,
        path_bytes,
        source,
        source_bytes: source_bytes.flatten(),
    }
}

fn written(path: &AbsPath) -> (String, Option<String>) {
    match path.as_str() {
        Some(text) => (text.to_owned(), None),
        None => (path.to_string(), Some(BASE64.encode(path.as_bytes()))),
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "NAMESPACE",
        "WORKLOAD",
        "CONTAINER",
        "OP",
        "PATH",
        "SOURCE",
    ]);
    let any = || "*".to_owned();
    for row in rows {
        table.add_row([
            visible(&row.namespace),
            visible(&format!("{}/{}", row.kind, row.workload)),
            visible(&row.container),
            row.op.map_or_else(any, str::to_owned),
            visible(&row.path),
            row.source.as_deref().map_or_else(any, visible),
        ]);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    text
}

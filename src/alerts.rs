//! `learner alerts`.

mod cluster;
mod follow;

use comfy_table::{Table, presets};
use learner::alert::Alert;
use learner::behavior::Access;
use learner::posture::Posture;
use learner::profile::Evidence;
use learner::promotion::{At, Hearing};
use learner::recording::path_fields;
use learner::workload::Workload;
use serde_json::{Value, json};

use crate::Verdict;
use crate::answer::{Answer, lines};
use crate::args::{AlertFormat, Alerts, Global};
use crate::court::Court;
use crate::failure::Failure;
use crate::kubearmor;
use crate::talk::visible;

/// An alert, and what it is shown with.
pub(crate) struct Shown {
    pub(crate) alert: Alert,
    pub(crate) posture: Posture,
    /// When that posture began.
    pub(crate) since: learner::observation::Moment,
    pub(crate) labels: learner::workload::Labels,
    /// The name of the candidate's policy.
    pub(crate) policy: learner::policy::Policy,
}

pub(crate) fn run(global: &Global, args: &Alerts) -> Result<Verdict, Failure> {
    if args.follow {
        return follow::run(global, args);
    }
    let (all, are_known) = match args.cluster {
        true => cluster::all(args)?,
        false => {
            let court = Court::open(global)?;
            let mut all = Vec::new();
            for workload in court.workloads(&args.which) {
                all.extend(of(&court, &workload)?);
            }
            (all, true)
        }
    };
    let mut answer = Answer::begin();
    match args.format {
        AlertFormat::Table if all.is_empty() => {}
        AlertFormat::Table => answer.print(&table(&all))?,
        AlertFormat::Json => {
            let rows: Vec<Value> = all.iter().map(row).collect();
            answer.print(&format!("{:#}\n", Value::Array(rows)))?;
        }
        AlertFormat::Kubearmor => {
            for shown in &all {
                answer.print(&format!("{}\n", kubearmor::alert(shown)))?;
            }
        }
    }
    answer.end()?;
    let open = all.iter().filter(|shown| !shown.alert.dismissed).count();
    Ok(if open == 0 && are_known {
        Verdict::Done
    } else {
        Verdict::No
    })
}

/// The alerts of a workload. Nothing is loaded of one that is not judged.
fn of(court: &Court, workload: &Workload) -> Result<Vec<Shown>, Failure> {
    if !court.ledger.is_judged(workload) {
        return Ok(Vec::new());
    }
    let evidence = court.own_evidence(workload)?;
    let hearing = court.hear(workload, &evidence);
    Ok(hearing.map_or(Vec::new(), |hearing| shown(hearing, &evidence)))
}

/// The alerts with what they are shown with.
fn shown(hearing: Hearing<'_>, evidence: &Evidence) -> Vec<Shown> {
    let runs = evidence.runs().iter();
    let labels = runs
        .filter(|(key, run)| hearing.revision.has(key) && !run.labels.is_empty())
        .max_by_key(|(key, run)| (run.start, *key))
        .map(|(_, run)| run.labels.clone())
        .unwrap_or_default();
    let shown = hearing.alerts.into_iter().map(|alert| Shown {
        alert,
        posture: hearing.standing.posture(),
        since: hearing.standing.since(),
        labels: labels.clone(),
        policy: hearing.frozen.candidate().policy().clone(),
    });
    shown.collect()
}

fn operation(alert: &Alert) -> String {
    let mut text = alert.act.op.name().to_owned();
    if let Some(access) = alert.act.op.access() {
        text.push_str(&format!(" {}", access.as_str()));
    }
    text.push_str(&format!(" {}", alert.act.path));
    if let Some(to) = alert.act.op.to() {
        text.push_str(&format!(" to {to}"));
    }
    text
}

const HEADER: [&str; 13] = [
    "ALERT",
    "WORKLOAD",
    "POSTURE",
    "OPERATION",
    "SOURCE",
    "BY",
    "RESULT",
    "COUNT",
    "RUNS",
    "FIRST SEEN",
    "LAST SEEN",
    "DECISION",
    "WHY",
];

fn cells(shown: &Shown) -> [String; 13] {
    let alert = &shown.alert;
    let source = alert.act.source.as_ref();
    [
        alert.id.to_string(),
        visible(&alert.revision.workload.to_string()),
        shown.posture.to_string(),
        operation(alert),
        source.map_or("?".to_owned(), ToString::to_string),
        alert.whose.word().to_owned(),
        alert.kind.word().to_owned(),
        alert.count.to_string(),
        alert.runs.len().to_string(),
        At(alert.first).to_string(),
        At(alert.last).to_string(),
        if alert.dismissed { "forgotten" } else { "-" }.to_owned(),
        visible(&alert.why),
    ]
}

fn table(all: &[Shown]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    for shown in all {
        table.add_row(cells(shown));
    }
    lines(&table)
}

fn row(shown: &Shown) -> Value {
    let alert = &shown.alert;
    let (path, path_bytes) = path_fields(&alert.act.path);
    let mut row = json!({
        "id": alert.id.to_string(),
        "workload": alert.revision.workload.to_string(),
        "image": alert.revision.image,
        "posture": shown.posture.to_string(),
        "op": alert.act.op.name(),
        "access": alert.act.op.access().map(Access::as_str),
        "path": path,
        "source": Value::Null,
        "by": alert.whose.word(),
        "uid": alert.uid,
        "result": alert.kind.word(),
        "count": alert.count,
        "runs": alert.runs,
        "first": At(alert.first).to_string(),
        "last": At(alert.last).to_string(),
        "decision": alert.dismissed.then_some("forgotten"),
        "why": alert.why,
    });
    if let Some(bytes) = path_bytes {
        row["path_bytes"] = bytes.into();
    }
    let to = alert.act.op.to().map(|path| ("to", "to_bytes", path));
    let source = alert.act.source.as_ref();
    let source = source.map(|path| ("source", "source_bytes", path));
    for (name, bytes_name, path) in to.into_iter().chain(source) {
        let (text, bytes) = path_fields(path);
        row[name] = text.into();
        if let Some(bytes) = bytes {
            row[bytes_name] = bytes.into();
        }
    }
    row
}

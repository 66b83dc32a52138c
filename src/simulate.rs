//! `learner simulate`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use comfy_table::{Table, presets};
use learner::behavior::Access;
use learner::policy::meaning::Postures;
use learner::recording::path_fields;
use learner::simulation::{Finding, Hit, Simulation, simulate};
use serde::Serialize;

use crate::Verdict;
use crate::answer::{Answer, is_dash, lines};
use crate::applied;
use crate::args::{Global, Simulate, TableFormat};
use crate::failure::Failure;
use crate::selection::{Recorded, recorded};
use crate::talk::visible;

pub(crate) fn run(global: &Global, args: &Simulate) -> Result<Verdict, Failure> {
    let is_stdin = |path: &std::path::PathBuf| is_dash(path);
    if args
        .policies
        .iter()
        .chain(&args.from)
        .filter(|path| is_stdin(path))
        .count()
        > 1
    {
        return Err(Failure::StandardInputTwice);
    }
    let policies = applied::read(&args.policies)?;
    if policies.is_empty() {
        return Err(Failure::Nothing(
            "nothing to simulate: no policy was found in what was named".to_owned(),
        ));
    }
    let Recorded {
        evidence, place, ..
    } = recorded(global, &args.which, &args.from)?;
    if evidence.runs().is_empty() {
        return Err(Failure::Nothing(format!(
            "nothing to simulate with: {}",
            args.which.nothing_in(&place)
        )));
    }
    let simulation = simulate(
        &evidence,
        &policies,
        args.enforcer,
        Postures::all(args.posture),
    );
    explain(&simulation);
    if simulation.operations == 0 {
        return Err(Failure::Nothing(format!(
            "nothing was tested: {}",
            if simulation.runs == 0 {
                format!(
                    "none of the policies selects a run in {place}; `learner runs -f json` shows what was recorded"
                )
            } else {
                "the runs that the policies select hold nothing that succeeded".to_owned()
            }
        )));
    }
    let mut answer = Answer::begin();
    match args.format {
        TableFormat::Table => answer.print(&table(&simulation))?,
        TableFormat::Json => {
            let value = serde_json::to_value(Report::from(&simulation));
            answer.print(&format!("{:#}\n", value.unwrap_or_default()))?;
        }
    }
    answer.end()?;
    Ok(if simulation.denied.is_empty() {
        Verdict::Done
    } else {
        Verdict::No
    })
}

/// Says what was not tested, and what the result rests on.
fn explain(simulation: &Simulation) {
    for untested in &simulation.untested {
        let policy = &untested.policy;
        if untested.is_for_hosts {
            tracing::warn!(
                "{policy} was not tested: a KubeArmorHostPolicy selects hosts, never containers"
            );
        } else {
            tracing::warn!("{policy} was not tested: it selects none of the runs");
        }
    }
    if !simulation.left_out.is_empty() {
        tracing::info!(
            "workloads that none of the policies selects, and that were left out: {}",
            simulation.left_out.len()
        );
    }
    if simulation.partial > 0 {
        tracing::warn!(
            "partial evidence: {} of {} runs were not watched whole, so what they did unseen was not tested",
            simulation.partial,
            simulation.runs
        );
    }
    if simulation.copied_up > 0 {
        tracing::warn!(
            "{} of the allowed operations change a file of the image: on an overlay root, as containers have, KubeArmor may refuse them under the path of the copy",
            simulation.copied_up
        );
    }
}

#[derive(Serialize)]
struct Report<'a> {
    operations: usize,
    allowed: usize,
    denied: usize,
    unknown: usize,
    denials: Vec<Entry<'a>>,
    /// What would have been done and reported.
    alerts: Vec<Entry<'a>>,
    unknowns: Vec<Entry<'a>>,
    lints: Vec<Remark<'a>>,
    /// Runs that were judged.
    runs: usize,
    /// Those of them that were not watched whole.
    partial: usize,
    /// Allowed here, and perhaps not on an overlay root.
    copied_up: usize,
    untested: Vec<String>,
    left_out: Vec<String>,
}

#[derive(Serialize)]
struct Entry<'a> {
    workload: String,
    op: &'a str,
    source: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_bytes: Option<String>,
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_bytes: Option<String>,
    access: Option<&'static str>,
    runs: BTreeSet<&'a str>,
    count: u64,
    why: &'a str,
}

#[derive(Serialize)]
struct Remark<'a> {
    policy: &'a str,
    field: &'a str,
    text: &'a str,
}

impl<'a> From<&'a Simulation> for Report<'a> {
    fn from(simulation: &'a Simulation) -> Self {
        let Simulation {
            operations,
            allowed,
            denied,
            alerts,
            unknown,
            copied_up,
            runs,
            partial,
            left_out,
            untested,
            findings,
        } = simulation;
        let entries = |hits: &'a [Hit]| hits.iter().map(Entry::from).collect();
        Self {
            operations: *operations,
            allowed: *allowed,
            denied: denied.len(),
            unknown: unknown.len(),
            denials: entries(denied),
            alerts: entries(alerts),
            unknowns: entries(unknown),
            lints: findings.iter().map(Remark::from).collect(),
            runs: *runs,
            partial: *partial,
            copied_up: *copied_up,
            untested: untested.iter().map(|one| one.policy.to_string()).collect(),
            left_out: left_out.iter().map(ToString::to_string).collect(),
        }
    }
}

impl<'a> From<&'a Hit> for Entry<'a> {
    fn from(hit: &'a Hit) -> Self {
        let (path, path_bytes) = path_fields(&hit.path);
        let source = hit.source.as_ref().map(path_fields);
        let to = hit.op.to().map(path_fields);
        let (source, source_bytes) =
            source.map_or((None, None), |(text, bytes)| (Some(text), bytes));
        let (to, to_bytes) = to.map_or((None, None), |(text, bytes)| (Some(text), bytes));
        Self {
            workload: hit.workload.to_string(),
            op: hit.op.name(),
            source,
            source_bytes,
            path,
            path_bytes,
            to,
            to_bytes,
            access: hit.op.access().map(Access::as_str),
            runs: hit.runs.iter().map(|key| key.run.as_str()).collect(),
            count: hit.count,
            why: &hit.why,
        }
    }
}

impl<'a> From<&'a Finding> for Remark<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            policy: &finding.policy,
            field: &finding.field,
            text: &finding.text,
        }
    }
}

fn table(simulation: &Simulation) -> String {
    let mut text = String::new();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "RESULT",
        "WORKLOAD",
        "OPERATION",
        "SOURCE",
        "COUNT",
        "RUNS",
        "WHY",
    ]);
    for (result, hits) in [
        ("WOULD DENY", &simulation.denied),
        ("WOULD ALERT", &simulation.alerts),
        ("UNKNOWN", &simulation.unknown),
    ] {
        for hit in hits {
            table.add_row([
                result.to_owned(),
                visible(&hit.workload.to_string()),
                operation(hit),
                hit.source
                    .as_ref()
                    .map_or("?".to_owned(), ToString::to_string),
                hit.count.to_string(),
                hit.runs.len().to_string(),
                visible(&hit.why),
            ]);
        }
    }
    if !table.is_empty() {
        text.push_str(&lines(&table));
    }
    text.push_str(&format!(
        "{} operations of {} runs: {} allowed, {} of these reported; {} denied; {} unknown\n",
        simulation.operations,
        simulation.runs,
        simulation.allowed,
        simulation.alerts.len(),
        simulation.denied.len(),
        simulation.unknown.len(),
    ));
    for finding in &simulation.findings {
        text.push_str(&format!(
            "LINT {}: {}: {}\n",
            visible(&finding.policy),
            visible(&finding.field),
            visible(&finding.text)
        ));
    }
    text
}

/// `open r /etc/passwd`.
fn operation(hit: &Hit) -> String {
    let mut text = hit.op.name().to_owned();
    if let Some(access) = hit.op.access() {
        text.push_str(&format!(" {}", access.as_str()));
    }
    text.push_str(&format!(" {}", hit.path));
    if let Some(to) = hit.op.to() {
        text.push_str(&format!(" to {to}"));
    }
    text
}

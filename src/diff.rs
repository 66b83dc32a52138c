//! `learner diff`.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{Table, presets};
use learner::behavior::Access;
use learner::diff::{
    Change, Container, Deeds, Diff, Done, Keys, Meaning, Program, RuleChange, diff,
};
use learner::generalize::Dialect;
use learner::policy::meaning::Enforcer;
use learner::policy::{Policy, to_yaml};
use learner::profile::Evidence;
use learner::recommend::Criteria;
use learner::recording::path_fields;
use serde::Serialize;

mod drift;

use drift::Written;

use crate::Verdict;
use crate::answer::{Answer, is_dash, lines};
use crate::applied::{self, Applied};
use crate::args::{self, Global, ValueFormat};
use crate::failure::Failure;
use crate::recommend::recommended;
use crate::selection::{Recorded, recorded};
use crate::talk::visible;

/// So many paths are named for what changes; JSON and YAML have all.
const NAMED: usize = 3;

pub(crate) fn run(global: &Global, args: &args::Diff) -> Result<Verdict, Failure> {
    let named = args.suggested.iter().chain(&args.applied).chain(&args.from);
    if named.filter(|path| is_dash(path)).count() > 1 {
        return Err(Failure::StandardInputTwice);
    }
    let suggested = match &args.suggested {
        Some(path) => applied::read(std::slice::from_ref(path))?,
        None => Vec::new(),
    };
    if args.cluster {
        return drift::run(args, &suggested);
    }
    if args.applied.is_empty() {
        return Err(Failure::NoApplied);
    }
    let applied = Applied::Files(&args.applied).read()?;
    let Recorded {
        evidence,
        forgotten,
        ledger,
        place,
    } = recorded(global, &args.which, &args.from)?;
    let enforcer = args.enforcer.unwrap_or(Enforcer::Bpf);
    let mut suggested = suggested;
    if args.suggested.is_none() {
        if evidence.runs().is_empty() {
            return Err(nothing_in(args, &place));
        }
        let criteria = Criteria {
            forgotten,
            ledger,
            ..criteria(args, enforcer)
        };
        let made = recommended(&evidence, &criteria).made;
        suggested.extend(made.into_iter().map(|one| one.policy));
    }
    let diff = compared(args, suggested, applied, &evidence, enforcer)?;
    let mut answer = Answer::begin();
    answer.print(&shown(args.format, &[(enforcer, diff.clone())], &[]))?;
    answer.end()?;
    Ok(verdict(&[(enforcer, diff)]))
}

/// What is recommended for a comparison.
fn criteria(args: &args::Diff, enforcer: Enforcer) -> Criteria {
    Criteria {
        tightness: args.tightness.unwrap_or_default(),
        enforcer: match enforcer {
            Enforcer::Bpf | Enforcer::Learner => Dialect::Bpf,
            Enforcer::AppArmor => Dialect::AppArmor,
        },
        ..Criteria::default()
    }
}

fn nothing_in(args: &args::Diff, place: &str) -> Failure {
    let nothing = args.which.nothing_in(place);
    Failure::Nothing(format!("nothing to compare: {nothing}"))
}

fn compared(
    args: &args::Diff,
    mut suggested: Vec<Policy>,
    mut applied: Vec<Policy>,
    evidence: &Evidence,
    enforcer: Enforcer,
) -> Result<Diff, Failure> {
    let mut missing = "nothing to compare: no policy is suggested".to_owned();
    if let Some(namespace) = &args.which.namespace {
        let is_meant = |policy: &Policy| policy.namespace().is_none_or(|own| own == namespace);
        applied.retain(is_meant);
        suggested.retain(is_meant);
        missing =
            format!("nothing to compare: no policy of the namespace {namespace} is suggested");
    }
    if suggested.is_empty() {
        return Err(Failure::Nothing(missing));
    }
    let diff = diff(&applied, &suggested, evidence, enforcer);
    for policy in &diff.for_hosts {
        tracing::warn!(
            "{policy} was not compared: a KubeArmorHostPolicy selects hosts, never containers"
        );
    }
    if diff.containers.is_empty() {
        return Err(Failure::Nothing(
            "nothing to compare: none of the policies selects a container".to_owned(),
        ));
    }
    Ok(diff)
}

fn verdict(diffs: &[(Enforcer, Diff)]) -> Verdict {
    match diffs.iter().all(|(_, diff)| diff.is_same()) {
        true => Verdict::Done,
        false => Verdict::No,
    }
}

/// The whole answer. `written`: whose the applied policies are, where that is known.
fn shown(format: ValueFormat, diffs: &[(Enforcer, Diff)], written: &[Written]) -> String {
    let report = || Report::new(diffs, written);
    match format {
        ValueFormat::Table => {
            let mut text: String = diffs.iter().map(|(_, diff)| elsewhere(diff)).collect();
            for (enforcer, diff) in diffs {
                if diffs.len() > 1 {
                    text.push_str(&format!("Enforcer {enforcer}\n"));
                }
                text.push_str(&table(diff));
            }
            text.push_str(&drift::table(written));
            text
        }
        ValueFormat::Json => {
            let value = serde_json::to_value(report()).unwrap_or_default();
            format!("{value:#}\n")
        }
        ValueFormat::Yaml => to_yaml(&report()),
    }
}

#[derive(Serialize)]
struct Report {
    same: bool,
    workloads: Vec<Workload>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<Written>,
}

#[derive(Serialize)]
struct Workload {
    workload: String,
    /// Where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    enforcer: Option<String>,
    same: bool,
    elsewhere: Vec<Elsewhere>,
    replaced: Vec<String>,
    #[serde(flatten)]
    changes: Changes,
    rules: Vec<Rule>,
    unjudged: Vec<String>,
    keys: KeyCount,
}

#[derive(Serialize)]
struct Elsewhere {
    policy: String,
    #[serde(flatten)]
    changes: Changes,
}

#[derive(Default, Serialize)]
struct Changes {
    becomes_allowed: Vec<Group>,
    becomes_denied: Vec<Group>,
    unclear: Vec<Group>,
    becomes_reported: Vec<Group>,
    becomes_unreported: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    before: String,
    after: String,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    op: String,
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_bytes: Option<String>,
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_bytes: Option<String>,
    access: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminal: Option<bool>,
    /// How often it was seen; 0 where it only shows a boundary.
    seen: u64,
}

#[derive(Serialize)]
struct Rule {
    class: String,
    target: String,
    sources: BTreeSet<String>,
    applied: BTreeSet<String>,
    suggested: BTreeSet<String>,
    meaning: String,
}

#[derive(Serialize)]
struct KeyCount {
    before: usize,
    after: usize,
    limit: Option<usize>,
}

impl Report {
    fn new(diffs: &[(Enforcer, Diff)], written: &[Written]) -> Self {
        let of = |enforcer: Enforcer, container: &Container| Workload {
            enforcer: (diffs.len() > 1).then(|| enforcer.to_string()),
            ..Workload::from(container)
        };
        Self {
            same: verdict(diffs) == Verdict::Done,
            workloads: diffs
                .iter()
                .flat_map(|(enforcer, diff)| {
                    diff.containers
                        .iter()
                        .map(|container| of(*enforcer, container))
                })
                .collect(),
            policies: written.to_vec(),
        }
    }
}

impl From<&Container> for Workload {
    fn from(container: &Container) -> Self {
        let comparison = &container.comparison;
        let Keys {
            before,
            after,
            limit,
        } = comparison.keys;
        Self {
            workload: container.name.clone(),
            enforcer: None,
            same: comparison.is_same(),
            elsewhere: container
                .elsewhere
                .iter()
                .map(|one| Elsewhere {
                    policy: one.policy.to_string(),
                    changes: Changes::from(&one.changes[..]),
                })
                .collect(),
            replaced: container.replaced.iter().map(ToString::to_string).collect(),
            changes: Changes::from(&comparison.changes[..]),
            rules: comparison.rules.iter().map(Rule::from).collect(),
            unjudged: comparison.unjudged.clone(),
            keys: KeyCount {
                before,
                after,
                limit,
            },
        }
    }
}

impl From<&[Deeds]> for Changes {
    fn from(all: &[Deeds]) -> Self {
        let mut changes = Self::default();
        for deeds in all {
            let list = match deeds.change {
                Change::Allowed => &mut changes.becomes_allowed,
                Change::Denied => &mut changes.becomes_denied,
                Change::Unclear => &mut changes.unclear,
                Change::Reported => &mut changes.becomes_reported,
                Change::Unreported => &mut changes.becomes_unreported,
            };
            let operations = deeds.deeds.iter();
            list.push(Group {
                before: deeds.before.clone(),
                after: deeds.after.clone(),
                operations: operations
                    .map(|(done, seen)| Operation::new(done, *seen))
                    .collect(),
            });
        }
        changes
    }
}

impl Operation {
    fn new(done: &Done, seen: u64) -> Self {
        let owned = |path| {
            let (text, bytes) = path_fields(path);
            (Some(text.into_owned()), bytes)
        };
        let (path, path_bytes) = done.object.as_ref().map_or((None, None), owned);
        let (to, to_bytes) = done.to.as_ref().map_or((None, None), owned);
        let (source, source_bytes) = match &done.source {
            Program::Path(path) => owned(path),
            Program::Any | Program::Other => (Some("*".to_owned()), None),
            Program::Unknown => (None, None),
        };
        Self {
            op: done.op.clone(),
            source,
            source_bytes,
            path,
            path_bytes,
            to,
            to_bytes,
            access: done.access.map(Access::as_str),
            owner: done.owner,
            terminal: done.terminal,
            seen,
        }
    }
}

impl From<&RuleChange> for Rule {
    fn from(rule: &RuleChange) -> Self {
        Self {
            class: rule.class.to_string(),
            target: rule.target.clone(),
            sources: rule.sources.clone(),
            applied: rule.before.clone(),
            suggested: rule.after.clone(),
            meaning: rule.meaning.to_string(),
        }
    }
}

/// What policies from elsewhere change.
fn elsewhere(diff: &Diff) -> String {
    let mut text = String::new();
    for container in &diff.containers {
        for elsewhere in &container.elsewhere {
            for deeds in &elsewhere.changes {
                let does = match deeds.change {
                    Change::Allowed => "RE-OPENED",
                    Change::Denied => "CLOSED",
                    Change::Unclear | Change::Reported | Change::Unreported => "CHANGED",
                };
                text.push_str(&format!(
                    "{does} by {}, which is from elsewhere: {}: {} ({})\n",
                    elsewhere.policy,
                    visible(&container.name),
                    operations(deeds),
                    visible(&deeds.after),
                ));
            }
        }
    }
    text
}

fn table(diff: &Diff) -> String {
    diff.containers.iter().map(of_container).collect()
}

fn of_container(container: &Container) -> String {
    let comparison = &container.comparison;
    let Keys {
        before,
        after,
        limit,
    } = comparison.keys;
    let mut text = format!(
        "{}: {}; {before} keys before, {after} after",
        visible(&container.name),
        if comparison.is_same() {
            "same"
        } else {
            "different"
        },
    );
    if let Some(limit) = limit {
        text.push_str(&format!(", room for {limit}"));
    }
    text.push('\n');
    let mut changes = Table::new();
    changes.load_style(presets::NOTHING).set_header([
        "CHANGE",
        "OPERATIONS",
        "SEEN",
        "BEFORE",
        "AFTER",
    ]);
    for deeds in &comparison.changes {
        let seen = deeds
            .deeds
            .iter()
            .fold(0u64, |sum, (_, seen)| sum.saturating_add(*seen));
        changes.add_row([
            match deeds.change {
                Change::Allowed => "BECOMES ALLOWED",
                Change::Denied => "BECOMES DENIED",
                Change::Unclear => "UNCLEAR",
                Change::Reported => "BECOMES REPORTED",
                Change::Unreported => "BECOMES UNREPORTED",
            }
            .to_owned(),
            operations(deeds),
            seen.to_string(),
            visible(&deeds.before),
            visible(&deeds.after),
        ]);
    }
    if !changes.is_empty() {
        text.push_str(&lines(&changes));
    }
    let mut rules = Table::new();
    rules.load_style(presets::NOTHING).set_header([
        "RULE",
        "ABOUT",
        "SOURCES",
        "APPLIED",
        "SUGGESTED",
    ]);
    let is_equal = |rule: &&RuleChange| rule.meaning == Meaning::Equal;
    for rule in comparison.rules.iter().filter(|rule| !is_equal(rule)) {
        let joined = |all: &BTreeSet<String>| {
            let all: Vec<String> = all.iter().map(|one| visible(one)).collect();
            if all.is_empty() {
                "-".to_owned()
            } else {
                all.join(", ")
            }
        };
        rules.add_row([
            rule.meaning.to_string().to_uppercase(),
            format!("{} {}", rule.class, visible(&rule.target)),
            joined(&rule.sources),
            joined(&rule.before),
            joined(&rule.after),
        ]);
    }
    if !rules.is_empty() {
        text.push_str(&lines(&rules));
    }
    let equal = comparison.rules.iter().filter(is_equal).count();
    if equal > 0 && !comparison.is_same() {
        text.push_str(&format!("{equal} rules are equal\n"));
    }
    for what in &comparison.unjudged {
        text.push_str(&format!("DIFFERENT, NOT JUDGED: {}\n", visible(what)));
    }
    text
}

/// `exec, open r, unlink /etc/* by /bin/a; and 3 more`: what was seen first.
fn operations(deeds: &Deeds) -> String {
    let mut places: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    for (done, seen) in &deeds.deeds {
        let (count, ops) = places.entry(place(done)).or_default();
        *count = count.saturating_add(*seen);
        let mut op = done.op.clone();
        if let Some(access) = done.access {
            op.push_str(&format!(" {}", access.as_str()));
        }
        ops.push(op);
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(_, (seen, _))| std::cmp::Reverse(*seen));
    let mut text: Vec<String> = places
        .iter()
        .take(NAMED)
        .map(|(place, (_, ops))| format!("{}{place}", ops.join(", ")))
        .collect();
    if let Some(more) = places.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push(format!("and {more} more"));
    }
    text.join("; ")
}

/// Where, by whom: all but the operation.
fn place(done: &Done) -> String {
    let mut text = String::new();
    if let Some(path) = &done.object {
        text.push_str(&format!(" {path}"));
    }
    if let Some(to) = &done.to {
        text.push_str(&format!(" to {to}"));
    }
    match &done.source {
        Program::Any => {}
        Program::Other => text.push_str(" by any other program"),
        Program::Path(path) => text.push_str(&format!(" by {path}")),
        Program::Unknown => text.push_str(" by an unknown program"),
    }
    match done.owner {
        Some(true) => text.push_str(", its owner"),
        Some(false) => text.push_str(", not its owner"),
        None => {}
    }
    match done.terminal {
        Some(true) => text.push_str(", with a terminal"),
        Some(false) => text.push_str(", without a terminal"),
        None => {}
    }
    text
}

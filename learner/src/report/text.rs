//! The report as text, and its short form.

use std::fmt::{Display, Write as _};

use comfy_table::{Table, presets};

use super::document::{Marked, Report, Subject};
use super::doubt::{doubts, readiness};
use super::reason::{RunReasons, Said};
use super::rule::Rule;
use super::shown::{count, second};

pub(super) fn render(report: &Report<'_>) -> String {
    let mut out = String::new();
    for (index, subject) in report.workloads.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        write_subject(&mut out, subject);
    }
    if report.workloads.is_empty() {
        out.push_str("No policy was recommended.\n");
    }
    out
}

pub(super) fn short(subject: &Subject<'_>) -> Vec<String> {
    let title = subject.title();
    let mut lines = vec![
        format!(
            "{title}: {} from {}{}",
            count(subject.rules.len(), "rule", "rules"),
            count(subject.convergence.len(), "run", "runs"),
            entries(subject).map_or_else(String::new, |entries| format!(", {entries}")),
        ),
        format!("{title}: {}", readiness(subject)),
    ];
    let wide = subject.rules.iter().filter(|rule| rule.wide).count();
    let counts = [
        (subject.left_out.len(), "left out"),
        (subject.held.len(), "held in quarantine"),
        (subject.given_up.len(), "widened to fit"),
        (subject.readiness.partial.len(), "partial runs"),
        (wide, "rules for whole directories or more"),
    ];
    let counts = joined(
        counts
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{number} {what}")),
    );
    if !counts.is_empty() {
        lines.push(format!("{title}: {counts}"));
    }
    if !subject.marks.is_empty() {
        let marks = joined(subject.marks.iter().map(marked));
        lines.push(format!("{title}: an attacker could live off {marks}"));
    }
    lines
}

fn marked(mark: &Marked) -> String {
    let Marked {
        technique,
        what,
        rules,
    } = mark;
    format!("{what} ({technique}, {})", count(*rules, "rule", "rules"))
}

fn entries(subject: &Subject<'_>) -> Option<String> {
    let entries = subject.entries.as_ref()?;
    Some(format!(
        "{} of {} entries of the rule map",
        entries.used, entries.of
    ))
}

fn write_subject(out: &mut String, subject: &Subject<'_>) {
    let policy = &subject.policy;
    let mut facts = vec![
        ["Workload".to_owned(), subject.title()],
        ["Selector".to_owned(), {
            joined(
                policy
                    .match_labels
                    .iter()
                    .map(|(key, value)| format!("{key}={value}")),
            )
        }],
        ["Policy file".to_owned(), policy.file.clone()],
        ["Rules".to_owned(), subject.rules.len().to_string()],
        ["Runs".to_owned(), runs(subject)],
    ];
    facts.extend(entries(subject).map(|entries| ["Key budget".to_owned(), entries]));
    out.push_str(&plain(None, facts));
    out.push('\n');

    let mut row = Table::new();
    row.load_style(presets::ASCII_FULL)
        .set_header(["Policy", "Short Desc", "Severity", "Action", "Tags"])
        .add_row([
            policy.name.to_string(),
            policy.short_desc.clone(),
            policy
                .severity
                .map_or_else(String::new, |severity| severity.to_string()),
            policy.action.to_string(),
            lines(&policy.tags),
        ]);
    for line in row.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }

    head(out, "What is uncertain");
    for doubt in doubts(subject) {
        bullet(out, &doubt.text);
    }
    for note in subject.notes.iter().filter(|note| is_cut(note)) {
        head(out, &format!("All of: {}", note.kind));
        note.items.iter().for_each(|item| bullet(out, item));
    }
    if !subject.marks.is_empty() {
        head(
            out,
            "What an attacker could live off, by MITRE ATT&CK technique",
        );
        subject
            .marks
            .iter()
            .for_each(|mark| bullet(out, &marked(mark)));
    }
    write_left_out(out, subject);
    if !subject.given_up.is_empty() {
        head(out, "Given up so that the rules fit");
        subject
            .given_up
            .iter()
            .for_each(|given_up| bullet(out, &given_up.text));
    }
    write_held(out, subject);
    write_runs(out, subject);
    head(out, "Rules");
    let header = [
        "ACCESS",
        "RUNS",
        "EVENTS",
        "FIRST SEEN",
        "LAST SEEN",
        "RULE",
        "EVIDENCE",
    ];
    out.push_str(&plain(Some(&header), subject.rules.iter().map(rule)));
}

fn runs(subject: &Subject<'_>) -> String {
    format!(
        "{} complete, {} partial",
        subject.readiness.runs,
        subject.readiness.partial.len()
    )
}

/// Whether the sentence may not name all that it is about.
pub(super) fn is_cut(note: &Said) -> bool {
    note.items
        .iter()
        .any(|item| !note.text.contains(item.as_str()))
}

fn write_left_out(out: &mut String, subject: &Subject<'_>) {
    if subject.left_out.is_empty() {
        return;
    }
    head(out, "Seen, and without a rule");
    let header = [
        "CLASS",
        "RUNS",
        "EVENTS",
        "FIRST SEEN",
        "LAST SEEN",
        "WHAT",
        "WHY",
    ];
    let rows = subject.left_out.iter().map(|left| {
        let mut why = vec![left.why.text.clone()];
        why.extend(left.from_source.map(|source| format!("done by {source}")));
        if !left.samples.is_empty() {
            why.push(format!("as {}", joined(&left.samples)));
        }
        [
            format!(
                "{}{}",
                class(left.class),
                if left.writes { ", written" } else { "" }
            ),
            left.runs.to_string(),
            left.observations.to_string(),
            second(left.first_seen),
            second(left.last_seen),
            left.shape.clone(),
            why.join("\n"),
        ]
    });
    out.push_str(&plain(Some(&header), rows));
}

pub(super) fn class(class: crate::generalize::RuleClass) -> &'static str {
    match class {
        crate::generalize::RuleClass::Process => "process",
        crate::generalize::RuleClass::File => "file",
    }
}

fn write_held(out: &mut String, subject: &Subject<'_>) {
    if subject.held.is_empty() {
        return;
    }
    head(out, "Held in quarantine");
    let header = ["RUNS", "EVENTS", "FIRST SEEN", "LAST SEEN", "WHAT", "WHY"];
    let rows = subject.held.iter().map(|held| {
        let mut why: Vec<String> = held
            .reasons
            .iter()
            .map(|reason| reason.text.clone())
            .collect();
        why.extend(held.from_source.map(|source| format!("done by {source}")));
        [
            held.runs.to_string(),
            held.observations.to_string(),
            second(held.first_seen),
            second(held.last_seen),
            held.what(),
            why.join("\n"),
        ]
    });
    out.push_str(&plain(Some(&header), rows));
}

fn write_runs(out: &mut String, subject: &Subject<'_>) {
    head(out, "New behaviours per run");
    let header = ["RUN", "BEHAVIOURS", "NEW", "KNOWN AFTER IT"];
    let rows = subject.convergence.iter().map(|run| {
        [
            run.run.to_string(),
            run.behaviors.to_string(),
            run.new.to_string(),
            run.known.to_string(),
        ]
    });
    out.push_str(&plain(Some(&header), rows));
    if !subject.readiness.left_one_out.is_empty() {
        head(out, "Each run against the policy of the others");
        let header = ["RUN", "DENIED", "OF"];
        let left = subject.readiness.left_one_out.iter();
        let rows = left.map(|left| {
            [
                left.run.to_string(),
                left.denied.to_string(),
                left.of.to_string(),
            ]
        });
        out.push_str(&plain(Some(&header), rows));
    }
    let mut said = |title: &str, runs: &[RunReasons<'_>]| {
        if !runs.is_empty() {
            head(out, title);
        }
        for RunReasons { run, reasons } in runs {
            let reasons = joined(reasons.iter().map(|reason| &reason.text));
            bullet(out, &format!("{run}: {reasons}"));
        }
    };
    said("Partial runs", &subject.readiness.partial);
    said("Runs that could not be judged", &subject.unjudged);
}

fn rule(rule: &Rule<'_>) -> [String; 7] {
    let mut evidence = Vec::new();
    let mut say = |what: &str, all: String| {
        if !all.is_empty() {
            evidence.push(format!("{what} {all}"));
        }
    };
    say(
        "only for",
        rule.from_source
            .map_or_else(String::new, |source| source.to_string()),
    );
    if rule.from_source.is_none() {
        say("by", joined(&rule.programs));
    }
    say("as", joined(rule.telling_samples()));
    say("classes:", joined(&rule.classes));
    say(
        "not seen:",
        joined(rule.grants.iter().map(|granted| &granted.text)),
    );
    let marks = rule
        .marks
        .iter()
        .map(|mark| format!("{} {}", mark.technique, mark.what));
    say("ATT&CK:", joined(marks));
    [
        rule.access().to_owned(),
        rule.runs.to_string(),
        rule.observations.to_string(),
        second(rule.first_seen),
        second(rule.last_seen),
        rule.shown.clone(),
        evidence.join("\n"),
    ]
}

fn head(out: &mut String, title: &str) {
    // Writing to a String does not fail.
    let _ = write!(out, "\n{title}\n\n");
}

fn bullet(out: &mut String, text: &str) {
    let _ = writeln!(out, "  - {text}");
}

/// Without borders, indented.
fn plain<const N: usize>(
    header: Option<&[&str; N]>,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(header) = header {
        table.set_header(header);
    }
    for row in rows {
        table.add_row(row);
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, " {}", line.trim_end());
    }
    text
}

fn joined<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|item| item.to_string()).collect();
    all.join(", ")
}

fn lines<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|item| item.to_string()).collect();
    all.join("\n")
}

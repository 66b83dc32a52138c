//! The report as one HTML file: no script, nothing from the network, light and dark.
//!
//! Whatever is written goes through the template's own escape; only the style sheet and the curve,
//! in which no name stands, are put in as they are.

mod rules;
mod unlearned;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::curve;
use super::document::{Report, Subject};
use super::doubt::{Part, doubts};
use super::reason::Said;
use super::shown::count;
use super::text::is_cut;
use crate::generalize::RuleClass;
use crate::percent::{bound, expected};

const STYLE: &str = include_str!("html/style.css");
const NOTHING_BUT_STYLE: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

pub(super) fn render(report: &Report<'_>) -> String {
    let workloads = &report.workloads;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(NOTHING_BUT_STYLE);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { "Learned policies" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Learned policies" }
                p.quiet {
                    "What each policy allows, what stands behind it, and what is not known. "
                    "Open a line to see its evidence."
                }
                @match workloads.as_slice() {
                    [] => p { "No policy was recommended." },
                    [_] => {},
                    many => (contents(many)),
                }
                @for (number, subject) in workloads.iter().enumerate() {
                    (section(number, subject))
                }
            }
        }
    };
    page.into_string()
}

fn contents(workloads: &[Subject<'_>]) -> Markup {
    html! {
        nav.wide aria-label="Workloads" {
            table {
                thead { tr {
                    th { "Workload" }
                    th.number { "Rules" }
                    th.number { "Entries" }
                    th.number { "Runs" }
                    th.number { "New in the next run" }
                    th.number { "Left out" }
                    th.number { "Held" }
                    th { "Lives off the land" }
                } }
                tbody {
                    @for (number, subject) in workloads.iter().enumerate() {
                        tr {
                            td.path { a href={ "#w" (number) } { (subject.title()) } }
                            td.number { (subject.rules.len()) }
                            td.number { @if let Some(entries) = &subject.entries { (entries.used) " of " (entries.of) } }
                            td.number { (subject.convergence.len()) }
                            td.number { @match &subject.readiness.share {
                                Some(share) => { "at most " (bound(share.at_most)) },
                                None => { "unknown" },
                            } }
                            td.number { (subject.left_out.len()) }
                            td.number { (subject.held.len()) }
                            td { @for mark in &subject.marks { span.mark title=(mark.what) { (mark.technique) } " " } }
                        }
                    }
                }
            }
        }
    }
}

fn section(number: usize, subject: &Subject<'_>) -> Markup {
    html! {
        section id={ "w" (number) } {
            h2 { (subject.title()) }
            (policy(subject))
            (facts(subject))
            (uncertain(number, subject))
            (land(subject))
            (convergence(subject))
            (rules::rules(number, subject))
            (unlearned::left_out(number, subject))
            (unlearned::given_up(number, subject))
            (unlearned::held(number, subject))
            (unlearned::runs(number, subject))
        }
    }
}

/// The row of karmor's report.
fn policy(subject: &Subject<'_>) -> Markup {
    let policy = &subject.policy;
    html! {
        div.wide {
            table {
                thead { tr { th { "Policy" } th { "Short Desc" } th { "Severity" } th { "Action" } th { "Tags" } } }
                tbody { tr {
                    td { code { (policy.name) } }
                    td { (policy.short_desc) }
                    td { @if let Some(severity) = policy.severity { (severity) } }
                    td { (policy.action) }
                    td { @for tag in &policy.tags { span.plain { (tag) } " " } }
                } }
            }
        }
        p.quiet {
            "File " code { (policy.file) } ", for pods with "
            @for (at, (key, value)) in policy.match_labels.iter().enumerate() {
                @if at > 0 { ", " }
                code { (key) "=" (value) }
            }
        }
    }
}

fn facts(subject: &Subject<'_>) -> Markup {
    let readiness = &subject.readiness;
    let of = |class| {
        subject
            .rules
            .iter()
            .filter(|rule| rule.class == class)
            .count()
    };
    html! {
        dl.facts {
            div {
                dt { "Rules" }
                dd { (subject.rules.len()) small { (of(RuleClass::Process)) " process, " (of(RuleClass::File)) " file" } }
            }
            @if let Some(entries) = &subject.entries {
                div {
                    dt { "Entries of the rule map" }
                    dd {
                        (entries.used) " of " (entries.of)
                        meter min="0" max=(entries.of) high=(entries.of * 9 / 10) value=(entries.used) {}
                    }
                }
            }
            div {
                dt { "Runs" }
                dd { (subject.convergence.len()) small { (readiness.runs) " complete, " (readiness.partial.len()) " partial" } }
            }
            @if let (Some(chance), Some(share)) = (&readiness.chance, &readiness.share) {
                div {
                    dt { "New in the next run" }
                    dd { "at most " (bound(share.at_most)) small { (expected(share.expected)) " expected" } }
                }
                div {
                    dt { "Chance of anything new" }
                    dd { "at most " (bound(chance.at_most)) small { (expected(chance.expected)) " expected" } }
                }
            }
        }
    }
}

fn uncertain(number: usize, subject: &Subject<'_>) -> Markup {
    html! {
        div.doubts {
            h3 { "What is uncertain" }
            ul {
                @for doubt in doubts(subject) {
                    li {
                        (doubt.text)
                        @if let Some(part) = doubt.part {
                            " " a href={ "#" (anchor(number, part)) } { "more" }
                        }
                    }
                }
            }
            (rules::wide(&subject.rules))
            @for note in subject.notes.iter().filter(|note| is_cut(note)) {
                (all_of(note))
            }
        }
    }
}

fn all_of(note: &Said) -> Markup {
    html! {
        details {
            summary { "All " (note.items.len()) " of: " (note.kind) }
            ul { @for item in &note.items { li { code { (item) } } } }
        }
    }
}

fn anchor(number: usize, part: Part) -> String {
    let part = match part {
        Part::Runs => "runs",
        Part::LeftOut => "left-out",
        Part::Held => "held",
        Part::GivenUp => "given-up",
        Part::Rules => "rules",
    };
    format!("w{number}-{part}")
}

fn land(subject: &Subject<'_>) -> Markup {
    if subject.marks.is_empty() {
        return html! {};
    }
    html! {
        h3 { "What an attacker could live off" }
        table {
            thead { tr { th { "ATT&CK" } th { "What" } th { "Rules" } } }
            tbody {
                @for mark in &subject.marks {
                    tr {
                        td { span.mark { (mark.technique) } }
                        td { (mark.what) }
                        td { ul {
                            @for rule in subject.rules.iter().filter(|rule| {
                                rule.marks.iter().any(|m| (m.technique, m.what) == (mark.technique, mark.what))
                            }) {
                                li {
                                    (rule.access()) " " code { (rule.shown) }
                                    @if let Some(source) = &rule.from_source { " for " code { (source) } }
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn convergence(subject: &Subject<'_>) -> Markup {
    let runs = &subject.convergence;
    let Some(svg) = curve::svg(runs) else {
        return html! {};
    };
    let told = format!(
        "The first run showed {}, {} were known after the last of {}.",
        count(
            runs.first().map_or(0, |run| run.new),
            "behaviour",
            "behaviours"
        ),
        runs.last().map_or(0, |run| run.known),
        count(runs.len(), "run", "runs"),
    );
    html! {
        h3 { "Convergence" }
        figure {
            div role="img" aria-label=(told) { (PreEscaped(svg)) }
            figcaption {
                span.key.new {} "new in the run " span.key.known {} "known after it. Names that machines make count once."
            }
        }
        details {
            summary { "New behaviours per run" }
            table {
                thead { tr { th { "Run" } th.number { "Behaviours" } th.number { "New" } th.number { "Known after it" } } }
                tbody {
                    @for run in runs {
                        tr {
                            td { code { (run.run) } }
                            td.number { (run.behaviors) }
                            td.number { (run.new) }
                            td.number { (run.known) }
                        }
                    }
                }
            }
        }
    }
}

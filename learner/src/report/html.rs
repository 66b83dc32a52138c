//! The report as one HTML file: no script, nothing from the network, light and dark.
//!
//! Whatever is written goes through the template's own escape; only the style sheet and the curve,
//! in which no name stands, are put in as they are.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::curve;
use super::document::{Report, RunReasons, Said, Subject};
use super::doubt::{Part, doubts};
use super::rule::Rule;
use super::shown::{Path, bound, count, expected, second};
use super::text::{class, is_cut};
use super::tree::Tree;
use crate::generalize::RuleClass;

const STYLE: &str = include_str!("html/style.css");
const NOTHING_BUT_STYLE: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
/// A directory with more rules than this is closed at first.
const OPEN_AT_FIRST: usize = 12;

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
            (rules(number, subject))
            (left_out(number, subject))
            (given_up(number, subject))
            (held(number, subject))
            (runs(number, subject))
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
            (wide(&subject.rules))
            @for note in subject.notes.iter().filter(|note| is_cut(note)) {
                (all_of(note))
            }
        }
    }
}

fn wide(rules: &[Rule<'_>]) -> Markup {
    let wide: Vec<&Rule<'_>> = rules.iter().filter(|rule| rule.wide).collect();
    if wide.is_empty() {
        return html! {};
    }
    html! {
        details {
            summary { "Rules for whole directories or more (" (wide.len()) ")" }
            ul { @for rule in wide { li {
                (rule.access()) " " code { (rule.shown) }
                @if let Some(source) = &rule.from_source { " for " code { (source) } }
                ": "
                @for (at, granted) in rule.grants.iter().enumerate() {
                    @if at > 0 { "; " }
                    (granted.text)
                }
            } } }
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

fn rules(number: usize, subject: &Subject<'_>) -> Markup {
    let runs = subject.convergence.len();
    html! {
        h3 id=(anchor(number, Part::Rules)) { "Rules" }
        @for (class, what) in [(RuleClass::Process, "Programs"), (RuleClass::File, "Files")] {
            @let of: Vec<&Rule<'_>> = subject.rules.iter().filter(|rule| rule.class == class).collect();
            @if !of.is_empty() {
                div.tree {
                    h4 { (what) " " span.quiet { "(" (count(of.len(), "rule", "rules")) ")" } }
                    @let tree = Tree::of(of);
                    @for (name, tree) in tree.top() { (directory(&name, tree, runs)) }
                }
            }
        }
    }
}

fn directory(name: &str, tree: &Tree<'_, '_>, runs: usize) -> Markup {
    let all = tree.all();
    html! {
        details.directory open[all.len() <= OPEN_AT_FIRST] {
            summary {
                code { (name) } " "
                span.quiet { (count(all.len(), "rule", "rules")) } " "
                (flags(&all, runs))
            }
            @for (name, below) in &tree.directories { (directory(name, below, runs)) }
            @for (name, rules) in &tree.rules { (target(name, rules, runs)) }
        }
    }
}

/// The rules for one path, directory or pattern.
fn target(name: &str, rules: &[&Rule<'_>], runs: usize) -> Markup {
    html! {
        details.rule {
            summary {
                code { (name) } " "
                span.quiet {
                    @match rules {
                        [rule] => {
                            (rule.access())
                            @if let Some(source) = &rule.from_source { ", only for " code { (source) } }
                            ", " (rule.runs) " of " (count(runs, "run", "runs"))
                        },
                        _ => { "for " (rules.len()) " programs" },
                    }
                } " "
                (flags(rules, runs))
            }
            div.evidence { @for rule in rules { (evidence(rule, runs)) } }
        }
    }
}

/// What stands out among rules, each once.
fn flags(rules: &[&Rule<'_>], runs: usize) -> Markup {
    let marks: std::collections::BTreeSet<_> = rules.iter().flat_map(|rule| &rule.marks).collect();
    html! {
        @if rules.iter().any(|rule| rule.wide) { span.flag { "wide" } " " }
        @if let [rule] = rules && rule.runs == 1 && runs > 1 { span.plain { "one run" } " " }
        @for mark in marks { span.mark { (mark.technique) " " (mark.what) } " " }
    }
}

fn evidence(rule: &Rule<'_>, runs: usize) -> Markup {
    html! {
        dl.grid {
            dt { "Allows" }
            dd {
                "to " (rule.access()) " " code { (rule.shown) }
                @match &rule.from_source {
                    Some(source) => { ", only for " code { (source) } },
                    None => { ", for every program of the workload" },
                }
            }
            dt { "Seen" }
            dd {
                (rule.observations) " times in " (rule.runs) " of " (count(runs, "run", "runs"))
                ", first " (second(rule.first_seen)) ", last " (second(rule.last_seen))
            }
            @if !rule.programs.is_empty() { dt { "By" } dd { (paths(&rule.programs)) } }
            @if !rule.telling_samples().is_empty() { dt { "As" } dd { (paths(rule.telling_samples())) } }
            @if !rule.classes.is_empty() {
                dt { "Names that vary" }
                dd { @for class in &rule.classes { span.plain { (class) } " " } }
            }
            @if !rule.grants.is_empty() {
                dt { "Allowed, not seen" }
                dd { ul { @for granted in &rule.grants { li { (granted.text) } } } }
            }
            @if !rule.marks.is_empty() {
                dt { "ATT&CK" }
                dd { @for mark in &rule.marks { span.mark { (mark.technique) " " (mark.what) } " " } }
            }
        }
    }
}

fn paths(all: &[Path<'_>]) -> Markup {
    match all {
        [one] => html! { code { (one) } },
        all => html! { ul { @for path in all { li { code { (path) } } } } },
    }
}

fn left_out(number: usize, subject: &Subject<'_>) -> Markup {
    if subject.left_out.is_empty() {
        return html! {};
    }
    html! {
        h3 id=(anchor(number, Part::LeftOut)) { "Seen, and without a rule" }
        div.wide { table {
            thead { tr { th { "What" } th { "Why it has no rule" } th.number { "Events" } th.number { "Runs" } th { "First and last seen" } th { "By" } } }
            tbody {
                @for left in &subject.left_out {
                    tr {
                        td.path { (class(left.class)) @if left.writes { ", written" } " " code { (left.shape) }
                            details { summary.quiet { "as seen" } (paths(&left.samples)) }
                        }
                        td.path { (left.why.text) }
                        td.number { (left.observations) }
                        td.number { (left.runs) }
                        td.time { (second(left.first_seen)) br; (second(left.last_seen)) }
                        td.path { @if let Some(source) = &left.from_source { code { (source) } } }
                    }
                }
            }
        } }
    }
}

fn given_up(number: usize, subject: &Subject<'_>) -> Markup {
    if subject.given_up.is_empty() {
        return html! {};
    }
    html! {
        h3 id=(anchor(number, Part::GivenUp)) { "Given up so that the rules fit" }
        ul { @for given_up in &subject.given_up { li { (given_up.text) } } }
    }
}

fn held(number: usize, subject: &Subject<'_>) -> Markup {
    if subject.held.is_empty() {
        return html! {};
    }
    html! {
        h3 id=(anchor(number, Part::Held)) { "Held in quarantine" }
        p.quiet { "None of it was learned from. " code { "--include" } " names what may be." }
        div.wide { table {
            thead { tr { th { "What" } th { "Why it is held" } th { "By" } th.number { "Events" } th.number { "Runs" } th { "First and last seen" } } }
            tbody {
                @for held in &subject.held {
                    tr {
                        td.path { code { (held.what()) } }
                        td { ul { @for reason in &held.reasons { li { (reason.text) } } } }
                        td.path { @if let Some(source) = &held.from_source { code { (source) } } }
                        td.number { (held.observations) }
                        td.number { (held.runs) }
                        td.time { (second(held.first_seen)) br; (second(held.last_seen)) }
                    }
                }
            }
        } }
    }
}

fn runs(number: usize, subject: &Subject<'_>) -> Markup {
    let readiness = &subject.readiness;
    html! {
        h3 id=(anchor(number, Part::Runs)) { "Runs" }
        p {
            (count(readiness.behaviors, "distinct behaviour", "distinct behaviours")) " in "
            (count(readiness.runs, "complete run", "complete runs")) "; "
            (readiness.singletons) " seen in one run alone; "
            (count(readiness.runs_unsettled, "run", "runs")) " with something that at most three showed."
        }
        @if !readiness.left_one_out.is_empty() {
            details open[readiness.left_one_out.iter().any(|left| left.denied > 0)] {
                summary { "Each run against the policy that the others lead to" }
                table {
                    thead { tr { th { "Run" } th.number { "Denied" } th.number { "Of its behaviours" } } }
                    tbody { @for left in &readiness.left_one_out {
                        tr { td { code { (left.run) } } td.number { (left.denied) } td.number { (left.of) } }
                    } }
                }
            }
        }
        (of_runs("Partial runs, which are not counted", &readiness.partial))
        (of_runs("Runs that could not be judged", &subject.unjudged))
    }
}

fn of_runs(title: &str, runs: &[RunReasons<'_>]) -> Markup {
    if runs.is_empty() {
        return html! {};
    }
    html! {
        details open {
            summary { (title) " " span.quiet { "(" (runs.len()) ")" } }
            table {
                thead { tr { th { "Run" } th { "Why" } } }
                tbody { @for RunReasons { run, reasons } in runs {
                    tr { td { code { (run) } } td { ul { @for reason in reasons { li { (reason.text) } } } } }
                } }
            }
        }
    }
}

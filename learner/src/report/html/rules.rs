//! The rules by directory, each with its evidence on demand.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::anchor;
use crate::generalize::RuleClass;
use crate::report::document::Subject;
use crate::report::doubt::Part;
use crate::report::rule::Rule;
use crate::report::shown::{Path, count, second};
use crate::report::tree::Tree;

/// A directory with more rules than this is closed at first.
const OPEN_AT_FIRST: usize = 12;

pub(super) fn wide(rules: &[Rule<'_>]) -> Markup {
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

pub(super) fn rules(number: usize, subject: &Subject<'_>) -> Markup {
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
    let marks: BTreeSet<_> = rules.iter().flat_map(|rule| &rule.marks).collect();
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
                (rule.observations) @if rule.observations == 1 { " time in " } @else { " times in " } (rule.runs) " of " (count(runs, "run", "runs"))
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

pub(super) fn paths(all: &[Path<'_>]) -> Markup {
    match all {
        [one] => html! { code { (one) } },
        all => html! { ul { @for path in all { li { code { (path) } } } } },
    }
}

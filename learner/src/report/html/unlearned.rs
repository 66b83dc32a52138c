//! What is not in the policy as it was seen, and the runs.

use maud::{Markup, html};

use super::anchor;
use super::rules::paths;
use crate::report::document::Subject;
use crate::report::doubt::Part;
use crate::report::reason::RunReasons;
use crate::report::shown::{count, second};
use crate::report::text::class;

pub(super) fn left_out(number: usize, subject: &Subject<'_>) -> Markup {
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

pub(super) fn given_up(number: usize, subject: &Subject<'_>) -> Markup {
    if subject.given_up.is_empty() {
        return html! {};
    }
    html! {
        h3 id=(anchor(number, Part::GivenUp)) { "Given up so that the rules fit" }
        ul { @for given_up in &subject.given_up { li { (given_up.text) } } }
    }
}

pub(super) fn held(number: usize, subject: &Subject<'_>) -> Markup {
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

pub(super) fn runs(number: usize, subject: &Subject<'_>) -> Markup {
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

//! The evidence report: what stands behind the recommended policies, for people and for programs.
//!
//! One document, three forms: text with karmor's columns, one HTML file that loads nothing, and JSON
//! (`docs/report.md` has its fields). All that is unsure comes before what is known.
//!
//! Guarantees: pure, the same recommendations give the same bytes; names that a workload chose are
//! shown escaped in text and HTML and are exact in JSON; nothing of what was seen or left out is cut.

mod curve;
mod document;
mod doubt;
mod html;
mod reason;
mod rule;
mod shown;
mod text;
mod tree;
mod unlearned;

use crate::recommend::Recommendation;
use document::{Report, Subject};

/// The report as plain text, ending with a newline.
pub fn text(recommendations: &[Recommendation]) -> String {
    text::render(&Report::of(recommendations))
}

/// The report as one HTML document: no script, and nothing from the network.
pub fn html(recommendations: &[Recommendation]) -> String {
    html::render(&Report::of(recommendations))
}

/// The report as one JSON object, ending with a newline. `docs/report.md` describes its fields.
pub fn json(recommendations: &[Recommendation]) -> String {
    // Text, numbers and maps by text: there is nothing in it that JSON cannot say.
    let mut json = serde_json::to_string_pretty(&Report::of(recommendations)).unwrap_or_default();
    json.push('\n');
    json
}

/// The short form for a terminal: a few lines about one workload, without a newline in any.
///
/// What is sure comes first: rules, entries of the budget, readiness. Then, as far as there is any,
/// what is left out, held, given up, wide, and what an attacker could live off.
pub fn summary(recommendation: &Recommendation) -> Vec<String> {
    text::short(&Subject::of(recommendation))
}

#[cfg(test)]
mod tests;

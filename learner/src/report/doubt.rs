//! What is uncertain about a policy, in sentences: it stands before all else.

use super::document::{Bounds, Subject};
use super::rule::Rule;
use super::shown::count;
use crate::percent::{bound, expected};

/// One thing that a reader should weigh.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) text: String,
    /// Where the report has more on it.
    pub(super) part: Option<Part>,
}

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Runs,
    LeftOut,
    Held,
    GivenUp,
    Rules,
}

/// What the next run may show, in one line.
pub(super) fn readiness(subject: &Subject<'_>) -> String {
    let readiness = &subject.readiness;
    let (Some(chance), Some(share)) = (&readiness.chance, &readiness.share) else {
        return "no run was watched whole, so nothing can be said of the next one".to_owned();
    };
    let Bounds {
        expected: new,
        at_most,
    } = share;
    format!(
        "of the next run's behaviours {} are expected to be new, {} at most; the chance that any is: {}, {} at most ({} sure, from {})",
        expected(*new),
        bound(*at_most),
        expected(chance.expected),
        bound(chance.at_most),
        expected(readiness.confidence),
        count(readiness.runs, "complete run", "complete runs"),
    )
}

/// All that is uncertain, most important first; what there is none of is not said.
pub(super) fn doubts(subject: &Subject<'_>) -> Vec<Doubt> {
    let mut doubts = vec![Doubt {
        text: readiness(subject),
        part: Some(Part::Runs),
    }];
    let mut add = |number: usize, one: &str, more: &str, rest: &str, part| {
        if number > 0 {
            doubts.push(Doubt {
                text: format!("{} {rest}", count(number, one, more)),
                part: Some(part),
            });
        }
    };
    let of =
        |is_so: &dyn Fn(&Rule<'_>) -> bool| subject.rules.iter().filter(|rule| is_so(rule)).count();
    add(
        subject.left_out.len(),
        "thing that was seen has",
        "things that were seen have",
        "no rule, and would be denied",
        Part::LeftOut,
    );
    add(
        subject.held.len(),
        "behaviour is",
        "behaviours are",
        "held in quarantine, not learned from",
        Part::Held,
    );
    let denied: Vec<_> = subject
        .readiness
        .left_one_out
        .iter()
        .filter(|left| left.denied > 0)
        .collect();
    add(
        denied.len(),
        "run",
        "runs",
        &format!(
            "of {} would have been denied something by the policy of the others",
            subject.readiness.left_one_out.len()
        ),
        Part::Runs,
    );
    add(
        subject.readiness.partial.len(),
        "run was",
        "runs were",
        "not watched whole, and may have done more than was seen",
        Part::Runs,
    );
    add(
        subject.unjudged.len(),
        "run",
        "runs",
        "in which a stranger could not be told from the workload",
        Part::Runs,
    );
    add(
        subject.given_up.len(),
        "step",
        "steps",
        "made rules wider so that they fit the rule map",
        Part::GivenUp,
    );
    let runs = subject.convergence.len();
    add(
        of(&|rule| rule.runs == 1 && runs > 1),
        "rule stands",
        "rules stand",
        "on one run alone",
        Part::Rules,
    );
    add(
        of(&|rule| rule.wide),
        "rule opens",
        "rules open",
        "a whole directory or more",
        Part::Rules,
    );
    add(
        of(&|rule| rule.grants("writing")),
        "rule allows",
        "rules allow",
        "writing where only reading was seen",
        Part::Rules,
    );
    add(
        of(&|rule| rule.grants("anyProgram")),
        "rule holds",
        "rules hold",
        "for other programs of the workload than those that were seen",
        Part::Rules,
    );
    // The runs that it counts have been named.
    let notes = subject
        .notes
        .iter()
        .filter(|note| note.kind != "partialEvidence");
    doubts.extend(notes.map(|note| Doubt {
        text: note.text.clone(),
        part: None,
    }));
    doubts
}

//! The report as data: what JSON holds, and what text and HTML are made of.

use std::collections::BTreeMap;

use serde::Serialize;

use super::reason::{RunReasons, Said, gap, note, unjudged};
use super::rule::Rule;
use super::shown::{Name, count, said};
use super::unlearned::{GivenUp, Held, Left};
use crate::policy::{Action, names};
use crate::readiness::{self, Estimate};
use crate::recommend::{NewInRun, Recommendation};

/// Grows when a field changes its meaning or goes; not when one is added.
const VERSION: u32 = 1;

#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    version: u32,
    pub(super) workloads: Vec<Subject<'a>>,
}

/// One workload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subject<'a> {
    pub(super) workload: Who<'a>,
    pub(super) policy: Row<'a>,
    /// Entries of the container's rule map; none for an enforcer without one.
    pub(super) entries: Option<Entries>,
    pub(super) readiness: Readiness<'a>,
    pub(super) marks: Vec<Marked>,
    pub(super) rules: Vec<Rule<'a>>,
    pub(super) left_out: Vec<Left<'a>>,
    pub(super) given_up: Vec<GivenUp<'a>>,
    pub(super) held: Vec<Held<'a>>,
    pub(super) unjudged: Vec<RunReasons<'a>>,
    pub(super) notes: Vec<Said>,
    pub(super) convergence: Vec<InRun<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Who<'a> {
    namespace: Name<'a>,
    kind: Name<'a>,
    name: Name<'a>,
    container: Name<'a>,
}

/// What karmor's report has in a row, and whom the policy selects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row<'a> {
    pub(super) name: Name<'a>,
    /// Below the output directory.
    pub(super) file: String,
    pub(super) short_desc: String,
    pub(super) severity: Option<i64>,
    pub(super) action: Name<'a>,
    pub(super) tags: Vec<Name<'a>>,
    pub(super) match_labels: BTreeMap<Name<'a>, Name<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Entries {
    pub(super) used: usize,
    pub(super) of: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Readiness<'a> {
    /// Complete runs.
    pub(super) runs: usize,
    pub(super) partial: Vec<RunReasons<'a>>,
    pub(super) behaviors: usize,
    pub(super) singletons: usize,
    pub(super) runs_with_singletons: usize,
    pub(super) runs_unsettled: usize,
    pub(super) chance: Option<Bounds>,
    pub(super) share: Option<Bounds>,
    pub(super) confidence: f64,
    pub(super) left_one_out: Vec<LeftOne<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bounds {
    pub(super) expected: f64,
    pub(super) at_most: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct LeftOne<'a> {
    pub(super) run: Name<'a>,
    pub(super) denied: usize,
    pub(super) of: usize,
}

/// A technique of ATT&CK that rules serve.
#[derive(Debug, Serialize)]
pub(super) struct Marked {
    pub(super) technique: &'static str,
    pub(super) what: &'static str,
    /// So many rules.
    pub(super) rules: usize,
}

/// What a run added to those before it.
#[derive(Debug, Serialize)]
pub(super) struct InRun<'a> {
    pub(super) run: Name<'a>,
    pub(super) behaviors: usize,
    pub(super) new: usize,
    /// Distinct behaviours of this run and all before it.
    pub(super) known: usize,
}

impl<'a> Report<'a> {
    pub(super) fn of(recommendations: &'a [Recommendation]) -> Self {
        Self {
            version: VERSION,
            workloads: recommendations.iter().map(Subject::of).collect(),
        }
    }
}

impl<'a> Subject<'a> {
    pub(super) fn of(recommendation: &'a Recommendation) -> Self {
        let Recommendation {
            workload,
            policy: _,
            rules,
            left_out,
            losses,
            budget,
            quarantine,
            convergence,
            readiness,
            notes,
        } = recommendation;
        let rules: Vec<Rule<'a>> = rules.iter().map(Rule::of).collect();
        Self {
            workload: Who {
                namespace: Name(&workload.namespace),
                kind: Name(&workload.kind),
                name: Name(&workload.name),
                container: Name(&workload.container),
            },
            policy: Row::of(recommendation),
            entries: budget.map(|(used, of)| Entries { used, of }),
            readiness: Readiness::of(readiness),
            marks: Marked::all(&rules),
            rules,
            left_out: left_out.iter().map(Left::of).collect(),
            given_up: losses.iter().map(GivenUp::of).collect(),
            held: quarantine.held.iter().map(Held::of).collect(),
            unjudged: quarantine
                .unjudged
                .iter()
                .map(|(key, reasons)| RunReasons {
                    run: Name(&key.run),
                    reasons: reasons.iter().map(unjudged).collect(),
                })
                .collect(),
            notes: notes.iter().map(note).collect(),
            convergence: in_runs(convergence),
        }
    }

    /// `namespace/kind/name/container`, as it is shown.
    pub(super) fn title(&self) -> String {
        let Who {
            namespace,
            kind,
            name,
            container,
        } = &self.workload;
        format!("{namespace}/{kind}/{name}/{container}")
    }
}

impl<'a> Row<'a> {
    fn of(recommendation: &'a Recommendation) -> Self {
        let Recommendation {
            workload,
            policy,
            convergence,
            ..
        } = recommendation;
        let file = names::relative_path(workload, "yaml");
        Self {
            name: Name(&policy.metadata.name),
            file: file.display().to_string(),
            short_desc: said(format_args!(
                "Allow only what {} was seen to do in {}",
                workload.name,
                count(convergence.len(), "run", "runs"),
            )),
            severity: policy.spec.severity,
            action: Name(policy.spec.action.as_ref().map_or("", Action::as_str)),
            tags: policy.spec.tags.iter().map(|tag| Name(tag)).collect(),
            match_labels: policy
                .spec
                .selector
                .match_labels
                .iter()
                .map(|(key, value)| (Name(key), Name(value)))
                .collect(),
        }
    }
}

impl<'a> Readiness<'a> {
    fn of(readiness: &'a readiness::Readiness) -> Self {
        let readiness::Readiness {
            runs,
            left_out,
            behaviors,
            singletons,
            runs_with_singletons,
            runs_unsettled,
            chance,
            share,
            confidence,
            left_one_out,
        } = readiness;
        Self {
            runs: *runs,
            partial: left_out
                .iter()
                .map(|partial| RunReasons {
                    run: Name(&partial.run.run),
                    reasons: partial.reasons.iter().map(gap).collect(),
                })
                .collect(),
            behaviors: *behaviors,
            singletons: *singletons,
            runs_with_singletons: *runs_with_singletons,
            runs_unsettled: *runs_unsettled,
            chance: chance.map(Bounds::of),
            share: share.map(Bounds::of),
            confidence: *confidence,
            left_one_out: left_one_out
                .iter()
                .map(|left| LeftOne {
                    run: Name(&left.run.run),
                    denied: left.denied,
                    of: left.of,
                })
                .collect(),
        }
    }
}

impl Bounds {
    fn of(estimate: Estimate) -> Self {
        let Estimate { expected, at_most } = estimate;
        Self { expected, at_most }
    }
}

impl Marked {
    fn all(rules: &[Rule<'_>]) -> Vec<Self> {
        let mut counts = BTreeMap::new();
        for mark in rules.iter().flat_map(|rule| &rule.marks) {
            *counts.entry(*mark).or_default() += 1;
        }
        let marked = counts.into_iter().map(|(mark, rules)| Self {
            technique: mark.technique,
            what: mark.what,
            rules,
        });
        marked.collect()
    }
}

fn in_runs(convergence: &[NewInRun]) -> Vec<InRun<'_>> {
    let mut known = 0;
    let runs = convergence.iter().map(|in_run| {
        let NewInRun {
            run,
            behaviors,
            new,
        } = in_run;
        known += new;
        InRun {
            run: Name(run),
            behaviors: *behaviors,
            new: *new,
            known,
        }
    });
    runs.collect()
}

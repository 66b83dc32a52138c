//! The report as data: what JSON holds, and what text and HTML are made of.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rule::Rule;
use super::shown::{Name, Path, count, said, time};
use crate::generalize::{self, Loss, RuleClass, Why};
use crate::policy::{Action, names};
use crate::quarantine::{self, Unjudged};
use crate::readiness::{self, Estimate};
use crate::recommend::{NewInRun, Note, Recommendation};

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

/// A run, and what has to be said of it.
#[derive(Debug, Serialize)]
pub(super) struct RunReasons<'a> {
    pub(super) run: Name<'a>,
    pub(super) reasons: Vec<Said>,
}

/// A sentence, and the word that programs know it by.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Said {
    pub(super) kind: &'static str,
    pub(super) text: String,
    /// All that the sentence is about; it may name the first few alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) items: Vec<String>,
}

/// A technique of ATT&CK that rules serve.
#[derive(Debug, Serialize)]
pub(super) struct Marked {
    pub(super) technique: &'static str,
    pub(super) what: &'static str,
    /// So many rules.
    pub(super) rules: usize,
}

/// What was seen and has no rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Left<'a> {
    pub(super) class: RuleClass,
    pub(super) shape: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from_source: Option<Path<'a>>,
    pub(super) writes: bool,
    pub(super) observations: u64,
    pub(super) runs: usize,
    pub(super) first_seen: Option<jiff::Timestamp>,
    pub(super) last_seen: Option<jiff::Timestamp>,
    pub(super) samples: Vec<Path<'a>>,
    pub(super) why: Said,
}

/// What was given up so that the rules fit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GivenUp<'a> {
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dir: Option<Name<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recursive: Option<bool>,
    paths: usize,
    pub(super) text: String,
}

/// What is held back until a person has said otherwise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Held<'a> {
    pub(super) op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<&'static str>,
    #[serde(flatten)]
    pub(super) path: Path<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Path<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from_source: Option<Path<'a>>,
    pub(super) observations: u64,
    pub(super) runs: usize,
    pub(super) first_seen: Option<jiff::Timestamp>,
    pub(super) last_seen: Option<jiff::Timestamp>,
    pub(super) reasons: Vec<Said>,
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

impl<'a> Left<'a> {
    fn of(left: &'a generalize::LeftOut) -> Self {
        let generalize::LeftOut { need, support, why } = left;
        Self {
            class: need.class,
            shape: said(&need.shape),
            from_source: need.source.as_ref().map(Path),
            writes: support.writes,
            observations: support.count,
            runs: support.runs().count(),
            first_seen: time(support.first),
            last_seen: time(support.last),
            samples: support.samples.iter().map(Path).collect(),
            why: Said::new(
                match why {
                    Why::Varies => "varies",
                    Why::Wide { .. } => "wide",
                    Why::Unexpressed(_) => "unexpressed",
                },
                why,
            ),
        }
    }
}

impl<'a> GivenUp<'a> {
    fn of(loss: &'a Loss) -> Self {
        let of = |paths: usize| count(paths, "path", "paths");
        match loss {
            Loss::Unscoped { paths } => Self {
                step: "unscoped",
                dir: None,
                recursive: None,
                paths: *paths,
                text: format!(
                    "rules for {} are for every program of the workload, no longer for some",
                    of(*paths)
                ),
            },
            Loss::Collapsed {
                dir,
                paths,
                recursive,
            } => Self {
                step: "collapsed",
                dir: Some(Name(dir)),
                recursive: Some(*recursive),
                paths: *paths,
                text: format!(
                    "rules for {} became one for {} {}",
                    of(*paths),
                    if *recursive {
                        "all below"
                    } else {
                        "all names in"
                    },
                    Name(dir),
                ),
            },
        }
    }
}

impl<'a> Held<'a> {
    fn of(held: &'a quarantine::Held) -> Self {
        let quarantine::Held {
            workload: _,
            op,
            path,
            source,
            reasons,
            runs,
            count,
            first,
            last,
        } = held;
        Self {
            op: op.name(),
            access: op.access().map(|access| access.as_str()),
            path: Path(path),
            to: op.to().map(Path),
            from_source: source.as_ref().map(Path),
            observations: *count,
            runs: *runs,
            first_seen: time(*first),
            last_seen: time(*last),
            reasons: reasons.iter().map(held_for).collect(),
        }
    }

    /// The operation with both its paths, without who did it.
    pub(super) fn what(&self) -> String {
        let access = self.access.map(|access| format!(" ({access})"));
        let to = self.to.map(|to| format!(" to {to}"));
        format!(
            "{}{} {}{}",
            self.op,
            access.unwrap_or_default(),
            self.path,
            to.unwrap_or_default()
        )
    }
}

impl Said {
    fn new(kind: &'static str, text: impl std::fmt::Display) -> Self {
        Self {
            kind,
            text: said(text),
            items: Vec::new(),
        }
    }
}

fn held_for(reason: &quarantine::Reason) -> Said {
    use quarantine::Reason;
    let kind = match reason {
        Reason::Tty => "tty",
        Reason::Upper => "upper",
        Reason::MadeAtRunTime => "madeAtRunTime",
        Reason::Denied => "denied",
        Reason::OutsideAncestry => "outsideAncestry",
    };
    Said::new(kind, reason)
}

fn unjudged(reason: &Unjudged) -> Said {
    let kind = match reason {
        Unjudged::Ancestry => "ancestry",
        Unjudged::Terminal => "terminal",
    };
    Said::new(kind, reason)
}

fn gap(gap: &readiness::Gap) -> Said {
    use readiness::Gap;
    let kind = match gap {
        Gap::Late => "late",
        Gap::NoStart => "noStart",
        Gap::Lost { .. } => "lost",
    };
    Said::new(kind, gap)
}

fn note(note: &Note) -> Said {
    let paths = |paths: &[crate::path::AbsPath]| paths.iter().map(said).collect();
    let (kind, items) = match note {
        Note::PartialEvidence { .. } => ("partialEvidence", Vec::new()),
        Note::Lost { .. } => ("lost", Vec::new()),
        Note::OtherImages { .. } => ("otherImages", Vec::new()),
        Note::LabelsDiffer => ("labelsDiffer", Vec::new()),
        Note::OneContainer { .. } => ("oneContainer", Vec::new()),
        Note::NoPrograms => ("noPrograms", Vec::new()),
        Note::NoFiles => ("noFiles", Vec::new()),
        Note::RootOpened => ("rootOpened", Vec::new()),
        Note::GrantsLonger { paths: all } => ("grantsLonger", paths(all)),
        Note::TooDeep { paths: all } => ("tooDeep", paths(all)),
        Note::CopiesUp { paths: all } => ("copiesUp", paths(all)),
        Note::PostureNames { paths: all } => ("postureNames", paths(all)),
        Note::NotAllowed { operations } => ("notAllowed", operations.iter().map(said).collect()),
    };
    Said {
        kind,
        text: said(note),
        items,
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

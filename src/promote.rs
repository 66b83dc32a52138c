//! `learner promote`.

use learner::generalize::Dialect;
use learner::observation::Moment;
use learner::posture::Standing;
use learner::profile::Evidence;
use learner::promotion::{
    At, Change, Figures, Listed, Reason, Review, Verdict as Ruling, keep_gaps, sentences,
};
use learner::quarantine::Include;
use learner::span::Shown;
use learner::workload::RunKey;
use serde::Serialize;

mod cluster;

use crate::Verdict;
use crate::answer::Answer;
use crate::args::{Global, Promote, TableFormat};
use crate::court::{Court, now};
use crate::failure::Failure;
use crate::selection::{Stored, open_books_patiently, store_dir};
use crate::talk::visible;
use crate::telemetry::{self, Alerts};

pub(crate) fn run(global: &Global, args: &Promote) -> Result<Verdict, Failure> {
    if args.cluster {
        return cluster::run(global, args);
    }
    let heard = heard(global, args)?;
    let mut court = Court::open(global)?;
    court.heard = heard;
    court.enforcer = args.enforcer.unwrap_or(Dialect::Learner);
    court.tightness = args.tightness.unwrap_or_default();
    court.include = Include::from(args.include.clone());
    court.interruptions = telemetry::interruptions(global, &args.kubearmor, now())?;
    let criteria = args.gate.criteria();
    let mut saying = Saying::begin(args);
    // One workload at a time, so that memory does not grow with the store.
    for workload in court.workloads(&args.which) {
        let evidence = court.evidence(&workload)?;
        let Some(mut review) = court.review(&workload, &evidence, &criteria) else {
            tracing::warn!(
                "{}: nothing was seen to succeed that a policy could allow",
                visible(&workload.to_string())
            );
            saying.verdict = Verdict::No;
            continue;
        };
        let after = review.decision.as_ref().map(|one| one.standing.clone());
        if let Some(decided) = review.decision.take().filter(|_| !args.dry_run) {
            court.stored.decide(decided)?;
        }
        saying.say(&review, after.as_ref(), None)?;
    }
    saying.end()
}

/// What KubeArmor's relay tells now, and when that was not all. It is stored, unless nothing is to be changed:
/// then it counts for this time alone, and is what this gives.
fn heard(global: &Global, args: &Promote) -> Result<Evidence, Failure> {
    let Some(address) = &args.grpc else {
        return Ok(Evidence::default());
    };
    // The store is not kept open while it listens.
    let ledger = Stored::open_patiently(global)?.ledger()?;
    let is_judged = |run: &RunKey, at: Moment| telemetry::is_judged(&ledger, run, at);
    let Alerts {
        mut evidence,
        unheard,
    } = telemetry::alerts(address, &args.relay, &is_judged)?;
    let judged = ledger.iter().map(|(revision, _)| revision);
    let judged = judged.filter(|revision| ledger.frozen(revision).is_some());
    keep_gaps(&mut evidence, &unheard, judged);
    if args.dry_run || evidence.runs().is_empty() {
        return Ok(evidence);
    }
    open_books_patiently(global, &store_dir(global)?)?.fold_all(&evidence)?;
    Ok(Evidence::default())
}

/// The answer, one review after another.
struct Saying {
    format: TableFormat,
    dry_run: bool,
    held_is_done: bool,
    rows: Vec<Row>,
    answer: Answer,
    verdict: Verdict,
}

impl Saying {
    fn begin(args: &Promote) -> Self {
        Self {
            format: args.format,
            dry_run: args.dry_run,
            held_is_done: args.held_is_done,
            rows: Vec::new(),
            answer: Answer::begin(),
            verdict: Verdict::Done,
        }
    }

    /// `canary`: how many pods of how many are held until its end.
    fn say(
        &mut self,
        review: &Review,
        after: Option<&Standing>,
        canary: Option<(usize, usize)>,
    ) -> Result<(), Failure> {
        if !matches!(review.verdict, Ruling::Promote | Ruling::Stay) {
            self.verdict = Verdict::No;
        }
        match self.format {
            TableFormat::Table => {
                let mut line = said(review, after, self.dry_run);
                if let Some((held, of)) = canary {
                    line.push_str(&format!("; until then {held} of {of} pods are held"));
                }
                self.answer.print(&format!("{}\n", visible(&line)))?;
            }
            TableFormat::Json => {
                let row = Row::of(review, after, self.dry_run);
                let canary_pods = canary.map(|(held, of)| CanaryPods { held, of });
                self.rows.push(Row { canary_pods, ..row });
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<Verdict, Failure> {
        if self.format == TableFormat::Json {
            let value = serde_json::to_value(&self.rows).unwrap_or(serde_json::Value::Null);
            self.answer.print(&format!("{value:#}\n"))?;
        }
        self.answer.end()?;
        Ok(if self.held_is_done {
            Verdict::Done
        } else {
            self.verdict
        })
    }
}

/// `shop/Deployment/cart/cart: held in audit: 2 of 3 whole runs; 6h 12m of 24h quiet`.
fn said(review: &Review, after: Option<&Standing>, dry_run: bool) -> String {
    let name = &review.revision.workload;
    let posture = review.posture();
    let would = if dry_run { "would be " } else { "" };
    let to = after.map_or(posture, Standing::posture);
    match &review.verdict {
        Ruling::Promote => {
            let mut text = format!("{name}: {would}promoted: {posture} -> {to}");
            match after {
                Some(Standing::Block { canary_until, .. }) => {
                    let quiet = std::time::Duration::from_micros(review.figures.quiet);
                    let (quiet, until) = (Shown(quiet), At(*canary_until));
                    text.push_str(&format!(" after {quiet} quiet; canary until {until}"));
                }
                Some(standing) => {
                    let candidate = standing.freeze().map(|freeze| freeze.candidate.short());
                    let candidate = candidate.unwrap_or_default();
                    let rules = review.figures.rules;
                    text.push_str(&format!(" with candidate {candidate} ({rules} rules)"));
                }
                None => {}
            }
            text
        }
        Ruling::Hold(reasons) if matches!(reasons[..], [Reason::Unreadable { .. }]) => {
            format!("{name}: held: {}", sentences(reasons))
        }
        Ruling::Hold(reasons) => format!("{name}: held in {posture}: {}", sentences(reasons)),
        Ruling::Demote(reason) => {
            format!("{name}: {would}rolled back: {posture} -> {to}: {reason}")
        }
        Ruling::Stay => {
            let since = review.standing.as_ref().map(Standing::since);
            let since = since.map(|since| format!(" since {}", At(since)));
            let mut text = format!("{name}: in {posture}{}", since.unwrap_or_default());
            if let Some((_, until)) = review.standing.as_ref().and_then(Standing::slice) {
                text.push_str(&format!(", canary until {}", At(until)));
            }
            if let Some(opened) = &review.figures.alerts {
                let Listed { count, .. } = opened.alerts;
                let what = if count == 1 { "alert" } else { "alerts" };
                let since = At(opened.since);
                text.push_str(&format!("; {count} {what} since {since} {}", opened.alerts));
            }
            text
        }
        Ruling::NewImage => {
            let mut text = format!("{name}: {would}put to {to} with a new image");
            if let Some(change) = &review.change {
                text.push_str(&differs(change));
            }
            text
        }
    }
}

fn differs(change: &Change) -> String {
    let Change {
        before,
        posture,
        new,
        removed,
    } = change;
    let mut text = format!(" (before: '{before}' in {posture})");
    let (new, removed): (Listed, Listed) = (new.iter().collect(), removed.iter().collect());
    for (listed, what) in [
        (new, "new to the old candidate"),
        (removed, "rules of it not used"),
    ] {
        text.push_str(&format!("; {} {what}", listed.count));
        if listed.count > 0 {
            text.push_str(&format!(" {listed}"));
        }
    }
    text
}

#[derive(Serialize)]
struct Row {
    workload: String,
    image: String,
    posture: String,
    verdict: &'static str,
    /// The posture from now on; with --dry-run, that which it would have.
    to: String,
    dry_run: bool,
    reasons: Vec<Why>,
    candidate: Option<String>,
    canary_until: Option<String>,
    /// The pods that are held until then; null where all are.
    canary_pods: Option<CanaryPods>,
    before: Option<String>,
    new: Vec<String>,
    removed: Vec<String>,
    figures: Figures,
}

/// How many of how many.
#[derive(Serialize)]
struct CanaryPods {
    held: usize,
    of: usize,
}

/// A reason with its numbers, and in words.
#[derive(Serialize)]
pub(crate) struct Why {
    #[serde(flatten)]
    reason: Reason,
    text: String,
}

impl From<&Reason> for Why {
    fn from(reason: &Reason) -> Self {
        Self {
            text: reason.to_string(),
            reason: reason.clone(),
        }
    }
}

/// The word for a verdict.
pub(crate) fn word(verdict: &Ruling) -> &'static str {
    match verdict {
        Ruling::Promote => "promoted",
        Ruling::Hold(_) => "held",
        Ruling::Demote(_) => "rolled-back",
        Ruling::Stay => "stays",
        Ruling::NewImage => "new-image",
    }
}

/// What speaks against it.
pub(crate) fn reasons(verdict: &Ruling) -> &[Reason] {
    match verdict {
        Ruling::Hold(reasons) => reasons,
        Ruling::Demote(reason) => std::slice::from_ref(reason),
        Ruling::Promote | Ruling::Stay | Ruling::NewImage => &[],
    }
}

impl Row {
    fn of(review: &Review, after: Option<&Standing>, dry_run: bool) -> Self {
        let standing = after.or(review.standing.as_ref());
        let change = review.change.as_ref();
        let acts = change.iter().flat_map(|change| &change.new);
        Self {
            workload: review.revision.workload.to_string(),
            image: review.revision.image.clone(),
            posture: review.posture().to_string(),
            verdict: word(&review.verdict),
            to: after
                .map_or(review.posture(), Standing::posture)
                .to_string(),
            dry_run,
            reasons: reasons(&review.verdict).iter().map(Why::from).collect(),
            candidate: standing
                .and_then(Standing::freeze)
                .map(|freeze| freeze.candidate.to_string()),
            canary_until: match standing {
                Some(Standing::Block { canary_until, .. }) => Some(At(*canary_until).to_string()),
                _ => None,
            },
            canary_pods: None,
            before: change.map(|change| change.before.clone()),
            new: acts.map(ToString::to_string).collect(),
            removed: change.map_or_else(Vec::new, |change| change.removed.clone()),
            figures: review.figures.clone(),
        }
    }
}

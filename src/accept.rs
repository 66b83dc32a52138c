//! `learner accept`.

use std::collections::BTreeSet;

use learner::act::{Act, ActId};
use learner::promotion::{self, Criteria, Move, Review};
use learner::workload::Workload;

use crate::Verdict;
use crate::args::{Accept, Accepted, Global};
use crate::court::{Court, now, person};
use crate::failure::Failure;
use crate::talk::visible;

pub(crate) fn run(global: &Global, args: &Accept) -> Result<Verdict, Failure> {
    let court = Court::open(global)?;
    let mut named: BTreeSet<usize> = BTreeSet::new();
    let mut moves: Vec<(Workload, BTreeSet<Act>, Move)> = Vec::new();
    for workload in court.workloads(&args.which) {
        let evidence = court.evidence(&workload)?;
        let Some(review) = court.review(&workload, &evidence, &Criteria::default()) else {
            continue;
        };
        let acts = meant(&review, args, &mut named);
        if acts.is_empty() {
            continue;
        }
        let docket = court.docket(&evidence);
        let decided = promotion::accept(&review.revision, &acts, &docket, person(), now())
            .map_err(|why| {
                let name = visible(&workload.to_string());
                Failure::Nothing(format!("{name}: nothing was accepted: {why}"))
            })?;
        moves.push((workload, acts, decided));
    }
    // All can be accepted: only now is anything changed.
    for (workload, acts, decided) in moves {
        let name = visible(&workload.to_string());
        let candidate = decided.draft.candidate.map(|digest| digest.short());
        court.stored.decide(decided)?;
        for act in acts {
            tracing::info!("{name}: accepted: {act}");
        }
        tracing::info!(
            "{name}: in audit with candidate {}; the window begins anew",
            candidate.unwrap_or_default()
        );
    }
    let missing = (0..).zip(&args.what).filter(|(at, _)| !named.contains(at));
    let mut verdict = Verdict::Done;
    for (_, what) in missing {
        verdict = Verdict::No;
        match what {
            Accepted::Id(id) => tracing::warn!("{id}: no alert that is open, and nothing held"),
            Accepted::Named(mention) => {
                tracing::warn!("{mention}: no alert that is open, and nothing held");
            }
        }
    }
    Ok(verdict)
}

/// What of a workload's open alerts, and of what is held of it, is named.
fn meant(review: &Review, args: &Accept, named: &mut BTreeSet<usize>) -> BTreeSet<Act> {
    let open = review.alerts.iter().filter(|alert| !alert.dismissed);
    let all: BTreeSet<&Act> = open.map(|alert| &alert.act).chain(&review.held).collect();
    let mut acts = BTreeSet::new();
    for (at, what) in args.what.iter().enumerate() {
        let is_meant = |act: &&&Act| match what {
            Accepted::Id(id) => *id == ActId::of(&review.revision.workload, act),
            Accepted::Named(mention) => mention.covers(&act.done()),
        };
        for act in all.iter().filter(is_meant) {
            named.insert(at);
            acts.insert((*act).clone());
        }
    }
    acts
}

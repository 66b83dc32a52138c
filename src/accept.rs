//! `learner accept`.

use std::collections::BTreeSet;

use learner::act::{Act, ActId};
use learner::digest::Digest;
use learner::promotion::{self, Criteria, Move, Review};
use learner::workload::Workload;

use crate::Verdict;
use crate::args::{Accept, Accepted, Global};
use crate::court::{Court, now, person};
use crate::failure::Failure;
use crate::talk::visible;

mod cluster;

pub(crate) fn run(global: &Global, args: &Accept) -> Result<Verdict, Failure> {
    if args.cluster {
        return cluster::run(args);
    }
    let mut court = Court::open(global)?;
    court.risk = false;
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
        let candidate = decided.draft.candidate;
        court.stored.decide(decided)?;
        say(&workload, acts, candidate);
    }
    Ok(named_all(args, &named))
}

fn say(workload: &Workload, acts: BTreeSet<Act>, candidate: Option<Digest>) {
    let name = visible(&workload.to_string());
    for act in acts {
        tracing::info!("{name}: accepted: {act}");
    }
    let candidate = candidate.map(|digest| digest.short());
    tracing::info!(
        "{name}: in audit with candidate {}; the window begins anew",
        candidate.unwrap_or_default()
    );
}

/// Whether all that was named is anything; what is not is said.
fn named_all(args: &Accept, named: &BTreeSet<usize>) -> Verdict {
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
    verdict
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

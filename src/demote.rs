//! `learner demote`.

use learner::candidate::Ledger;
use learner::posture::{Posture, Revision, Standing};
use learner::promotion::{Criteria, Move, demote};

use crate::Verdict;
use crate::args::{Demote, Global, Lower};
use crate::court::{Court, now, person};
use crate::failure::Failure;
use crate::talk::visible;

pub(crate) fn run(global: &Global, args: &Demote) -> Result<Verdict, Failure> {
    let court = Court::open(global)?;
    let to = match args.to {
        Lower::Audit => Posture::Audit,
        Lower::Learning => Posture::Learning,
    };
    let name = visible(&args.name.to_string());
    if to == Posture::Learning {
        say_what_may_be_learned(&court, args, &name)?;
    }
    let mut moved = 0;
    for (revision, standing) in of_workload(&court.ledger, args) {
        let reason = args.reason.clone();
        let Some(decided) = demote(revision, standing, to, reason, person(), now()) else {
            continue;
        };
        let Move { draft, .. } = &decided;
        let line = format!(
            "{name}: {} -> {} (image '{}')",
            draft.from,
            draft.to,
            visible(&revision.image)
        );
        court.stored.decide(decided)?;
        tracing::info!("{line}");
        moved += 1;
    }
    if moved == 0 {
        tracing::warn!("{name}: it does not stand above {to}; `learner status` shows where");
        return Ok(Verdict::No);
    }
    Ok(Verdict::Done)
}

fn of_workload<'a>(
    ledger: &'a Ledger,
    args: &'a Demote,
) -> impl Iterator<Item = (&'a Revision, &'a Standing)> {
    let is_meant = |(revision, _): &(&Revision, &Standing)| revision.workload == args.name;
    ledger.iter().filter(is_meant)
}

/// Alerts never teach, but under learning there are none.
fn say_what_may_be_learned(court: &Court, args: &Demote, name: &str) -> Result<(), Failure> {
    let evidence = court.evidence(&args.name)?;
    let review = court.review(&args.name, &evidence, &Criteria::default());
    let alerts = review.into_iter().flat_map(|review| review.alerts);
    for alert in alerts.filter(|alert| !alert.dismissed) {
        tracing::warn!(
            "{name}: no alert any more, and learned unless it is forgotten: {}",
            alert.act
        );
    }
    Ok(())
}

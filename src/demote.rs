//! `learner demote`.

use learner::alert::Alert;
use learner::candidate::Ledger;
use learner::posture::{Posture, Revision, Standing};
use learner::promotion::{Move, demote};

use crate::Verdict;
use crate::args::{Demote, Global, Lower};
use crate::court::{Court, now, person};
use crate::failure::Failure;
use crate::talk::visible;

mod cluster;

pub(crate) fn run(global: &Global, args: &Demote) -> Result<Verdict, Failure> {
    if args.cluster {
        return cluster::run(args);
    }
    let court = Court::open(global)?;
    let to = to(args);
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
        let line = line(&name, &decided);
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

fn to(args: &Demote) -> Posture {
    match args.to {
        Lower::Audit => Posture::Audit,
        Lower::Learning => Posture::Learning,
    }
}

fn line(name: &str, decided: &Move) -> String {
    let draft = &decided.draft;
    let image = visible(&draft.revision.image);
    format!("{name}: {} -> {} (image '{image}')", draft.from, draft.to)
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
    let evidence = court.own_evidence(&args.name)?;
    let hearing = court.hear(&args.name, &evidence);
    say_alerts(hearing.into_iter().flat_map(|hearing| hearing.alerts), name);
    Ok(())
}

fn say_alerts(alerts: impl Iterator<Item = Alert>, name: &str) {
    for alert in alerts.filter(|alert| !alert.dismissed) {
        tracing::warn!(
            "{name}: no alert any more, and learned unless it is forgotten: {}",
            alert.act
        );
    }
}

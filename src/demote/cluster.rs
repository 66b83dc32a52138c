//! `learner demote --cluster`.

use learner::job::Sitting;
use learner::posture::Posture;

use super::{line, say_alerts, to};
use crate::Verdict;
use crate::args::Demote;
use crate::cluster::{self, sat};
use crate::court::person;
use crate::failure::Failure;
use crate::talk::visible;

pub(super) fn run(args: &Demote) -> Result<Verdict, Failure> {
    cluster::with(async |client| {
        sat(&client, &args.name.namespace, async |sitting| {
            demote(sitting, args).await
        })
        .await
    })
}

async fn demote(sitting: &mut Sitting, args: &Demote) -> Result<Verdict, Failure> {
    let name = visible(&args.name.to_string());
    let to = to(args);
    let moves = sitting.demote(&args.name, to, &args.reason, person())?;
    if moves.is_empty() {
        tracing::warn!(
            "{name}: it does not stand above {to}; `kubectl get workloadpostures -n {}` shows where",
            visible(&args.name.namespace)
        );
        return Ok(Verdict::No);
    }
    if to == Posture::Learning {
        let review = sitting.review(&args.name, person())?;
        say_alerts(review.into_iter().flat_map(|review| review.alerts), &name);
    }
    for decided in moves {
        let line = line(&name, &decided);
        sitting.decide(decided).await?;
        tracing::info!("{line}");
    }
    Ok(Verdict::Done)
}

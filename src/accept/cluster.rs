//! `learner accept --cluster`.

use std::collections::BTreeSet;

use learner::act::Act;
use learner::cluster::Client;
use learner::job::{JobError, Sitting};
use learner::promotion::Move;
use learner::workload::Workload;

use super::{meant, named_all, say};
use crate::Verdict;
use crate::args::Accept;
use crate::cluster::{self, sat};
use crate::court::person;
use crate::failure::Failure;
use crate::talk::visible;

pub(super) fn run(args: &Accept) -> Result<Verdict, Failure> {
    let mut named = BTreeSet::new();
    cluster::with(async |client| each(&client, args, &mut named).await)?;
    Ok(named_all(args, &named))
}

/// One namespace after the other.
async fn each(client: &Client, args: &Accept, named: &mut BTreeSet<usize>) -> Result<(), Failure> {
    for namespace in cluster::meant(client, &args.which).await? {
        sat(client, &namespace, async |sitting| {
            accept(sitting, args, named).await
        })
        .await?;
    }
    Ok(())
}

async fn accept(
    sitting: &mut Sitting,
    args: &Accept,
    named: &mut BTreeSet<usize>,
) -> Result<(), Failure> {
    let mut moves: Vec<(Workload, BTreeSet<Act>, Move)> = Vec::new();
    for workload in cluster::workloads(&args.which, sitting.merged().evidence()) {
        let review = match sitting.review(&workload, person()) {
            // It is held alone.
            Err(JobError::Standing(bad)) => {
                tracing::warn!("{}", visible(&bad.to_string()));
                continue;
            }
            review => review?,
        };
        let Some(review) = review else {
            continue;
        };
        let acts = meant(&review, args, named);
        if acts.is_empty() {
            continue;
        }
        let decided = sitting.accept(&review.revision, &acts, person());
        let decided = decided.map_err(|why| {
            let name = visible(&workload.to_string());
            Failure::Nothing(format!("{name}: nothing was accepted: {why}"))
        })?;
        moves.push((workload, acts, decided));
    }
    // All of the namespace can be accepted: only now is anything changed.
    for (workload, acts, decided) in moves {
        let candidate = decided.draft.candidate;
        sitting.decide(decided).await?;
        say(&workload, acts, candidate);
    }
    Ok(())
}

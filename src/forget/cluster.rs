//! `learner forget --cluster`.

use std::collections::{BTreeMap, BTreeSet};

use learner::behavior::Behavior;
use learner::cluster::Client;
use learner::cluster::standings::Standings;
use learner::job::Sitting;
use learner::mention::{Mention, Tombstones};
use learner::promotion::still_allowed;
use learner::workload::Workload;

use super::{is_told, listed, mentions, missing, named_all, say, say_it_goes_on};
use crate::Verdict;
use crate::args::Forget;
use crate::cluster::{self, sat};
use crate::failure::Failure;

/// For what is said about it.
const PLACE: &str = "the cluster";

type Found = BTreeMap<(Workload, Mention), usize>;

pub(super) fn run(args: &Forget) -> Result<Verdict, Failure> {
    if args.list {
        return listed(
            &cluster::with(async |client| list(&client, args).await)?,
            args,
            PLACE,
        );
    }
    let mut found = Found::new();
    cluster::with(async |client| each(&client, args, &mut found).await)?;
    Ok(named_all(args, &missing(&found, args), PLACE))
}

/// What is forgotten of the workloads that are meant. Labels are those of the runs.
async fn list(client: &Client, args: &Forget) -> Result<Tombstones, Failure> {
    let namespace = args.which.namespace.as_deref();
    let forgotten = Standings::read(client, namespace).await?.whole()?.forgotten;
    if args.which.labels.is_empty() {
        return Ok(forgotten);
    }
    let merged = cluster::told(client, namespace).await?;
    let meant = cluster::workloads(&args.which, merged.evidence());
    let all = forgotten.iter();
    let of_them = all.filter(|(workload, _)| meant.contains(workload));
    Ok(of_them
        .map(|(workload, mention)| (workload.clone(), mention.clone()))
        .collect())
}

/// One namespace after the other.
async fn each(client: &Client, args: &Forget, found: &mut Found) -> Result<(), Failure> {
    for namespace in cluster::meant(client, &args.which).await? {
        let here = sat(client, &namespace, async |sitting| {
            forget(sitting, args).await
        })
        .await?;
        found.extend(here);
    }
    Ok(())
}

async fn forget(sitting: &mut Sitting, args: &Forget) -> Result<Found, Failure> {
    let evidence = sitting.merged().evidence();
    let meant = cluster::workloads(&args.which, evidence);
    let mut found = Found::new();
    if args.undo {
        let is_meant =
            |workload: &Workload| args.which.labels.is_empty() || meant.contains(workload);
        for (workload, mention) in sitting.forgotten().iter() {
            if is_meant(workload) && is_told(args, mention) {
                found.insert((workload.clone(), mention.clone()), 0);
            }
        }
    } else {
        let mentions = mentions(args);
        for workload in &meant {
            let runs = evidence.runs().iter();
            let runs = runs.filter(|(key, _)| key.workload == *workload);
            let behaviors: BTreeSet<&Behavior> =
                runs.flat_map(|(_, run)| run.seen.keys()).collect();
            for mention in &mentions {
                let touched = behaviors.iter().filter(|b| mention.touches(b)).count();
                if touched > 0 {
                    found.insert((workload.clone(), mention.clone()), touched);
                }
            }
        }
    }
    let mut of_each: BTreeMap<&Workload, BTreeSet<Mention>> = BTreeMap::new();
    for (workload, mention) in found.keys() {
        of_each.entry(workload).or_default().insert(mention.clone());
    }
    for (workload, mentions) in of_each {
        sitting.bury(workload, &mentions, args.undo).await?;
    }
    say(&found, args.undo);
    if !args.undo {
        say_what_is_still_allowed(sitting, &found);
    }
    Ok(found)
}

/// A candidate is frozen: what it allows it goes on to allow.
fn say_what_is_still_allowed(sitting: &Sitting, found: &Found) {
    let forgotten: Tombstones = found.keys().cloned().collect();
    let evidence = sitting.merged().evidence();
    for (revision, standing) in sitting.ledger().iter() {
        let Some(frozen) = sitting.ledger().frozen(revision) else {
            continue;
        };
        let workload = &revision.workload;
        for mention in still_allowed(workload, evidence, frozen, &forgotten) {
            say_it_goes_on(workload, frozen, standing, mention);
        }
    }
}

//! `learner hold`.

use std::collections::BTreeSet;

use learner::cluster::Client;
use learner::cluster::standings::{self, Standings};
use learner::workload::Workload;

use crate::Verdict;
use crate::answer::Answer;
use crate::args::{HeldName, Hold};
use crate::cluster;
use crate::failure::Failure;
use crate::talk::visible;

pub(crate) fn run(args: &Hold) -> Result<Verdict, Failure> {
    cluster::with(async |client| held(&client, args).await)
}

async fn held(client: &Client, args: &Hold) -> Result<Verdict, Failure> {
    let namespace = match &args.name {
        HeldName::This(workload) => &workload.namespace,
        HeldName::Called { namespace, .. } => namespace,
    };
    let standings = Standings::read(client, Some(namespace)).await?;
    let workloads = match &args.name {
        HeldName::This(workload) => BTreeSet::from([workload.clone()]),
        HeldName::Called { name, .. } => called(client, &standings, namespace, name).await?,
    };
    if workloads.is_empty() {
        tracing::warn!("nothing is known of it in the cluster: name it as NS/KIND/NAME/CONTAINER");
        return Ok(Verdict::No);
    }
    let mut answer = Answer::begin();
    for workload in workloads {
        let line = match &args.reason {
            Some(reason) => {
                standings::hold(client, &workload, reason).await?;
                format!("{workload}: held: {reason}")
            }
            None => {
                let holding = standings.holding(&workload);
                standings::release(client, &workload, holding).await?;
                match holding.is_empty() {
                    true => format!("{workload}: was not held"),
                    false => format!("{workload}: let go"),
                }
            }
        };
        answer.print(&format!("{}\n", visible(&line)))?;
    }
    answer.end()?;
    Ok(Verdict::Done)
}

/// All that is called so, by what nodes have told and by what is kept.
async fn called(
    client: &Client,
    standings: &Standings,
    namespace: &str,
    name: &str,
) -> Result<BTreeSet<Workload>, Failure> {
    let merged = cluster::told(client, Some(namespace)).await?;
    let seen = merged.evidence().runs().keys().map(|key| &key.workload);
    let all = seen.chain(standings.workloads());
    Ok(all
        .filter(|workload| workload.name == name)
        .cloned()
        .collect())
}

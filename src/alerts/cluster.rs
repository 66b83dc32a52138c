//! `learner alerts --cluster`.

use learner::cluster::standings::Standings;
use learner::promotion::hear_told;

use super::{Shown, shown};
use crate::args::Alerts;
use crate::cluster;
use crate::failure::Failure;
use crate::talk::visible;

/// The alerts of the workloads that are meant, by what all nodes have told, and whether they are known of each.
pub(super) fn all(args: &Alerts) -> Result<(Vec<Shown>, bool), Failure> {
    let namespace = args.which.namespace.as_deref();
    let (merged, kept) = cluster::with(async |client| {
        let merged = cluster::told(&client, namespace).await?;
        let standings = Standings::read(&client, namespace).await?;
        Ok((merged, standings.readable()))
    })?;
    let (mut all, mut are_known) = (Vec::new(), true);
    for workload in cluster::workloads(&args.which, merged.evidence()) {
        if let Some(bad) = kept.refused.get(&workload) {
            are_known = false;
            let why = bad.to_string();
            tracing::warn!(
                "{}: its alerts are not known: {}",
                visible(&workload.to_string()),
                visible(&why)
            );
        }
        let hearing = hear_told(&workload, &merged, &kept.ledger, &kept.forgotten);
        all.extend(hearing.map_or(Vec::new(), |hearing| shown(hearing, merged.evidence())));
    }
    Ok((all, are_known))
}

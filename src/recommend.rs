//! `learner recommend`.

use std::collections::BTreeSet;

use learner::cluster::standings::Standings;
use learner::policy::meaning::Posture;
use learner::profile::Evidence;
use learner::quarantine::Include;
use learner::recommend::{Criteria, Recommendation, Refusal, Stage, recommend, recommend_told};
use learner::shared::Merged;
use learner::workload::Workload;

use crate::Verdict;
use crate::answer::is_dash;
use crate::args::{Global, Making, Recommend, Which};
use crate::cluster;
use crate::failure::Failure;
use crate::policies;
use crate::selection::{Recorded, recorded};
use crate::talk::visible;

pub(crate) fn run(global: &Global, args: &Recommend) -> Result<Verdict, Failure> {
    let made = if args.cluster {
        made_of_cluster(&args.which, &criteria(&args.making))?
    } else {
        make(global, &args.which, &args.making, &args.from)?
    };
    let Some(Made { made, workloads }) = made else {
        return Ok(Verdict::No);
    };
    for recommendation in &made {
        policies::explain(recommendation);
        if !is_dash(&args.outdir) {
            policies::to_file(&args.outdir, recommendation, args.format)?;
        }
    }
    if is_dash(&args.outdir) {
        policies::to_answer(&made, args.format)?;
    }
    if let Some(report) = &args.report {
        policies::report(report, &made)?;
    }
    Ok(if made.len() == workloads {
        Verdict::Done
    } else {
        Verdict::No
    })
}

/// What was asked for, as far as it can be had.
pub(crate) struct Made {
    pub(crate) made: Vec<Recommendation>,
    /// Of so many workloads.
    pub(crate) workloads: usize,
}

/// A recommendation for each workload that is meant; `None`, and said, if there is no workload.
pub(crate) fn make(
    global: &Global,
    which: &Which,
    making: &Making,
    from: &[std::path::PathBuf],
) -> Result<Option<Made>, Failure> {
    let Recorded {
        evidence,
        forgotten,
        ledger,
        place,
    } = recorded(global, which, from)?;
    if evidence.runs().is_empty() {
        tracing::warn!("nothing to recommend: {}", which.nothing_in(&place));
        return Ok(None);
    }
    let criteria = Criteria {
        forgotten,
        ledger,
        ..criteria(making)
    };
    Ok(Some(recommended(&evidence, &criteria)))
}

/// A recommendation for each workload that is meant of what the nodes of the cluster have told; `None`,
/// and said, if there is no workload.
fn made_of_cluster(which: &Which, criteria: &Criteria) -> Result<Option<Made>, Failure> {
    let namespace = which.namespace.as_deref();
    let (merged, kept) = cluster::with(async |client| {
        let merged = cluster::told(&client, namespace).await?;
        let standings = Standings::read(&client, namespace).await?;
        Ok((merged, standings.whole()?))
    })?;
    let criteria = Criteria {
        ledger: kept.ledger,
        forgotten: kept.forgotten,
        ..criteria.clone()
    };
    let made = of_merged(which, &merged, &criteria);
    if made.is_none() {
        let nothing = which.nothing_in("the cluster");
        tracing::warn!("nothing to recommend: {nothing}");
    }
    Ok(made)
}

/// A recommendation for each workload that is meant of what nodes have told; `None` if there is no
/// workload.
pub(crate) fn of_merged(which: &Which, merged: &Merged, criteria: &Criteria) -> Option<Made> {
    let workloads = cluster::workloads(which, merged.evidence());
    let made = |workload: &Workload| said(workload, recommend_told(workload, merged, criteria));
    (!workloads.is_empty()).then(|| Made {
        made: workloads.iter().filter_map(made).collect(),
        workloads: workloads.len(),
    })
}

/// A recommendation for each workload of the evidence; why there is none for one is said.
pub(crate) fn recommended(evidence: &Evidence, criteria: &Criteria) -> Made {
    let workloads: BTreeSet<&Workload> = evidence.runs().keys().map(|key| &key.workload).collect();
    Made {
        made: workloads
            .iter()
            .filter_map(|workload| one(workload, evidence, criteria))
            .collect(),
        workloads: workloads.len(),
    }
}

/// The recommendation; why there is none is said.
pub(crate) fn one(
    workload: &Workload,
    evidence: &Evidence,
    criteria: &Criteria,
) -> Option<Recommendation> {
    said(workload, recommend(workload, evidence, criteria))
}

fn said(workload: &Workload, made: Result<Recommendation, Refusal>) -> Option<Recommendation> {
    made.inspect_err(|refusal| {
        tracing::warn!(
            "no policy for {}: {refusal}",
            visible(&workload.to_string())
        );
    })
    .ok()
}

/// What policies are made by, as typed.
pub(crate) fn criteria(making: &Making) -> Criteria {
    let Making {
        tightness,
        enforcer,
        posture,
        include,
    } = making;
    Criteria {
        tightness: tightness.unwrap_or_default(),
        enforcer: enforcer.unwrap_or_default(),
        stage: match posture {
            Some(Posture::Block) => Stage::Block,
            Some(Posture::Audit) | None => Stage::Audit,
        },
        include: Include::from(include.clone()),
        ..Criteria::default()
    }
}

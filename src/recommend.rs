//! `learner recommend`.

use std::collections::BTreeSet;

use learner::policy::{Recommendation, exact};
use learner::profile::Evidence;

use crate::Verdict;
use crate::answer::is_dash;
use crate::args::{Global, Recommend};
use crate::failure::Failure;
use crate::policies;
use crate::selection;
use crate::talk::visible;

pub(crate) fn run(global: &Global, args: &Recommend) -> Result<Verdict, Failure> {
    let (evidence, place) = selection::evidence(global, &args.which, &args.from)?;
    let workloads: BTreeSet<_> = evidence.runs().keys().map(|key| &key.workload).collect();
    if workloads.is_empty() {
        tracing::warn!("nothing to recommend: {}", args.which.nothing_in(&place));
        return Ok(Verdict::No);
    }
    let recommendations = recommended(&evidence);
    for recommendation in &recommendations {
        policies::explain(recommendation);
        if !is_dash(&args.outdir) {
            policies::to_file(&args.outdir, recommendation, args.format)?;
        }
    }
    if is_dash(&args.outdir) {
        policies::to_answer(&recommendations, args.format)?;
    }
    Ok(if recommendations.len() == workloads.len() {
        Verdict::Done
    } else {
        Verdict::No
    })
}

/// What is recommended for each workload of the evidence; why there is nothing for one is said.
pub(crate) fn recommended(evidence: &Evidence) -> Vec<Recommendation> {
    let workloads: BTreeSet<_> = evidence.runs().keys().map(|key| &key.workload).collect();
    let mut recommendations = Vec::new();
    for workload in workloads {
        match exact(workload, evidence) {
            Ok(recommendation) => recommendations.push(recommendation),
            Err(refusal) => tracing::warn!(
                "no policy for {}: {refusal}",
                visible(&workload.to_string())
            ),
        }
    }
    recommendations
}

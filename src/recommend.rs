//! `learner recommend`.

use std::collections::BTreeSet;

use learner::mention::Tombstones;
use learner::policy::exact;
use learner::profile::Evidence;
use learner::quarantine::Include;

use crate::Verdict;
use crate::answer::is_dash;
use crate::args::{Global, Recommend};
use crate::failure::Failure;
use crate::import;
use crate::learnable::learnable;
use crate::policies;
use crate::selection::Stored;
use crate::talk::visible;

pub(crate) fn run(global: &Global, args: &Recommend) -> Result<Verdict, Failure> {
    let (evidence, tombstones, place) = if args.from.is_empty() {
        stored(global, args)?
    } else {
        let evidence = args.which.of(import::read_all(global, &args.from)?);
        let place = "these recordings".to_owned();
        (evidence, Tombstones::default(), place)
    };
    let workloads: BTreeSet<_> = evidence.runs().keys().map(|key| &key.workload).collect();
    if workloads.is_empty() {
        tracing::warn!("nothing to recommend: {}", args.which.nothing_in(&place));
        return Ok(Verdict::No);
    }
    let learnable = learnable(&evidence, &Include(args.include.clone()), &tombstones);
    let mut recommendations = Vec::new();
    for workload in &workloads {
        match exact(workload, &learnable) {
            Ok(recommendation) => recommendations.push(recommendation),
            Err(refusal) => tracing::warn!(
                "no policy for {}: {refusal}",
                visible(&workload.to_string())
            ),
        }
    }
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

fn stored(global: &Global, args: &Recommend) -> Result<(Evidence, Tombstones, String), Failure> {
    let stored = Stored::open(global)?;
    let summaries = stored.summaries(&args.which)?;
    let wanted = summaries.iter().map(|summary| &summary.key).collect();
    let place = stored.dir.display().to_string();
    Ok((stored.load(&wanted)?, stored.tombstones()?, place))
}

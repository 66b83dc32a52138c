//! `learner promote --cluster`.

use std::collections::BTreeSet;

use learner::cluster::Client;
use learner::job::{Hearsay, Round, Strategy, Terms};
use learner::promotion::Criteria;
use learner::quarantine::Include;
use learner::workload::{Labels, RunKey};

use super::Saying;
use crate::Verdict;
use crate::args::{Global, Promote, StrategyName, TableFormat};
use crate::cluster;
use crate::court::now;
use crate::failure::Failure;
use crate::talk::visible;
use crate::telemetry::{self, Alerts};

pub(super) fn run(global: &Global, args: &Promote) -> Result<Verdict, Failure> {
    let criteria = Criteria {
        share: args.canary_share,
        ..args.gate.criteria()
    };
    // What is judged is known when the nodes' word is read.
    let Alerts {
        mut evidence,
        unheard,
    } = match &args.grpc {
        Some(address) => telemetry::alerts(address, &args.relay, &|_, _| true)?,
        None => Alerts::default(),
    };
    // Standard input is read once.
    let (in_files, interruptions) = telemetry::alerts_in(global, &args.kubearmor, now())?;
    for (key, run) in in_files.into_runs() {
        evidence.insert(key, run);
    }
    let heard = Hearsay { evidence, unheard };
    let holder = cluster::holder();
    let terms = Terms {
        criteria: &criteria,
        enforcer: args.enforcer,
        tightness: args.tightness.unwrap_or_default(),
        include: &Include::from(args.include.clone()),
        strategy: match args.strategy {
            StrategyName::Workload => Strategy::Workload,
            StrategyName::Namespace => Strategy::Namespace,
        },
        interruptions: &interruptions,
        heard: &heard,
        is_meant: &|key: &RunKey, labels: &Labels| args.which.takes(key, labels),
        dry_run: args.dry_run,
        // Whose labels are asked for, or figures, of those all is read.
        may_rest: args.which.labels.is_empty()
            && args.format == TableFormat::Table
            && heard.evidence.runs().is_empty()
            && heard.unheard.is_empty(),
        holder: &holder,
    };
    cluster::with(async |client| all(&client, args, &terms).await)
}

async fn all(client: &Client, args: &Promote, terms: &Terms<'_>) -> Result<Verdict, Failure> {
    let namespaces = cluster::meant(client, &args.which).await?;
    say_elsewhere(terms.heard, &namespaces);
    let mut saying = Saying::begin(args);
    let mut any = false;
    let mut failed = None;
    let round = Round::new(client, terms);
    for namespace in namespaces {
        let mut rulings = Vec::new();
        let outcome = round.pass(&namespace, now(), &mut rulings).await;
        for ruling in rulings {
            any = true;
            saying.say(&ruling.review, ruling.after.as_ref(), ruling.canary)?;
        }
        // Others have something to be taken back, perhaps.
        match outcome {
            Ok(()) => {}
            Err(error) if failed.is_none() => failed = Some(error),
            Err(error) => tracing::warn!("{namespace}: {}", visible(&error.to_string())),
        }
    }
    if !any && failed.is_none() {
        let nothing = args.which.nothing_in("the cluster");
        tracing::warn!("nothing to promote: {nothing}");
    }
    let verdict = saying.end()?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(verdict),
    }
}

/// What was heard of namespaces in which no pass is made counts for nothing, and is said.
fn say_elsewhere(heard: &Hearsay, namespaces: &BTreeSet<String>) {
    let runs = heard.evidence.runs().keys();
    let others: BTreeSet<&str> = runs
        .map(|key| key.workload.namespace.as_str())
        .filter(|namespace| !namespaces.contains(*namespace))
        .collect();
    if !others.is_empty() {
        let others: Vec<String> = others.into_iter().map(visible).collect();
        tracing::warn!(
            "KubeArmor tells of other namespaces too ({}): that counts for nothing here",
            others.join(", ")
        );
    }
}

//! `learner apply`.

use std::collections::{BTreeMap, BTreeSet};

use learner::cluster::{Client, namespace, policies};
use learner::policy::meaning::Posture;
use learner::policy::{Identity, Kind, Policy};
use learner::profile::Evidence;
use learner::staging::{Hazard, behind, hazards};

use crate::Verdict;
use crate::answer::{Answer, is_dash};
use crate::applied;
use crate::args::Apply;
use crate::cluster;
use crate::failure::Failure;
use crate::talk::visible;

pub(crate) fn run(args: &Apply) -> Result<Verdict, Failure> {
    if args.files.iter().filter(|path| is_dash(path)).count() > 1 {
        return Err(Failure::StandardInputTwice);
    }
    let all = applied::read(&args.files)?;
    if let Some(other) = all.iter().find(|policy| policy.kind != Kind::Policy) {
        return Err(Failure::Nothing(format!(
            "{} {} is not applied: Learner applies KubeArmorPolicies alone; use kubectl apply",
            other.kind.as_str(),
            other.identity()
        )));
    }
    if all.is_empty() {
        return Err(Failure::Nothing(
            "nothing to apply: no file holds a policy".to_owned(),
        ));
    }
    cluster::with(async |client| applied(&client, &all, args).await)
}

/// All that are safe are checked by the server before the first is applied.
async fn applied(client: &Client, all: &[Policy], args: &Apply) -> Result<Verdict, Failure> {
    let evidence = evidence(client, all).await?;
    let postures = postures(client, all).await?;
    let none = Evidence::default();
    let mut answer = Answer::begin();
    let mut safe = Vec::new();
    for policy in all {
        let place = policy.namespace().unwrap_or_default();
        let evidence = evidence.get(place).unwrap_or(&none);
        let against = match postures.get(place) {
            Some(Posture::Block) => Vec::new(),
            _ => hazards(policy, evidence),
        };
        if against.is_empty() {
            let note = policies::Note {
                evidence: behind(policy, evidence),
                posture: None,
            };
            safe.push((policy, note));
        } else {
            say(&mut answer, &policy.identity(), place, &against)?;
        }
    }
    for (policy, note) in &safe {
        policies::apply(client, policy, note, true).await?;
    }
    for (policy, note) in &safe {
        let mut said = "applied";
        match args.dry_run {
            Some(_) => said = "would be applied",
            None => policies::apply(client, policy, note, false).await?,
        }
        let candidate = policies::hash(policy).short();
        let identity = policy.identity();
        let place = policy.namespace().unwrap_or_default();
        let enforced = match postures.get(place) {
            Some(Posture::Block) => format!(", and enforced at once: {place} is under block"),
            _ => String::new(),
        };
        answer.print(&format!(
            "{identity}: {said}: candidate {candidate}, {}{enforced}\n",
            note.evidence
        ))?;
    }
    answer.end()?;
    Ok(if safe.len() == all.len() {
        Verdict::Done
    } else {
        Verdict::No
    })
}

fn say(
    answer: &mut Answer,
    policy: &Identity,
    place: &str,
    against: &[Hazard],
) -> Result<(), Failure> {
    let against: Vec<String> = against.iter().map(ToString::to_string).collect();
    let line = format!(
        "{policy}: not applied, since the posture of {place} is not block: {}",
        against.join("; ")
    );
    answer.print(&format!("{}\n", visible(&line)))
}

fn namespaces(all: &[Policy]) -> BTreeSet<&str> {
    all.iter().filter_map(Policy::namespace).collect()
}

/// What the nodes have told of each namespace. A cluster without Learner's definitions has told nothing.
async fn evidence(client: &Client, all: &[Policy]) -> Result<BTreeMap<String, Evidence>, Failure> {
    let mut found = BTreeMap::new();
    for name in namespaces(all) {
        match cluster::told(client, Some(name)).await {
            Ok(merged) => {
                found.insert(name.to_owned(), merged.into_evidence());
            }
            Err(Failure::Cluster(error)) if error.is_undefined() => {
                tracing::info!("the cluster holds no evidence: learner crd | kubectl apply -f -");
                break;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

async fn postures(client: &Client, all: &[Policy]) -> Result<BTreeMap<String, Posture>, Failure> {
    let mut found = BTreeMap::new();
    for name in namespaces(all) {
        if let Some(posture) = namespace::told(client, name).await?.file_posture {
            found.insert(name.to_owned(), posture);
        }
    }
    Ok(found)
}

//! `learner diff --cluster`: what is suggested against what is applied in the cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use comfy_table::{Table, presets};
use learner::cluster::policies::Policies;
use learner::cluster::standings::Standings;
use learner::cluster::{Client, nodes};
use learner::diff::Diff;
use learner::observation::Moment;
use learner::policy::meaning::Enforcer;
use learner::policy::{Pod, Policy};
use learner::profile::Evidence;
use learner::promotion::At;
use learner::recommend::Criteria;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{compared, criteria, nothing_in, shown, verdict};
use crate::Verdict;
use crate::answer::{Answer, lines};
use crate::args;
use crate::cluster;
use crate::failure::Failure;
use crate::recommend::of_merged;
use crate::talk::visible;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(30);

/// An applied policy, and who has written it.
#[derive(Clone, Serialize)]
pub(super) struct Written {
    kind: &'static str,
    policy: String,
    learned: bool,
    managers: Vec<Manager>,
    changed: Option<String>,
}

#[derive(Clone, Serialize)]
struct Manager {
    name: String,
    at: Option<String>,
}

fn at(moment: Option<Moment>) -> Option<String> {
    moment.map(|at| At(at).to_string())
}

pub(super) fn run(args: &args::Diff, suggested: &[Policy]) -> Result<Verdict, Failure> {
    cluster::with(async |client| {
        if args.watch {
            return watch(&client, args, suggested).await;
        }
        let (text, verdict) = once(&client, args, suggested).await?;
        print(&text)?;
        Ok(verdict)
    })
}

fn print(text: &str) -> Result<(), Failure> {
    let mut answer = Answer::begin();
    answer.print(text)?;
    answer.end()
}

/// Each time that the answer is another one, until Ctrl-C, which ends with the verdict of the latest. What cannot be
/// had is said, and tried again.
async fn watch(
    client: &Client,
    args: &args::Diff,
    suggested: &[Policy],
) -> Result<Verdict, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
    let mut last = String::new();
    let mut known = None;
    loop {
        let compared = tokio::select! {
            compared = once(client, args, suggested) => compared,
            _ = interrupt.recv() => break,
        };
        match compared {
            Ok((text, verdict)) => {
                known = Some(verdict);
                if text != last {
                    print(&text)?;
                    last = text;
                }
            }
            Err(failure) if failure.is_broken_pipe() => return Err(failure),
            Err(failure) => tracing::warn!("{failure}; it is tried again in 30 s"),
        }
        tokio::select! {
            _ = interrupt.recv() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    known.ok_or(Failure::NotCompared)
}

async fn once(
    client: &Client,
    args: &args::Diff,
    suggested: &[Policy],
) -> Result<(String, Verdict), Failure> {
    let namespace = args.which.namespace.as_deref();
    let merged = cluster::told(client, namespace).await?;
    let kept = Standings::read(client, namespace).await?.whole()?;
    let enforcers = match args.enforcer {
        Some(enforcer) => BTreeSet::from([enforcer]),
        None => enforcers(client).await?,
    };
    let of_evidence = args.which.of(merged.evidence().clone());
    if args.suggested.is_none() && of_evidence.runs().is_empty() {
        return Err(nothing_in(args, "the cluster"));
    }
    let mut policies = Policies::read(client, namespace).await?;
    for (name, why) in &policies.refused {
        tracing::warn!("{} was not compared: {}", visible(name), visible(why));
    }
    let mut diffs: Vec<(Enforcer, Diff)> = Vec::new();
    let mut all: BTreeSet<_> = suggested.iter().map(Policy::identity).collect();
    let mut sides = Vec::new();
    for enforcer in enforcers {
        let mut suggested = suggested.to_vec();
        if args.suggested.is_none() {
            let criteria = Criteria {
                ledger: kept.ledger.clone(),
                forgotten: kept.forgotten.clone(),
                ..criteria(args, enforcer)
            };
            let made = of_merged(&args.which, &merged, &criteria);
            let made = made.into_iter().flat_map(|made| made.made);
            suggested.extend(made.map(|one| one.policy));
        }
        all.extend(suggested.iter().map(Policy::identity));
        sides.push((enforcer, suggested));
    }
    // Others select nothing that was asked for.
    policies.found.retain(|identity, found| {
        all.contains(identity)
            || selects(&found.policy, &of_evidence)
            || of_evidence.runs().is_empty()
    });
    for (enforcer, suggested) in sides {
        let applied = policies.policies().cloned().collect();
        let diff = compared(args, suggested, applied, &of_evidence, enforcer)?;
        diffs.push((enforcer, diff));
    }
    let written: Vec<Written> = policies
        .found
        .iter()
        .map(|(identity, found)| Written {
            kind: identity.kind.as_str(),
            policy: identity.to_string(),
            learned: found.policy.is_learned(),
            managers: found
                .writers
                .iter()
                .map(|writer| Manager {
                    name: writer.manager.clone(),
                    at: at(writer.at),
                })
                .collect(),
            changed: at(found.changed()),
        })
        .collect();
    Ok((shown(args.format, &diffs, &written), verdict(&diffs)))
}

fn selects(policy: &Policy, evidence: &Evidence) -> bool {
    let mut runs = evidence.runs().iter();
    runs.any(|(key, run)| policy.selects(&Pod::of(&key.workload, &run.labels)))
}

/// Each that a node is labelled with; BPF-LSM where none is.
async fn enforcers(client: &Client) -> Result<BTreeSet<Enforcer>, Failure> {
    let mut found = BTreeSet::new();
    for (node, label) in nodes::enforcers(client).await? {
        match label.as_deref().map(|label| (label, label.parse())) {
            None => {}
            Some((_, Ok(enforcer))) => {
                found.insert(enforcer);
            }
            Some((label, Err(_))) => tracing::warn!(
                "node {} has the enforcer '{}', which is not known to Learner: it is passed over",
                visible(&node),
                visible(label)
            ),
        }
    }
    if found.is_empty() {
        found.insert(Enforcer::Bpf);
    }
    Ok(found)
}

/// Whose each applied policy is; nothing where there is none.
pub(super) fn table(written: &[Written]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["APPLIED", "KIND", "MADE BY", "MANAGERS", "CHANGED"]);
    for one in written {
        let managers: Vec<String> = one
            .managers
            .iter()
            .map(|manager| visible(&manager.name))
            .collect();
        table.add_row([
            visible(&one.policy),
            one.kind.to_owned(),
            (if one.learned { "learner" } else { "others" }).to_owned(),
            managers.join(", "),
            one.changed.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    if table.is_empty() {
        String::new()
    } else {
        lines(&table)
    }
}

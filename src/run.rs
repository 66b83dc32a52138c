//! `learner run` and `learner release`.

use std::process::ExitCode;

use learner::digest::Digest;
use learner::kernel::enforcer::{self, Alert};
use learner::kernel::{Rung, Settings};
use learner::policy::Policy;
use learner::policy::meaning::{
    Enforced, Enforcer, Operation, Posture, Postures, Verdict as Ruling,
};
use learner::posture::{Posture as Stands, Revision};
use learner::profile::{DEFAULT_MAX_BEHAVIORS, Evidence, RunProfile};
use learner::session::{Order, Plan, Watched};
use learner::workload::{RunKey, Workload};

use crate::Verdict;
use crate::applied;
use crate::args::{Global, Release, Run};
use crate::failure::Failure;
use crate::launch;
use crate::observe::{keep, passed_through, report, run_name, usual_labels};
use crate::selection::{open_books_patiently, store_dir};
use crate::talk::visible;

/// Runs the command under the policies, or as the workload that it is. The exit code is the command's.
pub(crate) fn run(global: &Global, args: &Run) -> Result<ExitCode, Failure> {
    match &args.name {
        Some(workload) => as_workload(global, args, workload),
        None => under_policies(args),
    }
}

fn under_policies(args: &Run) -> Result<ExitCode, Failure> {
    let policies = applied::read(&args.policies)?;
    if policies.is_empty() {
        return Err(Failure::Nothing(
            "nothing to run under: no policy was found in what was named".to_owned(),
        ));
    }
    for lint in learner::policy::lint(&policies, Enforcer::Learner) {
        tracing::warn!("{lint}");
    }
    say_what_is_not_enforced(&policies);
    let enforced = Enforced::new(Enforcer::Learner, &policies, Postures::all(args.posture));
    let text = serde_yaml::to_string(&policies).unwrap_or_default();
    let order = match args.posture {
        Posture::Block => order(&enforced, Digest::of(text.as_bytes()), false)?,
        Posture::Audit => None,
    };
    let watched = carry_out(args, order.clone())?;
    say(&enforced, &watched, order.as_ref());
    Ok(code(&watched))
}

/// As `observe`, and held to what the store says.
fn as_workload(global: &Global, args: &Run, workload: &Workload) -> Result<ExitCode, Failure> {
    let dir = store_dir(global)?;
    let revision = Revision {
        workload: workload.clone(),
        image: String::new(),
    };
    // It is not kept open: see `observe`.
    let ledger = open_books_patiently(global, &dir)?.ledger()?;
    let name = visible(&workload.to_string());
    let posture = Stands::at(ledger.standing(&revision));
    let frozen = ledger.frozen(&revision);
    let by = frozen.map(|frozen| frozen.candidate().digest().short());
    tracing::info!(
        "{name}: in {posture}{}",
        by.map_or_else(String::new, |by| format!(", by candidate {by}"))
    );
    let enforced = frozen.map(|frozen| {
        let policy = frozen.candidate().policy();
        Enforced::new(Enforcer::Learner, &[policy], Postures::all(Posture::Block))
    });
    let order = match (posture, frozen, &enforced) {
        (Stands::Block, Some(frozen), Some(enforced)) => {
            if ledger.to_enforce(&revision).is_none() {
                return Err(Failure::Nothing(format!(
                    "{name} stands under block with a candidate that KubeArmor is to enforce, so it is not run \
                     here; for one of Learner's own: learner demote {name} --to learning --reason TEXT"
                )));
            }
            order(enforced, frozen.candidate().digest(), true)?
        }
        _ => None,
    };
    let mut watched = carry_out(args, order.clone())?;
    if let Some(enforced) = &enforced {
        say(enforced, &watched, order.as_ref());
    }
    let mut profile = std::mem::take(&mut watched.profile);
    profile.labels = usual_labels(workload);
    let key = RunKey {
        workload: workload.clone(),
        image: String::new(),
        run: run_name(workload, &profile),
    };
    report(&key, &profile, watched.cut_short);
    let mut evidence = Evidence::default();
    evidence.insert(key.clone(), profile);
    keep(global, &dir, &evidence, &key)?;
    Ok(code(&watched))
}

fn order(enforced: &Enforced, digest: Digest, is_recorded: bool) -> Result<Option<Order>, Failure> {
    enforcer::is_active().map_err(|error| Failure::Session(error.into()))?;
    Ok(enforced.tree().map(|tree| Order {
        tree,
        hash: digest.words(),
        instance: format!("run-{}", std::process::id()),
        is_recorded,
    }))
}

fn carry_out(args: &Run, order: Option<Order>) -> Result<Watched, Failure> {
    launch::watched(Plan {
        subject: launch::subject(&args.command)?,
        limit: args.limit,
        settings: Settings {
            rung: args.rung.map(Rung::from),
            ..Settings::default()
        },
        max_behaviors: DEFAULT_MAX_BEHAVIORS,
        takes_state: false,
        order,
    })
}

/// What was refused, or with no order would have been; and what of it could not be told.
fn say(enforced: &Enforced, watched: &Watched, order: Option<&Order>) {
    match order {
        Some(_) => say_denied(enforced, &watched.alerts),
        None => say_would_be_denied(enforced, &watched.profile),
    }
    for (reason, count) in &watched.unreported {
        tracing::warn!("{count} decisions of the policy could not be reported: {reason}");
    }
    for (reason, count) in &watched.profile.lost {
        tracing::warn!("{count} events were not seen: {reason}");
    }
    if let Some(order) = order.filter(|_| watched.still_enforced) {
        tracing::warn!(
            "what still runs is held to the policy; to let it be: learner release {}",
            order.instance
        );
    }
}

/// As `timeout` has it where the command goes on.
fn code(watched: &Watched) -> ExitCode {
    watched
        .status
        .map_or_else(|| ExitCode::from(124), passed_through)
}

/// Removes pinned enforcement.
pub(crate) fn release(args: &Release) -> Result<Verdict, Failure> {
    let released = enforcer::release(args.instance.as_deref())
        .map_err(|error| Failure::Session(error.into()))?;
    if released == 0 {
        tracing::warn!("nothing is enforced here by Learner");
        return Ok(Verdict::No);
    }
    tracing::info!("released: {released}; what was held to a policy no longer is");
    Ok(Verdict::Done)
}

fn say_what_is_not_enforced(policies: &[Policy]) {
    for policy in policies {
        let spec = &policy.spec;
        let network = !spec.network.match_protocols.is_empty();
        let capabilities = !spec.capabilities.match_capabilities.is_empty();
        let syscalls =
            !spec.syscalls.match_syscalls.is_empty() || !spec.syscalls.match_paths.is_empty();
        for (there, what) in [
            (network, "spec.network"),
            (capabilities, "spec.capabilities"),
            (syscalls, "spec.syscalls"),
        ] {
            if there {
                tracing::warn!(
                    "{}: {what} is not enforced: programs and files are",
                    visible(&policy.metadata.name)
                );
            }
        }
    }
}

fn say_denied(enforced: &Enforced, alerts: &[Alert]) {
    for alert in alerts {
        let judgement = enforced.judge(&Operation::from(&alert.behavior));
        let what = visible(&alert.behavior.to_string());
        let word = if alert.denied { "denied" } else { "reported" };
        let times = times(alert.count);
        // The evaluator knows paths alone: what has none is told apart here.
        if judgement.verdict == Ruling::Allowed && alert.denied {
            tracing::warn!("{word}: {what}{times}: the path has no name that a rule could have");
        } else {
            tracing::warn!("{word}: {what}{times}: {}", judgement.why);
        }
    }
}

fn say_would_be_denied(enforced: &Enforced, profile: &RunProfile) {
    for (behavior, sighting) in &profile.seen {
        if !behavior.is_learnable() {
            continue;
        }
        let judgement = enforced.judge(&Operation::from(behavior));
        if judgement.alert {
            tracing::warn!(
                "would be denied under block: {}{}: {}",
                visible(&behavior.to_string()),
                times(sighting.count),
                judgement.why
            );
        }
    }
}

fn times(count: u64) -> String {
    match count {
        1 => String::new(),
        count => format!(" ({count} times)"),
    }
}

//! `learner run` and `learner release`.

use std::ffi::OsString;
use std::process::ExitCode;

use learner::digest::Digest;
use learner::kernel::enforcer::{self, Alert};
use learner::kernel::{Rung, Settings};
use learner::policy::Policy;
use learner::policy::meaning::{
    Enforced, Enforcer, Operation, Posture, Postures, Verdict as Ruling,
};
use learner::profile::{DEFAULT_MAX_BEHAVIORS, RunProfile};
use learner::session::{Order, Plan, Subject, Watched, watch};

use crate::Verdict;
use crate::applied;
use crate::args::{Release, Run};
use crate::failure::Failure;
use crate::observe::passed_through;
use crate::talk::visible;

/// Runs the command under the policies. The exit code is the command's.
pub(crate) fn run(args: &Run) -> Result<ExitCode, Failure> {
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
    let blocks = args.posture == Posture::Block;
    if blocks {
        enforcer::is_active().map_err(|error| Failure::Session(error.into()))?;
    }
    let own = std::env::current_exe().map_err(Failure::Runtime)?;
    let launcher = vec![
        own.into_os_string(),
        OsString::from("__launch"),
        OsString::from("--"),
    ];
    let order = blocks.then(|| enforced.tree()).flatten().map(|tree| Order {
        tree,
        hash: Digest::of(
            &serde_yaml::to_string(&policies)
                .unwrap_or_default()
                .into_bytes(),
        )
        .words(),
        instance: format!("run-{}", std::process::id()),
    });
    let plan = Plan {
        subject: Subject::Command {
            launcher,
            argv: args.command.clone(),
        },
        limit: args.limit,
        settings: Settings {
            rung: args.rung.map(Rung::from),
            ..Settings::default()
        },
        max_behaviors: DEFAULT_MAX_BEHAVIORS,
        order,
    };
    let instance = plan.order.as_ref().map(|order| order.instance.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let Watched {
        profile,
        status,
        alerts,
        unreported,
        still_enforced,
        ..
    } = runtime.block_on(watch(plan))?;
    if blocks {
        say_denied(&enforced, &alerts);
    } else {
        say_would_be_denied(&enforced, &profile);
    }
    for (reason, count) in &unreported {
        tracing::warn!("{count} decisions of the policy could not be reported: {reason}");
    }
    for (reason, count) in &profile.lost {
        tracing::warn!("{count} events were not seen: {reason}");
    }
    if still_enforced && let Some(instance) = instance {
        tracing::warn!(
            "what still runs is held to the policy; to let it be: learner release {instance}"
        );
    }
    Ok(status.map_or_else(|| ExitCode::from(124), passed_through))
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

//! The command line of Learner.
//!
//! Standard output is the answer, standard error the talk, and the exit code the verdict: 0 done,
//! 1 no, 2 error.
#![forbid(unsafe_code)]

mod accept;
mod agent;
mod alerts;
mod answer;
mod applied;
mod apply;
mod args;
mod cluster;
mod completions;
mod court;
mod crd;
mod decode;
mod demote;
mod diff;
mod export;
mod failure;
mod forget;
mod hold;
mod import;
mod journal;
mod kubearmor;
mod launch;
mod observe;
mod policies;
mod probe;
mod promote;
mod quarantine;
mod readiness;
mod recommend;
mod run;
mod runs;
mod selection;
mod simulate;
mod status;
mod talk;
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, Verb};

/// How a verb ended, if nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It did what it was asked.
    Done,
    /// There was nothing to do it with; what is missing has been said.
    No,
}

/// Name of the file by which `kubectl learner` finds it.
const PLUGIN: &str = "kubectl-learner";

/// Whether kubectl has started it, or who typed the plugin's name.
fn is_plugin() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&name).file_name() == Some(PLUGIN.as_ref())
}

fn parse() -> Cli {
    let mut command = Cli::command();
    if is_plugin() {
        command = command.bin_name("kubectl learner");
    }
    let parsed = Cli::from_arg_matches(&command.get_matches_mut());
    parsed.unwrap_or_else(|error| error.format(&mut command).exit())
}

fn main() -> ExitCode {
    let Cli { global, verb } = parse();
    // The agent's configuration says how it talks.
    if !matches!(verb, Verb::Agent(_)) {
        talk::begin(&global);
    }
    let verdict = match verb {
        Verb::Probe(args) => probe::run(&args),
        Verb::Observe(args) => match observe::run(&global, &args) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Verb::Run(args) => match run::run(&global, &args) {
            Ok(code) => return code,
            Err(failure) => Err(failure),
        },
        Verb::Release(args) => run::release(&args),
        Verb::Agent(args) => agent::run(&global, &args),
        Verb::Decode(args) => return decode::run(&args.name),
        Verb::Launch(args) => launch::run(&args.command),
        Verb::Recommend(args) => recommend::run(&global, &args),
        Verb::Readiness(args) => readiness::run(&global, &args),
        Verb::Simulate(args) => simulate::run(&global, &args),
        Verb::Diff(args) => diff::run(&global, &args),
        Verb::Runs(args) => runs::run(&global, &args),
        Verb::Export(args) => export::run(&global, &args),
        Verb::Import(args) => import::run(&global, &args),
        Verb::Forget(args) => forget::run(&global, &args),
        Verb::Status(args) => status::run(&global, &args),
        Verb::Promote(args) => promote::run(&global, &args),
        Verb::Demote(args) => demote::run(&global, &args),
        Verb::Alerts(args) => alerts::run(&global, &args),
        Verb::Accept(args) => accept::run(&global, &args),
        Verb::Journal(args) => journal::run(&global, &args),
        Verb::Hold(args) => hold::run(&args),
        Verb::Apply(args) => apply::run(&args),
        Verb::Crd(_) => crd::run(),
        Verb::Completions(args) => completions::run(&args),
    };
    match verdict {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        // Who reads has read enough.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::from(2)
        }
    }
}

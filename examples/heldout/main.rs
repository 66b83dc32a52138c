//! How a recommended policy does on runs that it was not learned from.
//!
//!     cargo run --release --example heldout -- [OPTIONS] RECORDING...
//!
//! For each workload with enough whole runs, many times: learn from k runs drawn at random, and hold
//! the policy against one of the others. Told are the share of its distinct operations that the
//! policy denies, the share of runs with any denial, the share of operations that are denied since
//! quarantine holds their like for a person's word and the share of runs with any other denial, the
//! share that no rule about names could have known and the share of runs with any other (`denials.rs`),
//! rules and entries, the share of other workloads' paths that the policy lets some program of the
//! workload read, sensitive paths that nobody read and that it lets read or execute, by whether the
//! recommendation names them, and draws in which there was no policy. The last columns hold the bounds
//! of readiness against what the policies deny (`bounds.rs`). The draws are the same each time.
//! `datasets/heldout` makes all tables.

mod bounds;
mod denials;
mod outside;
mod trial;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use comfy_table::{Table, presets};
use learner::generalize::{Dialect, Tightness};
use learner::profile::{Evidence, RunProfile};
use learner::workload::{RunKey, Workload};

use bounds::Bounds;
use denials::Denials;
use outside::{Outside, Paths, paths_by_workload};
use trial::{Asked, Run, Trial};

#[derive(Parser)]
struct Args {
    /// Recordings; only whole runs count
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Recordings of other workloads, whose paths a policy should not allow
    #[arg(long, value_name = "FILE", num_args = 1..)]
    foreign: Vec<PathBuf>,
    /// Runs to learn from
    #[arg(short, long, value_delimiter = ',', default_values_t = [1, 5, 10, 20])]
    k: Vec<usize>,
    /// Draws for each line
    #[arg(long, default_value_t = 40)]
    draws: usize,
    /// Only for this enforcer: bpf, apparmor, both, learner
    #[arg(long)]
    enforcer: Option<Dialect>,
    /// Only this far beyond what was seen: exact, balanced, durable
    #[arg(long)]
    tightness: Option<Tightness>,
    /// Also name so many of what was denied most often, for each line
    #[arg(long, value_name = "N", default_value_t = 0)]
    show: usize,
    /// Also say of each draw what was learned from, which run was left out, and what was denied of it
    #[arg(long)]
    each: bool,
    /// Leave the bounds of readiness out, which take most of the time
    #[arg(long)]
    no_bounds: bool,
}

type Runs = BTreeMap<RunKey, RunProfile>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let runs = read(&args.files)?;
    let mut paths = paths_by_workload(&runs);
    paths.extend(paths_by_workload(&read(&args.foreign)?));
    let mut workloads: BTreeMap<&Workload, Vec<Run<'_>>> = BTreeMap::new();
    for (key, run) in runs.iter().filter(|(_, run)| !run.is_partial()) {
        workloads.entry(&key.workload).or_default().push((key, run));
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(
        ["workload", "k", "enforcer", "tightness"]
            .iter()
            .chain(&denials::COLUMNS)
            .chain(&outside::COLUMNS)
            .chain(&["refused"])
            .chain(bounds::COLUMNS.iter().filter(|_| !args.no_bounds)),
    );
    for (workload, runs) in workloads {
        for k in args.k.iter().copied().filter(|k| *k < runs.len()) {
            for enforcer in [Dialect::Bpf, Dialect::AppArmor] {
                for tightness in [Tightness::Exact, Tightness::Balanced, Tightness::Durable] {
                    if args.enforcer.is_some_and(|wanted| wanted != enforcer)
                        || args.tightness.is_some_and(|wanted| wanted != tightness)
                    {
                        continue;
                    }
                    let trial = Trial {
                        workload,
                        runs: &runs,
                        k,
                        enforcer,
                        tightness,
                    };
                    table.add_row(row(&trial, &args, &paths));
                }
            }
        }
    }
    println!("{table}");
    Ok(())
}

fn read(files: &[PathBuf]) -> Result<Runs, Box<dyn std::error::Error>> {
    let mut evidence = Evidence::default();
    for file in files {
        learner::recording::read(file, &mut |observation| evidence.fold(observation))?;
    }
    Ok(evidence.into_runs())
}

fn row(trial: &Trial<'_>, args: &Args, paths: &Paths) -> Vec<String> {
    let asked = Asked::of(trial);
    let mut denials = Denials::of(trial);
    let mut outside = Outside::of(trial, paths);
    let mut bounds = (!args.no_bounds).then(|| Bounds::of(&asked));
    let mut refused = 0;
    // The same numbers each time: draws can be compared from one version to the next.
    let mut rng = fastrand::Rng::with_seed(trial.k as u64);
    for draw in 1..=args.draws {
        let mut order: Vec<usize> = (0..trial.runs.len()).collect();
        rng.shuffle(&mut order);
        let (drawn, others) = order.split_at(trial.k);
        let Some(made) = trial.learn(drawn) else {
            refused += 1;
            continue;
        };
        let held = trial.enforced(&[&made.policy]);
        let denied = denials.add(&made, &held, trial.runs[others[0]], drawn);
        if args.each {
            trial.tell(draw, drawn, others[0], &denied);
        }
        outside.add(&made, &held);
        if let Some(bounds) = &mut bounds {
            bounds.add(&made, &held, others);
        }
    }
    denials.tell(trial, args.show);
    let mut row = vec![
        trial.workload.to_string(),
        trial.k.to_string(),
        trial.enforcer.to_string(),
        format!("{:?}", trial.tightness).to_lowercase(),
    ];
    row.extend(denials.cells());
    row.extend(outside.cells());
    row.push(refused.to_string());
    if let Some(mut bounds) = bounds {
        bounds.draw_again(trial, args.draws);
        row.extend(bounds.cells());
    }
    row
}

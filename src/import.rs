//! `learner import`, and the reading of recordings for other verbs.

use std::io;
use std::path::{Path, PathBuf};

use learner::candidate::Ledger;
use learner::profile::Evidence;
use learner::recording::{self, Decoder};

use crate::Verdict;
use crate::answer::is_dash;
use crate::args::{Global, Import};
use crate::failure::Failure;
use crate::selection::{Stored, open_books, store_dir};
use crate::talk::progress;
use crate::{decode, export, telemetry};

pub(crate) fn run(global: &Global, args: &Import) -> Result<Verdict, Failure> {
    // All is read before anything is stored, so that a bad line in the last file leaves no trace.
    let ledger = || ledger(global, args);
    let is_kubearmor = args.kubearmor || args.grpc.is_some();
    let (evidence, is_whole) = match &args.grpc {
        Some(address) => telemetry::listen(address, &args.relay, &ledger()?)?,
        None if is_kubearmor => telemetry::read_all(global, &args.files, &ledger()?)?,
        None => (read_all(global, &args.files)?, true),
    };
    if let Some(output) = &args.output {
        export::evidence_to(args.format, output, &evidence)?;
    }
    let runs = evidence.runs().len();
    if runs == 0 {
        tracing::warn!(
            "nothing to import: {} empty",
            match is_kubearmor {
                true => "no message tells what a container did, so the recording is",
                false => "the recordings are",
            }
        );
        return Ok(Verdict::No);
    }
    if args.output.is_none() {
        store(global, &evidence)?;
    }
    Ok(if is_whole { Verdict::Done } else { Verdict::No })
}

/// What is decided of the runs in the store; a recording knows of no posture.
fn ledger(global: &Global, args: &Import) -> Result<Ledger, Failure> {
    match args.output {
        None => Stored::open(global)?.ledger(),
        Some(_) => Ok(Ledger::default()),
    }
}

fn store(global: &Global, evidence: &Evidence) -> Result<(), Failure> {
    let runs = evidence.runs().len();
    let dir = store_dir(global)?;
    let folded = open_books(global, &dir)?.fold_all(evidence)?;
    if folded.over > 0 {
        tracing::warn!(
            "{} events are beyond the store's limit of distinct behaviours and were counted as lost",
            folded.over
        );
    }
    let store = dir.display();
    if folded.records == 0 {
        tracing::info!("{runs} runs read, all of them known to {store} already");
    } else {
        tracing::info!("{runs} runs read and stored in {store}");
    }
    Ok(())
}

/// What the recordings tell, together. A run that stands in two of them counts once.
pub(crate) fn read_all(global: &Global, files: &[PathBuf]) -> Result<Evidence, Failure> {
    let mut all = Evidence::default();
    for file in files {
        for (key, run) in read(global, file)?.into_runs() {
            all.insert(key, run);
        }
    }
    Ok(all)
}

/// Folded while it is read: memory grows with what is distinct in the file, not with the file.
fn read(global: &Global, file: &Path) -> Result<Evidence, Failure> {
    let bar = progress(global, &file.display().to_string());
    let mut count = |lines| bar.inc(lines);
    let evidence = Evidence::default();
    let decoder = Decoder::Apart(&decode::command);
    let read = if is_dash(file) {
        let name = "standard input";
        recording::fold_from(io::stdin().lock(), name, decoder, evidence, &mut count)
    } else {
        recording::fold(file, decoder, evidence, &mut count)
    };
    bar.finish_and_clear();
    Ok(read?)
}

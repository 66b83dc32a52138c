//! `learner alerts --follow`: each alert once, as it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use learner::act::ActId;
use learner::candidate::Ledger;
use learner::mention::Tombstones;
use learner::posture::{Revision, Standing};
use learner::store::Summary;
use learner::workload::Workload;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{HEADER, Shown, cells, of, row};
use crate::Verdict;
use crate::answer::Answer;
use crate::args::{AlertFormat, Alerts, Global};
use crate::court::Court;
use crate::failure::Failure;
use crate::kubearmor;

/// How often is looked. The store is not kept meanwhile: others want it too.
const EVERY: Duration = Duration::from_secs(2);

/// Prints what is open, then what comes, until SIGINT.
pub(super) fn run(global: &Global, args: &Alerts) -> Result<Verdict, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let followed = runtime.block_on(async {
        let interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
        follow(global, args, interrupt).await
    });
    // A look that is under way changes nothing.
    runtime.shutdown_background();
    followed
}

async fn follow(global: &Global, args: &Alerts, mut interrupt: Signal) -> Result<Verdict, Failure> {
    let mut follower = Follower::default();
    let mut printer = Printer::new(args.format);
    let mut waits = false;
    loop {
        let (global, which) = (global.clone(), args.which.clone());
        let look = tokio::task::spawn_blocking(move || {
            let found = Court::open(&global).and_then(|court| follower.look(&court, &which));
            (follower, found)
        });
        let looked = tokio::select! {
            looked = look => looked,
            _ = interrupt.recv() => return Ok(Verdict::Done),
        };
        let looked = looked.map_err(|panicked| Failure::Runtime(io::Error::other(panicked)))?;
        follower = looked.0;
        match looked.1 {
            Ok(new) => {
                printer.print(&new)?;
                waits = false;
            }
            // A command has it open, or an agent comes or goes.
            Err(failure) if failure.is_passing() => {
                if !std::mem::replace(&mut waits, true) {
                    tracing::warn!("{failure}; it is tried again");
                }
            }
            Err(failure) => return Err(failure),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = interrupt.recv() => return Ok(Verdict::Done),
        }
    }
}

/// What a workload's alerts are derived from, without what its runs did.
#[derive(PartialEq)]
struct Grounds {
    runs: Vec<Summary>,
    standings: Vec<(Revision, Standing)>,
}

/// What was printed, and what it was derived from.
#[derive(Default)]
struct Follower {
    grounds: BTreeMap<Workload, Grounds>,
    forgotten: Tombstones,
    /// Alerts that were open when they were last looked at.
    open: BTreeMap<Workload, BTreeSet<(Revision, ActId)>>,
}

impl Follower {
    /// The alerts that are open and were not before. A workload of which nothing has changed is not
    /// loaded again.
    fn look(&mut self, court: &Court, which: &crate::args::Which) -> Result<Vec<Shown>, Failure> {
        if self.forgotten != court.forgotten {
            self.grounds.clear();
            self.forgotten = court.forgotten.clone();
        }
        let mut new = Vec::new();
        for workload in court.workloads(which) {
            let grounds = Grounds::of(court, &workload, &court.ledger);
            if self.grounds.get(&workload) == Some(&grounds) {
                continue;
            }
            let mut all = of(court, &workload)?;
            all.retain(|shown| !shown.alert.dismissed);
            let id = |shown: &Shown| (shown.alert.revision.clone(), shown.alert.id);
            let open = all.iter().map(id).collect();
            let before = self.open.insert(workload.clone(), open).unwrap_or_default();
            new.extend(all.into_iter().filter(|shown| !before.contains(&id(shown))));
            self.grounds.insert(workload, grounds);
        }
        new.sort_by_key(|shown| (shown.alert.last, shown.alert.id));
        Ok(new)
    }
}

impl Grounds {
    fn of(court: &Court, workload: &Workload, ledger: &Ledger) -> Self {
        let standings = ledger.iter().filter(|(of, _)| of.workload == *workload);
        Self {
            runs: court.runs_of(workload).cloned().collect(),
            standings: standings.map(|(of, at)| (of.clone(), at.clone())).collect(),
        }
    }
}

/// Lines, each flushed with those that came with it.
struct Printer {
    format: AlertFormat,
    /// Of the columns of the table; they only grow.
    widths: [usize; HEADER.len()],
    has_header: bool,
}

impl Printer {
    fn new(format: AlertFormat) -> Self {
        Self {
            format,
            widths: HEADER.map(str::len),
            has_header: false,
        }
    }

    fn print(&mut self, new: &[Shown]) -> Result<(), Failure> {
        if new.is_empty() {
            return Ok(());
        }
        let mut answer = Answer::begin();
        match self.format {
            AlertFormat::Table => {
                let rows: Vec<_> = new.iter().map(cells).collect();
                for row in &rows {
                    for (width, cell) in self.widths.iter_mut().zip(row) {
                        *width = (*width).max(cell.chars().count());
                    }
                }
                if !std::mem::replace(&mut self.has_header, true) {
                    answer.print(&self.line(&HEADER.map(str::to_owned)))?;
                }
                for row in &rows {
                    answer.print(&self.line(row))?;
                }
            }
            AlertFormat::Json => {
                for shown in new {
                    answer.print(&format!("{}\n", row(shown)))?;
                }
            }
            AlertFormat::Kubearmor => {
                for shown in new {
                    answer.print(&format!("{}\n", kubearmor::alert(shown)))?;
                }
            }
        }
        answer.end()
    }

    fn line(&self, cells: &[String; HEADER.len()]) -> String {
        let padded: Vec<String> = cells
            .iter()
            .zip(self.widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    }
}

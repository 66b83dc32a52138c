//! From reports of runs to the store: one fold at a time, off the thread that reads the kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::shelf::Shelf;
use super::watching::Report;
use crate::profile::{Evidence, RunProfile};
use crate::recording::{JsonlWriter, observations};
use crate::store::StoreError;
use crate::visible::visible;
use crate::workload::RunKey;

/// Behaviours of runs that wait for a store which takes nothing. Beyond it they go to a file.
const MAX_WAITING: usize = 2_000_000;

/// What came of a fold: runs that were not stored, and why.
type Outcome = Result<(), (Vec<RunKey>, StoreError)>;

/// Reports that wait, and the fold that is under way.
pub(super) struct Keeper {
    shelf: Arc<Shelf>,
    waiting: BTreeMap<RunKey, RunProfile>,
    /// With what it folds, which stays here until it is on disk.
    fold: Option<(JoinHandle<Outcome>, Arc<Evidence>)>,
    pub(super) folds: u64,
    pub(super) failed: u64,
}

impl Keeper {
    pub(super) fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            shelf,
            waiting: BTreeMap::new(),
            fold: None,
            folds: 0,
            failed: 0,
        }
    }

    /// Runs that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes reports. A later one of a run joins into an earlier one that still waits.
    pub(super) fn take(&mut self, reports: Vec<Report>) {
        for (key, profile) in reports {
            match self.waiting.get_mut(&key) {
                Some(known) => known.join(profile),
                None => {
                    self.waiting.insert(key, profile);
                }
            }
        }
        let size: usize = self.waiting.values().map(|run| run.seen.len()).sum();
        if size > MAX_WAITING {
            let waiting = std::mem::take(&mut self.waiting);
            self.save(waiting.into_iter().collect());
        }
    }

    /// Begins a fold of what waits, unless one is under way.
    pub(super) fn fold(&mut self) {
        if self.fold.is_some() || self.waiting.is_empty() {
            return;
        }
        let mut evidence = Evidence::default();
        for (key, profile) in std::mem::take(&mut self.waiting) {
            evidence.insert(key, profile);
        }
        let evidence = Arc::new(evidence);
        let (shelf, folded) = (Arc::clone(&self.shelf), Arc::clone(&evidence));
        let fold = tokio::task::spawn_blocking(move || fold(&shelf, &folded));
        self.fold = Some((fold, evidence));
    }

    /// Waits for the fold that is under way; never, if there is none.
    pub(super) async fn folded(&mut self) {
        let Some((fold, _)) = &mut self.fold else {
            return std::future::pending().await;
        };
        let outcome = fold.await;
        let Some((_, evidence)) = self.fold.take() else {
            return;
        };
        let (left, why) = match outcome {
            Ok(Ok(())) => {
                self.folds += 1;
                return;
            }
            Ok(Err((left, error))) => (left, error.to_string()),
            Err(panicked) => (
                evidence.runs().keys().cloned().collect(),
                panicked.to_string(),
            ),
        };
        self.failed += 1;
        let runs = left.len();
        tracing::error!(
            runs,
            "the store did not take them, and will be asked again: {why}"
        );
        let again = left.into_iter().filter_map(|key| {
            let profile = evidence.runs().get(&key)?.clone();
            Some((key, profile))
        });
        self.take(again.collect());
    }

    /// Folds all that waits. What the store does not take goes to a file beside it.
    pub(super) async fn finish(mut self) {
        if self.fold.is_some() {
            self.folded().await;
        }
        self.fold();
        if self.fold.is_some() {
            self.folded().await;
        }
        let left = std::mem::take(&mut self.waiting);
        if !left.is_empty() {
            self.save(left.into_iter().collect());
        }
    }

    fn save(&self, reports: Vec<Report>) {
        save(&self.shelf, &reports);
    }
}

fn fold(shelf: &Shelf, evidence: &Evidence) -> Outcome {
    match shelf.with(|store| store.fold_all(evidence)) {
        Ok(folded) if folded.over > 0 => {
            let events = folded.over;
            tracing::warn!(events, "beyond the store's limit; they count as lost");
            Ok(())
        }
        Ok(_) => Ok(()),
        // One of them may be too large: the others are not to wait for it.
        Err(StoreError::TooLarge { .. }) => fold_each(shelf, evidence),
        Err(error) => Err((evidence.runs().keys().cloned().collect(), error)),
    }
}

fn fold_each(shelf: &Shelf, evidence: &Evidence) -> Outcome {
    let mut left = Vec::new();
    let mut why = None;
    for (key, profile) in evidence.runs() {
        match shelf.with(|store| store.fold(key, profile)) {
            Ok(_) => {}
            Err(error @ StoreError::TooLarge { .. }) => {
                let name = visible(&key.workload.to_string());
                tracing::error!(workload = %name, "not stored: {error}");
                save(shelf, &[(key.clone(), profile.clone())]);
            }
            Err(error) => {
                left.push(key.clone());
                why = Some(error);
            }
        }
    }
    why.map_or(Ok(()), |error| Err((left, error)))
}

/// Writes a recording beside the store, which `learner import` puts in.
fn save(shelf: &Shelf, reports: &[Report]) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut name = shelf.dir().as_os_str().to_owned();
    let time = jiff::Timestamp::now().as_microsecond();
    name.push(format!(".unkept-{time}-{}.jsonl", std::process::id()));
    let path = PathBuf::from(name);
    let write = || -> Result<(), String> {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| error.to_string())?;
        let mut writer = JsonlWriter::new(std::io::BufWriter::new(file));
        for (key, profile) in reports {
            for observation in observations(key, profile) {
                writer
                    .write(&observation)
                    .map_err(|error| error.to_string())?;
            }
        }
        writer.finish().map_err(|error| error.to_string())?;
        Ok(())
    };
    let runs = reports.len();
    match write() {
        Ok(()) => {
            let path = path.display();
            tracing::warn!(
                runs,
                "what the store did not take is in {path}: learner import {path}"
            );
        }
        Err(error) => {
            let path = path.display();
            tracing::error!(
                runs,
                "evidence is lost: the store did not take it, and {path}: {error}"
            );
        }
    }
}

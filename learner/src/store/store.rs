//! The store itself: opening, folding, loading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::behavior::Behavior;
use crate::candidate::Ledger;
use crate::journal::{Entry, Journal};
use crate::mention::{Mention, Tombstones};
use crate::posture::{Posture, Revision};
use crate::profile::{DEFAULT_MAX_BEHAVIORS, Evidence, RunProfile};
use crate::promotion::Move;
use crate::workload::{RunKey, Workload};

use super::decision::{self, Decision};
use super::engine::{Batch, Engine};
use super::error::StoreError;
use super::format::{self, FORMAT};
use super::head::Head;
use super::key;
use super::place::{self, Lock};
use super::plan::Plan;
use super::record::{self, Sum};
use super::run::{Decided, Root, Run, Summary};
use super::seen::{self, Kept};
use super::standing::{self, Placed};
use super::tombstone::{self, Burial, Grave, Stone};

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// At most so many (behaviour, run) pairs are kept for a workload revision.
    pub max_behaviors: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_behaviors: DEFAULT_MAX_BEHAVIORS,
        }
    }
}

/// What a fold did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// Number of the last fold that changed something: this one, unless `records` is 0.
    pub fold: u64,
    /// Records written; 0 if everything was known.
    pub records: usize,
    /// Events in the reports that did not fit and stand in the loss account.
    pub over: u64,
}

/// The runs on disk, open in this process alone. See the [module](super) for what it guarantees.
pub struct Store {
    state: Mutex<State>,
    dir: PathBuf,
    options: Options,
    /// Declared last: released after sled is closed.
    _lock: Lock,
}

struct State {
    engine: Engine,
    root: Root,
    runs: BTreeMap<RunKey, Run>,
    tombstones: BTreeMap<Grave, Stone>,
    standings: BTreeMap<Revision, Placed>,
    /// A write failed half-way: what sled holds in memory may be neither the old nor the new.
    stopped: bool,
}

impl Store {
    /// Opens the store in `dir`, making it if there is none, with the default limit.
    ///
    /// # Errors
    /// Every [`StoreError`] but `TooLarge` and `Stopped`.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, Options::default())
    }

    /// As [`Store::open`]. The limit is not stored: it holds for what this handle folds.
    ///
    /// # Errors
    /// Every [`StoreError`] but `TooLarge` and `Stopped`.
    pub fn open_with(dir: &Path, options: Options) -> Result<Self, StoreError> {
        place::prepare(dir)?;
        let lock = place::lock(dir)?;
        if !format::check(dir)? {
            if !Head::exists(dir) {
                Head::default().write(dir)?;
            }
            format::write(dir, format::RUNS)?;
        }
        let head = Head::read(dir)?;
        let engine = Engine::open(dir)?;
        place::close_files(dir)?;
        let state = recover(dir, engine, head)?;
        Ok(Self {
            state: Mutex::new(state),
            dir: dir.to_owned(),
            options,
            _lock: lock,
        })
    }

    /// Joins a report of a run with what is stored of it. When it returns, that is on disk.
    ///
    /// # Errors
    /// On [`StoreError::TooLarge`] and on damage found before writing nothing has changed. On any
    /// other the fold is not confirmed, and the store has to be opened again: it then holds the
    /// fold whole or not at all.
    pub fn fold(&self, key: &RunKey, run: &RunProfile) -> Result<Folded, StoreError> {
        self.fold_runs(std::iter::once((key, run)))
    }

    /// As [`Store::fold`], for all runs together: all of it is there afterwards, or nothing.
    ///
    /// # Errors
    /// As [`Store::fold`].
    pub fn fold_all(&self, evidence: &Evidence) -> Result<Folded, StoreError> {
        self.fold_runs(evidence.runs().iter())
    }

    /// The runs that are wanted, whole.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a behaviour of a wanted run is not as it was written.
    pub fn load(&self, wanted: impl Fn(&RunKey) -> bool) -> Result<Evidence, StoreError> {
        let state = self.state()?;
        let mut evidence = Evidence::with_limit(self.options.max_behaviors);
        for (key, run) in &state.runs {
            if wanted(key) {
                let mut profile = run.summary.bare();
                profile.seen = kept(&self.dir, &state.engine, run)?
                    .into_iter()
                    .map(|(behavior, kept)| (behavior, kept.sighting))
                    .collect();
                evidence.insert(key.clone(), profile);
            }
        }
        Ok(evidence)
    }

    /// Every run without its behaviours, in the order of the keys. Nothing is read from disk.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] after a failed fold.
    pub fn summaries(&self) -> Result<Vec<Summary>, StoreError> {
        let state = self.state()?;
        Ok(state.runs.values().map(|run| run.summary.clone()).collect())
    }

    /// What must not be learned again.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] after a failed fold.
    pub fn tombstones(&self) -> Result<Tombstones, StoreError> {
        let state = self.state()?;
        let standing = state.tombstones.iter().filter(|(_, stone)| stone.stands);
        Ok(standing.map(|(grave, _)| grave.clone()).collect())
    }

    /// Sets tombstones: what they name must not be learned again, by any revision of the workload.
    /// What was recorded stays as it is. When it returns, they are on disk; gives the number of
    /// those that were not there before.
    ///
    /// # Errors
    /// As [`Store::fold`].
    pub fn forget(
        &self,
        what: impl IntoIterator<Item = (Workload, Mention)>,
    ) -> Result<usize, StoreError> {
        self.bury(what, true)
    }

    /// Takes tombstones away: the inverse of [`Store::forget`]. Gives the number of those that stood.
    ///
    /// # Errors
    /// As [`Store::fold`].
    pub fn unforget(
        &self,
        what: impl IntoIterator<Item = (Workload, Mention)>,
    ) -> Result<usize, StoreError> {
        self.bury(what, false)
    }

    /// Where all revisions stand, with the candidates that are in force.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a candidate is not as it was written.
    pub fn ledger(&self) -> Result<Ledger, StoreError> {
        let state = self.state()?;
        let candidates = decision::candidates(&self.dir, &state.engine, state.root.decided)?;
        let mut ledger = Ledger::default();
        for (revision, placed) in &state.standings {
            ledger
                .insert(revision.clone(), placed.standing.clone(), &candidates)
                .map_err(|e| StoreError::damaged(&self.dir, e.to_string()))?;
        }
        Ok(ledger)
    }

    /// The journal, as it is kept, be it damaged or not: [`Journal::faults`] says.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] after a failed fold, and what sled says of its files.
    pub fn journal(&self) -> Result<Journal, StoreError> {
        let state = self.state()?;
        decision::journal(&state.engine, state.root.decided)
    }

    /// Writes down a decision: where the revision stands from then on, a new candidate and the entry in
    /// the journal, which is given back. When it returns, all three are on disk; killed before, all
    /// three or none.
    ///
    /// # Errors
    /// As [`Store::fold`].
    pub fn decide(&self, decided: Move) -> Result<Entry, StoreError> {
        let mut state = self.state()?;
        self.enter(&mut state, decided)
    }

    /// As [`Store::decide`], but only if the revision is still in the posture that the decision is from:
    /// two who decide at once do not both write it down.
    ///
    /// # Errors
    /// As [`Store::fold`], and [`StoreError::Overtaken`].
    pub fn decide_in_turn(&self, decided: Move) -> Result<Entry, StoreError> {
        let mut state = self.state()?;
        let before = state.standings.get(&decided.draft.revision);
        if Posture::at(before.map(|placed| &placed.standing)) != decided.draft.from {
            return Err(StoreError::Overtaken {
                path: self.dir.clone(),
            });
        }
        self.enter(&mut state, decided)
    }

    fn enter(&self, state: &mut State, decided: Move) -> Result<Entry, StoreError> {
        let known = match &decided.candidate {
            Some(_) => decision::candidates(&self.dir, &state.engine, state.root.decided)?,
            None => BTreeMap::new(),
        };
        let before = state.standings.get(&decided.draft.revision);
        let Decision {
            batch,
            root,
            sum,
            placed,
            entry,
        } = Decision::of(decided, before, &known, state.root, &self.dir)?;
        // First, so that at no moment an older Learner can open a store with a decision.
        if state.root.format < root.format {
            format::write(&self.dir, root.format)?;
        }
        self.confirm(state, batch, root, sum)?;
        let revision = entry.draft.revision.clone();
        state.standings.insert(revision, placed);
        Ok(entry)
    }

    /// Bytes allocated on disk, all files together.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory cannot be listed.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        place::size(&self.dir)
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    fn fold_runs<'a>(
        &self,
        reports: impl Iterator<Item = (&'a RunKey, &'a RunProfile)>,
    ) -> Result<Folded, StoreError> {
        let mut state = self.state()?;
        let max = self.options.max_behaviors;
        let mut plan = Plan::new(&self.dir, state.root, &state.runs, max);
        for (key, report) in reports {
            let known = match state.runs.get(key) {
                Some(run) => kept(&self.dir, &state.engine, run)?,
                None => BTreeMap::new(),
            };
            plan.join(key, report, known)?;
        }
        let over = plan.over;
        let Some(sum) = plan.finish()? else {
            return Ok(Folded {
                fold: state.root.fold,
                records: 0,
                over,
            });
        };
        let Plan {
            batch, root, runs, ..
        } = plan;
        let folded = Folded {
            fold: root.fold,
            records: batch.records(),
            over,
        };
        self.confirm(&mut state, batch, root, sum)?;
        state.runs.extend(runs);
        Ok(folded)
    }

    fn bury(
        &self,
        what: impl IntoIterator<Item = Grave>,
        stands: bool,
    ) -> Result<usize, StoreError> {
        let mut state = self.state()?;
        let mut burial = Burial::new(&self.dir, state.root, &state.tombstones);
        for grave in what {
            burial.set(&grave, stands)?;
        }
        let Some(sum) = burial.finish() else {
            return Ok(0);
        };
        let Burial {
            batch,
            root,
            stones,
            ..
        } = burial;
        // First, so that at no moment an older Learner can open a store with a tombstone.
        if state.root.format < root.format {
            format::write(&self.dir, root.format)?;
        }
        self.confirm(&mut state, batch, root, sum)?;
        let changed = stones.len();
        state.tombstones.extend(stones);
        Ok(changed)
    }

    /// Writes a batch, and then that it is written. `sum` is the checksum of the root in it.
    fn confirm(
        &self,
        state: &mut State,
        batch: Batch,
        root: Root,
        sum: Sum,
    ) -> Result<(), StoreError> {
        let head = Head {
            fold: root.fold,
            root: sum,
        };
        state.stopped = true;
        state.engine.commit(batch)?;
        head.write(&self.dir)?;
        place::close_files(&self.dir)?;
        state.root = root;
        state.stopped = false;
        Ok(())
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        // A panic of ours half-way through a fold leaves `stopped` set.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return Err(StoreError::Stopped {
                path: self.dir.clone(),
            });
        }
        Ok(state)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).finish()
    }
}

/// Reads root and runs, and holds them against one another and against `HEAD`.
fn recover(dir: &Path, engine: Engine, head: Head) -> Result<State, StoreError> {
    let damaged = |what: String| StoreError::damaged(dir, what);
    let (root, sum) = match engine.get(&key::ROOT)? {
        Some(value) => record::decode(&key::ROOT, &value, Root::read).map_err(damaged)?,
        None if head.fold == 0 && !engine.is_empty()? => {
            return Err(damaged("it has records and no root".to_owned()));
        }
        None => {
            let nothing = Root {
                format: format::RUNS,
                fold: 0,
                runs: 0,
                sum: Sum::default(),
                tombstones: 0,
                tombstone_sum: Sum::default(),
                decided: Decided::default(),
            };
            (nothing, Sum::default())
        }
    };
    if root.fold < head.fold {
        return Err(StoreError::LostFolds {
            path: dir.to_owned(),
            found: root.fold,
            confirmed: head.fold,
        });
    }
    if root.format > FORMAT {
        return Err(StoreError::Future {
            path: dir.to_owned(),
            found: root.format,
            known: FORMAT,
        });
    }
    if root.fold == head.fold && sum != head.root {
        return Err(damaged("its root is not the one in HEAD".to_owned()));
    }
    let mut runs = BTreeMap::new();
    let mut total = Sum::default();
    engine.scan(&key::RUNS, |at, value| {
        let number = key::number(at).ok_or("a run's key has a wrong length")?;
        let (mut run, sum) = record::decode(at, value, |r| Run::read(number, r))?;
        run.sum = sum;
        total.add(sum);
        runs.insert(run.summary.key.clone(), run);
        Ok(())
    })?;
    if total != root.sum || runs.len() != root.runs as usize {
        return Err(damaged(format!(
            "its runs are not as they were written ({} of {} are there)",
            runs.len(),
            root.runs
        )));
    }
    let tombstones = stones(dir, &engine, root)?;
    let standings = standing::read_all(dir, &engine, root.decided)?;
    if root.fold > head.fold {
        let now = Head {
            fold: root.fold,
            root: sum,
        };
        now.write(dir)?;
    }
    Ok(State {
        engine,
        root,
        runs,
        tombstones,
        standings,
        stopped: false,
    })
}

/// The tombstones, all of them, as written.
fn stones(dir: &Path, engine: &Engine, root: Root) -> Result<BTreeMap<Grave, Stone>, StoreError> {
    let mut stones = BTreeMap::new();
    let mut total = Sum::default();
    engine.scan(&key::TOMBSTONES, |at, value| {
        let number = key::number(at).ok_or("a tombstone's key has a wrong length")?;
        let ((grave, mut stone), sum) = record::decode(at, value, |r| tombstone::read(number, r))?;
        stone.sum = sum;
        total.add(sum);
        stones.insert(grave, stone);
        Ok(())
    })?;
    if total != root.tombstone_sum || stones.len() != root.tombstones as usize {
        return Err(StoreError::damaged(
            dir,
            format!(
                "its tombstones are not as they were written ({} of {} are there)",
                stones.len(),
                root.tombstones
            ),
        ));
    }
    Ok(stones)
}

/// The behaviours of a run, all of them, as written.
fn kept(dir: &Path, engine: &Engine, run: &Run) -> Result<BTreeMap<Behavior, Kept>, StoreError> {
    let mut kept = BTreeMap::new();
    let mut total = Sum::default();
    engine.scan(&key::seen_in(run.number), |at, value| {
        let number = key::number(at).ok_or("a behaviour's key has a wrong length")?;
        let ((behavior, sighting), sum) = record::decode(at, value, seen::read)?;
        total.add(sum);
        let known = Kept {
            number,
            sighting,
            sum,
        };
        kept.insert(behavior, known);
        Ok(())
    })?;
    if total != run.seen || kept.len() != run.summary.behaviors as usize {
        let key = &run.summary.key;
        return Err(StoreError::damaged(
            dir,
            format!(
                "the behaviours of run '{}' of {} are not as they were written ({} of {} are there)",
                key.run.escape_default(),
                key.workload,
                kept.len(),
                run.summary.behaviors
            ),
        ));
    }
    Ok(kept)
}

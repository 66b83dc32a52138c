//! The store as the agent has it: open while the agent runs, and opened again after an error that
//! stopped it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};

use crate::candidate::Ledger;
use crate::journal::Entry;
use crate::mention::Mention;
use crate::posture::Revision;
use crate::profile::{Evidence, RunProfile};
use crate::promotion::Move;
use crate::store::{Folded, Options, Store, StoreError};
use crate::workload::{RunKey, Workload};

/// How long a command that has the store open may take to be done with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the store is open.
#[derive(Debug)]
enum Place {
    Open(Box<Store>),
    /// It stopped, and could not be opened again yet.
    Stopped,
    /// For good.
    Closed,
}

/// What was put into the store, and is not judged yet.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Runs that did something.
    pub runs: BTreeSet<RunKey>,
    /// Workloads of which something was decided, or forgotten.
    pub workloads: BTreeSet<Workload>,
}

/// Decisions that were written down: by whom, and what for.
pub(super) type Decisions = BTreeMap<(&'static str, &'static str), u64>;

/// The store of an agent, for all of its threads. Whoever changes it does so by a method of its own,
/// so that the change is judged.
#[derive(Debug)]
pub struct Shelf {
    dir: PathBuf,
    options: Options,
    place: RwLock<Place>,
    news: Mutex<News>,
    bell: Notify,
    /// Where all revisions stand.
    ledger: watch::Sender<Arc<Ledger>>,
    /// Who is told of each revision of which runs are stored.
    follower: OnceLock<UnboundedSender<Revision>>,
    /// Held by who decides.
    deciding: Mutex<()>,
    decisions: Mutex<Decisions>,
}

impl Shelf {
    /// Opens the store in `dir`; waits some seconds for a command that has it open.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let begun = Instant::now();
        let store = loop {
            match Store::open_with(dir, options) {
                Err(StoreError::Locked { .. }) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                opened => break opened?,
            }
        };
        Ok(Self {
            dir: dir.to_owned(),
            options,
            ledger: watch::Sender::new(Arc::new(store.ledger()?)),
            place: RwLock::new(Place::Open(Box::new(store))),
            news: Mutex::default(),
            bell: Notify::new(),
            follower: OnceLock::new(),
            deciding: Mutex::default(),
            decisions: Mutex::default(),
        })
    }

    /// The store's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Works with the store. After an error that stopped it, it is opened again first.
    ///
    /// # Errors
    /// Those of the work, those of opening it, and [`StoreError::Stopped`] once it is closed.
    pub fn with<T>(&self, work: impl Fn(&Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.place.read().unwrap_or_else(PoisonError::into_inner) {
            Place::Open(store) => match work(store) {
                Err(StoreError::Stopped { .. }) => {}
                done => return done,
            },
            Place::Stopped => {}
            Place::Closed => return Err(self.closed()),
        }
        let mut place = self.place.write().unwrap_or_else(PoisonError::into_inner);
        let is_stopped = match &*place {
            // Another may have opened it meanwhile.
            Place::Open(store) => matches!(store.tombstones(), Err(StoreError::Stopped { .. })),
            Place::Stopped => true,
            Place::Closed => return Err(self.closed()),
        };
        if is_stopped {
            // Its lock is given back before it is opened again.
            *place = Place::Stopped;
            *place = Place::Open(Box::new(Store::open_with(&self.dir, self.options)?));
        }
        match &*place {
            Place::Open(store) => work(store),
            Place::Stopped | Place::Closed => Err(self.closed()),
        }
    }

    /// As [`Store::fold_all`].
    ///
    /// # Errors
    /// As [`Shelf::with`].
    pub fn fold_all(&self, evidence: &Evidence) -> Result<Folded, StoreError> {
        let folded = self.with(|store| store.fold_all(evidence))?;
        let revisions: BTreeSet<Revision> = evidence.runs().keys().map(Revision::of).collect();
        self.tell(revisions);
        self.ring(|news| news.runs.extend(evidence.runs().keys().cloned()));
        Ok(folded)
    }

    /// As [`Store::fold`].
    ///
    /// # Errors
    /// As [`Shelf::with`].
    pub fn fold(&self, key: &RunKey, run: &RunProfile) -> Result<Folded, StoreError> {
        let folded = self.with(|store| store.fold(key, run))?;
        self.tell([Revision::of(key)]);
        self.ring(|news| _ = news.runs.insert(key.clone()));
        Ok(folded)
    }

    /// As [`Store::forget`], or with `undo` as [`Store::unforget`].
    ///
    /// # Errors
    /// As [`Shelf::with`].
    pub fn bury(&self, what: &[(Workload, Mention)], undo: bool) -> Result<usize, StoreError> {
        let changed = self.with(|store| match undo {
            true => store.unforget(what.iter().cloned()),
            false => store.forget(what.iter().cloned()),
        })?;
        let workloads = what.iter().map(|(workload, _)| workload.clone());
        self.ring(|news| news.workloads.extend(workloads));
        Ok(changed)
    }

    /// As [`Store::decide_in_turn`]; then the ledger is that with the decision.
    ///
    /// # Errors
    /// As [`Shelf::with`].
    pub fn decide(&self, decided: &Move) -> Result<Entry, StoreError> {
        // One after the other, so that the ledger takes them in the order of the store.
        let turn = locked(&self.deciding);
        let entry = self.with(|store| store.decide_in_turn(decided.clone()))?;
        self.ledger.send_modify(|ledger| {
            let revision = decided.draft.revision.clone();
            let (standing, new) = (decided.standing.clone(), decided.candidate.clone());
            if let Err(missing) = Arc::make_mut(ledger).follow(revision, standing, new) {
                tracing::error!("what was decided is judged after a restart alone: {missing}");
            }
        });
        drop(turn);
        let draft = &decided.draft;
        *locked(&self.decisions)
            .entry((draft.actor.word(), draft.cause.word()))
            .or_default() += 1;
        self.ring(|news| _ = news.workloads.insert(draft.revision.workload.clone()));
        Ok(entry)
    }

    /// Where all revisions stand, as of the last decision.
    pub fn ledger(&self) -> Arc<Ledger> {
        self.ledger.borrow().clone()
    }

    /// The ledger from now on: it changes with every decision, whoever makes it.
    pub fn ledgers(&self) -> watch::Receiver<Arc<Ledger>> {
        self.ledger.subscribe()
    }

    /// Decisions since the agent began.
    pub(super) fn decisions(&self) -> Decisions {
        locked(&self.decisions).clone()
    }

    /// Takes what is new.
    pub(super) fn news(&self) -> News {
        std::mem::take(&mut *locked(&self.news))
    }

    /// Waits until there is something new.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The revisions of which runs are stored from now on. There is one who follows.
    #[cfg(feature = "cluster")]
    pub(super) fn follow(&self) -> tokio::sync::mpsc::UnboundedReceiver<Revision> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let _ = self.follower.set(sender);
        receiver
    }

    fn tell(&self, revisions: impl IntoIterator<Item = Revision>) {
        for revision in revisions {
            // Who has ended is told nothing any more.
            let _ = self.follower.get().map(|follower| follower.send(revision));
        }
    }

    fn ring(&self, note: impl FnOnce(&mut News)) {
        note(&mut locked(&self.news));
        self.bell.notify_one();
    }

    /// Closes the store, when those who work with it are done.
    pub fn close(&self) {
        *self.place.write().unwrap_or_else(PoisonError::into_inner) = Place::Closed;
    }

    fn closed(&self) -> StoreError {
        StoreError::Stopped {
            path: self.dir.clone(),
        }
    }
}

/// What is in it is whole after a panic too: nothing is left half-way.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

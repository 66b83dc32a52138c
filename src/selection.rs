//! Which runs are meant, and the store they are in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use learner::agent::config::DEFAULT_SOCKET;
use learner::books::{Books, BooksError};
use learner::candidate::Ledger;
use learner::journal::{Entry, Journal};
use learner::mention::{Mention, Tombstones};
use learner::profile::Evidence;
use learner::promotion::Move;
use learner::store::{Summary, default_dir};
use learner::workload::{Labels, RunKey, Workload};

use crate::args::{Global, Which};
use crate::failure::Failure;
use crate::import;

/// How long another process may keep the store before that is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// `KEY=VALUE`, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Before the first `=`; not empty.
    pub(crate) key: String,
    /// After it.
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("a label is KEY=VALUE, as in app=nginx".to_owned()),
        }
    }
}

impl Which {
    /// Whether a run is meant.
    pub(crate) fn takes(&self, key: &RunKey, labels: &Labels) -> bool {
        self.takes_namespace_of(&key.workload)
            && self
                .labels
                .iter()
                .all(|label| labels.get(&label.key) == Some(&label.value))
    }

    /// Whether a workload is meant, apart from its labels.
    pub(crate) fn takes_namespace_of(&self, workload: &Workload) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == workload.namespace)
    }

    /// Whether nothing was asked for in particular.
    fn is_all(&self) -> bool {
        self.namespace.is_none() && self.labels.is_empty()
    }

    /// What to say when no run is meant: where was looked, and what would put something there.
    pub(crate) fn nothing_in(&self, place: &str) -> String {
        if self.is_all() {
            format!("nothing has been recorded in {place}")
        } else {
            format!("nothing that was recorded in {place} has this namespace and these labels")
        }
    }

    /// Only the runs that are meant.
    pub(crate) fn of(&self, evidence: Evidence) -> Evidence {
        let mut selected = Evidence::default();
        for (key, run) in evidence.into_runs() {
            if self.takes(&key, &run.labels) {
                selected.insert(key, run);
            }
        }
        selected
    }
}

/// What was recorded of the runs that are meant.
pub(crate) struct Recorded {
    pub(crate) evidence: Evidence,
    /// What of it must not be learned; nothing where recordings were named.
    pub(crate) forgotten: Tombstones,
    /// What is decided of it; nothing where recordings were named.
    pub(crate) ledger: Ledger,
    /// Where it is, for what is said about it.
    pub(crate) place: String,
}

/// From recordings if any are named, else from the store.
pub(crate) fn recorded(
    global: &Global,
    which: &Which,
    from: &[PathBuf],
) -> Result<Recorded, Failure> {
    if !from.is_empty() {
        return Ok(Recorded {
            evidence: which.of(import::read_all(global, from)?),
            forgotten: Tombstones::default(),
            ledger: Ledger::default(),
            place: "these recordings".to_owned(),
        });
    }
    let stored = Stored::open(global)?;
    let summaries = stored.summaries(which)?;
    let wanted = summaries.iter().map(|summary| &summary.key).collect();
    Ok(Recorded {
        evidence: stored.load(&wanted)?,
        forgotten: stored.tombstones()?,
        ledger: stored.ledger()?,
        place: stored.dir.display().to_string(),
    })
}

/// Where the store is: as told, or by default.
pub(crate) fn store_dir(global: &Global) -> Result<PathBuf, Failure> {
    let told = global.store.clone();
    told.filter(|dir| !dir.as_os_str().is_empty())
        .or_else(|| {
            default_dir(
                rustix::process::geteuid().is_root(),
                std::env::var_os("XDG_DATA_HOME"),
                std::env::var_os("HOME"),
            )
        })
        .ok_or(Failure::NoStore)
}

/// Opens the store in `dir`, by the agent if that has it open.
pub(crate) fn open_books(global: &Global, dir: &Path) -> Result<Books, BooksError> {
    let told = global.socket.as_deref();
    let socket = told.filter(|socket| !socket.as_os_str().is_empty());
    Books::open(dir, socket.unwrap_or(Path::new(DEFAULT_SOCKET)))
}

/// As [`open_books`]; waits a while for another process to close it.
pub(crate) fn open_books_patiently(global: &Global, dir: &Path) -> Result<Books, BooksError> {
    let begun = Instant::now();
    loop {
        match open_books(global, dir) {
            Err(error) if error.is_locked() && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(50));
            }
            opened => return opened,
        }
    }
}

/// The store, for reading: one that is not there yet is not made.
pub(crate) struct Stored {
    store: Option<Books>,
    /// For what is said about it.
    pub(crate) dir: PathBuf,
}

impl Stored {
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        Self::open_by(global, open_books)
    }

    /// As [`Stored::open`]; waits a while for another process to close it.
    pub(crate) fn open_patiently(global: &Global) -> Result<Self, Failure> {
        Self::open_by(global, open_books_patiently)
    }

    fn open_by(
        global: &Global,
        open: impl FnOnce(&Global, &Path) -> Result<Books, BooksError>,
    ) -> Result<Self, Failure> {
        let dir = store_dir(global)?;
        let store = if is_absent(&dir) {
            None
        } else {
            Some(open(global, &dir)?)
        };
        Ok(Self { store, dir })
    }

    /// Where the revisions stand.
    pub(crate) fn ledger(&self) -> Result<Ledger, Failure> {
        match &self.store {
            Some(store) => Ok(store.ledger()?),
            None => Ok(Ledger::default()),
        }
    }

    /// What was decided.
    pub(crate) fn journal(&self) -> Result<Journal, Failure> {
        match &self.store {
            Some(store) => Ok(store.journal()?),
            None => Ok(Journal::default()),
        }
    }

    /// Writes down a decision.
    pub(crate) fn decide(&self, decided: Move) -> Result<Entry, Failure> {
        match &self.store {
            Some(store) => Ok(store.decide(decided)?),
            // Only what is recorded can be decided of.
            None => Err(Failure::NoStore),
        }
    }

    /// The runs that are meant, without what they did.
    pub(crate) fn summaries(&self, which: &Which) -> Result<Vec<Summary>, Failure> {
        let Some(store) = &self.store else {
            return Ok(Vec::new());
        };
        let mut all = store.summaries()?;
        all.retain(|summary| which.takes(&summary.key, &summary.labels));
        Ok(all)
    }

    /// What must not be learned again.
    pub(crate) fn tombstones(&self) -> Result<Tombstones, Failure> {
        match &self.store {
            Some(store) => Ok(store.tombstones()?),
            None => Ok(Tombstones::default()),
        }
    }

    /// Sets tombstones, or with `undo` takes them away.
    pub(crate) fn bury(
        &self,
        what: BTreeSet<(Workload, Mention)>,
        undo: bool,
    ) -> Result<(), Failure> {
        if let Some(store) = &self.store {
            if undo {
                store.unforget(what)?;
            } else {
                store.forget(what)?;
            }
        }
        Ok(())
    }

    /// What the runs did.
    pub(crate) fn load(&self, wanted: &BTreeSet<&RunKey>) -> Result<Evidence, Failure> {
        match &self.store {
            Some(store) => Ok(store.load(wanted)?),
            None => Ok(Evidence::default()),
        }
    }
}

fn is_absent(dir: &Path) -> bool {
    matches!(dir.symlink_metadata(), Err(e) if e.kind() == std::io::ErrorKind::NotFound)
}

//! The store, wherever it is open: in this process, or in the agent's.
//!
//! This is the seam by which the command line uses the store, so that a command does the same with
//! an agent and without. Which of the two it is, is found out when it is opened.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::agent::socket::{Client, ClientError};
use crate::candidate::Ledger;
use crate::journal::{Entry, Journal};
use crate::mention::{Mention, Tombstones};
use crate::profile::Evidence;
use crate::promotion::Move;
use crate::store::{Folded, Store, StoreError, Summary};
use crate::workload::{RunKey, Workload};

/// The store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// In this process.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// By the agent.
    #[error(transparent)]
    Agent(#[from] ClientError),
}

impl BooksError {
    /// Whether another process than an agent has the store open: a command that will be done soon.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Store(StoreError::Locked { .. }))
    }
}

/// The runs on disk, by this process or by the agent. See [`Store`] for what each does.
#[derive(Debug)]
pub struct Books {
    place: Place,
    dir: PathBuf,
}

#[derive(Debug)]
enum Place {
    Here(Box<Store>),
    Agent(Client),
}

impl Books {
    /// Opens the store in `dir`, or where an agent has it open, asks that agent: the one that
    /// listens on `socket` and says that `dir` is its store.
    ///
    /// # Errors
    /// As [`Store::open`], and those of the agent once it has said that it has the store.
    pub fn open(dir: &Path, socket: &Path) -> Result<Self, BooksError> {
        let place = match Store::open(dir) {
            Ok(store) => Place::Here(Box::new(store)),
            Err(locked @ StoreError::Locked { .. }) => match Client::connect(socket) {
                Ok(client) if is_same(client.store(), dir) => Place::Agent(client),
                // An agent of another version may well be the one: what it says is of more use.
                Err(error @ ClientError::Version { .. } | error @ ClientError::Refused(_)) => {
                    return Err(error.into());
                }
                Ok(_) | Err(_) => return Err(locked.into()),
            },
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            place,
            dir: dir.to_owned(),
        })
    }

    /// The store's directory, as it was named.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// As [`Store::summaries`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn summaries(&self) -> Result<Vec<Summary>, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.summaries()?,
            Place::Agent(client) => client.summaries()?,
        })
    }

    /// As [`Store::load`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn load(&self, wanted: &BTreeSet<&RunKey>) -> Result<Evidence, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.load(|key| wanted.contains(key))?,
            Place::Agent(client) => client.load(wanted)?,
        })
    }

    /// As [`Store::fold_all`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn fold_all(&self, evidence: &Evidence) -> Result<Folded, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.fold_all(evidence)?,
            Place::Agent(client) => client.fold_all(evidence)?,
        })
    }

    /// As [`Store::tombstones`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn tombstones(&self) -> Result<Tombstones, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.tombstones()?,
            Place::Agent(client) => client.tombstones()?,
        })
    }

    /// As [`Store::forget`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn forget(
        &self,
        what: impl IntoIterator<Item = (Workload, Mention)>,
    ) -> Result<usize, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.forget(what)?,
            Place::Agent(client) => client.bury(what, false)?,
        })
    }

    /// As [`Store::unforget`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn unforget(
        &self,
        what: impl IntoIterator<Item = (Workload, Mention)>,
    ) -> Result<usize, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.unforget(what)?,
            Place::Agent(client) => client.bury(what, true)?,
        })
    }

    /// As [`Store::ledger`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn ledger(&self) -> Result<Ledger, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.ledger()?,
            Place::Agent(client) => client.ledger()?,
        })
    }

    /// As [`Store::journal`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn journal(&self) -> Result<Journal, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.journal()?,
            Place::Agent(client) => client.journal()?,
        })
    }

    /// As [`Store::decide_in_turn`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn decide(&self, decided: Move) -> Result<Entry, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.decide_in_turn(decided)?,
            Place::Agent(client) => client.decide(&decided)?,
        })
    }

    /// As [`Store::size_on_disk`].
    ///
    /// # Errors
    /// [`BooksError`].
    pub fn size_on_disk(&self) -> Result<u64, BooksError> {
        Ok(match &self.place {
            Place::Here(store) => store.size_on_disk()?,
            Place::Agent(client) => client.size_on_disk()?,
        })
    }
}

/// Whether two names lead to one directory.
fn is_same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

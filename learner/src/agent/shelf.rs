//! The store as the agent has it: open while the agent runs, and opened again after an error that
//! stopped it.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::store::{Options, Store, StoreError};

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

/// The store of an agent, for all of its threads.
#[derive(Debug)]
pub struct Shelf {
    dir: PathBuf,
    options: Options,
    place: RwLock<Place>,
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
            place: RwLock::new(Place::Open(Box::new(store))),
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

//! sled, behind the few calls that the store makes.
//!
//! Why a batch is whole or not at all after a crash (sled 0.34.7, by file of its source):
//! `Tree::apply_batch` (`tree.rs`) first reserves room for a batch manifest in the current log
//! buffer. Until the reservation is completed the buffer has a writer and is not written
//! (`exit_reservation`, `pagecache/logger.rs`), so on disk the log has a gap there, and recovery
//! does not read past a gap (`check_contiguity_in_unstable_tail`). `seal_batch` completes it with
//! the log position of the batch's last change. Recovery that meets a manifest whose position lies
//! beyond the end of the readable log stops before the whole batch (`LogRead::BatchManifest` in
//! `pagecache/iterator.rs`). There is one tree, because a batch spans one.
//!
//! What follows from sled's ways, and is kept to here:
//!
//! - `flush` waits for `sync_file_range`, which syncs no metadata and no disk cache, so
//!   [`Engine::commit`] adds an fsync.
//! - A page above a quarter of a segment is written to a file of its own, and if that fails the log
//!   buffer keeps a writer for ever: the next flush hangs. Leaves split by number (above 16), not by
//!   size, so records are limited to [`record::MAX_LEN`] and segments are [`SEGMENT`] bytes.
//! - Within a batch, a page that was evicted from the cache is read back once its log buffer is
//!   written, which for the manifest's buffer is never: the cache must hold a batch. So a batch is
//!   limited to [`MAX_BATCH`], an eighth of the cache.
//! - A batch that fails half-way without an error of sled's log (a page that cannot be read back)
//!   is not rolled back, and dropping sled flushes it. The sums in `run.rs` make that an error.
//! - sled's log is only cleaned by its flusher thread, so that is left running.
//! - Dropping sled may leave its file locked for a moment by a thread that still holds it; after a
//!   panic in its recovery, until the process ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::error::StoreError;
use super::place;
use super::record;
use crate::contain::contain;

const SEGMENT: usize = 1024 * 1024;
const CACHE: u64 = 1024 * 1024 * 1024;

/// Largest batch in bytes.
pub(super) const MAX_BATCH: usize = 128 * 1024 * 1024;

/// How often, at 10 ms each, sled's own lock is tried while we hold the store's.
const LOCK_TRIES: u32 = 500;

const _: () = assert!(17 * (record::MAX_LEN + 64) < SEGMENT / 4 - 64);

/// An open sled. No panic of sled's comes through.
pub(super) struct Engine {
    /// `None` only while dropping.
    db: Option<sled::Db>,
    /// sled's log, for fsync.
    log: File,
    /// The store's directory, for errors.
    dir: PathBuf,
}

/// Changes that are made together.
#[derive(Default)]
pub(super) struct Batch {
    writes: sled::Batch,
    bytes: usize,
    records: usize,
}

impl Batch {
    pub(super) fn insert(&mut self, key: &[u8], value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.records += 1;
        self.writes.insert(key, value);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }
}

impl Engine {
    /// Opens sled in `dir/sled`. The store's lock must be held.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("sled");
        place::make_dir(&path)?;
        place::make_dir(&path.join("blobs"))?;
        place::make_file(&path.join("conf"))?;
        place::make_file(&path.join("db"))?;
        let log = File::open(path.join("db"))
            .map_err(|e| StoreError::io(&path.join("db"), "opening", e))?;
        for dir in [dir, &path] {
            File::open(dir)
                .and_then(|dir| dir.sync_all())
                .map_err(|e| StoreError::io(dir, "syncing the directory", e))?;
        }
        let db = start(dir, &path)?;
        Ok(Self {
            db: Some(db),
            log,
            dir: dir.to_owned(),
        })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with("reading", |db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        self.with("reading", |db| Ok(db.iter().next().transpose()?.is_none()))
    }

    /// Visits the records under `prefix` in the order of their keys, until the visitor complains.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        self.with("reading", |db| {
            for entry in db.scan_prefix(prefix) {
                let (key, value) = entry?;
                if let Err(what) = visit(&key, &value) {
                    return Ok(Err(what));
                }
            }
            Ok(Ok(()))
        })?
        .map_err(|what| StoreError::damaged(&self.dir, what))
    }

    /// Writes the batch; when it returns, it is on disk whole.
    pub(super) fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.with("writing", |db| {
            db.apply_batch(batch.writes)?;
            db.flush()?;
            Ok(())
        })?;
        self.log
            .sync_all()
            .map_err(|e| StoreError::io(&self.dir, "syncing", e))
    }

    fn with<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        let Some(db) = &self.db else {
            return Err(StoreError::Stopped {
                path: self.dir.clone(),
            });
        };
        match contain(|| work(db)) {
            Ok(outcome) => outcome.map_err(|e| StoreError::sled(&self.dir, doing, e)),
            Err(panic) => Err(StoreError::damaged(
                &self.dir,
                format!("{doing} failed: {panic}"),
            )),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let db = self.db.take();
        if let Err(panic) = contain(|| drop(db)) {
            tracing::warn!("{}: closing the store: {panic}", self.dir.display());
        }
    }
}

fn start(dir: &Path, path: &Path) -> Result<sled::Db, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let opened = contain(|| {
            sled::Config::new()
                .path(path)
                .segment_size(SEGMENT)
                .cache_capacity(CACHE)
                .open()
        });
        match opened {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(sled::Error::Io(e))) if e.to_string().contains("could not acquire lock") => {
                // We hold the store's lock, so it is a sled of this process that has failed.
                if tries == LOCK_TRIES {
                    return Err(StoreError::io(&path.join("db"), "locking", e));
                }
                thread::sleep(Duration::from_millis(10));
            }
            Ok(Err(e)) => return Err(StoreError::sled(dir, "opening", e)),
            Err(panic) => {
                return Err(StoreError::damaged(dir, format!("opening failed: {panic}")));
            }
        }
    }
}

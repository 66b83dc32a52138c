//! What can go wrong with a store, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The lock is held, by another process or by another `Store` of this one.
    #[error(
        "{path}: another process has the store open; stop it, or use another store with --store DIR"
    )]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// Something other than a directory is there.
    #[error("{path}: not a directory; name a directory for the store with --store DIR")]
    NotDirectory {
        /// The store's directory.
        path: PathBuf,
    },
    /// A directory with contents that are not a store's. Nothing in it was touched.
    #[error(
        "{path}: the directory holds files but no store; name a store or an empty directory with \
         --store DIR"
    )]
    Foreign {
        /// The store's directory.
        path: PathBuf,
    },
    /// Others may enter the directory and it is not ours to close.
    #[error(
        "{path}: other users can enter the directory (mode {mode:04o}, owner uid {owner}); let its \
         owner chmod it to 0700, or use --store DIR"
    )]
    Exposed {
        /// The store's directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
    },
    /// Written by a newer Learner. Nothing was touched.
    #[error(
        "{path}: the store has format {found} and this learner knows formats up to {known}; use the \
         learner that wrote it, or another store with --store DIR"
    )]
    Future {
        /// The store's directory.
        path: PathBuf,
        /// The store's format.
        found: u64,
        /// The newest known format.
        known: u64,
    },
    /// Files are missing, or do not hold what was written.
    #[error(
        "{path}: the store is damaged: {what}; move the directory away, then put back a copy or \
         import the recordings again"
    )]
    Damaged {
        /// The store's directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Folds that were confirmed are no longer there.
    #[error(
        "{path}: the store has lost folds: {confirmed} were confirmed and it holds {found}; move the \
         directory away, then put back a copy or import the recordings again"
    )]
    LostFolds {
        /// The store's directory.
        path: PathBuf,
        /// Number of the last fold that is there.
        found: u64,
        /// Number of the last fold that was confirmed.
        confirmed: u64,
    },
    /// No room. What was confirmed before is kept.
    #[error(
        "{path}: the disk is full, {doing} failed: {source}; make room and try again, what was \
         stored before is kept"
    )]
    Full {
        /// The store's directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("{path}: {doing} failed: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A run whose names and labels do not fit a record, or a report too large for one fold.
    #[error("{path}: {what} takes {size} bytes and at most {limit} can be stored")]
    TooLarge {
        /// The store's directory.
        path: PathBuf,
        /// What does not fit.
        what: String,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Somebody else has decided since what this decision was made of was read. Nothing was written.
    #[error("{path}: the posture was changed meanwhile; run the command again")]
    Overtaken {
        /// The store's directory.
        path: PathBuf,
    },
    /// An earlier call failed half-way, so this handle no longer knows what is on disk.
    #[error("{path}: the store stopped after an earlier error; open it again")]
    Stopped {
        /// The store's directory.
        path: PathBuf,
    },
}

impl StoreError {
    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    pub(super) fn io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::Full {
                path,
                doing,
                source,
            };
        }
        Self::Io {
            path,
            doing,
            source,
        }
    }

    pub(super) fn sled(path: &Path, doing: &'static str, error: sled::Error) -> Self {
        match error {
            // sled keeps of the first error only its kind and its debug text.
            sled::Error::Io(source) if source.kind() == io::ErrorKind::StorageFull => {
                Self::io(path, doing, rustix::io::Errno::NOSPC.into())
            }
            sled::Error::Io(source) => Self::io(path, doing, source),
            other => Self::damaged(path, format!("{doing} failed: {other}")),
        }
    }
}

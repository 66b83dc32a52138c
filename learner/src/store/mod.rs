//! The store: what every run did, folded, kept on disk between two starts of Learner.
//!
//! What is guaranteed, and why it holds:
//!
//! - **A fold is whole or not at all.** Everything that one [`Store::fold`] or [`Store::fold_all`]
//!   changes goes to sled as one batch, and a batch that was not finished is not recovered (see
//!   `engine.rs` for why). Killed at any moment, the store opens again without the unfinished fold.
//! - **A fold that returned is there.** Before `fold` returns, sled's log has been synced and the
//!   fold's number has been written to the file `HEAD` (rename and fsync). sled recovers from damage
//!   by cutting its log short; a log cut below `HEAD` is [`StoreError::LostFolds`], not a smaller
//!   store.
//! - **A report counts once.** Folding is a join (greatest count, earliest first, latest last): the
//!   same report again, or reports of a run in any order, give the same store. A report that
//!   changes nothing writes nothing.
//! - **Size is bounded.** Of a workload revision, over all its runs, at most
//!   [`Options::max_behaviors`] (behaviour, run) pairs and 64 MiB of names are kept. What comes
//!   beyond is counted in the run's loss account as `store`; the count of one report is joined by
//!   the greatest, so sending it twice does not double it. Which behaviours fit depends on which
//!   came first, and two different reports that do not fit count as the larger of the two.
//! - **Wrong data is an error.** Every record carries a 64-bit checksum of its key and value, every
//!   run the sum of its behaviours' checksums, the root the sum of the runs', and `HEAD` that of the
//!   root: a record that rotted, vanished or fell back to an older value is
//!   [`StoreError::Damaged`], on opening (runs) or on reading the run (behaviours). This is made
//!   against accidents; whoever can write to the directory can forge it. sled's panics on damaged
//!   files are caught and become the same error; that needs `panic = "unwind"`.
//! - **What was forgotten stays forgotten.** A tombstone is written as a fold is, whole and confirmed,
//!   and counted in the root. It says what must not be learned again; the evidence stays. A Learner
//!   that does not know tombstones refuses a store that has or had one.
//! - **A decision is whole.** Where a revision stands, the candidate it is judged by and the entry in
//!   the journal are one batch. The journal only grows; each entry has the hash of the one before,
//!   and the root has their number and the hash of the last, so that an entry that was changed,
//!   moved or removed is found, the last one too ([`crate::journal::Journal::faults`]). A journal that
//!   was tampered with is shown and said, and does not keep the store from opening.
//! - **One process at a time**, by a lock on the file `LOCK` that the kernel releases when the
//!   process ends, however it ends.
//! - **Others see nothing.** The directory is 0700 before the first file is in it. Files are made
//!   0600, or, where sled makes them later under the process's umask, set so at the end of opening
//!   and of every fold; in between the directory keeps others out. Parents are not checked.
//! - **A newer format is left alone**, to the byte: the file `FORMAT` is read before anything is
//!   opened for writing.
//!
//! Not guaranteed: opening a damaged store is not free of side effects, since sled overwrites the
//! part of its log behind the damage. Copy the directory first to examine it.
//!
//! In the directory: `FORMAT`, `HEAD`, `LOCK`, and `sled/`, which is sled's own. In sled, keys are
//! of fixed length and names are only in values, so that no name can pass for another:
//!
//! | key | value |
//! |---|---|
//! | `00` | format, number of the last fold, runs, sum of the runs' checksums; from format 2 on tombstones and the sum of theirs; from format 3 on the same of standings and candidates, entries of the journal and the hash of the last |
//! | `01 run:u32` | whose run, labels, bounds, loss account; number and checksum sum of its behaviours |
//! | `02 run:u32 behaviour:u32` | the behaviour, its count, first and last seen |
//! | `03 tombstone:u32` | whether it stands; workload, operation, path, acting program |
//! | `04 standing:u32` | a revision and where it stands |
//! | `05 candidate:u32 page:u32` | a page of a candidate |
//! | `06 entry:u32 page:u32` | a page of an entry of the journal |
//!
//! Format 1 has no tombstones. It is read, and becomes format 2 with the first of them, and format 3
//! with the first decision.
//!
//! Every value begins with the record version and ends with the checksum.

mod codec;
mod decision;
mod engine;
mod error;
mod format;
mod head;
mod key;
mod page;
mod place;
mod plan;
mod record;
mod run;
mod seen;
mod standing;
#[expect(clippy::module_inception, reason = "the file is the noun: a store")]
mod store;
mod tombstone;

pub use error::StoreError;
pub use place::default_dir;
pub use run::Summary;
pub use store::{Folded, Options, Store};

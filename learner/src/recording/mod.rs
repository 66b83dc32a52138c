//! Recordings: evidence on its way in and out, as JSON Lines or Parquet.
//!
//! `docs/recording.md` describes the format. Both forms hold the same columns and go through the
//! same checks (`meaning.rs`), so a recording means the same in either.
//!
//! Guarantees of the readers: a field that is known has the type that it should have, or the line
//! is an error that names file and line; a field that is not known is ignored; memory does not grow
//! with the file. One does not hold within a process: a Parquet file that is damaged may end it
//! ([`Decoder`]). Of the writers: what is read back from what was written is what was written.

mod apart;
#[cfg(feature = "parquet")]
mod columns;
mod error;
mod line;
mod lines;
mod meaning;
mod minute;
#[cfg(feature = "parquet")]
mod numbered;
mod origin;
mod outline;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "no_parquet.rs"]
mod parquet;
mod part;
mod replay;
#[cfg(feature = "parquet")]
mod rows;
mod tally;
mod wording;

pub use apart::{Decoder, REFUSED, relay};
pub use error::{Problem, RecordingError};
pub use lines::{JsonlWriter, MAX_LINE};
pub use origin::{fold, fold_from, read, read_from};
#[cfg(feature = "parquet")]
pub use parquet::{ParquetWriter, ROWS_AT_A_TIME};
pub use replay::observations;
pub use wording::path_fields;

//! Parquet, by polars, which may panic on a damaged file: what it does is contained.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;

use polars::error::PolarsError;
use polars::prelude::{
    BatchedWriter, ParallelStrategy, ParquetReader, ParquetWriter as Writer, SerReader as _,
};

use super::columns::{Columns, Rows};
use super::error::RecordingError;
use super::meaning::Meaning;
use super::wording::Wording;
use crate::contain::contain;
use crate::observation::Observation;

/// Rows that are in memory at once, and the size of the row groups that are written.
pub const ROWS_AT_A_TIME: usize = 32_768;

/// Reads Parquet, [`ROWS_AT_A_TIME`] rows at once.
pub(super) fn read(
    file: File,
    name: &str,
    sink: &mut dyn FnMut(Observation),
) -> Result<(), RecordingError> {
    let broken = |cause: String| RecordingError::Parquet {
        name: name.to_owned(),
        cause,
    };
    let open = || {
        file.try_clone()
            .map(ParquetReader::new)
            .map_err(|source| RecordingError::Read {
                name: name.to_owned(),
                source,
            })
    };
    let mut reader = open()?;
    let metadata = contain(|| reader.get_metadata().cloned())
        .map_err(broken)?
        .map_err(|error| broken(error.to_string()))?;
    let total = metadata.num_rows;
    let mut meaning = Meaning::default();
    let mut done = 0;
    while done < total {
        let mut reader = open()?
            .read_parallel(ParallelStrategy::None)
            .with_slice(Some((done, ROWS_AT_A_TIME.min(total - done))));
        reader.set_metadata(metadata.clone());
        let rows = contain(|| match reader.finish() {
            Ok(frame) => Rows::new(&frame),
            Err(error) => Err(error.to_string()),
        })
        .and_then(|rows| rows)
        .map_err(broken)?;
        if rows.height() == 0 {
            return Err(broken(format!(
                "{total} rows are announced, {done} are there"
            )));
        }
        for row in 0..rows.height() {
            let observation = rows.line(row).and_then(|line| meaning.of(&line));
            sink(observation.map_err(|problem| RecordingError::Line {
                name: name.to_owned(),
                line: (done + row) as u64 + 1,
                problem,
            })?);
        }
        done += rows.height();
    }
    Ok(())
}

/// Keeps the error that polars turns into words.
struct Remembering<W> {
    out: W,
    failure: Rc<Cell<Option<io::Error>>>,
}

impl<W: Write> Write for Remembering<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).inspect_err(|error| self.keep(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().inspect_err(|error| self.keep(error))
    }
}

impl<W> Remembering<W> {
    fn keep(&self, error: &io::Error) {
        let copy = match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        self.failure.set(Some(copy));
    }
}

/// Writes Parquet, compressed by zstd, in row groups of [`ROWS_AT_A_TIME`].
pub struct ParquetWriter<W: Write> {
    batches: BatchedWriter<Remembering<W>>,
    failure: Rc<Cell<Option<io::Error>>>,
    wording: Wording,
    columns: Columns,
}

impl<W: Write> ParquetWriter<W> {
    /// Writes to `out`.
    ///
    /// # Errors
    /// [`RecordingError::Write`] if `out` takes nothing.
    pub fn new(out: W) -> Result<Self, RecordingError> {
        let failure = Rc::new(Cell::new(None));
        let out = Remembering {
            out,
            failure: failure.clone(),
        };
        Ok(Self {
            batches: Writer::new(out)
                .set_parallel(false)
                .batched(&Columns::schema())
                .map_err(|error| write_failed(&failure, &error))?,
            failure,
            wording: Wording::default(),
            columns: Columns::with_capacity(ROWS_AT_A_TIME),
        })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// [`RecordingError::Write`] if `out` takes no more; [`RecordingError::NoSuchTime`].
    pub fn write(&mut self, observation: &Observation) -> Result<(), RecordingError> {
        self.columns.push(&self.wording.of(observation)?);
        if self.columns.rows() == ROWS_AT_A_TIME {
            self.write_batch()?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), RecordingError> {
        let next = Columns::with_capacity(ROWS_AT_A_TIME);
        std::mem::replace(&mut self.columns, next)
            .finish()
            .and_then(|frame| self.batches.write_batch(&frame))
            .map_err(|error| write_failed(&self.failure, &error))
    }

    /// Writes what is left and the end of the file, without which it cannot be read.
    ///
    /// # Errors
    /// [`RecordingError::Write`] if `out` takes no more.
    pub fn finish(mut self) -> Result<(), RecordingError> {
        if self.columns.rows() > 0 {
            self.write_batch()?;
        }
        self.batches
            .finish()
            .map_err(|error| write_failed(&self.failure, &error))?;
        Ok(())
    }
}

fn write_failed(failure: &Cell<Option<io::Error>>, error: &PolarsError) -> RecordingError {
    let cause = failure.take();
    RecordingError::Write(cause.unwrap_or_else(|| io::Error::other(error.to_string())))
}

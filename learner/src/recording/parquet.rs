//! Parquet, by polars, which may panic on a damaged file: what it does is contained.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use polars::error::{PolarsError, PolarsResult};
use polars::prelude::{
    BatchedWriter, DataFrame, ParallelStrategy, ParquetReader, ParquetWriter as Writer,
    SerReader as _,
};

use super::columns::Columns;
use super::error::{Problem, RecordingError};
use super::line::Kind;
use super::numbered::Numbered;
use super::part::{LineSink, Part, Parts};
use super::rows::Rows;
use super::tally::{NEVER, Tally};
use super::wording::Wording;
use crate::contain::contain;
use crate::observation::Observation;

/// The size of the row groups that are written. The larger they are, the more rows of one state the
/// same; about 500 bytes a row are in memory meanwhile.
pub const ROWS_AT_A_TIME: usize = 131_072;

/// Rows that are decoded at once, from row groups that others made larger.
const MOST_ROWS: usize = 1 << 18;

/// The rows of a file in parts: its row groups.
pub(super) fn parts<'n>(file: File, name: &'n str) -> Result<Parts<'n>, RecordingError> {
    let broken = |cause: String| RecordingError::parquet(name, &cause);
    let file = Arc::new(file);
    let metadata = contain(|| {
        let mut reader = ParquetReader::new(again(&file)?);
        reader.get_metadata().cloned()
    })
    .map_err(broken)?
    .map_err(|error| broken(error.to_string()))?;
    let announced = metadata.num_rows;
    let mut bare = (*metadata).clone();
    let groups = std::mem::take(&mut bare.row_groups);
    let there = groups
        .iter()
        .fold(0_usize, |sum, group| sum.saturating_add(group.num_rows()));
    if announced != there {
        return Err(broken(format!(
            "{announced} rows are announced, {there} are there"
        )));
    }
    let mut first = 0;
    let parts = groups.into_iter().flat_map(move |group| {
        let height = group.num_rows();
        let before = first;
        first += height;
        // polars goes through all row groups before the one that it is asked for: it gets one.
        let mut metadata = bare.clone();
        metadata.num_rows = height;
        metadata.row_groups = vec![group];
        let metadata = Arc::new(metadata);
        let (file, name) = (file.clone(), name.to_owned());
        (0..height).step_by(MOST_ROWS).map(move |start| {
            let slice = (start, MOST_ROWS.min(height - start));
            let (file, metadata, name) = (file.clone(), metadata.clone(), name.clone());
            let decode = move || {
                let mut reader = ParquetReader::new(again(&file)?)
                    .read_parallel(ParallelStrategy::None)
                    .with_slice(Some(slice));
                reader.set_metadata(metadata.clone());
                reader.finish()
            };
            Ok(Box::new(RowGroup {
                name,
                first: before + start,
                height: slice.1,
                decode,
            }) as Box<dyn Part>)
        })
    });
    Ok(Box::new(parts))
}

/// The file once more, for a reader of its own.
fn again(file: &File) -> PolarsResult<File> {
    Ok(file.try_clone()?)
}

/// Rows that are decoded when they are wanted.
struct RowGroup<D> {
    name: String,
    /// Rows before these.
    first: usize,
    height: usize,
    decode: D,
}

impl<D: Fn() -> PolarsResult<DataFrame>> RowGroup<D> {
    fn decode(&self) -> Result<Rows, RecordingError> {
        contain(|| match (self.decode)() {
            Ok(frame) if frame.height() == self.height => Rows::new(&frame),
            Ok(frame) => Err(format!(
                "{} rows are announced, {} are there",
                self.height,
                frame.height()
            )),
            Err(error) => Err(error.to_string()),
        })
        .and_then(|rows| rows)
        .map_err(|cause| RecordingError::parquet(&self.name, &cause))
    }

    /// The number of a row in the file, from 1.
    fn number(&self, row: usize) -> u64 {
        (self.first + row) as u64 + 1
    }

    fn at_row(&self, row: usize) -> impl Fn(Problem) -> RecordingError {
        move |problem| RecordingError::Line {
            name: self.name.clone(),
            line: self.number(row),
            problem,
        }
    }
}

impl<D: Fn() -> PolarsResult<DataFrame> + Send> Part for RowGroup<D> {
    fn each(&self, sink: LineSink<'_>) -> Result<(), RecordingError> {
        let rows = self.decode()?;
        for row in 0..self.height {
            rows.line(row)
                .and_then(|line| sink(self.number(row), &line))
                .map_err(self.at_row(row))?;
        }
        Ok(())
    }

    /// Of rows that state the same only the first is looked at in full.
    fn tally(&self, tally: &mut Tally) -> Result<u64, RecordingError> {
        let rows = self.decode()?;
        let Numbered { whose, statements } =
            Numbered::of(self.height, rows.of_whom(), rows.of_what());
        let (mut owners, mut counted) = (Vec::new(), Vec::new());
        for (row, (whose, statement)) in whose.into_iter().zip(statements).enumerate() {
            let (whose, statement) = (whose as usize, statement as usize);
            let mut count = || {
                if statement == counted.len() {
                    if whose == owners.len() {
                        owners.push(tally.whose(&rows.whose(row)?));
                    }
                    let deed = rows.deed(row)?;
                    let key = tally.statement(owners[whose], &deed);
                    let entry = match tally.entry(key) {
                        Some(entry) => entry,
                        None => tally.insert(key, self.number(row), &rows.line(row)?)?,
                    };
                    counted.push((entry, Kind::of(deed.op), NEVER));
                }
                let (_, kind, sum) = &mut counted[statement];
                *sum = sum.plus(tally.sighting(rows.when(row, *kind)?)?.in_order());
                Ok(())
            };
            count().map_err(self.at_row(row))?;
        }
        for (entry, _, sum) in counted {
            tally.count(entry, sum);
        }
        Ok(self.height as u64)
    }
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

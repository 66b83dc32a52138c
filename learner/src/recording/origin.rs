//! Where a recording comes from, and which of its forms it has: told by content, never by name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::apart::{self, Decoder};
use super::error::RecordingError;
use super::lines::Chunks;
use super::parquet;
use super::part::{self, Parts, observe};
use crate::observation::Observation;
use crate::profile::Evidence;

const GZIP: &[u8] = b"\x1f\x8b";
const PARQUET: &[u8] = b"PAR1";
const BUFFER: usize = 256 << 10;

/// Reads a recording from a file: JSON Lines, the same compressed by gzip, or Parquet, which is
/// decoded [within](Decoder::Within) this process.
///
/// Observations are handed over as they are read: after an error, those before it have been. A
/// caller that keeps them must drop them then, so that nothing is half-imported.
///
/// # Errors
/// [`RecordingError`], which names the file, and the line or row.
pub fn read(path: &Path, sink: &mut dyn FnMut(Observation)) -> Result<(), RecordingError> {
    let (file, name) = open(path)?;
    observe(of_file(file, &name)?.within(&name)?, sink)
}

/// Reads a recording from a stream. Parquet, which cannot be read from front to back, is kept in a
/// temporary file meanwhile.
///
/// # Errors
/// As [`read`]; `name` is what the stream is called in them.
pub fn read_from(
    reader: impl BufRead,
    name: &str,
    sink: &mut dyn FnMut(Observation),
) -> Result<(), RecordingError> {
    observe(of_stream(reader, name)?.within(name)?, sink)
}

/// Folds a recording into what is known: the same as [`read`] and [`Evidence::fold`] for each
/// observation, but several times as fast, by all processors. `progress` is told now and then how
/// many lines have been done more; not of Parquet that is decoded apart.
///
/// # Errors
/// As [`read`]. `evidence` is gone then, so that nothing is half-imported.
pub fn fold(
    path: &Path,
    decoder: Decoder<'_>,
    evidence: Evidence,
    progress: &mut dyn FnMut(u64),
) -> Result<Evidence, RecordingError> {
    let (file, name) = open(path)?;
    of_file(file, &name)?.fold(&name, decoder, evidence, progress)
}

/// As [`fold`], from a stream.
///
/// # Errors
/// As [`read`]; `name` is what the stream is called in them.
pub fn fold_from(
    reader: impl BufRead,
    name: &str,
    decoder: Decoder<'_>,
    evidence: Evidence,
    progress: &mut dyn FnMut(u64),
) -> Result<Evidence, RecordingError> {
    of_stream(reader, name)?.fold(name, decoder, evidence, progress)
}

/// A recording, and which of its forms it has.
enum Found<'a> {
    Lines(Parts<'a>),
    Parquet(File),
}

impl<'a> Found<'a> {
    fn within(self, name: &'a str) -> Result<Parts<'a>, RecordingError> {
        match self {
            Self::Lines(parts) => Ok(parts),
            Self::Parquet(file) => parquet::parts(file, name),
        }
    }

    fn fold(
        self,
        name: &'a str,
        decoder: Decoder<'_>,
        evidence: Evidence,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Evidence, RecordingError> {
        match (self, decoder) {
            (Self::Parquet(file), Decoder::Apart(command)) => {
                apart::fold(file, name, command, evidence)
            }
            (found, _) => part::fold(found.within(name)?, evidence, progress),
        }
    }
}

fn open(path: &Path) -> Result<(File, String), RecordingError> {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => Ok((file, name)),
        Err(source) => Err(RecordingError::Read { name, source }),
    }
}

fn of_file(mut file: File, name: &str) -> Result<Found<'_>, RecordingError> {
    let failed = |source| RecordingError::Read {
        name: name.to_owned(),
        source,
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return of_stream(BufReader::with_capacity(BUFFER, file), name);
    }
    let mut head = Vec::new();
    (&file)
        .take(PARQUET.len() as u64)
        .read_to_end(&mut head)
        .map_err(failed)?;
    file.rewind().map_err(failed)?;
    if head == PARQUET {
        return Ok(Found::Parquet(file));
    }
    of_stream(BufReader::with_capacity(BUFFER, file), name)
}

fn of_stream<'a>(reader: impl BufRead + 'a, name: &'a str) -> Result<Found<'a>, RecordingError> {
    let failed = |source| RecordingError::Read {
        name: name.to_owned(),
        source,
    };
    let (head, mut reader) = peek(reader).map_err(failed)?;
    if head.starts_with(GZIP) {
        let plain = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(reader));
        return Ok(Found::Lines(Box::new(Chunks::new(plain, name))));
    }
    if head == PARQUET {
        let mut file = tempfile::tempfile().map_err(failed)?;
        io::copy(&mut reader, &mut file).map_err(failed)?;
        file.rewind().map_err(failed)?;
        return Ok(Found::Parquet(file));
    }
    Ok(Found::Lines(Box::new(Chunks::new(reader, name))))
}

/// The first bytes, and a reader that has them still before it.
fn peek(mut reader: impl BufRead) -> io::Result<(Vec<u8>, impl BufRead)> {
    let mut head = Vec::new();
    reader
        .by_ref()
        .take(PARQUET.len() as u64)
        .read_to_end(&mut head)?;
    Ok((head.clone(), io::Cursor::new(head).chain(reader)))
}

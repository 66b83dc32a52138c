//! Where a recording comes from, and which of its forms it has: told by content, never by name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::RecordingError;
use super::{lines, parquet};
use crate::observation::Observation;

const GZIP: &[u8] = b"\x1f\x8b";
const PARQUET: &[u8] = b"PAR1";
const BUFFER: usize = 256 << 10;

/// Reads a recording from a file: JSON Lines, the same compressed by gzip, or Parquet.
///
/// Observations are handed over as they are read: after an error, those before it have been. A
/// caller that keeps them must drop them then, so that nothing is half-imported.
///
/// # Errors
/// [`RecordingError`], which names the file, and the line or row.
pub fn read(path: &Path, sink: &mut dyn FnMut(Observation)) -> Result<(), RecordingError> {
    let name = path.display().to_string();
    let failed = |source| RecordingError::Read {
        name: name.clone(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return read_from(BufReader::with_capacity(BUFFER, file), &name, sink);
    }
    let mut head = Vec::new();
    (&file)
        .take(PARQUET.len() as u64)
        .read_to_end(&mut head)
        .map_err(failed)?;
    file.rewind().map_err(failed)?;
    if head == PARQUET {
        return parquet::read(file, &name, sink);
    }
    read_from(BufReader::with_capacity(BUFFER, file), &name, sink)
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
    let failed = |source| RecordingError::Read {
        name: name.to_owned(),
        source,
    };
    let (head, mut reader) = peek(reader).map_err(failed)?;
    if head.starts_with(GZIP) {
        let plain = MultiGzDecoder::new(reader);
        return lines::read(BufReader::with_capacity(BUFFER, plain), name, sink);
    }
    if head == PARQUET {
        let mut file = tempfile::tempfile().map_err(failed)?;
        io::copy(&mut reader, &mut file).map_err(failed)?;
        file.rewind().map_err(failed)?;
        return parquet::read(file, name, sink);
    }
    lines::read(reader, name, sink)
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

//! JSON Lines: one object a line.

use std::io::{BufRead, Read as _, Write};

use super::error::{Problem, RecordingError};
use super::line::Line;
use super::meaning::Meaning;
use super::wording::Wording;
use crate::observation::Observation;

/// The longest line that is read, in bytes, its end not counted. The longest that a recorder needs
/// has two paths of 4,095 bytes and a source, each also as base64: below 100 KiB.
pub const MAX_LINE: usize = 8 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Reads JSON Lines. A byte order mark before the first line, carriage returns and empty lines are
/// passed over; a last line without a line feed counts if it is whole.
pub(super) fn read(
    mut reader: impl BufRead,
    name: &str,
    sink: &mut dyn FnMut(Observation),
) -> Result<(), RecordingError> {
    let mut meaning = Meaning::default();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        let taken = reader
            .by_ref()
            .take(MAX_LINE as u64 + 2)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| RecordingError::Read {
                name: name.to_owned(),
                source,
            })?;
        if taken == 0 {
            break;
        }
        let at_line = |problem| RecordingError::Line {
            name: name.to_owned(),
            line: number,
            problem,
        };
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = match line.strip_prefix(BOM) {
            Some(rest) if number == 1 => rest,
            _ => line,
        };
        if line.len() > MAX_LINE {
            return Err(at_line(Problem::TooLong));
        }
        if line.is_empty() {
            continue;
        }
        sink(
            Line::parse(line)
                .and_then(|line| meaning.of(&line))
                .map_err(at_line)?,
        );
    }
    Ok(())
}

/// Writes JSON Lines.
pub struct JsonlWriter<W> {
    out: W,
    wording: Wording,
    line: Vec<u8>,
}

impl<W: Write> JsonlWriter<W> {
    /// Writes to `out`, a line at a time: give it a buffer.
    pub fn new(out: W) -> Self {
        Self {
            out,
            wording: Wording::default(),
            line: Vec::new(),
        }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// [`RecordingError::Write`] if `out` takes no more; [`RecordingError::NoSuchTime`].
    pub fn write(&mut self, observation: &Observation) -> Result<(), RecordingError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &self.wording.of(observation)?)
            .map_err(|error| RecordingError::Write(error.into()))?;
        self.line.push(b'\n');
        self.out
            .write_all(&self.line)
            .map_err(RecordingError::Write)
    }

    /// Passes everything on and gives `out` back.
    ///
    /// # Errors
    /// [`RecordingError::Write`] if `out` takes no more.
    pub fn finish(mut self) -> Result<W, RecordingError> {
        self.out.flush().map_err(RecordingError::Write)?;
        Ok(self.out)
    }
}

//! JSON Lines: one object a line.

use std::io::{BufRead, Read as _, Write};

use super::error::{Problem, RecordingError};
use super::line::Line;
use super::part::{LineSink, Next, Part};
use super::tally::Tally;
use super::wording::Wording;
use crate::observation::Observation;

/// The longest line that is read, in bytes, its end not counted. The longest that a recorder needs
/// has two paths of 4,095 bytes and a source, each also as base64: below 100 KiB.
pub const MAX_LINE: usize = 8 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Bytes that are read at once.
const CHUNK: usize = 512 << 10;

/// JSON Lines in parts of whole lines.
pub(super) struct Chunks<'n, R> {
    reader: R,
    name: &'n str,
    /// The beginning of a line that is not whole yet.
    begun: Vec<u8>,
    /// The number of that line.
    line: u64,
    /// Why nothing comes after what has been handed over.
    failure: Option<RecordingError>,
    ended: bool,
}

impl<'n, R: BufRead> Chunks<'n, R> {
    pub(super) fn new(reader: R, name: &'n str) -> Self {
        Self {
            reader,
            name,
            begun: Vec::new(),
            line: 1,
            failure: None,
            ended: false,
        }
    }

    /// Reads until there is a whole line, or nothing more.
    fn read(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.begun);
        loop {
            let before = bytes.len();
            let room = (MAX_LINE + 2 - before).min(CHUNK);
            bytes.reserve(room);
            let read = self
                .reader
                .by_ref()
                .take(room as u64)
                .read_to_end(&mut bytes);
            if let Err(source) = read {
                self.failure = Some(RecordingError::Read {
                    name: self.name.to_owned(),
                    source,
                });
            }
            let end = memchr::memrchr(b'\n', &bytes[before..]).map(|at| before + at + 1);
            match end {
                Some(end) => {
                    self.begun = bytes.split_off(end);
                    return bytes;
                }
                None if self.failure.is_some() => return Vec::new(),
                None if bytes.len() == before => {
                    self.ended = true;
                    return bytes;
                }
                None if bytes.len() == MAX_LINE + 2 => {
                    self.failure = Some(RecordingError::Line {
                        name: self.name.to_owned(),
                        line: self.line,
                        problem: Problem::TooLong,
                    });
                    return Vec::new();
                }
                None => {}
            }
        }
    }
}

impl<R: BufRead> Iterator for Chunks<'_, R> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        if !self.ended && self.failure.is_none() {
            let bytes = self.read();
            if !bytes.is_empty() {
                let first = self.line;
                self.line += memchr::memchr_iter(b'\n', &bytes).count() as u64;
                return Some(Ok(Box::new(Chunk {
                    name: self.name.to_owned(),
                    first,
                    bytes,
                })));
            }
        }
        self.ended = true;
        self.failure.take().map(Err)
    }
}

/// Whole lines.
struct Chunk {
    name: String,
    /// The number of the first line, from 1.
    first: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    /// Hands over the lines with their numbers. A byte order mark before the first line, carriage
    /// returns and empty lines are passed over; a last line without a line feed counts if it is
    /// whole.
    fn lines(
        &self,
        mut sink: impl FnMut(u64, &[u8]) -> Result<(), Problem>,
    ) -> Result<(), RecordingError> {
        let mut rest = &*self.bytes;
        let mut number = self.first;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = match line.strip_prefix(BOM) {
                Some(rest) if number == 1 => rest,
                _ => line,
            };
            let done = if line.len() > MAX_LINE {
                Err(Problem::TooLong)
            } else if line.is_empty() {
                Ok(())
            } else {
                sink(number, line)
            };
            done.map_err(|problem| RecordingError::Line {
                name: self.name.clone(),
                line: number,
                problem,
            })?;
            number += 1;
        }
        Ok(())
    }
}

impl Part for Chunk {
    fn each(&self, sink: LineSink<'_>) -> Result<(), RecordingError> {
        self.lines(|number, line| sink(number, &Line::parse(line)?))
    }

    fn tally(&self, tally: &mut Tally) -> Result<u64, RecordingError> {
        let mut lines = 0;
        self.lines(|number, line| {
            lines += 1;
            tally.add(number, line)
        })?;
        Ok(lines)
    }
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

//! What can be wrong with a recording.

use std::io;

/// Why a recording could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// A line, or in Parquet a row, does not say what a recording says.
    #[error("{name}:{line}: {problem}")]
    Line {
        /// The file.
        name: String,
        /// The line in it, or the row; from 1.
        line: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// The file could not be opened or read.
    #[error("{name}: reading failed: {source}")]
    Read {
        /// The file.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The file begins as a Parquet file and is none, or lacks a column, or has one of another type.
    #[error("{name}: not a recording in Parquet: {cause}")]
    Parquet {
        /// The file.
        name: String,
        /// What is wrong.
        cause: String,
    },
    /// The process that is to decode Parquet could not be started.
    #[error("{name}: a process to decode Parquet could not be started: {source}")]
    Decoder {
        /// The file.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// What the process that decodes Parquet says is wrong, file and row named.
    #[error("{0}")]
    Refused(String),
    /// A recording could not be written.
    #[error("writing a recording failed: {0}")]
    Write(#[source] io::Error),
    /// A moment that RFC 3339 has no way to write: before the year -9999 or after 9999.
    #[error(
        "writing a recording failed: {0} microseconds since 1970 is in no year from -9999 to 9999"
    )]
    NoSuchTime(i64),
}

impl RecordingError {
    /// A Parquet file is none, in the words of polars, which may be on several lines and hold
    /// anything that is in the file: here they are one line of text.
    pub(super) fn parquet(name: &str, cause: &str) -> Self {
        let words = cause.split(|c: char| c.is_whitespace() || c.is_control());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        Self::Parquet {
            name: name.to_owned(),
            cause: words.join(" "),
        }
    }

    /// Whether the reader of what was being written has gone away.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file ends within the line.
    #[error("the line is cut off; the recording was not written to its end")]
    CutOff,
    /// More than [`MAX_LINE`](super::MAX_LINE) bytes.
    #[error(
        "the line is longer than {} bytes, which no line of a recording is",
        super::MAX_LINE
    )]
    TooLong,
    /// Not JSON, a field is missing, or one has another type.
    #[error("not a line of a recording: {0}")]
    Json(String),
    /// No such operation or marker.
    #[error("op {0:?} is not known; a newer learner may have written it")]
    Op(String),
    /// A field that the operation needs.
    #[error("a line with op {op} needs the field {field:?}")]
    Missing {
        /// The field.
        field: &'static str,
        /// The operation.
        op: &'static str,
    },
    /// A field whose value means nothing.
    #[error("field {field:?}: {cause}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with the value.
        cause: String,
    },
}

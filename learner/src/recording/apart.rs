//! Parquet decoded by a process of its own.
//!
//! On some damaged files polars asks for memory that no machine has, and Rust ends a process that
//! gets none: nothing within it can catch that. What ends is then another process, and its parent
//! says so. `docs/decisions/0011-parquet-in-a-child.md` has the reasons.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::thread;

use super::error::RecordingError;
use super::lines::{Chunks, JsonlWriter};
use super::{parquet, part, replay};
use crate::profile::Evidence;

/// Who decodes Parquet.
#[derive(Clone, Copy)]
pub enum Decoder<'a> {
    /// This process. A damaged file may end it: for files that are trusted, and in the process that
    /// was started for it.
    Within,
    /// A process of its own. The function is given the name of the file and makes the command, whose
    /// process has to give its standard input and output and that name to [`relay`], write the
    /// error to standard error, and end with 0 if there was none and with [`REFUSED`] otherwise.
    Apart(&'a dyn Fn(&str) -> Command),
}

/// How a process of [`Decoder::Apart`] ends after an error that it has written to standard error.
pub const REFUSED: u8 = 2;

/// What is kept of what a process says on standard error, in bytes.
const MOST_SAID: u64 = 64 << 10;

/// Folds a Parquet file and writes what comes of it as JSON Lines: what a process started for
/// [`Decoder::Apart`] does. `evidence` is empty and has the limit of the one that it is for.
///
/// # Errors
/// [`RecordingError`], which names the file, and the row.
pub fn relay(
    file: File,
    name: &str,
    evidence: Evidence,
    out: impl Write,
) -> Result<(), RecordingError> {
    let evidence = part::fold(parquet::parts(file, name)?, evidence, &mut |_| {})?;
    let mut writer = JsonlWriter::new(BufWriter::new(out));
    for (key, run) in evidence.runs() {
        for observation in replay::observations(key, run) {
            writer.write(&observation)?;
        }
    }
    writer.finish()?;
    Ok(())
}

/// Folds what the process says that the file holds.
pub(super) fn fold(
    file: File,
    name: &str,
    command: &dyn Fn(&str) -> Command,
    evidence: Evidence,
) -> Result<Evidence, RecordingError> {
    let failed = |source| RecordingError::Decoder {
        name: name.to_owned(),
        source,
    };
    let mut child = command(name)
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (folded, said) = thread::scope(|scope| {
        let said = scope.spawn(|| err.map(last_words).unwrap_or_default());
        // The pipe is closed afterwards: a process that would write more ends.
        let folded = match out {
            Some(out) => {
                let lines = Box::new(Chunks::new(BufReader::new(out), name));
                part::fold(lines, evidence, &mut |_| {})
            }
            None => Ok(evidence),
        };
        (folded, said.join().unwrap_or_default())
    });
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return folded;
    }
    Err(if status.code() == Some(REFUSED.into()) {
        RecordingError::Refused(said)
    } else {
        RecordingError::parquet(name, &broke_down(status, &said))
    })
}

/// What a process said, to its end.
fn last_words(mut err: ChildStderr) -> String {
    let mut said = Vec::new();
    // What cannot be read was not said.
    let _ = err.by_ref().take(MOST_SAID).read_to_end(&mut said);
    let _ = io::copy(&mut err, &mut io::sink());
    String::from_utf8_lossy(&said).trim_end().to_owned()
}

fn broke_down(status: ExitStatus, said: &str) -> String {
    // A panic says in its first line where, in its second why.
    let cause: Vec<&str> = said
        .lines()
        .filter(|line| !line.is_empty())
        .take(2)
        .collect();
    let cause = cause.join(" ");
    format!(
        "it is not a whole Parquet file, or it needs more memory than there is; \
         reading it ended with {status} ({cause})"
    )
}

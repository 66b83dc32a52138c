//! The file `FORMAT`: one line that says how the rest of the directory is to be read.
//!
//! It is written when the store is made, and again when the store comes to hold what an older Learner
//! must not pass over. It is read before anything else.

use std::io;
use std::path::Path;

use super::error::StoreError;
use super::place;

/// Runs and their behaviours.
pub(super) const RUNS: u64 = 1;

/// Tombstones too. Who does not know them would learn again what was forgotten, so a store becomes
/// one of these with its first tombstone, and stays it.
pub(super) const TOMBSTONES: u64 = 2;

/// Postures, candidates and the journal too. Who does not know them would learn from alerts, and write
/// a root without the journal's end, so a store becomes one of these with its first decision, and
/// stays it.
pub(super) const POSTURES: u64 = 3;

/// The newest format that this code reads and writes.
pub(super) const FORMAT: u64 = POSTURES;

const NAME: &str = "FORMAT";
const WORDS: &str = "learner store, format ";

/// Whether the store has been made.
///
/// # Errors
/// [`StoreError::Future`] for a newer format, [`StoreError::Damaged`] for a file that says nothing.
pub(super) fn check(dir: &Path) -> Result<bool, StoreError> {
    let path = dir.join(NAME);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(StoreError::io(&path, "reading", e)),
    };
    match parse(&text) {
        Some(RUNS..=FORMAT) => Ok(true),
        Some(found) if found > FORMAT => Err(StoreError::Future {
            path: dir.to_owned(),
            found,
            known: FORMAT,
        }),
        _ => Err(StoreError::damaged(
            dir,
            "the file FORMAT does not say which format",
        )),
    }
}

/// Says that the store has this format from now on.
pub(super) fn write(dir: &Path, format: u64) -> Result<(), StoreError> {
    place::replace(dir, NAME, format!("{WORDS}{format}\n").as_bytes())
}

fn parse(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let number = text.strip_prefix(WORDS)?.strip_suffix('\n')?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_strictly() {
        assert_eq!(parse(b"learner store, format 1\n"), Some(1));
        assert_eq!(parse(b"learner store, format 12\n"), Some(12));
        for bad in [
            "",
            "learner store, format \n",
            "learner store, format 1",
            "learner store, format +1\n",
            "learner store, format 1\n\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}

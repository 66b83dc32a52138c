//! In place of `parquet.rs` where the feature of that name is left out.

use std::fs::File;

use super::error::RecordingError;
use super::part::Parts;

/// Always an error, which says why.
pub(super) fn parts<'n>(_file: File, name: &'n str) -> Result<Parts<'n>, RecordingError> {
    Err(RecordingError::parquet(
        name,
        "this program was built without the feature `parquet`",
    ))
}

//! STUB
#![allow(missing_docs, clippy::allow_attributes_without_reason)]
use crate::observation::Observation;
use crate::profile::RunProfile;
use crate::workload::RunKey;
use std::io::{BufRead, Write};
use std::path::Path;
#[derive(Debug, thiserror::Error)]
#[error("bad")]
pub struct RecordingError;
pub fn read(_: &Path, _: &mut dyn FnMut(Observation)) -> Result<(), RecordingError> {
    Ok(())
}
pub fn read_jsonl(
    _: impl BufRead,
    _: &str,
    _: &mut dyn FnMut(Observation),
) -> Result<(), RecordingError> {
    Ok(())
}
pub fn observations<'a>(
    _: &'a RunKey,
    _: &'a RunProfile,
) -> impl Iterator<Item = Observation> + 'a {
    std::iter::empty()
}
pub struct JsonlWriter<W>(W);
impl<W: Write> JsonlWriter<W> {
    pub fn new(w: W) -> Self {
        Self(w)
    }
    pub fn write(&mut self, _: &Observation) -> Result<(), RecordingError> {
        Ok(())
    }
    pub fn finish(self) -> Result<W, RecordingError> {
        Ok(self.0)
    }
}
pub struct ParquetWriter<W>(W);
impl<W: Write> ParquetWriter<W> {
    pub fn new(w: W) -> Result<Self, RecordingError> {
        Ok(Self(w))
    }
    pub fn write(&mut self, _: &Observation) -> Result<(), RecordingError> {
        Ok(())
    }
    pub fn finish(self) -> Result<W, RecordingError> {
        Ok(self.0)
    }
}

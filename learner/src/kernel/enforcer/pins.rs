//! Where the programs and maps of instances are pinned, and their removal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{EnforceError, pins_error};
use crate::kernel::object::OBJECT;

/// Where instances are pinned.
pub const PINS: &str = "/sys/fs/bpf/learner";

/// Removes the pins of an instance, of every version, or of all. What they enforced is let be. Gives
/// how many there were.
///
/// # Errors
/// [`EnforceError::Pins`].
pub fn release(instance: Option<&str>) -> Result<usize, EnforceError> {
    let mut released = 0;
    for pinned in instances(Path::new(PINS))? {
        if instance.is_none_or(|instance| is_of(&pinned, instance)) {
            remove(&pinned)?;
            released += 1;
        }
    }
    Ok(released)
}

/// Whether anything is pinned of an instance by this version.
///
/// # Errors
/// [`EnforceError::Pins`].
pub fn is_pinned(instance: &str) -> Result<bool, EnforceError> {
    let own = Path::new(PINS).join(pinned_name(instance));
    Ok(instances(Path::new(PINS))?.contains(&own))
}

/// Whether anything is pinned of an instance by another version.
///
/// # Errors
/// [`EnforceError::Pins`].
pub fn is_pinned_by_another(instance: &str) -> Result<bool, EnforceError> {
    let own = Path::new(PINS).join(pinned_name(instance));
    let mut all = instances(Path::new(PINS))?.into_iter();
    Ok(all.any(|other| other != own && is_of(&other, instance)))
}

/// `INSTANCE@HASH`: another object is another state. bpffs refuses names with a dot.
pub(super) fn pinned_name(instance: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(OBJECT);
    let short: String = hash
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{instance}@{short}")
}

pub(super) fn is_of(pinned: &Path, instance: &str) -> bool {
    let name = pinned.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.split_once('@'))
        .is_some_and(|(of, _)| of == instance)
}

pub(super) fn instances(pins: &Path) -> Result<Vec<PathBuf>, EnforceError> {
    let entries = match fs::read_dir(pins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(pins_error(pins, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(|e| pins_error(pins, &e))?.path());
    }
    found.sort();
    Ok(found)
}

pub(super) fn remove(directory: &Path) -> Result<(), EnforceError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(pins_error(directory, &error)),
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(|e| pins_error(directory, &e))?;
    // In the order of their names: whoever is killed in between leaves no program on the hook of the open
    // without those that count what it relies on (`enforce_rmdir`, `renamed`).
    paths.sort();
    for path in paths {
        fs::remove_file(&path).map_err(|e| pins_error(&path, &e))?;
    }
    fs::remove_dir(directory).map_err(|e| pins_error(directory, &e))
}

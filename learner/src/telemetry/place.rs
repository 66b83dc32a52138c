//! Paths as KubeArmor tells them, where they are known for certain.

use super::event::Gap;
use crate::path::AbsPath;

/// Longest path of Linux, bytes, without the NUL at its end.
const MAX_PATH: usize = 4_095;
/// KubeArmor's BPF LSM programs cut paths off at so many bytes.
const LSM_PATH: usize = 199;
/// They follow so many components, and leave out what is before them.
const LSM_DEPTH: usize = 20;

/// A path that is whole and resolved as far as its text tells: symbolic links are not followed.
pub(super) fn resolved(text: &str, is_lsm: bool) -> Result<AbsPath, Gap> {
    let deepest = text.split('/').filter(|component| !component.is_empty());
    match text {
        _ if text.contains([char::REPLACEMENT_CHARACTER, '\0']) => Err(Gap::Garbled),
        _ if text.len() > MAX_PATH || is_lsm && text.len() >= LSM_PATH => Err(Gap::TooLong),
        _ if is_lsm && deepest.count() >= LSM_DEPTH => Err(Gap::TooDeep),
        _ if !text.starts_with('/') => Err(Gap::Unresolved),
        _ if text.split('/').any(|component| component == "..") => Err(Gap::Unresolved),
        _ => {
            let is_directory = text.ends_with('/') || text.ends_with("/.");
            let components = text.split('/');
            let mut plain = String::with_capacity(text.len());
            for component in components.filter(|component| !matches!(*component, "" | ".")) {
                plain.push('/');
                plain.push_str(component);
            }
            if is_directory || plain.is_empty() {
                plain.push('/');
            }
            AbsPath::new(plain).map_err(|_| Gap::Garbled)
        }
    }
}

/// An executable, where it is known for certain.
pub(super) fn program(text: &str, is_lsm: bool) -> Option<AbsPath> {
    if text.ends_with(" (deleted)") {
        return None;
    }
    resolved(text, is_lsm).ok().and_then(|path| {
        // A program is no directory.
        (!path.as_bytes().ends_with(b"/")).then_some(path)
    })
}

/// A directory, as recordings have one that was opened.
pub(super) fn with_slash(path: AbsPath) -> Option<AbsPath> {
    let mut bytes: Vec<u8> = path.into();
    if !bytes.ends_with(b"/") {
        bytes.push(b'/');
    }
    AbsPath::new(bytes).ok()
}

/// `None` for the root.
pub(super) fn without_slash(path: AbsPath) -> Option<AbsPath> {
    let mut bytes: Vec<u8> = path.into();
    if bytes.ends_with(b"/") {
        bytes.pop();
    }
    AbsPath::new(bytes).ok()
}

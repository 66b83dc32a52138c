//! Absolute paths as the kernel sees them: bytes, not text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An absolute, resolved path as seen from the container's root.
///
/// Linux paths are byte strings: any byte but NUL may stand in a component, so a path may hold
/// newlines, quotes, YAML syntax and bytes that are not UTF-8. The order is that of the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct AbsPath(Box<[u8]>);

/// Why bytes are not an [`AbsPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAbsolute {
    /// The first byte is not a slash.
    #[error("a path must begin with '/'")]
    Relative,
    /// A NUL byte, which no Linux path can hold.
    #[error("a path cannot hold a NUL byte")]
    Nul,
}

impl AbsPath {
    /// Takes bytes that begin with `/` and hold no NUL.
    ///
    /// # Errors
    /// [`NotAbsolute`] says which of the two does not hold.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, NotAbsolute> {
        let bytes = bytes.into();
        if bytes.first() != Some(&b'/') {
            return Err(NotAbsolute::Relative);
        }
        if bytes.contains(&0) {
            return Err(NotAbsolute::Nul);
        }
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// Joins components, root first: no component gives `/`.
    ///
    /// # Errors
    /// [`NotAbsolute::Nul`] if a component holds a NUL byte.
    pub fn from_components<'a>(
        components: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, NotAbsolute> {
        let mut bytes = Vec::new();
        for component in components {
            bytes.push(b'/');
            bytes.extend_from_slice(component);
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        Self::new(bytes)
    }

    /// The bytes, leading slash included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The path for the file system calls of this process.
    pub fn as_path(&self) -> &std::path::Path {
        use std::os::unix::ffi::OsStrExt;
        std::path::Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }
}

impl TryFrom<Vec<u8>> for AbsPath {
    type Error = NotAbsolute;
    fn try_from(bytes: Vec<u8>) -> Result<Self, NotAbsolute> {
        Self::new(bytes)
    }
}

impl TryFrom<&str> for AbsPath {
    type Error = NotAbsolute;
    fn try_from(text: &str) -> Result<Self, NotAbsolute> {
        Self::new(text.as_bytes())
    }
}

impl From<AbsPath> for Vec<u8> {
    fn from(path: AbsPath) -> Self {
        path.0.into_vec()
    }
}

/// Safe for a terminal or a log: control characters and bytes that are not UTF-8 are escaped.
impl fmt::Display for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_shown_escaped_and_kept_whole() {
        let path = AbsPath::new(&b"/tmp/a\nb\xff\x1b[31m"[..]).expect("absolute");
        assert_eq!(path.to_string(), "/tmp/a\\nb\\xff\\u{1b}[31m");
        assert_eq!(path.as_bytes(), b"/tmp/a\nb\xff\x1b[31m");
        assert_eq!(path.as_str(), None);
    }

    #[test]
    fn a_relative_path_and_a_nul_are_refused() {
        assert_eq!(AbsPath::new(&b"etc/x"[..]), Err(NotAbsolute::Relative));
        assert_eq!(AbsPath::new(&b""[..]), Err(NotAbsolute::Relative));
        assert_eq!(AbsPath::new(&b"/a\0b"[..]), Err(NotAbsolute::Nul));
    }
}

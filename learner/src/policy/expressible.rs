//! Which paths can stand in a rule.

use std::fmt;

use super::crd::{self, MAX_KEY_BYTES};

/// Why a path has no rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// YAML and KubeArmor's CRD hold text.
    NotUtf8,
    /// The CRD's pattern does not match a newline before the end.
    Newline,
    /// KubeArmor compares [`MAX_KEY_BYTES`] at most.
    TooLong {
        /// The length of the path.
        bytes: usize,
    },
    /// `//`, `/./` or `/../`: KubeArmor compares resolved paths, which have none.
    NotResolved,
    /// A program whose path ends in a slash.
    NotAProgram,
    /// KubeArmor's AppArmor template neither quotes nor escapes.
    AppArmorSyntax,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("it is not UTF-8, and a policy holds only text"),
            Self::Newline => f.write_str("KubeArmor's CRD refuses a newline within a path"),
            Self::TooLong { bytes } => write!(
                f,
                "it is {bytes} bytes long, and KubeArmor matches {MAX_KEY_BYTES} at most"
            ),
            Self::NotResolved => f.write_str(
                "it holds '//', '.' or '..', and KubeArmor compares resolved paths, which do not",
            ),
            Self::AppArmorSyntax => f.write_str(
                "it holds what AppArmor takes for its own syntax, and KubeArmor does not quote it",
            ),
            Self::NotAProgram => f.write_str("it ends in '/', which no program does"),
        }
    }
}

/// The path as a rule may hold it, or why none may.
pub(crate) fn expressible(path: &[u8]) -> Result<String, Reason> {
    let text = std::str::from_utf8(path).map_err(|_| Reason::NotUtf8)?;
    if path.len() > MAX_KEY_BYTES {
        return Err(Reason::TooLong { bytes: path.len() });
    }
    if text
        .split('/')
        .skip(1)
        .any(|c| matches!(c, "" | "." | ".."))
    {
        return Err(Reason::NotResolved);
    }
    if !crd::is_path(text) {
        return Err(Reason::Newline);
    }
    Ok(text.to_owned())
}

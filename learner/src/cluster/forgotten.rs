//! What a person has had forgotten of a workload, as it stands in the specification of `WorkloadPosture`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::behavior::OpKind;
use crate::mention::Mention;
use crate::path::AbsPath;

/// At most so many things are forgotten of one workload.
pub const MAX_FORGOTTEN: usize = 256;

/// Something that is not to be learned. In paths a backslash, and bytes that are no printable text, are
/// written as `\x7b`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForgottenRow {
    /// Only operations of this kind; all, if not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub op: Option<String>,
    /// The name, or with a slash at the end all below it.
    #[schemars(length(min = 1, max = 16384))]
    pub path: String,
    /// Only what this program did. All, if not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub source: Option<String>,
}

impl ForgottenRow {
    /// Of what a person names.
    pub fn of(mention: &Mention) -> Self {
        Self {
            op: mention.op.map(|op| op.as_str().to_owned()),
            path: written(&mention.path),
            source: mention.source.as_ref().map(written),
        }
    }

    /// What it names, or what is wrong with it.
    pub(super) fn mention(&self) -> Result<Mention, String> {
        let op = self.op.as_deref();
        let op = op.map(|op| {
            OpKind::parse(op).ok_or_else(|| format!("'{}' is no operation", op.escape_debug()))
        });
        Ok(Mention {
            op: op.transpose()?,
            path: read(&self.path)?,
            source: self.source.as_deref().map(read).transpose()?,
        })
    }
}

fn written(path: &AbsPath) -> String {
    let mut text = String::new();
    for chunk in path.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    text.push_str(&format!("\\x{byte:02x}"));
                }
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn read(text: &str) -> Result<AbsPath, String> {
    let bad = || format!("'{}' is no path", text.escape_debug());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'\\' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = after.strip_prefix(b"x").and_then(|after| after.get(..2));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or_else(bad)?);
        rest = &after[3..];
    }
    AbsPath::new(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_is_written_and_read_again() {
        for path in [
            &b"/etc/shadow"[..],
            b"/tmp/",
            b"/a\\x41b/\xff\n{}",
            "/é/\u{1b}[2J".as_bytes(),
        ] {
            let mention = Mention {
                op: Some(OpKind::ALL[0]),
                path: AbsPath::new(path).expect("a path"),
                source: Some(AbsPath::new(path).expect("a path")),
            };
            let row = ForgottenRow::of(&mention);
            assert!(!row.path.contains(char::is_control), "{row:?}");
            assert_eq!(row.mention(), Ok(mention));
        }
    }

    #[test]
    fn what_is_none_is_an_error_that_names_it() {
        let row = |op: Option<&str>, path: &str| ForgottenRow {
            op: op.map(str::to_owned),
            path: path.to_owned(),
            source: None,
        };
        for (row, said) in [
            (row(None, "etc"), "'etc' is no path"),
            (row(None, "/a\\x4"), "is no path"),
            (row(None, "/a\\n"), "is no path"),
            (row(None, "/a\\xzz"), "is no path"),
            (row(Some("look"), "/a"), "'look' is no operation"),
        ] {
            let error = row.mention().expect_err("bad");
            assert!(error.contains(said), "{error}");
        }
    }
}

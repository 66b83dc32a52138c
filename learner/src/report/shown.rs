//! Names, paths, times and shares as they are shown, and as JSON has them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::observation::Moment;
use crate::path::AbsPath;

/// Text that somebody else chose: exact in JSON, escaped where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(self.0))
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// A path: escaped where it is shown. In JSON an object, `path` and, if that is not UTF-8, its bytes
/// in base64 as `pathBytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path<'a>(pub(super) &'a AbsPath);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&said(self.0))
    }
}

impl Serialize for Path<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Path", 2)?;
        match self.0.as_str() {
            Some(text) => object.serialize_field("path", text)?,
            None => {
                object.serialize_field("path", &self.0.to_string())?;
                object.serialize_field("pathBytes", &BASE64.encode(self.0.as_bytes()))?;
            }
        }
        object.end()
    }
}

/// A sentence that may hold names, made safe to show.
pub(super) fn said(sentence: impl fmt::Display) -> String {
    visible(&sentence.to_string())
}

/// Control characters are escaped, and so is what is not seen or turns the text around it.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_unseen(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Line separators, marks of direction (UAX #9), joiners, fillers and tags.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `None` beyond the years that a timestamp can hold.
pub(super) fn time(moment: Moment) -> Option<Timestamp> {
    Timestamp::from_microsecond(moment.0).ok()
}

/// To the second, or `?`.
pub(super) fn second(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "?".to_owned(), |at| at.strftime("%FT%TZ").to_string())
}

/// `1 rule`, `2 rules`.
pub(super) fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_the_text_around_is_escaped() {
        assert_eq!(
            visible("a\u{202e}b\u{200b}\n\u{7f}é"),
            "a\\u{202e}b\\u{200b}\\n\\u{7f}é"
        );
    }
}

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

/// A share that is expected, in percent; what is above 0 is never shown as 0.
pub(super) fn expected(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 0.1 => "below 0.1 %".to_owned(),
        percent => format!("{} %", plain((percent * 10.0).round() / 10.0)),
    }
}

/// A share that is an upper bound, in percent, rounded up.
pub(super) fn bound(share: f64) -> String {
    // What only arithmetic made greater is not rounded up.
    format!("{} %", plain((share * 1000.0 - 1e-9).ceil() / 10.0))
}

fn plain(percent: f64) -> String {
    if percent.fract() == 0.0 {
        format!("{percent:.0}")
    } else {
        format!("{percent:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_never_shown_smaller_and_a_chance_never_as_none() {
        assert_eq!(bound(0.5271), "52.8 %");
        assert_eq!(bound(1.0), "100 %");
        assert_eq!(bound(0.3), "30 %");
        assert_eq!(expected(0.0), "0 %");
        assert_eq!(expected(0.0004), "below 0.1 %");
        assert_eq!(expected(0.024), "2.4 %");
    }

    #[test]
    fn what_turns_the_text_around_is_escaped() {
        assert_eq!(
            visible("a\u{202e}b\u{200b}\n\u{7f}é"),
            "a\\u{202e}b\\u{200b}\\n\\u{7f}é"
        );
    }
}

//! A line of JSON Lines apart from how often and when: lines of one outline state the same.
//!
//! A recording spells the same statement the same way each time. Once a line has been parsed, those
//! that differ from it in nothing but the values of `at`, `last` and `count` need not be.

use std::ops::Range;

use super::line::{Kind, Line, When};
use memchr::memmem::Finder;

/// Where the values of `at`, `last` and `count` stand in a line; texts without their quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blanks {
    pub(super) at: Range<usize>,
    pub(super) last: Option<Range<usize>>,
    pub(super) count: Option<Range<usize>>,
}

/// Looks for what may be the values, without parsing.
pub(super) struct Finders {
    at: Finder<'static>,
    last: Finder<'static>,
    count: Finder<'static>,
}

impl Default for Finders {
    fn default() -> Self {
        Self {
            at: Finder::new(br#""at""#),
            last: Finder::new(br#""last""#),
            count: Finder::new(br#""count""#),
        }
    }
}

impl Finders {
    /// What stands after the first of each name, if that is a plain text or number. It may be
    /// another field's: [`Finders::are_of`] knows.
    pub(super) fn guess(&self, line: &[u8]) -> Option<Blanks> {
        let text = |finder| plain_text(line, value(line, finder)?);
        let number = |finder| plain_number(line, value(line, finder)?);
        Some(Blanks {
            at: text(&self.at)?,
            last: text(&self.last),
            count: number(&self.count),
        })
    }

    /// Whether the blanks are where the values stand in this line, which was parsed: it has these
    /// fields and no others of the three, each name is in it once, and no name is spelled with
    /// escapes.
    pub(super) fn are_of(&self, blanks: &Blanks, text: &[u8], line: &Line<'_>) -> bool {
        let once = |finder: &Finder<'_>| finder.find_iter(text).take(2).count() == 1;
        let fits = |is_blank, is_field, finder| match (is_blank, is_field) {
            (true, true) => once(finder),
            (is_blank, is_field) => !is_blank && !is_field,
        };
        memchr::memchr(b'\\', text).is_none()
            && once(&self.at)
            && fits(blanks.last.is_some(), line.last.is_some(), &self.last)
            && fits(blanks.count.is_some(), line.count.is_some(), &self.count)
    }
}

/// Where the value begins that stands after the first of these names.
fn value(line: &[u8], name: &Finder<'_>) -> Option<usize> {
    let after = name.find(line)? + name.needle().len();
    let colon = after + spaces(line.get(after..)?);
    let begin = (line.get(colon) == Some(&b':')).then_some(colon + 1)?;
    Some(begin + spaces(line.get(begin..)?))
}

fn spaces(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == b' ').count()
}

/// A text as a time is written: in it is nothing that JSON would have to escape.
fn plain_text(line: &[u8], begin: usize) -> Option<Range<usize>> {
    let rest = line.get(begin..)?.strip_prefix(b"\"")?;
    let is_plain =
        |byte: &&u8| byte.is_ascii_digit() || matches!(byte, b'T' | b'Z' | b':' | b'.' | b'-');
    let len = rest.iter().take_while(is_plain).count();
    (rest.get(len) == Some(&b'"')).then(|| begin + 1..begin + 1 + len)
}

/// A whole number that fits 64 bits.
fn plain_number(line: &[u8], begin: usize) -> Option<Range<usize>> {
    let rest = line.get(begin..)?;
    let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_plain = match rest.first()? {
        b'0' => len == 1,
        _ => (1..20).contains(&len),
    };
    is_plain.then(|| begin..begin + len)
}

impl Blanks {
    /// What the values say.
    pub(super) fn when<'l>(&self, line: &'l [u8], kind: Kind) -> Option<When<'l>> {
        let text = |blank: &Range<usize>| std::str::from_utf8(line.get(blank.clone())?).ok();
        Some(When {
            kind,
            at: text(&self.at)?,
            last: match &self.last {
                Some(last) => Some(text(last)?),
                None => None,
            },
            count: match &self.count {
                Some(count) => Some(text(count)?.parse().ok()?),
                None => None,
            },
        })
    }

    /// Writes what is left of the line. Equal bytes are equal lines but for the values.
    pub(super) fn write_outline(&self, line: &[u8], into: &mut Vec<u8>) {
        let none = line.len()..line.len();
        let mut blanks = [
            (self.at.clone(), 0_u8),
            (self.last.clone().unwrap_or(none.clone()), 1),
            (self.count.clone().unwrap_or(none), 2),
        ];
        blanks.sort_unstable_by_key(|(blank, which)| (blank.start, *which));
        let mut from = 0;
        for (blank, which) in &blanks {
            into.extend_from_slice(&line[from..blank.start]);
            from = blank.end;
            // No line of JSON Lines has a line feed in it.
            into.extend_from_slice(&[b'\n', *which]);
        }
        into.extend_from_slice(&line[from..]);
    }
}

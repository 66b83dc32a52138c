//! Shapes as text that can be read back.
//!
//! A varying token is its class in braces: `/proc/{pid}/stat`, `/tmp/app-{number}.log`; cgroups that come
//! and go, any number of segments, are `{cgroup*}`, what is in a run's own directory `{within*}`. A backslash, a brace, a control character and what
//! is not UTF-8 are written byte by byte, `\x7b`: so no name can be taken for a class.

use std::fmt::Write as _;
use std::str::FromStr;

use super::{Form, Piece, Segment, Shape};
use crate::generalize::class::Class;

/// Classes of any number of segments, and how they are written.
const TREES: [(Class, &str); 2] = [(Class::Cgroup, "{cgroup*}"), (Class::Within, "{within*}")];

/// Longest text that is read, bytes: a path of 4,096 bytes, each written as four.
const MAX_TEXT: usize = 4 * 4096;

/// A text that is no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadShape {
    /// It does not begin with a slash.
    #[error("a shape begins with '/'")]
    Relative,
    /// Two slashes, one after the other.
    #[error("a segment of the shape is empty")]
    Empty,
    /// More bytes than any path's shape has.
    #[error("a shape of {0} bytes is longer than that of any path")]
    TooLong(usize),
    /// What stands in braces is no class.
    #[error("'{}' is no class of names", .0.escape_debug())]
    Class(String),
    /// A backslash that is not followed by `x` and two hexadecimal digits other than those of a NUL or
    /// slash, or a brace that is not closed.
    #[error("the shape has a backslash or brace that says nothing")]
    Escape,
}

impl Shape {
    /// As text, from which [`Shape::from_str`] makes it again.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            match segment {
                Segment::Literal(name) => push(&mut text, name),
                Segment::Varying(form) => {
                    for piece in &form.0 {
                        match piece {
                            Piece::Text(name) => push(&mut text, name),
                            Piece::Token(class) => {
                                let _ = write!(text, "{{{class}}}");
                            }
                        }
                    }
                }
                Segment::Tree(class) => {
                    let _ = write!(text, "{{{class}*}}");
                }
            }
        }
        if self.directory || self.segments.is_empty() {
            text.push('/');
        }
        text
    }
}

fn push(text: &mut String, name: &[u8]) {
    let byte = |text: &mut String, byte: u8| {
        let _ = write!(text, "\\x{byte:02x}");
    };
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || matches!(c, '\\' | '{' | '}') {
                let mut utf8 = [0; 4];
                for part in c.encode_utf8(&mut utf8).bytes() {
                    byte(text, part);
                }
            } else {
                text.push(c);
            }
        }
        for invalid in chunk.invalid() {
            byte(text, *invalid);
        }
    }
}

impl FromStr for Shape {
    type Err = BadShape;

    fn from_str(text: &str) -> Result<Self, BadShape> {
        if text.len() > MAX_TEXT {
            return Err(BadShape::TooLong(text.len()));
        }
        let rest = text.strip_prefix('/').ok_or(BadShape::Relative)?;
        if rest.is_empty() {
            return Ok(Self {
                segments: Vec::new(),
                directory: true,
            });
        }
        let (rest, directory) = match rest.strip_suffix('/') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let segments = rest.split('/').map(segment).collect::<Result<_, _>>()?;
        Ok(Self {
            segments,
            directory,
        })
    }
}

fn segment(text: &str) -> Result<Segment, BadShape> {
    if text.is_empty() {
        return Err(BadShape::Empty);
    }
    if let Some((class, _)) = TREES.iter().find(|(_, tree)| *tree == text) {
        return Ok(Segment::Tree(*class));
    }
    let mut pieces = Vec::new();
    let mut name = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match c {
            '{' => {
                let (class, after) = rest[1..].split_once('}').ok_or(BadShape::Escape)?;
                let known = Class::parse(class);
                let known = known.ok_or_else(|| BadShape::Class(class.to_owned()))?;
                if !name.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut name).into()));
                }
                pieces.push(Piece::Token(known));
                rest = after;
            }
            '}' => return Err(BadShape::Escape),
            '\\' => {
                let digits = rest.strip_prefix("\\x").and_then(|hex| hex.get(..2));
                let digits = digits.ok_or(BadShape::Escape)?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).map_err(|_| BadShape::Escape)?;
                if matches!(byte[0], 0 | b'/') {
                    return Err(BadShape::Escape);
                }
                name.push(byte[0]);
                rest = &rest[4..];
            }
            '\0' => return Err(BadShape::Escape),
            c => {
                name.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if pieces.is_empty() {
        return Ok(Segment::Literal(name.into()));
    }
    if !name.is_empty() {
        pieces.push(Piece::Text(name.into()));
    }
    Ok(Segment::Varying(Form(pieces)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece() -> impl Strategy<Value = Piece> {
        let text = prop::collection::vec(any::<u8>(), 1..6)
            .prop_map(|bytes| {
                bytes
                    .into_iter()
                    .map(|b| if matches!(b, 0 | b'/') { b'{' } else { b })
            })
            .prop_map(|bytes| Piece::Text(bytes.collect()));
        prop_oneof![
            text,
            prop::sample::select(&Class::ALL[..]).prop_map(Piece::Token)
        ]
    }

    /// As parts of a segment come out of a name: no two texts side by side.
    fn any_segment() -> impl Strategy<Value = Segment> {
        let form = prop::collection::vec(piece(), 1..4).prop_map(|pieces| {
            let mut whole: Vec<Piece> = Vec::new();
            for piece in pieces {
                match (whole.last_mut(), piece) {
                    (Some(Piece::Text(before)), Piece::Text(after)) => {
                        *before = [&**before, &*after].concat().into();
                    }
                    (_, piece) => whole.push(piece),
                }
            }
            match &whole[..] {
                [Piece::Text(name)] => Segment::Literal(name.clone()),
                _ => Segment::Varying(Form(whole)),
            }
        });
        let tree = prop::sample::select(&TREES[..]).prop_map(|(class, _)| Segment::Tree(class));
        prop_oneof![9 => form, 1 => tree]
    }

    proptest! {
        #[test]
        fn a_shape_is_read_back_from_its_text(
            segments in prop::collection::vec(any_segment(), 0..5),
            directory in any::<bool>(),
        ) {
            let directory = directory || segments.is_empty();
            let shape = Shape { segments, directory };
            prop_assert_eq!(shape.text().parse(), Ok(shape));
        }

        #[test]
        fn any_text_is_a_shape_of_that_text_or_refused(text in "(/([a-z]|\\\\x[0-9a-f]{2}|\\{pid\\}|[{}\\\\*])*){0,4}") {
            if let Ok(shape) = text.parse::<Shape>() {
                prop_assert_eq!(shape.text().parse(), Ok(shape));
            }
        }
    }

    #[test]
    fn a_name_cannot_pass_for_a_class() {
        let planted = Shape {
            segments: vec![Segment::Literal(b"{pid}"[..].into())],
            directory: false,
        };
        assert_eq!(planted.text(), "/\\x7bpid\\x7d");
        assert_eq!(planted.text().parse(), Ok(planted));
    }

    #[test]
    fn what_no_node_would_write_is_refused() {
        for (text, why) in [
            ("", BadShape::Relative),
            ("proc", BadShape::Relative),
            ("//a", BadShape::Empty),
            ("/a//", BadShape::Empty),
            ("/{pid", BadShape::Escape),
            ("/pid}", BadShape::Escape),
            ("/\\x2f", BadShape::Escape),
            ("/\\x00", BadShape::Escape),
            ("/\\x", BadShape::Escape),
            ("/\\xé", BadShape::Escape),
            ("/a\0", BadShape::Escape),
            ("/{pids}", BadShape::Class("pids".to_owned())),
        ] {
            assert_eq!(text.parse::<Shape>(), Err(why), "{text:?}");
        }
        let long = "/".to_owned() + &"a".repeat(MAX_TEXT);
        assert_eq!(long.parse::<Shape>(), Err(BadShape::TooLong(MAX_TEXT + 1)));
    }
}

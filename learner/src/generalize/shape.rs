//! The shape of a path: its segments, those that vary by what they are.

mod text;

use std::fmt;

pub use text::BadShape;

use super::class::{Class, Form, Piece};
use super::names::Name;
use crate::path::AbsPath;

/// One segment of a shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Segment {
    /// This name.
    Literal(Box<[u8]>),
    /// Any name of the form.
    Varying(Form),
    /// Any number of segments, at least one.
    Tree(Class),
}

/// What was settled of the paths of a behaviour, where its own paths are examples.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Known {
    /// Of its path.
    pub path: Shape,
    /// Of its second one.
    pub to: Option<Shape>,
    /// The acting program has another name in other runs.
    pub source_varies: bool,
}

/// A path in which what varies from run to run is replaced by its class: `/proc/{pid}/stat`.
///
/// Names of the same shape are the same behaviour. A shape without a varying segment is one path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    pub(super) segments: Vec<Segment>,
    /// A directory that was opened itself: a slash at the end.
    pub(super) directory: bool,
}

impl Shape {
    /// Its segments, as they are told to what settles which names vary.
    pub(super) fn names(&self) -> impl Iterator<Item = Name<'_>> {
        self.segments.iter().map(|segment| match segment {
            Segment::Literal(name) => Name::Seen(name),
            Segment::Varying(form) => Name::Varying(form),
            Segment::Tree(class) => Name::Tree(*class),
        })
    }

    /// A path of this shape: the path, if nothing in it varies. `None` if a name holds what no path can.
    pub fn example(&self) -> Option<AbsPath> {
        let mut bytes = Vec::new();
        for segment in &self.segments {
            bytes.push(b'/');
            match segment {
                Segment::Literal(name) => bytes.extend_from_slice(name),
                Segment::Varying(form) => {
                    for piece in &form.0 {
                        match piece {
                            Piece::Text(text) => bytes.extend_from_slice(text),
                            Piece::Token(class) => bytes.extend_from_slice(class.example()),
                        }
                    }
                }
                Segment::Tree(class) => bytes.extend_from_slice(class.example()),
            }
        }
        if self.directory || bytes.is_empty() {
            bytes.push(b'/');
        }
        AbsPath::new(bytes).ok()
    }

    /// The path, if nothing in it varies.
    pub fn literal(&self) -> Option<AbsPath> {
        let mut bytes = Vec::new();
        for segment in &self.segments {
            let Segment::Literal(name) = segment else {
                return None;
            };
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        if self.directory || bytes.is_empty() {
            bytes.push(b'/');
        }
        AbsPath::new(bytes).ok()
    }

    /// `/` itself.
    pub(super) fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// Whether any segment varies.
    pub fn varies(&self) -> bool {
        self.fixed() < self.segments.len()
    }

    /// How many segments come before the first that varies.
    pub(super) fn fixed(&self) -> usize {
        self.segments
            .iter()
            .take_while(|segment| matches!(segment, Segment::Literal(_)))
            .count()
    }

    /// The first segments, all of them literal, as a directory with its slash.
    pub(super) fn directory_of(&self, depth: usize) -> Option<AbsPath> {
        let mut bytes = vec![b'/'];
        for segment in self.segments.iter().take(depth) {
            let Segment::Literal(name) = segment else {
                return None;
            };
            bytes.extend_from_slice(name);
            bytes.push(b'/');
        }
        AbsPath::new(bytes).ok()
    }

    /// Whether there is just one segment after the first `depth`.
    pub(super) fn is_child_at(&self, depth: usize) -> bool {
        self.segments.len() == depth + 1 && !matches!(self.segments.last(), Some(Segment::Tree(_)))
    }

    /// The classes that stand in it, in the order of the path.
    pub fn classes(&self) -> Vec<Class> {
        let mut classes = Vec::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(_) => {}
                Segment::Varying(form) => classes.extend(form.classes()),
                Segment::Tree(class) => classes.push(*class),
            }
        }
        classes
    }

    /// As an AppArmor pattern. A byte that AppArmor would take for its own syntax, or that is not
    /// printable ASCII, becomes `?`, which is any one byte.
    pub fn glob(&self) -> String {
        let mut glob = String::new();
        for segment in &self.segments {
            glob.push('/');
            match segment {
                Segment::Literal(name) => push_text(&mut glob, name),
                Segment::Varying(form) => {
                    for piece in &form.0 {
                        match piece {
                            Piece::Text(text) => push_text(&mut glob, text),
                            Piece::Token(class) => glob.push_str(class.glob()),
                        }
                    }
                }
                Segment::Tree(class) => glob.push_str(class.glob()),
            }
        }
        if self.directory || self.segments.is_empty() {
            glob.push('/');
        }
        glob
    }
}

fn push_text(glob: &mut String, text: &[u8]) {
    for byte in text {
        let plain = byte.is_ascii() && is_plain(*byte);
        glob.push(if plain { char::from(*byte) } else { '?' });
    }
}

/// Whether KubeArmor's AppArmor template, which neither quotes nor escapes, leaves the byte what it
/// is.
pub(super) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-+:@~%/".contains(&byte) || !byte.is_ascii()
}

/// As [`AbsPath`] is shown, with `{class}` for what varies.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |f: &mut fmt::Formatter<'_>, bytes: &[u8]| {
            let path = AbsPath::from_components([bytes]).map_err(|_| fmt::Error)?;
            f.write_str(&path.to_string()[1..])
        };
        for segment in &self.segments {
            f.write_str("/")?;
            match segment {
                Segment::Literal(name) => text(f, name)?,
                Segment::Varying(form) => {
                    for piece in &form.0 {
                        match piece {
                            Piece::Text(bytes) => text(f, bytes)?,
                            Piece::Token(class) => write!(f, "{{{class}}}")?,
                        }
                    }
                }
                Segment::Tree(class) => write!(f, "{{{class}…}}")?,
            }
        }
        if self.directory || self.segments.is_empty() {
            f.write_str("/")?;
        }
        Ok(())
    }
}

//! Rules before they are a document, and what each of them allows.

use std::fmt;

use super::item::{Need, RuleClass, Support};
use super::shape::{Segment, Shape};
use crate::path::AbsPath;

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// One path, without a slash at the end.
    Path(AbsPath),
    /// A directory, with its slash: itself and its direct children, or all below it.
    Directory {
        /// With a slash at the end.
        dir: AbsPath,
        /// All below it.
        recursive: bool,
    },
    /// What an AppArmor pattern matches.
    Pattern(Shape),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{path}"),
            Self::Directory { dir, recursive } => {
                write!(f, "{dir}{}", if *recursive { "**" } else { "*" })
            }
            Self::Pattern(shape) => write!(f, "{shape}"),
        }
    }
}

/// One rule for one program, or for all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Of which class.
    pub class: RuleClass,
    /// About what.
    pub target: Target,
    /// For this program alone.
    pub source: Option<AbsPath>,
}

impl Rule {
    /// Whether it allows what is needed, writing left aside.
    pub(super) fn covers(&self, need: &Need) -> bool {
        self.class == need.class
            && (self.source.is_none() || self.source == need.source)
            && self.target.covers(&need.shape)
    }

    /// How wide it is: of two rules that allow the same need, the wider one has the greater.
    pub(super) fn width(&self) -> (usize, usize, usize) {
        let unscoped = usize::from(self.source.is_none());
        match &self.target {
            Target::Path(_) => (0, unscoped, 0),
            Target::Pattern(shape) => (1, unscoped, shape.classes().len()),
            Target::Directory { dir, recursive } => {
                let depth = super::names::segments(dir).count();
                (2 + usize::from(*recursive), unscoped, usize::MAX - depth)
            }
        }
    }
}

impl Target {
    pub(super) fn covers(&self, shape: &Shape) -> bool {
        match self {
            Self::Path(path) => !shape.varies() && is_path(path, shape),
            Self::Directory { dir, recursive } => {
                let depth = super::names::segments(dir).count();
                let below = shape.segments.len() > depth
                    && shape.fixed() >= depth
                    && shape.directory_of(depth).as_ref() == Some(dir);
                let itself = || {
                    !shape.varies()
                        && shape.segments.len() == depth
                        && shape.directory_of(depth).as_ref() == Some(dir)
                };
                if below {
                    *recursive || shape.is_child_at(depth)
                } else {
                    itself()
                }
            }
            Self::Pattern(pattern) => super::pattern::covers(pattern, shape),
        }
    }
}

fn is_path(path: &AbsPath, shape: &Shape) -> bool {
    let mut names = super::names::segments(path);
    shape
        .segments
        .iter()
        .all(|segment| matches!(segment, Segment::Literal(name) if names.next() == Some(&**name)))
        && names.next().is_none()
}

/// A rule and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The rule.
    pub rule: Rule,
    /// Reading only.
    pub read_only: bool,
    /// What it has to allow, with what was seen of it.
    pub needs: Vec<(Need, Support)>,
}

//! Which names are known to vary before all runs are told of.

use super::item::{Needs, Seen};
use super::names::{self, Until};
use super::shape::Shape;
use crate::path::AbsPath;

/// Which of the names that were seen vary, whatever is seen elsewhere.
#[derive(Debug)]
pub struct Settled(names::Settled);

impl Settled {
    /// By some of the runs. A name that is the same in all of these may be in all others, and is not
    /// settled; nor is the only one that was seen, unless its class says enough.
    pub fn until_joined(seen: &[Seen<'_>]) -> Self {
        Self(Needs::of(seen, Until::Joined).names)
    }

    /// The shape of a path: what is settled, and the names as they are.
    pub fn shape(&self, path: &AbsPath) -> Shape {
        let is_directory = path.as_bytes().ends_with(b"/");
        self.0.shape(names::seen(path), is_directory)
    }
}

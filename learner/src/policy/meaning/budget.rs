//! What the rules take of a container's rule map.

use std::sync::Arc;

use super::enforcer::Class;
use super::judgement::Rule;

/// Keys of the rule map that the policies of a container take.
///
/// The daemon puts the keys class by class, in the order of [`Class`], the posture of a class
/// before its rules, and within a class in the random order of a Go map. Here it is that of the
/// policies: how many keys a class loses is exact, which of them is chance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Keys wanted, postures included.
    pub wanted: usize,
    /// Keys there is room for; none where the enforcer has no limit.
    pub limit: Option<usize>,
    /// What there was no room for.
    pub dropped: Vec<Dropped>,
    /// Classes whose posture key was lost: they are not restricted any more, whatever the rules
    /// say.
    pub unrestricted: Vec<Class>,
}

/// A key that there was no room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The path or prefix of it, or the name of the posture key.
    pub key: String,
    /// The rule that wanted it; none for a posture.
    pub rule: Option<Arc<Rule>>,
}

impl Budget {
    /// Everything has room.
    pub fn fits(&self) -> bool {
        self.dropped.is_empty()
    }
}

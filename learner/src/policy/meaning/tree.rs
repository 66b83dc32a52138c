//! Rules as a tree of names, as Learner's own kernel programs look them up
//! (`learner-ebpf/src/bpf/follow.rs`).

use std::collections::BTreeMap;

use super::enforcer::Posture;

/// A node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// Rules for all programs.
    pub const GLOBAL: Self = Self(1);
    /// Paths of programs that have rules of their own.
    pub const SOURCES: Self = Self(2);
    /// Names of programs, without a directory.
    pub const NAMES: Self = Self(3);
    pub(super) const FIRST: u32 = 4;
}

/// Masks as in KubeArmor's rule map (`BPF/shared.h`); 0 where there is no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// For programs.
    pub process: u16,
    /// For files.
    pub file: u16,
}

/// What is known of one name below a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// The node that it leads to, if there are rules further on.
    pub child: Option<NodeId>,
    /// Below [`NodeId::SOURCES`]: where the rules for this program start.
    pub source: Option<NodeId>,
    /// The rule about this file or program.
    pub own: Rule,
    /// The rule about what is in this directory.
    pub below: Rule,
}

/// Rules as a tree. The name of a branch is a component of a path, without slashes; an empty one
/// stands for the directory of its node: the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// What becomes of programs that no rule is about; None if no rule allows a program.
    pub process: Option<Posture>,
    /// What becomes of files that no rule is about; None if no rule allows a file.
    pub file: Option<Posture>,
    /// The branches, by the node that they start from and their name.
    pub branches: BTreeMap<(NodeId, Box<[u8]>), Branch>,
}

impl Tree {
    /// Whether some programs have rules of their own.
    pub fn has_sources(&self) -> bool {
        self.branches.values().any(|branch| branch.source.is_some())
    }
}

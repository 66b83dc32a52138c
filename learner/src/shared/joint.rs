//! The parts of all nodes, of all revisions.

use std::collections::BTreeMap;

use super::part::Part;
use crate::observation::Loss;
use crate::posture::Revision;

/// What all nodes have told. Adding is a join: order, repetition and grouping make no difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joint {
    parts: BTreeMap<Revision, BTreeMap<String, Part>>,
}

impl Joint {
    /// What a node has told of a revision, or a piece of it.
    pub fn add(&mut self, revision: &Revision, node: &str, part: &Part) {
        let of = self.parts.entry(revision.clone()).or_default();
        of.entry(node.to_owned()).or_default().join(part);
    }

    /// What others have told.
    pub fn join(&mut self, other: &Self) {
        for (revision, parts) in &other.parts {
            for (node, part) in parts {
                self.add(revision, node, part);
            }
        }
    }

    /// Something of what a node has told is not here: all its runs of the revision are partial.
    pub fn lose(&mut self, revision: &Revision, node: &str, reason: &Loss, count: u64) {
        let part = self.parts.get_mut(revision).and_then(|of| of.get_mut(node));
        for run in part.into_iter().flat_map(|part| part.runs.values_mut()) {
            let lost = run.lost.entry(reason.clone()).or_default();
            *lost = (*lost).max(count);
        }
    }

    /// The parts, by revision and node.
    pub fn parts(&self) -> impl Iterator<Item = (&Revision, &str, &Part)> {
        self.parts.iter().flat_map(|(revision, parts)| {
            parts
                .iter()
                .map(move |(node, part)| (revision, node.as_str(), part))
        })
    }
}

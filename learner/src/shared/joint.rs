//! The parts of all nodes, of all revisions.

use std::collections::{BTreeMap, BTreeSet};

use super::packed::{Packed, Pool};
use super::part::Part;
use crate::observation::{Loss, Moment};
use crate::posture::Revision;
use crate::workload::{Labels, Workload};

/// What all nodes have told. Adding is a join: order, repetition and grouping make no difference.
#[derive(Clone, Debug, Default)]
pub struct Joint {
    parts: BTreeMap<Revision, BTreeMap<String, Packed>>,
    pool: Pool,
}

impl PartialEq for Joint {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Joint {}

impl Joint {
    /// What a node has told of a revision, or a piece of it.
    pub fn add(&mut self, revision: &Revision, node: &str, part: &Part) {
        let packed = Packed::of(part, &mut self.pool);
        self.add_packed(revision, node, packed);
    }

    /// The same, of what is packed already.
    pub fn add_packed(&mut self, revision: &Revision, node: &str, packed: Packed) {
        let of = match self.parts.get_mut(revision) {
            Some(of) => of,
            None => self.parts.entry(revision.clone()).or_default(),
        };
        match of.get_mut(node) {
            None => _ = of.insert(node.to_owned(), packed),
            Some(known) => {
                let mut part = known.unpack();
                part.join(&packed.unpack());
                *known = Packed::of(&part, &mut self.pool);
            }
        }
    }

    /// What parts that are added have in common.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// What others have told.
    pub fn join(&mut self, other: &Self) {
        for (revision, parts) in &other.parts {
            for (node, part) in parts {
                self.add_packed(revision, node, part.clone());
            }
        }
    }

    /// Something of what a node has told is not here: all its runs of the revision are partial.
    pub fn lose(&mut self, revision: &Revision, node: &str, reason: &Loss, count: u64) {
        let part = self.parts.get_mut(revision).and_then(|of| of.get_mut(node));
        let runs = part.into_iter().flat_map(|part| part.runs.iter_mut());
        for facts in runs.filter_map(|run| run.facts.as_mut()) {
            let lost = facts.lost.entry(reason.clone()).or_default();
            *lost = (*lost).max(count);
        }
    }

    /// The parts, by revision and node.
    pub fn parts(&self) -> impl Iterator<Item = (&Revision, &str, Part)> {
        let all = self.packed();
        all.map(|(revision, node, part)| (revision, node, part.unpack()))
    }

    /// What a node has told of a revision.
    pub fn part(&self, revision: &Revision, node: &str) -> Option<Part> {
        Some(self.parts.get(revision)?.get(node)?.unpack())
    }

    /// The parts of a node, by revision.
    pub fn parts_of<'j>(&'j self, node: &'j str) -> impl Iterator<Item = (&'j Revision, Part)> {
        let all = self.parts.iter();
        all.filter_map(move |(revision, parts)| Some((revision, parts.get(node)?.unpack())))
    }

    /// The revisions of which anything was told, in order.
    pub fn revisions(&self) -> impl Iterator<Item = &Revision> {
        self.parts.keys()
    }

    /// The workloads of which anything was told, in order.
    pub fn workloads(&self) -> BTreeSet<&Workload> {
        self.parts
            .keys()
            .map(|revision| &revision.workload)
            .collect()
    }

    /// The labels of the runs of a workload; not all of them are others.
    pub fn labels<'j>(&'j self, workload: &'j Workload) -> impl Iterator<Item = &'j Labels> {
        let of_it = self.packed().filter(|(of, ..)| of.workload == *workload);
        of_it.flat_map(|(.., part)| part.runs.iter().map(|run| &*run.labels))
    }

    /// The nodes that tell of runs of a revision.
    pub fn nodes(&self, revision: &Revision) -> impl Iterator<Item = &str> {
        let parts = self.parts.get(revision).into_iter().flatten();
        let told = parts.filter(|(_, part)| !part.runs.is_empty());
        told.map(|(node, _)| node.as_str())
    }

    /// The [`latest_image`](crate::recommend::latest_image) of the evidence, without making it.
    pub(crate) fn latest_image<'j>(&'j self, workload: &'j Workload) -> Option<&'j str> {
        self.began(workload).max().map(|(_, image)| image)
    }

    /// When the latest run of each image of a workload began, of those that were watched and in which something
    /// succeeded; where that is not known, long ago.
    pub(crate) fn began<'j>(
        &'j self,
        workload: &'j Workload,
    ) -> impl Iterator<Item = (Moment, &'j str)> {
        let of_it = self.parts.iter();
        let of_it = of_it.filter(|(revision, _)| revision.workload == *workload);
        of_it.filter_map(|(revision, parts)| {
            let began = parts.values().filter_map(Packed::began).max();
            Some((began?, revision.image.as_str()))
        })
    }

    pub(super) fn by_revision(
        &self,
    ) -> impl Iterator<Item = (&Revision, &BTreeMap<String, Packed>)> {
        self.parts.iter()
    }

    pub(super) fn packed(&self) -> impl Iterator<Item = (&Revision, &str, &Packed)> {
        self.parts.iter().flat_map(|(revision, parts)| {
            parts
                .iter()
                .map(move |(node, part)| (revision, node.as_str(), part))
        })
    }
}

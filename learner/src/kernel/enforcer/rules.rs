//! The rules of all policies, as the kernel looks them up: edges of a tree, by generation.

use std::collections::{HashMap as Laid, HashSet};

use aya::maps::{HashMap, MapData};
use learner_ebpf::enforce::{
    Edge, LONG_WORDS, SHORT_NAME, SHORT_WORDS, edge_generation, edge_start,
};

use super::error::EnforceError;
use crate::policy::meaning::{Branch, NodeId, Tree, TreeRule};

/// Bytes of the longest name of a file.
const NAME_MAX: usize = 255;
const SHORT_KEY: usize = SHORT_WORDS + 1;
const LONG_KEY: usize = LONG_WORDS + 1;
type ShortKey = [u64; SHORT_KEY];
type LongKey = [u64; LONG_KEY];

/// The maps that hold the edges.
pub(super) struct Rules {
    short: HashMap<MapData, ShortKey, [u64; 2]>,
    long: HashMap<MapData, LongKey, [u64; 2]>,
    /// The keys that this process has laid, by generation, so that they need not be looked for.
    laid: Laid<u32, (Vec<ShortKey>, Vec<LongKey>)>,
}

impl Rules {
    pub(super) fn new(
        short: HashMap<MapData, ShortKey, [u64; 2]>,
        long: HashMap<MapData, LongKey, [u64; 2]>,
    ) -> Self {
        Self {
            short,
            long,
            laid: Laid::new(),
        }
    }

    /// Lays the edges of a policy. If that fails, none are left.
    pub(super) fn lay(&mut self, generation: u32, tree: &Tree) -> Result<(), EnforceError> {
        let laid = self.try_to_lay(generation, tree);
        if laid.is_err() {
            self.remove(generation)?;
        }
        laid
    }

    fn try_to_lay(&mut self, generation: u32, tree: &Tree) -> Result<(), EnforceError> {
        let (short, long) = self.laid.entry(generation).or_default();
        for ((node, name), branch) in &tree.branches {
            let start = edge_start(generation, node.0);
            let value = edge(branch).words();
            if name.len() <= SHORT_NAME {
                let key = key(start, name);
                self.short.insert(key, value, 0)?;
                short.push(key);
            } else if name.len() <= NAME_MAX {
                let key = key(start, name);
                self.long.insert(key, value, 0)?;
                long.push(key);
            }
            // No file has a longer name.
        }
        Ok(())
    }

    /// Removes the edges of a generation that no program uses.
    pub(super) fn remove(&mut self, generation: u32) -> Result<(), EnforceError> {
        if let Some((short, long)) = self.laid.remove(&generation) {
            remove(&mut self.short, short)?;
            return remove(&mut self.long, long);
        }
        self.retain(|other| other != generation)
    }

    /// Removes the edges of all generations but these: of a policy that was never in force, since
    /// who laid it was killed.
    pub(super) fn keep_only(&mut self, generations: &HashSet<u32>) -> Result<(), EnforceError> {
        self.retain(|generation| generations.contains(&generation))
    }

    fn retain(&mut self, stays: impl Fn(u32) -> bool) -> Result<(), EnforceError> {
        let gone = leaving(&self.short, &stays)?;
        remove(&mut self.short, gone)?;
        let gone = leaving(&self.long, &stays)?;
        remove(&mut self.long, gone)
    }

    /// How many there are.
    pub(super) fn count(&self) -> Result<usize, EnforceError> {
        Ok(leaving(&self.short, &|_| false)?.len() + leaving(&self.long, &|_| false)?.len())
    }
}

fn leaving<const WORDS: usize>(
    edges: &HashMap<MapData, [u64; WORDS], [u64; 2]>,
    stays: &impl Fn(u32) -> bool,
) -> Result<Vec<[u64; WORDS]>, EnforceError> {
    let mut leaving = Vec::new();
    for key in edges.keys() {
        let key = key?;
        if !stays(edge_generation(key[0])) {
            leaving.push(key);
        }
    }
    Ok(leaving)
}

fn remove<const WORDS: usize>(
    edges: &mut HashMap<MapData, [u64; WORDS], [u64; 2]>,
    keys: Vec<[u64; WORDS]>,
) -> Result<(), EnforceError> {
    for key in keys {
        edges.remove(&key)?;
    }
    Ok(())
}

/// The key of an edge: where it starts, and the name with zeros behind it.
fn key<const WORDS: usize>(start: u64, name: &[u8]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = start;
    for (word, bytes) in words[1..].iter_mut().zip(name.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(padded);
    }
    words
}

fn edge(branch: &Branch) -> Edge {
    let Branch {
        child,
        source,
        own,
        below,
    } = branch;
    let node = |node: &Option<NodeId>| node.map_or(0, |node| node.0);
    let TreeRule { process, file } = *own;
    Edge {
        child: node(child),
        source: node(source),
        process,
        file,
        process_below: below.process,
        file_below: below.file,
    }
}

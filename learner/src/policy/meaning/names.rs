//! What is found by the bytes of a path: at the whole of it, and at each directory that it is in.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// By the bytes of a key, or of a name in it.
pub(super) type ByKey<T> = HashMap<Box<[u8]>, T, BuildHasherDefault<KeyHasher>>;

/// Values by directory, as a path is walked: name after name.
#[derive(Debug)]
pub(super) struct Directories<T> {
    /// The first one is where walks start.
    known: Vec<Directory<T>>,
}

#[derive(Debug)]
struct Directory<T> {
    value: Option<T>,
    /// Where those below are, by name.
    below: ByKey<usize>,
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Self {
            value: None,
            below: ByKey::default(),
        }
    }
}

impl<T> Default for Directories<T> {
    fn default() -> Self {
        Self {
            known: vec![Directory::default()],
        }
    }
}

impl<T> Directories<T> {
    /// The value of a directory, which is named without the slash at its end.
    pub(super) fn at(&mut self, directory: &[u8]) -> &mut Option<T> {
        let mut at = 0;
        for name in directory.split(|byte| *byte == b'/') {
            at = self.below(at, name);
        }
        &mut self.known[at].value
    }

    fn below(&mut self, at: usize, name: &[u8]) -> usize {
        if let Some(below) = self.known[at].below.get(name) {
            return *below;
        }
        let new = self.known.len();
        self.known[at].below.insert(name.into(), new);
        self.known.push(Directory::default());
        new
    }

    /// For each slash of a path, from the root on: the value of the directory that it ends, and what comes after it.
    /// The first directory that leads to no value is the last one.
    pub(super) fn above<'m, 'p>(
        &'m self,
        path: &'p [u8],
    ) -> impl Iterator<Item = (Option<&'m T>, &'p [u8])> {
        let mut walked = self.known.first();
        let mut start = 0;
        memchr::memchr_iter(b'/', path).map_while(move |slash| {
            let at = walked?.below.get(&path[start..slash]);
            walked = at.map(|at| &self.known[*at]);
            start = slash + 1;
            let value = walked.and_then(|walked| walked.value.as_ref());
            Some((value, &path[start..]))
        })
    }
}

/// xxh3 of the bytes of a key: paths are short, and looked up several times an operation.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    /// The length that goes before the bytes tells nothing that they do not.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

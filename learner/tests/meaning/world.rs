//! The files that an operation finds: what a fixture makes, with its links and mounts.

use std::collections::BTreeMap;

use learner::path::AbsPath;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File { content: String },
    Directory,
    Symlink { to: String },
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) uid: u32,
}

/// An overlay mounted within the container.
#[derive(Clone, Debug)]
pub(crate) struct Nested {
    pub(crate) at: String,
    pub(crate) workdir: String,
}

#[derive(Default)]
pub(crate) struct World {
    nodes: BTreeMap<String, Node>,
    /// Mount point and what is seen there.
    binds: Vec<(String, String)>,
    mounts: Vec<String>,
    pub(crate) nested: Option<Nested>,
}

impl World {
    pub(crate) fn new(fixture: &[Vec<String>]) -> Self {
        let mut world = Self::default();
        let mut links = Vec::new();
        for entry in fixture {
            let text: Vec<&str> = entry.iter().map(String::as_str).collect();
            match text[..] {
                ["file" | "bin", path, _, uid, content] => {
                    let content = content.to_owned();
                    world.add(path, Kind::File { content }, uid);
                }
                ["dir", path, _, uid] => world.add(path, Kind::Directory, uid),
                ["symlink", path, to] => {
                    let to = to.to_owned();
                    world.add(path, Kind::Symlink { to }, "0");
                }
                ["link", path, to] => links.push((path, to)),
                ["bind", at, from] => {
                    world.mounts.push(at.to_owned());
                    world.binds.push((at.to_owned(), from.to_owned()));
                }
                ["tmpfs", at] => world.mounts.push(at.to_owned()),
                ["overlay", at, lower, _, work] => {
                    world.mounts.push(at.to_owned());
                    world.binds.push((at.to_owned(), lower.to_owned()));
                    world.nested = Some(Nested {
                        at: at.to_owned(),
                        workdir: work.to_owned(),
                    });
                }
                _ => panic!("a fixture of an unknown kind: {text:?}"),
            }
        }
        for (path, to) in links {
            let node = world.nodes[to].clone();
            world.nodes.insert(path.to_owned(), node);
        }
        world
    }

    fn add(&mut self, path: &str, kind: Kind, uid: &str) {
        let uid = uid.parse().expect("a user");
        self.nodes.insert(path.to_owned(), Node { kind, uid });
    }

    pub(crate) fn mounts(&self) -> Vec<AbsPath> {
        let absolute = |mount: &String| AbsPath::try_from(mount.as_str()).expect("absolute");
        self.mounts.iter().map(absolute).collect()
    }

    /// The file behind a resolved path.
    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        for (at, from) in &self.binds {
            if let Some(below) = path.strip_prefix(at.as_str())
                && (below.is_empty() || below.starts_with('/'))
            {
                return self.nodes.get(&format!("{from}{below}"));
            }
        }
        self.nodes.get(path)
    }

    /// Directories that no fixture names are root's.
    pub(crate) fn owner(&self, path: &str) -> u32 {
        self.node(path).map_or(0, |node| node.uid)
    }

    pub(crate) fn is_file(&self, path: &str) -> bool {
        self.node(path)
            .is_some_and(|node| matches!(node.kind, Kind::File { .. }))
    }

    /// A program that needs no other.
    pub(crate) fn is_static(&self, path: &str) -> bool {
        match self.node(path).map(|node| &node.kind) {
            Some(Kind::File { content }) => {
                !content.starts_with("#!") && !content.ends_with("/dyn")
            }
            _ => false,
        }
    }

    /// Follows symbolic links, that of the last component only if asked to.
    pub(crate) fn resolve(&self, path: &str, last_too: bool) -> String {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let mut resolved = String::new();
        for (index, part) in parts.iter().enumerate() {
            match *part {
                "." => continue,
                ".." => {
                    resolved.truncate(resolved.rfind('/').unwrap_or_default());
                    continue;
                }
                _ => {}
            }
            resolved = format!("{resolved}/{part}");
            if (index + 1 < parts.len() || last_too)
                && let Some(Node {
                    kind: Kind::Symlink { to },
                    ..
                }) = self.node(&resolved)
            {
                resolved = self.resolve(to, true);
            }
        }
        if resolved.is_empty() {
            "/".to_owned()
        } else {
            resolved
        }
    }

    pub(crate) fn parent(path: &str) -> &str {
        let end = path.rfind('/').unwrap_or_default();
        if end == 0 { "/" } else { &path[..end] }
    }
}

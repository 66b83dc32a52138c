//! Paths that the tracepoint rung knows only as strings: resolved after the fact, in the mount
//! namespace and under the root directory of the process that passed them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::path::AbsPath;

/// A string with what it starts from.
pub(super) struct Named<'a> {
    /// The directory that a relative string starts from.
    pub base: &'a AbsPath,
    /// The string as passed to the system call.
    pub raw: &'a [u8],
    /// The root directory of the process.
    pub root: &'a AbsPath,
    /// Its mount namespace.
    pub mnt_ns: u32,
    /// The process, while it lives.
    pub pid: u32,
}

/// Resolves strings; keeps the root directories of the mount namespaces that it has met.
#[derive(Default)]
pub(super) struct Resolver {
    own_ns: Option<u32>,
    roots: HashMap<(u32, AbsPath), Option<OwnedFd>>,
}

impl Resolver {
    pub(super) fn new() -> Self {
        Self {
            own_ns: mount_namespace("self"),
            roots: HashMap::new(),
        }
    }

    /// The path that the kernel resolved the string to, symbolic links followed (the last
    /// component only if `follow`). Directories that are gone by now are taken as they were named.
    /// None: the namespace cannot be entered any more and the string is not a single name.
    pub(super) fn resolve(&mut self, named: &Named<'_>, follow: bool) -> Option<AbsPath> {
        let Named {
            base, raw, root, ..
        } = named;
        let start = if raw.starts_with(b"/") { *root } else { *base };
        let names: Vec<&[u8]> = raw
            .split(|b| *b == b'/')
            .filter(|n| !n.is_empty() && *n != b".")
            .collect();
        let is_plain = |name: &&[u8]| **name != *b"..";
        if let [name] = names[..]
            && !follow
            && is_plain(&name)
        {
            return lexical(start, &[name]);
        }
        let Some(top) = self.root(named) else {
            return lexical(start, &names);
        };
        // Everything is looked up below the process's root, as the kernel did.
        let below = below(start, root)?;
        let all: Vec<&[u8]> = below.into_iter().chain(names.iter().copied()).collect();
        let fixed = match all.last() {
            Some(last) if !follow && is_plain(last) => all.len() - 1,
            _ => all.len(),
        };
        for known in (0..=fixed).rev() {
            if let Some(directory) = look_up(top, &all[..known]) {
                return lexical(&directory, &all[known..]);
            }
        }
        lexical(start, &names)
    }

    /// Opens a file of the process, given as a path from its namespace's root.
    pub(super) fn open(&mut self, named: &Named<'_>, path: &AbsPath) -> Option<std::fs::File> {
        let names = below(path, named.root)?;
        let top = self.root(named)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        open_below(top, &names, flags).map(std::fs::File::from)
    }

    /// The process's root directory.
    fn root(&mut self, named: &Named<'_>) -> Option<&OwnedFd> {
        let own = self.own_ns == Some(named.mnt_ns);
        let pid = named.pid;
        self.roots
            .entry((named.mnt_ns, named.root.clone()))
            .or_insert_with(|| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                if own {
                    return rustix::fs::open(named.root.as_path(), flags, Mode::empty()).ok();
                }
                let still = mount_namespace(&pid.to_string()) == Some(named.mnt_ns);
                let fd =
                    rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()?;
                still.then_some(fd)
            })
            .as_ref()
    }
}

fn mount_namespace(process: &str) -> Option<u32> {
    let link = std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok()?;
    link.to_str()?
        .strip_prefix("mnt:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The components of `path` below `root`; None if it is not below.
fn below<'a>(path: &'a AbsPath, root: &AbsPath) -> Option<Vec<&'a [u8]>> {
    let root = if root.as_bytes() == b"/" {
        &[][..]
    } else {
        root.as_bytes()
    };
    let rest = path.as_bytes().strip_prefix(root)?;
    if !rest.is_empty() && !rest.starts_with(b"/") {
        return None;
    }
    Some(
        rest.split(|b| *b == b'/')
            .filter(|n| !n.is_empty())
            .collect(),
    )
}

fn open_below(top: &OwnedFd, names: &[&[u8]], flags: OFlags) -> Option<OwnedFd> {
    let path = if names.is_empty() {
        b".".to_vec()
    } else {
        names.join(&b'/')
    };
    rustix::fs::openat2(top, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()
}

/// Where names lead to now, all symbolic links followed.
fn look_up(top: &OwnedFd, names: &[&[u8]]) -> Option<AbsPath> {
    use std::os::fd::AsRawFd;
    let found = open_below(top, names, OFlags::PATH | OFlags::CLOEXEC)?;
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    let path = rustix::fs::readlinkat(CWD, link, Vec::new()).ok()?;
    AbsPath::new(path.into_bytes()).ok()
}

/// Names one after the other, `..` taken as it is written.
fn lexical(base: &AbsPath, names: &[&[u8]]) -> Option<AbsPath> {
    let mut parts: Vec<&[u8]> = base
        .as_bytes()
        .split(|b| *b == b'/')
        .filter(|n| !n.is_empty())
        .collect();
    for name in names {
        if **name == *b".." {
            parts.pop();
        } else {
            parts.push(name);
        }
    }
    AbsPath::from_components(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(base: &str, raw: &str, follow: bool) -> String {
        let base = AbsPath::try_from(base).expect("base");
        let root = AbsPath::try_from("/").expect("root");
        let mut resolver = Resolver::new();
        let mnt_ns = mount_namespace("self").expect("namespace");
        let named = Named {
            base: &base,
            raw: raw.as_bytes(),
            root: &root,
            mnt_ns,
            pid: std::process::id(),
        };
        resolver
            .resolve(&named, follow)
            .expect("resolves")
            .to_string()
    }

    #[test]
    fn links_in_the_directory_are_followed_and_the_last_one_only_when_asked() {
        let dir = tempfile::tempdir().expect("dir");
        let top = dir.path().canonicalize().expect("canonical");
        let top = top.to_str().expect("utf-8");
        std::fs::create_dir(format!("{top}/real")).expect("mkdir");
        std::fs::write(format!("{top}/real/file"), "").expect("write");
        std::os::unix::fs::symlink("real", format!("{top}/link")).expect("link");
        std::os::unix::fs::symlink("real/file", format!("{top}/alias")).expect("link");
        assert_eq!(resolve(top, "link/new", false), format!("{top}/real/new"));
        assert_eq!(resolve(top, "alias", false), format!("{top}/alias"));
        assert_eq!(resolve(top, "alias", true), format!("{top}/real/file"));
        assert_eq!(resolve(top, "link/../x", false), format!("{top}/x"));
        assert_eq!(
            resolve("/", &format!("{top}//link/./new/"), false),
            format!("{top}/real/new")
        );
        assert_eq!(
            resolve(top, "gone/deeper/x", false),
            format!("{top}/gone/deeper/x")
        );
        assert_eq!(resolve(top, "link/..", false), top);
    }

    #[test]
    fn a_single_name_needs_no_look_at_the_file_system() {
        let base = AbsPath::try_from("/no/such").expect("base");
        let root = AbsPath::try_from("/").expect("root");
        let named = Named {
            base: &base,
            raw: b"x",
            root: &root,
            mnt_ns: 1,
            pid: u32::MAX,
        };
        let found = Resolver::new().resolve(&named, false).expect("resolves");
        assert_eq!(found.to_string(), "/no/such/x");
    }
}

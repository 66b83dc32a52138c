//! Paths that the tracepoint rung knows only as strings: resolved after the fact, in the mount
//! namespace and under the root directory of the process that passed them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;

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
    /// The mount that the root directory is on, by id.
    pub root_mnt: u32,
    /// The process's mount namespace.
    pub mnt_ns: u32,
    /// The process, while it lives.
    pub pid: u32,
}

/// A root directory that was met: a `pivot_root` changes it under the same name, a `chroot` under
/// the same mount.
#[derive(PartialEq, Eq, Hash)]
struct Root {
    mnt_ns: u32,
    mount: u32,
    path: AbsPath,
}

/// What a name was, as far as events told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Link,
}

/// Resolves strings; keeps the root directories that it has met, and what names were that may be
/// gone when they are looked up.
#[derive(Default)]
pub(super) struct Resolver {
    own_ns: Option<u32>,
    roots: HashMap<Root, OwnedFd>,
    kinds: HashMap<AbsPath, Kind>,
}

/// Names that are remembered. Beyond it what is gone cannot be told from a link, and is counted.
const MAX_KINDS: usize = 65_536;

/// Links that a path may go through one after the other, as in the kernel (`MAXSYMLINKS` is 40).
const MAX_JUMPS: usize = 8;

impl Resolver {
    pub(super) fn new() -> Self {
        Self {
            own_ns: mount_namespace("self"),
            roots: HashMap::new(),
            kinds: HashMap::new(),
        }
    }

    /// The path that the kernel resolved the string to, symbolic links followed (the last
    /// component only if `follow`).
    ///
    /// None: it cannot be told any more. The process is gone or has another root by now, and nobody
    /// was met that shared it; or a directory on the way is not there any more, and nothing told
    /// that it was no link.
    pub(super) fn resolve(&mut self, named: &Named<'_>, follow: bool) -> Option<AbsPath> {
        let Named {
            base,
            raw,
            root,
            pid,
            ..
        } = named;
        let start = if raw.starts_with(b"/") { *root } else { *base };
        let names: Vec<&[u8]> = raw
            .split(|b| *b == b'/')
            .filter(|n| !n.is_empty() && *n != b".")
            .collect();
        if let [name] = names[..]
            && !follow
            && name != b".."
            && start.as_bytes() != b"/proc"
        {
            return lexical(start, &[name]);
        }
        // Everything is looked up below the process's root, as the kernel did.
        let all = below(start, root)?.into_iter().chain(names);
        let all = jump(all.map(<[u8]>::to_vec).collect(), root, *pid)?;
        let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let top = self.root(named)?;
        let known = (0..all.len() + usize::from(follow)).rev();
        let (known, found) = known
            .map(|n| n.min(all.len()))
            .find_map(|n| Some((n, look_up(top, &all[..n])?)))?;
        let gone = known + 1..all.len();
        let were_directories = gone
            .map(|n| self.kind(root, &all[..n]))
            .all(|kind| kind == Some(Kind::Directory));
        // The last name itself may be gone: a temporary file that was renamed since.
        let was_link = follow && known < all.len() && self.kind(root, &all) == Some(Kind::Link);
        if !were_directories || was_link {
            return None;
        }
        Some(not_ourselves(lexical(&found, &all[known..])?, *pid))
    }

    fn kind(&self, root: &AbsPath, names: &[&[u8]]) -> Option<Kind> {
        self.kinds.get(&lexical(root, names)?).copied()
    }

    /// Takes down what a name is said to be, before it is gone. Once a link, always a link.
    pub(super) fn note(&mut self, root: &AbsPath, base: &AbsPath, raw: &[u8], kind: Kind) {
        if self.kinds.len() >= MAX_KINDS {
            return;
        }
        let names = raw.split(|b| *b == b'/');
        let names: Vec<&[u8]> = names.filter(|n| !n.is_empty() && *n != b".").collect();
        let start = if raw.starts_with(b"/") { root } else { base };
        if let Some(path) = lexical(start, &names) {
            let known = self.kinds.entry(path).or_insert(kind);
            if kind == Kind::Link {
                *known = kind;
            }
        }
    }

    /// Opens a file of the process, given as a path from its namespace's root.
    pub(super) fn open(&mut self, named: &Named<'_>, path: &AbsPath) -> Option<std::fs::File> {
        let names = below(path, named.root)?;
        let top = self.root(named)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        open_below(top, &names, flags).map(std::fs::File::from)
    }

    /// The process's root directory as it was when it passed the string.
    fn root(&mut self, named: &Named<'_>) -> Option<&OwnedFd> {
        let root = Root {
            mnt_ns: named.mnt_ns,
            mount: named.root_mnt,
            path: named.root.clone(),
        };
        if !self.roots.contains_key(&root) {
            let found = self.find(named)?;
            self.roots.insert(
                Root {
                    path: named.root.clone(),
                    ..root
                },
                found,
            );
        }
        self.roots.get(&root)
    }

    fn find(&self, named: &Named<'_>) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let is_it = |fd: &OwnedFd| {
            place(fd).as_ref() == Some(named.root) && mount(fd) == Some(u64::from(named.root_mnt))
        };
        let pid = named.pid;
        let same = mount_namespace(&pid.to_string()) == Some(named.mnt_ns);
        let theirs = same
            .then(|| rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok())
            .flatten()
            .filter(is_it);
        if theirs.is_some() || self.own_ns != Some(named.mnt_ns) {
            return theirs;
        }
        rustix::fs::open(named.root.as_path(), flags, Mode::empty())
            .ok()
            .filter(is_it)
    }
}

/// The path as it was written, no link followed.
pub(super) fn as_written(named: &Named<'_>) -> Option<AbsPath> {
    let Named {
        base, raw, root, ..
    } = named;
    let start = if raw.starts_with(b"/") { root } else { base };
    let names = raw.split(|b| *b == b'/');
    let names: Vec<&[u8]> = names.filter(|n| !n.is_empty() && *n != b".").collect();
    lexical(start, &names)
}

/// The mount that an open file is on; before Linux 5.8 it cannot be told.
fn mount(fd: &OwnedFd) -> Option<u64> {
    let flags = rustix::fs::StatxFlags::MNT_ID;
    let found = rustix::fs::statx(fd, c"", rustix::fs::AtFlags::EMPTY_PATH, flags).ok()?;
    Some(found.stx_mnt_id)
}

/// Follows what the kernel resolves by who asks: `/proc/self`, what leads there in `/dev`, and the
/// links of `/proc/PID` that are no names at all. None: such a link leads nowhere any more, or out
/// of the root.
fn jump(mut names: Vec<Vec<u8>>, root: &AbsPath, pid: u32) -> Option<Vec<Vec<u8>>> {
    let own = pid.to_string().into_bytes();
    let replace = |names: &[Vec<u8>], with: &[&[u8]], from: usize| -> Vec<Vec<u8>> {
        let with = with.iter().map(|name| name.to_vec());
        with.chain(names[from..].iter().cloned()).collect()
    };
    for _ in 0..MAX_JUMPS {
        let known: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        names = match &known[..] {
            [b"proc", b"self", ..] => replace(&names, &[b"proc", &own], 2),
            [b"proc", b"thread-self", ..] => replace(&names, &[b"proc", &own, b"task", &own], 2),
            [b"dev", b"fd", ..] => replace(&names, &[b"proc", &own, b"fd"], 2),
            [b"dev", b"stdin"] => replace(&names, &[b"proc", &own, b"fd", b"0"], 2),
            [b"dev", b"stdout"] => replace(&names, &[b"proc", &own, b"fd", b"1"], 2),
            [b"dev", b"stderr"] => replace(&names, &[b"proc", &own, b"fd", b"2"], 2),
            [b"proc", process, b"fd", _, ..] if is_number(process) => led(&names, 4, root)?,
            [b"proc", process, b"cwd" | b"root" | b"exe", ..] if is_number(process) => {
                led(&names, 3, root)?
            }
            _ => return Some(names),
        };
    }
    None
}

fn is_number(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_digit)
}

/// The names below the root after the link that the first `n` of them are.
fn led(names: &[Vec<u8>], n: usize, root: &AbsPath) -> Option<Vec<Vec<u8>>> {
    let link = lexical(
        &top(),
        &names[..n].iter().map(Vec::as_slice).collect::<Vec<_>>(),
    )?;
    let target = std::fs::read_link(link.as_path()).ok()?;
    let target = AbsPath::new(target.into_os_string().into_vec()).ok()?;
    if target.as_bytes().ends_with(b" (deleted)") {
        return None;
    }
    let to = below(&target, root)?.into_iter().map(<[u8]>::to_vec);
    Some(to.chain(names[n..].iter().cloned()).collect())
}

/// A link on the way may have led to `/proc/self`, which is this process to us.
fn not_ourselves(path: AbsPath, pid: u32) -> AbsPath {
    let own = format!("/proc/{}/", std::process::id());
    match path.as_bytes().strip_prefix(own.as_bytes()) {
        Some(rest) => {
            let mut bytes = format!("/proc/{pid}/").into_bytes();
            bytes.extend_from_slice(rest);
            AbsPath::new(bytes).unwrap_or(path)
        }
        None => path,
    }
}

fn top() -> AbsPath {
    AbsPath::from_components([]).unwrap_or_else(|_| unreachable!("no component holds a NUL"))
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
    place(&open_below(top, names, OFlags::PATH | OFlags::CLOEXEC)?)
}

/// The path of an open file from the root of its mount namespace.
fn place(fd: &OwnedFd) -> Option<AbsPath> {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
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

    struct Asked(AbsPath, AbsPath);

    impl Asked {
        fn from(base: &str) -> Self {
            let path = |text| AbsPath::try_from(text).expect("absolute");
            Self(path(base), path("/"))
        }

        fn named<'a>(&'a self, raw: &'a str) -> Named<'a> {
            let root = rustix::fs::open("/", OFlags::PATH, Mode::empty()).expect("root");
            Named {
                base: &self.0,
                raw: raw.as_bytes(),
                root: &self.1,
                root_mnt: mount(&root).expect("a mount") as u32,
                mnt_ns: mount_namespace("self").expect("namespace"),
                pid: std::process::id(),
            }
        }
    }

    fn resolve(base: &str, raw: &str, follow: bool) -> Option<String> {
        let asked = Asked::from(base);
        let found = Resolver::new().resolve(&asked.named(raw), follow);
        found.map(|path| path.to_string())
    }

    fn world() -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().expect("dir");
        let top = dir.path().canonicalize().expect("canonical");
        let top = top.to_str().expect("utf-8").to_owned();
        (dir, top)
    }

    #[test]
    fn links_in_the_directory_are_followed_and_the_last_one_only_when_asked() {
        let (_dir, top) = world();
        std::fs::create_dir(format!("{top}/real")).expect("mkdir");
        std::fs::write(format!("{top}/real/file"), "").expect("write");
        std::os::unix::fs::symlink("real", format!("{top}/link")).expect("link");
        std::os::unix::fs::symlink("real/file", format!("{top}/alias")).expect("link");
        let is = |raw: &str, follow, expected: &str| {
            let found = resolve(&top, raw, follow);
            assert_eq!(found, Some(format!("{top}{expected}")), "{raw}");
        };
        is("link/new", false, "/real/new");
        is("alias", false, "/alias");
        is("alias", true, "/real/file");
        is("link/../x", false, "/x");
        is(&format!("{top}//link/./new/"), false, "/real/new");
        is("link/..", false, "");
        is("renamed-since", true, "/renamed-since");
    }

    #[test]
    fn a_directory_that_is_gone_is_taken_for_one_only_if_it_was_seen_to_be_one() {
        let (_dir, top) = world();
        let asked = Asked::from(&top);
        let named = asked.named("gone/deeper/x");
        let mut resolver = Resolver::new();
        assert_eq!(resolver.resolve(&named, false), None);
        resolver.note(named.root, named.base, b"gone", Kind::Directory);
        assert_eq!(resolver.resolve(&named, false), None);
        resolver.note(named.root, named.base, b"gone/deeper", Kind::Directory);
        let found = resolver.resolve(&named, false).expect("known");
        assert_eq!(found.to_string(), format!("{top}/gone/deeper/x"));
        resolver.note(named.root, named.base, b"gone", Kind::Link);
        resolver.note(named.root, named.base, b"gone", Kind::Directory);
        assert_eq!(resolver.resolve(&named, false), None);
    }

    #[test]
    fn a_process_is_itself_in_proc_and_not_us() {
        let mut other = std::process::Command::new("sleep")
            .arg("60")
            .stdin(std::fs::File::open("/dev/null").expect("a device"))
            .spawn()
            .expect("a process");
        let asked = Asked::from("/");
        let mut resolver = Resolver::new();
        let mut is = |raw: &str, expected: &str| {
            let named = Named {
                pid: other.id(),
                ..asked.named(raw)
            };
            let found = resolver.resolve(&named, true);
            assert_eq!(
                found.map(|p| p.to_string()),
                Some(expected.to_owned()),
                "{raw}"
            );
        };
        is("/proc/self/fd/0", "/dev/null");
        is("/dev/stdin", "/dev/null");
        is("/proc/self/root/etc/passwd", "/etc/passwd");
        let status = format!("/proc/{}/status", other.id());
        is("/proc/self/status", &status);
        is("/proc/thread-self/../../status", &status);
        other.kill().expect("killed");
        other.wait().expect("gone");
        let named = Named {
            pid: other.id(),
            ..asked.named("/proc/self/fd/0")
        };
        assert_eq!(resolver.resolve(&named, true), None);
    }

    #[test]
    fn a_root_that_is_another_one_by_now_is_not_looked_into() {
        let asked = Asked::from("/");
        let named = Named {
            root_mnt: u32::MAX,
            ..asked.named("/etc/passwd")
        };
        assert_eq!(Resolver::new().resolve(&named, true), None);
    }

    #[test]
    fn a_single_name_needs_no_look_at_the_file_system() {
        let asked = Asked::from("/no/such");
        let named = Named {
            mnt_ns: 1,
            pid: u32::MAX,
            ..asked.named("x")
        };
        let found = Resolver::new().resolve(&named, false).expect("resolves");
        assert_eq!(found.to_string(), "/no/such/x");
    }
}

//! What an event of the kernel says was done.

use learner_ebpf::{access, flag, op};

use super::decode::Event;
use super::image;
use super::resolve::{Kind, Named, Resolver, as_written};
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::path::AbsPath;

/// A file that is executed and of no format that the kernel knows.
const ENOEXEC: u32 = 8;

/// What an event says was done.
#[derive(Default)]
pub(super) struct Meaning {
    /// One behaviour, or for an exec on the tracepoint rung those that come with it. None: no rule
    /// can govern it, or it is lost.
    pub(super) behaviors: Vec<Behavior>,
    /// Why something of it is lost.
    pub(super) lost: Option<&'static str>,
}

impl Meaning {
    fn lost(reason: &'static str) -> Self {
        Self {
            behaviors: Vec::new(),
            lost: Some(reason),
        }
    }
}

/// Reads the events of one scope. What names were, and the root directories that were met, are the
/// scope's own: two containers have the same names for different files.
pub(super) struct Reading {
    /// What an exec opens by itself is not seen by a hook, and is filled in.
    fill_in: bool,
    resolver: Resolver,
}

impl Reading {
    pub(super) fn new(fill_in: bool) -> Self {
        Self {
            fill_in,
            resolver: Resolver::new(),
        }
    }

    /// Keeps what an event tells of a name that may be gone when another event's is looked up.
    pub(super) fn note(&mut self, event: &Event) {
        let kind = match event.op {
            op::MKDIR | op::RMDIR => Kind::Directory,
            op::OPEN if event.has(flag::DIRECTORY) => Kind::Directory,
            op::SYMLINK => Kind::Link,
            _ => return,
        };
        if event.errno == 0 && !event.has(flag::NO_PATH) {
            let root = event.root.as_ref().unwrap_or(&event.path);
            self.resolver.note(root, &event.path, &event.raw, kind);
        }
    }

    /// What the event says was done.
    pub(super) fn of(&mut self, event: &Event) -> Meaning {
        if event.has(flag::NO_PATH) {
            // No enforcer resolves such a file either. Executing one is another matter.
            tracing::debug!(path = %event.path, op = event.op, "a file without a path");
            return match event.op {
                op::EXEC => Meaning::lost("no-path"),
                _ => Meaning::default(),
            };
        }
        if event.has(flag::EXEC_DONE) {
            return self.executed(event);
        }
        let (path, to) = if event.has(flag::RAW) {
            match self.resolve_raw(event) {
                Some(paths) => paths,
                None if event.errno == 0 || event.errno == ENOEXEC => {
                    return Meaning::lost("unresolved");
                }
                None => return Meaning::default(),
            }
        } else {
            (event.path.clone(), event.to.clone())
        };
        let Some(op) = operation(event, to) else {
            return Meaning::lost("malformed");
        };
        if op == Op::Exec && event.errno == ENOEXEC {
            return self.read_as_script(event, path);
        }
        let path = if event.has(flag::DIRECTORY) {
            as_directory(path)
        } else {
            path
        };
        Meaning {
            behaviors: vec![behavior(event, op, path, event.source.clone())],
            lost: None,
        }
    }

    /// A file of no known format has passed every check of an exec, and the kernel has opened it:
    /// a shell reads it as a script then.
    fn read_as_script(&self, event: &Event, path: AbsPath) -> Meaning {
        let event = Event {
            errno: 0,
            ..event.clone()
        };
        let open = Op::Open(Access::Read);
        let opened = behavior(&event, open, path.clone(), event.to.clone());
        let mut behaviors = vec![behavior(&event, Op::Exec, path, event.source.clone())];
        if self.fill_in {
            behaviors.push(opened);
        }
        Meaning {
            behaviors,
            lost: None,
        }
    }

    fn resolve_raw(&mut self, event: &Event) -> Option<(AbsPath, Option<AbsPath>)> {
        let follow = matches!(event.op, op::OPEN | op::EXEC | op::CHMOD | op::TRUNCATE);
        let root = event.root.as_ref()?;
        let mut resolve = |base, raw| {
            let named = Named {
                base,
                raw,
                root,
                root_mnt: event.root_mnt,
                mnt_ns: event.mnt_ns,
                pid: event.pid,
            };
            let found = self.resolver.resolve(&named, follow);
            // What failed is not learned: where it led is told as well as can be.
            if event.errno == 0 || event.errno == ENOEXEC {
                found
            } else {
                found.or_else(|| as_written(&named))
            }
        };
        let path = resolve(&event.path, &event.raw)?;
        let to = match &event.to {
            Some(base) if !event.raw_to.is_empty() => Some(resolve(base, &event.raw_to)?),
            _ => None,
        };
        Some((path, to))
    }

    /// An exec that the kernel reports when it is done: the image alone. The script, its
    /// interpreters and the loader are read from the files.
    fn executed(&mut self, event: &Event) -> Meaning {
        let top = root_directory();
        let named = Named {
            base: event.cwd.as_ref().unwrap_or(&top),
            raw: &event.raw,
            root: event.root.as_ref().unwrap_or(&top),
            root_mnt: event.root_mnt,
            mnt_ns: event.mnt_ns,
            pid: event.pid,
        };
        let mut images = Vec::new();
        let mut lost = None;
        if !event.raw.is_empty() {
            match self.resolver.resolve(&named, true) {
                Some(script) => {
                    images.push(script.clone());
                    images.extend(image::interpreters(&mut self.resolver, &named, &script));
                }
                None => lost = Some("unresolved"),
            }
        }
        if images.last() != Some(&event.path) {
            images.push(event.path.clone());
        }
        let opened = if self.fill_in {
            let loader = image::loader(&mut self.resolver, &named, &event.path);
            images.iter().cloned().chain(loader).collect()
        } else {
            Vec::new()
        };
        let about_other_files = Event {
            flags: event.flags & flag::TTY,
            ..event.clone()
        };
        let of = |path: &AbsPath| {
            if *path == event.path {
                event
            } else {
                &about_other_files
            }
        };
        let mut behaviors: Vec<Behavior> = images
            .iter()
            .map(|path| behavior(of(path), Op::Exec, path.clone(), event.source.clone()))
            .collect();
        behaviors.extend(opened.into_iter().map(|path| {
            behavior(
                of(&path),
                Op::Open(Access::Read),
                path.clone(),
                event.to.clone(),
            )
        }));
        Meaning { behaviors, lost }
    }
}

fn root_directory() -> AbsPath {
    AbsPath::from_components([]).unwrap_or_else(|_| unreachable!("no component holds a NUL"))
}

pub(super) fn operation(event: &Event, to: Option<AbsPath>) -> Option<Op> {
    Some(match event.op {
        op::EXEC => Op::Exec,
        op::OPEN => Op::Open(match event.access {
            access::WRITE => Access::Write,
            a if a == access::READ | access::WRITE => Access::ReadWrite,
            _ => Access::Read,
        }),
        op::CREATE => Op::Create,
        op::MKDIR => Op::Mkdir,
        op::UNLINK => Op::Unlink,
        op::RMDIR => Op::Rmdir,
        op::RENAME => Op::Rename { to: to? },
        op::LINK => Op::Link { to: to? },
        op::SYMLINK => Op::Symlink,
        op::CHMOD => Op::Chmod,
        op::TRUNCATE => Op::Truncate,
        _ => return None,
    })
}

/// An opened directory is told by the slash at its end.
pub(super) fn as_directory(path: AbsPath) -> AbsPath {
    if path.as_bytes().ends_with(b"/") {
        return path;
    }
    let mut bytes = path.as_bytes().to_vec();
    bytes.push(b'/');
    AbsPath::new(bytes).unwrap_or(path)
}

pub(super) fn behavior(event: &Event, op: Op, path: AbsPath, source: Option<AbsPath>) -> Behavior {
    let known = |known, bit| event.has(known).then(|| event.has(bit));
    Behavior {
        op,
        path,
        source,
        uid: Some(event.uid),
        owner: known(flag::OWNER_KNOWN, flag::OWNER),
        upper: known(flag::UPPER_KNOWN, flag::UPPER),
        tty: Some(event.has(flag::TTY)),
        result: match event.errno {
            0 => Outcome::Ok,
            errno => Outcome::Failed(format!("{:?}", nix::errno::Errno::from_raw(errno as i32))),
        },
    }
}

//! From an operation to the hooks that Linux 6.1 calls for it, in their order.

use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::path::AbsPath;
use learner::policy::meaning::{
    Enforced, FileHook, Hook, HookCall, Inner, Judgement, Program, Root, Verdict,
};

use crate::line::{Attempted, Line};
use crate::world::{Kind, World};

/// What is enforced: on the container's root, and on an overlay mounted within it.
pub(crate) struct Roots {
    pub(crate) container: Enforced,
    pub(crate) nested: Option<Enforced>,
}

/// The outcome of all hooks so far.
pub(crate) struct Attempt<'a> {
    roots: &'a Roots,
    world: &'a World,
    op: &'a Attempted,
    source: String,
    pub(crate) verdict: Verdict,
    pub(crate) alert: bool,
    pub(crate) said: Vec<String>,
}

const STREAM: u32 = 1;
const DGRAM: u32 = 2;
const RAW: u32 = 3;
const CAP_CHOWN: u8 = 0;
const CAP_SETUID: u8 = 7;
const CAP_NET_RAW: u8 = 13;
const CAP_SYS_CHROOT: u8 = 18;
const CAP_SYS_ADMIN: u8 = 21;
const CAP_MKNOD: u8 = 27;

impl<'a> Attempt<'a> {
    /// Runs the operation against what is enforced.
    pub(crate) fn run(roots: &'a Roots, world: &'a World, op: &'a Attempted) -> Self {
        let mut attempt = Self {
            roots,
            world,
            op,
            source: match op.source.as_str() {
                "memfd:" => op.source.clone(),
                path => world.resolve(path, true),
            },
            verdict: Verdict::Allowed,
            alert: false,
            said: Vec::new(),
        };
        attempt.perform();
        attempt
    }

    fn perform(&mut self) {
        let path = self.op.path.as_str();
        let resolved = self.world.resolve(path, true);
        let resolved = resolved.as_str();
        // Operations on a name do not follow it.
        let name = self.world.resolve(path, false);
        let name = name.as_str();
        let to = self.world.resolve(&self.op.to, false);
        let to = to.as_str();
        match self.op.op.as_str() {
            "read" | "opendir" => self.open(resolved, Access::Read, true),
            "openw" => self.open(resolved, Access::Write, true),
            "write" | "append" | "fallocate" => {
                self.open(resolved, Access::Write, true);
                self.file(FileHook::Write, resolved, self.owns(resolved));
            }
            "copyrange" => {
                self.open(resolved, Access::Write, true);
                self.open(to, Access::Read, true);
                self.file(FileHook::Write, resolved, self.owns(resolved));
            }
            // A store to a mapping asks nobody; then the file is read back.
            "mmapwrite" => {
                self.open(resolved, Access::ReadWrite, true);
                self.open(resolved, Access::Read, true);
            }
            "opentrunc" => {
                self.open(resolved, Access::Write, false);
                self.file(FileHook::Truncate, resolved, self.owns(resolved));
            }
            "ftruncate" => {
                self.open(resolved, Access::Write, true);
                self.file(FileHook::Truncate, resolved, self.owns(resolved));
            }
            "truncate" => {
                self.file(FileHook::Truncate, resolved, self.owns(resolved));
                self.copy_up(resolved);
            }
            "chmod" => {
                self.file(FileHook::Chmod, resolved, self.owns(resolved));
                self.copy_up(resolved);
            }
            "chown" => {
                self.capable(CAP_CHOWN);
                self.copy_up(resolved);
            }
            "utimes" | "setxattr" => self.copy_up(resolved),
            "create" => self.create(name),
            "createwrite" => {
                self.create(name);
                self.file(FileHook::Write, name, true);
            }
            "mknod" | "mknodreg" | "unixbind" => {
                self.file(FileHook::Mknod, name, self.owns_parent(name));
            }
            "mknodchr" => {
                self.file(FileHook::Mknod, name, self.owns_parent(name));
                self.capable(CAP_MKNOD);
            }
            "mkdir" => self.file(FileHook::Mkdir, name, self.owns_parent(name)),
            "symlink" => self.file(FileHook::Symlink, name, self.owns_name(name)),
            "unlink" => self.file(FileHook::Unlink, name, self.owns(name)),
            "rmdir" => {
                self.file(FileHook::Rmdir, name, self.owns(name));
                self.reopen(name, Access::Read, self.world.owner(name) == 0);
            }
            "rename" | "exchange" => self.rename(name, to),
            "mvread" => {
                self.rename(name, to);
                self.source = self.op.to.clone();
                self.open(&self.op.then_read.clone(), Access::Read, true);
            }
            "link" => {
                self.file(FileHook::Link, to, self.owns_name(to));
                self.file(FileHook::Link, name, self.owns(name));
                self.copy_up(name);
            }
            "tmpfile" if !self.roots.container.root().is_overlay() => {
                let path = format!("{resolved}/#1");
                self.file(FileHook::Open(Access::Write), &path, true);
            }
            // Linux 6.1 has no such files on an overlay.
            "tmpfile" => {}
            "exec" => {
                let source = self.source.clone();
                self.exec(resolved, &source);
            }
            "chain" => {
                let parent = self.source.clone();
                self.exec(resolved, &parent);
                // The next exec is by the same process: its parent is who it was.
                self.source = resolved.to_owned();
                self.exec(to, &parent);
            }
            // No hook can name the file; and none is called for these.
            "memfd-exec" | "opath" | "stat" | "chdir" | "readlink" => {}
            "chroot" => self.capable(CAP_SYS_CHROOT),
            "sethostname" => self.capable(CAP_SYS_ADMIN),
            "setuid" => self.capable(CAP_SETUID),
            "socket" => {
                let kind = match self.op.kind.as_str() {
                    "stream" => STREAM,
                    "dgram" => DGRAM,
                    "raw" => RAW,
                    other => panic!("a socket of an unknown type: {other}"),
                };
                self.socket(kind, self.op.protocol);
                if kind == RAW && self.op.family.starts_with("inet") {
                    self.capable(CAP_NET_RAW);
                }
            }
            // Each end asks when it is made and when it is used.
            "socketpair" | "tcpaccept" => self.socket(STREAM, 0),
            "udpconnect" => self.socket(DGRAM, 0),
            other => panic!("an operation of an unknown kind: {other}"),
        }
    }

    fn owns(&self, path: &str) -> bool {
        self.world.owner(path) == self.op.uid
    }

    /// A name that is not there yet counts as root's.
    fn owns_name(&self, path: &str) -> bool {
        match self.world.node(path) {
            Some(node) => node.uid == self.op.uid,
            None => self.op.uid == 0,
        }
    }

    fn owns_parent(&self, path: &str) -> bool {
        self.owns(World::parent(path))
    }

    fn take(&mut self, judgement: &Judgement) {
        self.alert |= judgement.alert;
        if judgement.verdict != Verdict::Allowed {
            self.verdict = judgement.verdict;
        }
        self.said.push(judgement.to_string());
    }

    fn call(&mut self, source: &str, hook: Hook<'_>) {
        if self.verdict == Verdict::Denied {
            return;
        }
        let judgement = self.roots.container.hook(&HookCall {
            hook,
            source: program(source),
            tty: Some(self.op.tty),
        });
        self.take(&judgement);
    }

    fn file(&mut self, hook: FileHook, path: &str, owner: bool) {
        let source = self.source.clone();
        let hook = Hook::File {
            hook,
            path: path.as_bytes(),
            owner: Some(owner),
        };
        self.call(&source, hook);
    }

    fn socket(&mut self, kind: u32, protocol: u32) {
        let source = self.source.clone();
        self.call(&source, Hook::Socket { kind, protocol });
    }

    fn capable(&mut self, capability: u8) {
        let source = self.source.clone();
        self.call(&source, Hook::Capable { capability });
    }

    fn open(&mut self, path: &str, access: Access, with_data: bool) {
        self.file(FileHook::Open(access), path, self.owns(path));
        if access != Access::Read {
            self.copied_up(path, with_data);
        }
        self.reopen(path, access, self.world.owner(path) == 0);
    }

    fn create(&mut self, name: &str) {
        self.file(FileHook::Mknod, name, self.owns_parent(name));
        self.file(FileHook::Open(Access::Write), name, true);
        self.reopen(name, Access::Write, self.op.uid == 0);
    }

    fn rename(&mut self, name: &str, to: &str) {
        self.file(FileHook::Rename, name, self.owns_name(name));
        self.file(FileHook::Rename, to, self.owns_name(to));
        self.copy_up(name);
        if self.op.op == "exchange" {
            self.copy_up(to);
        }
    }

    /// A program and whatever it needs to start: its interpreter, or its loader and libraries.
    fn exec(&mut self, path: &str, parent: &str) {
        self.open(path, Access::Read, true);
        let mut arguments = vec![path.as_bytes()];
        arguments.extend(self.op.args.iter().map(String::as_bytes));
        let owner = Some(self.owns(path));
        self.call(
            parent,
            Hook::Exec {
                path: path.as_bytes(),
                owner,
                arguments: Some(&arguments),
            },
        );
        let Some(Kind::File { content }) = self.world.node(path).map(|node| node.kind.clone())
        else {
            return;
        };
        if let Some(interpreter) = content.strip_prefix("#!") {
            let interpreter = self.world.resolve(interpreter.trim(), true);
            self.exec(&interpreter, parent);
        } else if content.ends_with("/dyn") {
            self.open("/lib64/ld-linux-x86-64.so.2", Access::Read, true);
            if self.verdict != Verdict::Denied {
                self.load(path);
            }
        }
    }

    /// The loader's own opens: what they are refused the program reports, and exec has succeeded.
    fn load(&mut self, path: &str) {
        let (verdict, before) = (
            self.verdict,
            std::mem::replace(&mut self.source, path.into()),
        );
        for library in ["/etc/ld.so.cache", "/lib/x86_64-linux-gnu/libc.so.6"] {
            self.open(library, Access::Read, true);
            self.verdict = verdict;
        }
        self.source = before;
    }

    /// The change of metadata, or a link: files of the image are copied whole.
    fn copy_up(&mut self, path: &str) {
        self.copied_up(path, true);
    }

    fn copied_up(&mut self, path: &str, with_data: bool) {
        if self.world.is_file(path) {
            let root_owns = self.world.owner(path) == 0;
            self.overlaid(path, root_owns, |enforced, inner| {
                enforced.copy_up(inner, with_data)
            });
        }
    }

    fn reopen(&mut self, path: &str, access: Access, root_owns: bool) {
        self.overlaid(path, root_owns, |enforced, inner| {
            enforced.inner_open(inner, access)
        });
    }

    /// Asks the overlay that the file is on, if it is on one.
    fn overlaid(
        &mut self,
        path: &str,
        root_owns: bool,
        ask: impl Fn(&Enforced, &Inner<'_>) -> Judgement,
    ) {
        if self.verdict == Verdict::Denied {
            return;
        }
        let below = |at: &str| path.strip_prefix(at).filter(|rest| rest.starts_with('/'));
        let nested = self.world.nested.as_ref();
        let in_nested = nested.and_then(|nested| below(&nested.at));
        let enforced = match in_nested {
            Some(_) => self.roots.nested.as_ref(),
            None => Some(&self.roots.container).filter(|enforced| enforced.root().is_overlay()),
        };
        let Some(enforced) = enforced else { return };
        let judgement = ask(
            enforced,
            &Inner {
                path: path.as_bytes(),
                layer_path: in_nested.unwrap_or(path).as_bytes(),
                source: program(&self.source),
                tty: Some(self.op.tty),
                root_owns: Some(root_owns),
            },
        );
        self.take(&judgement);
    }
}

/// The line as a recording has it, if one record tells all of it.
pub(crate) fn behavior(line: &Line, world: &World, root: &Root) -> Option<Behavior> {
    let op = &line.op;
    if world.nested.is_some() {
        // An overlay within the container: nothing in a recording tells of it.
        return None;
    }
    let to = || AbsPath::try_from(world.resolve(&op.to, false).as_str()).ok();
    let resolved = world.resolve(&op.path, true);
    let name = world.resolve(&op.path, false);
    let made = world.owner(World::parent(&name)) == op.uid;
    let owns = |path: &str| world.owner(path) == op.uid;
    let (op_of_it, path, owner) = match op.op.as_str() {
        "read" => (Op::Open(Access::Read), &resolved, owns(&resolved)),
        "opendir" => (Op::Open(Access::Read), &resolved, owns(&resolved)),
        "write" | "append" => (Op::Open(Access::Write), &resolved, owns(&resolved)),
        "truncate" => (Op::Truncate, &resolved, owns(&resolved)),
        "chmod" => (Op::Chmod, &resolved, owns(&resolved)),
        "mknod" | "mknodreg" | "unixbind" => (Op::Create, &name, made),
        "mkdir" => (Op::Mkdir, &name, made),
        "symlink" => (Op::Symlink, &name, made),
        "unlink" => (Op::Unlink, &name, owns(&name)),
        "rmdir" => (Op::Rmdir, &name, owns(&name)),
        "rename" => (Op::Rename { to: to()? }, &name, owns(&name)),
        "link" => (Op::Link { to: to()? }, &name, owns(&name)),
        "exec" if world.is_static(&resolved) => (Op::Exec, &resolved, owns(&resolved)),
        _ => return None,
    };
    let slash = if op.op == "opendir" && path != "/" {
        "/"
    } else {
        ""
    };
    Some(Behavior {
        op: op_of_it,
        path: AbsPath::try_from(format!("{path}{slash}").as_str()).ok()?,
        source: AbsPath::try_from(world.resolve(&op.source, true).as_str())
            .ok()
            .filter(|_| op.source != "memfd:"),
        uid: Some(op.uid),
        owner: Some(owner),
        // Links and directories are copied up without an open.
        upper: root.is_overlay().then(|| !world.is_file(path)),
        tty: Some(op.tty),
        result: Outcome::Ok,
    })
}

fn program(source: &str) -> Program<'_> {
    if source == "memfd:" {
        Program::Nameless
    } else {
        Program::Path(source.as_bytes())
    }
}

//! An operation of a workload, and the hooks that the kernel calls for it.

use super::hook::{FileHook, Hook, Program};
use super::judgement::{Fact, Judgement, Why};
use super::overlay::Inner;
use super::{Actor, Enforced};
use crate::behavior::{Access, Behavior, Op};
use crate::path::AbsPath;

/// An operation, as recordings tell it. `None` means that it is not known.
///
/// How a recording's operation becomes hooks:
/// - An exec is the open of the program and `bprm_check`. Both are judged with the source of the
///   record, the parent's executable; KubeArmor takes that of the process itself for the open,
///   which is the same unless a process executes without forking first. The recorder has a line
///   of its own for that open, with its own source.
/// - An open for writing is taken to be followed by a write.
/// - A truncation is taken to be `path_truncate`; since Linux 6.2 KubeArmor sees only truncate(2).
/// - A rename or link asks about both names.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// What is done.
    pub op: &'a Op,
    /// To which resolved path.
    pub path: &'a AbsPath,
    /// By which program; see [`Behavior::source`].
    pub source: Option<&'a AbsPath>,
    /// By which user.
    pub uid: Option<u32>,
    /// The user owns the file, or for a new name the directory.
    pub owner: Option<bool>,
    /// The file is not from the image.
    pub upper: Option<bool>,
    /// The process has a terminal.
    pub tty: Option<bool>,
}

impl<'a> From<&'a Behavior> for Operation<'a> {
    fn from(behavior: &'a Behavior) -> Self {
        let Behavior {
            op,
            path,
            source,
            uid,
            owner,
            upper,
            tty,
            result: _,
        } = behavior;
        Self {
            op,
            path,
            source: source.as_ref(),
            uid: *uid,
            owner: *owner,
            upper: *upper,
            tty: *tty,
        }
    }
}

impl<'a> Operation<'a> {
    /// An operation of which nothing else is known.
    pub fn new(op: &'a Op, path: &'a AbsPath) -> Self {
        Self {
            op,
            path,
            source: None,
            uid: None,
            owner: None,
            upper: None,
            tty: None,
        }
    }

    pub(super) fn judge(&self, enforced: &Enforced) -> Judgement {
        let path = self.path.as_bytes();
        let actor = enforced.actor(self.program());
        let at = |hook, path: &[u8], owner| actor.ask(Hook::File { hook, path, owner }, self.tty);
        let own = |hook| at(hook, path, self.owner);
        let judgement = match self.op {
            Op::Exec => match actor {
                // AppArmor asks about an exec once.
                Actor::AppArmor(..) => self.exec(actor),
                Actor::Bpf(..) => own(FileHook::Open(Access::Read))
                    .then(|| self.inner_open(enforced, Access::Read))
                    .then(|| self.exec(actor)),
            },
            Op::Open(Access::Read) => {
                own(FileHook::Open(Access::Read)).then(|| self.inner_open(enforced, Access::Read))
            }
            Op::Open(access) => own(FileHook::Open(*access))
                .then(|| self.copy_up(enforced))
                .then(|| self.inner_open(enforced, *access))
                .then(|| own(FileHook::Write)),
            Op::Create => own(FileHook::Mknod),
            Op::Mkdir => own(FileHook::Mkdir),
            Op::Unlink => own(FileHook::Unlink),
            Op::Rmdir => own(FileHook::Rmdir).then(|| self.inner_open(enforced, Access::Read)),
            // A name that is not there yet counts as root's.
            Op::Symlink => at(FileHook::Symlink, path, self.is_root()),
            Op::Link { to } => own(FileHook::Link)
                .then(|| at(FileHook::Link, to.as_bytes(), self.is_root()))
                .then(|| self.copy_up(enforced)),
            // What the new name replaces, if anything, is not recorded.
            Op::Rename { to } => own(FileHook::Rename)
                .then(|| at(FileHook::Rename, to.as_bytes(), None))
                .then(|| self.copy_up(enforced)),
            Op::Chmod => own(FileHook::Chmod).then(|| self.copy_up(enforced)),
            Op::Truncate => own(FileHook::Truncate).then(|| self.copy_up(enforced)),
        };
        judgement.then(|| enforced.overlay_asks_for_capabilities())
    }

    fn exec(&self, actor: Actor<'_>) -> Judgement {
        let hook = Hook::Exec {
            path: self.path.as_bytes(),
            owner: self.owner,
            arguments: None,
        };
        actor.ask(hook, self.tty)
    }

    fn program(&self) -> Program<'a> {
        self.source
            .map_or(Program::Unknown, |source| Program::Path(source.as_bytes()))
    }

    fn is_root(&self) -> Option<bool> {
        self.uid.map(|uid| uid == 0)
    }

    /// What the overlay's own opens are judged by.
    fn inner(&self) -> Inner<'a> {
        Inner {
            path: self.path.as_bytes(),
            layer_path: self.path.as_bytes(),
            source: self.program(),
            tty: self.tty,
            // Root owns it: known where the actor owns it and is known, or does not and is root.
            root_owns: match (self.owner, self.is_root()) {
                (Some(owner), Some(true)) => Some(owner),
                (Some(true), Some(false)) => Some(false),
                _ => None,
            },
        }
    }

    fn inner_open(&self, enforced: &Enforced, access: Access) -> Judgement {
        if enforced.root.is_overlay() {
            enforced.inner_open(&self.inner(), access)
        } else {
            Judgement::allowed(Why::NoHook)
        }
    }

    fn copy_up(&self, enforced: &Enforced) -> Judgement {
        if !enforced.root.is_overlay() || self.upper == Some(true) {
            return Judgement::allowed(Why::NoHook);
        }
        let copied = enforced.copy_up(&self.inner(), true);
        match self.upper {
            Some(_) => copied,
            None => {
                let not = Judgement::allowed(Why::NoHook);
                copied.or(not, Fact::Layer)
            }
        }
    }
}

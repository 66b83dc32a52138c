//! What changes where the container's root is an overlay: every container root is one.
//!
//! The kernel's overlay opens files of its own in the name of the process, and the enforcer is
//! asked about these too (verdicts on an overlay root, Linux 6.1 and 6.12):
//! the first change of a file of the image copies it up, through a file of the host's file system
//! below the work directory; and files are opened a second time with the user id 0 of whoever
//! mounted the overlay.

use super::hook::{FileHook, Hook, HookCall, Program};
use super::judgement::{Fact, Judgement, Verdict, Why};
use super::{Enforced, Engine};
use crate::behavior::Access;
use crate::path::AbsPath;

/// The file system of a container's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Root {
    /// Any that opens no files of its own.
    #[default]
    Plain,
    /// An overlay.
    Overlay {
        /// The option `workdir` of the mount, as seen from the root of the file system that it is
        /// on: `/var/lib/containerd/…/snapshots/42/work`.
        workdir: Option<AbsPath>,
    },
}

impl Root {
    /// Whether it is an overlay.
    pub fn is_overlay(&self) -> bool {
        matches!(self, Self::Overlay { .. })
    }
}

/// A file that the overlay itself opens for a process.
#[derive(Clone, Copy, Debug)]
pub struct Inner<'a> {
    /// As the process names it.
    pub path: &'a [u8],
    /// From the root of the image's layer. For the container's root that is the same.
    pub layer_path: &'a [u8],
    /// The executable of the process.
    pub source: Program<'a>,
    /// The process has a terminal.
    pub tty: Option<bool>,
    /// Root owns the file.
    pub root_owns: Option<bool>,
}

impl Enforced {
    /// The second open of a file, by user 0: ownerOnly refuses files that root does not own. From
    /// Linux 6.8 on it bears the path from the root of the layer.
    pub fn inner_open(&self, inner: &Inner<'_>, access: Access) -> Judgement {
        if !self.is_asked_by_overlays() {
            return Judgement::allowed(Why::NoHook);
        }
        self.opened(inner.path, inner, access)
    }

    /// AppArmor goes by the credentials, and these opens bear those of who mounted the overlay.
    fn is_asked_by_overlays(&self) -> bool {
        matches!(self.engine, Engine::Bpf(_))
    }

    fn opened(&self, path: &[u8], inner: &Inner<'_>, access: Access) -> Judgement {
        let judgement = self.hook(&HookCall {
            hook: Hook::File {
                hook: FileHook::Open(access),
                path,
                owner: inner.root_owns,
            },
            source: inner.source,
            tty: inner.tty,
        });
        match judgement.why {
            Why::Missing(Fact::Owner) => Judgement::unknown(Why::Missing(Fact::User)),
            _ => judgement,
        }
    }

    /// The first change of a file of the image: a file below the work directory is opened and
    /// written to, and the image's file is read.
    /// Without its data where it is to be emptied anyway.
    pub fn copy_up(&self, inner: &Inner<'_>, with_data: bool) -> Judgement {
        let Root::Overlay { workdir } = &self.root else {
            return Judgement::allowed(Why::NoHook);
        };
        if !self.is_asked_by_overlays() {
            return Judgement::allowed(Why::NoHook);
        }
        let Some(workdir) = workdir else {
            return self.copy_up_somewhere(inner, with_data);
        };
        // The last component is the number of an inode that is not there yet; no rule names it.
        let mut work = workdir.as_bytes().to_vec();
        work.extend_from_slice(b"/work/#0");
        let at_work = |hook| {
            copied(self.hook(&HookCall {
                hook: Hook::File {
                    hook,
                    path: &work,
                    owner: Some(true),
                },
                source: inner.source,
                tty: inner.tty,
            }))
        };
        let opened = at_work(FileHook::Open(Access::ReadWrite));
        if with_data {
            opened
                .then(|| copied(self.opened(inner.layer_path, inner, Access::Read)))
                .then(|| at_work(FileHook::Write))
        } else {
            opened
        }
    }

    /// As [`Enforced::copy_up`], below a work directory that is not known.
    fn copy_up_somewhere(&self, inner: &Inner<'_>, with_data: bool) -> Judgement {
        let Engine::Bpf(container) = &self.engine else {
            return Judgement::allowed(Why::NoHook);
        };
        let somewhere = container.anywhere(inner.source, inner.tty);
        let opened = match somewhere {
            Some(judgement) => copied(judgement),
            None => Judgement::unknown(Why::Missing(Fact::WorkDirectory)),
        };
        if with_data {
            opened.then(|| copied(self.opened(inner.layer_path, inner, Access::Read)))
        } else {
            opened
        }
    }

    /// The overlay asks for capabilities in the actor's name, which depend on its inner workings.
    pub fn overlay_asks_for_capabilities(&self) -> Judgement {
        match &self.engine {
            Engine::Bpf(container)
                if self.root.is_overlay() && container.restricts_capabilities() =>
            {
                Judgement::unknown(Why::Missing(Fact::Capabilities))
            }
            _ => Judgement::allowed(Why::NoHook),
        }
    }
}

fn copied(judgement: Judgement) -> Judgement {
    let why = match judgement.verdict {
        Verdict::Allowed if !judgement.alert => judgement.why,
        _ => Why::CopyUp(Box::new(judgement.why)),
    };
    Judgement { why, ..judgement }
}

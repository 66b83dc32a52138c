//! The BPF-LSM enforcer: the rule map of one container, and the programs that ask it.

use super::budget::Budget;
use super::enforcer::{Class, Posture, Postures};
use super::hook::{Hook, Program};
use super::judgement::{Fact, Judgement, Verdict};
use crate::path::AbsPath;
use crate::policy::document::Policy;

mod decide;
mod find;
mod map;
mod number;
mod put;
mod room;
mod seen;
mod tree;

pub(crate) use number::CAPABILITIES;

pub(super) use find::Source;
use map::RuleMap;

/// Bits of a rule's mask (KubeArmor/BPF/shared.h and bpflsm/rulesHandling.go). Those for processes
/// and those for files are in two masks of the same entry.
mod bit {
    pub(super) const EXEC: u16 = 1 << 0;
    pub(super) const WRITE: u16 = 1 << 1;
    pub(super) const READ: u16 = 1 << 2;
    pub(super) const OWNER: u16 = 1 << 3;
    /// The key is a directory whose children it is about.
    pub(super) const DIR: u16 = 1 << 4;
    pub(super) const RECURSIVE: u16 = 1 << 5;
    /// There are keys of directories below this one.
    pub(super) const HINT: u16 = 1 << 6;
    pub(super) const DENY: u16 = 1 << 7;
    pub(super) const ARGUMENTS: u16 = 1 << 8;
    pub(super) const TERMINAL: u16 = 1 << 9;
}

/// The two values of a posture key. They are masks like any other where they are found under the
/// name of a program.
const AUDIT_POSTURE: u16 = 140;
const BLOCK_POSTURE: u16 = 141;

/// Posture keys: ordinary keys of one byte, `e` to `h`.
fn posture_key(class: Class) -> u8 {
    match class {
        Class::Process => 101,
        Class::File => 102,
        Class::Network => 103,
        Class::Capabilities => 104,
    }
}

/// The first byte of the keys of socket types, protocols and capabilities.
const SOCKET_TYPE: u8 = 2;
const SOCKET_PROTOCOL: u8 = 3;
const CAPABILITY: u8 = 200;

/// Whether KubeArmor's limits hold: the bytes of a key, of a directory and of the map, the depth of a
/// path, and what its posture keys and programs without a path lead to. Learner's own programs have
/// none of them, and otherwise the same rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Bounds {
    #[default]
    KubeArmor,
    Unlimited,
}

/// What the enforcer holds for a container.
pub(super) struct Container {
    map: RuleMap,
    postures: [Option<u16>; 4],
    budget: Budget,
    /// Where file systems are mounted below the container's root.
    pub(super) mounts: Vec<AbsPath>,
}

impl Container {
    pub(super) fn new(policies: &[&Policy], postures: Postures, bounds: Bounds) -> Self {
        let (map, budget) = put::put(policies, postures, bounds);
        let posture = |class| map.posture(class);
        Self {
            postures: [
                posture(Class::Process),
                posture(Class::File),
                posture(Class::Network),
                posture(Class::Capabilities),
            ],
            map,
            budget,
            mounts: Vec::new(),
        }
    }

    pub(super) fn budget(&self) -> Budget {
        self.budget.clone()
    }

    pub(super) fn restricts_capabilities(&self) -> bool {
        self.map.has(Class::Capabilities)
    }

    /// A path as the programs see it.
    fn seen<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        match self.map.bounds {
            Bounds::KubeArmor => seen::path(path, &self.mounts),
            Bounds::Unlimited => seen::whole(path),
        }
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.map.bounds == Bounds::Unlimited
    }

    /// The rules as Learner's own programs hold them.
    pub(super) fn tree(&self) -> super::tree::Tree {
        tree::grow(&self.map)
    }

    /// The mask under the posture key of a class, whatever wrote it.
    fn posture(&self, class: Class) -> Option<u16> {
        self.postures[class as usize]
    }

    /// Who acts, as the rule map has it. None if that is not known.
    pub(super) fn source(&self, program: Program<'_>) -> Option<Source<'_>> {
        match program {
            Program::Path(path) => {
                // A source that is the root directory does not exist.
                let path = self.seen(path).unwrap_or_default();
                Some(self.map.source(path))
            }
            Program::Nameless => Some(Source::Nameless),
            Program::Unknown => None,
        }
    }

    pub(super) fn ask(
        &self,
        hook: Hook<'_>,
        source: Option<Source<'_>>,
        tty: Option<bool>,
    ) -> Judgement {
        match source {
            Some(source) => self.decide(hook, source, tty),
            None => self.decide_for_any(hook, tty),
        }
    }

    /// The answer that is the same whoever acts, if there is one.
    fn decide_for_any(&self, hook: Hook<'_>, tty: Option<bool>) -> Judgement {
        let class = match hook {
            Hook::Exec { .. } => Class::Process,
            Hook::File { .. } => Class::File,
            Hook::Socket { .. } => Class::Network,
            Hook::Capable { .. } => Class::Capabilities,
        };
        let mut judgement = self.decide(hook, Source::Other, tty);
        let named = self.map.sources_of(class).map(Source::Named);
        for source in named.chain([Source::Nameless]) {
            judgement = judgement.or(self.decide(hook, source, tty), Fact::Source);
            if judgement.verdict == Verdict::Unknown {
                break;
            }
        }
        judgement
    }

    fn decide(&self, hook: Hook<'_>, source: Source<'_>, tty: Option<bool>) -> Judgement {
        match hook {
            Hook::Exec {
                path,
                owner,
                arguments,
            } => {
                let exec = decide::Exec {
                    path,
                    owner,
                    arguments,
                    tty,
                };
                self.exec(&exec, source)
            }
            Hook::File { hook, path, owner } => {
                let file = decide::File {
                    hook,
                    path,
                    owner,
                    tty,
                };
                self.file(&file, source)
            }
            Hook::Socket { kind, protocol } => self.socket(kind, protocol, tty, source),
            Hook::Capable { capability } => self.capable(capability, source),
        }
    }
}

fn posture_of(mask: u16) -> Posture {
    // A rule on a program named like the posture key overwrites the value; whatever is not the
    // value of block then only reports (verdicts execname-011, -012).
    if mask == BLOCK_POSTURE {
        Posture::Block
    } else {
        Posture::Audit
    }
}

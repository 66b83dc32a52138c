//! What KubeArmor does with a set of policies for one container, given an operation.
//!
//! [`Enforced`] is what an enforcer holds once the policies that select a container are applied to
//! it. It answers for one operation at a time, and says why. The BPF-LSM enforcer is modelled hook
//! by hook, as the kernel asks it; the model is held to verdicts of KubeArmor's own programs
//! (`learner/tests/meaning`). The AppArmor enforcer was read from KubeArmor's source and not
//! measured. `docs/policy-meaning.md` has the rules in words.
//!
//! Where a comment cites KubeArmor's source, it is that of commit 510cee31.

use std::borrow::Borrow;

use super::document::Policy;
use crate::path::AbsPath;

mod apparmor;
mod bpf;
mod budget;
mod enforcer;
mod hook;
mod judgement;
mod names;
mod operation;
mod overlay;
mod tree;

pub(crate) use bpf::CAPABILITIES;
pub use budget::{Budget, Dropped};
pub use enforcer::{Class, Enforcer, Posture, Postures, UnknownWord};
pub use hook::{FileHook, Hook, HookCall, Program};
pub use judgement::{Because, Fact, Judgement, Rule, Verdict, Why};
pub use operation::Operation;
pub use overlay::{Inner, Root};
pub use tree::{Branch, NodeId, Rule as TreeRule, Tree};

/// Policies as an enforcer holds them for one container.
pub struct Enforced {
    engine: Engine,
    root: Root,
}

enum Engine {
    Bpf(bpf::Container),
    AppArmor(apparmor::Container),
}

/// Who acts, as the enforcer knows it: looked up once for all hooks of an operation. None where it is not
/// known who acts.
#[derive(Clone, Copy)]
enum Actor<'e> {
    Bpf(&'e bpf::Container, Option<bpf::Source<'e>>),
    AppArmor(&'e apparmor::Container, Option<&'e apparmor::Profile>),
}

impl Actor<'_> {
    /// What becomes of one call of a hook.
    fn ask(self, hook: Hook<'_>, tty: Option<bool>) -> Judgement {
        match self {
            Self::Bpf(container, source) => container.ask(hook, source, tty),
            Self::AppArmor(container, profile) => container.ask(hook, profile),
        }
    }
}

impl Enforced {
    /// Applies the policies in this order: where two of them write the same key, the later one
    /// wins. All of them count as selecting the container.
    pub fn new<P: Borrow<Policy>>(enforcer: Enforcer, policies: &[P], postures: Postures) -> Self {
        let policies: Vec<&Policy> = policies.iter().map(Borrow::borrow).collect();
        Self {
            engine: match enforcer {
                Enforcer::Bpf => Engine::Bpf(bpf::Container::new(
                    &policies,
                    postures,
                    bpf::Bounds::KubeArmor,
                )),
                Enforcer::Learner => Engine::Bpf(bpf::Container::new(
                    &policies,
                    postures,
                    bpf::Bounds::Unlimited,
                )),
                Enforcer::AppArmor => {
                    Engine::AppArmor(apparmor::Container::new(&policies, postures))
                }
            },
            root: Root::Plain,
        }
    }

    /// Says what file system the container's root is. Without it: a plain one.
    #[must_use]
    pub fn on(mut self, root: Root) -> Self {
        self.root = root;
        self
    }

    /// Says where file systems are mounted below the container's root: each of them costs the
    /// BPF-LSM enforcer one of the components that it follows.
    #[must_use]
    pub fn with_mounts(mut self, mounts: impl IntoIterator<Item = AbsPath>) -> Self {
        if let Engine::Bpf(container) = &mut self.engine {
            container.mounts = mounts.into_iter().collect();
        }
        self
    }

    /// What becomes of an operation: of all the hooks that the kernel calls for it, in their order.
    pub fn judge(&self, operation: &Operation<'_>) -> Judgement {
        operation.judge(self)
    }

    /// What becomes of one call of a hook.
    pub fn hook(&self, call: &HookCall<'_>) -> Judgement {
        self.actor(call.source).ask(call.hook, call.tty)
    }

    fn actor(&self, source: Program<'_>) -> Actor<'_> {
        match &self.engine {
            Engine::Bpf(container) => Actor::Bpf(container, container.source(source)),
            Engine::AppArmor(container) => Actor::AppArmor(container, container.profile(source)),
        }
    }

    /// What the rules take of the enforcer's room.
    pub fn budget(&self) -> Budget {
        match &self.engine {
            Engine::Bpf(container) => container.budget(),
            Engine::AppArmor(_) => Budget::default(),
        }
    }

    /// The rules as Learner's own programs hold them; None of another enforcer.
    pub fn tree(&self) -> Option<Tree> {
        match &self.engine {
            Engine::Bpf(container) if container.is_unlimited() => Some(container.tree()),
            _ => None,
        }
    }

    /// The file system of the container's root.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

#[cfg(test)]
mod tests;

//! What stands under block, held by Learner's own programs.
//!
//! On a thread of its own ([`worker`]): the kernel takes seconds to look at the programs, and the agent's
//! one thread has the ring buffer to read. The programs are loaded when the first revision stands under
//! block, and stay pinned when the agent ends, however it ends. The next agent on the same store takes
//! them over as they are, with what they refused meanwhile.

mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use self::worker::{Order, Worker};
use super::figures::Figures;
use crate::candidate::Ledger;
use crate::digest::Digest;
use crate::kernel::Clock;
use crate::kernel::cgroup::GroupId;
use crate::kernel::enforcer::{self, EnforceError};
use crate::posture::Revision;
use crate::profile::RunProfile;
use crate::workload::{RunKey, Workload};

/// The cgroup of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: GroupId,
    /// The uid of the pod that its container is of, if it is of one.
    pub(super) pod: Option<Arc<str>>,
}

/// Tells the thread that enforces which cgroup is whose, and where each revision stands.
pub(super) struct Enforcing {
    state: State,
    missed: BTreeMap<u64, RunProfile>,
    ledger: Arc<Ledger>,
}

enum State {
    /// Nothing is enforced.
    Off {
        why: String,
        /// Of how many revisions that was said.
        said: usize,
    },
    On {
        orders: Sender<Order>,
        worker: JoinHandle<()>,
    },
    /// What is enforced stays so. None: it was waited for.
    Left(Option<JoinHandle<()>>),
}

impl Enforcing {
    /// Holds nothing to anything, and says why where something should be.
    ///
    /// # Errors
    /// [`EnforceError::Pins`] if it cannot be told what an earlier agent left.
    pub(super) fn off(store: &Path, why: String) -> Result<Self, EnforceError> {
        let instance = instance(store);
        if enforcer::is_pinned(&instance)? || enforcer::is_pinned_by_another(&instance)? {
            tracing::warn!(
                "what an earlier agent enforced stays enforced, and is not looked after: {why}; to let it be: \
                 learner release {instance}"
            );
        }
        Ok(Self {
            state: State::Off { why, said: 0 },
            missed: BTreeMap::new(),
            ledger: Arc::default(),
        })
    }

    /// Takes over what an earlier agent on the same store left enforced, and begins to wait for orders.
    ///
    /// # Errors
    /// [`EnforceError`] if something is left enforced and cannot be taken over. It stays in force.
    pub(super) fn begin(
        store: &Path,
        clock: Clock,
        figures: Arc<Figures>,
    ) -> Result<Self, EnforceError> {
        let (orders, receiver) = channel();
        let mut worker = Worker::new(instance(store), clock, receiver, figures);
        let missed = worker.take_over()?;
        let worker = std::thread::spawn(move || worker.work());
        Ok(Self {
            state: State::On { orders, worker },
            missed,
            ledger: Arc::default(),
        })
    }

    /// What was refused to a cgroup while no agent watched. It is given once.
    pub(super) fn missed(&mut self, group: GroupId) -> Option<RunProfile> {
        self.missed.remove(&group.id)
    }

    /// Where all revisions stand from now on.
    pub(super) fn stands(&mut self, ledger: &Arc<Ledger>) {
        if let State::Off { why, said } = &mut self.state {
            let revisions = ledger.iter().map(|(revision, _)| revision);
            let blocked = revisions.filter(|of| ledger.to_enforce(of).is_some());
            let blocked = blocked.count();
            if blocked > *said {
                tracing::error!(
                    revisions = blocked,
                    "stand under block, and nothing is enforced: {why}"
                );
            }
            *said = blocked;
        }
        self.ledger = Arc::clone(ledger);
        self.order(Order::Stands(Arc::clone(ledger)));
    }

    /// Whether a candidate is frozen for any image of the workload.
    pub(super) fn is_judged(&self, workload: &Workload) -> bool {
        self.ledger.is_judged(workload)
    }

    /// A run of this workload is about to begin in the cgroup, which is new. Where the programs were at work
    /// before, its revision's posture is applied at once, so that its first exec is held to it.
    pub(super) fn awaited(&self, revision: Revision, place: Place) {
        self.order(Order::Awaited(revision, place, Instant::now()));
    }

    /// Nothing is awaited in the cgroup any more.
    pub(super) fn not_awaited(&self, group: GroupId) {
        self.order(Order::NotAwaited(group));
    }

    /// A run has begun, or is watched from now on. Its revision's posture is applied to its cgroup.
    pub(super) fn begun(&self, run: &RunKey, place: Place) {
        self.order(Order::Begun(run.clone(), place));
    }

    /// The run has ended, or is not watched any more: its cgroup is let be.
    pub(super) fn ended(&self, run: &RunKey) {
        self.order(Order::Ended(run.clone()));
    }

    /// All runs that go on have begun. What is enforced on other cgroups is nobody's.
    pub(super) fn all_have_begun(&self) {
        self.order(Order::AllHaveBegun);
    }

    /// The agent ends: what is enforced from now on stays so.
    pub(super) fn leave(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Left(None));
        self.state = match state {
            State::On { worker, .. } => State::Left(Some(worker)),
            other => other,
        };
    }

    /// Waits until what is under way is done. [`Enforcing::leave`] comes before it.
    pub(super) fn join(&mut self) {
        if let State::Left(worker) = &mut self.state
            && let Some(worker) = worker.take()
            && worker.join().is_err()
        {
            tracing::error!("the thread that enforces had panicked; what it enforced stays so");
        }
    }

    fn order(&self, order: Order) {
        if let State::On { orders, .. } = &self.state
            && orders.send(order).is_err()
        {
            tracing::error!("nothing is enforced anew: the thread that enforces has ended");
        }
    }
}

/// The name under which the agents on this store pin what they enforce: one at a time has the store open.
fn instance(store: &Path) -> String {
    let real = store.canonicalize().unwrap_or_else(|_| store.to_owned());
    let digest = Digest::of(real.as_os_str().as_encoded_bytes());
    format!("agent-{}", digest.short())
}

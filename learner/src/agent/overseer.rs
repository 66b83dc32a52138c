//! Where enforcement joins in: which cgroup is whose, and where each revision stands.

use crate::candidate::Ledger;
use crate::kernel::Target;
use crate::observation::Moment;
use crate::workload::RunKey;

/// Told of every run while it is watched, `begun` once and `ended` once, and of where all revisions
/// stand. All of it on the agent's one thread: what takes long belongs elsewhere.
///
/// Nothing has to be judged here: what runs do is judged once it is stored
/// (`learner/src/agent/bench.rs`), and what is decided comes back as `stands`.
pub trait Overseer {
    /// Where all revisions stand from now on: once before the first run, and after every decision,
    /// whoever made it. A posture is applied to the runs that have begun.
    fn stands(&mut self, ledger: &Ledger);
    /// A run has begun, or is watched from now on if it is `late`. Its revision's posture is applied
    /// to `target`.
    fn begun(&mut self, run: &RunKey, target: Target, late: bool);
    /// The run has ended, or with `cut_short` it goes on and is not watched any more.
    fn ended(&mut self, run: &RunKey, now: Moment, cut_short: bool);
}

/// Audit alone: nothing is applied to any cgroup.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unenforced;

impl Overseer for Unenforced {
    fn stands(&mut self, _: &Ledger) {}
    fn begun(&mut self, _: &RunKey, _: Target, _: bool) {}
    fn ended(&mut self, _: &RunKey, _: Moment, _: bool) {}
}

//! Where posture joins in: shadow evaluation of what runs do, and enforcement of what they may.

use crate::kernel::Target;
use crate::observation::Moment;
use crate::profile::RunProfile;
use crate::workload::RunKey;

/// Told of every run while it is watched, in this order: `begun` once, `seen` at every flush with
/// what is new, `ended` once. All of it on the agent's one thread: what takes long belongs elsewhere.
pub trait Overseer {
    /// A run has begun, or is watched from now on if it is `late`. A posture is applied to `target`.
    fn begun(&mut self, run: &RunKey, target: Target, late: bool);
    /// What the run did so far, all of it, its loss account included. It may stand in the store
    /// already, or not yet.
    fn seen(&mut self, run: &RunKey, profile: &RunProfile, now: Moment);
    /// The run has ended, or with `cut_short` it goes on and is not watched any more.
    fn ended(&mut self, run: &RunKey, now: Moment, cut_short: bool);
}

/// Learning alone: nothing is evaluated and nothing is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Learning;

impl Overseer for Learning {
    fn begun(&mut self, _: &RunKey, _: Target, _: bool) {}
    fn seen(&mut self, _: &RunKey, _: &RunProfile, _: Moment) {}
    fn ended(&mut self, _: &RunKey, _: Moment, _: bool) {}
}

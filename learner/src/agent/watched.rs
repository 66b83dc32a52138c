//! One watched cgroup, with the run in it or the run to come.

use std::path::Path;
use std::sync::Arc;

use super::enforcing::{Enforcing, Place};
use super::naming::{Naming, Whose};
use crate::host::{Candidate, Described, Roots, What};
use crate::kernel::cgroup::GroupId;
use crate::kernel::{Begun, Sensor};
use crate::observation::Moment;
use crate::profile::RunProfile;
use crate::workload::RunKey;

/// One watched cgroup, with the run in it or the run to come.
pub(super) struct Watched {
    pub(super) scope: u32,
    pub(super) group: GroupId,
    pub(super) candidate: Candidate,
    /// It ran before it was watched: what its processes had open then.
    pub(super) late: Option<RunProfile>,
    pub(super) run: Run,
    /// It is of somebody who is not to be watched: what it did is nothing.
    pub(super) left_out: bool,
    /// Behaviours, events and lost events of the last report.
    pub(super) reported: (usize, u64, u64),
}

/// The run in a cgroup.
pub(super) enum Run {
    /// None has begun.
    Awaited,
    /// One has, and whose it is is not known yet.
    Unnamed(String),
    /// One has, and is this one.
    Named(RunKey, Box<Described>),
}

impl Watched {
    /// Whether what the run did first was not seen.
    pub(super) fn is_late(&self, begun: Option<Begun>) -> bool {
        self.late.is_some() || begun.is_none_or(|begun| !begun.by_exec)
    }

    /// Whether a run has begun that was not taken note of. What was lost before it was seen to begin
    /// may have been its beginning: then it has begun.
    pub(super) fn has_begun(&self, begun: Option<Begun>, sensor: &Sensor) -> bool {
        let has_lost = || {
            let losses = sensor.losses(self.scope);
            losses.is_ok_and(|losses| !losses.is_empty())
        };
        matches!(self.run, Run::Awaited)
            && !self.left_out
            && (self.late.is_some() || begun.is_some() || has_lost())
    }

    /// The id of its container.
    pub(super) fn container(&self) -> Option<&str> {
        match &self.candidate.what {
            What::Container { id, .. } => Some(id),
            What::Unit(_) | What::Cgroup(_) => None,
        }
    }

    /// Takes note of the run by when it began, and names it if it is known whose it is.
    pub(super) fn begin(
        &mut self,
        at: Moment,
        naming: &Naming,
        roots: &Roots,
        enforcing: &mut Enforcing,
    ) {
        self.run = Run::Unnamed(run_name(&self.candidate.what, at, self.scope));
        self.name(naming, roots, enforcing);
    }

    /// Names the run that has begun, if it is known whose it is.
    pub(super) fn name(&mut self, naming: &Naming, roots: &Roots, enforcing: &mut Enforcing) {
        let Run::Unnamed(name) = &self.run else {
            return;
        };
        match naming.whose(&self.candidate.what, roots) {
            Whose::Known(described) => {
                let key = key(&described, name.clone());
                enforcing.begun(&key, place(&self.candidate.what, self.group));
                if let Some(state) = &mut self.late {
                    teach_only(state, &key, enforcing);
                }
                self.catch_up(enforcing);
                self.run = Run::Named(key, Box::new(described));
            }
            Whose::LeftOut => {
                self.left_out = true;
                self.run = Run::Awaited;
            }
            Whose::NotYet => {}
        }
    }

    /// What was refused while nobody watched is evidence of a run that was late.
    fn catch_up(&mut self, enforcing: &mut Enforcing) {
        if let Some(missed) = enforcing.missed(self.group) {
            self.late.get_or_insert_default().join(missed);
        }
    }

    /// The run that has ended, as far as it has begun.
    pub(super) fn over(
        mut self,
        profile: RunProfile,
        begun: Option<Begun>,
        enforcing: &mut Enforcing,
    ) -> Over {
        if self.left_out {
            return Over::Nothing;
        }
        match self.run {
            Run::Awaited => Over::Nothing,
            Run::Unnamed(ref name) => {
                let name = name.clone();
                // Kept apart from what its processes had open: whether that may teach is not known yet.
                let missed = enforcing.missed(self.group);
                let (Some(id), late) = (self.container().map(str::to_owned), self.late.take())
                else {
                    return Over::Nothing;
                };
                let held = Held {
                    missed,
                    ..Held::new(name, profile, begun, late)
                };
                Over::Unnamed(id, Box::new(held))
            }
            Run::Named(key, described) => {
                let profile = whole(profile, begun, &described, self.late.as_ref());
                Over::Named(key, Box::new(profile))
            }
        }
    }
}

/// What a cgroup leaves.
pub(super) enum Over {
    /// No run had begun in it, or it is left out.
    Nothing,
    /// A run, of the container of this id.
    Unnamed(String, Box<Held>),
    /// A run.
    Named(RunKey, Box<RunProfile>),
}

/// A run that has ended before it was known whose it is.
#[derive(Clone, Debug)]
pub(super) struct Held {
    name: String,
    profile: RunProfile,
    begun: Option<Begun>,
    late: Option<RunProfile>,
    missed: Option<RunProfile>,
}

impl Held {
    /// A run by its name, what was gathered of it, how it began, and what its processes had open if it had
    /// begun before.
    pub(super) fn new(
        name: String,
        profile: RunProfile,
        begun: Option<Begun>,
        late: Option<RunProfile>,
    ) -> Self {
        Self {
            name,
            profile,
            begun,
            late,
            missed: None,
        }
    }

    /// One that was put away by an earlier agent.
    pub(super) fn kept(name: String, profile: RunProfile) -> Self {
        let begun = profile.start.map(|at| Begun { at, by_exec: true });
        Self::new(name, profile, begun, None)
    }

    /// To be put away: its name, and what it did. What its processes had open is not put away, since nobody
    /// will know whether it may teach.
    pub(super) fn put_away(self) -> (String, RunProfile) {
        let Self {
            name,
            mut profile,
            begun,
            late,
            missed,
        } = self;
        match (late, begun) {
            (None, Some(Begun { at, by_exec: true })) => profile.start = Some(at),
            _ => profile.late = true,
        }
        if let Some(missed) = missed {
            profile.join(missed);
        }
        (name, profile)
    }

    /// What it takes to hold it: distinct behaviours, at least 1.
    pub(super) fn weight(&self) -> usize {
        self.profile.seen.len().max(1)
    }

    /// It is this workload's.
    pub(super) fn of(self, described: &Described, enforcing: &Enforcing) -> (RunKey, RunProfile) {
        let Self {
            name,
            profile,
            begun,
            mut late,
            missed,
        } = self;
        let key = key(described, name);
        if let Some(state) = &mut late {
            teach_only(state, &key, enforcing);
        }
        if let Some(missed) = missed {
            late.get_or_insert_default().join(missed);
        }
        let profile = whole(profile, begun, described, late.as_ref());
        (key, profile)
    }
}

/// What its processes have open they may have been given, or have opened before any candidate was
/// frozen: it teaches what is learning, and is nothing to be judged.
fn teach_only(state: &mut RunProfile, key: &RunKey, enforcing: &Enforcing) {
    if enforcing.is_judged(&key.workload) {
        state.seen.clear();
    }
}

fn key(described: &Described, run: String) -> RunKey {
    RunKey {
        workload: described.workload.clone(),
        image: described.image.clone(),
        run,
    }
}

/// What was gathered, with how the run began.
pub(super) fn whole(
    mut profile: RunProfile,
    begun: Option<Begun>,
    described: &Described,
    late: Option<&RunProfile>,
) -> RunProfile {
    profile.labels = described.labels.clone();
    match late {
        Some(state) => {
            profile.late = true;
            profile.join(state.clone());
        }
        None => match begun {
            Some(Begun { at, by_exec: true }) => profile.start = Some(at),
            _ => profile.late = true,
        },
    }
    profile
}

/// The cgroup with what is known of its pod.
pub(super) fn place(what: &What, group: GroupId) -> Place {
    let pod = match what {
        What::Container { pod, .. } => pod.as_deref().map(Arc::from),
        What::Unit(_) | What::Cgroup(_) => None,
    };
    Place { group, pod }
}

/// Unique on this machine: the time to the microsecond, and a number that this process gives once.
fn run_name(what: &What, Moment(at): Moment, scope: u32) -> String {
    let name = match what {
        What::Container { id, .. } if id.len() == 64 => &id[..12],
        What::Container { id: name, .. } | What::Unit(name) | What::Cgroup(name) => name,
    };
    let time = jiff::Timestamp::from_microsecond(at).unwrap_or_default();
    format!("{name}-{time}-{scope}")
}

/// Whether the directory is still that of the group.
pub(super) fn is_there(directory: &Path, group: GroupId) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(directory).is_ok_and(|found| found.ino() == group.id)
}

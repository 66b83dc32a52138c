//! The workloads of the host that are watched now, each with its run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::enforcing::Enforcing;
use crate::host::{self, Candidate, Described, Roots, Selection, Stage, Tree, What};
use crate::kernel::cgroup::{self, GroupId};
use crate::kernel::{
    Beginning, Begun, Clock, Collector, Sensor, SensorError, Target, live, settle,
};
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::posture::Revision;
use crate::profile::RunProfile;
use crate::visible::visible;
use crate::workload::RunKey;

/// Turns in which the ring buffer may be emptied before something else is done: who writes faster
/// than we read must not keep us from ending another's run.
const MAX_TURNS: usize = 64;

/// How often the processes of a new cgroup are looked at, as long as they change.
const LOOKS: usize = 20;

/// A run with what it did, for the store.
pub(super) type Report = (RunKey, RunProfile);

/// One watched cgroup, with the run in it or the run to come.
struct Watched {
    scope: u32,
    group: GroupId,
    candidate: Candidate,
    /// It ran before it was watched: what its processes had open then.
    late: Option<RunProfile>,
    /// Known once the run has begun.
    run: Option<(RunKey, Described)>,
    /// Behaviours, events and lost events of the last report.
    reported: (usize, u64, u64),
}

impl Watched {
    /// Whether what the run did first was not seen.
    fn is_late(&self, begun: Option<Begun>) -> bool {
        self.late.is_some() || begun.is_none_or(|begun| !begun.by_exec)
    }

    /// Whether there is a run to name, and it has no name yet. What was lost before it was seen to
    /// begin may have been its beginning: then it has begun.
    fn is_nameless(&self, begun: Option<Begun>, sensor: &Sensor) -> bool {
        let has_lost = || {
            let losses = sensor.losses(self.scope);
            losses.is_ok_and(|losses| !losses.is_empty())
        };
        self.run.is_none() && (self.late.is_some() || begun.is_some() || has_lost())
    }

    /// Names the run by when it began.
    fn name(&mut self, at: Moment, roots: &Roots, enforcing: &mut Enforcing) -> &RunKey {
        let what = &self.candidate.what;
        let described = host::describe(what, roots);
        let key = RunKey {
            workload: described.workload.clone(),
            image: described.image.clone(),
            run: run_name(what, at, self.scope),
        };
        enforcing.begun(&key, self.group);
        if let Some(state) = &mut self.late
            && enforcing.is_judged(&key.workload)
        {
            // What its processes have open they may have been given, or have opened before any candidate was
            // frozen: it teaches what is learning, and is nothing to be judged.
            state.seen.clear();
        }
        if let Some(missed) = enforcing.missed(self.group) {
            // Refused while nobody watched: evidence of a run that was late.
            self.late.get_or_insert_default().join(missed);
        }
        &self.run.insert((key, described)).0
    }
}

/// The sensor with all that is watched by it.
pub(super) struct Watching {
    sensor: Sensor,
    collector: Collector,
    clock: Clock,
    tree: Tree,
    selection: Selection,
    next_scope: u32,
    watched: BTreeMap<PathBuf, Watched>,
    unseen: u64,
}

/// How one watched run stands, for the metrics.
pub(super) struct Standing {
    /// Whose run.
    pub run: RunKey,
    /// Distinct behaviours.
    pub behaviors: u64,
    /// Events, as of the last report.
    pub events: u64,
    /// Lost events by reason.
    pub lost: Vec<(String, u64)>,
}

impl Watching {
    /// Watches nothing yet.
    pub(super) fn new(
        sensor: Sensor,
        tree: Tree,
        selection: Selection,
        max_behaviors: usize,
    ) -> Self {
        let clock = Clock::now();
        Self {
            collector: Collector::new(&sensor, clock, max_behaviors),
            sensor,
            clock,
            tree,
            selection,
            next_scope: 1,
            watched: BTreeMap::new(),
            unseen: 0,
        }
    }

    /// The kernel's side, to wait on.
    pub(super) fn sensor(&self) -> &Sensor {
        &self.sensor
    }

    /// The cgroups' side, to wait on.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What was gathered, for the metrics.
    pub(super) fn collector(&self) -> &Collector {
        &self.collector
    }

    /// Workloads that are watched, whether a run has begun in them or not.
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }

    /// Cgroups in which something had run to its end before they were watched.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The clock of the events.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// The time by the clock of the events.
    pub(super) fn now(&self) -> Moment {
        self.clock.moment()
    }

    /// Takes what the kernel has reported; true if that was all.
    pub(super) fn drain(&mut self) -> bool {
        self.collector.drain(&mut self.sensor)
    }

    fn drain_all(&mut self) {
        for _ in 0..MAX_TURNS {
            if self.drain() {
                return;
            }
        }
    }

    /// Looks at every cgroup, and watches the workloads that are new. Gives the runs that have ended.
    ///
    /// # Errors
    /// [`SensorError::Map`] if the kernel's maps fail.
    pub(super) fn scan(&mut self, enforcing: &mut Enforcing) -> Result<Vec<Report>, SensorError> {
        let found = self.tree.scan(&self.selection);
        self.admit_all(found, false, enforcing)
    }

    /// Watches what is new as far as the kernel noticed it. Gives the runs that have ended.
    ///
    /// # Errors
    /// As [`Watching::scan`].
    pub(super) fn notice(&mut self, enforcing: &mut Enforcing) -> Result<Vec<Report>, SensorError> {
        let changes = self.tree.changes(&self.selection);
        let mut found = changes.found;
        if changes.missed {
            tracing::warn!("notices of new cgroups were lost; all are looked at");
            found = self.tree.scan(&self.selection);
        }
        let mut reports = self.admit_all(found, true, enforcing)?;
        reports.extend(self.settle_ends(enforcing)?);
        Ok(reports)
    }

    /// Watches by another selection from now on: what it leaves out is not watched any more.
    ///
    /// # Errors
    /// As [`Watching::scan`].
    pub(super) fn select(
        &mut self,
        selection: Selection,
        enforcing: &mut Enforcing,
    ) -> Result<Vec<Report>, SensorError> {
        self.selection = selection;
        let gone: Vec<PathBuf> = self
            .watched
            .values()
            .map(|watched| &watched.candidate)
            .filter(|known| self.selection.pick(&known.path).as_ref() != Some(&known.what))
            .map(|known| known.directory.clone())
            .collect();
        let mut reports = self.end(&gone, true, enforcing)?;
        reports.extend(self.scan(enforcing)?);
        Ok(reports)
    }

    /// `made`: they have been made since the agent looks.
    fn admit_all(
        &mut self,
        found: Vec<Candidate>,
        made: bool,
        enforcing: &mut Enforcing,
    ) -> Result<Vec<Report>, SensorError> {
        let mut reports = Vec::new();
        if found
            .iter()
            .any(|new| !self.watched.contains_key(&new.directory))
        {
            self.collector.look(&mut self.sensor)?;
        }
        for candidate in found {
            // None: it is gone already.
            let Ok(group) = cgroup::identify(&candidate.directory) else {
                continue;
            };
            match self.watched.get(&candidate.directory) {
                Some(known) if known.group == group => continue,
                // Removed and made again.
                Some(_) => {
                    let directory = candidate.directory.clone();
                    reports.extend(self.end(&[directory], false, enforcing)?);
                }
                None => {}
            }
            self.admit(candidate.clone(), group, enforcing);
            let directory = &candidate.directory;
            if made && !cgroup::is_populated(directory) && cgroup::has_run(directory) {
                self.unseen += 1;
                tracing::warn!(
                    cgroup = %visible(&candidate.path),
                    "something had run there before it was watched, and nothing was seen of it"
                );
            }
        }
        Ok(reports)
    }

    /// Watches a cgroup from now on, also one that was watched under another scope until now.
    fn admit(&mut self, candidate: Candidate, group: GroupId, enforcing: &Enforcing) {
        let scope = self.next_scope;
        self.next_scope = self.next_scope.checked_add(1).unwrap_or(1);
        let is_runtime = match candidate.what {
            What::Unit(_) => host::is_manager,
            What::Container { .. } | What::Cgroup(_) => host::is_runtime,
        };
        self.collector
            .begin(scope, Beginning::FirstExec { is_runtime });
        let name = visible(&candidate.path);
        if let Err(error) = self.sensor.watch(scope, Target::Group(group)) {
            tracing::error!(cgroup = %name, "not watched: {error}");
            let _ = self.collector.finish(scope, &mut self.sensor);
            return;
        }
        // Looked at only now: what enters from here on is seen by the kernel.
        let late = running(&candidate.directory, is_runtime).map(|pids| {
            self.collector.begin_now(scope);
            let own = std::process::id();
            let is_workload =
                |pid: &u32| *pid != own && host::stage(*pid, is_runtime) == Stage::Running;
            let own_programs: Vec<u32> = pids.into_iter().filter(is_workload).collect();
            live::state(&own_programs, self.clock.moment())
        });
        let is_late = late.is_some();
        // A service manager executes programs of its own there first.
        if !is_late && !matches!(candidate.what, What::Unit(_)) {
            let Described {
                workload, image, ..
            } = host::describe(&candidate.what, &self.selection.roots);
            enforcing.awaited(Revision { workload, image }, group);
        }
        self.tree.notice_end(&candidate.directory);
        tracing::debug!(cgroup = %name, scope, late = is_late, "watched from now on");
        let watched = Watched {
            scope,
            group,
            candidate,
            late,
            run: None,
            reported: (0, 0, 0),
        };
        let directory = watched.candidate.directory.clone();
        self.watched.insert(directory, watched);
    }

    /// Ends the runs whose last process has ended.
    ///
    /// # Errors
    /// As [`Watching::scan`].
    pub(super) fn settle_ends(
        &mut self,
        enforcing: &mut Enforcing,
    ) -> Result<Vec<Report>, SensorError> {
        self.drain_all();
        self.name_new(enforcing);
        let is_over = |watched: &&Watched| {
            let directory = &watched.candidate.directory;
            let is_empty = watched.run.is_some() && !cgroup::is_populated(directory);
            is_empty || !is_there(directory, watched.group)
        };
        let over: Vec<PathBuf> = self
            .watched
            .values()
            .filter(is_over)
            .map(|watched| watched.candidate.directory.clone())
            .collect();
        self.end(&over, false, enforcing)
    }

    /// Names the runs whose first exec was seen, as soon as it is: what stands under block is held from
    /// then on.
    pub(super) fn name_begun(&mut self, enforcing: &mut Enforcing) {
        let is_new = |watched: &Watched| {
            watched.run.is_none() && self.collector.begun(watched.scope).is_some()
        };
        if self.watched.values().any(is_new) {
            self.name_new(enforcing);
        }
    }

    /// Names the runs that have begun since.
    fn name_new(&mut self, enforcing: &mut Enforcing) {
        for watched in self.watched.values_mut() {
            let begun = self.collector.begun(watched.scope);
            if watched.is_nameless(begun, &self.sensor) {
                let at = match begun {
                    Some(begun) if watched.late.is_none() => begun.at,
                    _ => self.clock.moment(),
                };
                let late = watched.is_late(begun);
                let key = watched.name(at, &self.selection.roots, enforcing);
                tracing::info!(workload = %visible(&key.workload.to_string()), run = %visible(&key.run), late, "a run is watched");
            }
        }
    }

    /// What each run did so far, of those that did something since the last time.
    ///
    /// # Errors
    /// As [`Watching::scan`].
    pub(super) fn reports(
        &mut self,
        enforcing: &mut Enforcing,
    ) -> Result<Vec<Report>, SensorError> {
        self.drain_all();
        self.name_new(enforcing);
        self.collector.look(&mut self.sensor)?;
        let mut reports = Vec::new();
        for watched in self.watched.values_mut() {
            let Some((key, described)) = &watched.run else {
                continue;
            };
            // The rest of the machine goes on meanwhile.
            self.collector.drain(&mut self.sensor);
            let Some(profile) = self.collector.profile(watched.scope, &self.sensor)? else {
                continue;
            };
            let figure = figure(&profile);
            if figure == watched.reported {
                continue;
            }
            watched.reported = figure;
            let begun = self.collector.begun(watched.scope);
            let profile = whole(profile, begun, described, watched.late.as_ref());
            reports.push((key.clone(), profile));
        }
        Ok(reports)
    }

    /// Ends what is watched in these directories. Where the cgroup is still there, and not
    /// `for_good`, the next run in it is waited for.
    fn end(
        &mut self,
        directories: &[PathBuf],
        for_good: bool,
        enforcing: &mut Enforcing,
    ) -> Result<Vec<Report>, SensorError> {
        let ended: Vec<Watched> = directories
            .iter()
            .filter_map(|directory| self.watched.remove(directory))
            .collect();
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        for watched in &ended {
            if !for_good && is_there(&watched.candidate.directory, watched.group) {
                // The kernel goes over from one scope to the next without a gap.
                self.admit(watched.candidate.clone(), watched.group, enforcing);
                continue;
            }
            enforcing.not_awaited(watched.group);
            if let Err(error) = self.sensor.unwatch(Target::Group(watched.group)) {
                let cgroup = visible(&watched.candidate.path);
                tracing::error!(cgroup, "still watched by the kernel: {error}");
            }
        }
        settle();
        self.drain_all();
        self.collector.look(&mut self.sensor)?;
        let mut reports = Vec::new();
        let now = self.now();
        for mut watched in ended {
            let begun = self.collector.begun(watched.scope);
            let is_nameless = watched.is_nameless(begun, &self.sensor);
            let profile = self.collector.finish(watched.scope, &mut self.sensor)?;
            if is_nameless {
                let at = begun.map_or(now, |begun| begun.at);
                watched.name(at, &self.selection.roots, enforcing);
            }
            let (Some((key, described)), Some(profile)) = (watched.run, profile) else {
                continue;
            };
            let mut profile = whole(profile, begun, &described, watched.late.as_ref());
            if !for_good {
                profile.stop = Some(now);
            }
            tracing::info!(
                workload = %visible(&key.workload.to_string()),
                run = %visible(&key.run),
                behaviors = profile.seen.len(),
                lost = profile.lost_total(),
                cut_short = for_good,
                "a run has ended"
            );
            enforcing.ended(&key);
            reports.push((key, profile));
        }
        Ok(reports)
    }

    /// Ends everything: runs that go on are cut short, and have no end.
    ///
    /// # Errors
    /// As [`Watching::scan`].
    pub(super) fn finish(&mut self, enforcing: &mut Enforcing) -> Result<Vec<Report>, SensorError> {
        let mut reports = self.settle_ends(enforcing)?;
        let all: Vec<PathBuf> = self.watched.keys().cloned().collect();
        reports.extend(self.end(&all, true, enforcing)?);
        Ok(reports)
    }

    /// How the watched runs stand.
    ///
    /// # Errors
    /// As [`Watching::scan`].
    pub(super) fn standing(&self) -> Result<Vec<Standing>, SensorError> {
        let mut all = Vec::new();
        for watched in self.watched.values() {
            let Some((key, _)) = &watched.run else {
                continue;
            };
            let lost = self.collector.lost(watched.scope, &self.sensor)?;
            all.push(Standing {
                run: key.clone(),
                behaviors: self.collector.behaviors(watched.scope) as u64,
                events: watched.reported.1,
                lost: lost
                    .into_iter()
                    .map(|(reason, count)| (reason.to_string(), count))
                    .collect(),
            });
        }
        Ok(all)
    }
}

/// The processes of a workload that runs already; None: its first exec is still to come.
fn running(directory: &Path, is_runtime: fn(&AbsPath) -> bool) -> Option<Vec<u32>> {
    // A runtime goes through short-lived processes until it executes the workload. Who is gone again
    // says nothing, and who else is there now is looked at instead.
    for _ in 0..LOOKS {
        let pids = cgroup::processes(directory);
        let stages: Vec<Stage> = pids
            .iter()
            .map(|pid| host::stage(*pid, is_runtime))
            .collect();
        if stages.contains(&Stage::Running) {
            return Some(pids);
        }
        if !stages.contains(&Stage::Gone) {
            return None;
        }
    }
    Some(cgroup::processes(directory))
}

fn is_there(directory: &Path, group: GroupId) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(directory).is_ok_and(|found| found.ino() == group.id)
}

/// Enough to tell whether something was done since.
fn figure(profile: &RunProfile) -> (usize, u64, u64) {
    let events = profile
        .seen
        .values()
        .fold(0, |sum: u64, seen| sum.saturating_add(seen.count));
    (profile.seen.len(), events, profile.lost_total())
}

fn whole(
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

/// Unique on this machine: the time to the microsecond, and a number that this process gives once.
fn run_name(what: &What, Moment(at): Moment, scope: u32) -> String {
    let name = match what {
        What::Container { id, .. } if id.len() == 64 => &id[..12],
        What::Container { id: name, .. } | What::Unit(name) | What::Cgroup(name) => name,
    };
    let time = jiff::Timestamp::from_microsecond(at).unwrap_or_default();
    format!("{name}-{time}-{scope}")
}

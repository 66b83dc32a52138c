//! The workloads of the host that are watched now, each with its run.

mod pods;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::pods::give_up;
use super::enforcing::Enforcing;
use super::naming::{Naming, Whose};
use super::waiting::{Patience, Waiting};
use super::watched::{Held, Over, Run, Watched, is_there, place, whole};
use crate::host::{self, Candidate, Described, Selection, Stage, Tree, What};
use crate::kernel::cgroup::{self, GroupId};
use crate::kernel::{Beginning, Clock, Collector, Sensor, SensorError, Target, live, settle};
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

/// The sensor with all that is watched by it.
pub(super) struct Watching {
    sensor: Sensor,
    collector: Collector,
    clock: Clock,
    tree: Tree,
    selection: Selection,
    next_scope: u32,
    watched: BTreeMap<PathBuf, Watched>,
    naming: Naming,
    /// Runs that have ended, of containers that are not known yet.
    held: Waiting<Held>,
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
        naming: Naming,
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
            naming,
            held: Waiting::new(Patience::default()),
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
            if self.is_left_out(&candidate) {
                continue;
            }
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
        if !is_late
            && !matches!(candidate.what, What::Unit(_))
            && let Whose::Known(described) =
                self.naming.whose(&candidate.what, &self.selection.roots)
        {
            let Described {
                workload, image, ..
            } = described;
            let place = place(&candidate.what, group);
            enforcing.awaited(Revision { workload, image }, place);
        }
        self.tree.notice_end(&candidate.directory);
        tracing::debug!(cgroup = %name, scope, late = is_late, "watched from now on");
        let watched = Watched {
            scope,
            group,
            candidate,
            late,
            run: Run::Awaited,
            left_out: false,
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
            let has_run = !matches!(watched.run, Run::Awaited);
            let is_empty = has_run && !cgroup::is_populated(directory);
            is_empty || !is_there(directory, watched.group)
        };
        let over = self.directories(is_over);
        let mut reports = self.end(&over, false, enforcing)?;
        let left_out = self.directories(|watched| watched.left_out);
        reports.extend(self.end(&left_out, true, enforcing)?);
        for (id, held) in self.held.expire(self.clock.moment()) {
            give_up(
                &id,
                held.len(),
                "nobody has said for two hours whose they are",
            );
        }
        Ok(reports)
    }

    fn directories(&self, wanted: impl Fn(&&Watched) -> bool) -> Vec<PathBuf> {
        let wanted = self.watched.values().filter(wanted);
        wanted
            .map(|watched| watched.candidate.directory.clone())
            .collect()
    }

    /// Names the runs whose first exec was seen, as soon as it is: what stands under block is held from
    /// then on.
    pub(super) fn name_begun(&mut self, enforcing: &mut Enforcing) {
        let is_new = |watched: &Watched| {
            matches!(watched.run, Run::Awaited)
                && !watched.left_out
                && self.collector.begun(watched.scope).is_some()
        };
        if self.watched.values().any(is_new) {
            self.name_new(enforcing);
        }
    }

    /// Names the runs that have begun since.
    fn name_new(&mut self, enforcing: &mut Enforcing) {
        for watched in self.watched.values_mut() {
            let begun = self.collector.begun(watched.scope);
            if !watched.has_begun(begun, &self.sensor) {
                continue;
            }
            let at = match begun {
                Some(begun) if watched.late.is_none() => begun.at,
                _ => self.clock.moment(),
            };
            let late = watched.is_late(begun);
            watched.begin(at, &self.naming, &self.selection.roots, enforcing);
            match &watched.run {
                Run::Named(key, _) => {
                    tracing::info!(workload = %visible(&key.workload.to_string()), run = %visible(&key.run), late, "a run is watched");
                }
                Run::Unnamed(run) => {
                    tracing::info!(run = %visible(run), late, "a run is watched, and whose it is is not known yet");
                }
                Run::Awaited => {}
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
            let Run::Named(key, described) = &watched.run else {
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
            let has_begun = watched.has_begun(begun, &self.sensor);
            let profile = self.collector.finish(watched.scope, &mut self.sensor)?;
            if has_begun {
                let at = begun.map_or(now, |begun| begun.at);
                watched.begin(at, &self.naming, &self.selection.roots, enforcing);
            }
            let Some(mut profile) = profile else {
                continue;
            };
            if !for_good {
                profile.stop = Some(now);
            }
            let (key, profile) = match watched.over(profile, begun, enforcing) {
                Over::Nothing => continue,
                Over::Named(key, profile) => (key, *profile),
                Over::Unnamed(id, held) => {
                    let weight = held.weight();
                    if self.held.hold(&id, *held, weight, now).is_err() {
                        give_up(&id, 1, "there is no room to hold it");
                    }
                    continue;
                }
            };
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
            let Run::Named(key, _) = &watched.run else {
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

/// Enough to tell whether something was done since.
fn figure(profile: &RunProfile) -> (usize, u64, u64) {
    let events = profile
        .seen
        .values()
        .fold(0, |sum: u64, seen| sum.saturating_add(seen.count));
    (profile.seen.len(), events, profile.lost_total())
}

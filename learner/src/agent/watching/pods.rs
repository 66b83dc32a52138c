//! What the API server tells of the containers that are watched, and the runs that wait for it.

use std::collections::BTreeSet;

use super::super::naming::{Told, Whose};
use super::super::watched::{Held, Run, Watched};
use super::{Report, Watching};
use crate::agent::enforcing::Enforcing;
use crate::host::Candidate;
use crate::kernel::SensorError;
use crate::kernel::cgroup;
use crate::posture::Revision;
use crate::visible::visible;

/// A run of a container of which it is not known whose it is: the id, and what it did so far.
pub(in super::super) type Unnamed = (String, Held);

impl Watching {
    /// Runs of which it is not known whose they are: those that go on, and those that are held.
    pub(in super::super) fn unnamed(&self) -> usize {
        let is_unnamed = |watched: &&Watched| matches!(watched.run, Run::Unnamed(_));
        self.held.count() + self.watched.values().filter(is_unnamed).count()
    }

    /// Runs that were given up, since nobody said whose they were.
    pub(in super::super) fn given_up(&self) -> u64 {
        self.held.given_up()
    }

    /// The revisions of which a run goes on.
    pub(in super::super) fn running(&self) -> BTreeSet<Revision> {
        let of = |watched: &Watched| match &watched.run {
            Run::Named(key, _) => Some(Revision::of(key)),
            Run::Awaited | Run::Unnamed(_) => None,
        };
        self.watched.values().filter_map(of).collect()
    }

    /// On a node of a cluster: who is left out, and this agent itself.
    pub(super) fn is_left_out(&self, new: &Candidate) -> bool {
        if !self.naming.is_of_cluster() || self.watched.contains_key(&new.directory) {
            return false;
        }
        self.naming.whose(&new.what, &self.selection.roots) == Whose::LeftOut
            || cgroup::processes(&new.directory).contains(&std::process::id())
    }

    /// The cluster has told whose a container is. Gives its runs that were held.
    pub(in super::super) fn known(
        &mut self,
        id: String,
        told: Told,
        enforcing: &mut Enforcing,
    ) -> Vec<Report> {
        let held = self.held.claim(&id);
        let mut reports = Vec::new();
        if let Some(described) = &told {
            for run in held {
                let (key, profile) = run.of(described, enforcing);
                tracing::info!(workload = %visible(&key.workload.to_string()), run = %visible(&key.run), "a run that has ended is known");
                reports.push((key, profile));
            }
        }
        let is_left_out = told.is_none();
        self.naming.known(id.clone(), told);
        for watched in self.watched.values_mut() {
            if watched.container() != Some(&id) {
                continue;
            }
            if matches!(watched.run, Run::Named(..)) {
                continue;
            }
            watched.left_out |= is_left_out;
            watched.name(&self.naming, &self.selection.roots, enforcing);
            if let Run::Named(key, _) = &watched.run {
                tracing::info!(workload = %visible(&key.workload.to_string()), run = %visible(&key.run), "a run is known");
            }
        }
        reports
    }

    /// The cluster has told that containers are gone.
    pub(in super::super) fn gone(&mut self, ids: Vec<String>) {
        let watched = &self.watched;
        let is_watched = |id: &str| watched.values().any(|of| of.container() == Some(id));
        self.naming.gone(ids, is_watched);
    }

    /// Holds what an earlier agent could not name.
    pub(in super::super) fn hold(&mut self, unnamed: Vec<Unnamed>) {
        let now = self.clock.moment();
        for (id, held) in unnamed {
            let weight = held.weight();
            if self.held.hold(&id, held, weight, now).is_err() {
                give_up(&id, 1, "there is no room to hold it");
            }
        }
    }

    /// What tells whether [`Watching::unnamed_runs`] are others than before.
    pub(in super::super) fn unnamed_mark(&self) -> (usize, usize) {
        let unnamed = self.watched.values();
        let unnamed = unnamed.filter(|watched| matches!(watched.run, Run::Unnamed(_)));
        let behaviors = unnamed.map(|watched| self.collector.behaviors(watched.scope));
        (
            self.unnamed(),
            self.held.weight() + behaviors.sum::<usize>(),
        )
    }

    /// All runs of which it is not known whose they are, as they are now.
    ///
    /// # Errors
    /// As [`Watching::scan`].
    pub(in super::super) fn unnamed_runs(&self) -> Result<Vec<Unnamed>, SensorError> {
        let held = self.held.all();
        let mut all: Vec<Unnamed> = held
            .map(|(id, held)| (id.to_owned(), held.clone()))
            .collect();
        for watched in self.watched.values() {
            let (Run::Unnamed(name), Some(id)) = (&watched.run, watched.container()) else {
                continue;
            };
            if let Some(profile) = self.collector.profile(watched.scope, &self.sensor)? {
                let begun = self.collector.begun(watched.scope);
                let late = watched.late.clone();
                let held = Held::new(name.clone(), profile, begun, late);
                all.push((id.to_owned(), held));
            }
        }
        Ok(all)
    }
}

/// Runs are lost, since nobody knows whose they are.
pub(super) fn give_up(id: &str, runs: usize, why: &str) {
    tracing::error!(
        container = id,
        runs,
        "evidence is lost: {why}; see what the log says of the API server"
    );
}

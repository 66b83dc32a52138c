//! The thread that enforces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Place;
use crate::agent::figures::Figures;
use crate::candidate::{Frozen, Ledger};
use crate::kernel::Clock;
use crate::kernel::cgroup::GroupId;
use crate::kernel::enforcer::{self, Alert, EnforceError, Enforcer};
use crate::observation::{Loss, Moment};
use crate::posture::Revision;
use crate::profile::{RunProfile, Sighting};
use crate::visible::visible;
use crate::workload::RunKey;

/// How often what was refused is looked at, if no order comes.
const LOOK: Duration = Duration::from_millis(500);
/// When what failed is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// So long after a cgroup was made it may be that it is noticed.
const NOTICE: Duration = Duration::from_secs(1);

/// So many refusals are said one by one in a turn: who provokes them is not to fill the log.
const SAID: usize = 20;
/// Scopes of which it is kept whose they were.
const MAX_WERE: usize = 8192;

/// What the agent's thread tells.
pub(super) enum Order {
    Stands(Arc<Ledger>),
    /// Since when.
    Awaited(Revision, Place, Instant),
    NotAwaited(GroupId),
    Begun(RunKey, Place),
    Ended(RunKey),
    AllHaveBegun,
}

/// What is in force on a cgroup.
struct Held {
    scope: u32,
    hash: [u64; 2],
    /// Whose; nobody's that is known yet where an earlier agent left it.
    of: Option<Revision>,
}

pub(super) struct Worker {
    instance: String,
    clock: Clock,
    orders: Receiver<Order>,
    figures: Arc<Figures>,
    enforcer: Option<Enforcer>,
    /// When the programs were at work: who came into a cgroup before that, they do not know.
    at_work: Option<Instant>,
    ledger: Arc<Ledger>,
    running: BTreeMap<RunKey, Place>,
    /// Cgroups in which nothing has been executed yet, with whose run is to come.
    awaited: BTreeMap<u64, (Place, Revision)>,
    /// When a canary ends that leaves pods out now.
    next_whole: Option<Moment>,
    held: BTreeMap<u64, Held>,
    /// Whose scopes were that are held no more: what was refused may be told later.
    were: BTreeMap<u32, Revision>,
    /// Whether it is known of all that is held whose it is.
    all_have_begun: bool,
    next_scope: u32,
    /// A person has run `learner release`: nothing is enforced until an agent begins anew.
    released: bool,
    /// What could not be done when it was tried last, and when that was.
    failed: Option<(String, Instant)>,
    refused: BTreeMap<Revision, u64>,
    lost: BTreeMap<(u32, Loss), u64>,
}

impl Worker {
    pub(super) fn new(
        instance: String,
        clock: Clock,
        orders: Receiver<Order>,
        figures: Arc<Figures>,
    ) -> Self {
        Self {
            instance,
            clock,
            orders,
            figures,
            enforcer: None,
            at_work: None,
            ledger: Arc::default(),
            running: BTreeMap::new(),
            awaited: BTreeMap::new(),
            next_whole: None,
            held: BTreeMap::new(),
            were: BTreeMap::new(),
            all_have_begun: false,
            next_scope: 1,
            released: false,
            failed: None,
            refused: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Takes over what is pinned. Gives what was refused to each cgroup meanwhile.
    pub(super) fn take_over(&mut self) -> Result<BTreeMap<u64, RunProfile>, EnforceError> {
        let mut missed: BTreeMap<u64, RunProfile> = BTreeMap::new();
        if !enforcer::is_pinned(&self.instance)? {
            return Ok(missed);
        }
        let enforcer = self.enforcer.insert(Enforcer::open(&self.instance)?);
        self.at_work = Some(Instant::now());
        let mut groups = BTreeMap::new();
        for applied in enforcer.applied()? {
            self.next_scope = self.next_scope.max(applied.scope.saturating_add(1));
            groups.insert(applied.scope, applied.group);
            let held = Held {
                scope: applied.scope,
                hash: applied.hash,
                of: None,
            };
            self.held.insert(applied.group, held);
        }
        for alert in enforcer.alerts(self.clock)? {
            let Some(group) = groups.get(&alert.scope) else {
                continue;
            };
            let profile = missed.entry(*group).or_default();
            let seen = Sighting {
                count: alert.count,
                first: alert.first,
                last: alert.last,
            };
            let known = profile.seen.entry(alert.behavior).or_insert(seen);
            *known = known.join(seen);
        }
        let untold = enforcer.untold();
        if untold > 0 {
            tracing::warn!(
                untold,
                "refusals that only the agent before was told of; each is told again when it happens again"
            );
        }
        for (scope, group) in groups {
            for (reason, count) in enforcer.losses(scope)? {
                missed.entry(group).or_default().lose(reason, count);
            }
        }
        tracing::info!(
            cgroups = self.held.len(),
            "what was enforced is taken over, and was in force all the time"
        );
        Ok(missed)
    }

    /// Until nobody gives orders any more.
    pub(super) fn work(mut self) {
        let mut looked = Instant::now();
        loop {
            match self.orders.recv_timeout(LOOK) {
                Ok(order) => {
                    self.take(order);
                    // Several come at once: the last of them is what counts.
                    while let Ok(order) = self.orders.try_recv() {
                        self.take(order);
                    }
                    self.enforce();
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.is_due() {
                        self.enforce();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look();
            }
        }
        self.look();
        self.leave();
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Stands(ledger) => self.ledger = ledger,
            Order::Awaited(revision, place, since) => {
                // Without the programs, a runtime that is in the cgroup already would be taken for the workload.
                let known = |at: Instant| since.saturating_duration_since(at) >= NOTICE;
                if self.at_work.is_some_and(known) {
                    self.awaited.insert(place.group.id, (place, revision));
                }
            }
            Order::NotAwaited(group) => _ = self.awaited.remove(&group.id),
            Order::Begun(run, place) => {
                self.awaited.remove(&place.group.id);
                self.running.insert(run, place);
            }
            Order::Ended(run) => {
                self.running.remove(&run);
            }
            Order::AllHaveBegun => self.all_have_begun = true,
        }
    }

    fn is_due(&self) -> bool {
        let failed = self.failed.as_ref();
        failed.is_some_and(|(_, at)| at.elapsed() >= AGAIN)
            || self
                .next_whole
                .is_some_and(|until| self.clock.moment() >= until)
    }

    /// Brings what is in force in line with where the revisions stand.
    fn enforce(&mut self) {
        let tried = self.try_to_enforce();
        let (unenforced, unheld) = match tried {
            Ok(_) if self.released => {
                let why = "somebody ran learner release on the node: restart the agent there";
                (Some(why.to_owned()), BTreeMap::new())
            }
            Ok(unheld) => (None, unheld),
            Err(error) => (Some(error.to_string()), BTreeMap::new()),
        };
        let first = unheld.first_key_value();
        let first = first.map(|(of, why)| format!("{}: {why}", visible(&of.workload.to_string())));
        let failed = if self.released {
            None
        } else {
            unenforced.clone().or(first)
        };
        if let Some(why) = &failed
            && self.failed.as_ref().is_none_or(|(known, _)| known != why)
        {
            tracing::error!("not all that stands under block is enforced: {why}");
        }
        self.failed = failed.map(|why| (why, Instant::now()));
        self.figures.set(|inner| {
            inner.unenforced = unenforced;
            inner.unheld = unheld;
        });
        let enforced = self.held.values().filter_map(|held| held.of.clone());
        let enforced: BTreeSet<Revision> = enforced.collect();
        self.figures.set(|inner| inner.enforced = enforced);
    }

    /// Gives of which revisions that failed, and why: the others do not wait for them.
    fn try_to_enforce(&mut self) -> Result<BTreeMap<Revision, String>, EnforceError> {
        let mut unheld = BTreeMap::new();
        if self.released {
            return Ok(unheld);
        }
        let now = self.clock.moment();
        self.next_whole = self.ledger.next_whole(now);
        let wanted = wanted(&self.ledger, &self.running, &self.awaited, now);
        if self.enforcer.is_none()
            && (!wanted.is_empty()
                || (self.all_have_begun && enforcer::is_pinned_by_another(&self.instance)?))
        {
            tracing::info!("the enforcing programs are loaded");
            self.enforcer = Some(Enforcer::open(&self.instance)?);
            self.at_work = Some(Instant::now());
        }
        let Some(enforcer) = &mut self.enforcer else {
            return Ok(unheld);
        };
        for (id, (group, revision, frozen)) in &wanted {
            let hash = frozen.candidate().digest().words();
            if let Some(held) = self.held.get_mut(id)
                && held.hash == hash
            {
                if held.of.is_none() {
                    said(revision, frozen, "goes on being enforced");
                }
                held.of = Some(revision.clone());
                continue;
            }
            let scope = self.held.get(id).map_or(self.next_scope, |held| held.scope);
            let Some(tree) = frozen.judge().tree() else {
                continue;
            };
            match enforcer.apply(*group, scope, hash, &tree) {
                Ok(()) => {
                    self.next_scope = self.next_scope.max(scope.saturating_add(1));
                    let held = Held {
                        scope,
                        hash,
                        of: Some(revision.clone()),
                    };
                    self.held.insert(*id, held);
                    said(revision, frozen, "is enforced from now on");
                }
                Err(error) => {
                    unheld.insert(revision.clone(), error.to_string());
                }
            }
        }
        let over = self.held.iter().filter(|(id, held)| {
            !wanted.contains_key(id) && (held.of.is_some() || self.all_have_begun)
        });
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        for id in over {
            enforcer.lift(id)?;
            if let Some(Held { of, scope, .. }) = self.held.remove(&id) {
                let name = of.as_ref().map(|of| visible(&of.workload.to_string()));
                self.were.extend(of.map(|of| (scope, of)));
                if self.were.len() > MAX_WERE {
                    self.were.pop_first();
                }
                tracing::info!(
                    workload = name,
                    cgroup = id,
                    "is not enforced any more: it has ended, or does not stand under block"
                );
            }
        }
        if unheld.is_empty() && self.all_have_begun && !enforcer.older().is_empty() {
            enforcer.retire_older()?;
            tracing::info!("what another version had enforced is replaced");
        }
        Ok(unheld)
    }

    /// Says what was refused, and what could not be told.
    fn look(&mut self) {
        self.notice_release();
        let Some(enforcer) = &mut self.enforcer else {
            return;
        };
        match enforcer.alerts(self.clock) {
            Ok(alerts) => {
                for (number, alert) in alerts.iter().enumerate() {
                    self.note(alert, number < SAID);
                }
                if alerts.len() > SAID {
                    let more = alerts.len() - SAID;
                    tracing::info!(more, "more was refused; learner alerts shows it");
                }
                if !alerts.is_empty() {
                    let refused = self.refused.clone();
                    self.figures.set(|inner| inner.refused = refused);
                }
            }
            Err(error) => tracing::error!("what was refused cannot be read: {error}"),
        }
        self.count_losses();
    }

    /// Without their pins the programs are gone, whoever still has the maps open.
    fn notice_release(&mut self) {
        if self.enforcer.is_none() || enforcer::is_pinned(&self.instance).unwrap_or(true) {
            return;
        }
        tracing::warn!(
            cgroups = self.held.len(),
            "somebody ran learner release: nothing is enforced until the agent is restarted; to take one workload \
             back: learner demote"
        );
        self.released = true;
        self.enforcer = None;
        self.at_work = None;
        self.awaited.clear();
        self.held.clear();
        self.enforce();
    }

    fn note(&mut self, alert: &Alert, is_said: bool) {
        let mut held = self.held.values();
        let held = held.find(|held| held.scope == alert.scope);
        let of = held.map_or(self.were.get(&alert.scope), |held| held.of.as_ref());
        if let Some(revision) = of {
            let count = self.refused.entry(revision.clone()).or_default();
            *count = count.saturating_add(alert.count);
        }
        if is_said {
            tracing::info!(
                workload = of.map(|revision| visible(&revision.workload.to_string())),
                count = alert.count,
                what = visible(&alert.behavior.to_string()),
                "refused"
            );
        }
    }

    fn count_losses(&mut self) {
        let Some(enforcer) = &self.enforcer else {
            return;
        };
        for held in self.held.values() {
            let losses = match enforcer.losses(held.scope) {
                Ok(losses) => losses,
                Err(error) => {
                    tracing::error!("what could not be told cannot be read: {error}");
                    return;
                }
            };
            for (reason, count) in losses {
                let key = (held.scope, reason.clone());
                let known = self.lost.insert(key, count).unwrap_or(0);
                if count > known {
                    let of = held.of.as_ref();
                    tracing::warn!(
                        workload = of.map(|revision| visible(&revision.workload.to_string())),
                        more = count - known,
                        %reason,
                        "decisions of the enforcing programs that could not be told or reported"
                    );
                }
            }
        }
    }

    /// What is held stays held; where nothing is, nothing stays.
    fn leave(self) {
        if self.enforcer.is_none() {
            return;
        }
        if self.held.is_empty() {
            if let Err(error) = enforcer::release(Some(&self.instance)) {
                tracing::error!("the enforcing programs stay, and hold nothing: {error}");
            }
            return;
        }
        tracing::warn!(
            cgroups = self.held.len(),
            "what stands under block stays enforced; to let it be: learner release {}",
            self.instance
        );
    }
}

/// The cgroups whose run stands under block with a candidate that is ours to enforce; while a canary lasts
/// those of the pods that are chosen for it.
fn wanted(
    ledger: &Ledger,
    running: &BTreeMap<RunKey, Place>,
    awaited: &BTreeMap<u64, (Place, Revision)>,
    now: Moment,
) -> BTreeMap<u64, (GroupId, Revision, Arc<Frozen>)> {
    let of = |(place, revision): (&Place, Revision)| {
        let frozen = ledger.to_hold(&revision, place.pod.as_deref(), now)?;
        let group = place.group;
        Some((group.id, (group, revision, Arc::clone(frozen))))
    };
    let awaited = awaited.values();
    let awaited = awaited.map(|(place, revision)| (place, revision.clone()));
    let running = running.iter();
    let running = running.map(|(run, place)| (place, Revision::of(run)));
    awaited.chain(running).filter_map(of).collect()
}

fn said(revision: &Revision, frozen: &Frozen, what: &str) {
    tracing::info!(
        workload = %visible(&revision.workload.to_string()),
        image = %visible(&revision.image),
        candidate = frozen.candidate().digest().short(),
        "{what}"
    );
}

#[cfg(test)]
mod tests;

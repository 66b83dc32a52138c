//! What the node has seen is read from the store and written to the API server, when it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::MissedTickBehavior;

use super::super::node::{Node, Said};
use super::super::shelf::Shelf;
use super::complaints::{About, Complaints};
use super::decided::in_fact;
use crate::cluster::inventory::Resident;
use crate::cluster::standings::BadStanding;
use crate::cluster::{
    Client, ClusterError, Doing, EnforcedBy, Enforcement, Holding, Pace, Telling, Unenforced,
    Withdrawn, Writer, Written,
};
use crate::host;
use crate::kernel::Clock;
use crate::observation::Moment;
use crate::posture::Revision;
use crate::profile::Evidence;
use crate::shared::{Kept, Part, superseded};
use crate::store::{StoreError, Summary};
use crate::visible::visible;

/// Longest time that one request, or all that tell one revision, may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// At the end of the agent: how long it may take to tell what has not been told.
const LAST: Duration = Duration::from_secs(8);
/// After a failure, at first.
const RETRY: Duration = Duration::from_secs(30);
/// How often is looked for what nobody runs any more; as often as that may be taken away, if that is more
/// often.
const SWEEP: Duration = Duration::from_secs(6 * 3_600);
/// How often is looked whether something is due to be said of what runs.
const RUNNING: Duration = Duration::from_secs(60);

/// What comes from the watch of the pods.
pub(super) enum Mail {
    /// A container is known; so many are.
    Known(Box<Resident>, usize),
    /// Some are not any more; so many still are.
    Gone(usize),
    Complete,
    Refused(ClusterError),
    /// What is decided in a namespace is followed, and this cannot be read of it.
    Decided(String, Option<BadStanding>),
    /// What is decided in a namespace cannot be followed.
    Undecided(String, ClusterError),
    /// Who enforces on this node, from now on.
    Enforces(Enforcement),
    /// It was told whether KubeArmor is there, or could not be.
    Asked(Result<(), ClusterError>),
}

/// Why a revision was not told.
enum Failed {
    Cluster(ClusterError),
    Store(StoreError),
}

pub(super) struct Office {
    writer: Writer,
    telling: Telling,
    shelf: Arc<Shelf>,
    clock: Clock,
    complaints: Complaints,
    leave_out: Vec<String>,
    interval: Duration,
    keep: Duration,
    running: BTreeSet<Revision>,
    /// Why KubeArmor does not hold a revision, where it does not, as far as its pods have told.
    unenforced: BTreeMap<Revision, BTreeSet<Unenforced>>,
    /// Who is to enforce on the node, where that is known.
    is_to: Option<Enforcement>,
    /// Who does, as it is told.
    enforcement: Option<Enforcement>,
    /// Why it does not hold all that runs of these, as it is told.
    unheld: BTreeMap<Revision, String>,
    /// It is known what is there of this node.
    knows: bool,
    /// An owner could not be asked for since the pods were listed last.
    is_unsure: bool,
}

impl Office {
    pub(super) fn new(
        client: Client,
        node: &str,
        config: &Node,
        shelf: Arc<Shelf>,
        clock: Clock,
        complaints: Complaints,
    ) -> Self {
        let interval = config.interval.0;
        let retry = RETRY.min(interval);
        Self {
            writer: Writer::new(client, node),
            telling: Telling::new(node, Pace { interval, retry }),
            shelf,
            clock,
            complaints,
            leave_out: config.leave_out.clone(),
            interval,
            keep: config.keep.0,
            running: BTreeSet::new(),
            unenforced: BTreeMap::new(),
            is_to: None,
            enforcement: None,
            unheld: BTreeMap::new(),
            knows: false,
            is_unsure: false,
        }
    }

    /// Works until the agent ends.
    pub(super) async fn work(
        &mut self,
        mut mail: UnboundedReceiver<Mail>,
        mut says: UnboundedReceiver<Said>,
        mut stored: UnboundedReceiver<Revision>,
    ) {
        self.open();
        let mut running = tokio::time::interval(RUNNING);
        let mut sweep = tokio::time::interval(SWEEP.min(self.keep.max(self.interval)));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep.reset_after(self.interval);
        loop {
            let next = self.telling.next();
            let now = self.clock.moment();
            tokio::select! {
                Some(mail) = mail.recv() => self.read(mail),
                Some(revision) = stored.recv() => {
                    self.stored(&revision);
                    while let Ok(revision) = stored.try_recv() {
                        self.stored(&revision);
                    }
                }
                said = says.recv() => match said {
                    Some(Said::Running(mut running)) => {
                        running.retain(|revision| self.is_told_of(revision));
                        self.running = running;
                        self.telling.running(&self.running, now);
                    }
                    Some(Said::End) | None => break,
                },
                _ = running.tick() => {
                    self.telling.running(&self.running, now);
                    self.enforces();
                    self.holds();
                }
                _ = sweep.tick() => self.sweep().await,
                () = until(next, now) => self.turn().await,
            }
            self.complaints.reach.waiting = self.telling.count();
            self.complaints.show();
        }
        while let Ok(revision) = stored.try_recv() {
            self.stored(&revision);
        }
        // What is left then is counted, whether there was no time or no server.
        let _ = tokio::time::timeout(LAST, self.last()).await;
        let left = self.telling.count();
        if left > 0 {
            tracing::warn!(
                revisions = left,
                "not written yet; they are in the store, and are written when an agent on it begins again"
            );
        }
    }

    /// What the store has is to be told, if it is not there already.
    fn open(&mut self) {
        let now = self.clock.moment();
        match self.summaries() {
            Ok(summaries) => {
                let old = superseded(&kept(&summaries, &self.running, now), now, self.keep);
                let revisions: BTreeSet<Revision> =
                    summaries.iter().map(|of| Revision::of(&of.key)).collect();
                for revision in revisions.difference(&old) {
                    self.stored(revision);
                }
            }
            Err(error) => tracing::error!("what the store has is not told of: {error}"),
        }
    }

    fn summaries(&self) -> Result<Vec<Summary>, StoreError> {
        let mut all = self.shelf.with(|store| store.summaries())?;
        all.retain(|of| self.is_told_of(&Revision::of(&of.key)));
        Ok(all)
    }

    /// Whether it is a workload of the cluster, and none that is left out.
    fn is_told_of(&self, revision: &Revision) -> bool {
        let workload = &revision.workload;
        !host::is_of_host(workload) && !self.leave_out.contains(&workload.namespace)
    }

    fn stored(&mut self, revision: &Revision) {
        if self.is_told_of(revision) {
            self.telling.stored(revision, self.clock.moment());
        }
    }

    fn read(&mut self, mail: Mail) {
        match mail {
            Mail::Refused(error) => {
                let is_owner =
                    matches!(&error, ClusterError::Forbidden { doing, .. } if doing.verb == "get");
                self.is_unsure |= is_owner;
                let about = if is_owner { About::Owners } else { About::Pods };
                self.complaints.reach.follows &= is_owner;
                self.complaints.about(about, &error);
            }
            Mail::Known(resident, count) => {
                self.follows();
                self.complaints.reach.containers = count;
                let why = resident.unenforced();
                if !why.is_empty() {
                    let Resident {
                        workload, image, ..
                    } = *resident;
                    self.unenforced.insert(Revision { workload, image }, why);
                }
            }
            Mail::Gone(count) => {
                self.follows();
                self.complaints.reach.containers = count;
            }
            Mail::Complete => {
                self.follows();
                if !std::mem::take(&mut self.is_unsure) {
                    self.complaints.over(&About::Owners);
                }
            }
            Mail::Decided(namespace, None) => self.complaints.over(&About::Decided(namespace)),
            Mail::Decided(namespace, Some(bad)) => {
                self.complaints.say(About::Decided(namespace), &bad);
            }
            Mail::Undecided(namespace, error) => {
                self.complaints.about(About::Decided(namespace), &error);
            }
            Mail::Asked(Ok(())) => self.complaints.over(&About::Enforcer),
            Mail::Asked(Err(error)) => self.complaints.about(About::Enforcer, &error),
            Mail::Enforces(enforcement) => {
                self.is_to = Some(enforcement);
                self.enforces();
            }
        }
    }

    /// Who enforces on this node from now on: it is said once, and told with all that is told.
    fn enforces(&mut self) {
        let Some(enforcement) = in_fact(self.is_to.as_ref(), self.complaints.unenforced()) else {
            return;
        };
        if self.enforcement.as_ref() == Some(&enforcement) {
            return;
        }
        let text = visible(&enforcement.to_string());
        match enforcement.by {
            EnforcedBy::Learner => tracing::info!("on this node {text}"),
            EnforcedBy::Kubearmor | EnforcedBy::Nobody => tracing::warn!("on this node {text}"),
        }
        self.complaints.reach.enforces = Some((enforcement.by.word(), text));
        self.enforcement = Some(enforcement);
        self.open();
    }

    /// What is held is told anew where it is not as it was told.
    fn holds(&mut self) {
        let unheld = self.complaints.unheld();
        let all: BTreeSet<Revision> = unheld.keys().chain(self.unheld.keys()).cloned().collect();
        let before = std::mem::replace(&mut self.unheld, unheld);
        for revision in all {
            if self.unheld.get(&revision) != before.get(&revision) {
                self.stored(&revision);
            }
        }
    }

    /// The API server tells of pods: it is there.
    fn follows(&mut self) {
        if !self.complaints.reach.follows {
            self.complaints.reach.follows = true;
            self.telling.is_back();
        }
        self.complaints.over(&About::Pods);
    }

    /// Tells what is due.
    async fn turn(&mut self) {
        if !self.knows && !self.ask().await {
            return;
        }
        for revision in self.telling.due(self.clock.moment()) {
            if !self.tell(&revision).await {
                return;
            }
        }
    }

    /// Tells all that has not been told, until something fails that is the server's.
    async fn last(&mut self) {
        if !self.knows && !self.ask().await {
            return;
        }
        for revision in self.telling.waiting() {
            if !self.tell(&revision).await {
                return;
            }
        }
    }

    /// Asks what is there of this node; false, if that cannot be told.
    async fn ask(&mut self) -> bool {
        let doing = Doing::list("workloadevidences.learner.dev", None);
        match in_time(doing, self.writer.mine()).await {
            Ok(there) => {
                self.telling.is_there(there);
                let known = self.telling.waiting().into_iter().collect();
                let strangers = self.telling.strangers(&known);
                if strangers > 0 {
                    tracing::info!(
                        revisions = strangers,
                        "this node has told of them, and its store does not, or nobody has run them for long; \
                         what is there stays"
                    );
                }
                self.knows = true;
                true
            }
            Err(error) => {
                self.telling
                    .is_away(error.retry_after(), self.clock.moment());
                self.complaints.about(About::Evidence, &error);
                false
            }
        }
    }

    /// Tells of a revision; false, if the rest would fare no better.
    async fn tell(&mut self, revision: &Revision) -> bool {
        let edition = self.telling.edition(revision);
        let told = self.put(revision).await;
        let now = self.clock.moment();
        match told {
            Ok((content, written)) => {
                self.telling.told(revision, edition, &content, now);
                if let Some(written) = written {
                    self.complaints.reach.written += written.applied as u64;
                    tracing::debug!(revision = %visible(&revision.to_string()), objects = written.applied, "told");
                }
                self.complaints.over(&About::Evidence);
                let namespace = revision.workload.namespace.clone();
                self.complaints.over(&About::Namespace(namespace));
                self.complaints.over(&About::Revision(revision.to_string()));
                true
            }
            Err(Failed::Store(error)) => {
                let name = visible(&revision.to_string());
                tracing::error!(revision = %name, "not told: the store could not be read: {error}");
                self.telling.failed(revision, None, now);
                true
            }
            Err(Failed::Cluster(error)) if error.is_of_server() => {
                self.telling.is_away(error.retry_after(), now);
                self.complaints.about(About::Evidence, &error);
                false
            }
            // The namespace: what comes of it later is told again.
            Err(Failed::Cluster(error @ ClusterError::NotFound { .. })) => {
                *self
                    .complaints
                    .reach
                    .failed
                    .entry(error.word())
                    .or_default() += 1;
                tracing::info!("not told: {}", visible(&error.to_string()));
                self.telling.forget(revision);
                true
            }
            Err(Failed::Cluster(error)) => {
                let is_denied = matches!(error, ClusterError::Forbidden { .. });
                let about = match is_denied {
                    true => About::Namespace(revision.workload.namespace.clone()),
                    false => About::Revision(revision.to_string()),
                };
                self.complaints.about(about, &error);
                self.telling.failed(revision, error.retry_after(), now);
                true
            }
        }
    }

    /// Writes what is to be told of a revision; nothing, if it is there already.
    async fn put(&self, revision: &Revision) -> Result<(String, Option<Written>), Failed> {
        let evidence = self
            .shelf
            .with(|store| store.load(|key| revision.has(key)))
            .map_err(Failed::Store)?;
        let alive = self.alive(revision, &evidence);
        let part = Part::of(evidence.runs());
        let holding = Holding {
            unenforced: self.unenforced.get(revision).cloned().unwrap_or_default(),
            enforcement: self.enforcement.clone(),
            unheld: self.unheld.get(revision).cloned(),
        };
        let objects = self.writer.objects(revision, alive, &part, &holding);
        let objects = objects.map_err(Failed::Cluster)?;
        let content = objects.content().to_owned();
        if self.telling.is_told(revision, &content) {
            return Ok((content, None));
        }
        let doing = Doing {
            verb: "patch",
            resource: "workloadevidences.learner.dev",
            namespace: Some(revision.workload.namespace.clone()),
            name: None,
        };
        let written = in_time(doing, self.writer.put(&objects)).await;
        let written = written.map_err(Failed::Cluster)?;
        Ok((content, Some(written)))
    }

    /// When a run of it was last alive.
    fn alive(&self, revision: &Revision, evidence: &Evidence) -> Moment {
        let now = self.clock.moment();
        if self.running.contains(revision) {
            return now;
        }
        let runs = evidence.runs().values();
        let last = runs.filter_map(|run| {
            let last = run.seen.values().map(|seen| seen.last).max();
            run.stop.max(last).max(run.start)
        });
        last.max().map_or(now, |last| last.min(now))
    }

    /// Takes away what was told of revisions that nobody runs any more.
    async fn sweep(&mut self) {
        let now = self.clock.moment();
        let summaries = match self.summaries() {
            Ok(summaries) => summaries,
            Err(error) => return tracing::error!("nothing is taken away: {error}"),
        };
        let keep = i64::try_from(self.keep.as_micros()).unwrap_or(i64::MAX);
        let since = Moment(now.0.saturating_sub(keep));
        for revision in superseded(&kept(&summaries, &self.running, now), now, self.keep) {
            let doing = Doing {
                verb: "delete",
                resource: "workloadevidences.learner.dev",
                namespace: Some(revision.workload.namespace.clone()),
                name: None,
            };
            match in_time(doing, self.writer.withdraw(&revision, since)).await {
                Ok(Withdrawn::Gone { objects }) => {
                    self.telling.forget(&revision);
                    self.unenforced.remove(&revision);
                    if objects > 0 {
                        tracing::info!(revision = %visible(&revision.to_string()), objects, "nobody runs it any more: what was told of it is taken away");
                    }
                }
                Ok(Withdrawn::Alive { .. }) => {}
                Err(error) => {
                    let is_of_server = error.is_of_server();
                    self.complaints.about(About::Evidence, &error);
                    if is_of_server {
                        return;
                    }
                }
            }
        }
    }
}

/// When each revision was last alive, on this node.
fn kept(summaries: &[Summary], running: &BTreeSet<Revision>, now: Moment) -> Vec<Kept> {
    let of = |summary: &Summary| {
        let revision = Revision::of(&summary.key);
        let seen = summary.stop.max(summary.last).max(summary.start);
        let alive = match running.contains(&revision) {
            true => now,
            false => seen.unwrap_or(now).min(now),
        };
        Kept { revision, alive }
    };
    summaries.iter().map(of).collect()
}

/// The answer, or that there was none in time.
pub(super) async fn in_time<T>(
    doing: Doing,
    asked: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    answer.unwrap_or_else(|_| {
        let cause = format!("no answer within {} s", PATIENCE.as_secs());
        Err(ClusterError::Unreachable { doing, cause })
    })
}

/// Until a moment; for ever, if there is none.
async fn until(moment: Option<Moment>, now: Moment) {
    match moment {
        Some(moment) => {
            let left = u64::try_from(moment.0.saturating_sub(now.0)).unwrap_or(0);
            tokio::time::sleep(Duration::from_micros(left)).await;
        }
        None => std::future::pending().await,
    }
}

//! The agent's loop.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::bench::Pass;
use super::config::{BadConfig, Config};
use super::enforcing::Enforcing;
use super::figures::Figures;
use super::judging::Judging;
use super::keeper::Keeper;
use super::kubearmor::Ear;
use super::naming::Naming;
use super::node::{Heard, Link};
use super::shelf::Shelf;
use super::socket::{Socket, SocketError};
use super::unnamed::Drawer;
use super::watching::Watching;
use super::{cluster, metrics, watching::Report};
use crate::candidate::Ledger;
use crate::host::Tree;
use crate::kernel::cgroup::{self, GroupError};
use crate::kernel::enforcer::{self, EnforceError};
use crate::kernel::{Sensor, SensorError};
use crate::session::readable;
use crate::store::{Options, StoreError};
use crate::telemetry::RelayError;

/// How often ends of runs are looked for, apart from what the kernel notices.
const TICK: Duration = Duration::from_millis(500);
/// How often the workloads that are judged are reviewed for the figures, if nothing is promoted.
const REVIEW: Duration = Duration::from_secs(600);
/// How often the figures are brought up to date.
const FIGURES: Duration = Duration::from_secs(5);

/// The agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel programs.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// What an earlier agent left enforced.
    #[error(
        "what an earlier agent left enforced stays so, and cannot be taken over: {0}; to let it be: learner release"
    )]
    Enforce(#[from] EnforceError),
    /// The cgroups.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The metrics address.
    #[error("{address}: metrics cannot be served there: {cause}; name another address")]
    Metrics {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// The API server is not known.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Cluster(Box<crate::cluster::ClusterError>),
    /// Which node of the cluster this is.
    #[error(
        "which node this is is not told: --node NAME, or NODE_NAME by the downward API (fieldRef: spec.nodeName)"
    )]
    NoNode,
    /// What it takes to hear KubeArmor.
    #[error(transparent)]
    KubeArmor(#[from] RelayError),
    /// This Learner has no client of the API server.
    #[error("this learner was built without the feature 'cluster'")]
    NoCluster,
    /// The event loop.
    #[error("cannot wait for events: {0}")]
    Wait(#[source] std::io::Error),
}

/// Where the agent's things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Directory of the store.
    pub store: PathBuf,
    /// Path of the socket.
    pub socket: PathBuf,
}

/// Watches until SIGTERM or SIGINT, then puts everything into the store and closes it. At SIGHUP
/// `reload` gives the configuration anew.
///
/// # Errors
/// [`AgentError`] if it cannot begin, or the kernel's maps fail. What was gathered until then is in
/// the store.
pub async fn run(
    config: Config,
    places: &Places,
    reload: &dyn Fn() -> Option<Config>,
) -> Result<(), AgentError> {
    let mut signals = Signals::listen().map_err(AgentError::Wait)?;
    if let Some(node) = &config.cluster {
        cluster::check(node).await?;
    }
    let options = Options {
        max_behaviors: config.max_behaviors,
    };
    let shelf = Arc::new(Shelf::open(&places.store, options)?);
    // Who has the store open can be asked: those who come before it watches wait for their answer.
    let socket = Socket::listen(&places.socket)?;
    let sensor = Sensor::attach(config.sensor()?)?;
    for served in sensor.served() {
        tracing::debug!(hook = %served.hook, rung = ?served.rung, "attached");
    }
    let unenforceable = unenforceable(&config, &sensor);
    let tree = Tree::new(cgroup::mount_point()?).map_err(AgentError::Wait)?;
    let naming = match &config.cluster {
        Some(_) => Naming::of_cluster(),
        None => Naming::default(),
    };
    let selection = config.selection()?;
    let mut watching = Watching::new(sensor, tree, selection, naming, config.max_behaviors);
    let figures = Arc::new(Figures::default());
    let drawer = config.cluster.as_ref().map(|_| {
        let (drawer, unnamed) = Drawer::open(shelf.dir());
        watching.hold(unnamed);
        drawer
    });
    let link = match &config.cluster {
        Some(node) => {
            let why = unenforceable.as_deref();
            cluster::begin(node, &shelf, watching.clock(), &figures, why)?
        }
        None => Link::default(),
    };
    let ear = Ear::begin(
        config.kubearmor.as_ref(),
        config.cluster.is_some(),
        watching.clock(),
        &figures,
    )?;
    let metrics = match config.metrics {
        Some(address) => {
            let listener = metrics::listen(address)
                .await
                .map_err(|cause| AgentError::Metrics { address, cause })?;
            tracing::info!("metrics are at http://{address}/metrics");
            Some(tokio::spawn(metrics::serve(listener, Arc::clone(&figures))))
        }
        None => None,
    };
    let served = Arc::clone(&shelf);
    // Last of all, so that little happens between what it takes over and the first look.
    let clock = watching.clock();
    let mut enforcing = match &unenforceable {
        None => Enforcing::begin(shelf.dir(), clock, Arc::clone(&figures))?,
        Some(why) => Enforcing::off(shelf.dir(), why.clone())?,
    };
    enforcing.stands(&shelf.ledger());
    let awaits = config.holds_for_cluster();
    let mut agent = Agent {
        keeper: Keeper::new(Arc::clone(&shelf)),
        judging: Judging::new(
            Arc::clone(&shelf),
            Arc::clone(&figures),
            clock,
            &config,
            unenforceable,
        ),
        watching,
        link,
        ear,
        drawer,
        figures,
        shelf: Arc::clone(&shelf),
        config,
        decided: Arc::default(),
        awaits,
        ended: 0,
    };
    let ended = tokio::select! {
        ended = agent.follow(&mut signals, reload, &mut enforcing) => ended,
        () = socket.serve(served) => Ok(()),
    };
    // From here on nothing new is asked for; what was asked is answered while the runs are folded.
    drop(socket);
    notify(&[NotifyState::Stopping]);
    tracing::info!("ending: what was seen is put into the store");
    let Agent {
        mut watching,
        mut keeper,
        judging,
        link,
        mut ear,
        drawer,
        ..
    } = agent;
    judging.end();
    enforcing.leave();
    let running = watching.running();
    let finished = watching.finish(&mut enforcing);
    let finished = finished.unwrap_or_else(|error| {
        tracing::error!("the last of the runs could not be read: {error}");
        Vec::new()
    });
    ear.note(&finished);
    keeper.take(finished);
    keeper.take(ear.reports(&running, &shelf.ledger()));
    ear.end();
    if let Some(mut drawer) = drawer {
        drawer.written().await;
        put_away(&mut drawer, &watching);
        drawer.written().await;
    }
    keeper.finish().await;
    let _ = tokio::task::spawn_blocking(move || link.end()).await;
    let closing = Arc::clone(&shelf);
    let _ = tokio::task::spawn_blocking(move || closing.close()).await;
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    tracing::info!("the store is closed");
    let _ = tokio::task::spawn_blocking(move || enforcing.join()).await;
    ended
}

/// Why nothing can be held to a policy by this agent.
fn unenforceable(config: &Config, sensor: &Sensor) -> Option<String> {
    if !config.enforce {
        return Some("the agent's configuration says 'enforce: false'".to_owned());
    }
    if !sensor.sees_refusals() {
        let why = "opens are observed on the rung lsm, which takes what a later LSM refuses for done; \
                   leave 'rung' out of the configuration";
        return Some(why.to_owned());
    }
    enforcer::is_active().err().map(|error| error.to_string())
}

struct Agent {
    watching: Watching,
    keeper: Keeper,
    judging: Judging,
    link: Link,
    ear: Ear,
    /// On a node of a cluster.
    drawer: Option<Drawer>,
    figures: Arc<Figures>,
    shelf: Arc<Shelf>,
    config: Config,
    /// What the promotion job of a cluster has decided of the node's workloads.
    decided: Arc<Ledger>,
    /// Whose the cgroups are that an earlier agent held, and what is decided of these, is not all known yet.
    awaits: bool,
    ended: u64,
}

impl Agent {
    async fn follow(
        &mut self,
        signals: &mut Signals,
        reload: &dyn Fn() -> Option<Config>,
        enforcing: &mut Enforcing,
    ) -> Result<(), AgentError> {
        let ring = readable(self.watching.sensor().as_fd()).map_err(AgentError::Wait)?;
        let tree = readable(self.watching.tree().as_fd()).map_err(AgentError::Wait)?;
        let mut tick = every(TICK);
        let mut flush = every(self.config.flush.0);
        let mut rescan = every(self.config.rescan.0);
        let mut refresh = every(FIGURES);
        let mut review = self.reviews();
        let shelf = Arc::clone(&self.shelf);
        let mut ledgers = shelf.ledgers();
        let mut watchdog = sd_notify::watchdog_enabled().map(|limit| every(limit / 2));
        let reports = self.watching.scan(enforcing)?;
        self.keep(reports);
        let reports = self.watching.settle_ends(enforcing)?;
        self.keep(reports);
        // What an earlier agent held stays so until it is known whose it is.
        if !self.awaits {
            enforcing.all_have_begun();
        }
        self.refresh();
        notify(&[NotifyState::Ready]);
        let watched = self.watching.len();
        tracing::info!(workloads = watched, "watching");
        self.judging.begin();
        loop {
            // Forget nothing that a branch would lose when another is taken: each is only waited for.
            tokio::select! {
                ready = ring.readable() => {
                    let mut ready = ready.map_err(AgentError::Wait)?;
                    if self.watching.drain() {
                        ready.clear_ready();
                    }
                    self.watching.name_begun(enforcing);
                }
                ready = tree.readable() => {
                    ready.map_err(AgentError::Wait)?.clear_ready();
                    let reports = self.watching.notice(enforcing)?;
                    self.keep(reports);
                }
                _ = tick.tick() => {
                    // What is repeated is told with the time of the last look.
                    self.watching.drain();
                    let reports = self.watching.settle_ends(enforcing)?;
                    self.keep(reports);
                }
                _ = flush.tick() => {
                    let reports = self.watching.reports(enforcing)?;
                    let running = self.watching.running();
                    self.ear.note(&reports);
                    self.keeper.take(reports);
                    self.keeper.take(self.ear.reports(&running, &self.shelf.ledger()));
                    self.keeper.fold();
                    self.link.running(running);
                    if let Some(drawer) = &mut self.drawer {
                        put_away(drawer, &self.watching);
                    }
                }
                heard = self.link.heard() => self.hear(heard, enforcing),
                _ = rescan.tick() => {
                    let reports = self.watching.scan(enforcing)?;
                    self.keep(reports);
                }
                () = self.keeper.folded() => {}
                () = shelf.rung() => self.judging.begin(),
                () = self.judging.done() => self.judging.begin(),
                Ok(()) = ledgers.changed() => {
                    ledgers.mark_unchanged();
                    enforcing.stands(&self.ledger());
                }
                () = beat(&mut review) => {
                    let promotes = self.config.promote.is_some();
                    self.judging.due(if promotes { Pass::Promote } else { Pass::Judged });
                    self.judging.begin();
                }
                _ = refresh.tick() => self.refresh(),
                () = beat(&mut watchdog) => notify(&[NotifyState::Watchdog]),
                _ = signals.hangup.recv() => {
                    if let Some(config) = reload() {
                        let reports = self.reload(config, enforcing)?;
                        self.keep(reports);
                        flush = every(self.config.flush.0);
                        rescan = every(self.config.rescan.0);
                        review = self.reviews();
                    }
                }
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
            }
        }
    }

    /// Takes runs that have ended, and puts them into the store at once.
    fn keep(&mut self, reports: Vec<Report>) {
        if reports.is_empty() {
            return;
        }
        self.ended += reports.len() as u64;
        self.ear.note(&reports);
        self.keeper.take(reports);
        self.keeper.fold();
    }

    /// Takes what the cluster tells of a container.
    fn hear(&mut self, heard: Heard, enforcing: &mut Enforcing) {
        match heard {
            Heard::Known { id, told } => {
                let reports = self.watching.known(id, told, enforcing);
                self.keep(reports);
            }
            Heard::Gone { ids } => self.watching.gone(ids),
            Heard::Decided { ledger, is_whole } => {
                self.decided = ledger;
                enforcing.stands(&self.ledger());
                if is_whole && std::mem::take(&mut self.awaits) {
                    enforcing.all_have_begun();
                }
            }
        }
    }

    /// Where all revisions stand: by the store, and on a node by what the job of the cluster has decided.
    fn ledger(&self) -> Arc<Ledger> {
        let stored = self.shelf.ledger();
        match self.decided.iter().next() {
            None => stored,
            Some(_) => Arc::new(stored.overruled_by(&self.decided)),
        }
    }

    /// When all workloads are reviewed, whether there is anything new or not.
    fn reviews(&self) -> Option<Interval> {
        let promoted = self.config.promote.as_ref().map(|promote| promote.every.0);
        let shown = self.config.metrics.map(|_| REVIEW);
        promoted.or(shown).map(every)
    }

    fn refresh(&mut self) {
        if self.config.metrics.is_none() {
            return;
        }
        let standing = self.watching.standing().unwrap_or_else(|error| {
            tracing::warn!("the figures of runs cannot be read: {error}");
            Vec::new()
        });
        let size = self.shelf.with(|store| store.size_on_disk());
        let collector = self.watching.collector();
        self.figures.set(|inner| {
            inner.healthy = size.is_ok() && self.keeper.waiting() == 0;
            inner.watched = self.watching.len();
            inner.records = collector.records();
            inner.fullest = collector.fullest();
            inner.ring = u64::from(self.config.ring_buffer);
            inner.store = size.unwrap_or(inner.store);
            inner.ended = self.ended;
            inner.unseen = self.watching.unseen();
            inner.unnamed = self.watching.unnamed();
            inner.given_up = self.watching.given_up();
            inner.folds = self.keeper.folds;
            inner.failed = self.keeper.failed;
            inner.waiting = self.keeper.waiting();
            inner.standing = standing;
            inner.ledger = self.ledger();
            inner.decisions = self.shelf.decisions();
        });
    }

    /// What can change while it runs does; the rest is said.
    fn reload(
        &mut self,
        config: Config,
        enforcing: &mut Enforcing,
    ) -> Result<Vec<Report>, AgentError> {
        let kept = Config {
            watch: config.watch.clone(),
            flush: config.flush,
            rescan: config.rescan,
            rollback: config.rollback,
            promote: config.promote.clone(),
            ..self.config.clone()
        };
        if kept != config {
            tracing::warn!(
                "only watch, flush, rescan, rollback and promote change while the agent runs; restart \
                 it for the rest"
            );
        }
        let selection = kept.selection()?;
        self.config = kept;
        self.judging.follow(&self.config);
        tracing::info!("the configuration was read again");
        Ok(self.watching.select(selection, enforcing)?)
    }
}

/// Puts away the runs of which it is not known whose they are, where they are others than before.
fn put_away(drawer: &mut Drawer, watching: &Watching) {
    let mark = watching.unnamed_mark();
    if !drawer.is_stale(mark) {
        return;
    }
    match watching.unnamed_runs() {
        Ok(runs) => drawer.put(runs, mark),
        Err(error) => tracing::error!("runs that have no name yet could not be read: {error}"),
    }
}

/// The signals that mean something to the agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn beat(watchdog: &mut Option<Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Tells systemd, if it is there to be told.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(state) {
        tracing::debug!("systemd was not told: {cause}");
    }
}

//! One watched run: a command started by us, or processes that run already.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

use crate::kernel::cgroup::{self, Group, GroupError};
use crate::kernel::enforcer::{self, Alert, EnforceError, Enforcer};
use crate::kernel::{
    Beginning, Clock, Collector, Sensor, SensorError, Settings, Target, live, settle,
};
use crate::observation::Loss;
use crate::policy::meaning::Tree;
use crate::profile::RunProfile;

/// How long a command may take to end after it was asked to, when the time is up.
const GRACE: Duration = Duration::from_secs(10);
/// How often the cgroup is looked at for being empty.
const TICK: Duration = Duration::from_millis(20);

/// What is watched.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A command, from its first exec.
    Command {
        /// The program that stops itself and, continued, executes the command: `learner __launch`.
        launcher: Vec<OsString>,
        /// The command and its arguments.
        argv: Vec<OsString>,
    },
    /// What runs in a cgroup v2 directory.
    Group(PathBuf),
    /// A process and what else is in its cgroup, or on cgroup v1 in its pid and mount namespace.
    Process(u32),
}

/// What to watch, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is watched.
    pub subject: Subject,
    /// The longest that it is watched.
    pub limit: Option<Duration>,
    /// Kernel programs.
    pub settings: Settings,
    /// Most distinct behaviours.
    pub max_behaviors: usize,
    /// Whether what processes that run already have open is evidence. It teaches what is learning; where a
    /// candidate is frozen it is nothing to be judged: it may have been opened before, or by another.
    pub takes_state: bool,
    /// What is enforced on it meanwhile.
    pub order: Option<Order>,
}

/// A policy to enforce on what is watched.
#[derive(Clone, Debug)]
pub struct Order {
    /// The rules.
    pub tree: Tree,
    /// The beginning of the policy's hash.
    pub hash: [u64; 2],
    /// Where the programs are pinned: see [`Enforcer::open`].
    pub instance: String,
    /// What is seen becomes evidence: so what is refused has to be seen as refused.
    pub is_recorded: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Watched {
    /// What the run did, without labels.
    pub profile: RunProfile,
    /// The command's status; None for processes that ran already, or if it has not ended.
    pub status: Option<ExitStatus>,
    /// The time was up, or the watch was interrupted twice, before everything had ended.
    pub cut_short: bool,
    /// What the enforced policy denied.
    pub alerts: Vec<Alert>,
    /// What the enforcing programs could not tell or report, by reason.
    pub unreported: Vec<(Loss, u64)>,
    /// Where the watch ended before the workload did: it is still held to the policy.
    pub still_enforced: bool,
}

/// A run could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The kernel programs.
    #[error(transparent)]
    Sensor(#[from] SensorError),
    /// The enforcing programs.
    #[error(transparent)]
    Enforce(#[from] EnforceError),
    /// The cgroup.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A policy is for a cgroup.
    #[error("there is no cgroup v2 directory to enforce a policy on")]
    NoGroup,
    /// The command could not be started.
    #[error("{command}: cannot be started: {cause}")]
    Start {
        /// The command.
        command: String,
        /// What went wrong.
        cause: String,
    },
    /// What is refused would be recorded as done.
    #[error(
        "opens are observed on the rung lsm, which takes what Learner's own programs refuse for done; \
         nothing is recorded under a policy that way: leave out --rung"
    )]
    Unseen,
    /// There is no such process.
    #[error(
        "process {0} is not there, or its namespaces cannot be read; give the pid of a running process"
    )]
    NoProcess(u32),
    /// This process would watch itself.
    #[error(
        "learner runs inside the workload that it is to watch, and in a pid namespace of its own \
         where it cannot tell itself from it; start it outside of the cgroup"
    )]
    Inside,
    /// This process's own event loop.
    #[error("cannot wait for events: {0}")]
    Wait(std::io::Error),
}

/// Watches until everything has ended, the time is up, or the watch is interrupted.
///
/// # Errors
/// [`SessionError`]; nothing is left running that was started, nor any program attached.
pub async fn watch(plan: Plan) -> Result<Watched, SessionError> {
    let mut sensor = Sensor::attach(plan.settings)?;
    for served in sensor.served() {
        for (rung, reason) in &served.refused {
            tracing::debug!(hook = %served.hook, %rung, %reason, "refused");
        }
        tracing::debug!(hook = %served.hook, rung = ?served.rung, "attached");
    }
    watch_by(&mut sensor, 1, plan).await
}

/// The same by a sensor that is attached already, and stays so: the plan's settings count for nothing. `scope` is
/// not 0, and used once of a sensor.
///
/// # Errors
/// As [`watch`]. The sensor then may go on watching the scope.
pub async fn watch_by(
    sensor: &mut Sensor,
    scope: u32,
    plan: Plan,
) -> Result<Watched, SessionError> {
    let is_recorded = plan.order.as_ref().is_some_and(|order| order.is_recorded);
    if is_recorded && !sensor.sees_refusals() {
        return Err(SessionError::Unseen);
    }
    let clock = Clock::now();
    let mut collector = Collector::new(sensor, clock, plan.max_behaviors);
    collector.look(sensor)?;
    collector.begin(scope, Beginning::Now);
    let mut child = None;
    let mut made = None;
    let (group, target) = match &plan.subject {
        Subject::Command { launcher, argv } => {
            let group = Group::create("learner")?;
            let started = Child::start(launcher, argv)?;
            group.add(started.pid())?;
            let path = group.path().to_owned();
            let target = Target::Group(group.id()?);
            child = Some(started);
            made = Some(group);
            (Some(path), target)
        }
        Subject::Group(path) => (Some(path.clone()), Target::Group(cgroup::identify(path)?)),
        Subject::Process(pid) => target_of(*pid)?,
    };
    sensor.watch(scope, target)?;
    let begun = clock.moment();
    let mut late = RunProfile::default();
    if child.is_none() {
        let mut pids = match (&group, &plan.subject) {
            (Some(group), _) => cgroup::processes(group),
            (None, Subject::Process(pid)) => live::namespace_mates(*pid),
            (None, _) => Vec::new(),
        };
        // Who watches may be among the watched, and is no evidence.
        let own = std::process::id();
        if pids.contains(&own) && !sensor.leaves_itself_out() {
            return Err(SessionError::Inside);
        }
        pids.retain(|pid| *pid != own);
        if plan.takes_state {
            late = live::state(&pids, begun);
        }
    }
    let mut enforcement = match &plan.order {
        Some(order) => Some(Enforcement::begin(order, scope, group.as_deref())?),
        None => None,
    };
    match &child {
        Some(child) => child.release()?,
        None => tracing::info!("watching from now on; an interrupt ends it"),
    }
    let mut run = Run {
        sensor,
        collector: &mut collector,
        child,
        group,
        subject: &plan.subject,
        enforcer: enforcement.as_mut().map(|e| &mut e.enforcer),
    };
    let cut_short = run.follow(plan.limit).await?;
    let child = run.child;
    let (alerts, unreported) = match &mut enforcement {
        Some(Enforcement { enforcer, .. }) => (enforcer.alerts(clock)?, enforcer.losses(scope)?),
        None => (Vec::new(), Vec::new()),
    };
    let still_enforced = cut_short && enforcement.is_some();
    if let Some(enforcement) = enforcement
        && !cut_short
    {
        enforcement.end()?;
    }
    sensor.unwatch(target)?;
    settle();
    while !collector.drain(sensor) {}
    collector.look(sensor)?;
    let mut profile = collector.finish(scope, sensor)?.unwrap_or_default();
    let ended = clock.moment();
    if plan_is_command(&plan.subject) {
        profile.start = Some(begun);
    } else {
        profile.late = true;
        profile.join(late);
    }
    if !cut_short {
        profile.stop = Some(ended);
    }
    drop(made);
    Ok(Watched {
        profile,
        status: child.and_then(|child| child.status),
        cut_short,
        alerts,
        unreported,
        still_enforced,
    })
}

/// A policy in force on the watched cgroup. Dropped without an end, as by an error, it stays.
struct Enforcement {
    enforcer: Enforcer,
    group: u64,
    instance: String,
}

impl Enforcement {
    fn begin(order: &Order, scope: u32, group: Option<&Path>) -> Result<Self, SessionError> {
        let id = cgroup::identify(group.ok_or(SessionError::NoGroup)?)?;
        let mut enforcer = Enforcer::open(&order.instance)?;
        if let Err(error) = enforcer.apply(id, scope, order.hash, &order.tree) {
            enforcer::release(Some(&order.instance))?;
            return Err(error.into());
        }
        Ok(Self {
            enforcer,
            group: id.id,
            instance: order.instance.clone(),
        })
    }

    fn end(mut self) -> Result<(), SessionError> {
        self.enforcer.lift(self.group)?;
        enforcer::release(Some(&self.instance))?;
        Ok(())
    }
}

fn plan_is_command(subject: &Subject) -> bool {
    matches!(subject, Subject::Command { .. })
}

/// Of a process its cgroup, unless that is the root of the hierarchy: then its namespaces.
fn target_of(pid: u32) -> Result<(Option<PathBuf>, Target), SessionError> {
    if let Ok(path) = cgroup::of_process(pid) {
        let id = cgroup::identify(&path)?;
        if id.level != Some(0) {
            return Ok((Some(path), Target::Group(id)));
        }
    }
    let (own, theirs) = (live::namespaces(std::process::id()), live::namespaces(pid));
    let (Some(own), Some((pid_ns, mnt))) = (own, theirs) else {
        return Err(SessionError::NoProcess(pid));
    };
    if own == (pid_ns, mnt) {
        return Err(SessionError::Group(GroupError::NotAGroup(
            format!("/proc/{pid}: the process shares cgroup and namespaces with this one").into(),
            cgroup::mount_point()?,
        )));
    }
    Ok((None, Target::Namespaces { pid: pid_ns, mnt }))
}

struct Run<'a> {
    sensor: &'a mut Sensor,
    collector: &'a mut Collector,
    child: Option<Child>,
    group: Option<PathBuf>,
    subject: &'a Subject,
    enforcer: Option<&'a mut Enforcer>,
}

impl Run<'_> {
    /// Gathers events until the end; true if that came before everything had ended.
    async fn follow(&mut self, limit: Option<Duration>) -> Result<bool, SessionError> {
        let listen = |kind| signal(kind).map_err(SessionError::Wait);
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hangup = listen(SignalKind::hangup())?;
        let mut quit = listen(SignalKind::quit())?;
        let mut ended = listen(SignalKind::child())?;
        let ring = readable(self.sensor.as_fd()).map_err(SessionError::Wait)?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
        let mut asked = false;
        loop {
            let (signal, from_terminal, ends) = tokio::select! {
                ready = ring.readable() => {
                    let mut ready = ready.map_err(SessionError::Wait)?;
                    if self.collector.drain(self.sensor) {
                        ready.clear_ready();
                    }
                    continue;
                }
                _ = tick.tick() => {
                    self.collector.drain(self.sensor);
                    if let Some(enforcer) = &mut self.enforcer {
                        enforcer.gather();
                    }
                    if self.is_over() {
                        return Ok(false);
                    }
                    continue;
                }
                _ = ended.recv() => {
                    self.reap();
                    continue;
                }
                () = until(deadline) => {
                    if !asked {
                        self.note_time_up();
                    }
                    deadline = Some(tokio::time::Instant::now() + GRACE);
                    (Signal::TERM, false, true)
                }
                _ = interrupt.recv() => (Signal::INT, true, true),
                _ = quit.recv() => (Signal::QUIT, true, true),
                _ = terminate.recv() => (Signal::TERM, false, true),
                _ = hangup.recv() => (Signal::HUP, true, false),
            };
            // What runs already is not ours to stop; and twice asked means now.
            if ends && (asked || self.child.is_none()) {
                self.collector.drain(self.sensor);
                return Ok(!self.is_over());
            }
            asked |= ends;
            if !(from_terminal && in_foreground()) {
                self.forward(signal);
            }
        }
    }

    fn note_time_up(&self) {
        if let Subject::Command { argv, .. } = self.subject {
            let command = argv
                .first()
                .map(|name| name.to_string_lossy())
                .unwrap_or_default();
            tracing::warn!("the time is up: {command} is asked to end");
        }
    }

    fn reap(&mut self) {
        if let Some(child) = &mut self.child {
            child.reap();
        }
    }

    fn is_over(&mut self) -> bool {
        self.reap();
        let ended = self
            .child
            .as_ref()
            .is_none_or(|child| child.status.is_some());
        // Asked often, and of a command that runs the answer is known by now.
        ended
            && match &self.group {
                Some(group) => !cgroup::is_populated(group) || self.is_alone(group),
                None => match self.subject {
                    Subject::Process(pid) => !Path::new(&format!("/proc/{pid}")).exists(),
                    _ => true,
                },
            }
    }

    /// Whether this process is the only one left in what it watches.
    fn is_alone(&self, group: &Path) -> bool {
        self.child.is_none() && cgroup::processes(group) == [std::process::id()]
    }

    /// Passes a signal on to the command, or to what it left behind.
    fn forward(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        let pids = match child.status {
            None => vec![child.pid()],
            Some(_) => self
                .group
                .as_deref()
                .map(cgroup::processes)
                .unwrap_or_default(),
        };
        for pid in pids {
            if let Some(pid) = Pid::from_raw(pid as i32) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

/// Something to wait on until it can be read, whoever else waits on it.
pub(crate) fn readable(fd: BorrowedFd<'_>) -> std::io::Result<AsyncFd<OwnedFd>> {
    let fd = fd.try_clone_to_owned()?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe; an OwnedFd keeps the promise"
    )]
    AsyncFd::new(fd)
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Whether the terminal's own signals reach the command without us: it is in our process group,
/// and that is the terminal's foreground group.
fn in_foreground() -> bool {
    let Ok(tty) = std::fs::File::open("/dev/tty") else {
        return false;
    };
    rustix::termios::tcgetpgrp(&tty).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The command: started stopped, then released into its exec.
struct Child {
    process: std::process::Child,
    status: Option<ExitStatus>,
}

impl Child {
    fn start(launcher: &[OsString], argv: &[OsString]) -> Result<Self, SessionError> {
        let failed = |cause: String| SessionError::Start {
            command: argv
                .first()
                .map(|a| a.to_string_lossy().into_owned())
                .unwrap_or_default(),
            cause,
        };
        let program: &OsStr = launcher
            .first()
            .map(OsString::as_os_str)
            .unwrap_or_default();
        let process = std::process::Command::new(program)
            .args(&launcher[1..])
            .args(argv)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let mut child = Self {
            process,
            status: None,
        };
        let pid = Pid::from_raw(child.pid() as i32);
        loop {
            match rustix::process::waitpid(pid, WaitOptions::UNTRACED) {
                Ok(Some((_, status))) if status.stopped() => return Ok(child),
                Ok(Some((_, status))) => {
                    child.status = Some(ExitStatus::from_raw(status.as_raw()));
                    return Err(failed("see above".into()));
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.to_string())),
            }
        }
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn release(&self) -> Result<(), SessionError> {
        let pid = Pid::from_child(&self.process);
        rustix::process::kill_process(pid, Signal::CONT)
            .map_err(|errno| SessionError::Wait(errno.into()))
    }

    fn reap(&mut self) {
        if self.status.is_none() {
            self.status = self.process.try_wait().ok().flatten();
        }
    }
}

impl Drop for Child {
    /// Started and never released, or an error on the way: it must not stay behind stopped.
    fn drop(&mut self) {
        self.reap();
        if self.status.is_none()
            && std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).is_ok_and(|stat| {
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('T'))
            })
        {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

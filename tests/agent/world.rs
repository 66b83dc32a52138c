//! An agent of its own for a test, with a store, a socket and cgroups of its own.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use learner::kernel::cgroup::Group;
use learner::kernel::{Sensor, Settings};
use learner::profile::{Evidence, RunProfile};
use learner::store::Store;
use learner::workload::RunKey;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const LEARNER: &str = env!("CARGO_BIN_EXE_learner");
/// For what is sure to come, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// One agent at a time: two that load programs at once take more than twice as long.
static ALONE: Mutex<()> = Mutex::new(());

/// Directory, store, socket and configuration; the agent runs while it is there.
pub(crate) struct World {
    dir: TempDir,
    name: String,
    groups: AtomicUsize,
    _alone: MutexGuard<'static, ()>,
}

/// None, with a line on standard error: this machine does not allow it.
pub(crate) fn world(name: &str) -> Option<World> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(reason) = Sensor::attach(Settings::default()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI is set, and there is no observing here: {reason}"
        );
        eprintln!("skipped: the agent on this machine: {reason}");
        return None;
    }
    Some(World {
        dir: TempDir::new().expect("a directory"),
        name: format!("{name}-{}", std::process::id()),
        groups: AtomicUsize::new(0),
        _alone: alone,
    })
}

impl World {
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("canonical")
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        fs::write(&path, "x").expect("a file");
        path
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.join("run/agent.sock")
    }

    /// A cgroup that the agents of this world watch.
    pub(crate) fn group(&self) -> Group {
        let number = self.groups.fetch_add(1, Ordering::Relaxed);
        Group::create(&format!("{}-{number}", self.name)).expect("a cgroup")
    }

    /// The arguments of every command in this world.
    pub(crate) fn learner(&self, args: &[&str]) -> Command {
        let mut command = self.here(LEARNER);
        command.args(args);
        command
    }

    /// A program with this world's store and socket, in its directory.
    fn here(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("LEARNER_STORE", self.join("store"))
            .env("LEARNER_SOCKET", self.socket())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn says(&self, args: &[&str]) -> Output {
        self.learner(args).output().expect("learner runs")
    }

    /// Starts an agent that watches this world's cgroups alone, with further configuration.
    pub(crate) fn agent(&self, config: &str) -> Agent {
        let file = self.join("agent.yaml");
        let cgroups = format!(
            "watch: {{containers: false, cgroups: ['/**/{}-*']}}\n",
            self.name
        );
        let watch = if config.contains("watch:") {
            ""
        } else {
            &cgroups
        };
        fs::write(&file, format!("{watch}{config}")).expect("a configuration");
        let log = self.join("log");
        let out = File::create(&log).expect("a log");
        // As its unit has it: one that waits for a processor begins to watch late.
        let child = self
            .here("nice")
            .args(["-n", "-10", LEARNER, "agent", "--config"])
            .arg(&file)
            .stderr(out)
            .spawn()
            .expect("an agent");
        let agent = Agent { child, log };
        // As text, or as JSON.
        let watches = [" watching", "\"watching\""];
        wait_for("the agent to watch", || {
            let log = agent.log();
            watches.iter().any(|text| log.contains(text))
        });
        agent
    }

    /// What is in the store, which no agent has open.
    pub(crate) fn stored(&self) -> Vec<(RunKey, RunProfile)> {
        let store = Store::open(&self.join("store")).expect("the store opens");
        let evidence: Evidence = store.load(|_| true).expect("it is whole");
        evidence.into_runs().into_iter().collect()
    }
}

pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        let mut file = File::open(&self.log).expect("a log");
        file.read_to_string(&mut text).expect("text");
        text
    }

    /// The ends of runs in a cgroup that the log tells.
    pub(crate) fn ends(&self, group: &Group) -> Vec<String> {
        let name = group.path().file_name().expect("a name");
        let of = format!("/{} ", name.to_str().expect("text"));
        let log = self.log();
        let ends = log.lines().filter(|line| line.contains("a run has ended"));
        ends.filter(|line| line.contains(&of))
            .map(str::to_owned)
            .collect()
    }

    /// Until a run in the cgroup has been seen and has ended: by then those that were made before it
    /// are watched too.
    pub(crate) fn watches(&self, group: &Group) {
        let run = || {
            let status = inside(group.path(), "true").status().expect("a workload");
            assert!(status.success());
        };
        let name = group.path().file_name().expect("a name");
        let name = name.to_str().expect("text").to_owned();
        let is_warned = || {
            let log = self.log();
            let mut lines = log.lines().filter(|line| line.ends_with(&name));
            lines.any(|line| line.contains("before it was watched"))
        };
        run();
        wait_for("a cgroup to be watched", || {
            is_warned() || !self.ends(group).is_empty()
        });
        if self.ends(group).is_empty() {
            run();
            wait_for("a run to end", || !self.ends(group).is_empty());
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }

    /// Ends it as systemd does.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().expect("it ends")
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    pub(crate) fn is_there(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell script that enters the cgroup and executes `sh -c script` there.
pub(crate) fn inside(group: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    let enter = "echo $$ > \"$0\" && exec sh -c \"$1\"";
    command
        .args(["-c", enter])
        .arg(group.join("cgroup.procs"))
        .arg(script)
        .stdin(Stdio::null());
    command
}

pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Files below `dir` that the run read.
pub(crate) fn read_below<'a>(run: &'a RunProfile, dir: &Path) -> Vec<(&'a Path, u64)> {
    run.seen
        .iter()
        .filter(|(behavior, _)| behavior.is_learnable() && behavior.op.access().is_some())
        .map(|(behavior, sighting)| (behavior.path.as_path(), sighting.count))
        .filter(|(path, _)| {
            path.starts_with(dir) && !path.as_os_str().as_encoded_bytes().ends_with(b"/")
        })
        .collect()
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

//! A node: an agent on this machine, with cgroups that are named as kubelet and containerd name them.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use learner::kernel::cgroup;
use learner::kernel::{Sensor, Settings};
use learner::profile::RunProfile;
use learner::store::Store;
use learner::workload::RunKey;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::world::{LEARNER, Server};

/// For what is sure to come, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// One test with agents at a time: each loads programs into the kernel.
static ALONE: Mutex<()> = Mutex::new(());
static CONTAINERS: AtomicUsize = AtomicUsize::new(0);

/// What a test with agents holds.
pub(crate) struct Alone {
    _alone: MutexGuard<'static, ()>,
}

/// None, with a line on standard error: this machine does not allow it.
pub(crate) fn alone() -> Option<Alone> {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(reason) = Sensor::attach(Settings::default()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI is set, and there is no observing here: {reason}"
        );
        eprintln!("skipped: an agent on this machine: {reason}");
        return None;
    }
    Some(Alone { _alone: alone })
}

/// A node of the cluster with its store.
pub(crate) struct Node {
    dir: TempDir,
    pub(crate) name: String,
    kubeconfig: PathBuf,
    port: u16,
}

impl Node {
    /// One whose agent may do what the user of the kubeconfig may.
    pub(crate) fn new(server: &Server, user: &str, name: &str) -> Self {
        Self::with(server.kubeconfig(user), name)
    }

    /// One whose agent has this kubeconfig.
    pub(crate) fn with(kubeconfig: PathBuf, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self {
            dir: TempDir::new().expect("a directory"),
            name: format!("{name}-{}", std::process::id()),
            kubeconfig,
            port: listener.local_addr().expect("an address").port(),
        }
    }

    /// A file of the node for containers to read.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let path = self.dir.path().canonicalize().expect("canonical");
        let path = path.join("files").join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        fs::write(&path, "x").expect("a file");
        path
    }

    /// Starts its agent, and waits until it watches.
    pub(crate) fn agent(&self, cluster: &str) -> Agent {
        self.start("enforce: false", cluster, "")
    }

    /// With further configuration.
    pub(crate) fn agent_with(&self, cluster: &str, more: &str) -> Agent {
        self.start("enforce: false", cluster, more)
    }

    /// The same of one that is to hold what is decided.
    pub(crate) fn enforcing(&self, cluster: &str) -> Agent {
        self.start("enforce: true", &format!(", enforce: true{cluster}"), "")
    }

    fn start(&self, enforce: &str, cluster: &str, more: &str) -> Agent {
        let dir = self.dir.path();
        let file = dir.join("agent.yaml");
        let config = format!(
            "flush: 200ms\nrescan: 1s\n{enforce}\nmetrics: 127.0.0.1:{}\ncluster: {{interval: 1s{cluster}}}\n{more}",
            self.port
        );
        fs::write(&file, config).expect("a configuration");
        let log = dir.join("log");
        let out = File::options().append(true).create(true).open(&log);
        // In the virtual machine it is elsewhere.
        let learner = std::env::var_os("LEARNER_BIN").unwrap_or_else(|| LEARNER.into());
        let mut command = Command::new(learner);
        command
            .args(["agent", "--cluster", "--node", &self.name, "--config"])
            .arg(&file)
            .env("LEARNER_STORE", dir.join("store"))
            .env("LEARNER_SOCKET", dir.join("run/agent.sock"))
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stderr(out.expect("a log"));
        let before = fs::read_to_string(&log).unwrap_or_default().len();
        let child = command.spawn().expect("an agent");
        let agent = Agent {
            child,
            log,
            before,
            port: self.port,
        };
        wait_for("the agent to watch", || agent.log().contains(" watching"));
        agent
    }

    /// What is in the store, which no agent has open.
    pub(crate) fn stored(&self) -> Vec<(RunKey, RunProfile)> {
        let store = Store::open(&self.dir.path().join("store")).expect("the store opens");
        let evidence = store.load(|_| true).expect("it is whole");
        evidence.into_runs().into_iter().collect()
    }
}

/// An agent that runs while it is there.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    before: usize,
    port: u16,
}

impl Agent {
    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).expect("a log");
        text[self.before..].to_owned()
    }

    pub(crate) fn says(&self, text: &str) {
        wait_for(text, || self.log().contains(text));
    }

    /// The answer to a request of its address for metrics.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> Option<String> {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    }

    /// Its resident memory, bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.expect("a number") << 10
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    pub(crate) fn stop(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("signalled");
        self.child.wait().expect("it ends")
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

/// The cgroup of a container in a pod.
pub(crate) struct Container {
    pub(crate) id: String,
    /// Of its pod.
    pub(crate) uid: String,
    pod: PathBuf,
    path: PathBuf,
}

/// How the cgroups of pods and containers are named.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Driver {
    /// containerd and kubelet with systemd.
    Systemd,
    /// kubelet with cgroupfs.
    Cgroupfs,
    /// Docker, of which no kubelet knows.
    Docker,
}

impl Container {
    pub(crate) fn new(driver: Driver) -> Self {
        let number = CONTAINERS.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:024x}{:08x}{number:032x}", 0xfeed_u32, std::process::id());
        let uid = format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id());
        let own = cgroup::of_process(std::process::id()).expect("cgroup v2");
        let (pod, name) = match driver {
            Driver::Systemd => (
                format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_")),
                format!("cri-containerd-{id}.scope"),
            ),
            Driver::Cgroupfs => (format!("pod{uid}"), id.clone()),
            Driver::Docker => (
                format!("docker-{number}.slice"),
                format!("docker-{id}.scope"),
            ),
        };
        let pod = own.join(pod);
        let path = pod.join(name);
        fs::create_dir_all(&path).expect("a cgroup");
        Self { id, uid, pod, path }
    }

    /// A shell that enters the cgroup a while after it was made, as a runtime does, and executes another one
    /// with the script there.
    pub(crate) fn run(&self, script: &str) -> Child {
        let mut command = Command::new("sh");
        command
            .args(["-c", "sleep 1.5; echo $$ > \"$0\" && exec sh -c \"$1\""])
            .arg(self.path.join("cgroup.procs"))
            .arg(script)
            .stdin(Stdio::null());
        command.spawn().expect("a shell")
    }

    pub(crate) fn reads(&self, files: &[&Path]) {
        let files: Vec<_> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let mut child = self.run(&format!("sleep 0.2; cat {} > /dev/null", files.join(" ")));
        assert!(child.wait().expect("it ends").success());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..100 {
            let _ = fs::remove_dir(&self.path);
            if fs::remove_dir(&self.pod).is_ok() || !self.pod.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

//! The host that they run on: one agent, a cgroup for each, and the verbs of the command line.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::check;

/// For what is sure to come, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(50);
/// So many lines of a log are shown when something fails.
const LAST: usize = 30;
/// Where the workloads' cgroups are.
const SHOP: &str = "/sys/fs/cgroup/shop";

/// An agent with its store and log, and what it watches.
pub(crate) struct Host {
    dir: TempDir,
    agent: Option<Child>,
    /// Logs of the agents so far.
    agents: usize,
}

/// A program in the cgroup of its workload.
pub(crate) struct Running {
    child: Child,
    name: &'static str,
}

impl Host {
    /// Starts the agent.
    pub(crate) fn begin() -> Result<Self, Failed> {
        fs::create_dir_all(SHOP)?;
        let mut host = Self {
            dir: TempDir::new()?,
            agent: None,
            agents: 0,
        };
        host.start_agent()?;
        Ok(host)
    }

    /// A path below the host's own directory.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn log_file(&self) -> PathBuf {
        self.join(&format!("log-{}", self.agents))
    }

    /// What the agent of now has logged.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// What the workloads have printed, and the agent last.
    pub(crate) fn output(&self) -> String {
        let logs = ["nginx", "redis", "postgresql", "runc"].map(|name| {
            let log = fs::read(self.join(&format!("{name}.log"))).unwrap_or_default();
            format!("{name}: {}\n", String::from_utf8_lossy(&log))
        });
        let agent = self.log();
        let said: Vec<&str> = agent.lines().filter(|l| !l.contains(" DEBUG ")).collect();
        let last = said[said.len().saturating_sub(LAST)..].join("\n");
        format!("{}agent: {last}\n", logs.concat())
    }

    /// Starts an agent on the same store.
    pub(crate) fn start_agent(&mut self) -> Result<(), Failed> {
        self.agents += 1;
        let config = self.join("agent.yaml");
        fs::write(
            &config,
            "watch: {containers: true, cgroups: ['/shop/*']}\nflush: 500ms\n",
        )?;
        let log = File::create(self.log_file())?;
        let child = self
            .command(&["-v", "agent", "--config"])
            .arg(&config)
            .stderr(log)
            .spawn()?;
        self.agent = Some(child);
        self.wait("the agent to watch", || self.log().contains(" watching"))
    }

    /// `kill -9`.
    pub(crate) fn kill_agent(&mut self) -> Result<(), Failed> {
        let mut agent = self.agent.take().ok_or("no agent")?;
        agent.kill()?;
        agent.wait()?;
        Ok(())
    }

    /// Does something while the agent does nothing, so that it decides nothing by the first of several denials.
    pub(crate) fn halted(&self, act: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
        let agent = self.agent.as_ref().ok_or("no agent")?;
        signal(agent, Signal::STOP)?;
        let done = act();
        signal(agent, Signal::CONT)?;
        done
    }

    /// SIGTERM, and what it left enforced is let be.
    pub(crate) fn end(mut self) -> Result<(), Failed> {
        let mut agent = self.agent.take().ok_or("no agent")?;
        signal(&agent, Signal::TERM)?;
        check(agent.wait()?.success(), || self.log())?;
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(crate::learner());
        command
            .env("LEARNER_STORE", self.join("store"))
            .env("LEARNER_SOCKET", self.join("agent.sock"))
            .env("NO_COLOR", "1")
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// What `learner` says to these arguments.
    pub(crate) fn learner(&self, args: &[&str]) -> Result<Output, Failed> {
        Ok(self.command(args).output()?)
    }

    /// Starts a program in the workload's cgroup: it is the first that is executed there.
    pub(crate) fn start(&self, name: &'static str, program: &[&str]) -> Result<Running, Failed> {
        let group = Path::new(SHOP).join(name);
        if !group.is_dir() {
            fs::create_dir(&group)?;
            let watched = format!("cgroup=/shop/{name}");
            self.wait("the cgroup to be watched", || {
                self.log().contains("watched from now on") && self.log().contains(&watched)
            })?;
        }
        let log = File::create(self.join(&format!("{name}.log")))?;
        let mut command = inside(&group, program);
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Running { child, name })
    }

    /// Runs a shell line in the workload's cgroup, as somebody who comes in: what the shell does by itself is
    /// let be as a runtime's doing, and what it executes is judged.
    pub(crate) fn intrude(&self, name: &str, line: &str) -> Result<Output, Failed> {
        let group = Path::new(SHOP).join(name);
        let enter = format!("echo $$ > {}/cgroup.procs; {line}", group.display());
        Ok(Command::new("/bin/sh").args(["-c", &enter]).output()?)
    }

    /// Waits for something that comes.
    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failed> {
        let begun = Instant::now();
        while !is_so() {
            check(begun.elapsed() < PATIENCE, || {
                format!("waited in vain for {what}")
            })?;
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The rows about it that a verb gives as JSON.
    fn rows(&self, verb: &str, name: &str) -> Result<Vec<Value>, Failed> {
        let said = self.learner(&[verb, "-f", "json"])?;
        let rows: Value = serde_json::from_slice(&said.stdout)?;
        let rows = rows.as_array().ok_or("no rows")?.iter();
        let is_its = |row: &&Value| row["workload"].as_str().is_some_and(|of| of.contains(name));
        Ok(rows.filter(is_its).cloned().collect())
    }

    /// How many whole runs of it are stored.
    fn runs(&self, name: &str) -> Result<u64, Failed> {
        let rows = self.rows("runs", name)?;
        let number = |row: &Value, key: &str| row[key].as_u64().unwrap_or(0);
        let whole = |row: &Value| number(row, "runs") - number(row, "partial");
        Ok(rows.first().map_or(0, whole))
    }

    /// Waits until the run that has just ended is stored as ended.
    pub(crate) fn stored(&self, running: &Running, ends: usize) -> Result<(), Failed> {
        let name = running.name;
        self.wait("the end of the run", || self.ends(name) >= ends)
    }

    /// Ends of runs that the agent of now has told.
    pub(crate) fn ends(&self, name: &str) -> usize {
        let log = self.log();
        log.lines()
            .filter(|line| line.contains("a run has ended") && line.contains(name))
            .count()
    }

    /// Where it stands, by `learner status`.
    pub(crate) fn status(&self, name: &str) -> Result<Value, Failed> {
        let row = self.rows("status", name)?.into_iter().next();
        Ok(row.ok_or("it has no status")?)
    }

    /// The open alerts, by `learner alerts`.
    pub(crate) fn alerts(&self, name: &str) -> Result<Vec<Value>, Failed> {
        self.rows("alerts", name)
    }

    /// `learner promote` for it alone; its line.
    pub(crate) fn promote(&self, name: &str, more: &[&str]) -> Result<String, Failed> {
        let said = self.learner(&[&["promote"], more].concat())?;
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        let line = out.lines().find(|line| line.contains(name));
        println!("real: promote: {}", line.unwrap_or("nothing"));
        let errors = || String::from_utf8_lossy(&said.stderr).into_owned();
        Ok(line.map_or_else(|| format!("no verdict: {out}{}", errors()), str::to_owned))
    }

    /// From learning to block: `runs` whole runs to learn from, and one under audit.
    pub(crate) fn carry(
        &self,
        name: &'static str,
        runs: usize,
        more: &[&str],
        canary: &str,
        run: impl Fn(&Self) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        for _ in 0..runs {
            run(self)?;
        }
        let said = self.promote(name, more)?;
        check(said.contains("promoted: learning -> audit"), || said)?;
        run(self)?;
        let all = runs + 1;
        let gate = ["--window", "1s", "--canary", canary, "--min-runs"];
        let wanted = all.to_string();
        let gate = [&gate[..], &[&wanted], more].concat();
        let said = self.promote(name, &gate)?;
        let open = || -> String {
            let alerts = self.alerts(name).unwrap_or_default();
            alerts.iter().map(|alert| format!("\n{alert}")).collect()
        };
        check(said.contains("promoted: audit -> block"), || {
            format!("{said}{}", open())
        })?;
        check(self.runs(name)? >= all as u64, || "a run is partial".into())
    }

    /// Whether its policy is in force somewhere, by `learner status`.
    pub(crate) fn is_enforced(&self, name: &str) -> bool {
        let cgroups = |row: Value| row["enforced"]["cgroups"].as_u64();
        self.status(name).ok().and_then(cgroups) > Some(0)
    }

    /// Waits until the agent has said so many times that the workload is held. One that is started again in the
    /// same cgroup has been held all the time, and it is not said again.
    pub(crate) fn held(&self, name: &str, times: usize) -> Result<(), Failed> {
        self.wait("the policy to be in force", || {
            let log = self.log();
            let says =
                |line: &&str| line.contains("is enforced from now on") && line.contains(name);
            log.lines().filter(says).count() >= times
        })
    }
}

impl Running {
    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failed> {
        self::signal(&self.child, signal)
    }

    /// Sends a signal, and waits until it has ended and its run is stored.
    pub(crate) fn stop(mut self, host: &Host, signal: Signal) -> Result<(), Failed> {
        let before = host.ends(self.name);
        self.signal(signal)?;
        let status = self.child.wait()?;
        check(status.success(), || {
            let log = fs::read(host.join(&format!("{}.log", self.name))).unwrap_or_default();
            format!("{}: {status}: {}", self.name, String::from_utf8_lossy(&log))
        })?;
        host.stored(&self, before + 1)?;
        println!("real: {}: a run has ended", self.name);
        Ok(())
    }

    /// The processes that it has started and not lost.
    pub(crate) fn children(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let pids = children.split_whitespace().map(str::parse);
        pids.filter_map(Result::ok).collect()
    }

    /// Whether it has not ended.
    pub(crate) fn goes_on(&mut self) -> Result<bool, Failed> {
        Ok(self.child.try_wait()?.is_none())
    }
}

fn signal(child: &Child, signal: Signal) -> Result<(), Failed> {
    let pid = Pid::from_raw(child.id() as i32).ok_or("no pid")?;
    Ok(kill_process(pid, signal)?)
}

/// A command that is the first to be executed in a cgroup.
fn inside(group: &Path, program: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "echo $$ > \"$0\"; exec \"$@\""])
        .arg(group.join("cgroup.procs"))
        .args(program)
        .process_group(0)
        .stdin(Stdio::null());
    command
}

/// What a program says, if it succeeds.
pub(crate) fn said(program: &[&str]) -> Option<String> {
    let output = Command::new(program[0]).args(&program[1..]).output().ok()?;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(out)
}

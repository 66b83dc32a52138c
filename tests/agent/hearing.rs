//! KubeArmor's alerts, as the agent hears them all the time.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use learner::kernel::cgroup;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::server::{Manner, Server, Tale};
use crate::world::{Agent, World, free_port, inside, wait_for, world};

static NUMBERS: AtomicUsize = AtomicUsize::new(0);

/// The cgroup of a container of Docker.
struct Container {
    id: String,
    path: PathBuf,
}

impl Container {
    fn new() -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        // The first twelve digits tell containers apart.
        let id = format!("{:08x}{number:04x}{:052x}", std::process::id(), 0xfeed_u32);
        let own = cgroup::of_process(std::process::id()).expect("cgroup v2");
        let path = own.join(format!("docker-{id}.scope"));
        fs::create_dir_all(&path).expect("a cgroup");
        Self { id, path }
    }

    /// What KubeArmor tells of it now.
    fn tale(&self, path: &'static str) -> Tale {
        Tale {
            container_id: self.id.clone(),
            at: jiff::Timestamp::now().to_string(),
            program: "/usr/bin/sleep",
            path,
            tty: "",
            ..Tale::default()
        }
    }

    /// Something that goes on in it.
    fn sleeps(&self) -> Child {
        let script = "exec sleep 1000";
        inside(&self.path, script).spawn().expect("a workload")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A relay on a thread of its own; it goes away with it.
struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn at(port: u16, manners: &'static [Manner], tale: Tale) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (told, is_there) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let address = format!("127.0.0.1:{port}");
                let _server = Server::at(&address, manners, tale).await;
                told.send(()).expect("it is waited for");
                let _ = stopped.await;
            });
        });
        is_there.recv().expect("it serves");
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// An agent that hears what is at a port, with the port of its metrics.
struct Hearer<'w> {
    world: &'w World,
    agent: Agent,
    metrics: u16,
    relay: u16,
}

impl<'w> Hearer<'w> {
    fn new(world: &'w World) -> Self {
        let (metrics, relay) = (free_port(), free_port());
        let config = format!(
            "flush: 200ms\nlog_format: json\nmetrics: 127.0.0.1:{metrics}\nwatch: {{containers: true}}\n\
             kubearmor: {{grpc: '127.0.0.1:{relay}'}}\n"
        );
        let agent = world.agent(&config);
        Self {
            world,
            agent,
            metrics,
            relay,
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    /// The value of a metric about KubeArmor.
    fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics");
        let name = format!("learner_kubearmor_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
            .parse()
            .expect("a number")
    }

    /// The container is under audit by what it did in a run of its own.
    fn under_audit(&self, container: &Container) -> Child {
        let mut child = container.sleeps();
        wait_for("a run", || {
            let said = self.world.says(&["runs"]);
            String::from_utf8_lossy(&said.stdout).contains(&container.id[..12])
        });
        child.kill().expect("killed");
        child.wait().expect("gone");
        wait_for("audit", || {
            let said = self.promote(&[]);
            said.contains("promoted: learning -> audit") || said.contains("held in audit")
        });
        container.sleeps()
    }

    fn promote(&self, more: &[&str]) -> String {
        let args = ["promote", "--enforcer", "bpf"];
        let said = self.world.says(&[&args[..], more].concat());
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// The alerts about a path.
    fn alerts(&self, path: &str) -> Vec<Value> {
        let said = self.world.says(&["alerts", "-f", "json"]);
        let all: Vec<Value> = serde_json::from_slice(&said.stdout).expect("JSON");
        all.into_iter().filter(|one| one["path"] == path).collect()
    }
}

fn is_soon(what: &str, begun: Instant, most: Duration) {
    let took = begun.elapsed();
    assert!(took < most, "{what} took {took:?}");
}

#[test]
fn what_kubearmor_tells_is_an_alert_of_the_run_and_time_without_it_does_not_count() {
    let Some(world) = world("heard") else { return };
    let hearer = Hearer::new(&world);
    let container = Container::new();
    let mut child = hearer.under_audit(&container);
    // Nobody is there yet.
    let health = hearer.get("/health");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(
        health.contains("KubeArmor's alerts are not heard: "),
        "{health}"
    );
    assert_eq!(hearer.metric("connected"), 0);
    let unheard = "KubeArmor's alerts could not be heard from ";
    wait_for("the time to be kept", || {
        hearer.promote(&["--dry-run"]).contains(unheard)
    });

    // A stranger's alert is nobody's here.
    let tale = container.tale("/etc/audited");
    let serving = Serving::at(hearer.relay, &[Manner::OnlyAlerts], tale);
    wait_for("the alert", || !hearer.alerts("/etc/audited").is_empty());
    assert_eq!(hearer.metric("connected"), 1);
    assert_eq!(hearer.metric("alerts_total"), 1);
    assert!(!hearer.get("/health").contains("not heard"));
    let [alert] = &hearer.alerts("/etc/audited")[..] else {
        panic!("one alert");
    };
    // As if it was seen here: of the run that goes on.
    let runs = alert["runs"].as_array().expect("runs");
    assert!(
        matches!(&runs[..], [run] if run.as_str().is_some_and(|run| run.starts_with(&container.id[..12]))),
        "{alert}"
    );
    assert!(hearer.promote(&[]).contains("1 alert since"));

    // It goes away, and another one comes that says that alerts are dropped.
    drop(serving);
    wait_for("it to be missed", || hearer.metric("connected") == 0);
    let refused = Tale {
        end: ("Block", "Permission denied"),
        ..container.tale("/etc/refused")
    };
    let serving = Serving::at(hearer.relay, &[Manner::Throttled], refused);
    wait_for("it to be heard again", || {
        hearer.metric("throttled_total") == 1
    });
    let dropped = "KubeArmor dropped alerts from ";
    wait_for("that to be kept", || {
        hearer.promote(&["--dry-run"]).contains(dropped)
    });
    drop(serving);
    let serving = Serving::at(
        hearer.relay,
        &[Manner::Unreadable],
        container.tale("/etc/x"),
    );
    wait_for("what says nothing", || {
        hearer.metric("malformed_messages_total") == 1
    });
    drop(serving);
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(hearer.agent.stop().success());
}

#[test]
fn a_relay_that_breaks_in_any_way_is_connected_to_again_and_that_time_does_not_count() {
    let Some(world) = world("breaks") else { return };
    let hearer = Hearer::new(&world);
    let container = Container::new();
    let mut child = hearer.under_audit(&container);
    let tale = container.tale("/etc/audited");
    let manners = &[
        Manner::Garbage,
        Manner::Drops,
        Manner::Malformed,
        Manner::Slow,
    ];
    let serving = Serving::at(hearer.relay, manners, tale);
    // One before the connection is dropped, and four slow ones.
    wait_for("all alerts", || hearer.metric("alerts_total") == 5);
    assert_eq!(hearer.metric("connected"), 1);
    wait_for("the count", || {
        let alerts = hearer.alerts("/etc/audited");
        matches!(&alerts[..], [alert] if alert["count"] == 5)
    });
    let unheard = "KubeArmor's alerts could not be heard from ";
    let said = hearer.promote(&["--window", "1000h"]);
    assert!(said.contains(unheard), "{said}");
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(hearer.agent.stop().success());
    drop(serving);
}

#[test]
fn an_endless_relay_fills_nothing_and_does_not_keep_the_agent_from_its_end() {
    let Some(world) = world("endless") else {
        return;
    };
    let hearer = Hearer::new(&world);
    let container = Container::new();
    let mut child = hearer.under_audit(&container);
    let tale = container.tale("/etc/audited");
    let serving = Serving::at(hearer.relay, &[Manner::Endless], tale);
    wait_for("many alerts", || hearer.metric("alerts_total") > 5_000);
    // The kernel is read all the while.
    let other = Container::new();
    let script = "cat /etc/hostname > /dev/null; sleep 0.5";
    let status = inside(&other.path, script).status().expect("a workload");
    assert!(status.success());
    wait_for("the other run", || {
        let said = world.says(&["runs"]);
        String::from_utf8_lossy(&said.stdout).contains(&other.id[..12])
    });
    wait_for("the alert", || !hearer.alerts("/etc/audited").is_empty());
    assert!(hearer.promote(&[]).contains("1 alert since"));
    let begun = Instant::now();
    assert!(hearer.agent.stop().success());
    is_soon("the end", begun, Duration::from_secs(2));
    child.kill().expect("killed");
    child.wait().expect("gone");
    drop(serving);
}

#[test]
fn an_agent_whose_relay_is_not_there_ends_as_soon() {
    let Some(world) = world("nobody") else { return };
    let hearer = Hearer::new(&world);
    wait_for("nobody to be there", || {
        hearer.get("/health").contains("not heard")
    });
    let begun = Instant::now();
    assert!(hearer.agent.stop().success());
    is_soon("the end", begun, Duration::from_secs(2));
    let file = world.join("agent.yaml");
    fs::write(
        &file,
        "kubearmor: {secure: true, tls_cert_path: /nowhere}\n",
    )
    .expect("written");
    let said = world.says(&["agent", "--config", file.to_str().expect("text")]);
    assert_eq!(said.status.code(), Some(2));
    let error = String::from_utf8_lossy(&said.stderr);
    assert!(error.contains("/nowhere/ca.crt: reading failed"), "{error}");
    assert!(Path::new(&file).exists());
}

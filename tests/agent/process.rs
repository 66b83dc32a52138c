//! The agent as a process: configuration, signals, socket, metrics.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::world::{free_port, inside, wait_for, world};

#[test]
fn an_unknown_key_is_refused_with_the_nearest_and_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("agent.yaml");
    fs::write(&file, "watch:\n  contaners: true\n").expect("a file");
    let output = std::process::Command::new(crate::world::LEARNER)
        .args(["agent", "--check", "--config"])
        .arg(&file)
        .output()
        .expect("learner runs");
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = "agent.yaml: 'watch.contaners' is not known; did you mean 'watch.containers'?";
    assert!(err.contains(said), "{err}");
}

#[test]
fn the_example_configuration_is_understood() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/agent.yaml");
    let text = fs::read_to_string(example).expect("an example");
    let config = learner::agent::config::Config::parse(&text).expect("valid");
    let plain = learner::agent::config::Config::default();
    assert_eq!(config, plain, "the example is the default, spelled out");
    let example = text
        .lines()
        .skip_while(|line| *line != "#   promote:")
        .map_while(|line| line.strip_prefix("#   "));
    let example = example.collect::<Vec<_>>().join("\n");
    let told = learner::agent::config::Config::parse(&example).expect("valid");
    let promote = learner::agent::promote::Promote::default();
    assert_eq!(told.promote.as_ref(), Some(&promote), "{example}");
    let keys = serde_json::to_value(&promote).expect("JSON");
    for key in keys.as_object().expect("an object").keys() {
        assert!(
            example.contains(&format!("\n  {key}: ")),
            "{key}: {example}"
        );
    }
    let example = text
        .lines()
        .skip_while(|line| *line != "#   cluster:")
        .map_while(|line| line.strip_prefix("#   "));
    let example = example.collect::<Vec<_>>().join("\n");
    let told = learner::agent::config::Config::parse(&example).expect("valid");
    let node = learner::agent::node::Node::default();
    assert_eq!(told.cluster.as_ref(), Some(&node), "{example}");
    let all = serde_json::to_value(&plain).expect("JSON");
    for key in all.as_object().expect("an object").keys() {
        assert!(
            text.contains(&format!("\n{key}:")),
            "{key} is not documented"
        );
    }
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() {
    let Some(world) = world("second") else { return };
    let mut first = world.agent("");
    let output = world
        .learner(&["--store", "another", "agent", "--config"])
        .arg(world.join("agent.yaml"))
        .output()
        .expect("learner runs");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("another agent listens there"), "{err}");
    assert!(first.is_there() && world.socket().exists());
    assert!(first.stop().success());
}

#[test]
fn at_sighup_the_configuration_is_read_again_and_a_bad_one_changes_nothing() {
    let Some(world) = world("reload") else { return };
    let agent = world.agent("watch: {containers: false}");
    let group = world.group();
    assert!(
        inside(group.path(), "true")
            .status()
            .expect("runs")
            .success()
    );
    fs::write(world.join("agent.yaml"), "flsh: 1s\n").expect("a file");
    agent.signal(Signal::HUP);
    wait_for("the bad one", || {
        agent.log().contains("did you mean 'flush'?")
    });
    let name = group
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let config = format!("watch: {{containers: false, cgroups: ['/**/{name}']}}\n");
    fs::write(world.join("agent.yaml"), config).expect("a file");
    agent.signal(Signal::HUP);
    wait_for("the good one", || agent.log().contains("was read again"));
    assert!(
        inside(group.path(), "true")
            .status()
            .expect("runs")
            .success()
    );
    wait_for("the run", || agent.log().contains("a run has ended"));
    assert!(agent.stop().success());
    assert_eq!(world.stored().len(), 1);
}

#[test]
fn systemd_is_told_when_it_is_ready_alive_and_ending() {
    let Some(world) = world("notify") else { return };
    let path = world.join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    systemd
        .set_read_timeout(Some(std::time::Duration::from_secs(300)))
        .expect("a limit");
    fs::write(
        world.join("agent.yaml"),
        "watch: {containers: false}\nlog_format: json\n",
    )
    .expect("a file");
    let mut child = world
        .learner(&["agent", "--config"])
        .arg(world.join("agent.yaml"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .stderr(fs::File::create(world.join("log")).expect("a log"))
        .spawn()
        .expect("an agent");
    let hear = || {
        let mut buffer = [0; 256];
        let length = systemd.recv(&mut buffer).expect("is told");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!(hear(), "WATCHDOG=1");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM)
        .expect("signalled");
    while hear() != "STOPPING=1" {}
    assert!(child.wait().expect("ends").success());
    let log = fs::read_to_string(world.join("log")).expect("a log");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is an object");
        assert!(
            line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
}

#[test]
fn metrics_and_health_are_served_on_loopback() {
    let Some(world) = world("metrics") else {
        return;
    };
    let port = free_port();
    let agent = world.agent(&format!("metrics: 127.0.0.1:{port}\nflush: 200ms\n"));
    let get = |request: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    };
    let health = get("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.ends_with("ok\n"),
        "{health}"
    );
    assert!(get("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(get("GET / HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 404"));
    let group = world.group();
    let mut child = inside(group.path(), "while :; do sleep 0.05; done")
        .spawn()
        .expect("runs");
    let name = group
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let of_it = format!("learner_behaviors{{workload=\"host/Cgroup/{name}/{name}\"");
    let metrics = || get("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the run in the metrics", || metrics().contains(&of_it));
    let text = metrics();
    assert!(text.contains("\nlearner_watched_workloads 1\n"), "{text}");
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(agent.stop().success());
}

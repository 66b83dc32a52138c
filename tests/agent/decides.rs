//! What the agent judges and decides by itself.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use jiff::Timestamp;
use learner::observation::Moment;
use learner::posture::Posture;
use learner::promotion::quiet;
use learner::store::Store;
use serde_json::Value;

use crate::world::{Agent, World, free_port, inside, wait_for, world};

/// Executes a script as a run of its own, and waits until it is stored.
fn run(agent: &Agent, group: &Path, script: &str) {
    let before = agent.log().matches("a run has ended").count();
    let status = inside(group, script).status().expect("a workload");
    assert!(status.success());
    wait_for("the run to end", || {
        agent.log().matches("a run has ended").count() > before
    });
}

/// Runs that a candidate is frozen from, and the freeze.
fn frozen(world: &World, agent: &Agent, group: &Path, script: &str) {
    run(agent, group, script);
    wait_for("audit", || {
        let said = world.says(&["promote", "--enforcer", "bpf"]);
        String::from_utf8_lossy(&said.stdout).contains("promoted: learning -> audit")
    });
}

/// The log's events with this message. The last line may be half there.
fn events(agent: &Agent, message: &str) -> Vec<Value> {
    let log = agent.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|event: &Value| event["message"] == message)
        .collect()
}

fn json(world: &World, args: &[&str]) -> Vec<Value> {
    let said = world.says(args);
    serde_json::from_slice(&said.stdout).expect("JSON")
}

fn posture(world: &World) -> String {
    let all = json(world, &["status", "-f", "json"]);
    all[0]["posture"].as_str().expect("a posture").to_owned()
}

#[test]
fn an_alert_is_in_the_log_once_as_soon_as_it_is_stored_and_learner_alerts_has_it() {
    let Some(world) = world("alerted") else {
        return;
    };
    let agent = world.agent("flush: 200ms\nlog_format: json");
    let group = world.group();
    let (known, new) = (world.file("known"), world.file("a\nnew\u{1b}[2J"));
    let read = |files: &[&Path]| {
        let files: Vec<String> = files.iter().map(|f| format!("'{}'", f.display())).collect();
        format!("cat {} > /dev/null", files.join(" "))
    };
    frozen(&world, &agent, group.path(), &read(&[&known]));
    run(&agent, group.path(), &read(&[&known]));
    assert_eq!(events(&agent, "an alert"), [] as [Value; 0]);
    // It goes on: it is said while it does.
    let script = format!("{}; exec sleep 1000", read(&[&known, &new]));
    let mut child = inside(group.path(), &script).spawn().expect("a workload");
    let of_new = |event: &&Value| event["path"].as_str().is_some_and(|p| p.contains("new"));
    wait_for("the alert", || {
        events(&agent, "an alert")
            .iter()
            .any(|event| of_new(&event))
    });
    child.kill().expect("killed");
    child.wait().expect("gone");
    run(&agent, group.path(), &read(&[&known, &new]));
    run(&agent, group.path(), &read(&[&new]));
    let alerts = json(&world, &["alerts", "-f", "json"]);
    wait_for("all of them", || {
        events(&agent, "an alert").len() == alerts.len()
    });
    let said = events(&agent, "an alert");
    let ids = |all: &[Value], key: &str| -> BTreeSet<String> {
        all.iter()
            .map(|one| one[key].as_str().expect("an id").to_owned())
            .collect()
    };
    assert_eq!(ids(&said, "alert"), ids(&alerts, "id"));
    let [one] = &said.iter().filter(of_new).collect::<Vec<_>>()[..] else {
        panic!("{said:#?}");
    };
    assert_eq!(
        one["path"],
        format!("{}/a\\nnew\\u{{1b}}[2J", world.path().display())
    );
    assert_eq!((&one["op"], &one["access"]), (&"open".into(), &"r".into()));
    assert_eq!(
        (&one["by"], &one["result"]),
        (&"workload".into(), &"done".into())
    );
    assert_eq!(
        (&one["posture"], &one["level"]),
        (&"audit".into(), &"WARN".into())
    );
    assert!(
        one["source"].as_str().is_some_and(|s| s.ends_with("cat")),
        "{one}"
    );
    assert!(
        one["why"]
            .as_str()
            .is_some_and(|why| why.contains("no rule")),
        "{one}"
    );
    assert!(
        one["workload"]
            .as_str()
            .is_some_and(|w| w.starts_with("host/Cgroup/"))
    );
    assert!(one["run"].is_string());
    assert!(agent.stop().success());

    // The next agent does not say them again, only that they are open.
    let agent = world.agent("flush: 200ms\nlog_format: json");
    let before = "alerts are open from before; learner alerts shows them";
    wait_for("what was open", || !events(&agent, before).is_empty());
    run(&agent, group.path(), &read(&[&known, &new]));
    assert_eq!(events(&agent, before)[0]["open"], alerts.len());
    assert_eq!(events(&agent, "an alert"), [] as [Value; 0]);
    assert!(agent.stop().success());
}

/// To block, by the job.
fn promoted(world: &World) {
    let gate = ["--window", "0s", "--min-runs", "1"];
    let said = world.says(&[&["promote", "--enforcer", "bpf"][..], &gate].concat());
    assert!(said.status.success(), "{said:?}");
}

#[test]
fn a_denial_in_the_canary_takes_a_workload_back_at_once_and_after_never_does_not() {
    let Some(world) = world("canary") else { return };
    let agent = world.agent("flush: 200ms\nlog_format: json\nrollback: never");
    let group = world.group();
    let (known, new) = (world.file("known"), world.file("new"));
    let known = format!("cat {} > /dev/null", known.display());
    let script = format!("{known}; cat {} > /dev/null", new.display());
    frozen(&world, &agent, group.path(), &known);
    run(&agent, group.path(), &known);
    promoted(&world);
    assert_eq!(posture(&world), "block");
    run(&agent, group.path(), &known);
    assert_eq!(posture(&world), "block");
    run(&agent, group.path(), &script);
    wait_for("the alert", || !events(&agent, "an alert").is_empty());
    assert_eq!(posture(&world), "block");
    assert!(agent.stop().success());

    // It is looked at when an agent begins, too.
    let agent = world.agent("flush: 200ms\nlog_format: json");
    wait_for("audit", || posture(&world) == "audit");
    let journal = json(&world, &["journal", "-f", "json"]);
    let last = journal.last().expect("an entry");
    assert_eq!(last["actor"]["by"], "agent");
    assert_eq!(last["cause"]["cause"], "rolled-back");
    assert_eq!(last["cause"]["reason"]["reason"], "denial");
    assert!(world.says(&["journal", "--verify"]).status.success());
    wait_for("the log", || !events(&agent, "decided").is_empty());
    assert_eq!(events(&agent, "decided")[0]["verdict"], "rolled-back");

    // A person accepts it, and it is promoted again; what is new then is taken back at once.
    let ids: Vec<String> = json(&world, &["alerts", "-f", "json"])
        .iter()
        .map(|alert| alert["id"].as_str().expect("an id").to_owned())
        .collect();
    let args = [
        &["accept"][..],
        &ids.iter().map(String::as_str).collect::<Vec<_>>(),
    ]
    .concat();
    let said = world.says(&args);
    assert!(said.status.success(), "{said:?}");
    run(&agent, group.path(), &script);
    promoted(&world);
    let script = format!(
        "cat {} > /dev/null; exec sleep 1000",
        world.file("newer").display()
    );
    let mut child = inside(group.path(), &script).spawn().expect("a workload");
    wait_for("audit", || posture(&world) == "audit");
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(agent.stop().success());
}

#[test]
fn an_agent_that_is_told_to_promotes_by_itself_and_says_what_holds_once() {
    let Some(world) = world("promotes") else {
        return;
    };
    let port = free_port();
    let agent = world.agent(&format!(
        "flush: 200ms\nlog_format: json\nmetrics: 127.0.0.1:{port}\n\
         promote: {{enforcer: bpf, every: 200ms, window: 0s, min_runs: 3, canary: 0s}}"
    ));
    let group = world.group();
    let known = format!("cat {} > /dev/null", world.file("known").display());
    run(&agent, group.path(), &known);
    wait_for("audit", || posture(&world) == "audit");
    let too_few = |event: &Value| {
        event["why"]
            .as_str()
            .is_some_and(|why| why.contains("1 of 3 whole runs"))
    };
    wait_for("what holds it", || {
        events(&agent, "held").iter().any(too_few)
    });
    run(&agent, group.path(), &known);
    assert_eq!(posture(&world), "audit");
    run(&agent, group.path(), &known);
    wait_for("block", || posture(&world) == "block");
    let held = events(&agent, "held");
    assert_eq!(
        held.iter().filter(|event| too_few(event)).count(),
        1,
        "{held:#?}"
    );
    let journal = json(&world, &["journal", "-f", "json"]);
    let moves: Vec<_> = journal
        .iter()
        .map(|entry| (&entry["actor"]["by"], &entry["to"]))
        .collect();
    let agent_to = |to| (Value::from("agent"), Value::from(to));
    let wanted = [agent_to("audit"), agent_to("block")];
    assert_eq!(moves, wanted.each_ref().map(|(by, to)| (by, to)));

    let metrics = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    };
    let is_block =
        |line: &str| line.starts_with("learner_posture{") && line.ends_with("posture=\"block\"} 1");
    wait_for("the posture", || metrics().lines().any(is_block));
    let decided = "learner_decisions_total{actor=\"agent\",verdict=\"promoted\"} 2";
    wait_for("the decisions", || {
        metrics().lines().any(|line| line == decided)
    });
    assert!(
        metrics().contains("learner_wanted_quiet_seconds{"),
        "{}",
        metrics()
    );
    assert!(agent.stop().success());
}

#[test]
fn time_without_an_agent_is_no_quiet_time_and_a_run_that_goes_on_counts_to_its_last_event() {
    let Some(world) = world("restarted") else {
        return;
    };
    let config = "flush: 200ms";
    let now = || Moment(Timestamp::now().as_microsecond());
    let agent = world.agent(config);
    let group = world.group();
    let (known, sign) = (world.file("known"), world.join("sign"));
    // What is there before the freeze is what the agent finds open later on.
    let script = format!(
        "exec 5< {0}; while [ ! -e {1} ]; do cat {0} > /dev/null; sleep 0.05; done",
        known.display(),
        sign.display()
    );
    fs::write(&sign, "").expect("a sign");
    run(
        &agent,
        group.path(),
        &format!("{script}; cat {} > /dev/null; sleep 0.05", known.display()),
    );
    fs::remove_file(&sign).expect("no sign");
    let mut child = inside(group.path(), &script).spawn().expect("a workload");
    wait_for("audit", || {
        let _ = world.says(&["promote", "--enforcer", "bpf"]);
        posture(&world) == "audit"
    });
    let quiet_now = || json(&world, &["status", "-f", "json"])[0]["figures"]["quiet"].as_u64();
    wait_for("quiet time", || quiet_now() > Some(0));
    agent.kill();
    let gap_from = now();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let gap_to = now();
    let agent = world.agent(config);
    wait_for("the run that goes on", || {
        let runs = json(&world, &["runs", "-f", "json"]);
        runs.iter().any(|row| row["partial"].as_u64() > Some(0))
    });
    fs::write(&sign, "").expect("a sign");
    assert!(child.wait().expect("ends").success());
    wait_for("its end", || agent.log().contains("a run has ended"));
    assert!(agent.stop().success());

    let store = Store::open(&world.join("store")).expect("the store opens");
    let ledger = store.ledger().expect("a ledger");
    let (revision, standing) = ledger.iter().next().expect("a standing");
    assert_eq!(standing.posture(), Posture::Audit);
    let from = standing.freeze().expect("a freeze").window_from;
    let evidence = store.load(|key| revision.has(key)).expect("whole");
    let runs: Vec<_> = evidence.runs().iter().collect();
    assert_eq!(
        runs.iter().filter(|(_, run)| run.late).count(),
        1,
        "{runs:#?}"
    );
    let watched = quiet(&runs, from, now());
    let in_gap = quiet(&runs, gap_from, gap_to);
    assert_eq!(in_gap.spans.total(), std::time::Duration::ZERO);
    let micros = |a: Moment, b: Moment| u128::try_from(b.0 - a.0).expect("later");
    let total = watched.spans.total().as_micros();
    assert!(total > 0 && total + micros(gap_from, gap_to) <= micros(from, now()));
    // The run that was cut off has no end: it counts to the last that was seen of it, and no further.
    let cut: Vec<_> = runs
        .iter()
        .filter(|(_, run)| run.stop.is_none())
        .copied()
        .collect();
    let [(_, run)] = &cut[..] else {
        panic!("{runs:#?}");
    };
    let last = run.seen.values().map(|seen| seen.last).max();
    let last = last.expect("events");
    assert!(last <= gap_from);
    assert_eq!(
        quiet(&cut, last, now()).spans.total(),
        std::time::Duration::ZERO
    );
}

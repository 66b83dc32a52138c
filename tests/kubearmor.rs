//! KubeArmor's own alerts and telemetry, from the command line.

#[path = "../learner/tests/relay/server.rs"]
#[expect(
    dead_code,
    reason = "how else a server can behave is for the library's own test"
)]
mod server;
mod world;

use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use server::{Manner, Server, Tale};
use world::{Said, World};

/// What every message about the web server says of it, as `karmor logs --json` prints it.
fn web(fields: Value) -> String {
    let mut message = json!({
        "Timestamp": 1_795_827_723, "UpdatedTime": "2026-11-28T01:02:03.123456Z", "ClusterName": "default",
        "HostName": "node-1", "NamespaceName": "shop",
        "Owner": {"Ref": "Deployment", "Name": "web", "Namespace": "shop"},
        "PodName": "web-7c5-x2", "Labels": "pod-template-hash=7c5,app=web",
        "ContainerID": "5d1f0a6be0e2a7c4", "ContainerName": "web", "ContainerImage": "web:1@sha256:1f2e",
        "HostPPID": 10, "HostPID": 11, "PPID": 1, "PID": 7, "UID": 0, "Type": "ContainerLog",
        "ParentProcessName": "/usr/bin/containerd-shim-runc-v2", "ProcessName": "/usr/sbin/nginx",
        "Source": "/usr/sbin/nginx -g daemon off;", "Cwd": "/", "Result": "Passed",
    });
    let all = message.as_object_mut().expect("an object");
    all.extend(fields.as_object().expect("an object").clone());
    format!("{message}\n")
}

fn started() -> String {
    web(json!({
        "Source": "/usr/bin/containerd-shim-runc-v2", "Operation": "Process",
        "Resource": "/usr/sbin/nginx -g daemon off;", "Data": "syscall=SYS_EXECVE",
    }))
}

fn opened(path: &str) -> String {
    web(json!({
        "Operation": "File", "Resource": path, "Data": "syscall=SYS_OPENAT fd=-100 flags=O_RDONLY|O_CLOEXEC",
    }))
}

fn alert(path: &str, action: &str, result: &str) -> String {
    web(json!({
        "Type": "MatchedPolicy", "PolicyName": "DefaultPosture", "Operation": "File", "Resource": path,
        "Data": "lsm=FILE_OPEN", "Enforcer": "BPFLSM", "Action": action, "Result": result,
    }))
}

/// A run of the web server, with alerts and with what is not recorded.
fn events() -> String {
    [
        started(),
        opened("/etc/nginx/nginx.conf"),
        opened("/srv/www/index.html"),
        alert("/etc/audited", "Audit", "Passed"),
        alert("/etc/denied", "Block", "Permission denied"),
        web(json!({"Operation": "Network", "Resource": "domain=AF_INET", "Data": "syscall=SYS_SOCKET"})),
    ]
    .concat()
}

fn converted(world: &World) -> Said {
    world.learner(&["import", "--kubearmor", "-o", "-", "events.json"])
}

#[test]
fn what_kubearmor_tells_is_a_recording_that_a_policy_is_made_of() {
    let world = World::new();
    world.write("events.json", &events());
    let said = converted(&world);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(
        said.err,
        "events.json: 6 messages, 4 recorded (1 of them failed and are not learned), 1 of what is not \
         recorded (1 network)\n\
         warning: events.json: 1 were audited and done, and teach nothing: they are left out\n\
         KubeArmor's telemetry does not show all that a policy governs: its runs are partial\n"
    );
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for line in &lines {
        assert_eq!(line["run"], "web-7c5-x2/web/5d1f0a6be0e2");
        assert_eq!(line["kind"], "Deployment");
        assert_eq!(line["labels"], json!({"app": "web"}));
        assert_eq!(line["image"], "web:1@sha256:1f2e");
    }
    let mut short: Vec<String> = lines
        .iter()
        .map(|line| {
            let what = line.get("path").unwrap_or(&line["reason"]);
            format!("{} {} {}", line["op"], what, line["result"])
        })
        .collect();
    short.sort();
    assert_eq!(
        short,
        [
            r#""exec" "/usr/sbin/nginx" "ok""#,
            r#""lost" "kubearmor-audited" null"#,
            r#""lost" "kubearmor-unseen" null"#,
            r#""open" "/etc/denied" "EACCES""#,
            r#""open" "/etc/nginx/nginx.conf" "ok""#,
            r#""open" "/srv/www/index.html" "ok""#,
        ]
    );

    let policy = world.learner_reads(&["recommend", "--from", "-", "-o", "-"], &said.out);
    assert_eq!(policy.code, 0, "{}", policy.err);
    assert!(
        policy.out.contains("/etc/nginx/nginx.conf"),
        "{}",
        policy.out
    );
    for never in [
        "/etc/audited",
        "/etc/denied",
        "containerd-shim",
        "pod-template-hash",
    ] {
        assert!(!policy.out.contains(never), "{}", policy.out);
    }
    assert!(policy.err.contains("kubearmor-unseen"), "{}", policy.err);
}

#[test]
fn the_order_of_the_messages_makes_no_difference() {
    let world = World::new();
    world.write("events.json", &events());
    let there = converted(&world).out;
    let mut lines: Vec<String> = events().lines().map(|line| format!("{line}\n")).collect();
    lines.reverse();
    world.write("events.json", &lines.concat());
    assert_eq!(converted(&world).out, there);
}

/// Forty hours ago the web server was learned, as Learner itself watches it, and frozen since.
fn frozen(world: &World) {
    let run = |name: &str, hours: i64| {
        let at = jiff::Timestamp::now().as_second() - hours * 3_600;
        let at = |second| jiff::Timestamp::from_second(at + second).expect("a time");
        let line = |second: i64, fields: Value| {
            let mut line = json!({
                "run": name, "namespace": "shop", "kind": "Deployment", "workload": "web",
                "container": "web", "labels": {"app": "web"}, "image": "web:1@sha256:1f2e",
                "at": at(second).to_string(),
            });
            let all = line.as_object_mut().expect("an object");
            all.extend(fields.as_object().expect("an object").clone());
            format!("{line}\n")
        };
        [
            line(0, json!({"op": "start"})),
            line(1, json!({
                "op": "exec", "source": "/usr/bin/runc", "path": "/usr/sbin/nginx", "result": "ok",
            })),
            line(2, json!({
                "op": "open", "access": "r", "source": "/usr/sbin/nginx", "path": "/etc/nginx/nginx.conf",
                "result": "ok",
            })),
            line(3_000, json!({"op": "stop"})),
        ]
        .concat()
    };
    world.write(
        "learned.jsonl",
        &[run("a", 40), run("b", 39), run("c", 38)].concat(),
    );
    assert_eq!(world.learner(&["import", "learned.jsonl"]).code, 0);
    let promoted = world.learner(&["promote"]);
    assert!(
        promoted.out.contains("promoted: learning -> audit"),
        "{promoted:?}"
    );
}

/// The time of a message so many seconds from now.
fn soon(seconds: i64) -> Value {
    let now = jiff::Timestamp::now().as_microsecond();
    let at = jiff::Timestamp::from_microsecond(now + seconds * 1_000_000).expect("a time");
    json!({"UpdatedTime": at.to_string(), "Timestamp": at.as_second()})
}

fn at(seconds: i64, message: &str) -> String {
    let mut message: Value = serde_json::from_str(message).expect("JSON");
    let all = message.as_object_mut().expect("an object");
    all.extend(soon(seconds).as_object().expect("an object").clone());
    format!("{message}\n")
}

#[test]
fn what_kubearmor_audits_after_the_freeze_is_an_alert_that_a_person_decides_about() {
    let world = World::new();
    frozen(&world);
    // Before the freeze it would have been learned from, so it is left out.
    let text = [
        at(1, &alert("/etc/audited", "Audit", "Passed")),
        at(-7_200, &alert("/etc/before", "Audit", "Passed")),
    ];
    world.write("alerts.json", &text.concat());
    let said = world.learner(&["import", "--kubearmor", "alerts.json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err
            .contains("1 were audited and done: see 'learner alerts'"),
        "{}",
        said.err
    );
    assert!(
        said.err
            .contains("1 were audited and done, and teach nothing"),
        "{}",
        said.err
    );

    let alerts = world.learner(&["alerts", "-f", "json"]).json();
    let paths: Vec<&Value> = alerts
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| &row["path"])
        .collect();
    assert_eq!(paths, ["/etc/audited"]);
    let held = world.learner(&["promote", "--window", "0s"]);
    assert!(held.out.contains("1 alert since"), "{}", held.out);
    let policy = world.learner(&["recommend", "-o", "-"]).out;
    assert!(
        !policy.contains("/etc/audited") && !policy.contains("/etc/before"),
        "{policy}"
    );

    let id = alerts[0]["id"].as_str().expect("an id");
    let accepted = world.learner(&["accept", id]);
    assert_eq!(accepted.code, 0, "{}", accepted.err);
    assert!(
        world
            .learner(&["recommend", "-o", "-"])
            .out
            .contains("/etc/audited")
    );
}

#[test]
fn while_kubearmor_drops_alerts_the_window_does_not_count() {
    let world = World::new();
    frozen(&world);
    let dropped =
        |fields: Value| {
            at(0, &web(json!({
            "Type": "SystemEvent", "Operation": "AlertThreshold", "DroppingAlertsInterval": 30,
        })
        .as_object()
        .map(|known| {
            let mut all = known.clone();
            all.extend(fields.as_object().expect("an object").clone());
            Value::Object(all)
        })
        .expect("an object")))
        };
    world.write("alerts.json", &dropped(json!({})));
    world.write(
        "others.json",
        &dropped(json!({"NamespaceName": "elsewhere"})),
    );
    let said = |file: &str| {
        world
            .learner(&["promote", "--dry-run", "--kubearmor", file])
            .out
    };
    let missed = "alerts may have been missed 1 time (KubeArmor dropped alerts from ";
    assert!(
        said("alerts.json").contains(missed),
        "{}",
        said("alerts.json")
    );
    assert!(
        !said("others.json").contains("missed"),
        "{}",
        said("others.json")
    );
    // What could not be read may have been an alert.
    world.write("damaged.json", "{\"Type\":");
    let damaged = said("damaged.json");
    let unread = "broke off (damaged.json: 1 messages say nothing)";
    assert!(damaged.contains(unread), "{damaged}");
}

#[test]
fn telemetry_alone_never_leads_out_of_learning() {
    let world = World::new();
    world.write("events.json", &events());
    let said = world.learner(&["import", "--kubearmor", "events.json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let again = world.learner(&["import", "--kubearmor", "events.json"]);
    assert!(again.err.contains("all of them known"), "{}", again.err);
    let promoted = world.learner(&["promote"]);
    assert_eq!(promoted.code, 1);
    assert_eq!(
        promoted.out,
        "shop/Deployment/web/web: held in learning: none of 1 run was watched whole\n"
    );
}

#[test]
fn what_cannot_be_read_is_named_by_line_and_the_rest_is_imported() {
    let world = World::new();
    let mut text = events();
    text.insert_str(0, "Created a gRPC client (localhost:32767)\n");
    text.push_str(&web(json!({"Type": "Surprise\u{1b}[31m"})));
    text.push_str(&opened("/cut/off")[..200]);
    world.write("events.json", &text);
    let said = world.learner(&["import", "--kubearmor", "events.json"]);
    assert_eq!(said.code, 1);
    for line in [
        "warning: events.json:1: not read: not a message of KubeArmor as `karmor logs --json` prints it: \
         it is no JSON object\n",
        "warning: events.json:8: not read: the field \"Type\": \"Surprise\\u{1b}[31m\" is not known\n",
        "warning: events.json:9: not read: the line is cut off\n",
    ] {
        assert!(said.err.contains(line), "{}", said.err);
    }
    let exported = world.learner(&["export"]).out;
    let lost = r#""op":"lost","count":3,"reason":"kubearmor-unreadable""#;
    assert!(exported.contains(lost), "{exported}");
    assert!(exported.contains("/srv/www/index.html"));
}

#[test]
fn nothing_is_imported_where_nothing_says_what_a_container_did() {
    let world = World::new();
    world.write(
        "host.json",
        &web(json!({"Type": "HostLog", "Operation": "File"})),
    );
    world.write("binary.json", "\u{0}\u{1}\u{2}");
    world.write("empty.json", "");
    for file in ["host.json", "binary.json", "empty.json"] {
        let said = world.learner(&["import", "--kubearmor", file]);
        assert_eq!(said.code, 1, "{file}: {}", said.err);
        assert!(
            said.err.contains("nothing to import"),
            "{file}: {}",
            said.err
        );
        assert!(!world.path().join("store").exists(), "{file}");
    }
    let missing = world.learner(&["import", "--kubearmor", "none.json"]);
    assert_eq!(missing.code, 2);
    assert!(
        missing.err.starts_with("error: none.json: opening failed"),
        "{}",
        missing.err
    );
}

#[test]
fn a_recording_can_be_written_in_place_of_the_store() {
    let world = World::new();
    world.write("events.json", &events());
    let said = world.learner(&[
        "import",
        "--kubearmor",
        "-o",
        "web.parquet",
        "-f",
        "parquet",
        "events.json",
    ]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.err.contains("created recording web.parquet ..."),
        "{}",
        said.err
    );
    assert!(!world.path().join("store").exists());
    let back = world.learner(&["import", "-o", "-", "web.parquet"]);
    assert_eq!(back.out, converted(&world).out);
}

#[test]
fn a_relay_that_is_not_there_is_an_error_that_names_it() {
    let world = World::new();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let said = world.learner(&["import", "--gRPC", &address]);
    assert_eq!(said.code, 2);
    let error = format!("error: {address}: connecting to KubeArmor's relay failed");
    assert!(said.err.contains(&error), "{}", said.err);
    for more in [
        &["--tlsCertPath", "none"][..],
        &["--tlsCertPath", "none", "--tlsCertProvider", "external"],
        &[
            "--tlsCertPath=none",
            "--readCAFromSecret",
            "--tlsCertProvider=external",
        ],
    ] {
        let args = ["import", "--gRPC", &address, "--secure"];
        let said = world.learner(&[&args[..], more].concat());
        assert_eq!(said.code, 2, "{more:?}");
        assert!(
            said.err.starts_with("error: none/ca.crt: reading failed"),
            "{more:?}: {}",
            said.err
        );
    }
    for args in [
        &["import", "--secure", "x"][..],
        &["import", "--gRPC", &address, "--readCAFromSecret=false"],
        &["import", "--gRPC", &address, "--tlsCertProvider", "self"],
        &[
            "import",
            "--gRPC",
            &address,
            "--secure",
            "--tlsCertProvider",
            "dev",
        ],
        &["import", "--gRPC", &address, "x", "y"],
    ] {
        assert_eq!(world.learner(args).code, 2, "{args:?}");
    }
    assert!(!world.path().join("store").exists());
}

#[tokio::test]
async fn what_the_relay_tells_is_written_when_it_is_asked_to_end_with_what_was_missed() {
    let world = World::new();
    let server = Server::with(&[Manner::Ends, Manner::Garbage]).await;
    let child = Command::new(env!("CARGO_BIN_EXE_learner"))
        .args(["import", "--gRPC", &server.address.to_string(), "-o", "-"])
        .current_dir(world.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("learner");
    // It has taken what there was before it connects again.
    server.again.notified().await;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let end = tokio::task::spawn_blocking(|| child.wait_with_output());
    let end = end.await.expect("a thread").expect("its end");
    let (out, err) = (
        String::from_utf8_lossy(&end.stdout),
        String::from_utf8_lossy(&end.stderr),
    );
    assert_eq!(end.status.code(), Some(1), "{err}");
    assert!(err.contains("KubeArmor's alerts ended from "), "{err}");
    let mut lost: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["reason"].clone())
        .collect();
    lost.sort_by_key(ToString::to_string);
    assert_eq!(
        lost,
        [
            "kubearmor-audited",
            "kubearmor-interrupted",
            "kubearmor-unseen"
        ]
    );
}

/// Of the web server that is frozen, now.
fn tale() -> Tale {
    Tale {
        image: "web:1@sha256:1f2e".to_owned(),
        at: jiff::Timestamp::now().to_string(),
        program: "/usr/sbin/nginx",
        path: "/etc/audited",
        ..Tale::default()
    }
}

/// A pass that listens for a second to a relay that does so.
async fn passes(world: &Arc<World>, manners: &'static [Manner], more: &[&str]) -> Said {
    let server = Server::telling(manners, tale()).await;
    let address = server.address.to_string();
    let args = ["promote", "--gRPC", &address, "--for"];
    let args: Vec<String> = args
        .into_iter()
        .chain(["1500ms"])
        .chain(more.iter().copied())
        .map(str::to_owned)
        .collect();
    let world = world.clone();
    let said = tokio::task::spawn_blocking(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        world.learner(&args)
    });
    said.await.expect("a thread")
}

#[tokio::test]
async fn what_the_relay_tells_while_a_pass_listens_is_an_alert_and_stays_one() {
    let world = Arc::new(World::new());
    frozen(&world);
    for manners in [&[Manner::Well][..], &[Manner::Slow]] {
        let dry = passes(&world, manners, &["--dry-run"]).await;
        assert!(dry.out.contains("; 1 alert since"), "{dry:?}");
        assert_eq!(world.learner(&["alerts"]).out, "", "it is not kept");
    }
    let said = passes(&world, &[Manner::Well], &[]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("; 1 alert since"), "{said:?}");
    // The next pass need not listen.
    let again = world.learner(&["promote", "--window", "0s"]);
    assert!(again.out.contains("1 alert since"), "{again:?}");
    let policy = world.learner(&["recommend", "-o", "-"]).out;
    assert!(!policy.contains("/etc/audited"), "{policy}");
    let alerts = world.learner(&["alerts", "-f", "json"]).json();
    let id = alerts[0]["id"].as_str().expect("an id");
    let accepted = world.learner(&["accept", id]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    let policy = world.learner(&["recommend", "-o", "-"]).out;
    assert!(policy.contains("/etc/audited"), "{policy}");
}

#[tokio::test]
async fn what_a_pass_could_not_hear_does_not_count_for_the_next_either() {
    let dropped = "(KubeArmor dropped alerts from ";
    let unheard = "(KubeArmor's alerts could not be heard from ";
    for (manners, why) in [
        (&[Manner::Throttled][..], dropped),
        (&[Manner::Ends, Manner::OnlyAlerts], unheard),
        (&[Manner::Drops, Manner::OnlyAlerts], unheard),
        (&[Manner::Malformed, Manner::OnlyAlerts], unheard),
        (&[Manner::Unreadable], unheard),
        // For good.
        (&[Manner::Ends, Manner::Garbage], unheard),
    ] {
        let world = Arc::new(World::new());
        frozen(&world);
        let said = passes(&world, manners, &[]).await;
        let missed = format!("alerts may have been missed 1 time {why}");
        assert!(said.out.contains(&missed), "{manners:?}: {said:?}");
        let again = world.learner(&["promote"]);
        assert!(again.out.contains(&missed), "{manners:?}: {again:?}");
        // It is no run, and nothing is lacking in what is learned.
        let status = world.learner(&["status", "-f", "json"]).json();
        assert_eq!(status[0]["figures"]["whole"], 3, "{status}");
        let policy = world.learner(&["recommend", "-o", "-"]);
        assert!(!policy.err.contains("kubearmor-interrupted"), "{policy:?}");
    }
}

#[tokio::test]
async fn a_pass_listens_to_an_endless_relay_as_long_as_it_was_told() {
    let world = Arc::new(World::new());
    frozen(&world);
    let begun = std::time::Instant::now();
    let said = passes(&world, &[Manner::Endless], &[]).await;
    assert!(said.out.contains("1 alert since"), "{said:?}");
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

#[test]
fn a_pass_says_how_long_it_listens_and_needs_a_relay_for_it() {
    let world = World::new();
    for args in [
        &["promote", "--gRPC", "127.0.0.1:1"][..],
        &["promote", "--for", "1s"],
        &["promote", "--secure"],
    ] {
        assert_eq!(world.learner(args).code, 2, "{args:?}");
    }
    let said = world.learner(&["promote", "--gRPC", "127.0.0.1:1", "--for", "1s"]);
    assert_eq!(said.code, 2);
    let error = "error: 127.0.0.1:1: connecting to KubeArmor's relay failed";
    assert!(said.err.contains(error), "{}", said.err);
}

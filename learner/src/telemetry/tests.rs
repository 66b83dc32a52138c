//! What KubeArmor says, as it says it, and as somebody hostile would have it say it.

use std::io::Read;

use super::*;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::observation::{Loss, Moment};
use crate::path::AbsPath;
use crate::profile::{Evidence, RunProfile};
use crate::workload::RunKey;
use serde_json::{Value, json};

/// A real alert, with the names in it changed.
const ALERT: &str = r#"{"Timestamp":1708493056,"UpdatedTime":"2024-02-21T05:24:16.442240Z","ClusterName":"default","HostName":"n1","NamespaceName":"ns1","Owner":{"Ref":"Deployment","Name":"upf","Namespace":"ns1"},"PodName":"upf-6f9b859fb5-fpqsj","Labels":"app=upf,pod-template-hash=6f9b859fb5","ContainerID":"d23200000000000000000000","ContainerName":"upf","ContainerImage":"reg/img:v4@sha256:37d5","HostPPID":1196287,"HostPID":1197259,"PPID":1283,"PID":1291,"UID":0,"ProcessName":"/opt/bin/touch","PolicyName":"DefaultPosture","Type":"MatchedPolicy","Source":"/opt/bin/touch test","Operation":"File","Resource":"/dev/test","Data":"lsm=FILE_OPEN","EventData":{"Lsm":"FILE_OPEN"},"Enforcer":"BPFLSM","Action":"Audit","Result":"Passed","Cwd":"/","TTY":"pts0","ExecEvent":{"ExecID":"0","ExecutableName":"touch"},"KubeArmorVersion":"v1.6.5"}"#;

/// Telemetry of an older version, which tells no owner.
const LOG: &str = r#"{"ClusterName":"default","HostName":"n0","NamespaceName":"default","PodName":"vault-0","Labels":"app.kubernetes.io/name=vault","ContainerID":"775f00000000000000000000","ContainerName":"vault","ContainerImage":"docker.io/hashicorp/vault:1.13.1@sha256:b888","ParentProcessName":"/usr/bin/runc","ProcessName":"/bin/sh","HostPPID":2514065,"HostPID":2514068,"PPID":2514065,"PID":3552620,"UID":100,"Type":"ContainerLog","Source":"/usr/bin/runc","Operation":"Process","Resource":"/bin/sh -ec vault status -tls-skip-verify","Data":"syscall=SYS_EXECVE","Result":"Passed","Timestamp":1700000000}"#;

fn is_runc(path: &AbsPath) -> bool {
    path.as_bytes().ends_with(b"/runc")
}

fn event(text: &str) -> Result<Event, Unreadable> {
    Event::of(&Message::parse(text.as_bytes())?, is_runc)
}

/// A message as the others, but for these fields; null takes one away.
fn but(text: &str, fields: Value) -> String {
    let mut message: Value = serde_json::from_str(text).expect("JSON");
    let map = message.as_object_mut().expect("an object");
    for (key, value) in fields.as_object().expect("an object") {
        match value {
            Value::Null => map.remove(key),
            value => map.insert(key.clone(), value.clone()),
        };
    }
    message.to_string()
}

fn deed(text: &str) -> Deed {
    match event(text) {
        Ok(Event::Deed(deed)) => *deed,
        other => panic!("{text}: {other:?}"),
    }
}

fn behavior(text: &str) -> Behavior {
    let deed = deed(text);
    deed.behavior
        .unwrap_or_else(|| panic!("{text}: {:?}", deed.gap))
}

fn opened(fields: Value) -> String {
    let open = json!({
        "ProcessName": "/usr/sbin/nginx", "ParentProcessName": "/usr/bin/runc", "Cwd": "/srv/",
        "Source": "/usr/sbin/nginx -g daemon off;", "Operation": "File",
        "Resource": "/etc/nginx/nginx.conf", "Data": "syscall=SYS_OPENAT fd=-100 flags=O_RDONLY|O_CLOEXEC",
    });
    but(&but(LOG, open), fields)
}

fn path(text: &str) -> AbsPath {
    AbsPath::try_from(text).expect("absolute")
}

fn nobody(_: &RunKey, _: Moment) -> bool {
    false
}

fn gathered(lines: &[u8]) -> (Evidence, Account) {
    let mut gatherer = Gatherer::new(is_runc, &nobody);
    messages(lines, &mut |number, message| gatherer.take(number, message)).expect("bytes");
    let Gathered {
        evidence, account, ..
    } = gatherer.finish();
    (evidence, account)
}

fn only(evidence: &Evidence) -> (&RunKey, &RunProfile) {
    let mut runs = evidence.runs().iter();
    let first = runs.next().expect("a run");
    assert_eq!(runs.next(), None);
    first
}

fn lost(run: &RunProfile, reason: &str) -> u64 {
    run.lost.get(&Loss::from(reason)).copied().unwrap_or(0)
}

#[test]
fn an_exec_is_the_program_without_its_arguments_and_without_who_set_the_container_up() {
    let exec = behavior(LOG);
    assert_eq!(exec.op, Op::Exec);
    assert_eq!(exec.path, path("/bin/sh"));
    assert_eq!(exec.source, None, "runc is not in the container");
    assert_eq!((exec.uid, exec.tty), (Some(100), None));
    assert_eq!(exec.result, Outcome::Ok);

    let child = but(
        LOG,
        json!({"ParentProcessName": "/bin/sh", "Source": "/bin/sh"}),
    );
    assert_eq!(behavior(&child).source, Some(path("/bin/sh")));
}

#[test]
fn a_program_with_a_space_in_its_name_is_told_from_its_arguments_by_the_process() {
    let spaced = json!({"ProcessName": "/opt/my app/run", "Resource": "/opt/my app/run --now"});
    assert_eq!(behavior(&but(LOG, spaced)).path, path("/opt/my app/run"));
    // A name that only begins alike is another program.
    let alike = json!({"ProcessName": "/opt/a", "Resource": "/opt/ab c"});
    let deed = deed(&but(LOG, alike));
    assert_eq!(deed.gap, Some(Gap::Renamed));
}

#[test]
fn of_a_script_the_interpreter_is_recorded_and_that_something_is_missing() {
    let script = json!({"ProcessName": "/bin/bash", "Resource": "/opt/entry.sh start"});
    let deed = deed(&but(LOG, script));
    assert_eq!(deed.behavior.map(|exec| exec.path), Some(path("/bin/bash")));
    assert_eq!(deed.gap, Some(Gap::Renamed));
}

#[test]
fn an_exec_that_failed_is_of_what_was_asked_for_not_of_the_process_that_asked() {
    let failed = json!({
        "ProcessName": "/bin/sh", "Resource": "/usr/bin/curl http://a", "Result": "Permission denied",
    });
    let exec = behavior(&but(LOG, failed));
    assert_eq!(exec.path, path("/usr/bin/curl"));
    assert_eq!(exec.result, Outcome::Failed("EACCES".to_owned()));
}

#[test]
fn ptrace_is_an_operation_of_processes_and_no_exec() {
    let traced = json!({
        "Resource": "/bin/victim", "Data": "syscall=SYS_PTRACE request=PTRACE_ATTACH pid=7 process=/bin/victim",
    });
    assert_eq!(event(&but(LOG, traced)), Ok(Event::Beside(Beside::Syscall)));
}

#[test]
fn an_open_is_by_the_program_without_its_arguments_and_as_its_flags_say() {
    let read = behavior(&opened(json!({})));
    assert_eq!(read.op, Op::Open(Access::Read));
    assert_eq!(read.source, Some(path("/usr/sbin/nginx")));
    for (flags, access) in [
        ("O_WRONLY|O_CREAT|O_TRUNC", Access::Write),
        ("O_RDWR", Access::ReadWrite),
        ("O_RDONLY|O_NONBLOCK", Access::Read),
    ] {
        let data = format!("syscall=SYS_OPEN flags={flags}");
        let open = behavior(&opened(json!({ "Data": data })));
        assert_eq!(open.op, Op::Open(access), "{flags}");
    }
    let directory = "syscall=SYS_OPENAT fd=-100 flags=O_RDONLY|O_DIRECTORY";
    let open = behavior(&opened(json!({"Data": directory, "Resource": "/etc"})));
    assert_eq!(open.path, path("/etc/"));
}

#[test]
fn without_a_process_a_command_line_is_no_program() {
    let nameless = opened(json!({"ProcessName": null}));
    assert_eq!(behavior(&nameless).source, None);
    let plain = opened(json!({"ProcessName": null, "Source": "/usr/sbin/nginx"}));
    assert_eq!(behavior(&plain).source, Some(path("/usr/sbin/nginx")));
    let deleted = opened(json!({"ProcessName": "/tmp/x (deleted)"}));
    assert_eq!(behavior(&deleted).source, None);
}

#[test]
fn what_is_not_known_for_certain_is_no_behaviour() {
    let long = format!("/{}", "a".repeat(4_095));
    let gaps = [
        (
            json!({"Resource": "etc/passwd", "Cwd": "/"}),
            Gap::Unresolved,
        ),
        (json!({"Resource": ""}), Gap::Unresolved),
        (json!({"Resource": "/srv/../etc/shadow"}), Gap::Unresolved),
        (json!({"Resource": "/tmp/\u{fffd}"}), Gap::Garbled),
        (json!({"Resource": "/tmp/a\u{0}b"}), Gap::Garbled),
        (json!({"Resource": long}), Gap::TooLong),
        (json!({"Data": "syscall=SYS_OPENAT fd=-100"}), Gap::HalfTold),
        (json!({"Data": ""}), Gap::HalfTold),
        (
            json!({"Data": "syscall=SYS_OPENAT fd=-100 flags=O_RDWR|O_TMPFILE"}),
            Gap::HalfTold,
        ),
        // Relative to a descriptor, and joined with the working directory all the same.
        (
            json!({"Resource": "/srv/data", "Data": "syscall=SYS_OPENAT fd=5 flags=O_RDONLY"}),
            Gap::Unresolved,
        ),
        (
            json!({"Resource": "/srv/data", "Data": "syscall=SYS_UNLINKAT flags="}),
            Gap::Unresolved,
        ),
        (json!({"Data": "lsm=FILE_RENAME"}), Gap::HalfTold),
        (
            json!({"Data": "lsm=FILE_OPEN", "Resource": format!("/{}", "a".repeat(198))}),
            Gap::TooLong,
        ),
        (
            json!({"Data": "lsm=FILE_OPEN", "Resource": "/a".repeat(20)}),
            Gap::TooDeep,
        ),
    ];
    for (fields, gap) in gaps {
        let deed = deed(&opened(fields.clone()));
        assert_eq!((deed.behavior, deed.gap), (None, Some(gap)), "{fields}");
    }
    // A descriptor is no matter where the path was absolute.
    let absolute = json!({"Resource": "/srvx", "Data": "syscall=SYS_OPENAT fd=5 flags=O_RDONLY"});
    assert_eq!(behavior(&opened(absolute)).path, path("/srvx"));
}

#[test]
fn names_are_kept_whatever_is_in_them() {
    for name in [
        "/tmp/a b",
        "/tmp/a\nb",
        "/tmp/'\"$(x)",
        "/tmp/- a: [b]",
        "/tmp/\u{202e}x",
        "/tmp/flags=O_RDWR",
    ] {
        let open = behavior(&opened(json!({ "Resource": name })));
        assert_eq!(open.path, path(name));
        assert_eq!(open.op, Op::Open(Access::Read));
    }
    assert_eq!(
        behavior(&opened(json!({"Resource": "//etc/./x"}))).path,
        path("/etc/x")
    );
}

#[test]
fn the_operations_on_names_are_told_apart() {
    for (data, op) in [
        ("syscall=SYS_UNLINK", Op::Unlink),
        ("syscall=SYS_UNLINKAT flags=", Op::Unlink),
        ("syscall=SYS_UNLINKAT flags=AT_REMOVEDIR", Op::Rmdir),
        ("syscall=SYS_RMDIR", Op::Rmdir),
        ("lsm=FILE_PERMISSION", Op::Open(Access::Write)),
        ("lsm=FILE_MKNOD", Op::Create),
        ("lsm=FILE_MKDIR", Op::Mkdir),
        ("lsm=FILE_SYMLINK", Op::Symlink),
        ("lsm=FILE_CHMOD", Op::Chmod),
        ("lsm=FILE_TRUNCATE", Op::Truncate),
    ] {
        let done = behavior(&opened(json!({"Data": data, "Resource": "/var/x"})));
        assert_eq!(done.op, op, "{data}");
    }
    for data in [
        "syscall=SYS_CLOSE fd=3",
        "syscall=SYS_CHOWN userid=0 group=0",
    ] {
        let beside = event(&opened(json!({"Data": data, "Resource": null})));
        assert_eq!(beside, Ok(Event::Beside(Beside::Syscall)), "{data}");
    }
}

#[test]
fn what_failed_is_never_told_as_done() {
    for (result, errno) in [
        ("Permission denied", "EACCES"),
        ("Operation not permitted", "EPERM"),
        ("No such file or directory", "ENOENT"),
        ("no such file or directory", "ENOENT"),
        ("Unknown (-17)", "EEXIST"),
        ("passed", "UnknownErrno"),
        ("Passed ", "UnknownErrno"),
    ] {
        let open = behavior(&opened(json!({ "Result": result })));
        assert_eq!(open.result, Outcome::Failed(errno.to_owned()), "{result}");
    }
    let missing = event(&opened(json!({"Result": null})));
    assert_eq!(missing, Err(Unreadable::Missing("Result")));
}

#[test]
fn whatever_has_a_policy_or_an_action_is_an_alert() {
    let audited = deed(ALERT);
    let channel = |denied| Channel::Alert {
        policy: "DefaultPosture".to_owned(),
        denied,
    };
    assert_eq!(audited.channel, channel(false));
    let denied = but(
        ALERT,
        json!({"Action": "Block", "Result": "Permission denied"}),
    );
    assert_eq!(deed(&denied).channel, channel(true));
    for fields in [
        json!({"PolicyName": "p"}),
        json!({"Action": "Audit (Block)"}),
    ] {
        let alert = deed(&but(LOG, fields));
        assert_ne!(alert.channel, Channel::Telemetry);
    }
    assert_eq!(deed(LOG).channel, Channel::Telemetry);
}

#[test]
fn both_encodings_say_the_same() {
    let names = [
        ("Timestamp", "timestamp"),
        ("UpdatedTime", "updatedTime"),
        ("NamespaceName", "namespaceName"),
        ("Owner", "owner"),
        ("Ref", "ref"),
        ("Name", "name"),
        ("Namespace", "namespace"),
        ("PodName", "podName"),
        ("Labels", "labels"),
        ("ContainerID", "containerID"),
        ("ContainerName", "containerName"),
        ("ContainerImage", "containerImage"),
        ("HostPPID", "hostPPid"),
        ("HostPID", "hostPid"),
        ("PPID", "ppid"),
        ("PID", "pid"),
        ("UID", "uid"),
        ("ParentProcessName", "parentProcessName"),
        ("ProcessName", "processName"),
        ("PolicyName", "policyName"),
        ("Type", "type"),
        ("Source", "source"),
        ("Operation", "operation"),
        ("Resource", "resource"),
        ("Data", "data"),
        ("Action", "action"),
        ("Result", "result"),
        ("Cwd", "cwd"),
        ("TTY", "tty"),
        ("Enforcer", "enforcer"),
    ];
    for text in [ALERT, LOG] {
        let mut other = text.to_owned();
        for (pb, daemon) in names {
            other = other.replace(&format!("\"{pb}\":"), &format!("\"{daemon}\":"));
        }
        assert_ne!(other, text);
        assert_eq!(event(&other), event(text));
    }
}

#[test]
fn a_workload_is_its_owner_and_labels_that_change_are_left_out() {
    let Whose::Run { run, labels, .. } = deed(ALERT).whose else {
        panic!("no run");
    };
    assert_eq!(run.workload.to_string(), "ns1/Deployment/upf/upf");
    assert_eq!(run.image, "reg/img:v4@sha256:37d5");
    assert_eq!(run.run, "upf-6f9b859fb5-fpqsj/upf/d23200000000");
    assert_eq!(
        labels.iter().collect::<Vec<_>>(),
        [(&"app".to_owned(), &"upf".to_owned())]
    );

    let named = |fields| match deed(&but(LOG, fields)).whose {
        Whose::Run { run, .. } => run.workload.to_string(),
        Whose::Container(id) => id,
    };
    assert_eq!(named(json!({})), "default/Pod/vault/vault");
    assert_eq!(
        named(json!({"Labels": "tier=a"})),
        "default/Pod/vault-0/vault"
    );
    assert_eq!(
        named(json!({"Labels": null, "PodName": null})),
        "default/Pod/vault/vault"
    );
    assert_eq!(
        named(json!({"NamespaceName": null})),
        "775f00000000000000000000"
    );
}

#[test]
fn the_order_of_labels_makes_no_difference() {
    let one = but(ALERT, json!({"Labels": "a=1,b=2,a=3"}));
    let other = but(ALERT, json!({"Labels": "b=2,a=3,a=1"}));
    assert_eq!(event(&one), event(&other));
}

#[test]
fn times_are_to_the_microsecond_or_to_the_second() {
    assert_eq!(deed(ALERT).at.0, 1_708_493_056_442_240);
    assert_eq!(deed(LOG).at.0, 1_700_000_000_000_000);
    let zone = but(LOG, json!({"UpdatedTime": "2024-02-21T06:24:16+01:00"}));
    assert_eq!(deed(&zone).at.0, 1_708_493_056_000_000);
    for fields in [
        json!({"UpdatedTime": "yesterday"}),
        json!({"Timestamp": i64::MAX}),
        json!({"Timestamp": i64::MIN}),
        json!({"Timestamp": null}),
    ] {
        assert!(event(&but(LOG, fields.clone())).is_err(), "{fields}");
    }
}

#[test]
fn a_field_that_means_nothing_is_an_error_that_names_it() {
    let long = "a".repeat(254);
    for (fields, field) in [
        (json!({"Type": "Surprise"}), "Type"),
        (json!({"Type": null}), "Type"),
        (json!({"Operation": "Dance"}), "Operation"),
        (json!({"Labels": "app"}), "Labels"),
        (json!({"NamespaceName": "a/b"}), "NamespaceName"),
        (json!({"NamespaceName": long}), "NamespaceName"),
        (json!({"PodName": "a\u{1b}[31m"}), "PodName"),
        (json!({"ContainerImage": "a b"}), "ContainerImage"),
        (json!({"UID": 4_294_967_296_i64}), "UID"),
    ] {
        let error = event(&but(LOG, fields.clone()))
            .expect_err(field)
            .to_string();
        assert!(error.contains(field), "{fields}: {error}");
        assert!(!error.contains('\u{1b}') && error.len() < 200, "{error}");
    }
    assert_eq!(
        behavior(&but(LOG, json!({"UID": -2}))).uid,
        Some(u32::MAX - 1)
    );
}

#[test]
fn what_recordings_do_not_have_is_beside() {
    for (fields, beside) in [
        (json!({"Type": "HostLog"}), Beside::Host),
        (json!({"Type": "MatchedHostPolicy"}), Beside::Host),
        (
            json!({"Operation": "Network", "Resource": "remoteip=1.2.3.4"}),
            Beside::Network,
        ),
        (json!({"Operation": "Capabilities"}), Beside::Capabilities),
        (json!({"Operation": "Syscall"}), Beside::Syscall),
        (
            json!({"Type": "SystemEvent", "Operation": "Else"}),
            Beside::System,
        ),
    ] {
        assert_eq!(
            event(&but(LOG, fields.clone())),
            Ok(Event::Beside(beside)),
            "{fields}"
        );
    }
    let setup = opened(json!({"ProcessName": "/usr/bin/runc"}));
    assert_eq!(event(&setup), Ok(Event::Beside(Beside::Runtime)));
}

#[test]
fn throttling_is_told_with_how_long_it_lasts() {
    let fields = json!({
        "Type": "SystemEvent", "Operation": "AlertThreshold", "PolicyName": null, "Action": null,
        "MaxAlertsPerSec": 10, "DroppingAlertsInterval": 5,
    });
    let throttle = |text: &str| match event(text) {
        Ok(Event::Throttled(throttle)) => throttle,
        other => panic!("{other:?}"),
    };
    let told = throttle(&but(ALERT, fields.clone()));
    assert_eq!(told.until.0 - told.at.0, 5_000_000);
    assert!(told.whose.is_some());
    let silent = but(&but(ALERT, fields), json!({"DroppingAlertsInterval": null}));
    let silent = throttle(&silent);
    assert_eq!(
        silent.until.0 - silent.at.0,
        30_000_000,
        "KubeArmor's default"
    );
}

#[test]
fn alerts_never_teach() {
    let denied = but(
        ALERT,
        json!({"Action": "Block", "Result": "Permission denied"}),
    );
    let (evidence, account) = gathered(format!("{ALERT}\n{denied}\n").as_bytes());
    let (_, run) = only(&evidence);
    assert!(run.seen.keys().all(|behavior| !behavior.is_learnable()));
    assert_eq!((account.audited, account.failed, account.done), (1, 1, 0));
    assert_eq!(lost(run, "kubearmor-audited"), 1);
}

#[test]
fn what_is_gathered_is_partial_and_says_what_nobody_could_see() {
    let (evidence, _) = gathered(LOG.as_bytes());
    let (_, run) = only(&evidence);
    assert!(run.is_partial());
    assert_eq!((run.start, run.stop), (None, None));
    assert_eq!(lost(run, UNSEEN), 1);
    assert_eq!(run.seen.len(), 1);
}

#[test]
fn what_cannot_be_read_is_named_counted_and_charged_to_every_run() {
    let mut lines = Vec::new();
    lines.extend_from_slice(b"Created a gRPC client (localhost:32767)\n");
    lines.extend_from_slice(format!("\u{feff}{LOG}\r\n\n").as_bytes());
    lines.extend_from_slice(&[0, 159, 146, 150, b'\n']);
    lines.extend_from_slice(b"[1]\n{\"UID\":\"root\"}\n");
    lines.extend_from_slice(&LOG.as_bytes()[..LOG.len() - 9]);
    let (evidence, account) = gathered(&lines);
    let refused: Vec<u64> = account
        .refused
        .iter()
        .map(|refused| refused.number)
        .collect();
    // A byte order mark is passed over before the first line alone.
    assert_eq!(refused, [1, 2, 4, 5, 6]);
    assert_eq!((account.unreadable, account.messages), (6, 6));
    assert_eq!(evidence.runs().len(), 0);

    lines.extend_from_slice(format!("\n{LOG}\n").as_bytes());
    let (evidence, account) = gathered(&lines);
    assert_eq!(
        lost(only(&evidence).1, "kubearmor-unreadable"),
        account.unreadable
    );
}

#[test]
fn a_cut_off_line_says_so() {
    for cut in 1..LOG.len() {
        let (evidence, account) = gathered(&LOG.as_bytes()[..cut]);
        assert_eq!(evidence.runs().len(), 0, "cut at {cut}");
        assert_eq!(account.refused[0].cause, Unreadable::CutOff, "cut at {cut}");
    }
}

#[test]
fn a_line_of_ten_megabytes_is_passed_over_without_being_kept() {
    let long = but(LOG, json!({"Resource": "a".repeat(10 << 20)}));
    let text = format!("{LOG}\n{long}\n{LOG}\n{long}");
    let (evidence, account) = gathered(text.as_bytes());
    assert_eq!(account.done, 2);
    let refused: Vec<_> = account
        .refused
        .iter()
        .map(|refused| (refused.number, &refused.cause))
        .collect();
    assert_eq!(
        refused,
        [(2, &Unreadable::TooLong), (4, &Unreadable::TooLong)]
    );
    assert_eq!(lost(only(&evidence).1, "kubearmor-unreadable"), 2);
    // The longest line that is read is read.
    let fits = but(
        LOG,
        json!({"Message": "a".repeat(MAX_LINE - LOG.len() - 13)}),
    );
    assert_eq!(fits.len(), MAX_LINE);
    assert_eq!(gathered(fits.as_bytes()).1.done, 1);
    assert_eq!(gathered(format!("{fits} ").as_bytes()).1.unreadable, 1);
}

#[test]
fn a_stream_without_a_line_feed_takes_no_memory() {
    let endless = std::io::BufReader::new(std::io::repeat(b'{').take(64 << 20));
    let mut refused = Vec::new();
    messages(endless, &mut |number, message| {
        refused.push((number, message.is_err()))
    })
    .expect("bytes");
    assert_eq!(refused, [(1, true)]);
}

#[test]
fn what_a_container_did_before_it_was_named_is_its_own_in_any_order() {
    let early = opened(
        json!({"NamespaceName": null, "PodName": null, "Labels": null, "ContainerName": null, "ContainerImage": null}),
    );
    let stranger = but(&early, json!({"ContainerID": "beef"}));
    let one = gathered(format!("{early}\n{stranger}\n{LOG}").as_bytes());
    let other = gathered(format!("{LOG}\n{stranger}\n{early}").as_bytes());
    assert_eq!(one.0.runs(), other.0.runs());
    let (_, run) = only(&one.0);
    assert_eq!(run.seen.len(), 2);
    assert_eq!(one.1.unattributed, 1);
    assert_eq!(lost(run, "kubearmor-unattributed"), 1);
}

#[test]
fn what_is_held_and_how_many_runs_are_kept_is_bounded_and_counted() {
    let early = Message {
        container_id: "775f".to_owned(),
        kind: "ContainerLog".to_owned(),
        operation: "File".to_owned(),
        data: "syscall=SYS_OPEN flags=O_RDONLY".to_owned(),
        resource: "/etc/x".to_owned(),
        result: "Passed".to_owned(),
        timestamp: 1,
        ..Message::default()
    };
    let mut gatherer = Gatherer::new(is_runc, &nobody);
    for number in 0..MAX_HELD as u64 + 7 {
        gatherer.take(number, Ok(early.clone()));
    }
    let account = gatherer.finish().account;
    assert_eq!(account.unattributed, MAX_HELD as u64 + 7);

    let mut gatherer = Gatherer::new(is_runc, &nobody);
    for number in 0..MAX_RUNS as u64 + 3 {
        let message = Message {
            namespace_name: "a".to_owned(),
            pod_name: format!("p{number}"),
            container_name: "c".to_owned(),
            ..early.clone()
        };
        gatherer.take(number, Ok(message));
    }
    let Gathered {
        evidence, account, ..
    } = gatherer.finish();
    assert_eq!((evidence.runs().len(), account.beyond), (MAX_RUNS, 3));
    assert!(
        evidence
            .runs()
            .values()
            .all(|run| lost(run, "kubearmor-runs") == 3)
    );
}

#[test]
fn what_was_audited_of_a_revision_that_is_judged_is_evidence_from_the_freeze_on() {
    let is_judged =
        |run: &RunKey, at: Moment| run.workload.name == "upf" && at.0 >= 1_708_493_056_442_240;
    let before = but(
        ALERT,
        json!({"UpdatedTime": "2024-02-21T05:24:16Z", "Resource": "/dev/before"}),
    );
    let mut gatherer = Gatherer::new(is_runc, &is_judged);
    for line in [ALERT, &before] {
        gatherer.take(1, Message::parse(line.as_bytes()));
    }
    let Gathered {
        evidence, account, ..
    } = gatherer.finish();
    let (_, run) = only(&evidence);
    let seen: Vec<&AbsPath> = run.seen.keys().map(|behavior| &behavior.path).collect();
    assert_eq!(seen, [&path("/dev/test")]);
    assert_eq!((account.judged, account.audited), (1, 1));
}

#[test]
fn while_alerts_are_dropped_is_told_with_whose_they_were() {
    let dropped = but(
        ALERT,
        json!({
            "Type": "SystemEvent", "Operation": "AlertThreshold", "DroppingAlertsInterval": 5,
        }),
    );
    let nobodys = but(
        &dropped,
        json!({"NamespaceName": null, "ContainerID": null}),
    );
    let mut gatherer = Gatherer::new(is_runc, &nobody);
    for line in [&dropped, &nobodys] {
        gatherer.take(1, Message::parse(line.as_bytes()));
    }
    let found = gatherer.finish().interruptions;
    let whose: Vec<Option<String>> = found
        .iter()
        .map(|(whose, _)| whose.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(whose, [Some("ns1/Deployment/upf/upf".to_owned()), None]);
    assert_eq!(
        found[0].1.to_string(),
        "KubeArmor dropped alerts from 2024-02-21T05:24:16Z to 2024-02-21T05:24:21Z"
    );
}

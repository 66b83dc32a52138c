//! An alert as KubeArmor prints one: the fields of `feeder.Alert`, empty ones left out but for `PPID`
//! and `UID`.

use learner::alert::Kind;
use learner::behavior::{Access, Op};
use learner::path::AbsPath;
use learner::posture::Posture;
use learner::promotion::At;
use learner::workload::Workload;
use serde_json::{Map, Value, json};

use crate::alerts::Shown;
use crate::talk::visible;

/// On one line. What KubeArmor knows and Learner does not (host, pod, process ids, arguments) is left
/// out; `PPID` is 0. A path that is not text is escaped. `Enforcer` says that it was Learner.
pub(crate) fn alert(shown: &Shown) -> Value {
    let Shown {
        alert,
        posture,
        since,
        labels,
        policy,
    } = shown;
    let Workload {
        namespace,
        kind,
        name,
        container,
    } = &alert.revision.workload;
    let path = alert.act.path.to_string();
    let source = alert.act.source.as_ref();
    let source = source.map(AbsPath::to_string).unwrap_or_default();
    let is_exec = alert.act.op == Op::Exec;
    let hook = hook(&alert.act.op);
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    // What was done before the promotion to block was only audited.
    let is_blocked = *posture == Posture::Block && alert.last >= *since;
    let refused = alert.kind == Kind::Refused;
    let spec = &policy.spec;
    let all = json!({
        "Timestamp": alert.last.0.div_euclid(1_000_000),
        "UpdatedTime": updated(shown),
        "ClusterName": "default",
        "NamespaceName": namespace,
        "Owner": {"Ref": kind, "Name": name, "Namespace": namespace},
        "Labels": labels.join(","),
        "ContainerName": container,
        "ContainerImage": alert.revision.image,
        "PPID": 0,
        "UID": alert.uid.unwrap_or(0),
        "ParentProcessName": if is_exec { source.as_str() } else { "" },
        "ProcessName": if is_exec { path.as_str() } else { source.as_str() },
        "PolicyName": policy.metadata.name,
        "Severity": spec.severity.map(|severity| severity.to_string()).unwrap_or_default(),
        "Tags": spec.tags.join(","),
        "ATags": spec.tags,
        "Message": spec.message.clone().unwrap_or_default(),
        "Type": "MatchedPolicy",
        "Source": source,
        "Operation": if is_exec { "Process" } else { "File" },
        "Resource": path,
        "Data": format!("lsm={hook}"),
        "EventData": {"Lsm": hook, "LearnerAlert": alert.id.to_string(), "LearnerWhy": visible(&alert.why)},
        "Enforcer": "Learner",
        "Action": if is_blocked { "Block" } else { "Audit" },
        "Result": if refused { "Permission denied" } else { "Passed" },
    });
    let Value::Object(all) = all else {
        return all;
    };
    let is_kept =
        |(key, value): &(String, Value)| matches!(key.as_str(), "PPID" | "UID") || !is_empty(value);
    Value::Object(all.into_iter().filter(is_kept).collect::<Map<_, _>>())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        _ => false,
    }
}

fn updated(shown: &Shown) -> String {
    match jiff::Timestamp::from_microsecond(shown.alert.last.0) {
        Ok(time) => time.strftime("%FT%T.%6fZ").to_string(),
        Err(_) => At(shown.alert.last).to_string(),
    }
}

fn hook(op: &Op) -> &'static str {
    match op {
        Op::Exec => "SECURITY_BPRM_CHECK",
        Op::Open(Access::Read) => "FILE_OPEN",
        // The open comes first.
        Op::Open(Access::Write | Access::ReadWrite) => "FILE_OPEN",
        Op::Create => "FILE_MKNOD",
        Op::Mkdir => "FILE_MKDIR",
        Op::Unlink => "FILE_UNLINK",
        Op::Rmdir => "FILE_RMDIR",
        Op::Rename { .. } => "FILE_RENAME",
        Op::Link { .. } => "FILE_LINK",
        Op::Symlink => "FILE_SYMLINK",
        Op::Chmod => "FILE_CHMOD",
        Op::Truncate => "FILE_TRUNCATE",
    }
}

//! A message as KubeArmor writes it, in either of its encodings.

use serde::Deserialize;

use super::error::Unreadable;

/// The fields of `feeder.Alert` and `feeder.Log` that matter here. An empty text is an absent one.
///
/// `karmor logs --json` prints the names of the protobuf (`ProcessName`), the daemon's own log those of
/// its structs (`processName`); other fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Message {
    /// Seconds since the Unix epoch; 0 if absent.
    #[serde(rename = "Timestamp", alias = "timestamp")]
    pub timestamp: i64,
    /// The same as RFC 3339, to the microsecond.
    #[serde(rename = "UpdatedTime", alias = "updatedTime")]
    pub updated_time: String,
    /// Kubernetes namespace.
    #[serde(rename = "NamespaceName", alias = "namespaceName")]
    pub namespace_name: String,
    /// What owns the pod.
    #[serde(rename = "Owner", alias = "owner")]
    pub owner: Option<Owner>,
    /// The pod.
    #[serde(rename = "PodName", alias = "podName")]
    pub pod_name: String,
    /// The pod's labels, `key=value` between commas, in any order.
    #[serde(rename = "Labels", alias = "labels")]
    pub labels: String,
    /// The runtime's id of the container.
    #[serde(rename = "ContainerID", alias = "containerID", alias = "containerId")]
    pub container_id: String,
    /// Name of the container in the pod.
    #[serde(rename = "ContainerName", alias = "containerName")]
    pub container_name: String,
    /// Image reference, with its digest.
    #[serde(rename = "ContainerImage", alias = "containerImage")]
    pub container_image: String,
    /// The acting user; negative above 2^31, since the protobuf has 32 bits with a sign.
    #[serde(rename = "UID", alias = "uid")]
    pub uid: Option<i64>,
    /// Executable of the parent.
    #[serde(rename = "ParentProcessName", alias = "parentProcessName")]
    pub parent_process_name: String,
    /// Executable of the acting process; of an exec, the program that was executed.
    #[serde(rename = "ProcessName", alias = "processName")]
    pub process_name: String,
    /// The policy that matched; of an alert only.
    #[serde(rename = "PolicyName", alias = "policyName")]
    pub policy_name: String,
    /// `MatchedPolicy`, `ContainerLog`, …
    #[serde(rename = "Type", alias = "type")]
    pub kind: String,
    /// Of an exec the parent's executable; else the acting process with its arguments.
    #[serde(rename = "Source", alias = "source")]
    pub source: String,
    /// `Process`, `File`, …
    #[serde(rename = "Operation", alias = "operation")]
    pub operation: String,
    /// What it was done to; of an exec the program with its arguments.
    #[serde(rename = "Resource", alias = "resource")]
    pub resource: String,
    /// How it was seen: `syscall=SYS_OPENAT fd=-100 flags=O_RDONLY`, `lsm=FILE_OPEN`.
    #[serde(rename = "Data", alias = "data")]
    pub data: String,
    /// `Audit`, `Block`, …; of an alert only.
    #[serde(rename = "Action", alias = "action")]
    pub action: String,
    /// `Passed`, or why it failed.
    #[serde(rename = "Result", alias = "result")]
    pub result: String,
    /// Working directory of the acting process, with a slash at the end.
    #[serde(rename = "Cwd", alias = "cwd")]
    pub cwd: String,
    /// Terminal of the acting process.
    #[serde(rename = "TTY", alias = "tty")]
    pub tty: String,
    /// For how many seconds alerts are dropped; of `AlertThreshold` only.
    #[serde(rename = "DroppingAlertsInterval", alias = "droppingAlertsInterval")]
    pub dropping_alerts_interval: i32,
}

/// What owns a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Owner {
    /// Its kind: `Deployment`.
    #[serde(rename = "Ref", alias = "ref")]
    pub kind: String,
    /// Its name.
    #[serde(rename = "Name", alias = "name")]
    pub name: String,
}

impl Message {
    /// Parses one JSON object.
    ///
    /// # Errors
    /// [`Unreadable::CutOff`], [`Unreadable::Json`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        // serde would take an array for the fields in their order.
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            _ => return Err(Unreadable::Json("it is no JSON object".to_owned())),
        }
        serde_json::from_slice(bytes).map_err(|error| {
            if error.is_eof() {
                return Unreadable::CutOff;
            }
            let (text, column) = (error.to_string(), error.column());
            let what = text.split(" at line ").next().unwrap_or(&text);
            let what = &what[..what.floor_char_boundary(120)];
            Unreadable::Json(format!("{}, at column {column}", what.escape_debug()))
        })
    }
}

//! The messages of KubeArmor's `feeder.LogService`, by the numbers of its protobuf. Fields that are not
//! used here are passed over, as protobuf has it.

use super::message::{Message, Owner};

/// Where the methods are.
pub(super) mod method {
    /// Answers with the number that it is asked with.
    pub(in crate::telemetry) const HEALTH_CHECK: &str = "/feeder.LogService/HealthCheck";
    /// Alerts, as they come.
    pub(in crate::telemetry) const WATCH_ALERTS: &str = "/feeder.LogService/WatchAlerts";
    /// Telemetry, as it comes.
    pub(in crate::telemetry) const WATCH_LOGS: &str = "/feeder.LogService/WatchLogs";
}

/// `feeder.NonceMessage`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct NonceMessage {
    #[prost(int32, tag = "1")]
    pub(super) nonce: i32,
}

/// `feeder.ReplyMessage`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct ReplyMessage {
    #[prost(int32, tag = "1")]
    pub(super) retval: i32,
}

/// `feeder.RequestMessage`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RequestMessage {
    #[prost(string, tag = "1")]
    pub(super) filter: String,
}

/// `feeder.Podowner`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodOwner {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

/// `feeder.Alert`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Alert {
    #[prost(int64, tag = "1")]
    pub(super) timestamp: i64,
    #[prost(string, tag = "2")]
    pub(super) updated_time: String,
    #[prost(string, tag = "5")]
    pub(super) namespace_name: String,
    #[prost(message, optional, tag = "31")]
    pub(super) owner: Option<PodOwner>,
    #[prost(string, tag = "6")]
    pub(super) pod_name: String,
    #[prost(string, tag = "29")]
    pub(super) labels: String,
    #[prost(string, tag = "7")]
    pub(super) container_id: String,
    #[prost(string, tag = "8")]
    pub(super) container_name: String,
    #[prost(string, tag = "24")]
    pub(super) container_image: String,
    #[prost(int32, tag = "12")]
    pub(super) uid: i32,
    #[prost(string, tag = "25")]
    pub(super) parent_process_name: String,
    #[prost(string, tag = "26")]
    pub(super) process_name: String,
    #[prost(string, tag = "13")]
    pub(super) policy_name: String,
    #[prost(string, tag = "17")]
    pub(super) kind: String,
    #[prost(string, tag = "18")]
    pub(super) source: String,
    #[prost(string, tag = "19")]
    pub(super) operation: String,
    #[prost(string, tag = "20")]
    pub(super) resource: String,
    #[prost(string, tag = "21")]
    pub(super) data: String,
    #[prost(string, tag = "22")]
    pub(super) action: String,
    #[prost(string, tag = "23")]
    pub(super) result: String,
    #[prost(string, tag = "32")]
    pub(super) cwd: String,
    #[prost(string, tag = "33")]
    pub(super) tty: String,
    #[prost(int32, tag = "35")]
    pub(super) dropping_alerts_interval: i32,
}

/// `feeder.Log`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Log {
    #[prost(int64, tag = "1")]
    pub(super) timestamp: i64,
    #[prost(string, tag = "2")]
    pub(super) updated_time: String,
    #[prost(string, tag = "5")]
    pub(super) namespace_name: String,
    #[prost(message, optional, tag = "24")]
    pub(super) owner: Option<PodOwner>,
    #[prost(string, tag = "6")]
    pub(super) pod_name: String,
    #[prost(string, tag = "23")]
    pub(super) labels: String,
    #[prost(string, tag = "7")]
    pub(super) container_id: String,
    #[prost(string, tag = "8")]
    pub(super) container_name: String,
    #[prost(string, tag = "19")]
    pub(super) container_image: String,
    #[prost(int32, tag = "12")]
    pub(super) uid: i32,
    #[prost(string, tag = "20")]
    pub(super) parent_process_name: String,
    #[prost(string, tag = "21")]
    pub(super) process_name: String,
    #[prost(string, tag = "13")]
    pub(super) kind: String,
    #[prost(string, tag = "14")]
    pub(super) source: String,
    #[prost(string, tag = "15")]
    pub(super) operation: String,
    #[prost(string, tag = "16")]
    pub(super) resource: String,
    #[prost(string, tag = "17")]
    pub(super) data: String,
    #[prost(string, tag = "18")]
    pub(super) result: String,
    #[prost(string, tag = "25")]
    pub(super) cwd: String,
    #[prost(string, tag = "26")]
    pub(super) tty: String,
}

impl From<PodOwner> for Owner {
    fn from(owner: PodOwner) -> Self {
        let PodOwner { kind, name } = owner;
        Self { kind, name }
    }
}

impl From<Alert> for Message {
    fn from(alert: Alert) -> Self {
        let Alert {
            timestamp,
            updated_time,
            namespace_name,
            owner,
            pod_name,
            labels,
            container_id,
            container_name,
            container_image,
            uid,
            parent_process_name,
            process_name,
            policy_name,
            kind,
            source,
            operation,
            resource,
            data,
            action,
            result,
            cwd,
            tty,
            dropping_alerts_interval,
        } = alert;
        Self {
            timestamp,
            updated_time,
            namespace_name,
            owner: owner.map(Owner::from),
            pod_name,
            labels,
            container_id,
            container_name,
            container_image,
            uid: Some(i64::from(uid)),
            parent_process_name,
            process_name,
            policy_name,
            kind,
            source,
            operation,
            resource,
            data,
            action,
            result,
            cwd,
            tty,
            dropping_alerts_interval,
        }
    }
}

impl From<Log> for Message {
    fn from(log: Log) -> Self {
        let Log {
            timestamp,
            updated_time,
            namespace_name,
            owner,
            pod_name,
            labels,
            container_id,
            container_name,
            container_image,
            uid,
            parent_process_name,
            process_name,
            kind,
            source,
            operation,
            resource,
            data,
            result,
            cwd,
            tty,
        } = log;
        Self {
            timestamp,
            updated_time,
            namespace_name,
            owner: owner.map(Owner::from),
            pod_name,
            labels,
            container_id,
            container_name,
            container_image,
            uid: Some(i64::from(uid)),
            parent_process_name,
            process_name,
            kind,
            source,
            operation,
            resource,
            data,
            result,
            cwd,
            tty,
            ..Self::default()
        }
    }
}

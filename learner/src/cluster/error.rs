//! What the API server refuses, in a sentence each.

use std::fmt;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

use super::piece::BadPiece;

/// What was being done to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// The verb, as RBAC has it.
    pub verb: &'static str,
    /// The resource, as RBAC has it: `workloadevidences.learner.dev`.
    pub resource: &'static str,
    /// Its namespace; all of them where there is none.
    pub namespace: Option<String>,
    /// Its name, for one object.
    pub name: Option<String>,
}

impl Doing {
    /// The verbs that RBAC has to give. Server-side apply of what is not there yet makes it, and the server
    /// does not say which of the two is lacking. Namespaces and what has a status are there.
    fn rights(&self) -> String {
        let is_there = self.resource == "namespaces" || self.resource.contains('/');
        match self.verb {
            "patch" if !is_there => "verbs 'patch' and 'create'".to_owned(),
            verb => format!("verb '{verb}'"),
        }
    }

    /// What defines the resource.
    fn definition(&self) -> &'static str {
        if self.resource.ends_with("security.kubearmor.com") {
            "install KubeArmor, or apply its definitions"
        } else {
            "apply the definitions: learner crd | kubectl apply -f -"
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " {namespace}/{name}"),
            (Some(namespace), None) => write!(f, " in {namespace}"),
            (None, Some(name)) => write!(f, " {name}"),
            (None, None) => f.write_str(" in all namespaces"),
        }
    }
}

/// Something that could not be done with the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Nothing says where the API server is.
    #[error(
        "where the API server is cannot be told: {0}; set KUBECONFIG, or run in a pod with a service account"
    )]
    NoConfig(String),
    /// It does not answer.
    #[error("{doing}: the API server does not answer: {cause}")]
    Unreachable {
        /// What was being done.
        doing: Doing,
        /// What went wrong.
        cause: String,
    },
    /// Role-based access control does not allow it.
    #[error("{doing}: not allowed; a Role or ClusterRole has to give the {} on '{}' ({message})", doing.rights(), doing.resource)]
    Forbidden {
        /// What was being done.
        doing: Doing,
        /// In the words of the server.
        message: String,
    },
    /// It does not know who is asking.
    #[error("{doing}: the API server does not accept the credentials: {message}")]
    Unauthorized {
        /// What was being done.
        doing: Doing,
        /// In the words of the server.
        message: String,
    },
    /// The resource is not defined.
    #[error("{doing}: the cluster has no such resource; {}", doing.definition())]
    NoDefinition {
        /// What was being done.
        doing: Doing,
    },
    /// The namespace is not there, or the object.
    #[error("{doing}: not found: {message}")]
    NotFound {
        /// What was being done.
        doing: Doing,
        /// In the words of the server.
        message: String,
    },
    /// Another field manager owns what is to be written.
    #[error("{doing}: {} has set {}; nothing is overwritten: remove the object or take those fields out of it", managers.join(", "), fields.join(", "))]
    Conflict {
        /// What was being done.
        doing: Doing,
        /// The other managers.
        managers: Box<[String]>,
        /// The fields.
        fields: Box<[String]>,
    },
    /// The object was changed meanwhile.
    #[error("{doing}: it was changed meanwhile; try it again")]
    Stale {
        /// What was being done.
        doing: Doing,
    },
    /// The server asks for patience.
    #[error("{doing}: the API server has too much to do; try it again{}", after.map_or(String::new(), |after| format!(" after {} s", after.as_secs())))]
    Busy {
        /// What was being done.
        doing: Doing,
        /// How long to wait, where it says so.
        after: Option<Duration>,
    },
    /// What was being read is too old.
    #[error("{doing}: the API server has forgotten where the watch was; all is listed again")]
    Expired {
        /// What was being done.
        doing: Doing,
    },
    /// An admission webhook, or validation, refuses it.
    #[error("{doing}: refused: {message}")]
    Refused {
        /// What was being done.
        doing: Doing,
        /// In the words of the server, or of the webhook.
        message: String,
    },
    /// The server failed, or answers what it should not.
    #[error("{doing}: {message}")]
    Server {
        /// What was being done.
        doing: Doing,
        /// What it says.
        message: String,
    },
    /// What is to be written cannot be an object.
    #[error("{doing}: {cause}")]
    Piece {
        /// What was being done.
        doing: Doing,
        /// Why.
        cause: Box<BadPiece>,
    },
}

impl ClusterError {
    /// What a request came to.
    pub fn of(doing: Doing, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::answered(doing, &status),
            kube::Error::Service(cause) => {
                let cause = chain(cause.as_ref());
                Self::Unreachable { doing, cause }
            }
            kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => {
                let cause = chain(&error);
                Self::Unreachable { doing, cause }
            }
            other => {
                let message = chain(&other);
                Self::Server { doing, message }
            }
        }
    }

    /// What became of following a resource, in a namespace or in all.
    pub(super) fn of_watch(
        resource: &'static str,
        namespace: Option<&str>,
        error: watcher::Error,
    ) -> Self {
        let doing = |verb| Doing {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: None,
        };
        match error {
            watcher::Error::InitialListFailed(error) => Self::of(doing("list"), error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                Self::of(doing("watch"), error)
            }
            watcher::Error::WatchError(status) => {
                Self::of(doing("watch"), kube::Error::Api(status))
            }
            watcher::Error::NoResourceVersion => Self::Server {
                doing: doing("watch"),
                message: "an answer without a resource version".to_owned(),
            },
        }
    }

    fn answered(doing: Doing, status: &Status) -> Self {
        let message = one_line(&status.message);
        match status.code {
            401 => Self::Unauthorized { doing, message },
            403 if is_admission(&message) => Self::Refused { doing, message },
            403 => Self::Forbidden { doing, message },
            404 if is_undefined(status) => Self::NoDefinition { doing },
            404 => Self::NotFound { doing, message },
            409 => conflict(doing, status),
            410 => Self::Expired { doing },
            429 => {
                let seconds = status.details.as_ref().map(|of| of.retry_after_seconds);
                let after = seconds.filter(|seconds| *seconds > 0);
                let after = after.map(|seconds| Duration::from_secs(seconds.into()));
                Self::Busy { doing, after }
            }
            400 | 413 | 422 => Self::Refused { doing, message },
            _ => Self::Server { doing, message },
        }
    }

    /// Whether it is this object that is not taken, for the sake of another manager or of admission.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Refused { .. })
    }

    /// Whether the cluster does not have the resource.
    pub fn is_undefined(&self) -> bool {
        matches!(self, Self::NoDefinition { .. })
    }

    /// Whether it is the server that does not answer as it should, whatever it is asked.
    pub fn is_of_server(&self) -> bool {
        match self {
            Self::NoConfig(_)
            | Self::Unreachable { .. }
            | Self::Unauthorized { .. }
            | Self::NoDefinition { .. }
            | Self::Busy { .. }
            | Self::Server { .. } => true,
            Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Stale { .. }
            | Self::Expired { .. }
            | Self::Refused { .. }
            | Self::Piece { .. } => false,
        }
    }

    /// Whether the same request may be answered a little later, without anybody doing anything.
    pub fn passes(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Busy { .. } | Self::Server { .. } | Self::Stale { .. }
        )
    }

    /// What kind of failure it is, in one word, for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoConfig(_) => "no-config",
            Self::Unreachable { .. } => "unreachable",
            Self::Forbidden { .. } => "forbidden",
            Self::Unauthorized { .. } => "unauthorized",
            Self::NoDefinition { .. } => "no-definition",
            Self::NotFound { .. } => "not-found",
            Self::Conflict { .. } => "conflict",
            Self::Stale { .. } => "stale",
            Self::Busy { .. } => "busy",
            Self::Expired { .. } => "expired",
            Self::Refused { .. } => "refused",
            Self::Server { .. } => "server",
            Self::Piece { .. } => "too-large",
        }
    }

    /// How long the server wants not to be asked, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }
}

/// A server without the definition answers in plain text, which has no details; of an object or a namespace
/// that is not there it says the name.
fn is_undefined(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|of| of.name.is_empty())
}

/// A webhook, a quota, a namespace that is being deleted: all are forbidden too. Of rights that are lacking
/// it is said what the user cannot do; or nothing, where an apply would make the object.
fn is_admission(message: &str) -> bool {
    let why = message.split_once(" is forbidden: ").map(|(_, why)| why);
    let is_told = |why: &str| !why.trim().is_empty() && !why.contains(" cannot ");
    message.starts_with("admission webhook") || why.is_some_and(is_told)
}

fn conflict(doing: Doing, status: &Status) -> ClusterError {
    let causes = status.details.iter().flat_map(|of| &of.causes);
    let (mut managers, mut fields) = (Vec::new(), Vec::new());
    for cause in causes.filter(|cause| cause.reason == "FieldManagerConflict") {
        // conflict with "kubectl-edit" using learner.dev/v1alpha1
        let manager = cause.message.split('"').nth(1);
        managers.push(one_line(manager.unwrap_or("another manager")));
        fields.push(one_line(&cause.field));
    }
    managers.sort();
    managers.dedup();
    if managers.is_empty() {
        ClusterError::Stale { doing }
    } else {
        ClusterError::Conflict {
            doing,
            managers: managers.into(),
            fields: fields.into(),
        }
    }
}

/// The error and its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = one_line(&next.to_string());
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text
}

/// Longest text that is taken over from a server, bytes.
const MAX_TEXT: usize = 512;

/// In one line, without control characters, and not too long.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() >= MAX_TEXT {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doing() -> Doing {
        Doing {
            verb: "patch",
            resource: "workloadevidences.learner.dev",
            namespace: Some("shop".to_owned()),
            name: Some("web-1".to_owned()),
        }
    }

    fn answered(json: &str) -> String {
        let status: Status = serde_json::from_str(json).expect("a status");
        ClusterError::of(doing(), kube::Error::Api(status.boxed())).to_string()
    }

    #[test]
    fn each_refusal_is_a_sentence_that_names_the_thing_and_the_next_step() {
        for (json, has) in [
            (
                r#"{"code":401,"message":"Unauthorized"}"#,
                "does not accept the credentials",
            ),
            (
                r#"{"code":403,"message":"forbidden: x"}"#,
                "the verbs 'patch' and 'create' on 'workloadevidences.learner.dev'",
            ),
            (
                r#"{"code":403,"message":"admission webhook \"w\" denied the request: no"}"#,
                "refused: admission webhook \"w\"",
            ),
            (
                r#"{"code":403,"message":"p is forbidden: User \"u\" cannot patch resource \"p\""}"#,
                "the verbs 'patch' and 'create'",
            ),
            (
                r#"{"code":403,"message":"p is forbidden: "}"#,
                "the verbs 'patch' and 'create'",
            ),
            (
                r#"{"code":403,"message":"p is forbidden: exceeded quota: q"}"#,
                "refused: p is forbidden: exceeded quota: q",
            ),
            (
                r#"{"code":404,"message":"404 page not found"}"#,
                "learner crd | kubectl apply -f -",
            ),
            (
                r#"{"code":404,"message":"namespaces \"shop\" not found","details":{"name":"shop"}}"#,
                "namespaces \"shop\" not found",
            ),
            (
                r#"{"code":409,"message":"the object has been modified"}"#,
                "it was changed meanwhile",
            ),
            (
                r#"{"code":409,"message":"c","details":{"causes":[{"reason":"FieldManagerConflict","message":"conflict with \"kubectl-edit\" using v1","field":".spec.acts"}]}}"#,
                "kubectl-edit has set .spec.acts",
            ),
            (
                r#"{"code":410,"message":"too old resource version"}"#,
                "all is listed again",
            ),
            (
                r#"{"code":422,"message":"spec.piece in body should be less"}"#,
                "refused: spec.piece",
            ),
            (
                r#"{"code":429,"message":"slow","details":{"retryAfterSeconds":7}}"#,
                "try it again after 7 s",
            ),
            (r#"{"code":500,"message":"etcd\nis gone"}"#, "etcd is gone"),
        ] {
            let text = answered(json);
            assert!(
                text.starts_with("patch workloadevidences.learner.dev shop/web-1: "),
                "{text}"
            );
            assert!(text.contains(has), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn what_a_server_says_is_cut_and_harmless() {
        let long = format!(
            r#"{{"code":500,"message":"\u001b[31m{}"}}"#,
            "x".repeat(5_000)
        );
        let text = answered(&long);
        assert!(text.len() < 700 && !text.contains('\u{1b}'), "{text}");
    }
}

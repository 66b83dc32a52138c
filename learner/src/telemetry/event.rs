//! What a message of KubeArmor says.

use std::fmt;
use std::sync::Arc;

use crate::behavior::Behavior;
use crate::observation::{Loss, Moment};
use crate::workload::{Labels, RunKey};

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A container did something that a file or process rule governs.
    Deed(Box<Deed>),
    /// KubeArmor drops alerts.
    Throttled(Throttle),
    /// Nothing that a recording has.
    Beside(Beside),
}

/// Something that a container did or tried. At least one of `behavior` and `gap` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Whose.
    pub whose: Whose,
    /// When, as KubeArmor read its clock on reading the event.
    pub at: Moment,
    /// Which way it is known.
    pub channel: Channel,
    /// What was done, as far as it is known for certain.
    pub behavior: Option<Behavior>,
    /// What is not known of it.
    pub gap: Option<Gap>,
}

/// Which way something is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// By telemetry: it may be learned from if it succeeded.
    Telemetry,
    /// By an alert: a policy matched, or the posture. Never learned from.
    Alert {
        /// The policy; `DefaultPosture` for what no rule allows.
        policy: String,
        /// It was refused; else it was audited, and done.
        denied: bool,
    },
}

/// Whose an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A run's. Its labels are without those that differ from pod to pod.
    Run {
        /// The run.
        run: Arc<RunKey>,
        /// The labels.
        labels: Arc<Labels>,
        /// The runtime's id of the container, if told.
        container: String,
    },
    /// A container's that KubeArmor knew only the id of, as it does while a pod starts.
    Container(String),
}

/// KubeArmor drops the alerts of a container for a while, since there were too many a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Whose alerts; nothing if the message names no container.
    pub whose: Option<Whose>,
    /// Since when.
    pub at: Moment,
    /// Until when.
    pub until: Moment,
}

/// What recordings do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Beside {
    /// Sockets.
    Network,
    /// Capabilities.
    Capabilities,
    /// System calls that are watched as such, devices, and operations that no file rule governs: close,
    /// chown, ptrace, opens with O_PATH.
    Syscall,
    /// What was done on the host.
    Host,
    /// What the container's runtime did while it set the container up.
    Runtime,
    /// KubeArmor about itself.
    System,
}

impl Beside {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Capabilities => "capabilities",
            Self::Syscall => "other system calls",
            Self::Host => "host",
            Self::Runtime => "container runtime",
            Self::System => "KubeArmor itself",
        }
    }
}

/// What is not known of something that was done, so that it cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gap {
    /// Its path is relative, or would have to be resolved.
    Unresolved,
    /// Its path held bytes that are not UTF-8, which KubeArmor does not tell.
    Garbled,
    /// Its path is longer than KubeArmor tells.
    TooLong,
    /// Its path has more components than KubeArmor follows.
    TooDeep,
    /// How it was done is missing: the flags of an open, the other name of a link or rename.
    HalfTold,
    /// A script was executed, or a program by a symbolic link: only what ran in the end is known.
    Renamed,
}

impl Gap {
    /// The reason in the loss account.
    pub fn loss(self) -> Loss {
        match self {
            Self::TooLong => Loss::PathTooLong,
            Self::TooDeep => Loss::PathTooDeep,
            Self::Unresolved => Loss::from("kubearmor-unresolved"),
            Self::Garbled => Loss::from("kubearmor-garbled"),
            Self::HalfTold => Loss::from("kubearmor-half-told"),
            Self::Renamed => Loss::from("kubearmor-script"),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unresolved => "the path is not resolved",
            Self::Garbled => "the path is not UTF-8",
            Self::TooLong => "the path is too long",
            Self::TooDeep => "the path is too deep",
            Self::HalfTold => "the flags or the second name are missing",
            Self::Renamed => "a script, or a program by a symbolic link",
        })
    }
}

//! Policies: what may be allowed because it was seen, in KubeArmor's words.
//!
//! A policy is derived from evidence whenever it is asked for and never kept as truth. The same
//! evidence gives the same bytes, in whatever order it arrived.

pub mod crd;
mod document;
mod expressible;
mod identity;
mod lint;
pub mod meaning;
pub mod names;
mod selector;
mod violation;
mod yaml;

pub use document::{
    Action, Capabilities, Capability, Device, DeviceRule, Directory, DnsQuery, Effect, FileRules,
    Kind, MatchExpression, Metadata, Network, NodeSelector, PathRule, Pattern, Policy, Preset,
    ProcessRules, Protocol, Selector, Source, Spec, SyscallPath, SyscallRule, SyscallSource,
    Syscalls,
};
pub use expressible::Reason;
pub(crate) use expressible::expressible;
pub use identity::Identity;
pub use lint::{Lint, LintKind, lint};
pub(crate) use selector::CONTAINER_LABEL;
pub use selector::Pod;
pub use violation::{Violation, violations};
pub use yaml::{BadPolicy, documents, from_yaml, to_yaml};

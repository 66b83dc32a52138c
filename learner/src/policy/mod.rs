//! Policies: what may be allowed because it was seen, in KubeArmor's words.
//!
//! A policy is derived from evidence whenever it is asked for and never kept as truth. The same
//! evidence gives the same bytes, in whatever order it arrived.

pub mod crd;
mod document;
mod exact;
pub mod names;
mod recommendation;
mod yaml;

pub use document::{
    Action, Directory, FileRules, KubeArmorPolicy, Metadata, PathRule, ProcessRules, Selector,
    Source, Spec,
};
pub use exact::exact;
pub(crate) use exact::expressible;
pub use recommendation::{Note, Reason, Recommendation, Refusal, Unexpressed};
pub use yaml::{BadPolicy, from_yaml, to_yaml};

//! The agent: watches the workloads of a host, and owns the store.
//!
//! One thread waits for the kernel's records, for cgroups that come and go, for time and for signals
//! ([`run`]). Work on the store is done beside it, so that the ring buffer is always read. What runs
//! did goes to the store as they end, and at every flush, each time all of it: a fold is a join, so
//! a kill loses at most what came since the last flush.
//!
//! What was stored is judged then, also beside that thread (`bench`): alerts are said, and what takes a
//! workload back, or promotes it, is decided.

mod bench;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(not(feature = "cluster"))]
#[path = "no_cluster.rs"]
mod cluster;
pub mod config;
mod enforcing;
mod figures;
mod judging;
mod keeper;
mod known;
pub mod kubearmor;
mod metrics;
mod naming;
pub mod node;
pub mod promote;
mod run;
mod shelf;
pub mod socket;
mod unnamed;
mod waiting;
mod watched;
mod watching;

pub use run::{AgentError, Places, run};

//! The agent: watches the workloads of a host, and owns the store.
//!
//! One thread waits for the kernel's records, for cgroups that come and go, for time and for signals
//! ([`run`]). Work on the store is done beside it, so that the ring buffer is always read. What runs
//! did goes to the store as they end, and at every flush, each time all of it: a fold is a join, so
//! a kill loses at most what came since the last flush.

pub mod config;
mod figures;
mod keeper;
mod metrics;
mod overseer;
mod run;
mod shelf;
pub mod socket;
mod watching;

pub use overseer::{Learning, Overseer};
pub use run::{AgentError, Places, run};

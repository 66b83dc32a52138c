//! Learner watches what Linux workloads really do and writes the least-permissive KubeArmor
//! policies that let them go on doing it.
//!
//! The floors, lowest first: vocabulary ([`workload`], [`behavior`], [`act`], [`observation`],
//! [`path`], [`mention`], [`span`], [`digest`], [`visible`]), judgement ([`profile`], [`quarantine`],
//! [`readiness`], [`policy`], [`generalize`], [`recommend`], [`report`], [`simulation`], [`mod@diff`],
//! [`shared`], [`posture`], [`candidate`], [`alert`], [`promotion`], [`journal`], [`staging`]), edges ([`cluster`], [`kernel`],
//! [`host`], [`store`], [`recording`], [`telemetry`]), composition ([`session`], [`agent`], [`books`],
//! [`job`]). A module uses only what
//! is below it, and edges do not use one another.
#![forbid(unsafe_code)]

pub mod act;
pub mod behavior;
pub mod digest;
pub mod mention;
pub mod observation;
pub mod path;
pub mod percent;
pub mod span;
pub mod visible;
pub mod workload;

mod contain;

pub mod alert;
pub mod candidate;
pub mod diff;
pub mod generalize;
pub mod journal;
pub mod policy;
pub mod posture;
pub mod profile;
pub mod promotion;
pub mod quarantine;
pub mod readiness;
pub mod recommend;
pub mod report;
pub mod shared;
pub mod simulation;
pub mod staging;

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod host;
pub mod kernel;
pub mod recording;
pub mod store;
pub mod telemetry;

pub mod agent;
pub mod books;
#[cfg(feature = "cluster")]
pub mod job;
pub mod session;

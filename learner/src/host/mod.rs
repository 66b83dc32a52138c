//! The host edge: which cgroups of this host are workloads, and what they are called.
//!
//! Nothing is asked of a container runtime: its cgroups and files tell what is needed.

mod describe;
mod place;
mod runtime;
mod selection;
mod tree;

pub use describe::{Described, describe, is_of_host, is_sandbox};
pub use place::{Place, Runtime, place};
pub use runtime::{Stage, is_manager, is_runtime, stage};
pub use selection::{BadGlob, Globs, Roots, Selection, What};
pub use tree::{Candidate, Changes, Tree};

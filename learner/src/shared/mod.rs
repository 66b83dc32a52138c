//! What the nodes of a cluster tell one another of a workload, and how it becomes one evidence again.
//!
//! A node reduces what its runs did to a [`Part`]: names that vary, whatever other nodes have seen, are
//! replaced by their class, and all others stay as they are, since only what is seen elsewhere can
//! settle them. Parts are joined ([`Joint`]) by unions and maxima alone, so order, repetition and
//! grouping make no difference. [`Merged`] is the evidence that the joined parts stand for:
//! [`recommend`](crate::recommend::recommend_merged) settles what no node could, once more over all runs.

mod act;
mod age;
mod joint;
mod merged;
mod packed;
mod part;
mod split;

pub use act::{Act, BadAct};
pub use age::{Kept, superseded};
pub use joint::Joint;
pub use merged::Merged;
pub(crate) use merged::{Row, Showed, Sifted};
pub use packed::{Deed, Packed, PackedRow, PackedRun, Pool};
pub use part::{Facts, MAX_ACTS, MAX_RUNS, OLDER, Part, RunFacts};
pub use split::split;

#[cfg(test)]
mod tests;

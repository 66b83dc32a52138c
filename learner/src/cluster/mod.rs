//! The cluster edge: what nodes share through the API server of Kubernetes.
//!
//! Each node writes what it has seen of a workload revision as objects of its own
//! ([`WorkloadEvidence`]), by server-side apply; whoever makes policies reads those of all nodes. Nothing
//! is kept anywhere else, and raw evidence stays on its node.

mod authority;
mod crd;
mod error;
mod evidence;
mod forgotten;
pub mod inventory;
pub mod lease;
pub mod namespace;
pub mod news;
pub mod nodes;
mod objects;
mod pace;
mod packing;
mod pages;
mod piece;
pub mod podfacts;
mod pods;
pub mod policies;
mod posture;
pub mod postures;
mod reader;
pub mod standings;
mod states;
mod stream;
mod telling;
mod writer;

pub use kube::Client;

pub use authority::{NoAuthority, authority};
pub use crd::{API_VERSION, GROUP, VERSION, crds};
pub use error::{ClusterError, Doing};
pub use evidence::{
    ActRow, EnforcedBy, Enforcement, HeldFor, NotJudged, OpName, RunRow, Unenforced,
    WorkloadEvidence, WorkloadEvidenceSpec, WorkloadName,
};
pub use forgotten::{ForgottenRow, MAX_FORGOTTEN};
pub use objects::{ALIVE, Holding, Objects, Place, place};
pub use pace::{Pace, Schedule};
pub use piece::{BadPiece, MAX_OBJECT, part_of, pieces};
pub use pods::{Change, Watch, client, connect};
pub use posture::{
    CanaryRow, CandidateRow, HoldSpec, JOURNAL_TAIL, JournalLine, MAX_POLICY, PostureName,
    RevisionRow, WorkloadPosture, WorkloadPostureSpec, WorkloadPostureStatus,
};
pub use reader::{Read, Reading, read, say_left_out};
pub use states::{State, namespaces, one, states};
pub use telling::{Edition, Telling};
pub use writer::{Withdrawn, Writer, Written};

//! KubeArmor's alerts and telemetry: evidence that somebody else gathered.
//!
//! A message of KubeArmor, whichever way it came, is a [`Message`]; what it says is an [`Event`]; events
//! are gathered to runs by a [`Gatherer`]. `docs/kubearmor.md` says what that telemetry cannot see.
//!
//! Guarantees: what KubeArmor denied or audited is never learned from: it is handed over as failed, or of
//! a revision whose frozen candidate judges it, or not at all. A path
//! that is not known for certain (relative, garbled, cut off) is no behaviour. What cannot be read or
//! recorded is counted by reason, and reaches the loss account of the run, or of every run where it is
//! not known whose it was. Memory does not grow with the number of messages, but with what is distinct
//! in them, and within bounds. The order of the messages makes no difference, but for which of them are
//! beyond these bounds.

mod account;
mod act;
mod error;
mod event;
mod feeder;
mod gather;
mod lines;
mod message;
mod outcome;
mod place;
mod relay;
mod tls;
mod whose;

#[cfg(test)]
mod tests;

pub use account::{Account, NAMED, Refused};
pub use error::Unreadable;
pub use event::{Beside, Channel, Deed, Event, Gap, Throttle, Whose};
pub use gather::{Gathered, Gatherer, MAX_HELD, MAX_INTERRUPTIONS, MAX_RUNS};
pub use lines::{MAX_LINE, messages};
pub use message::{Message, Owner};
pub use relay::{Feed, Followed, Heard, Relay, RelayError};
pub use tls::{CertProvider, Identity, TLS_CERT_PATH, Tls};

/// Loss reason of every run that KubeArmor's telemetry tells of: what it never shows. Its count is 1,
/// and means at least one.
pub const UNSEEN: &str = "kubearmor-unseen";

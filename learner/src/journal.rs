//! The journal of decisions: append-only, each entry with the hash of the one before.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::act::ActId;
use crate::digest::Digest;
use crate::observation::Moment;
use crate::posture::{Posture, Revision};
use crate::promotion::{Criteria, Figures, Listed, Reason};
use crate::span::Shown;

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum Actor {
    /// `learner promote`.
    Job,
    /// A person, by the user id they logged in with.
    Person {
        /// The id.
        uid: u32,
    },
    /// The agent.
    Agent,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job => f.write_str("job"),
            Self::Person { uid } => write!(f, "uid {uid}"),
            Self::Agent => f.write_str("agent"),
        }
    }
}

/// Why a revision moved, or got another candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Cause {
    /// The evidence allowed it.
    Promoted,
    /// The workload has another image, which starts with the candidate of the one before.
    NewImage {
        /// The one before.
        before: String,
        /// What it does that the candidate denies.
        new: Listed,
        /// Rules of the candidate that it has not used.
        removed: Listed,
    },
    /// Something spoke against it.
    RolledBack {
        /// What.
        reason: Reason,
    },
    /// A person took it back.
    Demoted {
        /// Why, in their words.
        reason: String,
    },
    /// A person accepted alerts, or what was held: there is a new candidate.
    Accepted {
        /// Their ids.
        ids: Vec<ActId>,
        /// What they are.
        acts: Listed,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted => f.write_str("promoted"),
            Self::NewImage {
                before,
                new,
                removed,
            } => write!(
                f,
                "new image (before: '{}'); {} new {new}; {} rules not used {removed}",
                before.escape_debug(),
                new.count,
                removed.count
            ),
            Self::RolledBack { reason } => write!(f, "rolled back: {reason}"),
            Self::Demoted { reason } => write!(f, "demoted: {}", reason.escape_debug()),
            Self::Accepted { acts, .. } => write!(f, "accepted {} {acts}", acts.count),
        }
    }
}

/// A decision that is to be entered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// When it was made, in microseconds since the Unix epoch.
    pub at: Moment,
    /// By whom.
    pub actor: Actor,
    /// Of what.
    pub revision: Revision,
    /// The posture before.
    pub from: Posture,
    /// The posture after.
    pub to: Posture,
    /// Why.
    pub cause: Cause,
    /// The SHA-256 of the candidate that is in force from then on; none while learning.
    pub candidate: Option<Digest>,
    /// What was wanted; none where a person decided.
    pub criteria: Option<Criteria>,
    /// What the evidence said; none where it was not asked.
    pub figures: Option<Figures>,
}

/// A decision in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// From 1, without gaps.
    pub number: u64,
    /// The decision.
    pub draft: Draft,
    /// The hash of the entry before; [`Digest::NONE`] for the first.
    pub before: Digest,
    line: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    #[serde(flatten)]
    draft: Draft,
    before: Digest,
}

impl Entry {
    /// The entry after one with this number and hash; after nothing, 0 and [`Digest::NONE`].
    pub fn after(number: u64, before: Digest, draft: Draft) -> Self {
        let line = Line {
            number: number + 1,
            draft,
            before,
        };
        // Numbers, text and names: there is nothing in it that JSON cannot hold.
        let text = serde_json::to_string(&line).unwrap_or_default();
        Self {
            number: line.number,
            draft: line.draft,
            before,
            line: text,
        }
    }

    /// Reads an entry's line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(line: &str) -> Result<Self, serde_json::Error> {
        let Line {
            number,
            draft,
            before,
        } = serde_json::from_str(line)?;
        Ok(Self {
            number,
            draft,
            before,
            line: line.to_owned(),
        })
    }

    /// The entry as one line of JSON, as it is kept.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The SHA-256 of [`Entry::line`].
    pub fn hash(&self) -> Digest {
        Digest::of(self.line.as_bytes())
    }
}

impl Serialize for Entry {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.line)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let line = String::deserialize(from)?;
        Self::read(&line).map_err(serde::de::Error::custom)
    }
}

/// A journal, as it is kept.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// By place, in order: what stands there, or why it cannot be read.
    pub places: Vec<(u64, Result<Entry, String>)>,
    /// Where it must end.
    pub end: End,
}

/// How many entries there must be, and the hash of the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// So many.
    pub entries: u64,
    /// The hash of the last; [`Digest::NONE`] without any.
    pub last: Digest,
}

/// What is wrong with a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An entry cannot be read: it was changed.
    Unreadable {
        /// Its place.
        number: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Entries are not there.
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// An entry stands in the place of another.
    Moved {
        /// The place.
        place: u64,
        /// The entry's number.
        number: u64,
    },
    /// An entry was not written after the one before it as that is now.
    Broken {
        /// Its number; this one or the one before was changed.
        number: u64,
    },
    /// The last entry is not the one that was written last.
    WrongEnd {
        /// Its number.
        number: u64,
    },
    /// Entries after the one that was written last.
    Added {
        /// The first of them.
        first: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { number, what } => {
                write!(f, "entry {number} cannot be read: {}", what.escape_debug())
            }
            Self::Missing { first, last } if first == last => {
                write!(f, "entry {first} was removed")
            }
            Self::Missing { first, last } => {
                write!(f, "entries {first} to {last} were removed")
            }
            Self::Moved { place, number } => {
                write!(f, "entry {number} is in the place of entry {place}")
            }
            Self::Broken { number: 1 } => f.write_str("entry 1 was changed"),
            Self::Broken { number } => write!(
                f,
                "entry {} or entry {number} was changed: the one does not follow the other",
                number - 1
            ),
            Self::WrongEnd { number } => write!(
                f,
                "entry {number} was changed: it is not the one that was written last"
            ),
            Self::Added { first } => {
                write!(
                    f,
                    "entry {first} and what follows were added by something else"
                )
            }
        }
    }
}

impl Journal {
    /// The entries that can be read, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.places
            .iter()
            .filter_map(|(_, entry)| entry.as_ref().ok())
    }

    /// What was changed, removed, moved or added, held against the chain and its end. Empty for a
    /// whole journal.
    ///
    /// Who can write to the store can also write a whole new journal, with its end: keep the last hash
    /// elsewhere to find that.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut expected = 1;
        // The hash of the entry before, where that is known.
        let mut before = Some(Digest::NONE);
        for (place, entry) in &self.places {
            let (place, entry) = (*place, entry.as_ref());
            if place > self.end.entries {
                faults.push(Fault::Added { first: place });
                break;
            }
            if expected < place {
                faults.push(Fault::Missing {
                    first: expected,
                    last: place - 1,
                });
                before = None;
            }
            match entry {
                Err(what) => {
                    let (number, what) = (place, what.clone());
                    faults.push(Fault::Unreadable { number, what });
                    before = None;
                }
                Ok(entry) if entry.number != place => {
                    let number = entry.number;
                    faults.push(Fault::Moved { place, number });
                    before = None;
                }
                Ok(entry) => {
                    if before.is_some_and(|before| before != entry.before) {
                        faults.push(Fault::Broken { number: place });
                    }
                    before = Some(entry.hash());
                }
            }
            expected = place + 1;
        }
        if expected <= self.end.entries {
            faults.push(Fault::Missing {
                first: expected,
                last: self.end.entries,
            });
        } else if before.is_some_and(|before| before != self.end.last) {
            faults.push(Fault::WrongEnd {
                number: self.end.entries,
            });
        }
        faults
    }
}

/// In one line: `17 2026-11-25T02:14:00Z job web: audit -> block: promoted (24h quiet)`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Draft {
            at,
            actor,
            revision,
            from,
            to,
            cause,
            figures,
            ..
        } = &self.draft;
        write!(
            f,
            "{} {} {actor} {}: {from} -> {to}: {cause}",
            self.number,
            crate::promotion::At(*at),
            revision.workload.to_string().escape_debug()
        )?;
        match (to, figures) {
            (Posture::Block, Some(figures)) => {
                let quiet = std::time::Duration::from_micros(figures.quiet);
                write!(f, " after {} quiet", Shown(quiet))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

//! What is said on the agent's socket: frames of a length (four bytes, little-endian) and a message.
//!
//! The client sends [`Request::Hello`] first. What is large goes in parts, so that no frame is: a run
//! is its head and any number of [`Part`]s. Both sides are the same version, or say so.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::behavior::Behavior;
use crate::candidate::Candidate;
use crate::journal::{End, Entry};
use crate::mention::Mention;
use crate::observation::{Loss, Moment};
use crate::posture::{Revision, Standing};
use crate::profile::{Evidence, RunProfile, Sighting, Sightings};
use crate::store::{Folded, Summary};
use crate::workload::{Labels, RunKey, Workload};

/// Longest message, bytes. The longest that is sent is a part with one behaviour beyond [`PART`].
pub(super) const MAX_FRAME: usize = 1 << 20;
/// Bytes of names that a part has, about.
const PART: usize = 256 << 10;
/// Entries that a part has at most.
const ENTRIES: usize = 4096;

/// The language, to be counted up whenever a message changes.
pub(super) fn version() -> String {
    format!("learner {} wire 3", env!("CARGO_PKG_VERSION"))
}

/// What a client asks. What is staged by [`Request::Run`], `Seen` and `Mentions` waits for the
/// request that uses it all at once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Says the client's version; answered by [`Reply::Hello`].
    Hello { version: String },
    /// Every run without what it did.
    Summaries,
    /// What these runs did.
    Load(Vec<RunKey>),
    /// What must not be learned.
    Tombstones,
    /// Stages a run.
    Run(Box<Head>),
    /// Stages what the last run did.
    Seen(Part),
    /// Folds what is staged, all of it or nothing.
    Fold,
    /// Stages tombstones.
    Mentions(Vec<(Workload, Mention)>),
    /// Sets what is staged, or takes it away.
    Bury { undo: bool },
    /// Bytes on disk.
    Size,
    /// Where all revisions stand: [`Reply::Text`] of a [`Stand`] each.
    Ledger,
    /// What was decided: [`Reply::Text`] of a [`Place`] each.
    Journal,
    /// Writes down a decision, a `Move` as JSON: [`Reply::Text`] of the entry.
    Decide(String),
}

/// Where a revision stands, with the candidate that is in force.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stand {
    pub revision: Revision,
    pub standing: Standing,
    pub candidate: Option<Candidate>,
}

/// What stands in a place of the journal; the last is its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Place {
    Entry(u64, Box<Result<Entry, String>>),
    End(End),
}

/// What the agent answers. An answer of several ends with [`Reply::End`]; each may be
/// [`Reply::Refused`] instead, or in the middle.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The agent's version, and the directory of its store.
    Hello {
        version: String,
        store: Vec<u8>,
    },
    Summary(Box<Summary>),
    Run(Box<Head>),
    Seen(Part),
    Mentions(Vec<(Workload, Mention)>),
    Folded(Folded),
    /// How many tombstones changed.
    Buried(u64),
    Size(u64),
    /// JSON, of what has shapes that only a self-describing format can hold.
    Text(String),
    End,
    /// It could not be done, and why, as a person is told.
    Refused(String),
}

/// A run apart from what it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub key: RunKey,
    labels: Labels,
    start: Option<Moment>,
    stop: Option<Moment>,
    late: bool,
    lost: BTreeMap<Loss, u64>,
}

/// Some of what a run did.
pub(super) type Part = Vec<(Behavior, Sighting)>;

impl Head {
    pub(super) fn of(key: &RunKey, run: &RunProfile) -> Self {
        let RunProfile {
            labels,
            start,
            stop,
            late,
            lost,
            seen: _,
        } = run;
        Self {
            key: key.clone(),
            labels: labels.clone(),
            start: *start,
            stop: *stop,
            late: *late,
            lost: lost.clone(),
        }
    }

    pub(super) fn into_run(self) -> (RunKey, RunProfile) {
        let Self {
            key,
            labels,
            start,
            stop,
            late,
            lost,
        } = self;
        let run = RunProfile {
            labels,
            start,
            stop,
            late,
            lost,
            seen: Sightings::default(),
        };
        (key, run)
    }
}

/// What a run did, in parts that fit a frame.
pub(super) fn parts(run: &RunProfile) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut part = Part::new();
    let mut size = 0;
    for (behavior, sighting) in &run.seen {
        let names = [
            Some(&behavior.path),
            behavior.source.as_ref(),
            behavior.op.to(),
        ];
        size += names
            .iter()
            .flatten()
            .map(|path| path.as_bytes().len())
            .sum::<usize>();
        part.push((behavior.clone(), *sighting));
        if size >= PART || part.len() >= ENTRIES {
            parts.push(std::mem::take(&mut part));
            size = 0;
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// Runs that come in parts, put together.
#[derive(Debug, Default)]
pub(super) struct Staged {
    evidence: Evidence,
    last: Option<(RunKey, RunProfile)>,
}

impl Staged {
    pub(super) fn begin(&mut self, head: Head) {
        self.end();
        self.last = Some(head.into_run());
    }

    /// False: no run has begun.
    pub(super) fn add(&mut self, part: Part) -> bool {
        let Some((_, run)) = &mut self.last else {
            return false;
        };
        run.seen.extend(part);
        true
    }

    fn end(&mut self) {
        if let Some((key, run)) = self.last.take() {
            self.evidence.insert(key, run);
        }
    }

    pub(super) fn take(&mut self) -> Evidence {
        self.end();
        std::mem::take(&mut self.evidence)
    }
}

/// Why bytes are no message, or a message is not sent.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// It says to be longer than any message.
    #[error("a message of {0} bytes, and none is longer than {MAX_FRAME}")]
    Length(usize),
    /// It is not of this version's shape.
    #[error("a message that is not understood")]
    Shape,
}

/// A message as it is sent.
pub(super) fn frame<M: Serialize>(message: &M) -> Result<Vec<u8>, BadFrame> {
    let body = postcard::to_stdvec(message).map_err(|_| BadFrame::Shape)?;
    if body.len() > MAX_FRAME {
        return Err(BadFrame::Length(body.len()));
    }
    let mut bytes = Vec::with_capacity(body.len() + 4);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The length that a frame begins with, if it can be one.
pub(super) fn length(head: [u8; 4]) -> Result<usize, BadFrame> {
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_FRAME {
        return Err(BadFrame::Length(length));
    }
    Ok(length)
}

/// The message in a frame; all of it is read.
pub(super) fn message<M: DeserializeOwned>(body: &[u8]) -> Result<M, BadFrame> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(BadFrame::Shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behavior::{Access, Op, Outcome};
    use crate::path::AbsPath;
    use proptest::prelude::*;

    fn run(behaviors: usize, name: usize) -> RunProfile {
        let mut run = RunProfile::default();
        for n in 0..behaviors {
            let path = format!("/{n}/{}", "x".repeat(name));
            let behavior = Behavior {
                op: Op::Open(Access::Read),
                path: AbsPath::try_from(path.as_str()).expect("absolute"),
                source: None,
                uid: Some(0),
                owner: None,
                upper: Some(true),
                tty: None,
                result: Outcome::Ok,
            };
            let sighting = Sighting {
                count: 1 + n as u64,
                first: Moment(-1),
                last: Moment(i64::MAX),
            };
            run.seen.insert(behavior, sighting);
        }
        run
    }

    #[test]
    fn a_run_of_any_size_goes_in_frames_and_comes_out_the_same() {
        for (behaviors, name) in [(0, 0), (1, 4000), (5000, 3), (300, 4000)] {
            let key = RunKey {
                workload: "host/Unit/a".parse().expect("a workload"),
                image: String::new(),
                run: "r".to_owned(),
            };
            let run = run(behaviors, name);
            let mut staged = Staged::default();
            let head = frame(&Request::Run(Box::new(Head::of(&key, &run)))).expect("fits");
            let Ok(Request::Run(head)) = message(&head[4..]) else {
                panic!("no head");
            };
            staged.begin(*head);
            for part in parts(&run) {
                let sent = frame(&Request::Seen(part)).expect("fits");
                let Ok(Request::Seen(part)) = message(&sent[4..]) else {
                    panic!("no part");
                };
                assert!(staged.add(part));
            }
            assert_eq!(staged.take().runs().get(&key), Some(&run));
        }
    }

    #[test]
    fn a_length_beyond_the_longest_is_refused_before_anything_is_read() {
        assert!(length(u32::MAX.to_le_bytes()).is_err());
        assert!(length((MAX_FRAME as u32 + 1).to_le_bytes()).is_err());
        assert_eq!(length(7u32.to_le_bytes()).expect("short"), 7);
        assert!(message::<Request>(&[]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in any::<Vec<u8>>()) {
            let _ = message::<Request>(&bytes);
            let _ = message::<Reply>(&bytes);
        }
    }
}

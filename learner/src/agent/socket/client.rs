//! The command line's side of the socket.

use std::collections::BTreeSet;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::wire::{self, BadFrame, Head, Place, Reply, Request, Staged, Stand};
use crate::candidate::Ledger;
use crate::journal::{Entry, Journal};
use crate::mention::{Mention, Tombstones};
use crate::profile::Evidence;
use crate::promotion::Move;
use crate::store::{Folded, Summary};
use crate::workload::{RunKey, Workload};

/// How long the agent may take for an answer, or for the next part of it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Runs that are asked for at once.
const AT_A_TIME: usize = 256;
/// Tombstones in one message.
const MENTIONS: usize = 64;

/// Why the agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there.
    #[error("{}: no agent answers: {cause}; start one with: learner agent", socket.display())]
    Absent {
        /// The socket.
        socket: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// The connection broke.
    #[error(
        "{}: the agent did not answer: {cause}; see its log, and try again",
        socket.display()
    )]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// It speaks another language.
    #[error(
        "{}: the agent is '{theirs}' and this is '{ours}'; restart the agent with this version",
        socket.display()
    )]
    Version {
        /// The socket.
        socket: PathBuf,
        /// The agent's version.
        theirs: String,
        /// This version.
        ours: String,
    },
    /// It said something that is no answer to what was asked.
    #[error("{}: the agent sent {cause}; restart the agent with this version", socket.display())]
    Malformed {
        /// The socket.
        socket: PathBuf,
        /// What it was.
        cause: BadFrame,
    },
    /// It could not do it, and says why.
    #[error("{0}")]
    Refused(String),
}

/// A connection to the agent that has the store open.
#[derive(Debug)]
pub struct Client {
    stream: Mutex<Stream>,
    store: PathBuf,
}

#[derive(Debug)]
struct Stream {
    socket: PathBuf,
    reader: BufReader<UnixStream>,
    writer: BufWriter<UnixStream>,
}

impl Client {
    /// Connects to the agent that listens on `socket`.
    ///
    /// # Errors
    /// [`ClientError::Absent`] if nobody does, and any other.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let absent = |cause| ClientError::Absent {
            socket: socket.to_owned(),
            cause,
        };
        let stream = UnixStream::connect(socket).map_err(absent)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(absent)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(absent)?;
        let mut stream = Stream {
            socket: socket.to_owned(),
            reader: BufReader::new(stream.try_clone().map_err(absent)?),
            writer: BufWriter::new(stream),
        };
        let ours = wire::version();
        let version = ours.clone();
        // Who says no at the door says it without waiting for the question.
        let asked = stream.ask(&Request::Hello { version });
        let store = match stream.answer().or_else(|error| asked.and(Err(error)))? {
            Reply::Hello { version, store } if version == ours => {
                PathBuf::from(std::ffi::OsString::from_vec(store))
            }
            Reply::Hello { version, .. } => {
                return Err(ClientError::Version {
                    socket: socket.to_owned(),
                    theirs: version,
                    ours,
                });
            }
            other => return Err(stream.unexpected(&other)),
        };
        Ok(Self {
            stream: Mutex::new(stream),
            store,
        })
    }

    /// The directory of the agent's store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Every run without what it did, in the order of the keys.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn summaries(&self) -> Result<Vec<Summary>, ClientError> {
        let mut all = Vec::new();
        self.each(&Request::Summaries, |reply| match reply {
            Reply::Summary(summary) => {
                all.push(*summary);
                Ok(())
            }
            other => Err(other),
        })?;
        Ok(all)
    }

    /// What the runs did; those that the store does not have are left out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn load(&self, wanted: &BTreeSet<&RunKey>) -> Result<Evidence, ClientError> {
        let mut staged = Staged::default();
        let keys: Vec<&RunKey> = wanted.iter().copied().collect();
        for keys in keys.chunks(AT_A_TIME) {
            let keys = keys.iter().map(|key| (*key).clone()).collect();
            self.each(&Request::Load(keys), |reply| match reply {
                Reply::Run(head) => {
                    staged.begin(*head);
                    Ok(())
                }
                Reply::Seen(part) if staged.add(part.clone()) => Ok(()),
                other => Err(other),
            })?;
        }
        Ok(staged.take())
    }

    /// What must not be learned again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn tombstones(&self) -> Result<Tombstones, ClientError> {
        let mut all = Tombstones::default();
        self.each(&Request::Tombstones, |reply| match reply {
            Reply::Mentions(mentions) => {
                for (workload, mention) in mentions {
                    all.insert(workload, mention);
                }
                Ok(())
            }
            other => Err(other),
        })?;
        Ok(all)
    }

    /// Joins the runs with what is stored of them: all of it is there afterwards, or nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn fold_all(&self, evidence: &Evidence) -> Result<Folded, ClientError> {
        let mut stream = self.stream();
        for (key, run) in evidence.runs() {
            stream.stage(&Request::Run(Box::new(Head::of(key, run))))?;
            for part in wire::parts(run) {
                stream.stage(&Request::Seen(part))?;
            }
        }
        match stream.one(&Request::Fold)? {
            Reply::Folded(folded) => Ok(folded),
            other => Err(stream.unexpected(&other)),
        }
    }

    /// Sets tombstones, or with `undo` takes them away. Gives the number of those that changed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn bury(
        &self,
        what: impl IntoIterator<Item = (Workload, Mention)>,
        undo: bool,
    ) -> Result<usize, ClientError> {
        let mut stream = self.stream();
        let what: Vec<_> = what.into_iter().collect();
        for some in what.chunks(MENTIONS) {
            stream.stage(&Request::Mentions(some.to_vec()))?;
        }
        match stream.one(&Request::Bury { undo })? {
            Reply::Buried(changed) => Ok(changed as usize),
            other => Err(stream.unexpected(&other)),
        }
    }

    /// Where all revisions stand.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ledger(&self) -> Result<Ledger, ClientError> {
        let mut ledger = Ledger::default();
        self.texts(&Request::Ledger, |stand: Stand| {
            let candidate = stand.candidate.map(|c| (c.digest(), Arc::new(c)));
            let known = candidate.into_iter().collect();
            ledger
                .insert(stand.revision, stand.standing, &known)
                .is_ok()
        })?;
        Ok(ledger)
    }

    /// What was decided.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn journal(&self) -> Result<Journal, ClientError> {
        let mut journal = Journal::default();
        self.texts(&Request::Journal, |place| {
            match place {
                Place::Entry(number, entry) => journal.places.push((number, *entry)),
                Place::End(end) => journal.end = end,
            }
            true
        })?;
        Ok(journal)
    }

    /// Writes down a decision.
    ///
    /// # Errors
    /// [`ClientError`]; nothing is written then, unless the connection broke.
    pub fn decide(&self, decided: &Move) -> Result<Entry, ClientError> {
        let mut stream = self.stream();
        let text = serde_json::to_string(decided);
        let text = text.map_err(|_| stream.malformed(BadFrame::Shape))?;
        match stream.one(&Request::Decide(text))? {
            Reply::Text(line) => {
                serde_json::from_str(&line).map_err(|_| stream.malformed(BadFrame::Shape))
            }
            other => Err(stream.unexpected(&other)),
        }
    }

    /// Asks for an answer of texts, and takes each; false: it is not one.
    fn texts<T: DeserializeOwned>(
        &self,
        request: &Request,
        mut take: impl FnMut(T) -> bool,
    ) -> Result<(), ClientError> {
        self.each(request, |reply| match &reply {
            Reply::Text(text) if serde_json::from_str(text).is_ok_and(&mut take) => Ok(()),
            _ => Err(reply),
        })
    }

    /// Bytes that the store takes up on disk.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn size_on_disk(&self) -> Result<u64, ClientError> {
        let mut stream = self.stream();
        match stream.one(&Request::Size)? {
            Reply::Size(size) => Ok(size),
            other => Err(stream.unexpected(&other)),
        }
    }

    fn stream(&self) -> std::sync::MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and takes each part of the answer until its end.
    fn each(
        &self,
        request: &Request,
        mut take: impl FnMut(Reply) -> Result<(), Reply>,
    ) -> Result<(), ClientError> {
        let mut stream = self.stream();
        stream.ask(request)?;
        loop {
            match stream.answer()? {
                Reply::End => return Ok(()),
                reply => take(reply).map_err(|other| stream.unexpected(&other))?,
            }
        }
    }
}

impl Stream {
    fn one(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.ask(request)?;
        self.answer()
    }

    fn ask(&mut self, request: &Request) -> Result<(), ClientError> {
        self.write(request)?;
        self.writer.flush().map_err(|cause| self.broken(cause))
    }

    /// Sends what is used by a later request. If the agent would not take any more, its reason is
    /// the error.
    fn stage(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.write(request) {
            Err(broken @ ClientError::Broken { .. }) => match self.answer() {
                Err(refused @ ClientError::Refused(_)) => Err(refused),
                _ => Err(broken),
            },
            written => written,
        }
    }

    fn write(&mut self, request: &Request) -> Result<(), ClientError> {
        let frame = wire::frame(request).map_err(|cause| self.malformed(cause))?;
        self.writer
            .write_all(&frame)
            .map_err(|cause| self.broken(cause))
    }

    fn answer(&mut self) -> Result<Reply, ClientError> {
        let mut head = [0; 4];
        let read = self.reader.read_exact(&mut head);
        read.map_err(|cause| self.broken(cause))?;
        let length = wire::length(head).map_err(|cause| self.malformed(cause))?;
        let mut body = vec![0; length];
        let read = self.reader.read_exact(&mut body);
        read.map_err(|cause| self.broken(cause))?;
        match wire::message(&body).map_err(|cause| self.malformed(cause))? {
            Reply::Refused(why) => Err(ClientError::Refused(why)),
            reply => Ok(reply),
        }
    }

    fn broken(&self, cause: io::Error) -> ClientError {
        ClientError::Broken {
            socket: self.socket.clone(),
            cause,
        }
    }

    fn malformed(&self, cause: BadFrame) -> ClientError {
        ClientError::Malformed {
            socket: self.socket.clone(),
            cause,
        }
    }

    fn unexpected(&self, reply: &Reply) -> ClientError {
        tracing::debug!(?reply, "no answer to what was asked");
        self.malformed(BadFrame::Shape)
    }
}

//! The agent's side of the socket.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use serde::Serialize;

use super::wire::{self, BadFrame, Head, Place, Reply, Request, Staged, Stand};
use crate::agent::shelf::Shelf;
use crate::mention::Mention;
use crate::posture::{Revision, Standing};
use crate::promotion::Move;
use crate::store::StoreError;
use crate::workload::Workload;

/// Peers that are served at once; a further one waits for its turn.
const PEERS: usize = 32;
/// How long a peer may be silent between two requests.
const IDLE: Duration = Duration::from_secs(600);
/// How long a message may take, once it has begun, and an answer to be taken.
const SLOW: Duration = Duration::from_secs(30);
/// Bytes that may wait to be used, of all peers together.
const MAX_STAGED: usize = 256 << 20;
/// Tombstones in one message.
const MENTIONS: usize = 64;

/// The socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent is there.
    #[error(
        "{}: another agent listens there; stop it, or name another socket with --socket PATH",
        .0.display()
    )]
    Taken(PathBuf),
    /// Something else is there.
    #[error(
        "{}: something other than a socket is there; move it away, or name another with --socket PATH",
        .0.display()
    )]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("{}: {doing} failed: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        cause: io::Error,
    },
}

/// A listening socket of mode 0600, removed when dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens on `path`, in the place of a socket that nobody listens on any more. Directories that
    /// are not there are made, closed to others.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn listen(path: &Path) -> Result<Self, SocketError> {
        let failed = |doing| {
            move |cause| SocketError::Io {
                path: path.to_owned(),
                doing,
                cause,
            }
        };
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(failed("making its directory"))?;
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NoSocket(path.to_owned()));
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(SocketError::Taken(path.to_owned()));
            }
            Ok(_) => fs::remove_file(path).map_err(failed("removing the one left over"))?,
            Err(_) => {}
        }
        // Nobody else may connect from the first moment on.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = listener.map_err(failed("listening"))?;
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(failed("closing it to others"))?;
        let path = path.to_owned();
        Ok(Self { listener, path })
    }

    /// Serves whoever connects and is this process's user or root. Does not end by itself.
    pub async fn serve(&self, shelf: Arc<Shelf>) {
        let peers = Arc::new(Semaphore::new(PEERS));
        let staged = Arc::new(AtomicUsize::new(0));
        loop {
            let Ok(turn) = Arc::clone(&peers).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(cause) => {
                    // Descriptors may be short for a while.
                    tracing::warn!("the socket does not accept: {cause}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let peer = Peer {
                stream,
                shelf: Arc::clone(&shelf),
                staging: Staging {
                    all: Arc::clone(&staged),
                    own: 0,
                },
                runs: Staged::default(),
                mentions: Vec::new(),
            };
            tokio::spawn(async move {
                if let Err(ended) = peer.serve().await {
                    tracing::debug!("a peer of the socket: {ended}");
                }
                drop(turn);
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Why a peer is served no longer.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it took too long")]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error("{0}")]
    Malformed(#[from] BadFrame),
    #[error("{0}")]
    TurnedAway(String),
}

/// Bytes that wait to be used: this peer's are given back when it goes.
struct Staging {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Staging {
    fn add(&mut self, bytes: usize) -> bool {
        self.own += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_STAGED
    }

    fn clear(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
        self.own = 0;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.clear();
    }
}

struct Peer {
    stream: UnixStream,
    shelf: Arc<Shelf>,
    staging: Staging,
    runs: Staged,
    mentions: Vec<(Workload, Mention)>,
}

impl Peer {
    async fn serve(mut self) -> Result<(), Ended> {
        let uid = self.stream.peer_cred()?.uid();
        if uid != 0 && uid != rustix::process::geteuid().as_raw() {
            let why = "the agent answers root alone; run the command as root";
            tracing::warn!(uid, "a peer of the socket is not root, and was turned away");
            return self.turn_away(why.to_owned()).await;
        }
        loop {
            let Some((request, bytes)) = self.request().await? else {
                return Ok(());
            };
            self.handle(request, bytes).await?;
        }
    }

    /// The next request and its length; None: the peer is done.
    async fn request(&mut self) -> Result<Option<(Request, usize)>, Ended> {
        let mut head = [0; 4];
        match timeout(IDLE, self.stream.read(&mut head[..1])).await?? {
            0 => return Ok(None),
            _ => timeout(SLOW, self.stream.read_exact(&mut head[1..])).await??,
        };
        let length = match wire::length(head) {
            Ok(length) => length,
            Err(bad) => return self.turn_away(bad.to_string()).await.map(|()| None),
        };
        let mut body = vec![0; length];
        timeout(SLOW, self.stream.read_exact(&mut body)).await??;
        match wire::message(&body) {
            Ok(request) => Ok(Some((request, length))),
            Err(bad) => self.turn_away(bad.to_string()).await.map(|()| None),
        }
    }

    /// Says why, and ends it.
    async fn turn_away(&mut self, why: String) -> Result<(), Ended> {
        self.say(&Reply::Refused(why.clone())).await?;
        Err(Ended::TurnedAway(why))
    }

    async fn say(&mut self, reply: &Reply) -> Result<(), Ended> {
        let frame = wire::frame(reply)?;
        timeout(SLOW, self.stream.write_all(&frame)).await??;
        Ok(())
    }

    async fn handle(&mut self, request: Request, bytes: usize) -> Result<(), Ended> {
        match request {
            Request::Hello { .. } => {
                let store = self.shelf.dir().as_os_str().as_bytes().to_vec();
                let version = wire::version();
                self.say(&Reply::Hello { version, store }).await
            }
            Request::Summaries => match self.work(|shelf| shelf.with(|s| s.summaries())).await {
                Ok(all) => {
                    for summary in all {
                        self.say(&Reply::Summary(Box::new(summary))).await?;
                    }
                    self.say(&Reply::End).await
                }
                Err(why) => self.say(&Reply::Refused(why)).await,
            },
            Request::Load(keys) => self.load(keys).await,
            Request::Tombstones => match self.work(|shelf| shelf.with(|s| s.tombstones())).await {
                Ok(all) => {
                    let all: Vec<_> = all.iter().map(|(w, m)| (w.clone(), m.clone())).collect();
                    for some in all.chunks(MENTIONS) {
                        self.say(&Reply::Mentions(some.to_vec())).await?;
                    }
                    self.say(&Reply::End).await
                }
                Err(why) => self.say(&Reply::Refused(why)).await,
            },
            Request::Run(head) => {
                self.stage(bytes).await?;
                self.runs.begin(*head);
                Ok(())
            }
            Request::Seen(part) => {
                self.stage(bytes).await?;
                if self.runs.add(part) {
                    return Ok(());
                }
                self.turn_away("what was seen is of no run".to_owned())
                    .await
            }
            Request::Fold => {
                let evidence = self.runs.take();
                self.staging.clear();
                let folded = self.work(move |shelf| shelf.with(|s| s.fold_all(&evidence)));
                let reply = folded.await.map_or_else(Reply::Refused, Reply::Folded);
                self.say(&reply).await
            }
            Request::Mentions(some) => {
                self.stage(bytes).await?;
                self.mentions.extend(some);
                Ok(())
            }
            Request::Bury { undo } => {
                let what = std::mem::take(&mut self.mentions);
                self.staging.clear();
                let buried = self.work(move |shelf| {
                    shelf.with(|store| match undo {
                        true => store.unforget(what.iter().cloned()),
                        false => store.forget(what.iter().cloned()),
                    })
                });
                let buried = buried.await.map(|changed| changed as u64);
                self.say(&buried.map_or_else(Reply::Refused, Reply::Buried))
                    .await
            }
            Request::Ledger => {
                let ledger = self.work(|shelf| shelf.with(|s| s.ledger())).await;
                let stands = ledger.map(|ledger| {
                    let stand = |(revision, standing): (&Revision, &Standing)| Stand {
                        revision: revision.clone(),
                        standing: standing.clone(),
                        candidate: ledger.frozen(revision).map(|f| f.candidate().clone()),
                    };
                    ledger.iter().map(stand).collect::<Vec<_>>()
                });
                self.say_texts(stands).await
            }
            Request::Journal => {
                let journal = self.work(|shelf| shelf.with(|s| s.journal())).await;
                let places = journal.map(|journal| {
                    let entry = |(number, entry)| Place::Entry(number, Box::new(entry));
                    let mut places: Vec<Place> = journal.places.into_iter().map(entry).collect();
                    places.push(Place::End(journal.end));
                    places
                });
                self.say_texts(places).await
            }
            Request::Decide(text) => {
                let decided: Move = match serde_json::from_str(&text) {
                    Ok(decided) => decided,
                    Err(bad) => return self.turn_away(bad.to_string()).await,
                };
                let entry = self
                    .work(move |shelf| shelf.with(|s| s.decide_in_turn(decided.clone())))
                    .await;
                let text = entry.and_then(|e| serde_json::to_string(&e).map_err(|e| e.to_string()));
                self.say(&text.map_or_else(Reply::Refused, Reply::Text))
                    .await
            }
            Request::Size => {
                let size = self.work(|shelf| shelf.with(|s| s.size_on_disk())).await;
                self.say(&size.map_or_else(Reply::Refused, Reply::Size))
                    .await
            }
        }
    }

    /// An answer of texts, to its end.
    async fn say_texts<T: Serialize>(&mut self, all: Result<Vec<T>, String>) -> Result<(), Ended> {
        let all = match all {
            Ok(all) => all,
            Err(why) => return self.say(&Reply::Refused(why)).await,
        };
        for one in all {
            let reply = match serde_json::to_string(&one) {
                Ok(text) => Reply::Text(text),
                Err(error) => return self.say(&Reply::Refused(error.to_string())).await,
            };
            self.say(&reply).await?;
        }
        self.say(&Reply::End).await
    }

    /// One run after the other, so that memory does not grow with what is asked for.
    async fn load(&mut self, keys: Vec<crate::workload::RunKey>) -> Result<(), Ended> {
        for key in keys {
            let loaded = self.work(move |shelf| shelf.with(|s| s.load(|known| *known == key)));
            let evidence = match loaded.await {
                Ok(evidence) => evidence,
                Err(why) => return self.say(&Reply::Refused(why)).await,
            };
            for (key, run) in evidence.runs() {
                self.say(&Reply::Run(Box::new(Head::of(key, run)))).await?;
                for part in wire::parts(run) {
                    self.say(&Reply::Seen(part)).await?;
                }
            }
        }
        self.say(&Reply::End).await
    }

    async fn stage(&mut self, bytes: usize) -> Result<(), Ended> {
        if self.staging.add(bytes) {
            return Ok(());
        }
        let why = format!(
            "this is more than the agent takes at once ({} MiB); stop the agent and try again \
             without it",
            MAX_STAGED >> 20
        );
        self.turn_away(why).await
    }

    /// Work on the store, off the thread that reads the kernel's events.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let shelf = Arc::clone(&self.shelf);
        match tokio::task::spawn_blocking(move || work(&shelf)).await {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(panicked) => {
                tracing::error!("work on the store: {panicked}");
                Err("the agent failed at it; its log says how".to_owned())
            }
        }
    }
}

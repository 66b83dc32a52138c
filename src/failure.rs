//! What went wrong: the thing, the cause, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

use learner::agent::AgentError;
use learner::agent::config::BadConfig;
use learner::books::BooksError;
use learner::cluster::standings::BadStanding;
use learner::cluster::{ClusterError, NoAuthority};
use learner::job::JobError;
use learner::policy::BadPolicy;
use learner::recording::RecordingError;
use learner::session::SessionError;
use learner::telemetry::RelayError;

use crate::launch::LaunchError;

/// Why a verb could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The store could not be opened, read or written.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// A recording could not be read or written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A run could not be watched.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// KubeArmor's relay could not be listened to.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The agent could not run.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The API server of the cluster refused it, or cannot be reached.
    #[error(transparent)]
    Cluster(Box<ClusterError>),
    /// KubeArmor's certificate authority cannot be had from the cluster.
    #[error(transparent)]
    Authority(#[from] NoAuthority),
    /// A promotion job of the cluster was broken off.
    #[error(transparent)]
    Job(Box<JobError>),
    /// What is kept of a workload in the cluster was changed.
    #[error(transparent)]
    Standing(#[from] BadStanding),
    /// The connection could not be set up.
    #[error("connecting to the cluster cannot be set up: {0}")]
    Connection(#[source] io::Error),
    /// A configuration that is none.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BadConfig,
    },
    /// A command could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The observer could not be set up.
    #[error("observing cannot be set up: {0}")]
    Runtime(#[source] io::Error),
    /// Interrupted before there was an answer.
    #[error("interrupted before anything was compared")]
    NotCompared,
    /// A file of ours.
    #[error("{}: {doing} failed: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A document that is no policy, or not one that is understood.
    #[error("{file}: {source}")]
    Policy {
        /// The file, as it can be shown.
        file: String,
        /// What is wrong with it.
        source: BadPolicy,
    },
    /// There is nothing to do it with or to; the sentence says what is missing.
    #[error("{0}")]
    Nothing(String),
    /// It can be read once.
    #[error("'-' is named twice, and standard input can be read only once")]
    StandardInputTwice,
    /// Neither told nor to be found.
    #[error("which policies are applied is not known: name their files with --applied FILE|DIR")]
    NoApplied,
    /// The answer could not be written.
    #[error("standard output: writing failed: {0}")]
    Answer(#[source] io::Error),
    /// Neither told nor to be guessed.
    #[error("no home directory is known to keep the store in: name one with --store DIR")]
    NoStore,
    /// Parquet would only garble it.
    #[error("standard output is a terminal and Parquet is binary: name a file with -o FILE")]
    BinaryOnTerminal,
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        Self::Job(Box::new(error))
    }
}

impl Failure {
    /// Whether another process has the store open, or an agent came or went in between.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Books(error) if error.is_locked() || error.is_broken_off())
    }

    /// Whether the reader of the answer has gone away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Answer(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::Recording(error) => error.is_broken_pipe(),
            _ => false,
        }
    }

    pub(crate) fn file(path: &Path, doing: &'static str, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            doing,
            source,
        }
    }
}

//! The agent as the one of a node of a cluster: the part of its configuration for it, and what its loop
//! has to do with the API server.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::config::{BadConfig, Span};
use super::naming::Told;
use crate::candidate::Ledger;
use crate::posture::Revision;

/// How a node of a cluster is watched, and what it tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// The node's name in the cluster; null: as told by `--node` or `NODE_NAME`.
    pub node: Option<String>,
    /// Namespaces that are not watched.
    pub leave_out: Vec<String>,
    /// Hold containers to what the promotion job of the cluster has decided, where KubeArmor does not.
    pub enforce: bool,
    /// At least so long between two writes for one workload revision.
    #[serde(deserialize_with = "interval")]
    pub interval: Span,
    /// What was told of a revision that nobody has run for so long is taken away, if there is a later one.
    #[serde(deserialize_with = "keep")]
    pub keep: Span,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            node: None,
            leave_out: ["kube-system", "kubearmor"].map(str::to_owned).to_vec(),
            enforce: false,
            interval: Span::seconds(600),
            keep: Span::seconds(30 * 24 * 3_600),
        }
    }
}

impl Node {
    pub(super) fn check(&self) -> Result<(), BadConfig> {
        if self.node.as_ref().is_some_and(String::is_empty) {
            return Err(BadConfig::Value("cluster.node: a name is needed"));
        }
        if self.interval.0.as_secs() > 3_600 {
            let why = "cluster.interval: at most 1h, so that what runs is told once a day";
            return Err(BadConfig::Value(why));
        }
        Ok(())
    }
}

fn interval<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    Span::often("interval", from)
}

fn keep<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    Span::long("keep", from)
}

/// What is heard of the node's containers.
#[cfg_attr(
    not(feature = "cluster"),
    expect(
        dead_code,
        reason = "without the feature nobody talks with an API server"
    )
)]
pub(super) enum Heard {
    /// A container is this one's.
    Known {
        /// Its id.
        id: String,
        /// Whose.
        told: Told,
    },
    /// Containers are gone.
    Gone {
        /// Their ids.
        ids: Vec<String>,
    },
    /// What the promotion job has decided of the workloads of the node.
    Decided {
        /// Where they stand; nothing of any where Learner's own programs are not to enforce on this node.
        ledger: Arc<Ledger>,
        /// All pods of the node, and all that was decided of theirs, are known as they are now.
        is_whole: bool,
    },
}

/// What the loop says to who talks with the API server.
#[cfg_attr(
    not(feature = "cluster"),
    expect(
        dead_code,
        reason = "without the feature nobody talks with an API server"
    )
)]
pub(super) enum Said {
    /// Runs of these revisions go on, and of no others.
    Running(BTreeSet<Revision>),
    /// The agent ends; all is stored.
    End,
}

/// To and from the thread that talks with the API server; neither, where there is none.
#[derive(Default)]
pub(super) struct Link(Option<Ends>);

struct Ends {
    heard: UnboundedReceiver<Heard>,
    said: UnboundedSender<Said>,
    thread: std::thread::JoinHandle<()>,
    running: BTreeSet<Revision>,
}

impl Link {
    /// With a thread.
    #[cfg(feature = "cluster")]
    pub(super) fn new(
        heard: UnboundedReceiver<Heard>,
        said: UnboundedSender<Said>,
        thread: std::thread::JoinHandle<()>,
    ) -> Self {
        let running = BTreeSet::new();
        Self(Some(Ends {
            heard,
            said,
            thread,
            running,
        }))
    }

    /// Waits for something to be heard; for ever, where there is nobody to hear of.
    pub(super) async fn heard(&mut self) -> Heard {
        if let Some(ends) = &mut self.0 {
            if let Some(heard) = ends.heard.recv().await {
                return heard;
            }
            tracing::error!(
                "nothing is heard of the API server or told to it any more: the thread that does it has ended; \
                 restart the agent"
            );
            self.0 = None;
        }
        std::future::pending().await
    }

    /// Runs of these revisions go on, and of no others.
    pub(super) fn running(&mut self, running: BTreeSet<Revision>) {
        if let Some(ends) = &mut self.0
            && ends.running != running
        {
            ends.running.clone_from(&running);
            let _ = ends.said.send(Said::Running(running));
        }
    }

    /// Has the last of it told, within some seconds. It blocks.
    pub(super) fn end(self) {
        let Some(Ends { said, thread, .. }) = self.0 else {
            return;
        };
        let _ = said.send(Said::End);
        if thread.join().is_err() {
            tracing::error!("the thread that talks with the API server had panicked");
        }
    }
}

//! What talks with the API server: whose the containers of the node are, and what the node has seen.
//!
//! On a thread of its own: the agent's one thread has the ring buffer to read, and neither a list of pods
//! nor what is told of a workload is to keep it from that.

mod complaints;
mod decided;
mod desk;
mod office;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::complaints::Complaints;
use self::decided::{Decided, Wanted};
use self::desk::Desk;
use self::office::{Mail, Office};
use super::figures::Figures;
use super::node::{Heard, Link, Node};
use super::run::AgentError;
use super::shelf::Shelf;
use crate::cluster::inventory::Resident;
use crate::cluster::{Change, Client, ClusterError, Watch, connect};
use crate::host::Described;
use crate::kernel::Clock;

/// Whether it is known which node this is, and where the API server is. That is not asked anything.
///
/// # Errors
/// [`AgentError::NoNode`], [`AgentError::Cluster`].
pub(super) async fn check(config: &Node) -> Result<(), AgentError> {
    if config.node.is_none() {
        return Err(AgentError::NoNode);
    }
    let known = connect().await;
    known.map_err(|error| AgentError::Cluster(Box::new(error)))?;
    Ok(())
}

/// Begins to follow the pods of the node, and to tell what it has seen; and, where the agent is to hold what
/// was decided, to follow that. It does not wait for the API server. `unenforceable`: why nothing can be held.
///
/// # Errors
/// [`AgentError::NoNode`], and if no thread can be had.
pub(super) fn begin(
    config: &Node,
    shelf: &Arc<Shelf>,
    clock: Clock,
    figures: &Arc<Figures>,
    unenforceable: Option<&str>,
) -> Result<Link, AgentError> {
    let node = config.node.clone().ok_or(AgentError::NoNode)?;
    let (tell, heard) = unbounded_channel();
    let (said, says) = unbounded_channel();
    let stored = shelf.follow();
    let decided = config
        .enforce
        .then(|| Decided::open(&node, shelf.dir(), unenforceable.map(str::to_owned)));
    let (shelf, figures, config) = (Arc::clone(shelf), Arc::clone(figures), config.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AgentError::Wait)?;
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            // Connections belong to the thread that makes them.
            let client = match connect().await {
                Ok(client) => client,
                Err(error) => return tracing::error!("{error}"),
            };
            let (send, mail) = unbounded_channel();
            let known = Known::new(config.leave_out.clone());
            let wanted = decided.map(|decided| {
                let (want, wanted) = unbounded_channel();
                let (tell, send) = (tell.clone(), send.clone());
                let mut desk = Desk::new(client.clone(), &node, decided, tell, send);
                tokio::spawn(async move { desk.work(wanted).await });
                want
            });
            let watching = watch(client.clone(), node.clone(), known, tell, send, wanted);
            let watching = tokio::spawn(watching);
            let complaints = Complaints::new(figures);
            let mut office = Office::new(client, &node, &config, shelf, clock, complaints);
            office.work(mail, says, stored).await;
            watching.abort();
        });
    });
    Ok(Link::new(heard, said, thread))
}

/// The containers that are known, by their ids, with their namespaces.
struct Known {
    leave_out: Vec<String>,
    containers: BTreeMap<String, String>,
    /// How many containers each namespace has.
    namespaces: BTreeMap<String, usize>,
    /// All pods of the node are known.
    is_whole: bool,
}

impl Known {
    fn new(leave_out: Vec<String>) -> Self {
        Self {
            leave_out,
            containers: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            is_whole: false,
        }
    }

    /// Whether that makes another set of namespaces.
    fn add(&mut self, id: &str, namespace: &str) -> bool {
        let before = self.containers.insert(id.to_owned(), namespace.to_owned());
        if before.as_deref() == Some(namespace) {
            return false;
        }
        let count = self.namespaces.entry(namespace.to_owned()).or_default();
        *count += 1;
        let is_new = *count == 1;
        before.is_some_and(|before| self.less(&before)) || is_new
    }

    /// As [`Known::add`].
    fn remove(&mut self, id: &str) -> bool {
        let namespace = self.containers.remove(id);
        namespace.is_some_and(|namespace| self.less(&namespace))
    }

    fn less(&mut self, namespace: &str) -> bool {
        let Some(count) = self.namespaces.get_mut(namespace) else {
            return false;
        };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.namespaces.remove(namespace);
        }
        is_last
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            namespaces: self.namespaces.keys().cloned().collect(),
            is_whole: self.is_whole,
        }
    }
}

/// Follows the pods: whose a container is goes to the agent's loop at once, and the rest to the office. Who
/// follows what is decided is told of the namespaces there are, after the loop has heard of their containers.
async fn watch(
    client: Client,
    node: String,
    mut known: Known,
    tell: UnboundedSender<Heard>,
    send: UnboundedSender<Mail>,
    want: Option<UnboundedSender<Wanted>>,
) {
    let mut watch = Watch::new(client, &node);
    let want = |known: &Known| {
        // Who follows what is decided has ended: that is no reason not to know whose containers are.
        let _ = want.as_ref().map(|want| want.send(known.wanted()));
    };
    let heard = |change: Result<Change, ClusterError>| match change {
        Ok(Change::Known { id, resident }) => {
            let namespace = resident.workload.namespace.clone();
            if known.leave_out.contains(&namespace) {
                return tell.send(Heard::Known { id, told: None }).is_ok();
            }
            let is_other = known.add(&id, &namespace);
            let told = Some(Box::new(described(&resident)));
            // Before the loop can name a run by it: by then it is known how it is marked.
            let mail = Mail::Known(resident, known.containers.len());
            let goes_on = send.send(mail).is_ok() && tell.send(Heard::Known { id, told }).is_ok();
            if is_other {
                want(&known);
            }
            goes_on
        }
        Ok(Change::Gone { ids }) => {
            let mut is_other = false;
            for id in &ids {
                is_other |= known.remove(id);
            }
            if is_other {
                want(&known);
            }
            send.send(Mail::Gone(known.containers.len())).is_ok()
                && tell.send(Heard::Gone { ids }).is_ok()
        }
        Ok(Change::Complete) => {
            if !std::mem::replace(&mut known.is_whole, true) {
                want(&known);
            }
            send.send(Mail::Complete).is_ok()
        }
        Err(error) => send.send(Mail::Refused(error)).is_ok(),
    };
    watch.run(heard).await;
}

fn described(resident: &Resident) -> Described {
    Described {
        workload: resident.workload.clone(),
        image: resident.image.clone(),
        labels: resident.labels.clone(),
    }
}

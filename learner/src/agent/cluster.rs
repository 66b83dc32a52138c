//! What talks with the API server: whose the containers of the node are, and what the node has seen.
//!
//! On a thread of its own: the agent's one thread has the ring buffer to read, and neither a list of pods
//! nor what is told of a workload is to keep it from that.

mod complaints;
mod office;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc::unbounded_channel;

use self::complaints::Complaints;
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

/// Begins to follow the pods of the node, and to tell what it has seen. It does not wait for the API server.
///
/// # Errors
/// [`AgentError::NoNode`], and if no thread can be had.
pub(super) fn begin(
    config: &Node,
    shelf: &Arc<Shelf>,
    clock: Clock,
    figures: &Arc<Figures>,
) -> Result<Link, AgentError> {
    let node = config.node.clone().ok_or(AgentError::NoNode)?;
    let (tell, heard) = unbounded_channel();
    let (said, says) = unbounded_channel();
    let stored = shelf.follow();
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
            let leave_out = config.leave_out.clone();
            let watching = watch(client.clone(), node.clone(), leave_out, tell, send);
            let watching = tokio::spawn(watching);
            let complaints = Complaints::new(figures);
            let mut office = Office::new(client, &node, &config, shelf, clock, complaints);
            office.work(mail, says, stored).await;
            watching.abort();
        });
    });
    Ok(Link::new(heard, said, thread))
}

/// Follows the pods: whose a container is goes to the agent's loop at once, and the rest to the office.
async fn watch(
    client: Client,
    node: String,
    leave_out: Vec<String>,
    tell: tokio::sync::mpsc::UnboundedSender<Heard>,
    send: tokio::sync::mpsc::UnboundedSender<Mail>,
) {
    let mut watch = Watch::new(client, &node);
    let mut known = BTreeSet::new();
    let heard = |change: Result<Change, ClusterError>| match change {
        Ok(Change::Known { id, resident }) => {
            let is_left_out = leave_out.contains(&resident.workload.namespace);
            if is_left_out {
                return tell.send(Heard::Known { id, told: None }).is_ok();
            }
            known.insert(id.clone());
            let told = Some(Box::new(described(&resident)));
            // Before the loop can name a run by it: by then it is known how it is marked.
            send.send(Mail::Known(resident, known.len())).is_ok()
                && tell.send(Heard::Known { id, told }).is_ok()
        }
        Ok(Change::Gone { ids }) => {
            for id in &ids {
                known.remove(id);
            }
            send.send(Mail::Gone(known.len())).is_ok() && tell.send(Heard::Gone { ids }).is_ok()
        }
        Ok(Change::Complete) => send.send(Mail::Complete).is_ok(),
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

//! Follows what is decided of the node's workloads, and tells the agent's loop what that comes to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::decided::{Decided, Wanted};
use super::office::{Mail, in_time};
use crate::agent::node::Heard;
use crate::cluster::postures::{Decision, follow};
use crate::cluster::{Client, ClusterError, Doing, nodes};
use crate::posture::{Revision, Standing};

/// How often is asked whether KubeArmor is there.
const LOOK: Duration = Duration::from_secs(60);
/// The same after a failure.
const AGAIN: Duration = Duration::from_secs(10);

/// What the tasks hear that each ask the API server for one thing.
enum Heeded {
    Of(String, Result<Decision, ClusterError>),
    KubeArmor(Result<Option<String>, ClusterError>),
}

/// What is decided, with those who follow it.
pub(super) struct Desk {
    client: Client,
    node: String,
    decided: Decided,
    following: BTreeMap<String, AbortHandle>,
    heard: UnboundedSender<Heard>,
    office: UnboundedSender<Mail>,
    /// What the loop was told last.
    told: Option<(Vec<(Revision, Standing)>, bool)>,
    /// What is known could not be written down, which was said.
    is_unkept: bool,
}

impl Desk {
    pub(super) fn new(
        client: Client,
        node: &str,
        decided: Decided,
        heard: UnboundedSender<Heard>,
        office: UnboundedSender<Mail>,
    ) -> Self {
        Self {
            client,
            node: node.to_owned(),
            decided,
            following: BTreeMap::new(),
            heard,
            office,
            told: None,
            is_unkept: false,
        }
    }

    /// Works for as long as pods are told of.
    pub(super) async fn work(&mut self, mut wanted: UnboundedReceiver<Wanted>) {
        let (send, mut heeded) = unbounded_channel();
        // What an earlier agent knew last goes on being so, whether the API server answers or not.
        self.tell();
        let asking = tokio::spawn(ask(self.client.clone(), self.node.clone(), send.clone()));
        loop {
            tokio::select! {
                one = wanted.recv() => match one {
                    Some(one) => self.wanted(one, &send),
                    None => break,
                },
                Some(one) = heeded.recv() => {
                    self.heed(one);
                    // Several come at once: what they come to together is what counts.
                    while let Ok(one) = heeded.try_recv() {
                        self.heed(one);
                    }
                }
            }
            self.keep();
            self.tell();
        }
        asking.abort();
        for following in self.following.values() {
            following.abort();
        }
    }

    /// Follows the namespaces that have pods on the node, and no others.
    fn wanted(&mut self, wanted: Wanted, send: &UnboundedSender<Heeded>) {
        let over = |namespace: &String, _: &mut AbortHandle| {
            wanted.is_whole && !wanted.namespaces.contains(namespace)
        };
        for (namespace, following) in self.following.extract_if(.., over) {
            following.abort();
            let _ = self.office.send(Mail::Decided(namespace, None));
        }
        for namespace in &wanted.namespaces {
            if self.following.contains_key(namespace) {
                continue;
            }
            let (client, send, of) = (self.client.clone(), send.clone(), namespace.clone());
            let following = tokio::spawn(async move {
                let tell = |told| send.send(Heeded::Of(of.clone(), told)).is_ok();
                follow(client, &of, tell).await;
            });
            let handle = following.abort_handle();
            self.following.insert(namespace.clone(), handle);
        }
        self.decided.wanted(wanted);
    }

    fn heed(&mut self, heeded: Heeded) {
        let mail = match heeded {
            // Something that was on its way when nobody wanted it any more.
            Heeded::Of(namespace, _) if !self.following.contains_key(&namespace) => return,
            Heeded::Of(namespace, Ok(decision)) => {
                self.decided.told(&namespace, decision);
                let unread = self.decided.unread(&namespace).cloned();
                Mail::Decided(namespace, unread)
            }
            Heeded::Of(namespace, Err(error)) => Mail::Undecided(namespace, error),
            Heeded::KubeArmor(Ok(label)) => {
                self.decided.is_there(label);
                Mail::Asked(Ok(()))
            }
            Heeded::KubeArmor(Err(error)) => Mail::Asked(Err(error)),
        };
        let _ = self.office.send(mail);
    }

    fn keep(&mut self) {
        match self.decided.keep() {
            Ok(()) => self.is_unkept = false,
            Err(cause) => {
                if !std::mem::replace(&mut self.is_unkept, true) {
                    let path = self.decided.path().display();
                    tracing::error!(
                        "{path}: what is decided could not be put away, and is not known to the next agent while \
                         the API server is away: {cause}"
                    );
                }
            }
        }
    }

    fn tell(&mut self) {
        if let Some(enforcement) = self.decided.enforcement() {
            let _ = self.office.send(Mail::Enforces(enforcement));
        }
        let (ledger, is_whole) = (self.decided.ledger(), self.decided.is_whole());
        let stands = ledger.iter();
        let stands = stands.map(|(revision, standing)| (revision.clone(), standing.clone()));
        let now = (stands.collect(), is_whole);
        if self.told.as_ref() == Some(&now) {
            return;
        }
        let ledger = Arc::new(ledger);
        let _ = self.heard.send(Heard::Decided { ledger, is_whole });
        self.told = Some(now);
    }
}

/// Asks again and again whether KubeArmor is there.
async fn ask(client: Client, node: String, send: UnboundedSender<Heeded>) {
    loop {
        let doing = Doing {
            verb: "get",
            resource: "nodes",
            namespace: None,
            name: Some(node.clone()),
        };
        let told = in_time(doing, nodes::kubearmor_on(&client, &node)).await;
        let pause = if told.is_ok() { LOOK } else { AGAIN };
        if send.send(Heeded::KubeArmor(told)).is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

//! The pods of one node, followed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Config, ResourceExt as _};
use tokio::time::MissedTickBehavior;

use super::error::{ClusterError, Doing};
use super::inventory::{Parent, Resident, controller, middle, residents};

/// A client by the usual way: `KUBECONFIG`, `~/.kube/config`, or the service account of the pod.
///
/// # Errors
/// [`ClusterError::NoConfig`].
pub async fn connect() -> Result<Client, ClusterError> {
    let config = Config::infer().await;
    client(config.map_err(|error| ClusterError::NoConfig(error.to_string()))?)
}

/// A client that tells of each refusal at once: when to try again is ours to say.
///
/// # Errors
/// [`ClusterError::NoConfig`].
pub fn client(mut config: Config) -> Result<Client, ClusterError> {
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClusterError::NoConfig(error.to_string()))
}

/// What has become known of the node's containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A container is this one.
    Known {
        /// Its id.
        id: String,
        /// Whose it is.
        resident: Box<Resident>,
    },
    /// A pod is gone, and so are its containers.
    Gone {
        /// Their ids.
        ids: Vec<String>,
    },
    /// All pods that there are have been told.
    Complete,
}

/// Follows the pods of a node.
pub struct Watch {
    client: Client,
    node: String,
    /// Container ids by pod, as `namespace/name`, and what is known of them.
    pods: BTreeMap<String, BTreeMap<String, Resident>>,
    /// What owns a ReplicaSet or Job, by namespace, kind and name; nothing where none does.
    above: BTreeMap<(String, Parent), Option<Parent>>,
    /// While all are listed: those that there are.
    listed: Option<BTreeSet<String>>,
    /// Pods whose owners could not be asked for, which they are again.
    again: BTreeMap<String, Pod>,
}

/// After this time it is asked again who owns a pod, if nobody answered.
const AGAIN: Duration = Duration::from_secs(5);

/// Owners that are remembered. Beyond it all are looked up again.
const MAX_OWNERS: usize = 10_000;

impl Watch {
    /// Of a node, by its name in the cluster.
    pub fn new(client: Client, node: &str) -> Self {
        Self {
            client,
            node: node.to_owned(),
            pods: BTreeMap::new(),
            above: BTreeMap::new(),
            listed: None,
            again: BTreeMap::new(),
        }
    }

    /// Tells each change, and each error, for as long as `tell` says to go on. An API server that is away,
    /// or has forgotten where the watch was, is asked again, after longer and longer; what has changed
    /// meanwhile is told then.
    pub async fn run(&mut self, mut tell: impl FnMut(Result<Change, ClusterError>) -> bool) {
        let api: Api<Pod> = Api::all(self.client.clone());
        let of_node = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
        let events = watcher(api, of_node).default_backoff();
        pin_mut!(events);
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let changes = tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.changes(event).await,
                    Some(Err(error)) => vec![Err(ClusterError::of_watch("pods", None, error))],
                    None => return,
                },
                _ = again.tick(), if !self.again.is_empty() => self.ask_again().await,
            };
            for change in changes {
                if !tell(change) {
                    return;
                }
            }
        }
    }

    async fn changes(&mut self, event: watcher::Event<Pod>) -> Vec<Result<Change, ClusterError>> {
        match event {
            watcher::Event::Init => {
                self.listed = Some(BTreeSet::new());
                Vec::new()
            }
            watcher::Event::InitApply(pod) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(key(&pod));
                }
                self.apply(&pod).await
            }
            watcher::Event::Apply(pod) => self.apply(&pod).await,
            watcher::Event::Delete(pod) => {
                // As it was last: there may be containers in it that nothing was told of before.
                let mut changes = self.apply(&pod).await;
                changes.extend(self.gone(&key(&pod)).map(Ok));
                changes
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let known = self.pods.keys();
                let gone: Vec<String> = known
                    .filter(|pod| !listed.contains(*pod))
                    .cloned()
                    .collect();
                let mut changes: Vec<_> = gone
                    .iter()
                    .filter_map(|pod| self.gone(pod))
                    .map(Ok)
                    .collect();
                changes.push(Ok(Change::Complete));
                changes
            }
        }
    }

    async fn apply(&mut self, pod: &Pod) -> Vec<Result<Change, ClusterError>> {
        let mut changes = Vec::new();
        let above = match self.above(pod).await {
            Ok(above) => above,
            // It is not known now, and will be.
            Err(error) if error.passes() => {
                self.again.insert(key(pod), pod.clone());
                return vec![Err(error)];
            }
            Err(error) => {
                changes.push(Err(error));
                None
            }
        };
        self.again.remove(&key(pod));
        let mut now = residents(pod, above.as_ref());
        let known = self.pods.entry(key(pod)).or_default();
        let gone = known.extract_if(.., |id, _| !now.contains_key(id));
        let ids: Vec<String> = gone.map(|(id, _)| id).collect();
        now.retain(|id, resident| known.get(id) != Some(resident));
        for (id, resident) in now {
            known.insert(id.clone(), resident.clone());
            let resident = Box::new(resident);
            changes.push(Ok(Change::Known { id, resident }));
        }
        if !ids.is_empty() {
            changes.push(Ok(Change::Gone { ids }));
        }
        changes
    }

    async fn ask_again(&mut self) -> Vec<Result<Change, ClusterError>> {
        let mut changes = Vec::new();
        let mut pods = std::mem::take(&mut self.again).into_iter();
        for (_, pod) in pods.by_ref() {
            changes.extend(self.apply(&pod).await);
            if !self.again.is_empty() {
                break;
            }
        }
        self.again.extend(pods);
        changes
    }

    fn gone(&mut self, pod: &str) -> Option<Change> {
        self.again.remove(pod);
        let ids: Vec<String> = self.pods.remove(pod)?.into_keys().collect();
        (!ids.is_empty()).then_some(Change::Gone { ids })
    }

    /// What owns the pod's ReplicaSet or Job; it is asked once.
    async fn above(&mut self, pod: &Pod) -> Result<Option<Parent>, ClusterError> {
        let Some(middle) = middle(pod) else {
            return Ok(None);
        };
        let namespace = pod.namespace().unwrap_or_default();
        let key = (namespace.clone(), middle.clone());
        if let Some(known) = self.above.get(&key) {
            return Ok(known.clone());
        }
        let client = self.client.clone();
        let (found, resource) = match middle.kind.as_str() {
            "Job" => {
                let api: Api<Job> = Api::namespaced(client, &namespace);
                (
                    api.get_metadata_opt(&middle.name)
                        .await
                        .map(|of| of.map(|of| of.metadata)),
                    "jobs.batch",
                )
            }
            _ => {
                let api: Api<ReplicaSet> = Api::namespaced(client, &namespace);
                (
                    api.get_metadata_opt(&middle.name)
                        .await
                        .map(|of| of.map(|of| of.metadata)),
                    "replicasets.apps",
                )
            }
        };
        let found = found.map_err(|error| {
            let doing = Doing {
                verb: "get",
                resource,
                namespace: Some(namespace),
                name: Some(middle.name.clone()),
            };
            ClusterError::of(doing, error)
        })?;
        let owners = found.and_then(|found| found.owner_references);
        let above = controller(owners.as_deref().unwrap_or_default()).map(|owner| Parent {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        });
        if self.above.len() >= MAX_OWNERS {
            self.above.clear();
        }
        self.above.insert(key, above.clone());
        Ok(above)
    }
}

fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

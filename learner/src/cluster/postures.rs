//! What is decided of the workloads of one namespace, followed.

use futures_util::{StreamExt as _, pin_mut};
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};

use super::error::ClusterError;
use super::pages::LARGE;
use super::posture::WorkloadPosture;
use super::standings::POSTURES;

/// What has become known of the postures of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// These there are, and no others.
    All(Vec<WorkloadPosture>),
    /// One is new, or another one than before.
    One(Box<WorkloadPosture>),
    /// The one of this name is gone.
    Gone(String),
}

/// Tells each change in a namespace, and each error, for as long as `tell` says to go on. An API server that
/// is away, or has forgotten where the watch was, is asked again, after longer and longer; what has changed
/// meanwhile is told then.
pub async fn follow(
    client: Client,
    namespace: &str,
    mut tell: impl FnMut(Result<Decision, ClusterError>) -> bool,
) {
    let api: Api<WorkloadPosture> = Api::namespaced(client, namespace);
    let how = watcher::Config::default().page_size(LARGE);
    let events = watcher(api, how).default_backoff();
    pin_mut!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let told = match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed.push(object);
                continue;
            }
            Ok(watcher::Event::InitDone) => Ok(Decision::All(std::mem::take(&mut listed))),
            Ok(watcher::Event::Apply(object)) => Ok(Decision::One(Box::new(object))),
            Ok(watcher::Event::Delete(object)) => Ok(Decision::Gone(object.name_any())),
            Err(error) => Err(ClusterError::of_watch(POSTURES, Some(namespace), error)),
        };
        if !tell(told) {
            return;
        }
    }
}

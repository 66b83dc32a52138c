//! The cluster, for the verbs that take what its nodes have told.

use std::collections::BTreeSet;

use learner::cluster::{Client, Read, Unenforced, connect, namespaces, read};
use learner::job::Sitting;
use learner::profile::Evidence;
use learner::shared::Merged;
use learner::workload::Workload;

use crate::args::Which;
use crate::court::now;
use crate::failure::Failure;
use crate::talk::visible;

/// Connects, and does it.
pub(crate) fn with<T>(work: impl AsyncFnOnce(Client) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Connection)?;
    runtime.block_on(async { work(connect().await?).await })
}

/// The namespace that is meant, or all that hold evidence.
pub(crate) async fn meant(client: &Client, which: &Which) -> Result<BTreeSet<String>, Failure> {
    match &which.namespace {
        Some(namespace) => Ok(BTreeSet::from([namespace.clone()])),
        None => Ok(namespaces(client).await?),
    }
}

/// Who is at work, for others who want to be.
pub(crate) fn holder() -> String {
    format!(
        "{} (process {})",
        rustix::system::uname().nodename().to_string_lossy(),
        std::process::id()
    )
}

/// Decides in a namespace, as the only one there.
pub(crate) async fn sat<T>(
    client: &Client,
    namespace: &str,
    work: impl AsyncFnOnce(&mut Sitting) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut sitting = Sitting::open(client, namespace, &holder(), now()).await?;
    let done = work(&mut sitting).await;
    sitting.close().await;
    done
}

/// What all nodes have told of a namespace, or of all; what cannot be used of it is said.
pub(crate) async fn told(client: &Client, namespace: Option<&str>) -> Result<Merged, Failure> {
    let found = read(client, namespace).await?;
    found.say_what_is_left_out();
    let Read {
        joint, unenforced, ..
    } = found;
    for (revision, why) in &unenforced {
        let why: Vec<&str> = why.iter().map(Unenforced::why).collect();
        tracing::warn!(
            "{}: KubeArmor does not hold it to a policy: {}",
            visible(&revision.workload.to_string()),
            why.join(", ")
        );
    }
    Merged::of(&joint).map_err(|why| {
        Failure::Nothing(format!(
            "what the nodes have told cannot be put together: {why}"
        ))
    })
}

/// The workloads that are meant: those with a run of that namespace and these labels.
pub(crate) fn workloads(which: &Which, evidence: &Evidence) -> BTreeSet<Workload> {
    let runs = evidence.runs().iter();
    let meant = runs.filter(|(key, run)| which.takes(key, &run.labels));
    meant.map(|(key, _)| key.workload.clone()).collect()
}

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use learner::cluster::{Change, ClusterError, Watch};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::fake;
use crate::pods::{self, Made, create, owner};
use crate::world::{Connected, bare};

/// For what is sure to come, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A pod on a node with one container.
async fn pod(world: &Connected, namespace: &str, node: &str, name: &str, id: &str, owners: Value) {
    let made = Made {
        owners,
        ..Made::of_deployment(node, "web", &id.repeat(64))
    };
    pods::pod(world, namespace, name, &made).await;
}

/// What a watch tells until this is among it; what it was refused comes apart.
async fn until(
    told: &mut UnboundedReceiver<Result<Change, ClusterError>>,
    is_last: impl Fn(&Change) -> bool,
) -> (Vec<Change>, Vec<String>) {
    let (mut changes, mut refused) = (Vec::new(), Vec::new());
    loop {
        let next = tokio::time::timeout(PATIENCE, told.recv()).await;
        match next.unwrap_or_else(|_| panic!("nothing more after {changes:?}, {refused:?}")) {
            Some(Ok(change)) => {
                let last = is_last(&change);
                changes.push(change);
                if last {
                    return (changes, refused);
                }
            }
            Some(Err(error)) => refused.push(error.to_string()),
            None => panic!("the watch has ended"),
        }
    }
}

fn names(changes: &[Change]) -> Vec<String> {
    let mut names: Vec<String> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Known { id, resident } => Some(format!("{} {}", &id[..2], resident.workload)),
            _ => None,
        })
        .collect();
    names.sort();
    names
}

#[test]
fn the_pods_of_a_node_are_told_by_the_owners_that_stay_also_after_the_server_was_away() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let selector = json!({"matchLabels": {"app": "web"}});
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "web:1"}], "restartPolicy": "Always"},
        });
        let set = json!({
            "metadata": {"name": "web-5d4", "ownerReferences": owner("Rollout", "argoproj.io/v1alpha1", "web")},
            "spec": {"selector": selector, "template": template},
        });
        create::<ReplicaSet>(world.admin(), &namespace, set).await;
        let mut template = template.clone();
        template["spec"]["restartPolicy"] = json!("Never");
        let job = json!({
            "metadata": {"name": "tidy-280", "ownerReferences": owner("CronJob", "batch/v1", "tidy")},
            "spec": {"template": template},
        });
        create::<Job>(world.admin(), &namespace, job).await;
        let (here, there) = ("node-1", "node-2");
        pod(world, &namespace, here, "web-5d4-1", "a", owner("ReplicaSet", "apps/v1", "web-5d4")).await;
        pod(world, &namespace, here, "tidy-280-1", "b", owner("Job", "batch/v1", "tidy-280")).await;
        pod(world, &namespace, here, "db-0", "c", owner("StatefulSet", "apps/v1", "db")).await;
        pod(world, &namespace, there, "web-5d4-2", "d", owner("ReplicaSet", "apps/v1", "web-5d4")).await;

        let (tell, mut told) = unbounded_channel();
        let client = world.admin();
        let watching = tokio::spawn(async move {
            let mut watch = Watch::new(client, "node-1");
            watch.run(|change| tell.send(change).is_ok()).await;
        });
        let (changes, refused) = until(&mut told, |change| *change == Change::Complete).await;
        assert!(refused.is_empty(), "{refused:?}");
        let expected = [
            format!("aa {namespace}/Rollout/web/main"),
            format!("bb {namespace}/CronJob/tidy/main"),
            format!("cc {namespace}/StatefulSet/db/main"),
        ];
        assert_eq!(names(&changes), expected);
        let known = changes.iter().find_map(|change| match change {
            Change::Known { resident, .. } => Some(resident.clone()),
            _ => None,
        });
        let known = known.expect("one");
        assert_eq!(known.image, "web:1@sha256:00");
        assert_eq!(known.labels, [("app".to_owned(), "web".to_owned())].into());

        world.server.pause();
        world.server.go_on();
        pod(world, &namespace, here, "late", "e", json!([])).await;
        let is_late = |change: &Change| {
            matches!(change, Change::Known { resident, .. } if resident.pod == "late")
        };
        let (changes, _) = until(&mut told, is_late).await;
        assert_eq!(names(&changes), [format!("ee {namespace}/Pod/late/main")]);

        let api: Api<Pod> = Api::namespaced(world.admin(), &namespace);
        let now = DeleteParams::default().grace_period(0);
        api.delete("db-0", &now).await.expect("deleted");
        let ids = vec!["c".repeat(64)];
        until(&mut told, |change| *change == Change::Gone { ids: ids.clone() }).await;
        watching.abort();
    });
}

#[test]
fn who_may_not_ask_for_owners_is_told_so_and_knows_the_deployment_by_its_hash() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        pod(
            world,
            &namespace,
            "node-1",
            "web-5d4-1",
            "a",
            owner("ReplicaSet", "apps/v1", "web-5d4"),
        )
        .await;
        world.allow(&[(&["list", "watch"], "pods")]).await;
        let (tell, mut told) = unbounded_channel();
        let client = world.limited();
        let watching = tokio::spawn(async move {
            let mut watch = Watch::new(client, "node-1");
            watch.run(|change| tell.send(change).is_ok()).await;
        });
        let (changes, refused) = until(&mut told, |change| *change == Change::Complete).await;
        assert_eq!(
            names(&changes),
            [format!("aa {namespace}/Deployment/web/main")]
        );
        let step = "has to give the verb 'get' on 'replicasets.apps'";
        assert!(
            refused.iter().all(|said| said.contains(step)),
            "{refused:?}"
        );
        assert!(!refused.is_empty());
        watching.abort();
    });
}

/// A real server forgets where a watch was after minutes at the earliest.
#[test]
fn a_watch_that_is_too_old_is_begun_anew_and_what_has_changed_meanwhile_is_told() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let pod = |name: &str, id: &str| {
            json!({
                "metadata": {"name": name, "namespace": "shop", "uid": name},
                "spec": {"containers": [{"name": "main"}]},
                "status": {"containerStatuses": [{
                    "name": "main", "image": "web:1", "imageID": "", "ready": true, "restartCount": 0,
                    "containerID": format!("containerd://{}", id.repeat(64)),
                }]},
            })
        };
        let list = |version: &str, pod: Value| {
            json!({
                "kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": [pod],
            })
        };
        let lists = [
            list("1", pod("before", "a")),
            list("5", pod("after", "b")),
        ];
        let client = fake::forgetful("fieldSelector=spec.nodeName%3Dnode-1", lists).await;
        let (tell, mut told) = unbounded_channel();
        let watching = tokio::spawn(async move {
            let mut watch = Watch::new(client, "node-1");
            watch.run(|change| tell.send(change).is_ok()).await;
        });
        let (changes, _) = until(&mut told, |change| *change == Change::Complete).await;
        assert_eq!(names(&changes), ["aa shop/Pod/before/main"]);
        let (changes, refused) = until(&mut told, |change| *change == Change::Complete).await;
        assert_eq!(names(&changes), ["bb shop/Pod/after/main"]);
        let ids = vec!["a".repeat(64)];
        assert!(changes.contains(&Change::Gone { ids }), "{changes:?}");
        let said = "watch pods in all namespaces: the API server has forgotten where the watch was; all is listed again";
        assert_eq!(refused, [said]);
        watching.abort();
    });
}

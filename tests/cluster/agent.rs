//! `learner agent --cluster` on this machine, against a real API server.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use learner::cluster::{Read, Unenforced, read};
use learner::policy::to_yaml;
use learner::recommend::{Criteria, recommend_merged};
use learner::shared::Merged;
use learner::workload::Workload;
use serde_json::{Value, json};

use crate::node::{Agent, Container, Driver, Node, alone, wait_for};
use crate::pods::{Made, pod};
use crate::world::{Connected, bare, world};

const PATIENCE: Duration = Duration::from_secs(300);

/// What has been told in a namespace, once it has been told that a file was read.
async fn until_told(world: &Connected, namespace: &str, file: &Path, agent: &Agent) -> Read {
    let begun = std::time::Instant::now();
    loop {
        let told = read(&world.admin(), Some(namespace)).await.expect("read");
        assert!(told.refused.is_empty(), "{told:?}");
        let path = file.to_str().expect("text");
        if has(&told, path) {
            return told;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{path} is not told: {told:?}\n{}",
            agent.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn has(told: &Read, path: &str) -> bool {
    let mut acts = told.joint.parts().flat_map(|(_, _, part)| part.acts.keys());
    acts.any(|act| act.path.text() == path)
}

fn workloads(told: &Read) -> Vec<String> {
    let all = told.joint.parts();
    all.map(|(revision, node, _)| format!("{} {node}", revision.workload))
        .collect()
}

#[test]
fn what_the_container_of_a_pod_did_is_told_as_its_deployments() {
    let (Some(world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "told");
        let agent = node.agent("");
        let container = Container::new(Driver::Systemd);
        let made = Made::of_deployment(&node.name, "web", &container.id);
        pod(world, &namespace, "web-5d4-1", &made).await;
        let file = node.file("one");
        container.reads(&[&file]);
        let told = until_told(world, &namespace, &file, &agent).await;
        let name = format!("{namespace}/Deployment/web/main {}", node.name);
        assert_eq!(workloads(&told), [name]);
        assert!(told.unenforced.is_empty(), "{told:?}");
        let (revision, _, part) = told.joint.parts().next().expect("a part");
        assert_eq!(revision.image, "web:1@sha256:00");
        let run = part.runs.values().next().expect("a run");
        assert_eq!(run.labels, [("app".to_owned(), "web".to_owned())].into());
        assert!(!run.late && run.start.is_some(), "{run:?}");
        assert!(agent.stop().success());
        let stored = node.stored();
        assert!(
            stored
                .iter()
                .any(|(key, _)| key.workload == revision.workload),
            "{stored:?}"
        );
    });
}

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::world::{LEARNER, world};

#[test]
fn the_definitions_in_deploy_are_those_of_the_types() {
    let printed = Command::new(LEARNER).env_clear().arg("crd").output();
    let printed = printed.expect("learner runs");
    assert!(printed.status.success());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crds");
    let mut all = String::new();
    for (name, definition) in learner::cluster::crds() {
        let file = folder.join(format!("{name}.yaml"));
        let committed = fs::read_to_string(&file).unwrap_or_default();
        let file = file.display();
        assert!(
            committed == definition,
            "{file}: the types have changed; learner crd prints the definitions, each after a ---, to be \
             written there again"
        );
        all.push_str("---\n");
        all.push_str(&definition);
    }
    assert_eq!(String::from_utf8(printed.stdout), Ok(all));
}

#[test]
fn an_api_server_takes_the_definitions_and_takes_them_again() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let api: Api<CustomResourceDefinition> = Api::all(world.admin());
        for (name, definition) in learner::cluster::crds() {
            let name = format!("{name}.learner.dev");
            let known = api.get(&name).await.expect("it is there");
            // What is not structural has a condition that says so.
            let conditions = known.status.and_then(|status| status.conditions);
            let conditions = conditions.unwrap_or_default();
            let faults: Vec<_> = conditions
                .iter()
                .filter(|of| of.type_ == "NonStructuralSchema" && of.status == "True")
                .collect();
            assert!(faults.is_empty(), "{name}: {faults:?}");
            let mut again: CustomResourceDefinition =
                serde_yaml::from_str(&definition).expect("YAML");
            again.metadata.resource_version = known.metadata.resource_version;
            let taken = api.replace(&name, &PostParams::default(), &again).await;
            taken.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    });
}

/// What only a schema can refuse: an object that no Learner has written.
#[test]
fn the_schema_refuses_what_no_node_writes() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let whole = json!({
            "workload": {"kind": "Deployment", "name": "web", "container": "web"},
            "image": "web:1", "node": "n", "piece": 0, "pieces": 1, "alive": "2025-01-01T00:00:00Z",
            "acts": [{
                "op": "open", "access": "r", "path": "/etc/hosts", "count": 1, "runs": "0",
                "first": "2025-01-01T00:00:00Z", "last": "2025-01-01T00:00:00Z",
            }],
        });
        world
            .try_evidence(&namespace, "whole", &whole)
            .await
            .expect("it is whole");
        for (pointer, value, named) in [
            ("/piece", json!(-1), "spec.piece"),
            ("/pieces", json!(0), "spec.pieces"),
            ("/node", json!(""), "spec.node"),
            ("/alive", json!("yesterday"), "spec.alive"),
            (
                "/workload/kind",
                json!("x".repeat(64)),
                "spec.workload.kind",
            ),
            ("/acts/0/op", json!("fly"), "spec.acts.op"),
            ("/acts/0/count", json!("many"), "spec.acts.count"),
            ("/acts/0/path", json!("x".repeat(20_000)), "spec.acts.path"),
        ] {
            let mut spec = whole.clone();
            *spec.pointer_mut(pointer).expect("it is there") = value;
            let refused = world.try_evidence(&namespace, "broken", &spec).await;
            let refused = refused.expect_err(pointer);
            // Later servers give places in lists.
            let said = refused.to_string().replace("[0]", "");
            assert!(said.contains(named), "{pointer}: {said}");
        }
    });
}

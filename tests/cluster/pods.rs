//! Pods as a scheduler makes them and a kubelet reports them.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::Connected;

/// Makes an object.
pub(crate) async fn create<K>(client: Client, namespace: &str, object: Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + serde::Serialize,
    K::DynamicType: Default,
{
    let api: Api<K> = Api::namespaced(client, namespace);
    let object = serde_json::from_value(object).expect("an object");
    let made = api.create(&PostParams::default(), &object).await;
    made.unwrap_or_else(|error| panic!("{error}"));
}

pub(crate) fn owner(kind: &str, group: &str, name: &str) -> Value {
    json!([{"apiVersion": group, "kind": kind, "name": name, "uid": name, "controller": true}])
}

/// What a pod is made of.
pub(crate) struct Made {
    pub(crate) node: String,
    pub(crate) app: String,
    pub(crate) owners: Value,
    /// Ids of its container, and of an init container.
    pub(crate) id: String,
    pub(crate) init: Option<String>,
    pub(crate) host_pid: bool,
    pub(crate) image: String,
}

impl Made {
    /// Of a ReplicaSet of a Deployment.
    pub(crate) fn of_deployment(node: &str, app: &str, id: &str) -> Self {
        Self {
            node: node.to_owned(),
            app: app.to_owned(),
            owners: owner("ReplicaSet", "apps/v1", &format!("{app}-5d4")),
            id: id.to_owned(),
            init: None,
            host_pid: false,
            image: "web:1".to_owned(),
        }
    }
}

/// A pod with one container, as a kubelet would report it.
pub(crate) async fn pod(world: &Connected, namespace: &str, name: &str, made: &Made) {
    let inits: Vec<Value> = made
        .init
        .iter()
        .map(|_| json!({"name": "setup", "image": made.image}))
        .collect();
    let pod = json!({
        "metadata": {
            "name": name,
            "labels": {"app": made.app, "pod-template-hash": "5d4"},
            "ownerReferences": made.owners,
        },
        "spec": {
            "nodeName": made.node, "hostPID": made.host_pid,
            "containers": [{"name": "main", "image": made.image}], "initContainers": inits,
        },
    });
    create::<Pod>(world.admin(), namespace, pod).await;
    let status = |name: &str, id: &str| {
        json!({
            "name": name, "image": made.image, "imageID": "web@sha256:00", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{id}"),
        })
    };
    let inits: Vec<Value> = made.init.iter().map(|id| status("setup", id)).collect();
    let told = json!({"status": {
        "containerStatuses": [status("main", &made.id)], "initContainerStatuses": inits,
    }});
    let api: Api<Pod> = Api::namespaced(world.admin(), namespace);
    let told = api
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&told))
        .await;
    told.unwrap_or_else(|error| panic!("{error}"));
}

//! Which container of which workload a container id is, by what the API server says of its pod.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::evidence::Unenforced;
use crate::workload::{Labels, Workload};

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// One of the pod's own.
    Main,
    /// It runs before these, and ends.
    Init,
    /// It starts before these, and goes on beside them: an init container that is restarted always.
    Sidecar,
    /// It was put in by a person, to look at something.
    Ephemeral,
}

/// A container, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Whose it is: the owner that stays when pods come and go.
    pub workload: Workload,
    /// Image reference with digest where known.
    pub image: String,
    /// The labels of its pod that stay when pods come and go.
    pub labels: Labels,
    /// What it is to its pod.
    pub role: Role,
    /// The pod sees the processes of its host: KubeArmor takes it for the host.
    pub host_pid: bool,
    /// The pod's name.
    pub pod: String,
}

impl Resident {
    /// Why KubeArmor does not hold it to a policy for its pod; nothing where it does.
    pub fn unenforced(&self) -> BTreeSet<Unenforced> {
        let role = match self.role {
            Role::Main => None,
            Role::Init => Some(Unenforced::Init),
            Role::Sidecar => Some(Unenforced::Sidecar),
            Role::Ephemeral => Some(Unenforced::Ephemeral),
        };
        let host_pid = self.host_pid.then_some(Unenforced::HostPid);
        role.into_iter().chain(host_pid).collect()
    }
}

/// An owner of owners: of a ReplicaSet, or of a Job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parent {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What owns a pod directly, if it is of a kind that may be owned itself: then its owner has to be looked
/// up to know the workload.
pub fn middle(pod: &Pod) -> Option<Parent> {
    let owner = controller(pod.metadata.owner_references.as_deref().unwrap_or_default())?;
    matches!(owner.kind.as_str(), "ReplicaSet" | "Job").then(|| Parent {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
    })
}

/// The owner that controls.
pub fn controller(owners: &[OwnerReference]) -> Option<&OwnerReference> {
    owners.iter().find(|owner| owner.controller == Some(true))
}

/// The containers of a pod by their ids, as far as they have been started. `above`: what owns
/// [`middle`], where it is known and there is one.
pub fn residents(pod: &Pod, above: Option<&Parent>) -> BTreeMap<String, Resident> {
    let mut found = BTreeMap::new();
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else {
        return found;
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let owner = owner(pod, name, above);
    let labels = stable(pod.metadata.labels.iter().flatten());
    let is_sidecar = |container: &str| {
        let init = spec.init_containers.iter().flatten();
        init.filter(|init| init.name == container)
            .any(|init| init.restart_policy.as_deref() == Some("Always"))
    };
    let mut add = |statuses: &Option<Vec<ContainerStatus>>, role: Role| {
        for status in statuses.iter().flatten() {
            let role = match role {
                Role::Init if is_sidecar(&status.name) => Role::Sidecar,
                role => role,
            };
            let resident = Resident {
                workload: Workload {
                    namespace: namespace.to_owned(),
                    kind: owner.kind.clone(),
                    name: owner.name.clone(),
                    container: status.name.clone(),
                },
                image: image(&status.image, &status.image_id),
                labels: labels.clone(),
                role,
                host_pid: spec.host_pid == Some(true),
                pod: name.to_owned(),
            };
            for id in ids(status) {
                found.insert(id.to_owned(), resident.clone());
            }
        }
    };
    add(&status.container_statuses, Role::Main);
    add(&status.init_container_statuses, Role::Init);
    add(&status.ephemeral_container_statuses, Role::Ephemeral);
    found
}

/// The container that there is, and the one before it: one that ends soon is told of when its
/// successor runs already.
fn ids(status: &ContainerStatus) -> impl Iterator<Item = &str> {
    let last = status.last_state.as_ref();
    let last = last.and_then(|last| last.terminated.as_ref());
    let last = last.and_then(|last| last.container_id.as_deref());
    let all = last.into_iter().chain(status.container_id.as_deref());
    all.filter_map(container_id)
}

/// The workload's kind and name. Without what is above a ReplicaSet its Deployment is told by the hash
/// that a Deployment puts into both name and label; of a Job alone it cannot be told.
fn owner(pod: &Pod, name: &str, above: Option<&Parent>) -> Parent {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = controller(owners) else {
        return Parent {
            kind: "Pod".to_owned(),
            name: name.to_owned(),
        };
    };
    if matches!(owner.kind.as_str(), "ReplicaSet" | "Job")
        && let Some(above) = above
    {
        return above.clone();
    }
    // A static pod is owned by its node.
    if owner.kind == "Node" {
        let stem = name.strip_suffix(&format!("-{}", owner.name));
        return Parent {
            kind: "Pod".to_owned(),
            name: stem.unwrap_or(name).to_owned(),
        };
    }
    let labels = pod.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash
        .filter(|_| owner.kind == "ReplicaSet")
        .and_then(|hash| owner.name.strip_suffix(hash.as_str()))
        .and_then(|stem| stem.strip_suffix('-'))
        .filter(|stem| !stem.is_empty());
    match deployment {
        Some(deployment) => Parent {
            kind: "Deployment".to_owned(),
            name: deployment.to_owned(),
        },
        None => Parent {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        },
    }
}

/// Labels that controllers put on pods, another one on each pod or revision.
const PASSING: &[&str] = &[
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "pod-template-generation",
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

fn stable<'l>(labels: impl Iterator<Item = (&'l String, &'l String)>) -> Labels {
    labels
        .filter(|(key, _)| !PASSING.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// `containerd://<id>`, `cri-o://<id>`, `docker://<id>`: the id, of 64 hexadecimal digits.
fn container_id(text: &str) -> Option<&str> {
    let (_, id) = text.split_once("://")?;
    let fits = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == 64 && id.bytes().all(fits)).then_some(id)
}

/// The reference, and the digest that the runtime knows it by.
fn image(reference: &str, id: &str) -> String {
    let digest = id.rfind("sha256:").map(|at| &id[at..]);
    match digest {
        Some(digest) if !reference.contains('@') => format!("{reference}@{digest}"),
        _ => reference.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "4823608f2ce67c1bbc476e2abcf5493f7c4de3b3f018a39246be7056ba204198";

    fn pod(owner: Value, labels: Value) -> Pod {
        let status = |name: &str, id: &str| {
            json!({
                "name": name, "image": "registry/web:1", "ready": true, "restartCount": 0,
                "imageID": "registry/web@sha256:abc", "containerID": format!("containerd://{id}"),
            })
        };
        let id = |digit: &str| digit.repeat(64);
        let pod = json!({
            "metadata": {"name": "web-7d9-x2x", "namespace": "shop", "labels": labels, "ownerReferences": owner},
            "spec": {
                "containers": [{"name": "web"}],
                "initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}],
            },
            "status": {
                "containerStatuses": [status("web", &id("a"))],
                "initContainerStatuses": [status("setup", &id("b")), status("proxy", &id("c"))],
                "ephemeralContainerStatuses": [status("debug", &id("d"))],
            },
        });
        serde_json::from_value(pod).expect("a pod")
    }

    fn owned(kind: &str, name: &str) -> Value {
        json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "1", "controller": true}])
    }

    fn workload(pod: &Pod, above: Option<&Parent>) -> String {
        let found = residents(pod, above);
        found[&"a".repeat(64)].workload.to_string()
    }

    #[test]
    fn a_pod_belongs_to_the_owner_that_stays() {
        let above = |kind: &str, name: &str| Parent {
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let hash = json!({"app": "web", "pod-template-hash": "7d9"});
        let none = json!({"app": "web"});
        for (owner, labels, above, expected) in [
            (
                owned("ReplicaSet", "web-7d9"),
                &hash,
                None,
                "shop/Deployment/web/web",
            ),
            (
                owned("ReplicaSet", "web-7d9"),
                &hash,
                Some(above("Rollout", "web")),
                "shop/Rollout/web/web",
            ),
            (
                owned("ReplicaSet", "web"),
                &none,
                None,
                "shop/ReplicaSet/web/web",
            ),
            (
                owned("ReplicaSet", "7d9"),
                &hash,
                None,
                "shop/ReplicaSet/7d9/web",
            ),
            (
                owned("Job", "tidy-28000000"),
                &none,
                Some(above("CronJob", "tidy")),
                "shop/CronJob/tidy/web",
            ),
            (
                owned("Job", "tidy-28000000"),
                &none,
                None,
                "shop/Job/tidy-28000000/web",
            ),
            (
                owned("StatefulSet", "db"),
                &none,
                None,
                "shop/StatefulSet/db/web",
            ),
            (
                owned("DaemonSet", "log"),
                &none,
                None,
                "shop/DaemonSet/log/web",
            ),
            (json!([]), &none, None, "shop/Pod/web-7d9-x2x/web"),
            (owned("Node", "x2x"), &none, None, "shop/Pod/web-7d9/web"),
        ] {
            let pod = pod(owner, labels.clone());
            assert_eq!(workload(&pod, above.as_ref()), expected);
        }
    }

    #[test]
    fn only_what_may_be_owned_itself_is_to_be_looked_up() {
        for (kind, is_middle) in [
            ("ReplicaSet", true),
            ("Job", true),
            ("StatefulSet", false),
            ("DaemonSet", false),
        ] {
            assert_eq!(
                middle(&pod(owned(kind, "x"), json!({}))).is_some(),
                is_middle
            );
        }
        assert_eq!(middle(&pod(json!([]), json!({}))), None);
    }

    #[test]
    fn containers_are_kept_apart_by_what_they_are_to_the_pod() {
        let found = residents(&pod(json!([]), json!({})), None);
        let roles: Vec<(&str, Role, usize)> = found
            .values()
            .map(|of| {
                (
                    of.workload.container.as_str(),
                    of.role,
                    of.unenforced().len(),
                )
            })
            .collect();
        assert_eq!(
            roles,
            [
                ("web", Role::Main, 0),
                ("setup", Role::Init, 1),
                ("proxy", Role::Sidecar, 1),
                ("debug", Role::Ephemeral, 1),
            ]
        );
    }

    #[test]
    fn a_container_that_has_just_ended_is_known_beside_its_successor() {
        let mut pod = pod(json!([]), json!({}));
        let status = pod.status.as_mut().expect("a status");
        let web = &mut status.container_statuses.as_mut().expect("containers")[0];
        let before = json!({"terminated": {"exitCode": 1, "containerID": format!("containerd://{}", "e".repeat(64))}});
        web.last_state = Some(serde_json::from_value(before).expect("a state"));
        let found = residents(&pod, None);
        assert_eq!(found[&"e".repeat(64)], found[&"a".repeat(64)]);
    }

    #[test]
    fn labels_that_change_with_each_pod_select_nothing() {
        let labels = json!({
            "app": "web", "pod-template-hash": "7d9", "controller-revision-hash": "1",
            "statefulset.kubernetes.io/pod-name": "web-0", "batch.kubernetes.io/job-name": "x",
        });
        let found = residents(&pod(json!([]), labels), None);
        let labels = &found[&"a".repeat(64)].labels;
        assert_eq!(*labels, [("app".to_owned(), "web".to_owned())].into());
    }

    #[test]
    fn ids_and_digests_are_taken_as_each_runtime_writes_them() {
        for runtime in ["containerd", "cri-o", "docker"] {
            assert_eq!(container_id(&format!("{runtime}://{ID}")), Some(ID));
        }
        for hostile in [
            "",
            ID,
            "docker://",
            "docker://x",
            &format!("docker://{ID}/.."),
        ] {
            assert_eq!(container_id(hostile), None, "{hostile}");
        }
        for (reference, id, expected) in [
            (
                "nginx:1",
                "docker-pullable://nginx@sha256:a",
                "nginx:1@sha256:a",
            ),
            (
                "nginx:1",
                "docker.io/library/nginx@sha256:a",
                "nginx:1@sha256:a",
            ),
            ("nginx:1", "sha256:a", "nginx:1@sha256:a"),
            ("nginx@sha256:b", "nginx@sha256:b", "nginx@sha256:b"),
            ("nginx:1", "", "nginx:1"),
        ] {
            assert_eq!(image(reference, id), expected);
        }
    }
}

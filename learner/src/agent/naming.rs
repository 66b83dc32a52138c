//! Whose a watched cgroup is: by the host's own files, or by the pods of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::{self, Described, Roots, What};

/// Whose a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// This workload's.
    Known(Described),
    /// A pod's, and the API server has not told whose.
    NotYet,
    /// Of somebody who is not to be watched.
    LeftOut,
}

/// What the cluster has told of a container: its workload, or that it is left out.
pub(super) type Told = Option<Box<Described>>;

/// How cgroups are named.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// Containers of pods by their ids, on a node of a cluster.
    pods: Option<BTreeMap<String, Told>>,
    /// Containers of pods that are gone, as long as their cgroups are there.
    gone: BTreeSet<String>,
}

impl Naming {
    /// On a node of a cluster: containers of pods are whose the API server says.
    pub(super) fn of_cluster() -> Self {
        Self {
            pods: Some(BTreeMap::new()),
            ..Self::default()
        }
    }

    /// Whether it is a node of a cluster.
    pub(super) fn is_of_cluster(&self) -> bool {
        self.pods.is_some()
    }

    /// Whose it is. What is no container of a pod is named by the host alone.
    pub(super) fn whose(&self, what: &What, roots: &Roots) -> Whose {
        let (Some(pods), What::Container { id, pod: Some(_) }) = (&self.pods, what) else {
            return Whose::Known(host::describe(what, roots));
        };
        match pods.get(id) {
            Some(Some(described)) => Whose::Known((**described).clone()),
            Some(None) => Whose::LeftOut,
            // What holds the pod's namespaces is no container of it, and no API server knows it.
            None if host::is_sandbox(what, roots) => Whose::LeftOut,
            None => Whose::NotYet,
        }
    }

    /// The cluster has told whose a container is.
    pub(super) fn known(&mut self, id: String, told: Told) {
        self.gone.remove(&id);
        if let Some(pods) = &mut self.pods {
            pods.insert(id, told);
        }
    }

    /// Containers are no pod's any more. They are known until their cgroups are gone too.
    pub(super) fn gone(&mut self, ids: Vec<String>, is_watched: impl Fn(&str) -> bool) {
        self.gone.extend(ids);
        let over: Vec<String> = self.gone.extract_if(.., |id| !is_watched(id)).collect();
        if let Some(pods) = &mut self.pods {
            for id in over {
                pods.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str, pod: Option<&str>) -> What {
        What::Container {
            id: id.to_owned(),
            pod: pod.map(str::to_owned),
        }
    }

    fn described(id: &str) -> Described {
        host::describe(&container(id, None), &Roots::default())
    }

    #[test]
    fn a_container_of_a_pod_is_whose_the_cluster_says_and_others_whose_the_host_says() {
        let roots = Roots::default();
        let mut naming = Naming::of_cluster();
        let in_pod = container("a", Some("uid"));
        assert_eq!(naming.whose(&in_pod, &roots), Whose::NotYet);
        let alone = container("a", None);
        assert_eq!(naming.whose(&alone, &roots), Whose::Known(described("a")));
        naming.known("a".to_owned(), Some(Box::new(described("web"))));
        assert_eq!(
            naming.whose(&in_pod, &roots),
            Whose::Known(described("web"))
        );
        naming.known("a".to_owned(), None);
        assert_eq!(naming.whose(&in_pod, &roots), Whose::LeftOut);
        let host = Naming::default();
        assert_eq!(host.whose(&in_pod, &roots), Whose::Known(described("a")));
    }

    #[test]
    fn what_holds_the_namespaces_of_a_pod_is_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let roots = Roots {
            run: dir.path().to_owned(),
            lib: dir.path().to_owned(),
        };
        let id = "a".repeat(64);
        let bundle = "containerd/io.containerd.runtime.v2.task/k8s.io";
        let bundle = dir.path().join(bundle).join(&id);
        std::fs::create_dir_all(&bundle).expect("a directory");
        let pause = container(&id, Some("uid"));
        let naming = Naming::of_cluster();
        assert_eq!(naming.whose(&pause, &roots), Whose::NotYet);
        let config = r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox"}}"#;
        std::fs::write(bundle.join("config.json"), config).expect("a file");
        assert_eq!(naming.whose(&pause, &roots), Whose::LeftOut);
    }

    #[test]
    fn who_is_gone_is_known_until_the_cgroup_is_gone_too() {
        let roots = Roots::default();
        let mut naming = Naming::of_cluster();
        naming.known("a".to_owned(), None);
        naming.gone(vec!["a".to_owned()], |id| id == "a");
        let what = container("a", Some("uid"));
        assert_eq!(naming.whose(&what, &roots), Whose::LeftOut);
        naming.gone(Vec::new(), |_| false);
        assert_eq!(naming.whose(&what, &roots), Whose::NotYet);
    }
}

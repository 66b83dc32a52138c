//! What runtimes keep on disk of a container: its name, its image, its pod.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::selection::{Roots, What};
use crate::workload::{Labels, Workload};

/// Longest file that is read, bytes: Podman keeps all containers in one.
const MAX_FILE: u64 = 32 << 20;
/// Longest name that is taken over, bytes.
const MAX_NAME: usize = 253;
/// Namespace of workloads that no cluster names.
const NAMESPACE: &str = "host";

/// Whose run it is, as far as this host knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The workload.
    pub workload: Workload,
    /// Image reference and the digest by which its runtime knows it, empty if unknown.
    pub image: String,
    /// Labels for the policy's selector.
    pub labels: Labels,
}

/// Name of the container that only holds the namespaces of its pod.
const SANDBOX: &str = "POD";

/// Whether the container only holds the namespaces of its pod, as far as its runtime's files tell.
pub fn is_sandbox(what: &What, roots: &Roots) -> bool {
    let What::Container { id, .. } = what else {
        return false;
    };
    bundle(id, roots).is_some_and(|told| told.name.as_deref() == Some(SANDBOX))
}

/// Whether a workload has its name from its host alone, and from no cluster.
pub fn is_of_host(workload: &Workload) -> bool {
    workload.namespace == NAMESPACE
        && matches!(workload.kind.as_str(), "Container" | "Unit" | "Cgroup")
}

/// What is told of a container.
#[derive(Default)]
struct Told {
    name: Option<String>,
    namespace: Option<String>,
    pod: Option<String>,
    image: Option<String>,
    digest: Option<String>,
}

/// Names a workload: `host/Container/<name>`, `<namespace>/Pod/<pod>/<container>` where a runtime
/// keeps what Kubernetes told it, `host/Unit/<unit>`, `host/Cgroup/<name>`. A container that nothing
/// is known of has the first twelve digits of its id for a name. Files are read, and nothing is
/// asked of a runtime.
pub fn describe(what: &What, roots: &Roots) -> Described {
    let (kind, name) = match what {
        What::Container { id, .. } => return container(id, roots),
        What::Unit(unit) => ("Unit", unit),
        What::Cgroup(name) => ("Cgroup", name),
    };
    Described {
        workload: workload(NAMESPACE, kind, name, name),
        image: String::new(),
        labels: app(name),
    }
}

fn workload(namespace: &str, kind: &str, name: &str, container: &str) -> Workload {
    Workload {
        namespace: namespace.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        container: container.to_owned(),
    }
}

fn app(name: &str) -> Labels {
    Labels::from([("app".to_owned(), crate::policy::names::label_value(name))])
}

fn container(id: &str, roots: &Roots) -> Described {
    let told = docker(id, roots)
        .or_else(|| storage(id, roots))
        .into_iter()
        .chain(bundle(id, roots))
        .reduce(Told::or)
        .unwrap_or_default();
    let short = if id.len() == 64 { &id[..12] } else { id };
    let name = told.name.as_deref().unwrap_or(short);
    let image = match (told.image, told.digest) {
        (Some(image), Some(digest)) if !image.contains('@') => format!("{image}@{digest}"),
        (Some(image), _) => image,
        (None, digest) => digest.unwrap_or_default(),
    };
    let (workload, labels) = match (told.namespace, told.pod) {
        (Some(namespace), Some(pod)) => (workload(&namespace, "Pod", &pod, name), app(&pod)),
        _ => (workload(NAMESPACE, "Container", name, name), app(name)),
    };
    Described {
        workload,
        image,
        labels,
    }
}

impl Told {
    fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            namespace: self.namespace.or(other.namespace),
            pod: self.pod.or(other.pod),
            image: self.image.or(other.image),
            digest: self.digest.or(other.digest),
        }
    }
}

/// Docker: `containers/<id>/config.v2.json`.
fn docker(id: &str, roots: &Roots) -> Option<Told> {
    let file = roots.lib.join("docker/containers").join(id);
    let config = read(&file.join("config.v2.json"))?;
    Some(Told {
        name: config["Name"]
            .as_str()
            .and_then(|name| plain(name.trim_start_matches('/'))),
        image: config["Config"]["Image"].as_str().and_then(reference),
        digest: config["Image"].as_str().and_then(digest),
        ..Told::default()
    })
}

/// Podman and CRI-O: `containers.json` of containers/storage.
fn storage(id: &str, roots: &Roots) -> Option<Told> {
    let known = ["overlay-containers", "vfs-containers", "btrfs-containers"];
    known.iter().find_map(|directory| {
        let file = roots.lib.join("containers/storage").join(directory);
        let all = read(&file.join("containers.json"))?;
        let one = all.as_array()?.iter().find(|one| one["id"] == id)?;
        let metadata: Value = one["metadata"]
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        Some(Told {
            name: one["names"][0].as_str().and_then(plain),
            image: metadata["image-name"].as_str().and_then(reference),
            digest: one["image"].as_str().and_then(digest),
            ..Told::default()
        })
    })
}

/// Any OCI runtime: the annotations in the bundle's `config.json`.
fn bundle(id: &str, roots: &Roots) -> Option<Told> {
    let directory = bundle_directory(id, roots)?;
    let config = read(&directory.join("config.json"))?;
    let notes = &config["annotations"];
    let first = |keys: &[&str]| keys.iter().find_map(|key| notes[*key].as_str());
    let is_sandbox = [
        "io.kubernetes.cri.container-type",
        "io.kubernetes.cri-o.ContainerType",
    ]
    .iter()
    .any(|key| notes[*key] == "sandbox");
    let name = first(&[
        "io.kubernetes.cri.container-name",
        "io.kubernetes.container.name",
    ]);
    Some(Told {
        name: if is_sandbox { Some(SANDBOX) } else { name }.and_then(plain),
        namespace: first(&[
            "io.kubernetes.cri.sandbox-namespace",
            "io.kubernetes.pod.namespace",
        ])
        .and_then(plain),
        pod: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]).and_then(plain),
        image: first(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
        ])
        .and_then(reference),
        digest: first(&["io.kubernetes.cri-o.ImageRef"]).and_then(digest),
    })
}

fn bundle_directory(id: &str, roots: &Roots) -> Option<PathBuf> {
    let run = &roots.run;
    // containerd keeps the bundle where its name says.
    for namespace in ["k8s.io", "moby", "default"] {
        let tasks = run.join("containerd/io.containerd.runtime.v2.task");
        let directory = tasks.join(namespace).join(id);
        if directory.join("config.json").exists() {
            return Some(directory);
        }
    }
    if let Some(state) = read(&run.join("runc").join(id).join("state.json")) {
        let labels = state["config"]["labels"].as_array()?;
        return labels
            .iter()
            .find_map(|label| label.as_str()?.strip_prefix("bundle="))
            .map(PathBuf::from);
    }
    let status = read(&run.join("crun").join(id).join("status"))?;
    status["bundle"].as_str().map(PathBuf::from)
}

fn read(path: &Path) -> Option<Value> {
    let mut text = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_FILE)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice(&text)
        .inspect_err(|cause| tracing::debug!(path = %path.display(), %cause, "no JSON"))
        .ok()
}

/// A name as runtimes allow it; any other is not taken over.
fn plain(name: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(fits);
    is_name.then(|| name.to_owned())
}

fn reference(image: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-/:@+".contains(&b);
    let is_one = !image.is_empty() && image.len() <= 4 * MAX_NAME && image.bytes().all(fits);
    is_one.then(|| image.to_owned())
}

/// `sha256:<64 digits>`, also of the digits alone.
fn digest(text: &str) -> Option<String> {
    let hex = text.rsplit(':').next()?;
    let is_hex = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| format!("sha256:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4823608f2ce67c1bbc476e2abcf5493f7c4de3b3f018a39246be7056ba204198";
    const IMAGE: &str = "379bd522efd1b8fd86bbb33f27b9364b8bfb09e29a14128ea958d9061e025efb";

    fn world(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().expect("dir");
        for (name, text) in files {
            let text = text.replace("<id>", ID).replace("<image>", IMAGE);
            let text = text.replace("<dir>", dir.path().to_str().expect("text"));
            let path = dir.path().join(name.replace("<id>", ID));
            std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            std::fs::write(path, text).expect("write");
        }
        let roots = Roots {
            run: dir.path().join("run"),
            lib: dir.path().join("lib"),
        };
        (dir, roots)
    }

    fn named(id: &str, files: &[(&str, &str)]) -> (String, String) {
        let (_dir, roots) = world(files);
        let (id, pod) = (id.to_owned(), None);
        let described = describe(&What::Container { id, pod }, &roots);
        (described.workload.to_string(), described.image)
    }

    #[test]
    fn docker_and_podman_name_container_and_image() {
        let docker = r#"{"ID":"<id>","Name":"/web","Image":"sha256:<image>","Config":{"Image":"nginx:1.27"}}"#;
        let podman = r#"[{"id":"other"},{"id":"<id>","names":["web"],"image":"<image>","metadata":"{\"image-name\":\"nginx:1.27\"}"}]"#;
        let expected = (
            "host/Container/web/web".to_owned(),
            format!("nginx:1.27@sha256:{IMAGE}"),
        );
        let file = "lib/docker/containers/<id>/config.v2.json";
        assert_eq!(named(ID, &[(file, docker)]), expected);
        let file = "lib/containers/storage/overlay-containers/containers.json";
        assert_eq!(named(ID, &[(file, podman)]), expected);
    }

    #[test]
    fn what_kubernetes_told_the_runtime_is_read_from_the_bundle() {
        let config = r#"{"annotations":{"io.kubernetes.cri.container-name":"cart",
            "io.kubernetes.cri.sandbox-name":"cart-7d9","io.kubernetes.cri.sandbox-namespace":"shop",
            "io.kubernetes.cri.image-name":"registry/cart:3"}}"#;
        let file = "run/containerd/io.containerd.runtime.v2.task/k8s.io/<id>/config.json";
        let expected = (
            "shop/Pod/cart-7d9/cart".to_owned(),
            "registry/cart:3".to_owned(),
        );
        assert_eq!(named(ID, &[(file, config)]), expected);
        let state = r#"{"config":{"labels":["bundle=<dir>/b"]}}"#;
        let files = [
            ("run/runc/<id>/state.json", state),
            ("b/config.json", config),
        ];
        assert_eq!(named(ID, &files), expected);
    }

    #[test]
    fn a_container_of_which_nothing_or_nonsense_is_known_has_its_id() {
        let unknown = (
            "host/Container/4823608f2ce6/4823608f2ce6".to_owned(),
            String::new(),
        );
        assert_eq!(named(ID, &[]), unknown);
        let file = "lib/docker/containers/<id>/config.v2.json";
        for hostile in [
            "",
            "[",
            "[]",
            r#"{"Name":"/../../x","Image":7}"#,
            r#"{"Name":"/a\nb","Config":{"Image":"a\u001b[2J"},"Image":"sha256:1"}"#,
        ] {
            assert_eq!(named(ID, &[(file, hostile)]), unknown, "{hostile}");
        }
        let plain = ("host/Container/web/web".to_owned(), String::new());
        assert_eq!(named("web", &[]), plain);
    }
}

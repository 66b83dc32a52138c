//! An API server for the tests, and clients of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use learner::cluster::WorkloadEvidence;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const LEARNER: &str = env!("CARGO_BIN_EXE_learner");

/// The server that tests share; it ends with the last of those that run at a time.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

static NAMES: AtomicUsize = AtomicUsize::new(0);

/// etcd and kube-apiserver in a directory of their own.
pub(crate) struct Server {
    dir: TempDir,
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/apiserver"))
}

fn is_there() -> bool {
    let bin = match std::env::var_os("KUBEBUILDER_ASSETS") {
        Some(bin) => PathBuf::from(bin),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cluster/bin"),
    };
    let built = match std::env::var_os("LEARNER_CLUSTER_DIR") {
        Some(dir) => PathBuf::from(dir).join("bin"),
        None => bin.clone(),
    };
    [bin, built]
        .iter()
        .any(|bin| bin.join("etcd").exists() && bin.join("kube-apiserver").exists())
}

impl Server {
    fn start() -> Self {
        let dir = TempDir::new().expect("a directory");
        let server = Self { dir };
        server.go_on();
        server
    }

    /// Starts what was stopped, with the same data.
    pub(crate) fn go_on(&self) {
        let output = script().arg("start").arg(self.dir.path()).output();
        let output = output.expect("the script runs");
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{talk}");
    }

    /// Ends the API server; etcd goes on.
    pub(crate) fn pause(&self) {
        let status = script()
            .arg("stop")
            .arg(self.dir.path())
            .arg("kube-apiserver")
            .status();
        assert!(status.expect("the script runs").success());
    }

    /// The kubeconfig of a user: `admin`, or `limited`.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.kubeconfig"))
    }

    async fn client(&self, user: &str) -> Client {
        let config = Kubeconfig::read_from(self.kubeconfig(user)).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        Client::try_from(config.expect("a configuration")).expect("a client")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = script().arg("stop").arg(self.dir.path()).status();
    }
}

/// A server for a test.
pub(crate) struct World {
    server: Arc<Server>,
}

fn may_run() -> bool {
    let there = is_there();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "CI is set, and there is no API server: tests/cluster/apiserver build"
    );
    if !there {
        eprintln!(
            "skipped: no API server; tests/cluster/apiserver build, or set KUBEBUILDER_ASSETS"
        );
    }
    there
}

/// One that tests share, with Learner's definitions. None, with a line on standard error: there is none.
pub(crate) fn world() -> Option<World> {
    if !may_run() {
        return None;
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Some(World { server });
    }
    let server = Arc::new(Server::start());
    let world = World { server };
    world.run(async |world| world.define().await);
    *shared = Arc::downgrade(&world.server);
    Some(world)
}

/// One of the test's own, without Learner's definitions.
pub(crate) fn bare() -> Option<World> {
    may_run().then(|| World {
        server: Arc::new(Server::start()),
    })
}

/// A connected test.
pub(crate) struct Connected {
    pub(crate) server: Arc<Server>,
    admin: Client,
    limited: Client,
}

impl World {
    pub(crate) fn run(&self, test: impl AsyncFnOnce(&Connected)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let connected = Connected {
                server: Arc::clone(&self.server),
                admin: self.server.client("admin").await,
                limited: self.server.client("limited").await,
            };
            test(&connected).await;
        });
    }
}

impl Connected {
    /// Who may do anything.
    pub(crate) fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// Who may do what [`Connected::allow`] allows.
    pub(crate) fn limited(&self) -> Client {
        self.limited.clone()
    }

    /// Defines Learner's resources, and waits until they are served.
    pub(crate) async fn define(&self) {
        let client = self.admin();
        for (name, definition) in learner::cluster::crds() {
            let definition = serde_yaml::from_str(&definition).expect("YAML");
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &crd_resource());
            // Not by server-side apply: a server that does not know the validation rules refuses them there,
            // and leaves them out here.
            let made = api.create(&PostParams::default(), &definition).await;
            made.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let api: Api<WorkloadEvidence> = Api::all(client);
        for _ in 0..300 {
            if api.list(&Default::default()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the resources are not served after 30 s");
    }

    /// A namespace of the test's own.
    pub(crate) async fn namespace(&self) -> String {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let api: Api<Namespace> = Api::all(self.admin());
        let namespace = json!({"metadata": {"name": name}});
        let namespace = serde_json::from_value(namespace).expect("a namespace");
        let made = api.create(&PostParams::default(), &namespace).await;
        made.expect("a namespace");
        name
    }

    /// The limited one may do these, and nothing else: verbs, and the resource with its group.
    pub(crate) async fn allow(&self, given: &[(&[&str], &str)]) {
        let client = self.admin();
        let rules: Vec<Value> = given
            .iter()
            .filter(|(verbs, _)| !verbs.is_empty())
            .map(|(verbs, resource)| {
                let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
                json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
            })
            .collect();
        let of = json!({"apiVersion": "rbac.authorization.k8s.io/v1"});
        let with = |more: Value| {
            let mut whole = of.clone();
            for (key, value) in more.as_object().expect("an object") {
                whole[key] = value.clone();
            }
            whole
        };
        let how = PatchParams::apply("test").force();
        let role = with(json!({
            "kind": "ClusterRole", "metadata": {"name": "limited"}, "rules": rules,
        }));
        let api: Api<ClusterRole> = Api::all(client.clone());
        api.patch("limited", &how, &Patch::Apply(&role))
            .await
            .expect("a role");
        let binding = with(json!({
            "kind": "ClusterRoleBinding", "metadata": {"name": "limited"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "limited"},
            "subjects": [{"kind": "User", "name": "limited", "apiGroup": "rbac.authorization.k8s.io"}],
        }));
        let api: Api<ClusterRoleBinding> = Api::all(client);
        api.patch("limited", &how, &Patch::Apply(&binding))
            .await
            .expect("a binding");
        // The authorizer hears of it by a watch of its own.
        for (verbs, resource) in given {
            for verb in ["get", "list", "watch", "create", "patch", "delete"] {
                self.until_allowed(verb, resource, verbs.contains(&verb))
                    .await;
            }
        }
    }

    async fn until_allowed(&self, verb: &str, resource: &str, wanted: bool) {
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let review = json!({"spec": {"resourceAttributes": {
            "verb": verb, "group": group, "resource": resource,
        }}});
        let review: SelfSubjectAccessReview = serde_json::from_value(review).expect("a review");
        let api: Api<SelfSubjectAccessReview> = Api::all(self.limited());
        for _ in 0..600 {
            let told = api.create(&PostParams::default(), &review).await;
            let told = told.expect("an answer").status.expect("a status");
            if told.allowed == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{verb} {resource}: not {wanted} after 30 s");
    }

    /// An object of evidence with whatever specification.
    pub(crate) async fn try_evidence(
        &self,
        namespace: &str,
        name: &str,
        spec: &Value,
    ) -> Result<(), kube::Error> {
        let resource = ApiResource::erase::<WorkloadEvidence>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.admin(), namespace, &resource);
        let object = json!({
            "apiVersion": "learner.dev/v1alpha1", "kind": "WorkloadEvidence",
            "metadata": {"name": name}, "spec": spec,
        });
        let object = serde_json::from_value(object).expect("an object");
        api.create(&PostParams::default(), &object).await.map(drop)
    }
}

fn crd_resource() -> ApiResource {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    ApiResource::erase::<CustomResourceDefinition>(&())
}

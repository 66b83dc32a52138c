//! An API server for the tests, and clients of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use learner::cluster::WorkloadEvidence;
use learner::observation::Moment;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const LEARNER: &str = env!("CARGO_BIN_EXE_learner");

/// The server that tests share; it ends with the last of those that run at a time.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The present.
pub(crate) fn now() -> Moment {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a clock");
    Moment(i64::try_from(since.as_micros()).expect("a clock"))
}

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

    /// Where it keeps what it needs, and the files by which its users know it.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
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

/// Until `tests/cluster/apiserver build` has ended, if it is at work: it holds a lock meanwhile.
fn wait_for_the_build() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cluster/lock");
    if lock.exists() {
        let _ = Command::new("flock").arg(lock).arg("true").status();
    }
}

fn may_run() -> bool {
    if !is_there() {
        wait_for_the_build();
    }
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
    world.run(async |world| {
        world.define().await;
        world.define_kubearmor().await;
    });
    *shared = Arc::downgrade(&world.server);
    Some(world)
}

/// One of the test's own, without Learner's definitions.
pub(crate) fn bare() -> Option<World> {
    may_run().then(|| World {
        server: Arc::new(Server::start()),
    })
}

/// What the command line answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
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

    /// Defines KubeArmor's policies, and waits until they are served: from the directory KUBEARMOR_CRDS, or
    /// with a schema that takes anything.
    pub(crate) async fn define_kubearmor(&self) {
        let client = self.admin();
        let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &crd_resource());
        for (kind, scope) in [
            ("KubeArmorPolicy", "Namespaced"),
            ("KubeArmorClusterPolicy", "Cluster"),
        ] {
            let definition = match std::env::var_os("KUBEARMOR_CRDS") {
                Some(dir) => {
                    let file = Path::new(&dir).join(format!("{kind}.yaml"));
                    let text = std::fs::read_to_string(&file);
                    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
                    serde_yaml::from_str(&text).expect("YAML")
                }
                None => serde_json::from_value(anything(kind, scope)).expect("an object"),
            };
            let how = PostParams::default();
            let made = definitions.create(&how, &definition).await;
            made.unwrap_or_else(|error| panic!("{kind}: {error}"));
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kubearmor(kind));
            self.until_served(&api).await;
        }
    }

    async fn until_served(&self, api: &Api<DynamicObject>) {
        for _ in 0..300 {
            if api.list(&Default::default()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the resources are not served after 30 s");
    }

    /// Of one of KubeArmor's kinds; in a namespace, if it is told.
    pub(crate) fn kubearmor(&self, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.admin(), namespace, &kubearmor(kind)),
            None => Api::all_with(self.admin(), &kubearmor(kind)),
        }
    }

    /// Somebody else applies an object.
    pub(crate) async fn foreign(&self, api: &Api<DynamicObject>, manager: &str, object: &Value) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let how = PatchParams::apply(manager).force();
        let applied = api.patch(name, &how, &Patch::Apply(object)).await;
        applied.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Annotates a namespace by kubectl; nothing takes the annotation away.
    pub(crate) async fn annotate(&self, namespace: &str, key: &str, value: Option<&str>) {
        let api: Api<Namespace> = Api::all(self.admin());
        let annotated = json!({"metadata": {"annotations": {key: value}}});
        let patched = api
            .patch(
                namespace,
                &PatchParams::default(),
                &Patch::Merge(&annotated),
            )
            .await;
        patched.expect("annotated");
    }

    /// Labels a namespace.
    pub(crate) async fn label(&self, namespace: &str, key: &str, value: &str) {
        let api: Api<Namespace> = Api::all(self.admin());
        let labelled = json!({"metadata": {"labels": {key: value}}});
        let how = PatchParams::default();
        let patched = api.patch(namespace, &how, &Patch::Merge(&labelled)).await;
        patched.expect("labelled");
    }

    /// No more objects of this resource may be made in the namespace.
    pub(crate) async fn quota_that_is_full(&self, namespace: &str, resource: &str) {
        let count = format!("count/{resource}");
        let api: Api<ResourceQuota> = Api::namespaced(self.admin(), namespace);
        let quota = json!({"metadata": {"name": "full"}, "spec": {"hard": {&count: "1"}}});
        let quota = serde_json::from_value(quota).expect("a quota");
        let made = api.create(&PostParams::default(), &quota).await;
        made.expect("a quota");
        // There is no controller that would count.
        let counted = json!({"status": {"hard": {&count: "1"}, "used": {&count: "1"}}});
        let how = PatchParams::default();
        let counted = api
            .patch_status("full", &how, &Patch::Merge(&counted))
            .await;
        counted.expect("counted");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    /// Policies have to pass a webhook that does not answer.
    pub(crate) async fn webhook_that_is_away(&self) {
        let webhook = json!({
            "metadata": {"name": "away"},
            "webhooks": [{
                "name": "away.example.org", "failurePolicy": "Fail", "timeoutSeconds": 1,
                "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "rules": [{
                    "apiGroups": ["security.kubearmor.com"], "apiVersions": ["*"],
                    "resources": ["*"], "operations": ["*"],
                }],
            }],
        });
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.admin());
        let webhook = serde_json::from_value(webhook).expect("a webhook");
        let made = api.create(&PostParams::default(), &webhook).await;
        made.expect("a webhook");
        // The server hears of it by a watch of its own.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    /// The command line, as the user who may do anything.
    pub(crate) fn learner(&self, args: &[&str]) -> Said {
        self.learner_as("admin", args, "")
    }

    /// The command line, as a program that goes on.
    pub(crate) fn spawn(&self, args: &[&str]) -> std::process::Child {
        let dir = self.server.dir.path();
        let child = Command::new(LEARNER)
            .args(args)
            .env_clear()
            .env("KUBECONFIG", dir.join("admin.kubeconfig"))
            .stdout(std::process::Stdio::piped())
            .spawn();
        child.expect("learner runs")
    }

    pub(crate) fn learner_as(&self, user: &str, args: &[&str], stdin: &str) -> Said {
        let dir = self.server.dir.path();
        let output = assert_cmd::Command::new(LEARNER)
            .args(args)
            .current_dir(dir)
            .env_clear()
            .env("KUBECONFIG", dir.join(format!("{user}.kubeconfig")))
            .env("HOME", dir)
            .write_stdin(stdin)
            .output()
            .expect("learner runs");
        said(output)
    }

    /// As [`Connected::learner_as`], while other tasks of the test go on.
    pub(crate) async fn learner_beside(&self, user: &str, args: &[&str]) -> Said {
        let dir = self.server.dir.path();
        let output = tokio::process::Command::new(LEARNER)
            .args(args)
            .current_dir(dir)
            .env_clear()
            .env("KUBECONFIG", dir.join(format!("{user}.kubeconfig")))
            .env("HOME", dir)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .expect("learner runs");
        said(output)
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
            for verb in [
                "get", "list", "watch", "create", "update", "patch", "delete",
            ] {
                self.until_allowed(verb, resource, verbs.contains(&verb))
                    .await;
            }
        }
    }

    async fn until_allowed(&self, verb: &str, resource: &str, wanted: bool) {
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let (resource, of_it) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({"spec": {"resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": of_it,
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

fn said(output: std::process::Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn crd_resource() -> ApiResource {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    ApiResource::erase::<CustomResourceDefinition>(&())
}

fn kubearmor(kind: &str) -> ApiResource {
    let of = GroupVersionKind::gvk("security.kubearmor.com", "v1", kind);
    ApiResource::from_gvk_with_plural(&of, &plural(kind))
}

fn plural(kind: &str) -> String {
    kind.to_lowercase().replace("policy", "policies")
}

/// A definition whose objects may be anything.
fn anything(kind: &str, scope: &str) -> Value {
    let plural = plural(kind);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.security.kubearmor.com")},
        "spec": {
            "group": "security.kubearmor.com", "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    })
}

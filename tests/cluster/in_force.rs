//! What the promotion job has decided, in force on a node: in the virtual machine, whose kernel asks BPF
//! programs, against a server that answers as the API server would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use learner::candidate::Ledger;
use learner::cluster::standings::{Kept, name, status};
use learner::kernel::enforcer;
use learner::observation::Moment;
use learner::posture::{Revision, Slice, Standing};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::enforcing::frozen;
use crate::fake::{self, Answer};
use crate::node::{Agent, Container, Driver, Node, alone, wait_for};
use crate::world::{LEARNER, now};

fn revision() -> Revision {
    Revision {
        workload: "shop/Deployment/web/main".parse().expect("a workload"),
        image: "web:1@sha256:00".to_owned(),
    }
}

/// Where it stands.
#[derive(Clone)]
enum Stands {
    Audit,
    Block,
    /// Under block, and until then on these pods alone.
    Canary(Slice, Moment),
}

/// The WorkloadPosture of the workload, whose candidate allows all but what is in `denied`.
fn posture(stands: &Stands, allowed: &Path, version: u64) -> Value {
    let mut policy = String::from(
        "kind: KubeArmorPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n  selector: {matchLabels: {app: \
         web}}\n  action: Allow\n  process: {matchDirectories: [{dir: /bin/, recursive: true}, {dir: /usr/, \
         recursive: true}]}\n  file:\n    matchDirectories:\n",
    );
    for dir in [
        "/bin/", "/usr/", "/lib/", "/lib64/", "/etc/", "/proc/", "/dev/", "/sys/",
    ] {
        policy.push_str(&format!("    - {{dir: {dir}, recursive: true}}\n"));
    }
    let allowed = allowed.display();
    policy.push_str(&format!("    - {{dir: {allowed}/, recursive: true}}\n"));
    let since = now();
    let (candidate, freeze) = frozen(&policy, since, None);
    let standing = match stands {
        Stands::Audit => Standing::Audit { since, freeze },
        Stands::Block => Standing::Block {
            since,
            freeze,
            canary_until: since,
            slice: None,
        },
        Stands::Canary(slice, until) => Standing::Block {
            since,
            freeze,
            canary_until: *until,
            slice: Some(*slice),
        },
    };
    let revision = revision();
    let mut ledger = Ledger::default();
    let noted = ledger.follow(revision.clone(), standing, Some(candidate));
    noted.expect("noted");
    let kept = Kept {
        revision: &revision,
        ledger: &ledger,
        runs: 3,
        held: Default::default(),
        canary: None,
        entry: None,
    };
    json!({
        "apiVersion": "learner.dev/v1alpha1", "kind": "WorkloadPosture",
        "metadata": {
            "name": name(&revision.workload), "namespace": "shop", "resourceVersion": version.to_string(),
        },
        "spec": {"workload": {"kind": "Deployment", "name": "web", "container": "main"}},
        "status": status(None, &kept),
    })
}

/// What the server knows, and what it was told.
#[derive(Default)]
struct Known {
    is_away: bool,
    pods: Vec<Value>,
    posture: Option<Value>,
    watches: Vec<UnboundedSender<String>>,
    /// Evidence, as it was written last.
    evidence: Option<Value>,
    version: u64,
}

impl Known {
    fn answer(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        let list = |kind: &str, items: &[Value], version: u64| {
            let version = version.to_string();
            let group = if kind == "Pod" {
                "v1"
            } else {
                "learner.dev/v1alpha1"
            };
            let list = json!({
                "apiVersion": group, "kind": format!("{kind}List"),
                "metadata": {"resourceVersion": version}, "items": items,
            });
            Answer::Whole(200, list.to_string())
        };
        if self.is_away {
            return Answer::Whole(503, String::new());
        }
        if path.contains("watch=true") {
            let (send, lines) = unbounded_channel();
            if path.contains("workloadpostures") {
                // What was decided since it was listed.
                let asked = path.split(['?', '&']);
                let mut asked = asked.filter_map(|one| one.strip_prefix("resourceVersion="));
                let listed = asked.next().and_then(|version| version.parse::<u64>().ok());
                if let Some(object) = &self.posture
                    && listed.is_some_and(|listed| listed < self.version)
                {
                    let event = json!({"type": "MODIFIED", "object": object});
                    let _ = send.send(event.to_string());
                }
                self.watches.push(send);
                return Answer::Lines(lines);
            }
            return Answer::Stream(String::new());
        }
        if path.contains("/pods") {
            return list("Pod", &self.pods, self.version);
        }
        if path.contains("/workloadpostures") {
            let all: Vec<Value> = self.posture.iter().cloned().collect();
            return list("WorkloadPosture", &all, self.version);
        }
        if method == "PATCH" && path.contains("/workloadevidences/") {
            let object: Value = serde_json::from_slice(body).expect("JSON");
            self.evidence = Some(object.clone());
            return Answer::Whole(200, object.to_string());
        }
        if path.contains("/workloadevidences") {
            let none = json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                "metadata": {}, "items": [],
            });
            return Answer::Whole(200, none.to_string());
        }
        Answer::Whole(404, "404 page not found".to_owned())
    }

    /// The job has decided.
    fn decide(&mut self, stands: &Stands, allowed: &Path) {
        self.version += 1;
        let kind = if self.posture.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        let object = posture(stands, allowed, self.version);
        let event = json!({"type": kind, "object": object}).to_string();
        self.watches
            .retain(|watch| watch.send(event.clone()).is_ok());
        self.posture = Some(object);
    }
}

/// A server on loopback, with a kubeconfig for it.
fn server(known: &Arc<Mutex<Known>>, dir: &Path) -> PathBuf {
    let (send, address) = std::sync::mpsc::channel();
    let known = Arc::clone(known);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async move {
            let answer = move |method: &str, path: &str, body: &[u8]| {
                known.lock().expect("no panic").answer(method, path, body)
            };
            send.send(fake::listen(answer).await)
                .expect("somebody asks");
            std::future::pending::<()>().await;
        });
    });
    let address = address.recv().expect("an address");
    // Of any, since the machine has none, and it is not asked for.
    let CertifiedKey { cert, .. } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let authority = STANDARD.encode(cert.pem());
    let cluster =
        json!({"server": format!("http://{address}"), "certificate-authority-data": authority});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let file = dir.join("kubeconfig");
    fs::write(&file, config.to_string()).expect("a file");
    file
}

fn pod(node: &Node, container: &Container) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-5d4-1", "namespace": "shop", "uid": container.uid, "resourceVersion": "1",
            "labels": {"app": "web", "pod-template-hash": "5d4"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4", "uid": "r", "controller": true,
            }],
        },
        "spec": {"nodeName": node.name, "containers": [{"name": "main", "image": "web:1"}]},
        "status": {"containerStatuses": [{
            "name": "main", "image": "web:1", "imageID": "web@sha256:00", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{}", container.id),
        }]},
    })
}

fn enforced(agent: &Agent) -> Option<String> {
    agent
        .metric("learner_enforced{workload=\"shop/Deployment/web/main\",image=\"web:1@sha256:00\"}")
}

#[test]
fn what_is_decided_is_in_force_on_a_node() {
    if let Err(why) = enforcer::is_active() {
        eprintln!("skipped here, and done in the virtual machine: {why}");
        return;
    }
    let Some(_alone) = alone() else { return };
    let dir = TempDir::new().expect("a directory");
    let known = Arc::new(Mutex::new(Known::default()));
    let lock = || known.lock().expect("no panic");
    let node = Node::with(server(&known, dir.path()), "forced");
    let container = Container::new(Driver::Systemd);
    lock().pods = vec![pod(&node, &container)];
    let secret = dir.path().join("secret");
    fs::write(&secret, "x").expect("a file");
    let allowed = dir.path().join("allowed");
    fs::create_dir(&allowed).expect("a directory");
    let log = allowed.join("log");
    let agent = node.enforcing("");
    agent.says("on this node Learner's own programs enforce");
    let mut running = container.run(&format!(
        "while true; do if cat {} > /dev/null 2>&1; then echo yes; else echo no; fi >> {}; sleep 0.2; done",
        secret.display(),
        log.display()
    ));
    // What came of it the last three times.
    let reads = || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(3).collect();
        match last[..] {
            ["yes", "yes", "yes"] => Some(true),
            ["no", "no", "no"] => Some(false),
            _ => None,
        }
    };
    wait_for("the container to read", || reads() == Some(true));
    lock().decide(&Stands::Audit, &allowed);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((reads(), enforced(&agent)), (Some(true), None));

    lock().decide(&Stands::Block, &allowed);
    wait_for("it to be refused", || reads() == Some(false));
    wait_for("it to be held", || enforced(&agent).as_deref() == Some("1"));
    // What was refused is evidence, with who enforces.
    wait_for("it to be told", || {
        let known = lock();
        let Some(evidence) = &known.evidence else {
            return false;
        };
        let mut acts = evidence["spec"]["acts"].as_array().into_iter().flatten();
        let secret = secret.to_str().expect("text");
        acts.any(|act| act["path"] == secret && act["denied"] == true)
            && evidence["spec"]["enforcement"]["by"] == "learner"
    });

    // Killed, and begun anew while the server is away.
    lock().is_away = true;
    agent.kill();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(reads(), Some(false));
    let agent = node.enforcing("");
    agent.says("was in force all the time");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(reads(), Some(false));
    assert!(
        !agent.log().contains("is not enforced any more"),
        "{}",
        agent.log()
    );
    lock().is_away = false;
    agent.says("goes on being enforced");
    wait_for("it to be held", || enforced(&agent).as_deref() == Some("1"));
    assert_eq!(reads(), Some(false));

    // A canary without this pod: it is let be, and held when the canary ends.
    let none = Slice {
        share: "1%".parse().expect("a share"),
        last: 0,
    };
    let until = Moment(now().0 + 15_000_000);
    lock().decide(&Stands::Canary(none, until), &allowed);
    wait_for("it to be let be", || reads() == Some(true));
    wait_for("the canary to end", || reads() == Some(false));
    assert!(now() >= until);
    // With it, it is held at once.
    let all = Slice {
        last: u64::MAX,
        ..none
    };
    let far = Moment(now().0 + 3_600_000_000);
    lock().decide(&Stands::Canary(all, far), &allowed);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(reads(), Some(false));

    // Taken back, it is let be.
    lock().decide(&Stands::Audit, &allowed);
    wait_for("it to be let be", || reads() == Some(true));
    running.kill().expect("killed");
    running.wait().expect("gone");
    drop(container);
    assert!(agent.stop().success());
}

#[test]
fn in_the_virtual_machine() {
    if std::env::var_os("LEARNER_IN_VM").is_some() {
        return;
    }
    let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/boot");
    let need = Command::new(&boot)
        .arg("--check")
        .output()
        .expect("it runs");
    if !need.status.success() {
        let why = String::from_utf8_lossy(&need.stderr).trim().to_owned();
        assert!(
            std::env::var_os("CI").is_none(),
            "CI is set, and the virtual machine cannot run: {why}"
        );
        eprintln!("skipped: the virtual machine: {why}");
        return;
    }
    let own = std::env::current_exe().expect("this program");
    let output = Command::new(&boot)
        .args([own.as_path(), Path::new(LEARNER)])
        .env("TESTS", "what_is_decided_is_in_force --nocapture")
        .output()
        .expect("it runs");
    let console = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        console.contains("in the virtual machine: exit 0") && console.contains("1 passed"),
        "{console}\n{errors}"
    );
    assert!(!console.contains("skipped"), "{console}");
}

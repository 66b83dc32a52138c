use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, PostParams};
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::cluster::{
    Enforcement, Holding, PostureName, WorkloadEvidence, WorkloadPosture, WorkloadPostureStatus,
    Writer, standings,
};
use learner::observation::Moment;
use learner::posture::Revision;
use learner::shared::Part;
use learner::workload::Workload;
use serde_json::{Value, json};

use crate::sharing::{done, whole};
use crate::world::{Connected, Said, bare, now, world};

const FILE_POSTURE: &str = "kubearmor-file-posture";

/// A namespace with Deployments that a node runs and has seen.
pub(crate) struct Shop<'w> {
    world: &'w Connected,
    pub(crate) namespace: String,
    pub(crate) node: String,
    /// Who enforces on the node, as it tells; nothing where its agent is not to do it.
    pub(crate) enforcement: Option<Enforcement>,
    /// Why it does not hold all of what is seen, as it tells, where it holds others.
    pub(crate) unheld: Option<String>,
}

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("an object")
}

impl<'w> Shop<'w> {
    pub(crate) async fn new(world: &'w Connected, apps: &[&str]) -> Self {
        Self::on(world, apps, json!({"kubearmor.io/enforcer": "bpf"})).await
    }

    /// The same, with a node of these labels.
    pub(crate) async fn on(world: &'w Connected, apps: &[&str], labels: Value) -> Self {
        let namespace = world.namespace().await;
        let node = format!("node-{namespace}");
        let how = PostParams::default();
        let there = json!({"metadata": {"name": node, "labels": labels}});
        let nodes: Api<Node> = Api::all(world.admin());
        nodes.create(&how, &object(there)).await.expect("a node");
        for app in apps {
            let labels = json!({"app": app});
            let spec = json!({"containers": [{"name": app, "image": "i"}], "nodeName": node});
            let template = json!({
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": app, "image": "i"}]},
            });
            let deployment = json!({
                "metadata": {"name": app},
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            });
            let api: Api<Deployment> = Api::namespaced(world.admin(), &namespace);
            api.create(&how, &object(deployment))
                .await
                .expect("a deployment");
            let pod =
                json!({"metadata": {"name": format!("{app}-1"), "labels": labels}, "spec": spec});
            let api: Api<Pod> = Api::namespaced(world.admin(), &namespace);
            api.create(&how, &object(pod)).await.expect("a pod");
        }
        Self {
            world,
            namespace,
            node,
            enforcement: None,
            unheld: None,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// On a server of its own: with `web` under audit, against which nothing of its own speaks.
    pub(crate) async fn ready_alone(world: &'w Connected) -> Self {
        world.define().await;
        world.define_kubearmor().await;
        let shop = Self::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        shop
    }

    fn workload(&self, app: &str) -> Workload {
        let name = format!("{}/Deployment/{app}", self.namespace);
        name.parse().expect("a workload")
    }

    /// The node tells of three whole runs an hour ago, and with `again` of one that has just begun; each
    /// reads a file, and the last one did this too.
    pub(crate) async fn seen(&self, app: &str, image: &str, again: bool, more: &[Behavior]) {
        let revision = Revision {
            workload: self.workload(app),
            image: image.to_owned(),
        };
        let now = now();
        let hour = |n: i64| Moment(now.0 - 3_600_000_000 + n * 10_000_000);
        let mut runs = vec![("a", hour(0)), ("b", hour(1)), ("c", hour(2))];
        if again {
            runs.push(("d", Moment(now.0)));
        }
        let last = runs.len() - 1;
        let read = done(Op::Open(Access::Read), "/etc/web.conf", "/usr/bin/web");
        let mut told = BTreeMap::new();
        for (number, (name, at)) in runs.into_iter().enumerate() {
            let more = if number == last { more } else { &[] };
            let behaviors = [read.clone()].into_iter().chain(more.iter().cloned());
            let (key, mut run) = whole(&revision, name, at, behaviors);
            run.labels = [("app".to_owned(), app.to_owned())].into();
            told.insert(key, run);
        }
        let writer = Writer::new(self.world.admin(), &self.node);
        let holding = Holding {
            enforcement: self.enforcement.clone(),
            unheld: self.unheld.clone(),
            ..Holding::default()
        };
        let objects = writer.objects(&revision, now, &Part::of(&told), &holding);
        let written = writer.put(&objects.expect("objects")).await;
        written.unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) fn promote(&self, more: &[&str]) -> Said {
        self.promote_as("admin", more)
    }

    fn promote_as(&self, user: &str, more: &[&str]) -> Said {
        self.world.learner_as(user, &self.promotion(more), "")
    }

    /// With this on standard input.
    pub(crate) fn promote_reading(&self, more: &[&str], stdin: &str) -> Said {
        self.world.learner_as("admin", &self.promotion(more), stdin)
    }

    /// While a server of the test goes on.
    pub(crate) async fn promote_beside(&self, user: &str, more: &[&str]) -> Said {
        self.world.learner_beside(user, &self.promotion(more)).await
    }

    fn promotion<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let has_window = more.contains(&"--window");
        let window = if has_window {
            &[][..]
        } else {
            &["--window", "0s"]
        };
        let args = ["promote", "-n", &self.namespace, "--cluster"];
        [&args[..], window, more].concat()
    }

    /// All are under audit, and with `ready` nothing of their own speaks against block.
    pub(crate) async fn under_audit(&self, apps: &[&str], ready: &[&str]) {
        for app in apps {
            self.seen(app, "i:1", false, &[]).await;
        }
        let said = self.promote(&[]);
        assert_eq!(said.code, 0, "{said:?}");
        for app in apps {
            assert!(
                said.out
                    .contains(&format!("/{app}/{app}: promoted: learning -> audit")),
                "{said:?}"
            );
        }
        for app in ready {
            self.seen(app, "i:1", true, &[]).await;
        }
    }

    pub(crate) async fn posture(&self) -> Option<String> {
        let api: Api<Namespace> = Api::all(self.world.admin());
        let namespace = api.get(&self.namespace).await.expect("it is there");
        namespace.annotations().get(FILE_POSTURE).cloned()
    }

    /// The policies there are, each with the posture that the job has applied it under.
    pub(crate) async fn policies(&self) -> Vec<String> {
        let api = self
            .world
            .kubearmor("KubeArmorPolicy", Some(&self.namespace));
        let all = api.list(&ListParams::default()).await.expect("a list");
        let shown = all.items.iter().map(|policy| {
            let posture = policy.annotations().get("learner.dev/posture");
            format!(
                "{} {}",
                policy.name_any(),
                posture.map_or("-", String::as_str)
            )
        });
        shown.collect()
    }

    pub(crate) async fn status(&self, app: &str) -> WorkloadPostureStatus {
        let api: Api<WorkloadPosture> = Api::namespaced(self.world.admin(), &self.namespace);
        let all = api.list(&ListParams::default()).await.expect("a list");
        let one = all
            .items
            .into_iter()
            .find(|of| of.spec.workload.name == app);
        one.and_then(|of| of.status).expect("a status")
    }

    pub(crate) async fn events(&self, app: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.world.admin(), &self.namespace);
        let all = api.list(&ListParams::default()).await.expect("a list");
        let of_it = all.items.into_iter().filter(|event| {
            let regarding = event.regarding.as_ref();
            regarding.is_some_and(|of| of.name.as_deref() == Some(app) && of.uid.is_some())
        });
        let mut told: Vec<String> = of_it
            .map(|event| {
                let note = event.note.unwrap_or_default();
                format!(
                    "{} {}: {note}",
                    event.type_.unwrap_or_default(),
                    event.reason.unwrap_or_default()
                )
            })
            .collect();
        told.sort();
        told
    }

    /// Who has told of what is seen there.
    pub(crate) async fn tellers(&self) -> std::collections::BTreeSet<String> {
        let api: Api<WorkloadEvidence> = Api::namespaced(self.world.admin(), &self.namespace);
        let all = api.list(&ListParams::default()).await.expect("a list");
        all.items.into_iter().map(|of| of.spec.node).collect()
    }

    async fn foreign(&self, name: &str, app: &str) {
        let theirs = json!({
            "apiVersion": "security.kubearmor.com/v1", "kind": "KubeArmorPolicy",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "selector": {"matchLabels": {"app": app}},
                "file": {"matchDirectories": [{"dir": "/srv/"}]}, "action": "Allow",
            },
        });
        let api = self
            .world
            .kubearmor("KubeArmorPolicy", Some(&self.namespace));
        self.world.foreign(&api, "other-team", &theirs).await;
    }
}

pub(crate) const THREE: &[&str] = &["db", "queue", "web"];

#[test]
fn one_workload_of_three_is_promoted_and_taken_back_and_the_others_are_let_be() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, THREE).await;
        shop.under_audit(THREE, &["web"]).await;
        assert_eq!(shop.policies().await, [""; 0]);
        let said = shop.promote(&["--dry-run"]);
        assert!(
            said.out
                .contains("web/web: would be promoted: audit -> block"),
            "{said:?}"
        );
        assert_eq!(shop.posture().await, None);

        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out.contains("web/web: promoted: audit -> block"),
            "{said:?}"
        );
        assert!(said.out.contains("db/db: held in audit: idle"), "{said:?}");
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
        let status = shop.status("web").await;
        assert_eq!(status.posture, Some(PostureName::Block));
        let journal: Vec<_> = status
            .journal
            .iter()
            .map(|line| (line.number, line.to))
            .collect();
        assert_eq!(journal, [(1, PostureName::Audit), (2, PostureName::Block)]);
        assert_eq!(shop.status("db").await.held, ["idle", "no-start"]);
        let promoted = [
            "Normal Promoted: web: audit -> block: promoted",
            "Normal Promoted: web: learning -> audit: promoted",
        ];
        assert_eq!(shop.events("web").await, promoted);

        // Again, and nothing is written.
        let versions = async || {
            let policies = world.kubearmor("KubeArmorPolicy", Some(&shop.namespace));
            let policy = policies
                .get("web-deployment-learned")
                .await
                .expect("it is there");
            let api: Api<WorkloadPosture> = Api::namespaced(world.admin(), &shop.namespace);
            let all = api.list(&ListParams::default()).await.expect("a list");
            let postures: Vec<_> = all.items.iter().map(|of| of.resource_version()).collect();
            (policy.resource_version(), postures)
        };
        let before = versions().await;
        let said = shop.promote(&[]);
        assert!(said.out.contains("web/web: in block since"), "{said:?}");
        assert_eq!(versions().await, before);
        let again = world.learner(&["diff", "-n", &shop.namespace, "-l", "app=web", "--cluster"]);
        assert_eq!(again.code, 0, "{again:?}");

        let refused = Behavior {
            result: Outcome::Failed("EACCES".to_owned()),
            ..done(Op::Open(Access::Read), "/etc/shadow", "/usr/bin/web")
        };
        shop.seen("web", "i:1", true, &[refused]).await;
        let said = shop.promote(&["-l", "app=web"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains("web/web: rolled back: block -> audit: denied at "),
            "{said:?}"
        );
        assert_eq!(shop.policies().await, [""; 0]);
        assert_eq!(shop.posture().await, None);
        assert_eq!(shop.status("web").await.posture, Some(PostureName::Audit));
        let events = shop.events("web").await;
        assert!(
            events[2].starts_with("Warning RolledBack: web: block -> audit"),
            "{events:?}"
        );
    });
}

#[test]
fn what_is_around_it_holds_a_promotion_with_names_and_a_person_wins() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        let namespace = shop.namespace.as_str();
        shop.under_audit(&["web"], &["web"]).await;
        let held = |has: &str| {
            let said = shop.promote(&[]);
            assert_eq!(said.code, 1, "{said:?}");
            assert!(said.out.contains("web/web: held in audit: "), "{said:?}");
            assert!(said.out.contains(has), "{has}: {said:?}");
        };
        // It would be enforced, though it selects something else.
        shop.foreign("hardening", "other").await;
        held(&format!("1 Allow policy of others ({namespace}/hardening)"));
        let api = world.kubearmor("KubeArmorPolicy", Some(namespace));
        api.delete("hardening", &Default::default())
            .await
            .expect("deleted");

        world
            .annotate(namespace, "kubearmor-visibility", Some("none"))
            .await;
        held("KubeArmor does not tell of all programs and files (namespace: 'none')");
        world
            .annotate(namespace, "kubearmor-visibility", None)
            .await;

        let nodes: Api<Node> = Api::all(world.admin());
        let label = async |word: &str| {
            let patch = json!({"metadata": {"labels": {"kubearmor.io/enforcer": word}}});
            let how = Default::default();
            let patch = kube::api::Patch::Merge(patch);
            nodes
                .patch(&shop.node, &how, &patch)
                .await
                .expect("labelled");
        };
        label("apparmor").await;
        held(&format!(
            "1 node does not enforce it ({} has apparmor)",
            shop.node
        ));
        label("bpf").await;

        // A person's own annotation stays.
        world.annotate(namespace, FILE_POSTURE, Some("audit")).await;
        held("has set .metadata.annotations.kubearmor-file-posture");
        assert_eq!(shop.posture().await.as_deref(), Some("audit"));
        assert_eq!(shop.policies().await, [""; 0]);
        world.annotate(namespace, FILE_POSTURE, None).await;

        let name = format!("{namespace}/web");
        let said = world.learner(&["hold", &name, "--reason", "not on a Friday"]);
        assert_eq!(
            (said.code, said.out.as_str()),
            (
                0,
                format!("{namespace}/Deployment/web/web: held: not on a Friday\n").as_str()
            )
        );
        held("a person holds it: not on a Friday");
        assert_eq!(shop.status("web").await.held, ["held"]);
        let said = world.learner(&["hold", &format!("{namespace}/nothing"), "--reason", "x"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        // By whatever name a person has made it.
        let theirs = json!({
            "metadata": {"name": "mine"},
            "spec": {
                "workload": {"kind": "Deployment", "name": "web", "container": "web"},
                "hold": {"reason": "nor on a Monday"},
            },
        });
        let api: Api<WorkloadPosture> = Api::namespaced(world.admin(), namespace);
        api.create(&PostParams::default(), &object(theirs))
            .await
            .expect("made");
        for state in ["let go", "was not held"] {
            let said = world.learner(&["hold", &name, "--release"]);
            let line = format!("{namespace}/Deployment/web/web: {state}\n");
            assert_eq!((said.code, said.out), (0, line));
        }
        let said = shop.promote(&[]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
    });
}

#[test]
fn a_new_image_goes_back_to_audit_and_is_not_enforced() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        assert_eq!(shop.promote(&[]).code, 0);
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
        shop.seen("web", "i:2", true, &[]).await;
        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains("web/web: put to audit with a new image (before: 'i:1' in block)"),
            "{said:?}"
        );
        assert_eq!(shop.policies().await, [""; 0]);
        let status = shop.status("web").await;
        assert_eq!(status.posture, Some(PostureName::Audit));
        assert_eq!(status.image.as_deref(), Some("i:2"));
        let kept: Vec<_> = status
            .revisions
            .iter()
            .map(|row| row.image.as_str())
            .collect();
        assert_eq!(kept, ["i:1", "i:2"]);
        assert_eq!(status.candidates.len(), 1);
    });
}

#[test]
fn of_two_jobs_at_once_one_decides() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let shop = &shop;
        let said: Vec<Said> = std::thread::scope(|scope| {
            let jobs = [(); 2].map(|()| scope.spawn(move || shop.promote(&[])));
            jobs.map(|job| job.join().expect("it ends")).into()
        });
        let promoted = said
            .iter()
            .filter(|one| one.out.contains("promoted: audit -> block"));
        assert_eq!(promoted.count(), 1, "{said:?}");
        for one in &said {
            let waited = one.err.contains("is promoting there, since ");
            assert!(one.code == 0 || (one.code == 2 && waited), "{said:?}");
        }
        assert_eq!(shop.status("web").await.journal.len(), 2);

        // One that does not end is waited for, and named.
        let api: Api<Lease> = Api::namespaced(world.admin(), &shop.namespace);
        let mut lease = api.get("learner-promote").await.expect("it is there");
        let spec = lease.spec.as_mut().expect("a lease");
        assert_eq!(spec.holder_identity, None);
        spec.holder_identity = Some("job-of-others".to_owned());
        api.replace("learner-promote", &PostParams::default(), &lease)
            .await
            .expect("taken");
        let said = shop.promote(&[]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(
            said.err.contains(": job-of-others is promoting there"),
            "{said:?}"
        );
    });
}

#[test]
fn a_namespace_as_a_whole_goes_once_all_of_it_is_quiet() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["db", "web"]).await;
        shop.under_audit(&["db", "web"], &["web"]).await;
        let together = ["--strategy", "namespace"];
        let said = shop.promote(&together);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains("the namespace goes as a whole, and 1 of it is not ready"),
            "{said:?}"
        );
        let audit = [
            "db-deployment-learned audit",
            "web-deployment-learned audit",
        ];
        assert_eq!(shop.policies().await, audit);
        // KubeArmor's own configuration may say block.
        assert_eq!(shop.posture().await.as_deref(), Some("audit"));
        shop.seen("db", "i:1", true, &[]).await;
        let said = shop.promote(&together);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
        let block = [
            "db-deployment-learned block",
            "web-deployment-learned block",
        ];
        assert_eq!(shop.policies().await, block);
    });
}

#[test]
fn of_a_namespace_that_goes_as_a_whole_one_that_is_not_taken_holds_the_others() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["db", "web"]).await;
        shop.under_audit(&["db", "web"], &["db", "web"]).await;
        // Somebody has put this there, and it is not Learner's to change.
        let theirs = json!({
            "apiVersion": "security.kubearmor.com/v1", "kind": "KubeArmorPolicy",
            "metadata": {
                "name": "db-deployment-learned", "namespace": shop.namespace,
                "annotations": {"learner.dev/candidate": "another"},
            },
            "spec": {"selector": {"matchLabels": {"app": "db"}}, "action": "Audit"},
        });
        let api = world.kubearmor("KubeArmorPolicy", Some(&shop.namespace));
        world.foreign(&api, "other-team", &theirs).await;
        let said = shop.promote(&["--strategy", "namespace"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.out.contains("db/db: held in audit: "), "{said:?}");
        assert!(
            said.out
                .contains("web/web: held in audit: the namespace goes as a whole"),
            "{said:?}"
        );
        assert_eq!(shop.posture().await.as_deref(), Some("audit"));
        assert_eq!(shop.status("web").await.posture, Some(PostureName::Audit));
    });
}

/// `readOnly` denies under audit too.
#[test]
fn a_policy_under_audit_goes_when_it_would_deny_what_the_workload_does() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["db", "web"]).await;
        shop.under_audit(&["db", "web"], &[]).await;
        let together = ["--strategy", "namespace"];
        shop.promote(&together);
        let audit = [
            "db-deployment-learned audit",
            "web-deployment-learned audit",
        ];
        assert_eq!(shop.policies().await, audit);
        let writes = done(Op::Open(Access::Write), "/etc/web.conf", "/usr/bin/web");
        shop.seen("web", "i:1", true, &[writes]).await;
        shop.promote(&together);
        assert_eq!(shop.policies().await, audit[..1]);
    });
}

#[test]
fn what_was_undone_is_not_done_again_while_anything_speaks_against_it() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        assert_eq!(shop.promote(&[]).code, 0);
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
        let api = world.kubearmor("KubeArmorPolicy", Some(&shop.namespace));
        let undo = async || {
            world.annotate(&shop.namespace, FILE_POSTURE, None).await;
            let _ = api
                .delete("web-deployment-learned", &Default::default())
                .await;
        };
        // Or a job was killed after its decision: it is the same.
        undo().await;
        shop.foreign("hardening", "other").await;
        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains("web/web: held in block: 1 Allow policy of others"),
            "{said:?}"
        );
        assert_eq!(shop.posture().await, None);
        assert_eq!(shop.policies().await, ["hardening -"]);
        assert_eq!(shop.status("web").await.held, ["foreign-policies"]);
        api.delete("hardening", &Default::default())
            .await
            .expect("deleted");

        let name = format!("{}/web", shop.namespace);
        assert_eq!(
            world
                .learner(&["hold", &name, "--reason", "an incident"])
                .code,
            0
        );
        let said = shop.promote(&[]);
        assert!(
            said.out
                .contains("web/web: held in block: a person holds it: an incident"),
            "{said:?}"
        );
        assert_eq!(shop.posture().await, None);
        assert_eq!(shop.policies().await, [""; 0]);

        assert_eq!(world.learner(&["hold", &name, "--release"]).code, 0);
        assert_eq!(shop.promote(&[]).code, 0);
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
    });
}

#[test]
fn what_is_enforced_stays_where_all_that_was_told_of_it_is_gone() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        assert_eq!(shop.promote(&[]).code, 0);
        let api: Api<WorkloadEvidence> = Api::namespaced(world.admin(), &shop.namespace);
        api.delete_collection(&Default::default(), &Default::default())
            .await
            .expect("deleted");
        shop.promote(&[]);
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
    });
}

#[test]
fn evidence_that_cannot_be_read_is_no_quiet() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let at = "2026-01-01T00:00:00Z";
        let broken = json!({
            "workload": {"kind": "Deployment", "name": "web", "container": "web"},
            "image": "i:1", "node": "node-2", "piece": 0, "pieces": 1, "alive": at,
            "acts": [{"op": "exec", "path": "no path", "count": 1, "first": at, "last": at, "runs": "0"}],
        });
        let made = world.try_evidence(&shop.namespace, "broken", &broken).await;
        made.expect("made");
        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        let why = format!("what nodes have told of it is not whole ({}/broken)", shop.namespace);
        assert!(said.out.contains(&why), "{said:?}");
        assert_eq!(shop.posture().await, None);
    });
}

#[test]
fn what_a_person_has_applied_by_the_name_of_a_candidate_is_not_overwritten() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let policy = world.learner(&["recommend", "-n", &shop.namespace, "--cluster", "-o", "-"]);
        let own = policy.out.replace("/etc/web.conf", "/etc/web.d");
        let applied = world.learner_as("admin", &["apply", "-"], &own);
        assert_eq!(applied.code, 0, "{applied:?}");
        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains("web-deployment-learned, which a person applied: delete it"),
            "{said:?}"
        );
        assert_eq!(shop.policies().await, ["web-deployment-learned -"]);
        assert_eq!(shop.posture().await, None);
    });
}

#[test]
fn what_another_has_decided_meanwhile_is_not_overwritten_and_a_hold_is_seen() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &[]).await;
        let workload = shop.workload("web");
        let status = shop.status("web").await;
        let keep = async |before: Option<&WorkloadPostureStatus>, is_promotion: bool| {
            let another = WorkloadPostureStatus {
                runs: Some(99),
                ..status.clone()
            };
            let client = world.admin();
            let kept = standings::keep(&client, &workload, before, &another, is_promotion);
            kept.await.map_err(|error| error.to_string())
        };
        for before in [None, Some(&WorkloadPostureStatus::default())] {
            let stale = keep(before, false).await.expect_err("it is another");
            assert!(stale.contains("it was changed meanwhile"), "{stale}");
        }
        standings::hold(&world.admin(), &workload, "wait")
            .await
            .expect("held");
        let held = keep(Some(&status), true).await.expect_err("it is held");
        assert!(held.contains("it was changed meanwhile"), "{held}");
        assert_eq!(shop.status("web").await, status);
        keep(Some(&status), false).await.expect("kept");
    });
}

#[test]
fn what_a_webhook_refuses_is_a_reason_in_its_words_and_nothing_is_half_done() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let group = "security.kubearmor.com";
        world
            .webhook_that_says_no(&shop.namespace, group, "kubearmorpolicies")
            .await;
        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains("web/web: held in audit: the API server does not take it: ")
                && said.out.contains("not in this namespace"),
            "{said:?}"
        );
        assert_eq!(shop.posture().await, None);
        assert_eq!(shop.policies().await, [""; 0]);
        assert_eq!(shop.status("web").await.held, ["refused"]);
        let policy = world.learner(&["recommend", "-n", &shop.namespace, "--cluster", "-o", "-"]);
        let said = world.learner_as("admin", &["apply", "-"], &policy.out);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(said.err.contains("not in this namespace"), "{said:?}");
    });
}

#[test]
fn an_event_that_is_refused_keeps_nothing_from_being_done() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        world
            .webhook_that_says_no(&shop.namespace, "events.k8s.io", "events")
            .await;
        let said = shop.promote(&[]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.err.contains("not in this namespace"), "{said:?}");
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
    });
}

#[test]
fn a_server_with_too_much_to_do_is_said_and_nothing_is_half_done() {
    // The proxy has a name of its own there.
    let Some(world) = bare() else { return };
    world.run(async |world| {
        let shop = Shop::ready_alone(world).await;
        let path = "/workloadpostures/";
        let busy = world.proxy(move |line| line.starts_with("PATCH") && line.contains(path));
        let said = shop.promote_as("proxied", &[]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(
            said.err.contains("the API server has too much to do; ")
                && said.err.contains(" after 7 s"),
            "{said:?}"
        );
        assert_eq!(shop.posture().await, None);
        assert_eq!(shop.policies().await, [""; 0]);
        assert_eq!(shop.status("web").await.posture, Some(PostureName::Audit));
        busy.end();
        assert_eq!(shop.promote_as("proxied", &[]).code, 0);
        assert_eq!(shop.posture().await.as_deref(), Some("block"));
    });
}

#[test]
fn a_namespace_that_cannot_be_had_keeps_no_other_from_its_turn() {
    // All namespaces of the server are gone through.
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        world.define_kubearmor().await;
        let mut first = Shop::new(world, &["web"]).await;
        let mut second = Shop::new(world, &["web"]).await;
        if second.namespace < first.namespace {
            std::mem::swap(&mut first, &mut second);
        }
        first.under_audit(&["web"], &[]).await;
        second.seen("web", "i:1", false, &[]).await;
        let api: Api<Lease> = Api::namespaced(world.admin(), &first.namespace);
        let mut lease = api.get("learner-promote").await.expect("it is there");
        let spec = lease.spec.as_mut().expect("a lease");
        spec.holder_identity = Some("job-of-others".to_owned());
        api.replace("learner-promote", &PostParams::default(), &lease)
            .await
            .expect("taken");
        let said = world.learner(&["promote", "--cluster"]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(
            said.err.contains("job-of-others is promoting there"),
            "{said:?}"
        );
        let promoted = format!("{}/Deployment/web/web: promoted: ", second.namespace);
        assert!(said.out.contains(&promoted), "{said:?}");
    });
}

/// Each right that is taken away alone is missed, by name; with all of them it works. So these are the
/// ones.
#[test]
fn each_right_of_the_job_that_is_not_given_is_named() {
    // What is limited is so everywhere: a server of its own.
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        world.define_kubearmor().await;
        let shop = Shop::new(world, THREE).await;
        for app in THREE {
            shop.seen(app, "i:1", false, &[]).await;
        }
        const KSP: &str = "kubearmorpolicies.security.kubearmor.com";
        let rights: &[(&str, &str)] = &[
            ("get", "leases.coordination.k8s.io"),
            ("create", "leases.coordination.k8s.io"),
            ("update", "leases.coordination.k8s.io"),
            ("list", "workloadevidences.learner.dev"),
            ("list", "workloadpostures.learner.dev"),
            ("list", KSP),
            ("list", "kubearmorclusterpolicies.security.kubearmor.com"),
            ("get", "namespaces"),
            ("list", "pods"),
            ("list", "nodes"),
            ("patch", "workloadpostures.learner.dev"),
            ("create", "workloadpostures.learner.dev"),
            ("patch", "workloadpostures/status.learner.dev"),
            ("get", "deployments.apps"),
            ("create", "events.events.k8s.io"),
            ("patch", KSP),
            ("create", KSP),
            ("patch", "namespaces"),
            ("delete", KSP),
        ];
        let leases: Api<Lease> = Api::namespaced(world.admin(), &shop.namespace);
        let without = async |missing: Option<(&str, &str)>| {
            let mut given: Vec<(Vec<&str>, &str)> = Vec::new();
            for (verb, resource) in rights {
                let place = given.iter().position(|(_, known)| known == resource);
                let place = place.unwrap_or_else(|| {
                    given.push((Vec::new(), resource));
                    given.len() - 1
                });
                if missing != Some((*verb, *resource)) {
                    given[place].0.push(verb);
                }
            }
            let given: Vec<(&[&str], &str)> =
                given.iter().map(|(verbs, of)| (&verbs[..], *of)).collect();
            world.allow(&given).await;
            // A job that could not let it go would be waited for.
            let _ = leases.delete("learner-promote", &Default::default()).await;
        };
        let missed = |said: &Said, (verb, resource): (&str, &str)| {
            assert_eq!(said.code, 2, "{verb} {resource}: {said:?}");
            assert!(
                said.err.contains(&format!("'{verb}'"))
                    && said.err.contains(&format!("on '{}'", named(resource))),
                "{verb} {resource}: {said:?}"
            );
        };
        let find = |verb: &str| {
            let place = rights.iter().position(|(of, resource)| {
                *of == verb && resource.starts_with("workloadpostures/")
            });
            place.expect("it is there")
        };
        // Nothing is decided before all of these are there.
        for right in &rights[..=find("patch")] {
            without(Some(*right)).await;
            let said = shop.promote_as("limited", &["-l", "app=web"]);
            missed(&said, *right);
            assert_eq!(said.out, "", "{said:?}");
        }
        for (right, app) in [
            (("get", "deployments.apps"), "app=db"),
            (("create", "events.events.k8s.io"), "app=queue"),
        ] {
            without(Some(right)).await;
            let said = shop.promote_as("limited", &["-l", app]);
            missed(&said, right);
            assert!(said.out.contains("promoted: learning -> audit"), "{said:?}");
        }
        without(None).await;
        assert_eq!(shop.promote_as("limited", &["-l", "app=web"]).code, 0);
        shop.seen("web", "i:1", true, &[]).await;
        for right in [("patch", KSP), ("create", KSP), ("patch", "namespaces")] {
            without(Some(right)).await;
            let said = shop.promote_as("limited", &["-l", "app=web"]);
            missed(&said, right);
            assert_eq!(said.out, "", "{said:?}");
            assert_eq!(shop.status("web").await.posture, Some(PostureName::Audit));
            assert_eq!(shop.posture().await, None);
        }
        without(None).await;
        assert_eq!(shop.promote_as("limited", &["-l", "app=web"]).code, 0);
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
        shop.seen("web", "i:2", true, &[]).await;
        without(Some(("delete", KSP))).await;
        let said = shop.promote_as("limited", &["-l", "app=web"]);
        missed(&said, ("delete", KSP));
        assert!(
            said.out.contains("put to audit with a new image"),
            "{said:?}"
        );
        // The next pass does what is not done.
        without(None).await;
        shop.promote_as("limited", &["-l", "app=web"]);
        assert_eq!(shop.policies().await, [""; 0]);

        let name = format!("{}/web", shop.namespace);
        let hold = |code: i32| {
            let said = world.learner_as("limited", &["hold", &name, "--reason", "wait"], "");
            assert_eq!(said.code, code, "{said:?}");
            said
        };
        hold(0);
        for right in [
            ("list", "workloadevidences.learner.dev"),
            ("list", "workloadpostures.learner.dev"),
            ("patch", "workloadpostures.learner.dev"),
        ] {
            without(Some(right)).await;
            missed(&hold(2), right);
        }
    });
}

/// As it is said: the status is a part of its own.
fn named(resource: &str) -> String {
    match resource.split_once('/') {
        Some((of, rest)) => {
            let (part, group) = rest.split_once('.').unwrap_or((rest, ""));
            format!("{of}.{group}/{part}")
        }
        None => resource.to_owned(),
    }
}

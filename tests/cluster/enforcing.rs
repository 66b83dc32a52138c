//! Agents that hold what the promotion job has decided, where KubeArmor is not there.
//!
//! What is decided here is a policy that lets everything be read and executed: where this kernel asks BPF
//! programs it is enforced, and elsewhere the agent says why it is not.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node as There;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use learner::candidate::{Candidate, Ledger};
use learner::cluster::postures::{Decision, follow};
use learner::cluster::standings::{Kept, Standings, keep, status};
use learner::cluster::{EnforcedBy, WorkloadEvidence};
use learner::generalize::{Dialect, Tightness};
use learner::kernel::enforcer;
use learner::observation::Moment;
use learner::policy::from_yaml;
use learner::posture::{Freeze, Revision, Standing};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use crate::agent::{made, until_told};
use crate::fake;
use crate::node::{Agent, Container, Driver, Node, alone, wait_for};
use crate::pods::Made;
use crate::world::{Connected, bare, now};

/// Nothing is refused by it but what is written or made.
const HARMLESS: &str = "kind: KubeArmorPolicy\nmetadata: {name: web, namespace: NAMESPACE}\nspec:\n  selector: \
                        {matchLabels: {app: web}}\n  file: {matchDirectories: [{dir: /, recursive: true}]}\n  \
                        process: {matchDirectories: [{dir: /, recursive: true}]}\n  action: Allow\n";

fn revision(namespace: &str) -> Revision {
    Revision {
        workload: format!("{namespace}/Deployment/web/main")
            .parse()
            .expect("a workload"),
        image: "web:1@sha256:00".to_owned(),
    }
}

/// A candidate for Learner's agents, frozen at a moment.
pub(crate) fn frozen(policy: &str, at: Moment, blocked: Option<Moment>) -> (Candidate, Freeze) {
    let policy = from_yaml(policy).expect("a policy").remove(0);
    let (tightness, none) = (Tightness::default(), BTreeSet::new());
    let candidate = Candidate::freeze(&policy, Dialect::Learner, tightness, Vec::new(), none);
    let candidate = candidate.expect("a candidate");
    let freeze = Freeze {
        candidate: candidate.digest(),
        judged_from: Some(at),
        window_from: at,
        blocked,
    };
    (candidate, freeze)
}

/// The job has put the workload under block, or taken it back from there.
pub(crate) async fn decide(world: &Connected, namespace: &str, is_block: bool) {
    let revision = revision(namespace);
    let text = HARMLESS.replace("NAMESPACE", namespace);
    let since = now();
    let (candidate, freeze) = frozen(&text, since, is_block.then_some(since));
    let standing = match is_block {
        true => Standing::Block {
            since,
            freeze,
            canary_until: since,
            slice: None,
        },
        false => Standing::Audit { since, freeze },
    };
    let mut ledger = Ledger::default();
    let noted = ledger.follow(revision.clone(), standing, Some(candidate));
    noted.expect("noted");
    let kept = Kept {
        revision: &revision,
        ledger: &ledger,
        runs: 3,
        held: BTreeSet::new(),
        canary: None,
        entry: None,
    };
    let client = world.admin();
    let known = Standings::read(&client, Some(namespace)).await;
    let known = known.expect("read");
    let before = known.status(&revision.workload);
    let status = status(before, &kept);
    let kept = keep(&client, &revision.workload, before, &status, false).await;
    kept.expect("kept");
}

/// What the agent shows of a workload under block: 1 if it is held to its candidate; nothing if there is none.
fn enforced(agent: &Agent, namespace: &str) -> Option<String> {
    let image = revision(namespace).image;
    agent.metric(&format!(
        "learner_enforced{{workload=\"{namespace}/Deployment/web/main\",image=\"{image}\"}}"
    ))
}

/// Whether this machine's own programs can enforce, and so what is to be seen of it.
fn can() -> bool {
    enforcer::is_active().is_ok()
}

fn figure(is_so: bool) -> Option<String> {
    Some(u8::from(is_so).to_string())
}

async fn label(world: &Connected, node: &Node, word: Option<&str>) {
    let nodes: Api<There> = Api::all(world.admin());
    let labels = json!({"kubearmor.io/enforcer": word});
    let there = json!({"metadata": {"name": node.name, "labels": labels}});
    if nodes
        .get_opt(&node.name)
        .await
        .expect("an answer")
        .is_none()
    {
        let made = json!({"metadata": {"name": node.name}});
        let made = serde_json::from_value(made).expect("a node");
        let made = nodes.create(&PostParams::default(), &made).await;
        made.expect("made");
    }
    let how = PatchParams::default();
    let labelled = nodes.patch(&node.name, &how, &Patch::Merge(there)).await;
    labelled.expect("labelled");
}

#[test]
fn what_is_decided_is_followed_and_known_over_a_restart_without_the_server() {
    let (Some(world), Some(_alone)) = (bare(), alone()) else {
        return;
    };
    world.run(async |world| {
        world.define().await;
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "holding");
        let container = Container::new(Driver::Systemd);
        let web = Made::of_deployment(&node.name, "web", &container.id);
        made(world, &namespace, "web-5d4-1", web).await;
        let agent = node.enforcing("");
        let file = node.file("one");
        let mut running = container.run(&format!("cat {}; sleep 1000", file.display()));
        until_told(world, &namespace, &file, &agent).await;
        assert_eq!(enforced(&agent, &namespace), None);

        decide(world, &namespace, true).await;
        wait_for("it to be held, or known", || {
            enforced(&agent, &namespace) == figure(can())
        });
        let by = if can() { "learner" } else { "nobody" };
        for word in ["learner", "kubearmor", "nobody"] {
            let metric = agent.metric(&format!("learner_cluster_enforces{{by=\"{word}\"}}"));
            assert_eq!(metric, figure(word == by), "{word}");
        }
        let health = agent.get("/health");
        match can() {
            true => assert!(
                health.contains("Learner's own programs enforce"),
                "{health}"
            ),
            false => {
                agent.says("stand under block, and nothing is enforced: ");
                assert!(health.contains("nobody enforces: "), "{health}");
            }
        }
        // The job hears of it, with the reason.
        let told = || async {
            let api: Api<WorkloadEvidence> = Api::namespaced(world.admin(), &namespace);
            let all = api.list(&ListParams::default()).await.expect("a list");
            let of = all.items.into_iter().next().expect("evidence");
            of.spec.enforcement
        };
        let begun = std::time::Instant::now();
        let enforcement = loop {
            match told().await {
                Some(told) => break told,
                None => assert!(begun.elapsed().as_secs() < 120, "{}", agent.log()),
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        };
        assert_eq!(enforcement.by.word(), by);
        assert_eq!(enforcement.why.is_some(), !can());

        // The next agent knows it without being told.
        world.server.pause();
        assert!(agent.stop().success());
        let agent = node.enforcing("");
        agent.says("does not answer");
        match can() {
            true => agent.says("taken over"),
            false => agent.says("stand under block, and nothing is enforced: "),
        }
        wait_for("it to be known", || enforced(&agent, &namespace).is_some());
        assert!(
            !agent.log().contains("is not enforced any more"),
            "{}",
            agent.log()
        );
        world.server.go_on();
        wait_for("it to be held, or known", || {
            enforced(&agent, &namespace) == figure(can())
        });

        // Taken back, it is let be at once.
        decide(world, &namespace, false).await;
        wait_for("it to be let be", || enforced(&agent, &namespace).is_none());
        running.kill().expect("killed");
        running.wait().expect("gone");
        assert!(agent.stop().success());
    });
}

#[test]
fn where_kubearmor_is_there_it_enforces_and_the_agent_says_so_once() {
    let (Some(world), Some(_alone)) = (bare(), alone()) else {
        return;
    };
    world.run(async |world| {
        world.define().await;
        world.define_kubearmor().await;
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "both");
        label(world, &node, Some("bpf")).await;
        let container = Container::new(Driver::Systemd);
        let web = Made::of_deployment(&node.name, "web", &container.id);
        made(world, &namespace, "web-5d4-1", web).await;
        decide(world, &namespace, true).await;
        let agent = node.enforcing("");
        let said = "KubeArmor enforces, and Learner's own programs hold nothing of the cluster: the node is \
                    labelled kubearmor.io/enforcer: bpf";
        agent.says(said);
        let file = node.file("one");
        let mut running = container.run(&format!("cat {}; sleep 1000", file.display()));
        let evidence = until_told(world, &namespace, &file, &agent).await;
        assert_eq!(enforced(&agent, &namespace), None);
        let by = evidence.enforcement.values().map(|of| of.by).next();
        assert_eq!(by, Some(EnforcedBy::Kubearmor));
        assert!(agent.get("/health").contains(said));
        assert_eq!(agent.log().matches(said).count(), 1, "{}", agent.log());
        assert!(agent.stop().success());

        // The definitions alone are not KubeArmor.
        label(world, &node, None).await;
        let agent = node.enforcing("");
        wait_for("it to be held, or known", || {
            enforced(&agent, &namespace) == figure(can())
        });
        running.kill().expect("killed");
        running.wait().expect("gone");
        assert!(agent.stop().success());
    });
}

#[test]
fn an_agent_that_may_not_follow_what_is_decided_says_which_right_it_lacks() {
    let (Some(world), Some(_alone)) = (bare(), alone()) else {
        return;
    };
    world.run(async |world| {
        world.define().await;
        world.define_kubearmor().await;
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "limited", "unable");
        label(world, &node, None).await;
        let container = Container::new(Driver::Systemd);
        let web = Made::of_deployment(&node.name, "web", &container.id);
        made(world, &namespace, "web-5d4-1", web).await;
        decide(world, &namespace, true).await;
        let mut running = container.run("sleep 1000");
        let others: [(&[&str], &str); 3] = [
            (&["list", "watch"], "pods"),
            (&["get"], "replicasets.apps"),
            (
                &["list", "patch", "create"],
                "workloadevidences.learner.dev",
            ),
        ];
        let postures = "workloadpostures.learner.dev";
        let allow = async |verbs: &[&str], nodes: &[&str]| {
            let mut given = others.to_vec();
            given.extend([(verbs, postures), (nodes, "nodes")]);
            world.allow(&given).await;
        };
        allow(&[], &[]).await;
        let agent = node.enforcing("");
        agent.says("has to give the verb 'get' on 'nodes'");
        agent.says(&format!("list {postures} in {namespace}: not allowed"));
        // Nothing is held as long as it is not known who does.
        assert_eq!(enforced(&agent, &namespace), None);
        allow(&["list"], &[]).await;
        agent.says(&format!("watch {postures} in {namespace}: not allowed"));
        assert_eq!(enforced(&agent, &namespace), None);
        allow(&["list", "watch"], &["get"]).await;
        wait_for("it to be held, or known", || {
            enforced(&agent, &namespace) == figure(can())
        });
        agent.says("whether KubeArmor is there is told again");
        running.kill().expect("killed");
        running.wait().expect("gone");
        assert!(agent.stop().success());
    });
}

#[test]
fn a_watch_of_what_is_decided_that_is_too_old_lists_all_again() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let list = |version: &str, name: &str| {
            let posture = json!({
                "apiVersion": "learner.dev/v1alpha1", "kind": "WorkloadPosture",
                "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
                "spec": {"workload": {"kind": "Deployment", "name": name, "container": "main"}},
            });
            json!({
                "apiVersion": "learner.dev/v1alpha1", "kind": "WorkloadPostureList",
                "metadata": {"resourceVersion": version}, "items": [posture],
            })
        };
        let lists = [list("1", "before"), list("5", "after")];
        let client = fake::forgetful("/namespaces/shop/workloadpostures", lists).await;
        let (tell, mut told) = unbounded_channel();
        tokio::spawn(async move { follow(client, "shop", |one| tell.send(one).is_ok()).await });
        let mut said = Vec::new();
        while said.len() < 3 {
            let next = tokio::time::timeout(std::time::Duration::from_secs(120), told.recv());
            said.push(match next.await.expect("in time").expect("it goes on") {
                Ok(Decision::All(all)) => {
                    let names = all.into_iter().filter_map(|one| one.metadata.name);
                    names.collect::<Vec<_>>().join(" ")
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => error.to_string(),
            });
        }
        let forgotten = "watch workloadpostures.learner.dev in shop: the API server has forgotten where the watch \
                         was; all is listed again";
        assert_eq!(said, ["before", forgotten, "after"]);
    });
}

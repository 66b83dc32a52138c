//! `learner agent --cluster` on this machine, against a real API server.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use learner::cluster::{Read, Unenforced, read};
use learner::policy::to_yaml;
use learner::recommend::{Criteria, recommend_merged};
use learner::shared::{Merged, RunFacts};
use learner::workload::{RunKey, Workload};

use crate::node::{Agent, Container, Driver, Node, alone, wait_for};
use crate::pods::{Made, owner, pod};
use crate::world::{Connected, LEARNER, bare, world};

const PATIENCE: Duration = Duration::from_secs(300);

/// What has been told in a namespace, once it has been told that a file was read.
pub(crate) async fn until_told(
    world: &Connected,
    namespace: &str,
    file: &Path,
    agent: &Agent,
) -> Read {
    let begun = std::time::Instant::now();
    loop {
        let told = read(&world.admin(), Some(namespace)).await.expect("read");
        assert!(told.refused.is_empty(), "{:?}", told.refused);
        let path = file.to_str().expect("text");
        if has(&told, path) {
            return told;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{path} is not told: {:?}\n{}",
            workloads(&told),
            agent.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The runs that were told, apart from what they did.
fn runs(told: &Read) -> Vec<RunFacts> {
    let parts = told.joint.parts();
    parts
        .flat_map(|(_, _, part)| part.runs.into_values())
        .collect()
}

fn has(told: &Read, path: &str) -> bool {
    let mut acts = told
        .joint
        .parts()
        .flat_map(|(_, _, part)| part.acts.into_keys());
    acts.any(|act| act.path.text() == path)
}

fn workloads(told: &Read) -> Vec<String> {
    let all = told.joint.parts();
    all.map(|(revision, node, _)| format!("{} {node}", revision.workload))
        .collect()
}

pub(crate) async fn made(world: &Connected, namespace: &str, name: &str, made: Made) {
    pod(world, namespace, name, &made).await;
}

#[test]
fn an_agent_that_does_not_know_its_node_or_its_server_does_not_begin() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let says = |args: &[&str]| {
        let output = assert_cmd::Command::new(LEARNER)
            .env_clear()
            .env("HOME", dir.path())
            .current_dir(dir.path())
            .args([
                "--store",
                "store",
                "--socket",
                "run/socket",
                "agent",
                "--cluster",
            ])
            .args(args)
            .output()
            .expect("learner runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = says(&[]);
    assert!(said.contains("--node NAME, or NODE_NAME"), "{said}");
    let said = says(&["--node", "node-1"]);
    assert!(said.contains("set KUBECONFIG, or run in a pod"), "{said}");
    assert!(!dir.path().join("store").exists());
}

#[test]
fn what_the_container_of_a_pod_did_is_told_as_its_deployments() {
    let (Some(world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "told");
        let agent = node.agent("");
        let container = Container::new(Driver::Systemd);
        let web = Made::of_deployment(&node.name, "web", &container.id);
        made(world, &namespace, "web-5d4-1", web).await;
        let file = node.file("one");
        container.reads(&[&file]);
        let told = until_told(world, &namespace, &file, &agent).await;
        let name = format!("{namespace}/Deployment/web/main {}", node.name);
        assert_eq!(workloads(&told), [name]);
        assert!(told.unenforced.is_empty(), "{:?}", told.unenforced);
        let (revision, _, part) = told.joint.parts().next().expect("a part");
        assert_eq!(revision.image, "web:1@sha256:00");
        let run = part.runs.values().next().expect("a run");
        assert_eq!(run.labels, [("app".to_owned(), "web".to_owned())].into());
        assert!(!run.late && run.start.is_some(), "{run:?}");
        assert!(agent.stop().success());
        let stored = node.stored();
        let is_its = |(key, _): &(RunKey, _)| key.workload == revision.workload;
        assert!(stored.iter().any(is_its), "{stored:?}");

        // The next agent knows what is there, and does not write it again.
        let agent = node.agent("");
        let is_done = || {
            let metric = |name: &str| agent.metric(&format!("learner_cluster_{name}"));
            metric("follows_pods") == Some("1".to_owned())
                && metric("unwritten_revisions") == Some("0".to_owned())
        };
        wait_for("all to be told", is_done);
        let written = agent.metric("learner_cluster_written_objects_total");
        assert_eq!(written.as_deref(), Some("0"));
        assert!(agent.stop().success());
    });
}

#[test]
fn a_pod_that_is_known_only_after_its_container_ran_has_what_that_did() {
    let (Some(world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "after");
        let agent = node.agent("");
        let file = node.file("early");
        let goes_on = Container::new(Driver::Systemd);
        let still = node.file("still");
        let script = format!("cat {} > /dev/null; sleep 1000", still.display());
        let mut child = goes_on.run(&script);
        let id = {
            let container = Container::new(Driver::Cgroupfs);
            container.reads(&[&file]);
            wait_for("the run to be held", || {
                let unnamed = agent.metric("learner_cluster_unnamed_runs");
                agent.log().matches("whose it is is not known yet").count() == 2
                    && unnamed.as_deref() == Some("2")
            });
            container.id.clone()
        };
        // Its cgroup is gone.
        let tidy = Made {
            owners: owner("Job", "batch/v1", "tidy-280"),
            ..Made::of_deployment(&node.name, "tidy", &id)
        };
        made(world, &namespace, "tidy-280-1", tidy).await;
        let web = Made::of_deployment(&node.name, "web", &goes_on.id);
        made(world, &namespace, "web-5d4-1", web).await;
        let told = until_told(world, &namespace, &file, &agent).await;
        let tidy = format!("{namespace}/Job/tidy-280/main {}", node.name);
        assert!(workloads(&told).contains(&tidy), "{:?}", workloads(&told));
        let told = until_told(world, &namespace, &still, &agent).await;
        let is_whole = |run: &RunFacts| !run.late && run.lost.is_empty();
        assert!(runs(&told).iter().all(is_whole), "{:?}", runs(&told));
        wait_for("nothing to be unnamed", || {
            agent.metric("learner_cluster_unnamed_runs").as_deref() == Some("0")
        });
        let given_up = agent.metric("learner_cluster_given_up_runs_total");
        assert_eq!(given_up.as_deref(), Some("0"));
        child.kill().expect("killed");
        child.wait().expect("gone");
        assert!(agent.stop().success());
    });
}

#[test]
fn namespaces_that_are_left_out_are_not_watched_unless_they_are_named() {
    let (Some(world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "left-out");
        let (system, web) = (
            Container::new(Driver::Systemd),
            Container::new(Driver::Systemd),
        );
        let proxy = format!("proxy-{}", std::process::id());
        let of = |name: &str, id: &str| Made::of_deployment(&node.name, name, id);
        made(world, "kube-system", &proxy, of(&proxy, &system.id)).await;
        made(world, &namespace, "web-5d4-1", of("web", &web.id)).await;
        let (secret, file) = (node.file("secret"), node.file("plain"));
        let agent = node.agent("");
        wait_for("both to be known", || {
            agent.metric("learner_cluster_containers").as_deref() == Some("1")
        });
        // One of the host is watched, and is no business of the cluster.
        let alone = Container::new(Driver::Docker);
        let mut running = alone.run(&format!("cat {}; sleep 600", secret.display()));
        agent.says("host/Container/");
        system.reads(&[&secret]);
        web.reads(&[&file]);
        until_told(world, &namespace, &file, &agent).await;
        running.kill().expect("killed");
        running.wait().expect("it ends");
        let told = read(&world.admin(), Some("kube-system"))
            .await
            .expect("read");
        assert!(!has(&told, secret.to_str().expect("text")));
        let log = agent.log();
        assert!(
            !log.contains("not told") && !log.contains("workloadevidences.learner.dev host"),
            "{log}"
        );
        assert!(agent.stop().success());
        let stored = node.stored();
        let is_system = |(key, _): &(RunKey, _)| key.workload.namespace == "kube-system";
        assert!(!stored.iter().any(is_system), "{stored:?}");

        let agent = node.agent(", leave_out: []");
        wait_for("both to be known", || {
            agent.metric("learner_cluster_containers").as_deref() == Some("2")
        });
        system.reads(&[&secret]);
        until_told(world, "kube-system", &secret, &agent).await;
        assert!(agent.stop().success());
    });
}

#[test]
fn what_kubearmor_does_not_hold_to_a_policy_is_learned_and_marked() {
    let (Some(world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "marked");
        let agent = node.agent("");
        let (main, init) = (
            Container::new(Driver::Systemd),
            Container::new(Driver::Systemd),
        );
        let web = Made {
            init: Some(init.id.clone()),
            host_pid: true,
            ..Made::of_deployment(&node.name, "web", &main.id)
        };
        made(world, &namespace, "web-5d4-1", web).await;
        let (one, two) = (node.file("main"), node.file("init"));
        main.reads(&[&one]);
        init.reads(&[&two]);
        until_told(world, &namespace, &one, &agent).await;
        let told = until_told(world, &namespace, &two, &agent).await;
        let marks: Vec<(String, Vec<Unenforced>)> = told
            .unenforced
            .iter()
            .map(|(of, why)| (of.workload.container.clone(), why.iter().copied().collect()))
            .collect();
        let (init, host_pid) = (Unenforced::Init, Unenforced::HostPid);
        let expected = [("main", vec![host_pid]), ("setup", vec![init, host_pid])];
        assert_eq!(marks, expected.map(|(name, why)| (name.to_owned(), why)));
        assert!(agent.stop().success());
    });
}

#[test]
fn an_api_server_that_is_away_for_a_while_is_told_everything_when_it_is_back() {
    let (Some(world), Some(_alone)) = (bare(), alone()) else {
        return;
    };
    world.run(async |world| {
        world.define().await;
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "away");
        let agent = node.agent("");
        let (known, unknown) = (
            Container::new(Driver::Systemd),
            Container::new(Driver::Systemd),
        );
        let web = Made::of_deployment(&node.name, "web", &known.id);
        made(world, &namespace, "web-5d4-1", web).await;
        let files = ["before", "during", "unknown"].map(|name| node.file(name));
        known.reads(&[&files[0]]);
        until_told(world, &namespace, &files[0], &agent).await;

        world.server.pause();
        known.reads(&[&files[1]]);
        unknown.reads(&[&files[2]]);
        let said = || agent.log().matches("does not answer").count();
        wait_for("both to be said", || said() == 2);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(said(), 2, "each is said once");
        for (name, value) in [
            ("follows_pods", "0"),
            ("unwritten_revisions", "1"),
            ("unnamed_runs", "1"),
        ] {
            wait_for(name, || {
                agent.metric(&format!("learner_cluster_{name}")).as_deref() == Some(value)
            });
        }
        let health = agent.get("/health");
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        assert!(
            health.contains("list pods in all namespaces: the API server does not answer")
                || health.contains("watch pods in all namespaces: the API server does not answer"),
            "{health}"
        );

        world.server.go_on();
        let db = Made::of_deployment(&node.name, "db", &unknown.id);
        made(world, &namespace, "db-5d4-1", db).await;
        until_told(world, &namespace, &files[1], &agent).await;
        let told = until_told(world, &namespace, &files[2], &agent).await;
        let names =
            ["db", "web"].map(|of| format!("{namespace}/Deployment/{of}/main {}", node.name));
        assert_eq!(workloads(&told), names);
        let is_whole = |run: &RunFacts| !run.late && run.lost.is_empty();
        assert!(runs(&told).iter().all(is_whole), "{:?}", runs(&told));
        agent.says("the pods of the node are told again");
        agent.says("what the node has seen is written again");
        let health = agent.get("/health");
        assert!(health.ends_with("ok\n"), "{health}");

        // It is away again, and the agent is ended before it is back: the next one knows what ran.
        world.server.pause();
        let (third, file) = (Container::new(Driver::Cgroupfs), node.file("third"));
        third.reads(&[&file]);
        agent.says("whose it is is not known yet");
        assert!(agent.stop().success());
        let agent = node.agent("");
        agent.says("does not answer");
        world.server.go_on();
        let cron = Made::of_deployment(&node.name, "cron", &third.id);
        made(world, &namespace, "cron-5d4-1", cron).await;
        let told = until_told(world, &namespace, &file, &agent).await;
        let name = format!("{namespace}/Deployment/cron/main {}", node.name);
        assert!(workloads(&told).contains(&name), "{:?}", workloads(&told));
        assert!(runs(&told).iter().all(is_whole), "{:?}", runs(&told));
        assert!(agent.stop().success());
    });
}

#[test]
fn the_nodes_of_a_deployment_make_one_policy_whichever_told_first() {
    let (Some(world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    world.run(async |world| {
        let nodes = ["one", "two"].map(|name| Node::new(&world.server, "admin", name));
        let agents = [nodes[0].agent(""), nodes[1].agent("")];
        let files = [nodes[0].file("one/etc"), nodes[0].file("two/etc")];
        let mut policies = Vec::new();
        for order in [[0, 1], [1, 0]] {
            let namespace = world.namespace().await;
            for of in order {
                let container = Container::new(Driver::Systemd);
                let web = Made::of_deployment(&nodes[of].name, "web", &container.id);
                made(world, &namespace, &format!("web-5d4-{of}"), web).await;
                container.reads(&[&files[of]]);
                until_told(world, &namespace, &files[of], &agents[of]).await;
            }
            let told = read(&world.admin(), Some(&namespace)).await.expect("read");
            assert_eq!(workloads(&told).len(), 2, "{:?}", workloads(&told));
            let merged = Merged::of(&told.joint).expect("acts");
            let workload: Workload = format!("{namespace}/Deployment/web/main")
                .parse()
                .expect("a workload");
            let made =
                recommend_merged(&workload, &merged, &Criteria::default()).expect("a policy");
            policies.push(to_yaml(&made.policy).replace(&namespace, "NAMESPACE"));
        }
        assert_eq!(policies[0], policies[1]);
        for file in &files {
            assert!(
                policies[0].contains(file.to_str().expect("text")),
                "{}",
                policies[0]
            );
        }
        for agent in agents {
            assert!(agent.stop().success());
        }
    });
}

#[test]
fn what_nobody_runs_any_more_is_taken_away_when_there_is_a_later_image() {
    let (Some(world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "old");
        let agent = node.agent(", keep: 3s");
        let files = [node.file("old"), node.file("new")];
        let mut last = None;
        for (file, image) in files.iter().zip(["web:1", "web:2"]) {
            let container = Container::new(Driver::Systemd);
            let web = Made {
                image: image.to_owned(),
                ..Made::of_deployment(&node.name, "web", &container.id)
            };
            made(world, &namespace, &image.replace(':', "-"), web).await;
            container.reads(&[file]);
            until_told(world, &namespace, file, &agent).await;
            last = Some(container);
        }
        agent.says("nobody runs it any more");
        let told = read(&world.admin(), Some(&namespace)).await.expect("read");
        let images: Vec<&str> = told
            .joint
            .parts()
            .map(|(of, _, _)| of.image.as_str())
            .collect();
        assert_eq!(images, ["web:2@sha256:00"]);
        drop(last);
        assert!(agent.stop().success());
    });
}

#[test]
fn an_agent_that_lacks_rights_or_definitions_says_so_once_each_and_goes_on_when_it_has_them() {
    let (Some(world), Some(_alone)) = (bare(), alone()) else {
        return;
    };
    world.run(async |world| {
        const EVIDENCE: &str = "workloadevidences.learner.dev";
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "limited", "lacking");
        let container = Container::new(Driver::Systemd);
        let web = Made::of_deployment(&node.name, "web", &container.id);
        made(world, &namespace, "web-5d4-1", web).await;
        let file = node.file("one");
        let agent = node.agent("");
        container.reads(&[&file]);
        agent.says("list pods in all namespaces: not allowed");
        let owners: (&[&str], &str) = (&["get"], "replicasets.apps");
        let pods: (&[&str], &str) = (&["list", "watch"], "pods");
        world.allow(&[pods]).await;
        agent.says("has to give the verb 'get' on 'replicasets.apps'");
        agent.says("list workloadevidences.learner.dev in all namespaces: not allowed");
        world.allow(&[pods, owners, (&["list"], EVIDENCE)]).await;
        agent.says("learner crd | kubectl apply -f -");
        world.define().await;
        agent.says("has to give the verbs 'patch' and 'create'");
        world
            .allow(&[pods, owners, (&["list", "patch", "create"], EVIDENCE)])
            .await;
        let told = until_told(world, &namespace, &file, &agent).await;
        let name = format!("{namespace}/Deployment/web/main {}", node.name);
        assert_eq!(workloads(&told), [name]);
        agent.says("what the node has seen is written again");
        let log = agent.log();
        for once in [
            "list pods in all namespaces: not allowed",
            "verb 'get' on",
            "learner crd |",
            "verbs 'patch' and 'create'",
        ] {
            assert_eq!(log.matches(once).count(), 1, "{once}: {log}");
        }
        assert!(agent.stop().success());
    });
}

/// The figures are for docs/cluster.md.
#[test]
fn five_thousand_pods_on_a_node_are_known() {
    let (Some(world), Some(_alone)) = (bare(), alone()) else {
        return;
    };
    world.run(async |world| {
        world.define().await;
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "crowd");
        let known = |agent: &Agent, count: usize| {
            let metric = agent.metric("learner_cluster_containers");
            metric == Some(count.to_string())
        };
        let agent = node.agent("");
        wait_for("the pods", || {
            agent.metric("learner_cluster_follows_pods").as_deref() == Some("1")
        });
        let before = agent.memory();
        assert!(agent.stop().success());
        let all: Vec<usize> = (0..5_000).collect();
        for some in all.chunks(50) {
            let making = some.iter().map(async |n| {
                let id = format!("{n:064x}");
                let app = format!("app-{}", n % 100);
                let name = format!("{app}-5d4-{n}");
                made(world, &namespace, &name, Made::of_deployment(&node.name, &app, &id)).await;
            });
            futures_util::future::join_all(making).await;
        }
        let agent = node.agent("");
        let begun = std::time::Instant::now();
        wait_for("all pods to be known", || known(&agent, 5_000));
        let (took, after) = (begun.elapsed(), agent.memory());
        eprintln!(
            "5,000 pods: known {:.1} s after the agent began to watch; memory {:.1} MiB, {:.1} MiB without a pod",
            took.as_secs_f64(),
            after as f64 / f64::from(1 << 20),
            before as f64 / f64::from(1 << 20)
        );
        let more = after.saturating_sub(before);
        assert!(more < 64 << 20, "{more} bytes more");
        // One that comes is known, and one that goes is forgotten.
        let one = Made::of_deployment(&node.name, "one", &"f".repeat(64));
        made(world, &namespace, "one", one).await;
        wait_for("one more", || known(&agent, 5_001));
        let api: Api<Pod> = Api::namespaced(world.admin(), &namespace);
        let now = DeleteParams::default().grace_period(0);
        api.delete("one", &now).await.expect("deleted");
        wait_for("one less", || known(&agent, 5_000));
        assert!(agent.stop().success());
    });
}

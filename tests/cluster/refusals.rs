use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use learner::cluster::{
    ClusterError, Holding, Pace, Place, Telling, Withdrawn, WorkloadEvidence, Writer, place, read,
};
use learner::observation::Moment;
use serde_json::json;

use crate::fake::{self, Answer};
use crate::sharing::{part, revision};
use crate::world::{bare, world};

#[test]
fn what_somebody_else_has_set_is_not_overwritten_and_they_are_named() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let writer = Writer::new(world.admin(), "node-1");
        let before = part(&revision, "a", &["/etc/one".to_owned()]);
        writer
            .write(&revision, Moment(0), &before)
            .await
            .expect("written");
        let api: Api<WorkloadEvidence> = Api::namespaced(world.admin(), &namespace);
        let object = api
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .remove(0);
        let edit = json!({
            "apiVersion": "learner.dev/v1alpha1", "kind": "WorkloadEvidence",
            "spec": {"acts": []},
        });
        let by = PatchParams::apply("some-person").force();
        let edited = api
            .patch(&object.name_any(), &by, &Patch::Apply(&edit))
            .await;
        edited.expect("edited");
        let refused = writer.write(&revision, Moment(0), &before).await;
        let refused = refused.expect_err("a conflict");
        assert!(
            matches!(refused, ClusterError::Conflict { .. }),
            "{refused}"
        );
        let said = refused.to_string();
        assert!(
            said.contains("some-person") && said.contains(".spec.acts"),
            "{said}"
        );
        let after = api.get(&object.name_any()).await.expect("it is there");
        assert!(after.spec.acts.is_empty());
    });
}

/// Each verb taken away alone is missed, by name; with all of them it works. So these are the ones.
#[test]
fn each_verb_that_is_not_given_is_named() {
    // What is limited is so everywhere: a server of its own.
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        const EVIDENCE: &str = "workloadevidences.learner.dev";
        let many: Vec<String> = (0..3_000)
            .map(|n| format!("/srv/{}{n}x", "long-".repeat(20)))
            .collect();
        let large = part(&revision, "a", &many);
        let small = part(&revision, "a", &many[..1]);
        let writer = Writer::new(world.limited(), "node-1");
        let mut found = Vec::new();
        for verbs in [
            &[][..],
            &["patch"],
            &["patch", "create"],
            &["patch", "create", "list"],
        ] {
            world.allow(&[(verbs, EVIDENCE)]).await;
            let refused = match writer.write(&revision, Moment(0), &large).await {
                Ok(_) => writer.write(&revision, Moment(0), &small).await.err(),
                Err(refused) => Some(refused),
            };
            let refused = refused.expect("it is not allowed");
            assert!(
                matches!(refused, ClusterError::Forbidden { .. }),
                "{refused}"
            );
            found.push(refused.to_string());
        }
        let apply = "verbs 'patch' and 'create'";
        for (said, verbs) in found
            .iter()
            .zip([apply, apply, "verb 'list'", "verb 'delete'"])
        {
            let step = format!("has to give the {verbs} on '{EVIDENCE}'");
            assert!(said.contains(&step), "{said}");
        }
        world
            .allow(&[(&["patch", "create", "list", "delete"], EVIDENCE)])
            .await;
        writer
            .write(&revision, Moment(0), &small)
            .await
            .expect("written");

        world.allow(&[(&[], EVIDENCE)]).await;
        let refused = read(&world.limited(), Some(&namespace))
            .await
            .expect_err("not allowed");
        assert!(refused.to_string().contains("the verb 'list'"), "{refused}");
    });
}

/// The same of what only reads.
#[test]
fn each_right_of_recommend_and_diff_that_is_not_given_is_named() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        world.define_kubearmor().await;
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let part = part(&revision, "a", &["/etc/one".to_owned()]);
        let writer = Writer::new(world.admin(), "node-1");
        writer
            .write(&revision, Moment(0), &part)
            .await
            .expect("written");
        let list = &["list"][..];
        let rights = [
            "workloadevidences.learner.dev",
            "workloadpostures.learner.dev",
            "nodes",
            "kubearmorpolicies.security.kubearmor.com",
            "kubearmorclusterpolicies.security.kubearmor.com",
        ];
        let recommend: &[&str] = &["recommend", "-n", &namespace, "--cluster", "-o", "-"];
        let diff: &[&str] = &["diff", "-n", &namespace, "--cluster"];
        for missing in rights {
            let given = |resource| if resource == missing { &[][..] } else { list };
            world
                .allow(&rights.map(|resource| (given(resource), resource)))
                .await;
            for args in [recommend, diff] {
                let said = world.learner_as("limited", args, "");
                if args == recommend && !missing.ends_with("learner.dev") {
                    assert_eq!(said.code, 0, "{said:?}");
                    continue;
                }
                assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
                let step = format!("has to give the verb 'list' on '{missing}'");
                assert!(said.err.contains(&step), "{said:?}");
            }
        }
        world.allow(&rights.map(|resource| (list, resource))).await;
        let said = world.learner_as("limited", diff, "");
        assert_eq!(said.code, 1, "{said:?}");
    });
}

#[test]
fn a_cluster_without_the_definitions_says_how_to_give_them() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let part = part(&revision, "a", &["/etc/one".to_owned()]);
        let writer = Writer::new(world.admin(), "node-1");
        let refused = writer
            .write(&revision, Moment(0), &part)
            .await
            .expect_err("none");
        assert!(
            refused
                .to_string()
                .contains("learner crd | kubectl apply -f -"),
            "{refused}"
        );
        let refused = read(&world.admin(), None).await.expect_err("none");
        assert!(
            matches!(refused, ClusterError::NoDefinition { .. }),
            "{refused}"
        );

        world.server.pause();
        let refused = writer
            .write(&revision, Moment(0), &part)
            .await
            .expect_err("away");
        assert!(
            matches!(refused, ClusterError::Unreachable { .. }),
            "{refused}"
        );
        world.server.go_on();
        world.define().await;
        writer
            .write(&revision, Moment(0), &part)
            .await
            .expect("written");
    });
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let revision = revision("no-such-namespace");
        let part = part(&revision, "a", &["/etc/one".to_owned()]);
        let writer = Writer::new(world.admin(), "node-1");
        let refused = writer
            .write(&revision, Moment(0), &part)
            .await
            .expect_err("none");
        assert!(
            matches!(refused, ClusterError::NotFound { .. }),
            "{refused}"
        );
        assert!(
            refused.to_string().contains("no-such-namespace"),
            "{refused}"
        );
    });
}

#[test]
fn a_server_that_has_too_much_to_do_is_left_alone_for_as_long_as_it_says() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let client = fake::client(|_, _| {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 429,
                "reason": "TooManyRequests", "message": "too many", "details": {"retryAfterSeconds": 3600},
            });
            Answer::Whole(429, status.to_string())
        });
        let writer = Writer::new(client.await, "node-1");
        let revision = revision("shop");
        let part = part(&revision, "a", &["/etc/one".to_owned()]);
        let refused = writer.write(&revision, Moment(0), &part).await;
        let refused = refused.expect_err("busy");
        assert!(refused.is_of_server() && refused.passes(), "{refused}");
        assert!(
            refused.to_string().ends_with("try it again after 3600 s"),
            "{refused}"
        );
        // Who is told so does not come back before.
        let (now, hour) = (Moment(0), 3_600_000_000);
        let mut telling = Telling::new("node-1", Pace::default());
        telling.stored(&revision, now);
        telling.is_away(refused.retry_after(), now);
        assert!(telling.due(Moment(hour - 1)).is_empty());
        assert_eq!(telling.due(Moment(hour)), [revision]);
    });
}

/// What was told of a revision stays as long as any node has run it since.
#[test]
fn a_part_ages_out_when_no_node_has_run_its_revision() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let part = part(&revision, "a", &["/etc/one".to_owned()]);
        let nodes = ["node-1", "node-2"].map(|name| Writer::new(world.admin(), name));
        let alive = [10, 20].map(|second: i64| Moment(second * 1_000_000));
        for (writer, alive) in nodes.iter().zip(alive) {
            writer
                .write(&revision, alive, &part)
                .await
                .expect("written");
        }
        let kept = nodes[0].withdraw(&revision, alive[1]).await.expect("asked");
        let node = "node-2".to_owned();
        assert_eq!(kept, Withdrawn::Alive { node });
        let later = Moment(21_000_000);
        let gone = nodes[0].withdraw(&revision, later).await.expect("asked");
        assert_eq!(gone, Withdrawn::Gone { objects: 2 });
        let again = nodes[1].withdraw(&revision, later).await.expect("asked");
        assert_eq!(again, Withdrawn::Gone { objects: 0 });
        until_mine(&nodes[0], |mine| !mine.contains_key(&place(&revision))).await;
    });
}

#[test]
fn what_a_node_has_told_is_known_to_its_next_agent_whole_or_not() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let many: Vec<String> = (0..3_000)
            .map(|n| format!("/srv/{}{n}x", "long-".repeat(20)))
            .collect();
        let part = part(&revision, "a", &many);
        let name = format!("whole-{namespace}");
        let writer = Writer::new(world.admin(), &name);
        let objects = writer
            .objects(&revision, Moment(0), &part, &Holding::default())
            .expect("objects");
        assert!(objects.len() > 1);
        writer.put(&objects).await.expect("written");
        let whole = [(objects.place(), objects.content().to_owned())].into();
        until_mine(&writer, |mine| *mine == whole).await;
        let api: Api<WorkloadEvidence> = Api::namespaced(world.admin(), &namespace);
        let all = api.list(&ListParams::default()).await.expect("a list");
        let one = all.items[0].name_any();
        api.delete(&one, &Default::default())
            .await
            .expect("deleted");
        let in_part = [(objects.place(), String::new())].into();
        until_mine(&writer, |mine| *mine == in_part).await;
    });
}

/// Waits until the server tells so of what a node has written: it tells what it has in memory.
async fn until_mine(writer: &Writer, is_so: impl Fn(&BTreeMap<Place, String>) -> bool) {
    for _ in 0..100 {
        let mine = writer.mine().await.expect("asked");
        if is_so(&mine) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", writer.mine().await);
}

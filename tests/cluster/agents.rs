//! The promotion job where KubeArmor is not there, and the nodes say that their agents enforce.

use k8s_openapi::api::core::v1::{Node as There, Pod};
use kube::api::{Api, ListParams, PostParams};
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::cluster::{
    CanaryRow, EnforcedBy, Enforcement, PostureName, WorkloadEvidence, WorkloadPosture,
};
use learner::posture::Slice;
use serde_json::json;

use crate::promoting::Shop;
use crate::sharing::done;
use crate::world::{Connected, bare, world};

fn by_learner() -> Option<Enforcement> {
    Some(Enforcement {
        by: EnforcedBy::Learner,
        why: None,
    })
}

/// A namespace on a node without KubeArmor, whose agent tells this.
async fn shop<'w>(world: &'w Connected, apps: &[&str], told: Option<Enforcement>) -> Shop<'w> {
    let mut shop = Shop::on(world, apps, json!({})).await;
    shop.enforcement = told;
    shop
}

/// What the candidates of an app were made for.
async fn made_for(shop: &Shop<'_>, app: &str) -> Vec<String> {
    let status = shop.status(app).await;
    let made = status.candidates.iter().map(|row| {
        let made: serde_json::Value = serde_json::from_str(&row.made).expect("JSON");
        made["enforcer"].as_str().expect("text").to_owned()
    });
    made.collect()
}

#[test]
fn without_kubearmor_a_workload_is_promoted_for_the_agents_and_taken_back_by_a_denial() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        // Nothing of KubeArmor is defined.
        world.define().await;
        let shop = shop(world, &["db", "web"], by_learner()).await;
        shop.under_audit(&["db", "web"], &["web"]).await;
        assert_eq!(made_for(&shop, "web").await, ["learner"]);
        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out.contains("web/web: promoted: audit -> block"),
            "{said:?}"
        );
        assert!(said.out.contains("db/db: held in audit: idle"), "{said:?}");
        assert_eq!(shop.posture().await, None, "no annotation is needed");
        let status = shop.status("web").await;
        assert_eq!(
            (status.posture, status.canary),
            (Some(PostureName::Block), None)
        );
        let again = shop.promote(&["-l", "app=web"]);
        assert_eq!(again.code, 0, "{again:?}");
        assert!(again.out.contains("web/web: in block since"), "{again:?}");

        // What the node's own programs refuse is told as what anything else refuses.
        let refused = Behavior {
            result: Outcome::Failed("EACCES".to_owned()),
            ..done(Op::Open(Access::Read), "/etc/shadow", "/usr/bin/web")
        };
        shop.seen("web", "i:1", true, &[refused]).await;
        let said = shop.promote(&["-l", "app=web"]);
        assert!(
            said.out
                .contains("web/web: rolled back: block -> audit: denied at "),
            "{said:?}"
        );
        assert_eq!(shop.status("web").await.posture, Some(PostureName::Audit));
    });
}

#[test]
fn together_waits_only_for_what_goes_by_the_namespace() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        let shop = shop(world, &["db", "web"], by_learner()).await;
        shop.under_audit(&["db", "web"], &["web"]).await;
        let said = shop.promote(&["--strategy", "namespace"]);
        assert!(
            said.out.contains("web/web: promoted: audit -> block"),
            "{said:?}"
        );
        assert_eq!(shop.posture().await, None);
    });
}

#[test]
fn a_node_that_cannot_enforce_holds_the_promotion_with_its_reason() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        let nobody = Some(Enforcement::nobody("the kernel does not ask BPF programs"));
        let mut shop = shop(world, &["web"], nobody.clone()).await;
        shop.under_audit(&["web"], &["web"]).await;
        assert_eq!(made_for(&shop, "web").await, ["learner"]);
        let lacking = format!(
            "1 node does not enforce it ({}: the kernel does not ask BPF programs)",
            shop.node
        );
        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out.contains(&format!("held in audit: {lacking}")),
            "{said:?}"
        );
        assert_eq!(shop.status("web").await.held, ["nodes"]);

        shop.enforcement = by_learner();
        shop.seen("web", "i:1", true, &[]).await;
        assert_eq!(shop.promote(&[]).code, 0);
        // It holds others, and not this one.
        shop.unheld = Some("there is no room for its rules".to_owned());
        shop.seen("web", "i:1", true, &[]).await;
        let unheld = format!(
            "held in block: 1 node does not enforce it ({}: there is no room for its rules)",
            shop.node
        );
        let said = shop.promote(&[]);
        assert!(said.out.contains(&unheld), "{said:?}");
        shop.unheld = None;
        // It was decided, and is not done everywhere any more.
        shop.enforcement = nobody;
        shop.seen("web", "i:1", true, &[]).await;
        let said = shop.promote(&[]);
        assert!(
            said.out.contains(&format!("held in block: {lacking}")),
            "{said:?}"
        );
        // Agents that are told nothing of it any more.
        shop.enforcement = None;
        shop.seen("web", "i:1", true, &[]).await;
        let said = shop.promote(&[]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("install KubeArmor"), "{said:?}");
    });
}

#[test]
fn where_some_nodes_are_kubearmors_and_some_are_not_it_is_held_and_they_are_named() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let mut shop = shop(world, &["web"], by_learner()).await;
        // Another node, which KubeArmor has labelled, has seen it too.
        let ours = shop.node.clone();
        let theirs = format!("armored-{ours}");
        let there = json!({"metadata": {"name": theirs, "labels": {"kubearmor.io/enforcer": "bpf"}}});
        let there: There = serde_json::from_value(there).expect("a node");
        let nodes: Api<There> = Api::all(world.admin());
        let made = nodes.create(&PostParams::default(), &there).await;
        made.expect("a node");
        shop.seen("web", "i:1", false, &[]).await;
        shop.node.clone_from(&theirs);
        shop.enforcement = None;
        shop.seen("web", "i:1", false, &[]).await;
        let mixed = format!(
            "KubeArmor is to enforce on 1 of the nodes that run it ({theirs}), and Learner's agents on 1 ({ours})"
        );
        let said = shop.promote(&[]);
        assert!(said.out.contains(&format!("held in learning: {mixed}")), "{said:?}");
        // It is frozen while there is the one node alone.
        forget(world, &shop.namespace, &theirs).await;
        shop.node.clone_from(&ours);
        shop.enforcement = by_learner();
        shop.under_audit(&["web"], &["web"]).await;
        shop.node.clone_from(&theirs);
        shop.enforcement = None;
        shop.seen("web", "i:1", true, &[]).await;
        let said = shop.promote(&[]);
        assert!(said.out.contains(&format!("held in audit: {mixed}")), "{said:?}");
        assert_eq!(shop.status("web").await.held, ["mixed-nodes"]);
        assert_eq!(shop.policies().await, [""; 0]);

        // KubeArmor alone: the candidate is not for it.
        forget(world, &shop.namespace, &ours).await;
        let pods: Api<Pod> = Api::namespaced(world.admin(), &shop.namespace);
        let now = kube::api::DeleteParams::default().grace_period(0);
        pods.delete("web-1", &now).await.expect("deleted");
        shop.seen("web", "i:1", true, &[]).await;
        let said = shop.promote(&[]);
        let other = format!("its candidate was made for Learner's own programs, which does not enforce on the nodes that run it ({theirs})");
        assert!(said.out.contains(&other), "{said:?}");
    });
}

/// What a node has told is deleted.
async fn forget(world: &Connected, namespace: &str, node: &str) {
    let api: Api<WorkloadEvidence> = Api::namespaced(world.admin(), namespace);
    let all = api.list(&ListParams::default()).await.expect("a list");
    for object in all.items.into_iter().filter(|one| one.spec.node == node) {
        let name = object.metadata.name.expect("a name");
        api.delete(&name, &Default::default())
            .await
            .expect("deleted");
    }
}

#[test]
fn a_canary_begins_with_a_share_of_the_pods_and_says_which() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        let shop = shop(world, &["web"], by_learner()).await;
        let pods: Api<Pod> = Api::namespaced(world.admin(), &shop.namespace);
        let owners = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4", "uid": "r", "controller": true,
        }]);
        for number in 0..5 {
            let pod = json!({
                "metadata": {
                    "name": format!("web-5d4-{number}"), "labels": {"app": "web"},
                    "ownerReferences": owners,
                },
                "spec": {"nodeName": shop.node, "containers": [{"name": "web", "image": "i"}]},
            });
            let pod: Pod = serde_json::from_value(pod).expect("a pod");
            let made = pods.create(&PostParams::default(), &pod).await;
            made.expect("a pod");
        }
        shop.under_audit(&["web"], &["web"]).await;
        let said = shop.promote(&["--canary-share", "40%", "--canary", "2h"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.contains("; until then 2 of 5 pods are held"), "{said:?}");
        let status = shop.status("web").await;
        assert_eq!(status.canary, Some(CanaryRow { held: 2, of: 5 }));
        let row = status.revisions.last().expect("a row");
        assert_eq!(row.canary_share.as_deref(), Some("40%"));
        // By these two anybody knows which pods they are.
        let last = u64::from_str_radix(row.canary_last.as_deref().expect("a place"), 16);
        let slice = Slice {
            share: "40%".parse().expect("a share"),
            last: last.expect("a number"),
        };
        let all = pods.list(&ListParams::default()).await.expect("a list");
        let held = all.items.iter().filter(|pod| {
            pod.metadata.owner_references.is_some()
                && slice.has(pod.metadata.uid.as_deref().expect("a uid"))
        });
        assert_eq!(held.count(), 2);

        // A later pass does not choose anew, and counts those there are.
        let now = kube::api::DeleteParams::default().grace_period(0);
        let gone = all.items.iter().find(|pod| {
            pod.metadata.owner_references.is_some()
                && !slice.has(pod.metadata.uid.as_deref().expect("a uid"))
        });
        let gone = gone.and_then(|pod| pod.metadata.name.clone());
        pods.delete(&gone.expect("one"), &now).await.expect("deleted");
        let said = shop.promote(&["--canary-share", "1"]);
        assert!(said.out.contains("; until then 2 of 4 pods are held"), "{said:?}");
        let later = shop.status("web").await;
        assert_eq!(later.canary, Some(CanaryRow { held: 2, of: 4 }));
        assert_eq!(later.revisions, status.revisions);
        for wrong in ["0", "0%", "101%", "some"] {
            let said = shop.promote(&["--canary-share", wrong]);
            assert_eq!(said.code, 2, "{said:?}");
            assert!(said.err.contains("a share is from 1% to 100%"), "{said:?}");
        }
        let said = world.learner(&["promote", "--canary-share", "1"]);
        assert!(said.code == 2 && said.err.contains("--cluster"), "{said:?}");
        let all: Api<WorkloadPosture> = Api::namespaced(world.admin(), &shop.namespace);
        assert_eq!(all.list(&ListParams::default()).await.expect("a list").items.len(), 1);
    });
}

#[test]
fn where_kubearmor_enforces_a_share_is_not_chosen_and_that_is_said() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let said = shop.promote(&["--canary-share", "1"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.err
                .contains("KubeArmor enforces it, on all of its pods at once"),
            "{said:?}"
        );
        assert_eq!(shop.status("web").await.canary, None);
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
    });
}

#[test]
fn probe_says_who_enforces_on_a_node() {
    let Some(world) = bare() else { return };
    world.run(async |world| {
        world.define().await;
        let shop = Shop::new(world, &[]).await;
        let probe = |more: &[&str]| {
            let said = world.learner(&[&["probe", "-f", "json"], more].concat());
            let value: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
            (said.code, value["cluster"]["enforces"].clone(), said.err)
        };
        let node = ["--cluster", "--node", shop.node.as_str()];
        // The label alone is not KubeArmor.
        let (_, by, err) = probe(&node);
        let can = learner::kernel::enforcer::is_active().is_ok();
        assert_eq!(by, if can { "learner" } else { "nobody" }, "{err}");
        world.define_kubearmor().await;
        assert_eq!(probe(&node).1, "kubearmor");
        let (code, by, err) = probe(&["--cluster", "--node", "nowhere"]);
        assert!(code == 2 && by.is_null(), "{err}");
        assert!(err.contains("get nodes nowhere: not found"), "{err}");
        let (code, _, err) = probe(&["--cluster"]);
        assert!(code == 2 && err.contains("--node NAME"), "{err}");
        assert!(probe(&[]).1.is_null());
    });
}

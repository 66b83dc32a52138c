//! What people decide of workloads of a cluster.

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use learner::behavior::{Access, Behavior, Op};
use learner::cluster::{PostureName, WorkloadPosture};
use serde_json::{Value, json};

use crate::deploying::allow_but;
use crate::promoting::Shop;
use crate::sharing::done;
use crate::world::{Connected, Said, bare, world};

fn new() -> Behavior {
    done(Op::Open(Access::Read), "/etc/new", "/usr/bin/web")
}

fn says(world: &Connected, shop: &Shop<'_>, args: &[&str]) -> Said {
    world.learner(&[args, &["-n", shop.namespace(), "--cluster"]].concat())
}

fn alerts(world: &Connected, shop: &Shop<'_>) -> Vec<Value> {
    let said = says(world, shop, &["alerts", "-f", "json"]);
    let all: Vec<Value> = serde_json::from_str(&said.out).expect("JSON");
    let open = all.iter().any(|alert| alert["decision"].is_null());
    assert_eq!(said.code, i32::from(open), "{said:?}");
    all
}

fn recommended(world: &Connected, shop: &Shop<'_>) -> String {
    says(world, shop, &["recommend", "-l", "app=web", "-o", "-"]).out
}

#[test]
fn an_alert_of_the_cluster_is_shown_and_a_person_accepts_it() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["db", "web"]).await;
        shop.under_audit(&["db", "web"], &["db"]).await;
        assert_eq!(alerts(world, &shop), [] as [Value; 0]);
        shop.seen("web", "i:1", true, &[new()]).await;
        let [alert] = &alerts(world, &shop)[..] else {
            panic!("one alert");
        };
        assert_eq!(alert["path"], "/etc/new");
        assert_eq!(alert["posture"], "audit");
        let theirs = says(world, &shop, &["alerts", "-f", "kubearmor"]).out;
        let theirs: Value = serde_json::from_str(&theirs).expect("one line");
        assert_eq!(theirs["Resource"], "/etc/new");
        assert_eq!(theirs["Owner"]["Name"], "web");
        let table = says(world, &shop, &["alerts"]).out;
        assert!(table.contains("open r /etc/new"), "{table}");

        let id = alert["id"].as_str().expect("an id");
        let before = shop.status("web").await;
        let other = shop.status("db").await;
        let said = says(world, &shop, &["accept", id]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.err.contains("accepted: open /etc/new by /usr/bin/web"),
            "{said:?}"
        );
        let after = shop.status("web").await;
        assert_eq!(after.posture, Some(PostureName::Audit));
        assert_ne!(after.candidate, before.candidate);
        let last = after.journal.last().expect("an entry");
        assert_eq!((last.number, last.cause.as_str()), (2, "accepted"));
        assert!(last.actor.starts_with("uid "), "{last:?}");
        assert_eq!(shop.status("db").await, other);
        let told = shop.events("web").await;
        assert!(
            told.iter().any(|of| of.starts_with("Normal Accepted: ")),
            "{told:?}"
        );
        assert_eq!(alerts(world, &shop), [] as [Value; 0]);
        assert!(recommended(world, &shop).contains("/etc/new"));

        // Once is enough.
        let again = says(world, &shop, &["accept", id]);
        assert_eq!(again.code, 1, "{again:?}");
        assert_eq!(shop.status("web").await, after);
        // The job goes on from there.
        let said = shop.promote(&["-l", "app=web"]);
        assert!(!said.out.contains("alert"), "{said:?}");
    });
}

#[test]
fn a_person_takes_a_workload_back_and_its_policy_goes() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["db", "web"]).await;
        shop.under_audit(&["db", "web"], &["db", "web"]).await;
        assert_eq!(shop.promote(&[]).code, 0);
        assert_eq!(shop.policies().await.len(), 2);
        let name = format!("{}/Deployment/web", shop.namespace());
        let demote = |more: &[&str]| {
            let args = ["demote", &name, "--cluster", "--reason", "it broke"];
            world.learner(&[&args[..], more].concat())
        };
        let said = demote(&[]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.err.contains("block -> audit (image 'i:1')"),
            "{said:?}"
        );
        assert_eq!(shop.policies().await, ["db-deployment-learned block"]);
        let status = shop.status("web").await;
        assert_eq!(status.posture, Some(PostureName::Audit));
        let last = status.journal.last().expect("an entry");
        assert_eq!(last.cause, "demoted");
        assert!(last.message.contains("it broke"), "{last:?}");
        let told = shop.events("web").await;
        assert!(
            told.iter().any(|of| of.starts_with("Warning Demoted: ")),
            "{told:?}"
        );
        assert_eq!(shop.status("db").await.posture, Some(PostureName::Block));

        let again = demote(&[]);
        assert_eq!(again.code, 1, "{again:?}");
        assert!(
            again.err.contains("it does not stand above audit"),
            "{again:?}"
        );
        assert_eq!(shop.status("web").await, status);

        // What was an alert may be learned then, and is named.
        shop.seen("web", "i:1", true, &[new()]).await;
        let said = demote(&["--to", "learning"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.err
                .contains("learned unless it is forgotten: open /etc/new"),
            "{said:?}"
        );
        let status = shop.status("web").await;
        assert_eq!(
            (status.posture, status.candidate),
            (Some(PostureName::Learning), None)
        );
        assert!(recommended(world, &shop).contains("/etc/new"));
    });
}

#[test]
fn what_is_forgotten_is_learned_by_nobody_until_it_is_taken_back() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["db", "web"]).await;
        shop.seen("db", "i:1", false, &[new()]).await;
        shop.seen("web", "i:1", false, &[new()]).await;
        assert!(recommended(world, &shop).contains("/etc/new"));
        let differs = || says(world, &shop, &["diff", "-l", "app=web"]).out;
        let denied = "BECOMES DENIED  open r /etc/new by /usr/bin/web";
        assert!(!differs().contains(denied), "{}", differs());
        let said = says(world, &shop, &["forget", "-l", "app=web", "/etc/new"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            said.err
                .contains("web/web: forgotten: /etc/new (behaviours: 1"),
            "{said:?}"
        );
        assert!(!recommended(world, &shop).contains("/etc/new"));
        assert!(differs().contains(denied), "{}", differs());
        let missing = says(world, &shop, &["forget", "/etc/none"]);
        assert_eq!(missing.code, 1, "{missing:?}");
        let listed = says(world, &shop, &["forget", "--list", "-f", "json"]);
        let listed: Vec<Value> = serde_json::from_str(&listed.out).expect("JSON");
        assert!(
            matches!(&listed[..], [one] if one["path"] == "/etc/new" && one["workload"] == "web"),
            "{listed:?}"
        );

        // The candidate has it not, and the pass leaves it as it is.
        assert_eq!(shop.promote(&[]).code, 0);
        let policy = |of: &WorkloadPosture| {
            let status = of.status.as_ref().expect("a status");
            status.candidates[0].policy.clone()
        };
        assert!(!policy(&posture(world, &shop, "web").await).contains("/etc/new"));
        assert!(policy(&posture(world, &shop, "db").await).contains("/etc/new"));
        let kept = posture(world, &shop, "web").await.spec.forgotten;
        assert_eq!(kept.len(), 1);
        // It is an alert that a person has decided about.
        shop.seen("web", "i:1", true, &[new()]).await;
        let of_web = alerts(world, &shop);
        assert!(
            matches!(&of_web[..], [one] if one["decision"] == "forgotten"),
            "{of_web:?}"
        );
        let said = shop.promote(&["-l", "app=web"]);
        assert!(
            said.out.contains("web/web: promoted: audit -> block"),
            "{said:?}"
        );

        // What a candidate allows it goes on to allow, and it is held.
        shop.seen("db", "i:1", true, &[new()]).await;
        let said = says(world, &shop, &["forget", "-l", "app=db", "/etc/new"]);
        assert!(said.err.contains("goes on allowing /etc/new"), "{said:?}");
        let said = shop.promote(&["-l", "app=db"]);
        assert!(
            said.out.contains("the candidate allows what is forgotten"),
            "{said:?}"
        );

        let said = says(world, &shop, &["forget", "--undo", "/etc/new"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            recommended(world, &shop).contains("/etc/new")
                || shop.status("web").await.posture == Some(PostureName::Block)
        );
        let listed = says(world, &shop, &["forget", "--list"]);
        assert_eq!(listed.code, 1, "{listed:?}");
        let none = says(world, &shop, &["forget", "--undo", "/etc/new"]);
        assert_eq!(none.code, 1, "{none:?}");
    });
}

async fn posture(world: &Connected, shop: &Shop<'_>, app: &str) -> WorkloadPosture {
    let api: Api<WorkloadPosture> = Api::namespaced(world.admin(), shop.namespace());
    let all = api.list(&ListParams::default()).await.expect("a list");
    let one = all
        .items
        .into_iter()
        .find(|of| of.spec.workload.name == app);
    one.expect("it is there")
}

#[test]
fn while_a_job_is_at_work_people_wait_and_change_nothing() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &[]).await;
        shop.seen("web", "i:1", true, &[new()]).await;
        let before = posture(world, &shop, "web").await;
        let api: Api<Lease> = Api::namespaced(world.admin(), shop.namespace());
        let mut lease = api.get("learner-promote").await.expect("it is there");
        let spec = lease.spec.as_mut().expect("a lease");
        spec.holder_identity = Some("job-of-others".to_owned());
        let how = PostParams::default();
        api.replace("learner-promote", &how, &lease)
            .await
            .expect("taken");
        let name = format!("{}/Deployment/web", shop.namespace());
        for args in [&["accept", "open:/etc/new"][..], &["forget", "/etc/new"]] {
            let said = says(world, &shop, args);
            assert_eq!(said.code, 2, "{said:?}");
            assert!(
                said.err.contains("job-of-others is promoting there"),
                "{said:?}"
            );
        }
        let said = world.learner(&["demote", &name, "--cluster", "--reason", "x"]);
        assert_eq!(said.code, 2, "{said:?}");
        // Who only looks does not wait.
        assert_eq!(alerts(world, &shop).len(), 1);
        assert_eq!(
            posture(world, &shop, "web").await.resource_version(),
            before.resource_version()
        );
    });
}

#[test]
fn one_posture_that_cannot_be_read_holds_its_workload_alone() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["db", "web"]).await;
        shop.under_audit(&["db", "web"], &["db", "web"]).await;
        let web = posture(world, &shop, "web").await;
        let api: Api<WorkloadPosture> = Api::namespaced(world.admin(), shop.namespace());
        let mut candidates = web.status.clone().expect("a status").candidates;
        candidates[0].policy.push_str("# changed\n");
        let change = json!({"status": {"candidates": candidates}});
        let how = PatchParams::default();
        let changed = api
            .patch_status(&web.name_any(), &how, &Patch::Merge(&change))
            .await;
        let changed = changed.expect("changed");
        let said = shop.promote(&[]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains("web/web: held: what is kept of it cannot be read: "),
            "{said:?}"
        );
        assert!(said.out.contains(&web.name_any()), "{said:?}");
        assert!(
            said.out.contains("db/db: promoted: audit -> block"),
            "{said:?}"
        );
        let after = posture(world, &shop, "web").await;
        assert_eq!(after.resource_version(), changed.resource_version());
        assert_eq!(shop.policies().await, ["db-deployment-learned block"]);
        let said = says(world, &shop, &["alerts"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(said.err.contains("its alerts are not known"), "{said:?}");
        let said = says(world, &shop, &["accept", "/etc/none"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("delete it to begin anew"), "{said:?}");
        let name = format!("{}/Deployment/web", shop.namespace());
        let said = world.learner(&["demote", &name, "--cluster", "--reason", "x"]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("delete it to begin anew"), "{said:?}");
    });
}

#[test]
fn a_policy_of_the_job_of_which_nothing_is_kept_is_named() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let said = shop.promote(&[]);
        assert!(!said.err.contains("no WorkloadPosture"), "{said:?}");
        let name = posture(world, &shop, "web").await.name_any();
        let api: Api<WorkloadPosture> = Api::namespaced(world.admin(), shop.namespace());
        api.delete(&name, &DeleteParams::default()).await.expect("deleted");
        let said = shop.promote(&["--dry-run"]);
        let named = "web-deployment-learned: a job has applied it under block, and no WorkloadPosture says so";
        assert!(said.err.contains(named), "{said:?}");
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
    });
}

/// Each right that is taken away alone is missed, by name, and nothing is changed.
#[test]
fn each_right_of_people_that_is_not_given_is_named() {
    // What is limited is so everywhere: a server of its own.
    let Some(world) = bare() else { return };
    world.run(async |world| {
        let shop = Shop::ready_alone(world).await;
        assert_eq!(shop.promote(&[]).code, 0);
        let others = ["/etc/newer", "/etc/newest"];
        let others = others.map(|path| done(Op::Open(Access::Read), path, "/usr/bin/web"));
        shop.seen("web", "i:1", true, &[&[new()][..], &others].concat())
            .await;
        let leases: Api<Lease> = Api::namespaced(world.admin(), shop.namespace());
        let name = format!("{}/Deployment/web", shop.namespace());
        let commands: [&[&str]; 4] = [
            &["alerts", "-n", shop.namespace(), "--cluster"],
            &[
                "accept",
                "open:/etc/new",
                "-n",
                shop.namespace(),
                "--cluster",
            ],
            &["forget", "/etc/new", "-n", shop.namespace(), "--cluster"],
            &["demote", &name, "--cluster", "--reason", "x"],
        ];
        let look = [
            ("list", "workloadevidences.learner.dev"),
            ("list", "workloadpostures.learner.dev"),
        ];
        let all = [
            ("get", "leases.coordination.k8s.io"),
            ("update", "leases.coordination.k8s.io"),
            ("list", "kubearmorpolicies.security.kubearmor.com"),
            ("list", "kubearmorclusterpolicies.security.kubearmor.com"),
            ("patch", "workloadpostures.learner.dev"),
        ];
        for (verb, resource) in look.into_iter().chain(all) {
            allow_but(world, "learner-promote", Some((verb, resource))).await;
            let only_looks = look.contains(&(verb, resource));
            for command in &commands[usize::from(!only_looks)..] {
                let said = world.learner_as("limited", command, "");
                missed(&said, verb, resource);
                // One that could not be let go would be waited for.
                let mut lease = leases.get("learner-promote").await.expect("it is there");
                if let Some(spec) = &mut lease.spec {
                    spec.holder_identity = None;
                }
                let how = PostParams::default();
                leases
                    .replace("learner-promote", &how, &lease)
                    .await
                    .expect("let go");
            }
        }
        let status = "workloadpostures/status.learner.dev";
        allow_but(world, "learner-promote", Some(("patch", status))).await;
        for command in [commands[1], commands[3]] {
            let said = world.learner_as("limited", command, "");
            missed(&said, "patch", "workloadpostures.learner.dev/status");
        }
        assert_eq!(shop.status("web").await.posture, Some(PostureName::Block));
        // Of these what is decided is written down.
        let policies = "kubearmorpolicies.security.kubearmor.com";
        allow_but(world, "learner-promote", Some(("delete", policies))).await;
        let said = world.learner_as("limited", commands[3], "");
        missed(&said, "delete", policies);
        assert_eq!(shop.status("web").await.posture, Some(PostureName::Audit));
        for ((verb, resource), path) in [
            (("create", "events.events.k8s.io"), "open:/etc/newer"),
            (("get", "deployments.apps"), "open:/etc/newest"),
        ] {
            let before = shop.status("web").await.journal.len();
            allow_but(world, "learner-promote", Some((verb, resource))).await;
            let args = ["accept", path, "-n", shop.namespace(), "--cluster"];
            let said = world.learner_as("limited", &args, "");
            missed(&said, verb, resource);
            assert_eq!(shop.status("web").await.journal.len(), before + 1);
        }
        allow_but(world, "learner-promote", None).await;
        for command in &commands[1..3] {
            let said = world.learner_as("limited", command, "");
            assert_eq!(said.code, 0, "{said:?}");
        }
    });
}

fn missed(said: &Said, verb: &str, resource: &str) {
    assert_eq!(said.code, 2, "{verb} {resource}: {said:?}");
    assert!(
        said.err.contains(&format!("'{verb}'")) && said.err.contains(&format!("on '{resource}'")),
        "{verb} {resource}: {said:?}"
    );
}

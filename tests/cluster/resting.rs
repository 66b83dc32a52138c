//! Workloads at rest: what is not new of them is not read, and the verdicts are those of all that was told.

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::cluster::{PostureName, WorkloadEvidence};
use serde_json::json;

use crate::promoting::{Shop, THREE};
use crate::sharing::done;
use crate::world::{Connected, Said, world};

const NOTE: &str = "learner.dev/rest";

fn leases(world: &Connected, shop: &Shop<'_>) -> Api<Lease> {
    Api::namespaced(world.admin(), shop.namespace())
}

async fn note(world: &Connected, shop: &Shop<'_>) -> Option<String> {
    let lease = leases(world, shop).get("learner-promote").await;
    lease.expect("a lease").annotations().get(NOTE).cloned()
}

/// Puts something in its place; nothing takes it away.
async fn noted(world: &Connected, shop: &Shop<'_>, note: Option<&str>) {
    let patch = json!({"metadata": {"annotations": {NOTE: note}}});
    let how = PatchParams::default();
    let api = leases(world, shop);
    let patched = api
        .patch("learner-promote", &how, &Patch::Merge(&patch))
        .await;
    patched.expect("patched");
}

/// How many objects of how many a pass has read; nothing, if all.
fn read(said: &Said) -> Option<(usize, usize)> {
    let (_, line) = said.err.split_once("workloads are at rest, and ")?;
    let (read, rest) = line.split_once(" of ")?;
    let (of, _) = rest.split_once(" objects were read")?;
    Some((read.parse().ok()?, of.parse().ok()?))
}

fn refused(path: &str) -> Behavior {
    Behavior {
        result: Outcome::Failed("EACCES".to_owned()),
        ..done(Op::Open(Access::Read), path, "/usr/bin/web")
    }
}

/// `web` is at rest, and `db` and `queue` are under audit.
async fn at_rest(world: &Connected) -> Shop<'_> {
    let shop = Shop::new(world, THREE).await;
    shop.under_audit(THREE, &["web"]).await;
    let said = shop.promote(&["--canary", "0s"]);
    assert!(
        said.out.contains("web/web: promoted: audit -> block"),
        "{said:?}"
    );
    // It is known that all is done when that was seen.
    assert_eq!(note(world, &shop).await, None);
    let said = shop.promote(&["-v"]);
    assert!(said.out.contains("web/web: in block since"), "{said:?}");
    assert_eq!(read(&said), None, "{said:?}");
    assert!(note(world, &shop).await.is_some());
    shop
}

/// A pass by what is new says the same as one by all, and changes as little.
async fn says_the_same(world: &Connected, shop: &Shop<'_>, wanted: (usize, usize)) {
    let kept = note(world, shop).await;
    let said = shop.promote(&["-v"]);
    assert_eq!(read(&said), Some(wanted), "{said:?}");
    let status = shop.status("web").await;
    noted(world, shop, None).await;
    let all = shop.promote(&["-v"]);
    assert_eq!(read(&all), None, "{all:?}");
    assert_eq!((all.code, &all.out), (said.code, &said.out));
    assert_eq!(shop.status("web").await, status);
    noted(world, shop, kept.as_deref()).await;
}

#[test]
fn what_is_not_new_of_a_workload_at_rest_is_not_read_and_what_is_new_is_judged() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = at_rest(world).await;
        // Of three objects those of `db` and `queue`: that is more than half, so all.
        let said = shop.promote(&["-v"]);
        assert_eq!(read(&said), None, "{said:?}");
        // As in a namespace where more is at rest.
        for app in ["db", "queue"] {
            shop.seen(app, "i:1", true, &[]).await;
        }
        let said = shop.promote(&["--canary", "0s"]);
        assert!(
            said.out.contains("db/db: promoted: audit -> block"),
            "{said:?}"
        );
        shop.promote(&[]);
        says_the_same(world, &shop, (0, 3)).await;

        // More of the same is read, and known the next time.
        shop.seen("web", "i:1", true, &[]).await;
        says_the_same(world, &shop, (1, 3)).await;
        let said = shop.promote(&["-v"]);
        assert_eq!(read(&said), Some((1, 3)), "{said:?}");
        let said = shop.promote(&["-v"]);
        assert_eq!(read(&said), Some((0, 3)), "{said:?}");
        // Whoever asks for figures, or for some of the workloads, has all read.
        for asked in [
            &["--format", "json"][..],
            &["-l", "app=web"],
            &["--dry-run"],
        ] {
            let kept = note(world, &shop).await;
            let said = shop.promote(&[&["-v"], asked].concat());
            assert_eq!(read(&said), None, "{asked:?}: {said:?}");
            noted(world, &shop, kept.as_deref()).await;
        }

        // A refusal after the canary is an alert, and takes nothing back; with another criterion it does.
        shop.seen("web", "i:1", true, &[refused("/etc/shadow")])
            .await;
        let said = shop.promote(&["-v"]);
        assert!(said.out.contains("web/web: in block since"), "{said:?}");
        assert!(said.out.contains("; 1 alert since"), "{said:?}");
        assert_eq!(read(&said), Some((2, 3)), "{said:?}");
        // It is not at rest while there is one.
        let said = shop.promote(&["-v"]);
        assert!(said.out.contains("; 1 alert since"), "{said:?}");
        assert_eq!(read(&said), Some((1, 3)), "{said:?}");
        let said = shop.promote(&["--rollback", "always"]);
        assert!(
            said.out.contains("web/web: rolled back: block -> audit"),
            "{said:?}"
        );
        assert_eq!(shop.status("web").await.posture, Some(PostureName::Audit));
        assert_eq!(
            shop.policies().await,
            [
                "db-deployment-learned block",
                "queue-deployment-learned block"
            ]
        );
    });
}

#[test]
fn what_went_and_what_is_new_around_a_workload_at_rest_is_seen() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        for more in [&["--canary", "0s"][..], &[]] {
            shop.promote(more);
        }
        says_the_same(world, &shop, (0, 1)).await;
        let of_rest = note(world, &shop).await.expect("a note");

        // The policy is gone: it is put back, by all that was told.
        let policies = world.kubearmor("KubeArmorPolicy", Some(shop.namespace()));
        let how = DeleteParams::default();
        policies
            .delete("web-deployment-learned", &how)
            .await
            .expect("deleted");
        let said = shop.promote(&["-v"]);
        assert_eq!(read(&said), None, "{said:?}");
        assert_eq!(shop.policies().await, ["web-deployment-learned block"]);
        shop.promote(&[]);
        says_the_same(world, &shop, (0, 1)).await;

        // A new image.
        shop.seen("web", "i:2", true, &[]).await;
        let said = shop.promote(&["-v"]);
        assert!(
            said.out.contains("web/web: put to audit with a new image"),
            "{said:?}"
        );
        assert_eq!(shop.policies().await, [""; 0]);

        // What was noted when it stood under block says nothing of it now.
        noted(world, &shop, Some(&of_rest)).await;
        let said = shop.promote(&["-v"]);
        assert!(
            said.out.contains("web/web: held in audit") || said.out.contains("promoted"),
            "{said:?}"
        );
        assert_eq!(read(&said), None, "{said:?}");

        // All that was told of it is gone: it stays as it is, and is not said to be at rest.
        let api: Api<WorkloadEvidence> = Api::namespaced(world.admin(), shop.namespace());
        let all = ListParams::default();
        api.delete_collection(&how, &all).await.expect("deleted");
        noted(world, &shop, Some(&of_rest)).await;
        let said = shop.promote(&["-v"]);
        assert_eq!(read(&said), None, "{said:?}");
        assert!(!said.out.contains("in block since"), "{said:?}");
    });
}

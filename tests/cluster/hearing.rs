//! KubeArmor's own word, by its relay and by files, in the job's passes.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use learner::cluster::read;
use learner::observation::Loss;
use learner::profile::{HEARSAY, unheard};
use learner::shared::{Merged, RunFacts};
use serde_json::json;
use tokio::net::TcpStream;

use crate::agent::{made, until_told};
use crate::authority::Authority;
use crate::node::{Container, Driver, Node, alone};
use crate::pods::Made;

use crate::deploying::allow_but;
use crate::promoting::Shop;
use crate::server::{Manner, Server, Tale};
use crate::world::{Connected, Said, bare, world};

/// What KubeArmor tells of a Deployment that is seen at this image.
fn tale(shop: &Shop<'_>, image: &str) -> Tale {
    Tale {
        namespace: shop.namespace().to_owned(),
        image: image.to_owned(),
        at: jiff::Timestamp::now().to_string(),
        program: "/usr/bin/web",
        path: "/etc/shadow",
        tty: "",
        ..Tale::default()
    }
}

/// A pass that listens for a second and a half.
async fn heard(shop: &Shop<'_>, manners: &'static [Manner], tale: Tale, more: &[&str]) -> Said {
    let server = Server::telling(manners, tale).await;
    let address = server.address.to_string();
    let listening = ["--gRPC", &address, "--for", "1500ms"];
    let args = [&listening[..], more].concat();
    // The server answers on this thread.
    shop.promote_beside("admin", &args).await
}

#[test]
fn what_kubearmor_denies_is_an_alert_of_that_workload_and_of_no_other() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["db", "web"]).await;
        shop.under_audit(&["db", "web"], &["db", "web"]).await;
        let dry = heard(
            &shop,
            &[Manner::OnlyAlerts],
            tale(&shop, "i:1"),
            &["--dry-run"],
        )
        .await;
        assert!(
            dry.out.contains("web/web: held in audit: 1 alert since"),
            "{dry:?}"
        );
        assert!(
            dry.out.contains("db/db: would be promoted: audit -> block"),
            "{dry:?}"
        );
        assert!(!shop.tellers().await.contains("kubearmor:relay"));

        // By an owner of another kind and an image by its tag alone, too.
        let odd = Tale {
            owner: ("Pod", "web"),
            image: "i".to_owned(),
            ..tale(&shop, "")
        };
        let said = heard(&shop, &[Manner::OnlyAlerts], odd, &[]).await;
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out.contains("web/web: held in audit: 1 alert since"),
            "{said:?}"
        );
        assert!(
            said.out.contains("db/db: promoted: audit -> block"),
            "{said:?}"
        );
        assert!(shop.tellers().await.contains("kubearmor:relay"));

        // It is kept: the next pass need not hear it.
        let again = shop.promote(&[]);
        assert!(
            again.out.contains("web/web: held in audit: 1 alert since"),
            "{again:?}"
        );
        let policy = world.learner(&["recommend", "-n", shop.namespace(), "--cluster", "-o", "-"]);
        assert!(!policy.out.contains("/etc/shadow"), "{policy:?}");
    });
}

/// The authority as KubeArmor's operator keeps it.
fn kept(authority: &Authority) -> Secret {
    let data = [
        ("tls.crt", authority.pem()),
        ("tls.key", authority.key_pem()),
    ];
    let data = data.map(|(field, pem)| (field.to_owned(), ByteString(pem)));
    Secret {
        metadata: ObjectMeta {
            name: Some("kubearmor-ca".to_owned()),
            labels: Some([("kubearmor-app".to_owned(), "kubearmor-ca".to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(data.into()),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    }
}

#[test]
fn a_relay_by_tls_is_heard_by_the_authority_that_the_cluster_keeps() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let authority = Authority::new();
        let acceptor = authority.acceptor("127.0.0.1", authority.der());
        let accept = move |socket: TcpStream| {
            let acceptor = acceptor.clone();
            async move { acceptor.accept(socket).await.ok() }
        };
        let server = Server::over(&[Manner::OnlyAlerts], tale(&shop, "i:1"), accept).await;
        let address = server.address.to_string();
        let args = ["--gRPC", &address, "--for", "1500ms", "--secure"];
        let secure = async || shop.promote_beside("admin", &args).await;

        let said = secure().await;
        assert_eq!(said.code, 2, "{said:?}");
        let none = "no Secret in the cluster is labelled kubearmor-app=kubearmor-ca";
        assert!(said.err.contains(none), "{said:?}");
        let said = shop.promote_beside("limited", &args).await;
        assert_eq!(said.code, 2, "{said:?}");
        let right = "a Role or ClusterRole has to give the verb 'list' on 'secrets'";
        assert!(said.err.contains(right), "{said:?}");

        let secrets: Api<Secret> = Api::namespaced(world.admin(), shop.namespace());
        let how = PostParams::default();
        secrets.create(&how, &kept(&authority)).await.expect("kept");
        let said = secure().await;
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out.contains("web/web: held in audit: 1 alert since"),
            "{said:?}"
        );

        // Anybody may have labelled the other.
        let mut other = kept(&Authority::new());
        other.metadata.name = Some("another".to_owned());
        secrets.create(&how, &other).await.expect("kept");
        let said = secure().await;
        assert_eq!(said.code, 2, "{said:?}");
        let named = format!("{0}/another, {0}/kubearmor-ca", shop.namespace());
        assert!(said.err.contains(&named), "{said:?}");

        // The server is shared with other tests.
        for name in ["another", "kubearmor-ca"] {
            let gone = secrets.delete(name, &DeleteParams::default()).await;
            gone.expect("gone");
        }
    });
}

#[test]
fn a_denial_that_kubearmor_tells_of_takes_a_workload_back_in_its_canary() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let said = shop.promote(&[]);
        assert!(said.out.contains("promoted: audit -> block"), "{said:?}");
        let refused = Tale {
            end: ("Block", "Permission denied"),
            ..tale(&shop, "i:1")
        };
        let said = heard(&shop, &[Manner::OnlyAlerts], refused, &[]).await;
        assert!(
            said.out.contains("web/web: rolled back: block -> audit"),
            "{said:?}"
        );
        assert!(said.out.contains("/etc/shadow"), "{said:?}");
        assert_eq!(shop.policies().await, [""; 0]);
    });
}

#[test]
fn what_could_not_be_heard_does_not_count_for_this_pass_and_the_next() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        for (manners, why) in [
            (&[Manner::Throttled][..], "KubeArmor dropped alerts"),
            (
                &[Manner::Drops, Manner::OnlyAlerts],
                "KubeArmor's alerts could not be heard",
            ),
            (
                &[Manner::Malformed, Manner::OnlyAlerts],
                "KubeArmor's alerts could not be heard",
            ),
        ] {
            let shop = Shop::new(world, &["web"]).await;
            shop.under_audit(&["web"], &["web"]).await;
            let missed = format!("{why} from ");
            let window = ["--window", "1h"];
            let said = heard(&shop, manners, tale(&shop, "i:1"), &window).await;
            assert!(said.out.contains(&missed), "{manners:?}: {said:?}");
            let again = shop.promote(&window);
            assert!(again.out.contains(&missed), "{manners:?}: {again:?}");
        }
    });
}

#[test]
fn a_pass_listens_to_slow_and_endless_relays_as_long_as_it_was_told() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        for manners in [&[Manner::Slow][..], &[Manner::Endless]] {
            let shop = Shop::new(world, &["web"]).await;
            shop.under_audit(&["web"], &["web"]).await;
            let begun = std::time::Instant::now();
            let said = heard(&shop, manners, tale(&shop, "i:1"), &[]).await;
            assert!(
                said.out.contains("held in audit: 1 alert since"),
                "{manners:?}: {said:?}"
            );
            assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn while_visibility_is_off_the_window_does_not_count_then_or_later() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let annotate = async |value: Option<&str>| {
            let key = "kubearmor-visibility";
            world.annotate(shop.namespace(), key, value).await;
        };
        annotate(Some("network")).await;
        let window = ["--window", "1h"];
        let dry = shop.promote(&[&window[..], &["--dry-run"]].concat());
        assert!(
            dry.out
                .contains("KubeArmor did not tell of all programs and files"),
            "{dry:?}"
        );
        assert!(!shop.tellers().await.contains("kubearmor:relay"));
        let said = shop.promote(&window);
        assert!(
            said.out
                .contains("KubeArmor did not tell of all programs and files"),
            "{said:?}"
        );
        annotate(None).await;
        let said = shop.promote(&window);
        assert!(
            said.out
                .contains("KubeArmor's alerts could not be heard from "),
            "{said:?}"
        );
        assert!(!said.out.contains("did not tell of"), "{said:?}");
    });
}

#[test]
fn alerts_in_a_file_count_as_those_that_are_heard_and_telemetry_does_not() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let line = |kind: &str, more: serde_json::Value| {
            let mut line = json!({
                "UpdatedTime": jiff::Timestamp::now().to_string(), "NamespaceName": shop.namespace(),
                "Owner": {"Ref": "Deployment", "Name": "web"}, "PodName": "web-1", "Labels": "app=web",
                "ContainerID": "5d1f", "ContainerName": "web", "ContainerImage": "i:1", "Type": kind,
                "ProcessName": "/usr/bin/web", "Operation": "File", "Result": "Passed",
            });
            for (key, value) in more.as_object().expect("an object") {
                line[key] = value.clone();
            }
            format!("{line}\n")
        };
        let log = line(
            "ContainerLog",
            json!({"Resource": "/etc/logged", "Data": "syscall=SYS_OPEN flags=O_RDONLY"}),
        );
        let said = shop.promote_reading(&["--kubearmor", "-"], &log);
        assert!(said.err.contains("1 of telemetry are left out"), "{said:?}");
        assert!(!said.out.contains("alert"), "{said:?}");

        let shop = Shop::new(world, &["web"]).await;
        shop.under_audit(&["web"], &["web"]).await;
        let alert = line(
            "MatchedPolicy",
            json!({
                "NamespaceName": shop.namespace(), "Resource": "/etc/shadow", "Data": "lsm=FILE_OPEN",
                "PolicyName": "DefaultPosture", "Action": "Audit",
            }),
        );
        let said = shop.promote_reading(&["--kubearmor", "-"], &alert);
        assert!(said.out.contains("held in audit: 1 alert since"), "{said:?}");
        let again = shop.promote(&[]);
        assert!(again.out.contains("held in audit: 1 alert since"), "{again:?}");
    });
}

#[test]
fn what_cannot_be_kept_is_said_after_all_was_decided() {
    // What is limited is so everywhere: a server of its own.
    let Some(world) = bare() else { return };
    world.run(async |world| {
        let shop = Shop::ready_alone(world).await;
        for missing in ["patch", "create"] {
            let evidence = "workloadevidences.learner.dev";
            allow_but(world, "learner-promote", Some((missing, evidence))).await;
            let server = Server::telling(&[Manner::OnlyAlerts], tale(&shop, "i:1")).await;
            let address = server.address.to_string();
            let args = ["--gRPC", &address, "--for", "1500ms"];
            let said = shop.promote_beside("limited", &args).await;
            assert_eq!(said.code, 2, "{said:?}");
            assert!(
                said.out.contains("held in audit: 1 alert since"),
                "{said:?}"
            );
            assert!(
                said.err.contains(&format!("'{missing}'"))
                    && said.err.contains(&format!("on '{evidence}'")),
                "{missing}: {said:?}"
            );
        }
        allow_but(world, "learner-promote", None).await;
        let server = Server::telling(&[Manner::OnlyAlerts], tale(&shop, "i:1")).await;
        let address = server.address.to_string();
        let args = ["--gRPC", &address, "--for", "1500ms"];
        assert_eq!(shop.promote_beside("limited", &args).await.code, 1);
    });
}

/// The runs that the nodes tell of in a namespace.
async fn runs(world: &Connected, namespace: &str) -> Vec<(String, RunFacts)> {
    let told = read(&world.admin(), Some(namespace)).await.expect("read");
    let parts = told.joint.parts();
    parts.flat_map(|(_, _, part)| part.runs).collect()
}

#[test]
fn an_agent_tells_of_the_alerts_of_its_own_node_and_of_the_time_without_them() {
    let (Some(world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let node = Node::new(&world.server, "admin", "hears");
        let container = Container::new(Driver::Systemd);
        let web = Made::of_deployment(&node.name, "web", &container.id);
        made(world, &namespace, "web-5d4-1", web).await;
        // Nobody is there yet.
        let address = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            free.local_addr().expect("an address").to_string()
        };
        let agent = node.agent_with("", &format!("kubearmor: {{grpc: '{address}'}}\n"));
        let file = node.file("one");
        let script = format!("cat {} > /dev/null; exec sleep 1000", file.display());
        let mut child = container.run(&script);
        until_told(world, &namespace, &file, &agent).await;
        let is_gap = |(_, run): &(String, RunFacts)| {
            run.lost.contains_key(&Loss::from(unheard::INTERRUPTED))
        };
        while !runs(world, &namespace).await.iter().any(is_gap) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(
            agent
                .get("/health")
                .contains("KubeArmor's alerts are not heard")
        );

        // What is done there by the container, and by another of the same name on another node.
        let tale = Tale {
            namespace: namespace.clone(),
            container_id: container.id.clone(),
            at: jiff::Timestamp::now().to_string(),
            path: "/etc/audited",
            ..Tale::default()
        };
        let elsewhere = Tale {
            container_id: "ab".repeat(32),
            path: "/etc/elsewhere",
            ..tale.clone()
        };
        let refused = Tale {
            path: "/etc/refused",
            end: ("Block", "Permission denied"),
            ..tale.clone()
        };
        let tale = Tale {
            also: vec![elsewhere, refused],
            ..tale
        };
        let _server = Server::at(&address, &[Manner::OnlyAlerts], tale).await;
        let metric = |name: &str| agent.metric(&format!("learner_kubearmor_{name}"));
        until(|| metric("alerts_total").as_deref() == Some("3")).await;
        assert_eq!(metric("connected").as_deref(), Some("1"));
        let is_hearsay =
            |(_, run): &(String, RunFacts)| run.lost.contains_key(&Loss::from(HEARSAY));
        while !runs(world, &namespace).await.iter().any(is_hearsay) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let told = read(&world.admin(), Some(&namespace)).await.expect("read");
        let merged = Merged::of(&told.joint).expect("evidence");
        let showing = |path: &str| -> BTreeSet<&str> {
            let runs = merged.evidence().runs().iter();
            let showing = runs.filter(|(_, run)| {
                run.seen
                    .keys()
                    .any(|behavior| behavior.path.as_str() == Some(path))
            });
            showing
                .map(|(key, _)| key.run.rsplit('/').next().unwrap_or_default())
                .collect()
        };
        let hearsay = format!("kubearmor-{}", &container.id[..12]);
        assert_eq!(showing("/etc/audited"), [hearsay.as_str()].into());
        let own = showing(file.to_str().expect("text"));
        assert_eq!(own.len(), 1);
        assert_eq!(showing("/etc/refused"), own);
        assert_eq!(showing("/etc/elsewhere"), BTreeSet::new());
        // It teaches nothing.
        let policy = world.learner(&["recommend", "-n", &namespace, "--cluster", "-o", "-"]);
        assert!(
            policy.out.contains(file.to_str().expect("text")),
            "{policy:?}"
        );
        assert!(!policy.out.contains("/etc/audited"), "{policy:?}");
        child.kill().expect("killed");
        child.wait().expect("gone");
        assert!(agent.stop().success());
    });
}

/// Until it is so; the test's server goes on meanwhile.
async fn until(is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 300, "waited in vain");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

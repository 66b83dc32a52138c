use kube::ResourceExt as _;
use learner::behavior::{Access, Op};
use learner::shared::Part;
use serde_json::json;

use crate::sharing::{done, many_runs, part, paths, revision, write};
use crate::world::{Connected, bare, world};

/// Three whole runs that read a file, on one node.
fn told(namespace: &str) -> Part {
    many_runs(&revision(namespace), &["a", "b", "c"], &[])
}

/// What is recommended of it, in a file.
async fn recommended(world: &Connected, namespace: &str) -> String {
    write(
        world.admin(),
        "node-1",
        &revision(namespace),
        &told(namespace),
    )
    .await;
    let said = world.learner(&["recommend", "-n", namespace, "--cluster", "-o", "-"]);
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

#[test]
fn what_is_applied_is_learners_own_and_says_by_what_it_was_made() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let policy = recommended(world, &namespace).await;
        let api = world.kubearmor("KubeArmorPolicy", Some(&namespace));
        let apply = |args: &[&str]| {
            let said = world.learner_as("admin", &[&["apply", "-"], args].concat(), &policy);
            assert_eq!(said.code, 0, "{said:?}");
            said.out
        };
        let said = apply(&["--dry-run=server"]);
        assert!(said.contains("would be applied: candidate "), "{said}");
        assert_eq!(
            api.list(&Default::default())
                .await
                .expect("a list")
                .items
                .len(),
            0
        );
        let said = apply(&[]);
        assert!(
            said.starts_with(&format!(
                "{namespace}/web-deployment-learned: applied: candidate "
            )) && said.ends_with("3 runs on 1 node, 3 of them whole\n"),
            "{said}"
        );
        let object = api
            .get("web-deployment-learned")
            .await
            .expect("it is there");
        assert_eq!(object.labels()["app.kubernetes.io/managed-by"], "learner");
        let annotations = object.annotations();
        assert!(
            said.contains(&annotations["learner.dev/candidate"][..12]),
            "{annotations:?}"
        );
        assert_eq!(
            annotations["learner.dev/evidence"],
            "3 runs on 1 node, 3 of them whole"
        );
        let managers: Vec<_> = object
            .managed_fields()
            .iter()
            .map(|of| of.manager.clone())
            .collect();
        assert_eq!(managers, [Some("learner".to_owned())]);
        assert_eq!(object.data["spec"]["action"], "Allow");
        apply(&[]);
        let again = api
            .get("web-deployment-learned")
            .await
            .expect("it is there");
        assert_eq!(again.resource_version(), object.resource_version());
    });
}

#[test]
fn what_another_has_set_is_not_overwritten_and_nothing_is_half_done() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let policy = recommended(world, &namespace).await;
        let api = world.kubearmor("KubeArmorPolicy", Some(&namespace));
        let theirs = json!({
            "apiVersion": "security.kubearmor.com/v1", "kind": "KubeArmorPolicy",
            "metadata": {"name": "web-deployment-learned", "namespace": namespace},
            "spec": {"action": "Audit", "selector": {"matchLabels": {"app": "web"}}},
        });
        world.foreign(&api, "some-person", &theirs).await;
        // The other one is in order, and comes first.
        let two = format!(
            "{}---\n{policy}",
            policy.replace("web-deployment", "a-deployment")
        );
        let said = world.learner_as("admin", &["apply", "-"], &two);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(
            said.err.contains("some-person has set") && said.err.contains(".spec.action"),
            "{said:?}"
        );
        let all = api.list(&Default::default()).await.expect("a list").items;
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].data["spec"]["action"], "Audit");
    });
}

#[test]
fn a_rule_that_denies_under_audit_is_not_applied_before_the_evidence_shows_that_it_is_safe() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let policy = format!(
            "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata:\n  name: p\n  \
             namespace: {namespace}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  file:\n    \
             matchDirectories: [{{dir: /etc/, readOnly: true}}]\n  action: Allow\n"
        );
        let apply = |code: i32, has: &str| {
            let said = world.learner_as("admin", &["apply", "-"], &policy);
            assert_eq!(said.code, code, "{said:?}");
            assert!(said.out.contains(has), "{has}: {said:?}");
        };
        apply(1, "nothing was seen of what it selects");
        let one = part(&revision, "a", &paths(&["/etc/hosts"]));
        write(world.admin(), "node-1", &revision, &one).await;
        apply(1, "only 1 of 3 whole runs");
        let writes = done(Op::Open(Access::Write), "/etc/mtab", "/usr/bin/web");
        let three = many_runs(&revision, &["a", "b", "c"], &[writes]);
        write(world.admin(), "node-1", &revision, &three).await;
        apply(1, "under audit too it denies 1 operations");
        world
            .annotate(&namespace, "kubearmor-file-posture", Some("block"))
            .await;
        apply(0, &format!(", and enforced at once: {namespace} is under block\n"));
        world.annotate(&namespace, "kubearmor-file-posture", None).await;
        let three = many_runs(&revision, &["a", "b", "c"], &[]);
        write(world.admin(), "node-1", &revision, &three).await;
        apply(0, "/p: applied");
    });
}

#[test]
fn each_refusal_of_an_apply_is_a_sentence() {
    // What is limited is so everywhere: a server of its own.
    let Some(world) = bare() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let policy = format!(
            "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata:\n  name: p\n  \
             namespace: {namespace}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  file:\n    \
             matchDirectories: [{{dir: /etc/}}]\n  action: Allow\n"
        );
        let refused = |user: &str| {
            let said = world.learner_as(user, &["-q", "apply", "-"], &policy);
            assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
            assert_eq!(said.err.lines().count(), 1, "{said:?}");
            said.err
        };
        let said = refused("admin");
        assert!(said.contains("install KubeArmor, or apply its definitions"), "{said}");
        world.define().await;
        world.define_kubearmor().await;
        const EVIDENCE: &str = "workloadevidences.learner.dev";
        const POLICIES: &str = "kubearmorpolicies.security.kubearmor.com";
        let evidence: (&[&str], &str) = (&["list"], EVIDENCE);
        let namespaces: (&[&str], &str) = (&["get"], "namespaces");
        for (given, missed) in [
            (vec![(&[][..], EVIDENCE)], "the verb 'list' on 'workloadevidences.learner.dev'"),
            (vec![evidence, (&[][..], "namespaces")], "the verb 'get' on 'namespaces'"),
            (
                vec![evidence, namespaces, (&["create"][..], POLICIES)],
                "the verbs 'patch' and 'create' on 'kubearmorpolicies.security.kubearmor.com'",
            ),
            (
                vec![evidence, namespaces, (&["patch"][..], POLICIES)],
                "the verbs 'patch' and 'create' on 'kubearmorpolicies.security.kubearmor.com'",
            ),
        ] {
            world.allow(&given).await;
            let said = refused("limited");
            assert!(said.contains(missed), "{said}");
        }
        let whole: (&[&str], &str) = (&["patch", "create"], POLICIES);
        world.allow(&[evidence, namespaces, whole]).await;
        let said = world.learner_as("limited", &["apply", "-"], &policy);
        assert_eq!(said.code, 0, "{said:?}");
        world.quota_that_is_full(&namespace, POLICIES).await;
        let another = policy.replace("name: p", "name: q");
        let said = world.learner_as("admin", &["-q", "apply", "-"], &another);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(
            said.err.contains("/q: refused: ") && said.err.contains("exceeded quota"),
            "{said:?}"
        );
        world.webhook_that_is_away().await;
        let said = refused("admin");
        assert!(said.contains("failed calling webhook"), "{said}");
    });
}

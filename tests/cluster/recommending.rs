use crate::sharing::{part, paths, policy, revision, write};
use crate::world::world;

#[test]
fn the_command_line_makes_of_what_two_nodes_have_told_the_policy_of_both() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let one = part(&revision, "a", &paths(&["/etc/web.conf"]));
        let two = part(&revision, "b", &paths(&["/etc/hosts"]));
        write(world.admin(), "node-1", &revision, &one).await;
        write(world.admin(), "node-2", &revision, &two).await;
        let recommend = ["recommend", "-n", &namespace, "--cluster", "-o", "-"];
        let said = world.learner(&[&recommend[..], &["-l", "app=web"]].concat());
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.out, policy(world, &namespace).await);
        for has in ["/etc/web.conf", "/etc/hosts"] {
            assert!(said.out.contains(has), "{has}: {said:?}");
        }
        let said = world.learner(&[&recommend[..], &["-l", "app=other"]].concat());
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(
            said.err
                .contains("nothing that was recorded in the cluster has this namespace"),
            "{said:?}"
        );
    });
}

#[test]
fn who_may_not_read_the_evidence_or_has_no_cluster_is_told_so() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let recommend = ["recommend", "-n", "default", "--cluster", "-o", "-"];
        let said = world.learner_as("limited", &recommend, "");
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(
            said.err
                .contains("the verb 'list' on 'workloadevidences.learner.dev'"),
            "{said:?}"
        );
        let said = world.learner_as("nobody", &recommend, "");
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("set KUBECONFIG"), "{said:?}");
    });
}

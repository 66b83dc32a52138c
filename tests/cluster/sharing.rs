use std::collections::BTreeMap;

use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::cluster::{MAX_OBJECT, WorkloadEvidence, Writer, Written, read};
use learner::observation::Moment;
use learner::path::AbsPath;
use learner::policy::to_yaml;
use learner::posture::Revision;
use learner::profile::{RunProfile, Sighting};
use learner::recommend::{Criteria, recommend_told};
use learner::shared::{Merged, Part};
use learner::workload::{RunKey, Workload};

use crate::world::{Connected, world};

const AT: i64 = 1_700_000_000_000_000;

pub(crate) fn revision(namespace: &str) -> Revision {
    Revision {
        workload: Workload {
            namespace: namespace.to_owned(),
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
            container: "web".to_owned(),
        },
        image: "registry/web:1@sha256:00".to_owned(),
    }
}

pub(crate) fn done(op: Op, path: &str, source: &str) -> Behavior {
    Behavior {
        op,
        path: AbsPath::try_from(path).expect("absolute"),
        source: AbsPath::try_from(source).ok(),
        uid: Some(0),
        owner: Some(true),
        upper: Some(false),
        tty: Some(false),
        result: Outcome::Ok,
    }
}

/// What a node has seen: one whole run that read these.
pub(crate) fn part(revision: &Revision, run: &str, reads: &[String]) -> Part {
    let reads = reads
        .iter()
        .map(|path| done(Op::Open(Access::Read), path, "/usr/bin/web"));
    let (key, profile) = whole(revision, run, Moment(AT), reads);
    Part::of([(&key, &profile)])
}

/// What a node has seen: whole runs that read a file and did these, one after another.
pub(crate) fn many_runs(revision: &Revision, runs: &[&str], more: &[Behavior]) -> Part {
    let read = done(Op::Open(Access::Read), "/etc/web.conf", "/usr/bin/web");
    let began = (0..).map(|number| Moment(AT + number * 10_000_000));
    let runs = runs.iter().zip(began).map(|(run, at)| {
        let done = more.iter().chain([&read]).cloned();
        whole(revision, run, at, done)
    });
    Part::of(&runs.collect::<BTreeMap<_, _>>())
}

/// A run that began then, was watched whole, and did these.
pub(crate) fn whole(
    revision: &Revision,
    run: &str,
    began: Moment,
    done_then: impl IntoIterator<Item = Behavior>,
) -> (RunKey, RunProfile) {
    let mut profile = RunProfile {
        labels: [("app".to_owned(), "web".to_owned())].into(),
        start: Some(began),
        stop: Some(Moment(began.0 + 1_000_000)),
        ..RunProfile::default()
    };
    let exec = done(Op::Exec, "/usr/bin/web", "/usr/bin/containerd-shim");
    for (behavior, at) in [exec].into_iter().chain(done_then).zip(began.0..) {
        let seen = Sighting {
            count: 1,
            first: Moment(at),
            last: Moment(at),
        };
        profile.seen.insert(behavior, seen);
    }
    let key = RunKey {
        workload: revision.workload.clone(),
        image: revision.image.clone(),
        run: run.to_owned(),
    };
    (key, profile)
}

pub(crate) fn paths(all: &[&str]) -> Vec<String> {
    all.iter().map(|path| (*path).to_owned()).collect()
}

pub(crate) async fn write(client: Client, node: &str, revision: &Revision, part: &Part) -> Written {
    let writer = Writer::new(client, node);
    let written = writer.write(revision, Moment(AT), part).await;
    written.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) async fn policy(world: &Connected, namespace: &str) -> String {
    let read = read(&world.admin(), Some(namespace)).await;
    let read = read.unwrap_or_else(|error| panic!("{error}"));
    assert!(
        read.refused.is_empty() && read.missing.is_empty(),
        "{read:?}"
    );
    let merged = Merged::of(&read.joint).expect("acts");
    let workload = revision(namespace).workload;
    let made = recommend_told(&workload, &merged, &Criteria::default()).expect("a policy");
    to_yaml(&made.policy)
}

#[test]
fn two_nodes_make_one_policy_whichever_came_first() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let (first, second) = (world.namespace().await, world.namespace().await);
        let one = |namespace: &str| {
            part(
                &revision(namespace),
                "a",
                &paths(&["/etc/web.conf", "/srv/q/20250101T101010"]),
            )
        };
        let two = |namespace: &str| {
            part(
                &revision(namespace),
                "b",
                &paths(&["/etc/hosts", "/srv/q/20250102T101010"]),
            )
        };
        write(world.admin(), "node-1", &revision(&first), &one(&first)).await;
        write(world.admin(), "node-2", &revision(&first), &two(&first)).await;
        write(world.admin(), "node-2", &revision(&second), &two(&second)).await;
        write(world.admin(), "node-1", &revision(&second), &one(&second)).await;
        let found = policy(world, &first).await;
        assert_eq!(found, policy(world, &second).await.replace(&second, &first));
        for has in ["/etc/web.conf", "/etc/hosts", "dir: /srv/q/"] {
            assert!(found.contains(has), "{has}: {found}");
        }
        assert!(!found.contains("T1010"), "{found}");
    });
}

#[test]
fn what_is_too_large_is_split_and_what_is_left_of_it_is_taken_away() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let long = "long-".repeat(20);
        let many: Vec<String> = (0..3_000).map(|n| format!("/srv/{long}{n}x")).collect();
        let whole = part(&revision, "a", &many);
        let written = write(world.admin(), "node-1", &revision, &whole).await;
        assert!(written.applied > 1 && written.deleted == 0, "{written:?}");

        let api: Api<WorkloadEvidence> = Api::namespaced(world.admin(), &namespace);
        let objects = api.list(&ListParams::default()).await.expect("a list");
        for object in &objects {
            let bytes = serde_json::to_vec(object).expect("JSON").len();
            // With what the server itself adds.
            assert!(bytes <= MAX_OBJECT, "{bytes}");
        }
        let found = read(&world.admin(), Some(&namespace)).await.expect("read");
        let parts: Vec<Part> = found.joint.parts().map(|(_, _, part)| part).collect();
        assert_eq!(parts, [whole]);

        // A piece that somebody deletes is missed.
        let name = objects.items[0].name_any();
        api.delete(&name, &Default::default())
            .await
            .expect("deleted");
        let found = read(&world.admin(), Some(&namespace)).await.expect("read");
        assert_eq!(found.missing.values().copied().collect::<Vec<_>>(), [1]);
        let (_, _, part_left) = found.joint.parts().next().expect("a part");
        assert!(part_left.runs.values().all(|run| !run.lost.is_empty()));

        let small = part(&revision, "a", &many[..10]);
        let now = write(world.admin(), "node-1", &revision, &small).await;
        assert_eq!(now.applied, 1);
        // The first piece is there again; of the others one is gone already, if it was not the first.
        let gone = usize::from(objects.items[0].spec.piece != 0);
        assert_eq!(now.deleted, written.applied - 1 - gone);
        let found = read(&world.admin(), Some(&namespace)).await.expect("read");
        let parts: Vec<Part> = found.joint.parts().map(|(_, _, part)| part).collect();
        assert_eq!(parts, [small]);
    });
}

#[test]
fn nodes_that_write_at_once_do_not_hinder_one_another_and_the_same_again_changes_nothing() {
    let Some(world) = world() else { return };
    world.run(async |world| {
        let namespace = world.namespace().await;
        let revision = revision(&namespace);
        let one = part(&revision, "a", &paths(&["/etc/one"]));
        let two = part(&revision, "b", &paths(&["/etc/two"]));
        let api: Api<WorkloadEvidence> = Api::namespaced(world.admin(), &namespace);
        let versions = async || {
            let all = api.list(&ListParams::default()).await.expect("a list");
            let of = |object: WorkloadEvidence| (object.name_any(), object.resource_version());
            all.into_iter().map(of).collect::<Vec<_>>()
        };
        tokio::join!(
            write(world.admin(), "node-1", &revision, &one),
            write(world.admin(), "node-2", &revision, &two),
        );
        let before = versions().await;
        assert_eq!(before.len(), 2);
        write(world.admin(), "node-1", &revision, &one).await;
        assert_eq!(versions().await, before);
    });
}

use super::*;
use crate::candidate::Candidate;
use crate::generalize::Dialect;
use crate::posture::{Freeze, Slice, Standing};

const PODS: [&str; 3] = ["uid-1", "uid-2", "uid-3"];

fn revision(image: &str) -> Revision {
    Revision {
        workload: "shop/Deployment/web/web".parse().expect("a workload"),
        image: image.to_owned(),
    }
}

/// Under block since 100, with a canary until 200 that holds one pod of three.
fn ledger(enforcer: Dialect) -> (Ledger, Slice) {
    let candidate = Candidate::reads_etc(enforcer);
    let slice = Slice::of("1".parse().expect("a share"), PODS);
    let standing = Standing::Block {
        since: Moment(100),
        freeze: Freeze {
            candidate: candidate.digest(),
            judged_from: None,
            window_from: Moment(0),
            blocked: Some(Moment(100)),
        },
        canary_until: Moment(200),
        slice: Some(slice),
    };
    let mut ledger = Ledger::default();
    ledger
        .follow(revision("web:1@sha256:00"), standing, Some(candidate))
        .expect("noted");
    (ledger, slice)
}

fn place(id: u64, pod: Option<&str>) -> Place {
    let group = GroupId { id, level: None };
    Place {
        group,
        pod: pod.map(Arc::from),
    }
}

/// A run of the image in each pod, one of another image, and one in a container of no pod.
fn running() -> BTreeMap<RunKey, Place> {
    let run = |image: &str, name: &str| RunKey {
        workload: revision(image).workload,
        image: image.to_owned(),
        run: name.to_owned(),
    };
    let mut running = BTreeMap::new();
    for (id, pod) in (1..).zip(PODS) {
        running.insert(run("web:1@sha256:00", pod), place(id, Some(pod)));
    }
    // The same reference, and another digest.
    running.insert(run("web:1@sha256:11", "other"), place(8, Some(PODS[0])));
    running.insert(run("web:1@sha256:00", "alone"), place(9, None));
    running
}

fn held(ledger: &Ledger, now: i64) -> Vec<u64> {
    let wanted = wanted(ledger, &running(), &BTreeMap::new(), Moment(now));
    wanted.into_keys().collect()
}

#[test]
fn while_a_canary_lasts_the_chosen_pods_are_held_and_then_all_are() {
    let (ledger, slice) = ledger(Dialect::Learner);
    let chosen = (1..).zip(PODS).find(|(_, pod)| slice.has(pod));
    let (chosen, _) = chosen.expect("one");
    assert_eq!(held(&ledger, 100), [chosen, 9]);
    assert_eq!(held(&ledger, 199), [chosen, 9]);
    assert_eq!(ledger.next_whole(Moment(199)), Some(Moment(200)));
    assert_eq!(held(&ledger, 200), [1, 2, 3, 9]);
    assert_eq!(ledger.next_whole(Moment(200)), None);
}

#[test]
fn what_kubearmor_is_to_enforce_is_let_be() {
    let (ledger, _) = ledger(Dialect::Bpf);
    assert_eq!(held(&ledger, 500), [0; 0]);
}

#[test]
fn a_container_that_is_awaited_is_chosen_by_its_pod_too() {
    let (ledger, slice) = ledger(Dialect::Learner);
    let awaited: BTreeMap<u64, (Place, Revision)> = (1..)
        .zip(PODS)
        .map(|(id, pod)| (id, (place(id, Some(pod)), revision("web:1@sha256:00"))))
        .collect();
    let wanted = wanted(&ledger, &BTreeMap::new(), &awaited, Moment(150));
    let expected: Vec<u64> = (1..)
        .zip(PODS)
        .filter(|(_, pod)| slice.has(pod))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(wanted.into_keys().collect::<Vec<_>>(), expected);
}

use std::collections::BTreeSet;

use super::*;
use crate::candidate::Candidate;
use crate::cluster::standings::{Kept as Keeps, name, status};
use crate::generalize::Dialect;
use crate::observation::Moment;
use crate::posture::{Freeze, Revision, Standing};

fn revision(app: &str) -> Revision {
    Revision {
        workload: format!("shop/Deployment/{app}/main")
            .parse()
            .expect("a workload"),
        image: "web:1@sha256:00".to_owned(),
    }
}

/// As a promotion job keeps it, with the app under block.
fn object(app: &str, enforcer: Dialect) -> WorkloadPosture {
    let candidate = Candidate::reads_etc(enforcer);
    let at = Moment(1_700_000_000_000_000);
    let standing = Standing::Block {
        since: at,
        freeze: Freeze {
            candidate: candidate.digest(),
            judged_from: Some(at),
            window_from: at,
            blocked: Some(at),
        },
        canary_until: at,
        slice: None,
    };
    let revision = revision(app);
    let mut ledger = Ledger::default();
    let noted = ledger.follow(revision.clone(), standing, Some(candidate));
    noted.expect("noted");
    let kept = Keeps {
        revision: &revision,
        ledger: &ledger,
        runs: 3,
        held: BTreeSet::new(),
        canary: None,
        entry: None,
    };
    let status = status(None, &kept);
    let object = serde_json::json!({
        "apiVersion": "learner.dev/v1alpha1", "kind": "WorkloadPosture",
        "metadata": {"name": name(&revision.workload), "namespace": "shop", "resourceVersion": "7"},
        "spec": {"workload": {"kind": "Deployment", "name": app, "container": "main"}},
        "status": status,
    });
    serde_json::from_value(object).expect("an object")
}

/// The apps that Learner's own programs are to hold.
fn held(decided: &Decided) -> Vec<String> {
    let ledger = decided.ledger();
    let all = ledger.iter().map(|(revision, _)| revision);
    let held = all.filter(|of| ledger.to_enforce(of).is_some());
    held.map(|of| of.workload.name.clone()).collect()
}

fn wanted(namespaces: &[&str], is_whole: bool) -> Wanted {
    Wanted {
        namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
        is_whole,
    }
}

fn open(dir: &tempfile::TempDir, why: Option<&str>) -> Decided {
    Decided::open("n", &dir.path().join("store"), why.map(str::to_owned))
}

#[test]
fn what_was_known_last_goes_on_over_a_restart_until_the_server_tells() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut decided = open(&dir, None);
    decided.is_there(None);
    decided.wanted(wanted(&["shop"], true));
    assert!(!decided.is_whole());
    let all = vec![
        object("web", Dialect::Learner),
        object("db", Dialect::Learner),
    ];
    decided.told("shop", Decision::All(all));
    assert!(decided.is_whole());
    assert_eq!(held(&decided), ["db", "web"]);
    decided.keep().expect("kept");

    // The next agent, while nobody answers.
    let mut decided = open(&dir, None);
    assert_eq!(held(&decided), ["db", "web"]);
    assert!(!decided.is_whole());
    let by = decided.enforcement().expect("it is known").by;
    assert_eq!(by, EnforcedBy::Learner);
    // Some pods are known, and not all: what is not among them may be of one of the others.
    decided.wanted(wanted(&[], false));
    assert_eq!(held(&decided), ["db", "web"]);
    decided.wanted(wanted(&["shop"], true));
    decided.is_there(None);
    assert!(!decided.is_whole());
    decided.told("shop", Decision::All(vec![object("web", Dialect::Learner)]));
    assert!(decided.is_whole());
    assert_eq!(held(&decided), ["web"]);
    decided.told("shop", Decision::Gone(name_of("web")));
    assert_eq!(held(&decided), [""; 0]);

    // Of another node, on a disk that was copied.
    decided.keep().expect("kept");
    let other = Decided::open("other", &dir.path().join("store"), None);
    assert!(other.enforcement().is_none());
}

fn name_of(app: &str) -> String {
    name(&revision(app).workload)
}

#[test]
fn where_kubearmor_is_there_or_it_is_not_known_nothing_is_held() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut decided = open(&dir, Some("no BPF LSM"));
    decided.wanted(wanted(&["shop"], true));
    decided.told("shop", Decision::All(vec![object("web", Dialect::Learner)]));
    assert_eq!((held(&decided), decided.enforcement()), (Vec::new(), None));
    assert!(!decided.is_whole());
    decided.is_there(Some("bpf".to_owned()));
    let said = |decided: &Decided| decided.enforcement().expect("it is known").to_string();
    assert_eq!(
        said(&decided),
        "KubeArmor enforces, and Learner's own programs hold nothing of the cluster: the node is labelled \
         kubearmor.io/enforcer: bpf"
    );
    assert_eq!(held(&decided), [""; 0]);
    assert!(decided.is_whole());
    // It is taken away.
    decided.is_there(None);
    assert_eq!(held(&decided), ["web"]);
    assert_eq!(said(&decided), "nobody enforces: no BPF LSM");
}

#[test]
fn candidates_for_kubearmor_are_not_ours_to_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut decided = open(&dir, None);
    decided.is_there(None);
    decided.told("shop", Decision::All(vec![object("web", Dialect::Bpf)]));
    assert_eq!(held(&decided), [""; 0]);
}

#[test]
fn what_cannot_be_read_changes_nothing_and_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut decided = open(&dir, None);
    decided.is_there(None);
    decided.told("shop", Decision::All(vec![object("web", Dialect::Learner)]));
    let mut bad = object("web", Dialect::Learner);
    let status = bad.status.as_mut().expect("a status");
    status.candidates[0].policy.push_str("#\n");
    decided.told("shop", Decision::One(Box::new(bad.clone())));
    assert_eq!(held(&decided), ["web"]);
    let unread = decided.unread("shop").expect("one").to_string();
    let name = format!("WorkloadPosture shop/{}: ", name_of("web"));
    assert!(unread.starts_with(&name), "{unread}");
    let good = object("web", Dialect::Learner);
    decided.told("shop", Decision::One(Box::new(good)));
    assert!(decided.unread("shop").is_none());
    // What a person has made by a name of their own decides nothing.
    let mut theirs = object("db", Dialect::Learner);
    theirs.metadata.name = Some("mine".to_owned());
    decided.told("shop", Decision::One(Box::new(theirs)));
    assert_eq!(held(&decided), ["web"]);
}

#[test]
fn the_file_is_written_only_where_what_is_to_be_held_is_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut decided = open(&dir, None);
    decided.told("shop", Decision::All(vec![object("web", Dialect::Learner)]));
    decided.keep().expect("kept");
    std::fs::remove_file(decided.path()).expect("removed");
    let mut later = object("web", Dialect::Learner);
    later.metadata.resource_version = Some("8".to_owned());
    let status = later.status.as_mut().expect("a status");
    status.runs = Some(9);
    decided.told("shop", Decision::One(Box::new(later)));
    decided.keep().expect("kept");
    assert!(!decided.path().exists());
    decided.told(
        "shop",
        Decision::One(Box::new(object("db", Dialect::Learner))),
    );
    decided.keep().expect("kept");
    assert!(decided.path().exists());
}

#[test]
fn what_was_tried_in_vain_is_not_told_to_be_enforced() {
    let learner = Enforcement {
        by: EnforcedBy::Learner,
        why: None,
    };
    let failed = || Some("no bpf file system".to_owned());
    assert_eq!(in_fact(None, failed()), None);
    assert_eq!(in_fact(Some(&learner), None), Some(learner.clone()));
    let told = in_fact(Some(&learner), failed());
    assert_eq!(told, Some(Enforcement::nobody("no bpf file system")));
    let kubearmor = Enforcement {
        by: EnforcedBy::Kubearmor,
        why: None,
    };
    assert_eq!(in_fact(Some(&kubearmor), failed()), Some(kubearmor));
}

#[test]
fn the_store_counts_only_where_the_job_has_decided_nothing() {
    let stored = |app: &str| ledger_of(&object(app, Dialect::Learner)).expect("a ledger");
    let mut store = stored("host");
    store.absorb(&stored("web"));
    let of_job = ledger_of(&object("web", Dialect::Bpf)).expect("a ledger");
    let both = store.overruled_by(&of_job);
    assert!(both.to_enforce(&revision("host")).is_some());
    // The job has it enforced by KubeArmor.
    assert!(store.to_enforce(&revision("web")).is_some());
    assert!(both.to_enforce(&revision("web")).is_none());
    assert_eq!(both.iter().count(), 2);
}

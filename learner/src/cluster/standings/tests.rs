use super::*;
use crate::generalize::{Dialect, Tightness};
use crate::mention::Mention;
use crate::observation::Moment;
use crate::policy::from_yaml;

fn workload() -> Workload {
    "shop/Deployment/web".parse().expect("a workload")
}

fn revision(image: &str) -> Revision {
    Revision {
        workload: workload(),
        image: image.to_owned(),
    }
}

fn candidate(dir: &str) -> Candidate {
    let text = format!(
        "kind: KubeArmorPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  file: {{matchDirectories: \
         [{{dir: {dir}}}]}}\n  action: Allow\n"
    );
    let policy = from_yaml(&text).expect("a policy").remove(0);
    let include = vec![Mention::parse(b"exec:/usr/bin/pg_isready").expect("a mention")];
    let frozen = Candidate::freeze(
        &policy,
        Dialect::Bpf,
        Tightness::Durable,
        include,
        BTreeSet::new(),
    );
    frozen.expect("a candidate")
}

/// Seven images, one after another, each with a candidate of its own but the first.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for number in 0..7 {
        let since = Moment(1_700_000_000_000_001 + number);
        let candidate = candidate(&format!("/srv/{number}/"));
        let freeze = Freeze {
            candidate: candidate.digest(),
            judged_from: (number != 3).then_some(since),
            window_from: Moment(since.0 + 7),
            blocked: (number == 6).then_some(since),
        };
        let standing = match number {
            0 => Standing::Learning { since },
            6 => Standing::Block {
                since,
                freeze,
                canary_until: Moment(since.0 + 9),
                slice: None,
            },
            _ => Standing::Audit { since, freeze },
        };
        let image = format!("web:{number}");
        ledger
            .follow(revision(&image), standing, Some(candidate))
            .expect("noted");
    }
    ledger
}

fn kept(ledger: &Ledger, image: &str) -> WorkloadPostureStatus {
    let kept = Kept {
        revision: &revision(image),
        ledger,
        runs: 3,
        held: BTreeSet::from(["idle"]),
        canary: None,
        entry: None,
    };
    status(None, &kept)
}

fn again(status: &WorkloadPostureStatus) -> Result<Ledger, String> {
    // As the API server gives it back.
    let text = serde_json::to_string(status).expect("JSON");
    let status = serde_json::from_str(&text).expect("a status");
    let mut ledger = Ledger::default();
    note(&mut ledger, &workload(), &status).map(|()| ledger)
}

#[test]
fn what_is_kept_is_read_again_and_the_last_images_are_kept() {
    let ledger = ledger();
    for (latest, images) in [
        ("web:6", ["web:2", "web:3", "web:4", "web:5", "web:6"]),
        // An old image that runs again.
        ("web:0", ["web:0", "web:3", "web:4", "web:5", "web:6"]),
    ] {
        let status = kept(&ledger, latest);
        assert_eq!(status.held, ["idle"]);
        let found = again(&status).expect("a ledger");
        let all: Vec<_> = found
            .iter()
            .map(|(revision, _)| revision.image.as_str())
            .collect();
        assert_eq!(all, images);
        for (revision, standing) in found.iter() {
            assert_eq!(Some(standing), ledger.standing(revision));
            let paper = |ledger: &Ledger| {
                let frozen = ledger.frozen(revision)?;
                Some(frozen.candidate().paper().clone())
            };
            assert_eq!(paper(&found), paper(&ledger));
        }
    }
}

#[test]
fn what_somebody_has_changed_is_not_taken() {
    let status = kept(&ledger(), "web:6");
    let broken = |change: fn(&mut WorkloadPostureStatus)| {
        let mut status = status.clone();
        change(&mut status);
        again(&status).expect_err("it is refused")
    };
    // Another policy has another hash, which nothing names.
    let why = broken(|status| status.candidates[4].policy.push_str("#\n"));
    assert!(why.contains("is not there"), "{why}");
    let why = broken(|status| status.revisions[4].candidate = None);
    assert!(why.contains("no candidate"), "{why}");
    let why = broken(|status| status.revisions[4].since = "yesterday".to_owned());
    assert!(why.contains("is no time"), "{why}");
}

#[test]
fn every_field_of_a_status_can_be_taken_away() {
    let all = super::super::crds();
    let (_, text) = all
        .iter()
        .find(|(name, _)| *name == "workloadpostures")
        .expect("it is defined");
    let definition: serde_yaml::Value = serde_yaml::from_str(text).expect("YAML");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let fields = schema["properties"]["status"]["properties"].as_mapping();
    let defined: BTreeSet<&str> = fields
        .expect("properties")
        .keys()
        .filter_map(serde_yaml::Value::as_str)
        .collect();
    assert_eq!(defined, BTreeSet::from(FIELDS));
}

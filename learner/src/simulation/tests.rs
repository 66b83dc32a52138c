use super::*;
use crate::behavior::{Access, Outcome};
use crate::observation::Moment;
use crate::policy::from_yaml;
use crate::policy::meaning::Posture;
use crate::profile::Sighting;
use crate::workload::Labels;

fn path(text: &str) -> AbsPath {
    AbsPath::try_from(text).expect("a path")
}

fn open(file: &str, access: Access) -> Behavior {
    Behavior {
        op: Op::Open(access),
        path: path(file),
        source: Some(path("/bin/web")),
        uid: Some(0),
        owner: Some(true),
        upper: None,
        tty: Some(false),
        result: Outcome::Ok,
    }
}

fn evidence(runs: &[(&str, &str, &[Behavior])]) -> Evidence {
    let mut evidence = Evidence::default();
    for (run, app, seen) in runs {
        let key = RunKey {
            workload: format!("shop/Deployment/{app}")
                .parse()
                .expect("a workload"),
            image: String::new(),
            run: (*run).to_owned(),
        };
        let sighting = Sighting {
            count: 2,
            first: Moment(0),
            last: Moment(0),
        };
        let profile = RunProfile {
            labels: Labels::from([("app".to_owned(), (*app).to_owned())]),
            start: Some(Moment(0)),
            seen: seen.iter().map(|one| (one.clone(), sighting)).collect(),
            ..RunProfile::default()
        };
        evidence.insert(key, profile);
    }
    evidence
}

fn policies(app: &str, rules: &str) -> Vec<Policy> {
    from_yaml(&format!(
        "kind: KubeArmorPolicy\nmetadata: {{name: {app}-p, namespace: shop}}\n\
         spec: {{selector: {{matchLabels: {{app: {app}}}}}, {rules}, action: Allow}}\n"
    ))
    .expect("a policy")
}

fn judged(evidence: &Evidence, policies: &[Policy], posture: Posture) -> Simulation {
    simulate(evidence, policies, Enforcer::Bpf, Postures::all(posture))
}

#[test]
fn an_operation_counts_once_with_all_that_did_it() {
    let shadow = open("/etc/shadow", Access::Read);
    let as_other_user = Behavior {
        uid: Some(33),
        ..shadow.clone()
    };
    let failed = Behavior {
        result: Outcome::Failed("EACCES".to_owned()),
        ..open("/etc/gshadow", Access::Read)
    };
    let evidence = evidence(&[
        ("1", "web", &[shadow.clone(), as_other_user, failed]),
        ("2", "web", &[shadow, open("/etc/hosts", Access::Read)]),
        ("3", "db", &[open("/etc/hosts", Access::Read)]),
    ]);
    let policies = policies("web", "file: {matchPaths: [{path: /etc/hosts}]}");
    let simulation = judged(&evidence, &policies, Posture::Block);
    assert_eq!((simulation.operations, simulation.allowed), (2, 1));
    let [denied] = &simulation.denied[..] else {
        panic!("{simulation:?}");
    };
    assert_eq!((denied.count, denied.runs.len()), (6, 2));
    assert_eq!(
        denied.why,
        "no rule allows it, and the posture of files is block"
    );
    assert_eq!(simulation.left_out.len(), 1);
    assert!(simulation.unknown.is_empty() && simulation.untested.is_empty());
}

#[test]
fn under_audit_it_is_reported_and_read_only_still_denies() {
    let evidence = evidence(&[(
        "1",
        "web",
        &[
            open("/etc/shadow", Access::Read),
            open("/etc/hosts", Access::Write),
        ],
    )]);
    let policies = policies(
        "web",
        "file: {matchPaths: [{path: /etc/hosts, readOnly: true}]}",
    );
    let simulation = judged(&evidence, &policies, Posture::Audit);
    assert_eq!(simulation.alerts[0].path, path("/etc/shadow"));
    assert_eq!(simulation.denied[0].path, path("/etc/hosts"));
    assert_eq!((simulation.operations, simulation.allowed), (2, 1));
}

#[test]
fn what_is_not_known_and_decides_is_unknown() {
    let nobody = Behavior {
        source: None,
        ..open("/etc/hosts", Access::Read)
    };
    let evidence = evidence(&[("1", "web", &[nobody])]);
    let policies = policies(
        "web",
        "file: {matchPaths: [{path: /etc/hosts, fromSource: [{path: /bin/web}]}]}",
    );
    let simulation = judged(&evidence, &policies, Posture::Block);
    assert!(simulation.denied.is_empty());
    assert_eq!(simulation.unknown.len(), 1, "{simulation:?}");
    assert!(simulation.unknown[0].why.contains("which program acts"));
}

#[test]
fn a_policy_that_selects_nothing_was_not_tested_but_is_looked_over() {
    let evidence = evidence(&[("1", "web", &[open("/etc/hosts", Access::Read)])]);
    let long = format!("/{}", "x".repeat(199));
    let policies = policies(
        "db",
        &format!("severity: 11, file: {{matchPaths: [{{path: {long}}}]}}"),
    );
    let simulation = judged(&evidence, &policies, Posture::Block);
    assert_eq!((simulation.operations, simulation.runs), (0, 0));
    assert_eq!(simulation.untested[0].policy.to_string(), "shop/db-p");
    let fields: Vec<&str> = simulation
        .findings
        .iter()
        .map(|f| f.field.as_str())
        .collect();
    assert!(fields.contains(&"spec.severity"), "{fields:?}");
    assert!(fields.contains(&"spec.file.matchPaths[0]"), "{fields:?}");
}

#[test]
fn a_change_of_a_file_of_the_image_is_told_apart() {
    let mut write = open("/etc/hosts", Access::Write);
    write.upper = Some(false);
    let evidence = evidence(&[("1", "web", &[write, open("/etc/hosts", Access::Read)])]);
    let policies = policies("web", "file: {matchPaths: [{path: /etc/hosts}]}");
    let simulation = judged(&evidence, &policies, Posture::Block);
    assert_eq!((simulation.allowed, simulation.copied_up), (2, 1));
}

#[test]
fn what_is_recommended_denies_nothing_of_what_it_was_learned_from() {
    let evidence = evidence(&[(
        "1",
        "web",
        &[
            open("/etc/hosts", Access::ReadWrite),
            open("/usr/", Access::Read),
        ],
    )]);
    let workload = "shop/Deployment/web".parse().expect("a workload");
    let recommended =
        crate::recommend::recommend(&workload, &evidence, &Default::default()).expect("a policy");
    let simulation = judged(&evidence, &[recommended.policy], Posture::Block);
    assert_eq!(
        (simulation.allowed, simulation.operations),
        (2, 2),
        "{simulation:?}"
    );
}

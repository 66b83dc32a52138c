use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::behavior::{Access, Outcome};
use crate::observation::{Fact, Loss, Observation};
use crate::policy::{from_yaml, to_yaml};

fn nginx() -> Workload {
    "default/Deployment/nginx".parse().expect("workload")
}

fn run_of(workload: &Workload, image: &str, run: &str) -> Arc<RunKey> {
    Arc::new(RunKey {
        workload: workload.clone(),
        image: image.into(),
        run: run.into(),
    })
}

fn app(name: &str) -> Arc<Labels> {
    Arc::new(Labels::from([("app".to_owned(), name.to_owned())]))
}

fn path(bytes: &[u8]) -> AbsPath {
    AbsPath::new(bytes).expect("absolute")
}

fn did(op: Op, at: &[u8], result: Outcome) -> Fact {
    Fact::Seen {
        behavior: Behavior {
            op,
            path: path(at),
            source: None,
            uid: None,
            owner: None,
            upper: None,
            tty: None,
            result,
        },
        count: 1,
        last: Moment(5),
    }
}

fn ok(op: Op, at: &str) -> Fact {
    did(op, at.as_bytes(), Outcome::Ok)
}

fn evidence(facts: impl IntoIterator<Item = Fact>) -> Evidence {
    let mut evidence = Evidence::default();
    for fact in facts {
        evidence.fold(Observation {
            run: run_of(&nginx(), "", "1"),
            labels: app("nginx"),
            at: Moment(5),
            fact,
        });
    }
    evidence
}

fn recommend(facts: impl IntoIterator<Item = Fact>) -> Recommendation {
    exact(&nginx(), &evidence(facts)).expect("a policy")
}

fn file_paths(recommendation: &Recommendation) -> Vec<&str> {
    let rules = &recommendation.policy.spec.file.match_paths;
    rules.iter().map(|rule| rule.path.as_str()).collect()
}

#[test]
fn every_operation_has_a_rule_for_every_name_it_touches() {
    let to = |name: &str| path(name.as_bytes());
    let recommendation = recommend([
        Fact::Start,
        ok(Op::Exec, "/usr/sbin/nginx"),
        ok(Op::Open(Access::Read), "/etc/nginx/nginx.conf"),
        ok(Op::Open(Access::Read), "/etc/nginx/conf.d/"),
        ok(Op::Create, "/run/new"),
        ok(Op::Mkdir, "/run/made"),
        ok(Op::Unlink, "/run/gone"),
        ok(Op::Rmdir, "/run/dir-gone"),
        ok(Op::Rename { to: to("/run/b") }, "/run/a"),
        ok(Op::Link { to: to("/run/d") }, "/run/c"),
        ok(Op::Symlink, "/run/symlink"),
        ok(Op::Chmod, "/run/chmod"),
        ok(Op::Truncate, "/run/truncate"),
    ]);
    assert_eq!(
        to_yaml(&recommendation.policy),
        "\
apiVersion: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata:
  name: nginx-deployment-learned
  namespace: default
spec:
  severity: 1
  tags:
  - learner
  - allowlist
  message: \"default/Deployment/nginx/nginx did what it was not seen to do\"
  selector:
    matchLabels:
      app: nginx
  process:
    matchPaths:
    - path: /usr/sbin/nginx
  file:
    matchPaths:
    - path: /etc/nginx/nginx.conf
    - path: /run/a
    - path: /run/b
    - path: /run/c
    - path: /run/chmod
    - path: /run/d
    - path: /run/dir-gone
    - path: /run/gone
    - path: /run/made
    - path: /run/new
    - path: /run/symlink
    - path: /run/truncate
    - path: /usr/sbin/nginx
    matchDirectories:
    - dir: /etc/nginx/conf.d/
  action: Allow
"
    );
    assert_eq!(recommendation.unexpressed, []);
    let [Note::GrantsChildren { directories }] = &recommendation.notes[..] else {
        panic!("{:?}", recommendation.notes);
    };
    assert_eq!(directories, &[path(b"/etc/nginx/conf.d/")]);
}

#[test]
fn what_failed_is_never_learned() {
    let denied = || Outcome::Failed("EACCES".into());
    let recommendation = recommend([
        Fact::Start,
        ok(Op::Exec, "/bin/app"),
        did(Op::Open(Access::Read), b"/etc/shadow", denied()),
        did(Op::Exec, b"/bin/sh", denied()),
    ]);
    assert!(!to_yaml(&recommendation.policy).contains("shadow"));
    assert!(!to_yaml(&recommendation.policy).contains("/bin/sh"));
    let nothing = evidence([did(Op::Exec, b"/bin/sh", denied())]);
    assert_eq!(exact(&nginx(), &nothing), Err(Refusal::NothingSeen));
}

#[test]
fn what_the_crd_cannot_express_is_listed_with_the_reason() {
    let long = format!("/{}", "x".repeat(199));
    let recommendation = recommend([
        Fact::Start,
        ok(Op::Exec, "/bin/app"),
        ok(Op::Exec, "/bin/"),
        ok(Op::Create, "/a\nb"),
        ok(Op::Create, "/tmp//x"),
        ok(Op::Create, "/tmp/../x"),
        ok(Op::Open(Access::Read), &long),
        ok(Op::Open(Access::Read), "/"),
        did(Op::Create, b"/\xff", Outcome::Ok),
    ]);
    let reasons: Vec<_> = recommendation
        .unexpressed
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        reasons,
        [
            "no rule for /a\\nb: KubeArmor's CRD refuses a newline within a path",
            "no rule for /bin/: it ends in '/', which no program does",
            "no rule for /tmp/../x: it holds '//', '.' or '..', and KubeArmor compares resolved paths, which do not",
            "no rule for /tmp//x: it holds '//', '.' or '..', and KubeArmor compares resolved paths, which do not",
            &format!("no rule for {long}: it is 200 bytes long, and KubeArmor matches 199 at most"),
            "no rule for /\\xff: it is not UTF-8, and a policy holds only text",
        ]
    );
    assert_eq!(file_paths(&recommendation), ["/bin/app"]);
    assert!(recommendation.notes.contains(&Note::RootOpened));
}

#[test]
fn what_a_rule_grants_or_misses_beyond_what_was_seen_is_said() {
    let just = format!("/{}", "y".repeat(198));
    let deep = "/d".repeat(21);
    let long_dir = format!("/{}/", "z".repeat(63));
    let recommendation = recommend([
        ok(Op::Create, &just),
        ok(Op::Create, &deep),
        ok(Op::Open(Access::Read), &long_dir),
        Fact::Lost {
            reason: Loss::RingFull,
            count: 7,
        },
    ]);
    assert_eq!(
        recommendation.notes,
        [
            Note::PartialEvidence {
                partial: 1,
                runs: 1
            },
            Note::Lost {
                reason: Loss::RingFull,
                count: 7
            },
            Note::NoPrograms,
            Note::ChildrenNotFound {
                directories: vec![path(long_dir.as_bytes())]
            },
            Note::GrantsLonger {
                paths: vec![path(just.as_bytes())]
            },
            Note::TooDeep {
                paths: vec![path(deep.as_bytes())]
            },
        ]
    );
}

#[test]
fn more_rules_than_kubearmor_has_room_for_are_said() {
    let names: Vec<String> = (0..300).map(|n| format!("/tmp/{n}")).collect();
    let recommendation = recommend(names.iter().map(|name| ok(Op::Create, name)));
    assert!(
        recommendation
            .notes
            .contains(&Note::TooManyRules { rules: 300 })
    );
}

#[test]
fn a_policy_never_selects_a_whole_namespace() {
    let mut bare = Evidence::default();
    let mut broken = Evidence::default();
    for (evidence, labels) in [(&mut bare, Arc::default()), (&mut broken, app("a b"))] {
        evidence.fold(Observation {
            run: run_of(&nginx(), "", "1"),
            labels,
            at: Moment(1),
            fact: ok(Op::Exec, "/bin/app"),
        });
    }
    assert_eq!(exact(&nginx(), &bare), Err(Refusal::NoLabels));
    assert_eq!(
        exact(&nginx(), &broken),
        Err(Refusal::BadLabel {
            key: "app".into(),
            value: "a b".into()
        })
    );
    let odd = Workload {
        namespace: "../x".into(),
        ..nginx()
    };
    assert_eq!(
        exact(&odd, &bare),
        Err(Refusal::BadNamespace("../x".into()))
    );
}

#[test]
fn the_image_of_the_run_that_began_last_is_the_one_learned_from() {
    let mut evidence = Evidence::default();
    for (image, run, at, name) in [
        ("app@sha256:b", "1", 10, "/bin/old"),
        ("app@sha256:a", "2", 20, "/bin/new"),
    ] {
        for fact in [Fact::Start, ok(Op::Exec, name)] {
            evidence.fold(Observation {
                run: run_of(&nginx(), image, run),
                labels: app("nginx"),
                at: Moment(at),
                fact,
            });
        }
    }
    let recommendation = exact(&nginx(), &evidence).expect("a policy");
    assert_eq!(file_paths(&recommendation), ["/bin/new"]);
    assert_eq!(
        recommendation.notes,
        [Note::OtherImages {
            used: "app@sha256:a".into(),
            left_out: vec!["app@sha256:b".into()]
        }]
    );
}

#[test]
fn with_several_containers_the_policy_is_for_one_of_them() {
    let mut evidence = evidence([Fact::Start, ok(Op::Exec, "/usr/sbin/nginx")]);
    let proxy: Workload = "default/Deployment/nginx/proxy".parse().expect("workload");
    evidence.fold(Observation {
        run: run_of(&proxy, "", "1"),
        labels: app("nginx"),
        at: Moment(5),
        fact: ok(Op::Exec, "/bin/proxy"),
    });
    let recommendation = exact(&nginx(), &evidence).expect("a policy");
    assert_eq!(file_paths(&recommendation), ["/usr/sbin/nginx"]);
    let labels = &recommendation.policy.spec.selector.match_labels;
    assert_eq!(labels["kubearmor.io/container.name"], "[nginx]");
    assert!(to_yaml(&recommendation.policy).contains("container.name: \"[nginx]\""));
}

/// Paths as hostile as Linux allows, with what the CRD can express well among them.
fn any_path() -> impl Strategy<Value = AbsPath> {
    let bytes = prop_oneof![
        4 => "[^\0]{0,12}".prop_map(String::into_bytes),
        2 => prop::collection::vec(1_u8.., 0..12),
        2 => "[a-z/.~:#'\"!&*%@`|>{}?, \\[\\]\n\t\r\u{85}\u{2028}\u{feff}\u{1f600}-]{0,16}"
            .prop_map(String::into_bytes),
        1 => "[a-zé]{150,210}".prop_map(String::into_bytes),
    ];
    bytes.prop_map(|mut bytes| {
        bytes.insert(0, b'/');
        AbsPath::new(bytes).expect("no NUL")
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Exec),
        Just(Op::Open(Access::ReadWrite)),
        Just(Op::Create),
        any_path().prop_map(|to| Op::Rename { to }),
        any_path().prop_map(|to| Op::Link { to }),
        Just(Op::Rmdir),
    ]
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let outcome = prop_oneof![
        2 => Just(Outcome::Ok),
        1 => Just(Outcome::Failed("ENOENT".into()))
    ];
    let seen = (any_op(), any_path(), outcome)
        .prop_map(|(op, path, result)| did(op, path.as_bytes(), result));
    prop_oneof![
        8 => seen,
        1 => Just(Fact::Start),
        1 => Just(Fact::Late),
    ]
}

fn any_observation() -> impl Strategy<Value = Observation> {
    (any_fact(), 0..3_u8, 0..2_u8, 0..9_i64).prop_map(|(fact, run, image, at)| Observation {
        run: run_of(&nginx(), &image.to_string(), &run.to_string()),
        labels: app("nginx"),
        at: Moment(at),
        fact,
    })
}

fn fold(observations: impl IntoIterator<Item = Observation>) -> Evidence {
    let mut evidence = Evidence::default();
    for observation in observations {
        evidence.fold(observation);
    }
    evidence
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back_and_keeps_the_crd(
        observations in prop::collection::vec(any_observation(), 1..20)
    ) {
        let Ok(recommendation) = exact(&nginx(), &fold(observations)) else { return Ok(()) };
        let policy = &recommendation.policy;
        let text = to_yaml(policy);
        prop_assert_eq!(&from_yaml(&text).expect("a policy"), std::slice::from_ref(policy));

        let is_path = regex::Regex::new(r"^\/+.*[^\/]$").expect("pattern");
        let is_dir = regex::Regex::new(r"^\/$|^\/.*\/$").expect("pattern");
        for rule in policy.spec.process.match_paths.iter().chain(&policy.spec.file.match_paths) {
            prop_assert!(is_path.is_match(&rule.path), "{:?}", rule);
            prop_assert!(rule.path.len() <= 199);
        }
        for rule in &policy.spec.file.match_directories {
            prop_assert!(is_dir.is_match(&rule.dir), "{:?}", rule);
            prop_assert_eq!(rule.recursive, None);
        }
        prop_assert!(crd::is_severity(policy.spec.severity.expect("severity")));
        prop_assert!(names::is_dns_subdomain(&policy.metadata.name));
    }

    #[test]
    fn the_order_of_the_evidence_does_not_matter(
        (observations, shuffled) in prop::collection::vec(any_observation(), 1..16)
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
    ) {
        prop_assert_eq!(exact(&nginx(), &fold(observations)), exact(&nginx(), &fold(shuffled)));
    }

    #[test]
    fn every_path_has_a_rule_or_a_reason_and_no_other_has(
        facts in prop::collection::vec(any_fact(), 1..16)
    ) {
        let Ok(recommendation) = exact(&nginx(), &evidence(facts.clone())) else { return Ok(()) };
        let mut wanted = BTreeSet::new();
        for fact in &facts {
            if let Fact::Seen { behavior, .. } = fact && behavior.is_learnable() {
                wanted.extend(std::iter::once(&behavior.path).chain(behavior.op.to()).cloned());
            }
        }
        let spec = &recommendation.policy.spec;
        let mut got: BTreeSet<AbsPath> = spec.file.match_paths.iter()
            .map(|rule| path(rule.path.as_bytes()))
            .chain(spec.file.match_directories.iter().map(|rule| path(rule.dir.as_bytes())))
            .chain(recommendation.unexpressed.iter().map(|item| item.what.clone()))
            .collect();
        if recommendation.notes.contains(&Note::RootOpened) {
            got.insert(path(b"/"));
        }
        let slashless = |path: &AbsPath| path.as_bytes().strip_suffix(b"/").unwrap_or(path.as_bytes()).to_vec();
        let wanted: BTreeSet<_> = wanted.iter().map(slashless).collect();
        let got: BTreeSet<_> = got.iter().map(slashless).collect();
        prop_assert_eq!(wanted, got);
    }
}

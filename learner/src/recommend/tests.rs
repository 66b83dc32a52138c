use std::sync::Arc;

use super::*;
use crate::behavior::{Access, Outcome};
use crate::observation::{Fact, Moment, Observation};

const SPOOLER: &str = "/usr/sbin/spooler";

fn workload() -> Workload {
    Workload {
        namespace: "default".into(),
        kind: "StatefulSet".into(),
        name: "spooler".into(),
        container: "spooler".into(),
    }
}

fn path(text: &str) -> AbsPath {
    AbsPath::new(text).expect("absolute")
}

/// Whole runs of a spooler that read what is listed for each.
fn runs(of: &[Vec<String>]) -> Evidence {
    let mut evidence = Evidence::default();
    for (paths, number) in of.iter().zip(0..) {
        let run = Arc::new(RunKey {
            workload: workload(),
            image: "spooler:1".into(),
            run: format!("spooler-{number}"),
        });
        let seen = |op, source: &str, at: &str| Fact::Seen {
            behavior: Behavior {
                op,
                path: path(at),
                source: Some(path(source)),
                uid: None,
                owner: None,
                upper: None,
                tty: None,
                result: Outcome::Ok,
            },
            count: 1,
            last: Moment(number),
        };
        let mut facts = vec![Fact::Start, seen(Op::Exec, "/runc", SPOOLER)];
        facts.extend(
            paths
                .iter()
                .map(|at| seen(Op::Open(Access::Read), SPOOLER, at)),
        );
        for fact in facts {
            evidence.fold(Observation {
                run: Arc::clone(&run),
                labels: Arc::new([("app".to_owned(), "spooler".to_owned())].into()),
                at: Moment(number),
                fact,
            });
        }
    }
    evidence
}

fn made(evidence: &Evidence, enforcer: Dialect, tightness: Tightness) -> Recommendation {
    let criteria = Criteria {
        enforcer,
        tightness,
        ..Criteria::default()
    };
    recommend(&workload(), evidence, &criteria).expect("a policy")
}

#[test]
fn a_name_that_a_rule_allows_already_is_nothing_new() {
    // Each run has names of its own, of several forms, and one rule allows them all.
    let evidence = runs(
        &(0..6)
            .map(|n| {
                vec![
                    "/srv/spool/state".to_owned(),
                    format!("/srv/spool/in/1xW{n}aB-00{n}BD-{n}x"),
                    format!("/srv/spool/in/{}", ["a", "b", "c", "d", "e", "f"][n]),
                ]
            })
            .collect::<Vec<_>>(),
    );
    let bpf = made(&evidence, Dialect::Bpf, Tightness::Durable);
    let apparmor = made(&evidence, Dialect::AppArmor, Tightness::Balanced);
    for made in [bpf, apparmor] {
        let readiness = &made.readiness;
        assert_eq!(readiness.singletons, 0, "{:?}", made.rules);
        assert_eq!(readiness.chance.map(|chance| chance.expected), Some(0.0));
        assert!(made.convergence[1..].iter().all(|run| run.new == 0));
        assert!(readiness.left_one_out.iter().all(|left| left.denied == 0));
    }
    // Where no rule goes beyond what was seen, they are not allowed.
    let exact = made(&evidence, Dialect::AppArmor, Tightness::Exact);
    assert_eq!(
        exact.readiness.chance.map(|chance| chance.expected),
        Some(1.0)
    );
}

#[test]
fn a_name_that_one_run_alone_has_a_rule_for_is_new() {
    let mut of = vec![vec!["/srv/spool/state".to_owned()]; 5];
    of[3].push("/srv/spool/rare".to_owned());
    let made = made(&runs(&of), Dialect::Bpf, Tightness::Balanced);
    assert_eq!(made.readiness.singletons, 1);
    assert_eq!(made.readiness.runs_with_singletons, 1);
    assert_eq!(made.convergence[3].new, 1);
}

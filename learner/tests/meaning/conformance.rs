//! Every verdict of KubeArmor's own programs, on a plain root and on an overlay root.

use std::path::{Path, PathBuf};

use learner::path::AbsPath;
use learner::policy::meaning::{Enforced, Enforcer, Operation, Root, Verdict};
use learner::policy::{PathRule, Policy, violations};

use crate::attempt::{Attempt, Roots, behavior};
use crate::line::{Line, read};
use crate::world::World;

/// The work directory of the measured overlay root.
const WORKDIR: &str =
    "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/42/work";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/meaning")
        .join(name)
}

fn overlay(workdir: &str) -> Root {
    Root::Overlay {
        workdir: Some(AbsPath::try_from(workdir).expect("absolute")),
    }
}

fn enforced(line: &Line, world: &World, root: Root) -> Enforced {
    Enforced::new(Enforcer::Bpf, &line.policies(), line.postures())
        .with_mounts(world.mounts())
        .on(root)
}

/// What a file of verdicts came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    agreed: usize,
    unknown: usize,
}

fn tally(lines: &[Line], root: &Root) -> Tally {
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for line in lines {
        let world = World::new(&line.fixture);
        let nested = world.nested.as_ref();
        let roots = Roots {
            container: enforced(line, &world, root.clone()),
            nested: nested.map(|nested| enforced(line, &world, overlay(&nested.workdir))),
        };
        let Attempt {
            mut verdict,
            alert,
            said,
            ..
        } = Attempt::run(&roots, &world, &line.op);
        if verdict == Verdict::Allowed {
            verdict = roots.container.overlay_asks_for_capabilities().verdict;
        }
        let expected = line.expected();
        if verdict == Verdict::Unknown {
            tally.unknown += 1;
        } else if (verdict, alert) == (expected, line.alert) {
            tally.agreed += 1;
        } else {
            wrong.push(format!(
                "{} {} {}: {expected} alert {}, evaluated {verdict} alert {alert}: {said:?}",
                line.id, line.op.op, line.op.path, line.alert
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    tally
}

#[test]
fn every_verdict_on_a_plain_root_is_the_same() {
    let lines = read(&file("verdicts.jsonl.gz"));
    let expected = Tally {
        agreed: 1116,
        unknown: 0,
    };
    assert_eq!(tally(&lines, &Root::Plain), expected);
}

#[test]
fn every_verdict_on_an_overlay_root_is_the_same_or_unknown() {
    let lines = read(&file("verdicts-overlay.jsonl.gz"));
    let expected = Tally {
        agreed: 1054,
        unknown: 30,
    };
    assert_eq!(tally(&lines, &overlay(WORKDIR)), expected);
    // Without the work directory it is said that it decides, where it does.
    let nowhere = Root::Overlay { workdir: None };
    assert_eq!(
        tally(&lines, &nowhere),
        Tally {
            agreed: 979,
            unknown: 105
        }
    );
}

#[test]
fn operations_as_they_are_recorded_are_judged_the_same_or_unknown() {
    let plain = recorded(&read(&file("verdicts.jsonl.gz")), &Root::Plain);
    assert_eq!(
        plain,
        Tally {
            agreed: 853,
            unknown: 13
        }
    );
    let overlaid = recorded(&read(&file("verdicts-overlay.jsonl.gz")), &overlay(WORKDIR));
    assert_eq!(
        overlaid,
        Tally {
            agreed: 833,
            unknown: 19
        }
    );
}

/// Of the lines, those that a recording can tell.
fn recorded(lines: &[Line], root: &Root) -> Tally {
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for line in lines {
        let world = World::new(&line.fixture);
        let Some(behavior) = behavior(line, &world, root) else {
            continue;
        };
        let judgement = enforced(line, &world, root.clone()).judge(&Operation::from(&behavior));
        let expected = (line.expected(), line.alert);
        if judgement.verdict == Verdict::Unknown {
            tally.unknown += 1;
        } else if (judgement.verdict, judgement.alert) == expected {
            tally.agreed += 1;
        } else {
            wrong.push(format!("{} {behavior}: {expected:?}, {judgement}", line.id));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    tally
}

#[test]
fn the_room_that_rules_take_is_counted_as_measured() {
    for line in read(&file("verdicts.jsonl.gz")) {
        let budget = enforced(&line, &World::new(&[]), Root::Plain).budget();
        assert_eq!(budget.dropped.len(), line.entries_dropped, "{}", line.id);
        // The measured number counts a key again for every class that writes it.
        let classes = |policy: &Policy| {
            let Policy { spec, .. } = policy;
            usize::from(!spec.process.is_empty()) + usize::from(!spec.file.is_empty())
        };
        let named_e = |rule: &PathRule| rule.execname.as_deref() == Some("e");
        let policies = line.policies();
        if policies.iter().map(classes).sum::<usize>() > 1
            || policies
                .iter()
                .any(|policy| policy.spec.process.match_paths.iter().any(named_e))
        {
            assert!(budget.wanted <= line.entries, "{}", line.id);
        } else {
            assert_eq!(budget.wanted, line.entries, "{}", line.id);
        }
    }
}

#[test]
fn what_the_crd_refuses_is_what_was_refused() {
    for line in read(&file("verdicts.jsonl.gz")) {
        let valid = line
            .policies()
            .iter()
            .all(|policy| violations(policy).is_empty());
        assert_eq!(valid, line.crd_valid, "{}", line.id);
    }
}

/// `LEARNER_VERDICTS=FILE` runs another file of the same format too; `overlay` in its name says
/// what the root was.
#[test]
fn another_file_of_verdicts_agrees_too() {
    let Some(path) = std::env::var_os("LEARNER_VERDICTS").map(PathBuf::from) else {
        return;
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let root = if name.contains("overlay") {
        overlay(WORKDIR)
    } else {
        Root::Plain
    };
    let lines = read(&path);
    println!("{}: {:?}", path.display(), tally(&lines, &root));
}

//! One operation against a policy of 250 rules, as it is judged for every line of a recording.
//!
//! `cargo bench -p learner --bench meaning` prints the time of one judgement.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::path::AbsPath;
use learner::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures};
use learner::policy::{
    Action, Directory, FileRules, Metadata, PathRule, Policy, ProcessRules, Spec,
};

fn path(text: &str) -> AbsPath {
    AbsPath::try_from(text).expect("absolute")
}

/// 30 programs, which are also files, 170 other files and 20 directories.
fn policy() -> Policy {
    let rule = |path: String| PathRule {
        path,
        ..PathRule::default()
    };
    let directory = |dir: String| Directory {
        dir,
        recursive: Some(true),
        ..Directory::default()
    };
    Policy::new(
        Metadata {
            name: "web".to_owned(),
            ..Metadata::default()
        },
        Spec {
            process: ProcessRules {
                match_paths: (0..30)
                    .map(|n| rule(format!("/usr/bin/tool-{n}")))
                    .collect(),
                ..ProcessRules::default()
            },
            file: FileRules {
                match_paths: (0..170)
                    .map(|n| rule(format!("/usr/lib/x86_64-linux-gnu/lib-{n}.so.6")))
                    .chain((0..30).map(|n| rule(format!("/usr/bin/tool-{n}"))))
                    .collect(),
                match_directories: (0..20).map(|n| directory(format!("/d{n}/"))).collect(),
                ..FileRules::default()
            },
            action: Some(Action::Allow),
            ..Spec::default()
        },
    )
}

fn behavior(op: Op, at: &str) -> Behavior {
    Behavior {
        op,
        path: path(at),
        source: Some(path("/usr/bin/tool-1")),
        uid: Some(33),
        owner: Some(false),
        upper: None,
        tty: Some(false),
        result: Outcome::Ok,
    }
}

fn meaning(criterion: &mut Criterion) {
    let policy = policy();
    let postures = Postures::all(Posture::Block);
    for enforcer in [Enforcer::Bpf, Enforcer::AppArmor] {
        let enforced = Enforced::new(enforcer, &[&policy], postures);
        let mut group = criterion.benchmark_group(format!("judge, {enforcer}, 250 rules"));
        for (name, op, at) in [
            (
                "a file with a rule",
                Op::Open(Access::Read),
                "/usr/lib/x86_64-linux-gnu/lib-150.so.6",
            ),
            (
                "a file in a directory",
                Op::Open(Access::Read),
                "/d7/a/b/c/file.txt",
            ),
            (
                "a file without a rule",
                Op::Open(Access::Read),
                "/usr/share/zoneinfo/Europe/Berlin",
            ),
            ("an exec", Op::Exec, "/usr/bin/tool-20"),
        ] {
            let behavior = behavior(op, at);
            group.bench_function(name, |b| {
                b.iter(|| black_box(enforced.judge(&Operation::from(black_box(&behavior)))));
            });
        }
        group.finish();
        criterion.bench_function(&format!("new, {enforcer}, 250 rules"), |b| {
            b.iter(|| black_box(Enforced::new(enforcer, &[&policy], postures)));
        });
    }
}

criterion_group!(benches, meaning);
criterion_main!(benches);

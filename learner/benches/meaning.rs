//! One operation against a policy, as it is judged for every line of a recording: against one of 250
//! rules that are for all programs, and every operation of a dataset against the policy that was learned
//! from it, most of whose rules are for one program.
//!
//! `cargo bench -p learner --bench meaning` prints the time of one judgement, and of the dataset how many
//! there are in a second.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::generalize::Dialect;
use learner::path::AbsPath;
use learner::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures};
use learner::policy::{
    Action, Directory, FileRules, Metadata, PathRule, Policy, ProcessRules, Spec,
};
use learner::profile::Evidence;
use learner::recommend::{Criteria, recommend};

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

const DATASET: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../datasets/git-mirror.parquet"
);

fn dataset(criterion: &mut Criterion) {
    let mut evidence = Evidence::default();
    learner::recording::read(Path::new(DATASET), &mut |line| evidence.fold(line)).expect("read");
    let (first, _) = evidence.runs().first_key_value().expect("a run");
    let runs = evidence.runs().values();
    let behaviors: Vec<&Behavior> = runs
        .flat_map(|run| run.seen.keys())
        .filter(|behavior| behavior.is_learnable())
        .collect();
    let mut group = criterion.benchmark_group("judge git-mirror");
    group.throughput(Throughput::Elements(behaviors.len() as u64));
    for (dialect, enforcer) in [
        (Dialect::Bpf, Enforcer::Bpf),
        (Dialect::AppArmor, Enforcer::AppArmor),
    ] {
        let criteria = Criteria {
            enforcer: dialect,
            leave_out: 0,
            ..Criteria::default()
        };
        let made = recommend(&first.workload, &evidence, &criteria).expect("a policy");
        let enforced = Enforced::new(enforcer, &[made.policy], Postures::all(Posture::Block));
        group.bench_function(enforcer.to_string(), |b| {
            b.iter(|| {
                for behavior in &behaviors {
                    black_box(enforced.judge(&Operation::from(black_box(*behavior))));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, meaning, dataset);
criterion_main!(benches);

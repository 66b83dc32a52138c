//! From a recording to a policy: how long a line takes to read, to fold and to be learned from.
//!
//! `cargo bench -p learner` prints the time for [`LINES`] lines.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::observation::{Fact, Moment, Observation};
use learner::path::AbsPath;
use learner::profile::Evidence;
use learner::recommend::{Criteria, recommend};
use learner::recording::{JsonlWriter, ParquetWriter, read_from};
use learner::workload::{Labels, RunKey, Workload};

const LINES: u64 = 100_000;
/// Distinct behaviours of a run, so that lines repeat as they do in real recordings.
const DISTINCT: u64 = 2_000;
const RUNS: u64 = 5;

fn workload() -> Workload {
    "default/Deployment/web".parse().expect("a workload")
}

fn lines() -> Vec<Observation> {
    let labels = std::sync::Arc::new(Labels::from([("app".to_owned(), "web".to_owned())]));
    let path = |text: String| AbsPath::new(text.into_bytes()).expect("absolute");
    (0..LINES)
        .map(|n| Observation {
            run: std::sync::Arc::new(RunKey {
                workload: workload(),
                image: "web@sha256:1f2e".into(),
                run: format!("web-{}", n * RUNS / LINES),
            }),
            labels: labels.clone(),
            at: Moment(1_700_000_000_000_000 + n as i64),
            fact: Fact::Seen {
                behavior: Behavior {
                    op: Op::Open(Access::Read),
                    path: path(format!("/usr/share/web/{}/file-{}", n % 20, n % DISTINCT)),
                    source: Some(path("/usr/bin/web".into())),
                    uid: Some(33),
                    owner: Some(false),
                    upper: None,
                    tty: Some(false),
                    result: Outcome::Ok,
                },
                count: 1,
                last: Moment(1_700_000_000_000_000 + n as i64),
            },
        })
        .collect()
}

fn jsonl(lines: &[Observation]) -> Vec<u8> {
    let mut writer = JsonlWriter::new(Vec::new());
    for line in lines {
        writer.write(line).expect("written");
    }
    writer.finish().expect("finished")
}

fn parquet(lines: &[Observation]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ParquetWriter::new(&mut bytes).expect("begun");
    for line in lines {
        writer.write(line).expect("written");
    }
    writer.finish().expect("finished");
    bytes
}

fn folded(bytes: &[u8]) -> Evidence {
    let mut evidence = Evidence::default();
    read_from(Cursor::new(bytes), "bench", &mut |line| evidence.fold(line)).expect("read");
    evidence
}

fn recording(criterion: &mut Criterion) {
    let lines = lines();
    let (as_jsonl, as_parquet) = (jsonl(&lines), parquet(&lines));
    let evidence = folded(&as_jsonl);
    let mut group = criterion.benchmark_group("recording");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(LINES));
    group.bench_function("write JSON Lines", |b| b.iter(|| black_box(jsonl(&lines))));
    group.bench_function("write Parquet", |b| b.iter(|| black_box(parquet(&lines))));
    group.bench_function("read and fold JSON Lines", |b| {
        b.iter(|| black_box(folded(&as_jsonl)));
    });
    group.bench_function("read and fold Parquet", |b| {
        b.iter(|| black_box(folded(&as_parquet)));
    });
    group.finish();
    criterion.bench_function("policy of 5 runs, 2,000 behaviours each", |b| {
        b.iter(|| black_box(recommend(&workload(), &evidence, &Criteria::default())));
    });
}

criterion_group!(benches, recording);
criterion_main!(benches);

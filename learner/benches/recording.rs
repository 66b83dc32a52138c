//! From a recording to a policy: how long a line takes to decode, to fold and to be learned from.
//!
//! `cargo bench -p learner` prints the time for [`LINES`] lines.

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use learner::generalize::{Dialect, Options, Seen, Tightness, generalize};
use learner::observation::Observation;
use learner::policy::meaning::{Enforcer, Posture, Postures};
use learner::profile::Evidence;
use learner::recommend::{Criteria, recommend};
use learner::recording::{Decoder, JsonlWriter, ParquetWriter, fold_from, read_from};
use learner::simulation::simulate;
use learner::workload::RunKey;

mod synthetic;

const LINES: u64 = 200_000;

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

fn decoded(bytes: &[u8]) {
    let reader = Cursor::new(bytes);
    read_from(reader, "bench", &mut |line| drop(black_box(line))).expect("read");
}

fn folded(bytes: &[u8]) -> Evidence {
    let (reader, evidence) = (Cursor::new(bytes), Evidence::default());
    fold_from(reader, "bench", Decoder::Within, evidence, &mut |_| {}).expect("read")
}

fn recording(criterion: &mut Criterion) {
    let lines: Vec<_> = synthetic::lines(LINES).collect();
    let (as_jsonl, as_parquet) = (jsonl(&lines), parquet(&lines));
    let mut group = criterion.benchmark_group("recording");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(LINES));
    group.bench_function("write JSON Lines", |b| b.iter(|| black_box(jsonl(&lines))));
    group.bench_function("write Parquet", |b| b.iter(|| black_box(parquet(&lines))));
    group.bench_function("decode JSON Lines", |b| b.iter(|| decoded(&as_jsonl)));
    group.bench_function("decode Parquet", |b| b.iter(|| decoded(&as_parquet)));
    group.bench_function("fold lines", |b| {
        b.iter(|| {
            let mut evidence = Evidence::default();
            lines.iter().for_each(|line| evidence.fold(line.clone()));
            black_box(evidence)
        });
    });
    group.bench_function("decode and fold JSON Lines", |b| {
        b.iter(|| black_box(folded(&as_jsonl)));
    });
    group.bench_function("decode and fold Parquet", |b| {
        b.iter(|| black_box(folded(&as_parquet)));
    });
    group.finish();
}

fn judgement(criterion: &mut Criterion) {
    let mut evidence = Evidence::default();
    synthetic::lines(LINES).for_each(|line| evidence.fold(line));
    let of = |key: &&RunKey| key.workload.name == "nginx";
    let workload = evidence
        .runs()
        .keys()
        .find(of)
        .expect("a run")
        .workload
        .clone();
    let runs = evidence.runs().iter().filter(|(key, _)| of(key));
    let seen: Vec<Seen<'_>> = (0..)
        .zip(runs)
        .flat_map(|(run, (_, profile))| {
            profile.seen.iter().map(move |(behavior, sighting)| Seen {
                run,
                behavior,
                sighting,
                entry: false,
                known: None,
            })
        })
        .collect();
    let options = Options {
        tightness: Tightness::Durable,
        enforcer: Dialect::AppArmor,
        read_only: true,
        entries: usize::MAX,
    };
    let mut group = criterion.benchmark_group("judgement");
    group.sample_size(10);
    group.bench_function("generalise 4 runs, 3,000 behaviours each", |b| {
        b.iter(|| black_box(generalize(&seen, &options)));
    });
    let criteria = Criteria {
        tightness: Tightness::Durable,
        enforcer: Dialect::AppArmor,
        ..Criteria::default()
    };
    group.bench_function("recommend, with each run left out in turn", |b| {
        b.iter(|| black_box(recommend(&workload, &evidence, &criteria)));
    });
    let made = recommend(&workload, &evidence, &criteria).expect("a policy");
    let policies = [made.policy];
    let postures = Postures::all(Posture::Block);
    group.bench_function("simulate 20 runs", |b| {
        b.iter(|| black_box(simulate(&evidence, &policies, Enforcer::Bpf, postures)));
    });
    group.finish();
}

criterion_group!(benches, recording, judgement);
criterion_main!(benches);

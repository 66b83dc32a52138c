//! What is written is what is read.

use std::collections::BTreeMap;

use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::observation::{Loss, Moment};
use learner::path::AbsPath;
use learner::profile::{Evidence, RunProfile, Sighting};
use learner::recording;
use learner::workload::{RunKey, Workload};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::world::{FORMS, Form, SAMPLE, folded, read, sample, unfolded, written};

fn moment() -> impl Strategy<Value = Moment> {
    // All that jiff, and RFC 3339 with a sign and six digits, can write.
    (-377_705_023_201_000_000..=253_402_207_200_999_999_i64).prop_map(Moment)
}

/// Any bytes that a name can have but `.` and `..`.
fn component() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z.]{1,8}".prop_map(String::into_bytes),
        "\\PC{1,6}".prop_map(String::into_bytes),
        vec(any::<u8>(), 1..20),
    ]
    .prop_map(|mut name: Vec<u8>| {
        name.retain(|byte| !matches!(byte, 0 | b'/'));
        if matches!(&*name, b"" | b"." | b"..") {
            name = b"x".to_vec();
        }
        name
    })
}

fn path() -> impl Strategy<Value = AbsPath> {
    vec(component(), 0..5).prop_map(|names| {
        AbsPath::from_components(names.iter().map(Vec::as_slice)).expect("no NUL")
    })
}

fn op_and_path() -> impl Strategy<Value = (Op, AbsPath)> {
    let access = prop_oneof![
        Just(Access::Read),
        Just(Access::Write),
        Just(Access::ReadWrite)
    ];
    let opened = (access, path(), any::<bool>()).prop_map(|(access, path, is_dir)| {
        let mut bytes = path.as_bytes().to_vec();
        if is_dir && bytes != b"/" {
            bytes.push(b'/');
        }
        (Op::Open(access), AbsPath::new(bytes).expect("absolute"))
    });
    let plain = prop_oneof![
        Just(Op::Exec),
        Just(Op::Create),
        Just(Op::Mkdir),
        Just(Op::Unlink),
        Just(Op::Rmdir),
        Just(Op::Symlink),
        Just(Op::Chmod),
        Just(Op::Truncate),
        path().prop_map(|to| Op::Rename { to }),
        path().prop_map(|to| Op::Link { to }),
    ];
    prop_oneof![opened, (plain, path())]
}

fn behavior() -> impl Strategy<Value = Behavior> {
    (
        op_and_path(),
        option::of(path()),
        option::of(any::<u32>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        prop_oneof![
            3 => Just(Outcome::Ok),
            1 => "E[A-Z]{3,8}".prop_map(Outcome::Failed)
        ],
    )
        .prop_map(
            |((op, path), source, uid, owner, upper, tty, result)| Behavior {
                op,
                path,
                source,
                uid,
                owner,
                upper,
                tty,
                result,
            },
        )
}

fn sighting() -> impl Strategy<Value = Sighting> {
    (1..=u64::MAX, moment(), moment()).prop_map(|(count, a, b)| Sighting {
        count,
        first: a.min(b),
        last: a.max(b),
    })
}

fn run_profile() -> impl Strategy<Value = RunProfile> {
    (
        btree_map("\\PC{0,8}", "\\PC{0,8}", 0..3),
        moment(),
        option::of(moment()),
        any::<bool>(),
        btree_map("[a-z-]{1,12}".prop_map(Loss::from), 1..=u64::MAX, 0..3),
        btree_map(behavior(), sighting(), 0..8),
    )
        .prop_map(|(labels, start, stop, late, lost, seen)| RunProfile {
            labels,
            start: Some(start),
            stop,
            late,
            lost,
            seen: seen.into_iter().collect(),
        })
}

fn run_key() -> impl Strategy<Value = RunKey> {
    let name = || "\\PC{1,8}";
    (name(), name(), name(), name(), "\\PC{0,8}", name()).prop_map(
        |(namespace, kind, workload, container, image, run)| RunKey {
            workload: Workload {
                namespace,
                kind,
                name: workload,
                container,
            },
            image,
            run,
        },
    )
}

fn evidence() -> impl Strategy<Value = BTreeMap<RunKey, RunProfile>> {
    btree_map(run_key(), run_profile(), 0..4)
}

fn told(runs: &BTreeMap<RunKey, RunProfile>) -> Evidence {
    let mut evidence = Evidence::default();
    for (key, run) in runs {
        evidence.insert(key.clone(), run.clone());
    }
    evidence
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn export_then_import_is_identity_in_every_form(runs in evidence()) {
        let lines = unfolded(&told(&runs));
        for form in FORMS {
            let again = folded(read(&written(form, &lines)));
            prop_assert_eq!(again.runs(), &runs, "{:?}", form);
        }
    }

    #[test]
    fn the_order_of_the_lines_does_not_matter(runs in evidence(), seed in any::<u64>()) {
        let bytes = written(Form::Jsonl, &unfolded(&told(&runs)));
        let text = String::from_utf8(bytes).expect("text");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_by_key(|line| {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            (seed, line).hash(&mut hasher);
            hasher.finish()
        });
        let again = folded(read(lines.join("\n").as_bytes()));
        prop_assert_eq!(again.runs(), &runs);
    }

    #[test]
    fn the_same_evidence_gives_the_same_bytes(runs in evidence()) {
        let lines = unfolded(&told(&runs));
        for form in FORMS {
            prop_assert_eq!(written(form, &lines), written(form, &lines), "{:?}", form);
        }
    }
}

#[test]
fn what_is_written_is_what_was_read_to_the_byte() {
    let lines = unfolded(&folded(sample()));
    let text = String::from_utf8(written(Form::Jsonl, &lines)).expect("text");
    assert_eq!(text, SAMPLE);
}

#[test]
fn parquet_of_many_row_groups_is_read_in_order() {
    let sample = sample();
    let lines: Vec<_> = (0..recording::ROWS_AT_A_TIME * 2 + 7)
        .map(|n| sample[n % sample.len()].clone())
        .collect();
    assert_eq!(read(&written(Form::Parquet, &lines)), lines);
}

#[test]
fn an_empty_recording_is_a_recording_in_every_form() {
    for form in FORMS {
        assert_eq!(read(&written(form, &[])), [], "{form:?}");
    }
}

#[test]
fn gzip_members_one_after_another_are_one_recording() {
    let mut bytes = written(Form::Gzip, &sample());
    bytes.extend(written(Form::Gzip, &sample()));
    assert_eq!(read(&bytes).len(), sample().len() * 2);
}

#[test]
fn files_and_pipes_are_told_apart_by_content() {
    let dir = tempfile::tempdir().expect("a directory");
    for form in FORMS {
        let file = dir.path().join("misleading.name");
        std::fs::write(&file, written(form, &sample())).expect("a file");
        let mut lines = Vec::new();
        recording::read(&file, &mut |line| lines.push(line)).expect("read");
        assert_eq!(lines, sample(), "{form:?}");
    }
}

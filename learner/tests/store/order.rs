//! Any order, any number of times.

use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::observation::{Loss, Moment};
use learner::path::AbsPath;
use learner::profile::{Evidence, RunProfile, Sighting};
use learner::store::Store;
use proptest::prelude::*;

use crate::world::*;

fn any_path() -> impl Strategy<Value = AbsPath> {
    prop_oneof![
        "/[ab]{0,2}".prop_map(|text| path(&text)),
        proptest::collection::vec(1..=255u8, 0..12).prop_map(|mut bytes| {
            bytes.insert(0, b'/');
            AbsPath::new(bytes).expect("absolute")
        }),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Exec),
        Just(Op::Open(Access::Read)),
        Just(Op::Open(Access::Write)),
        Just(Op::Open(Access::ReadWrite)),
        Just(Op::Create),
        Just(Op::Mkdir),
        Just(Op::Unlink),
        Just(Op::Rmdir),
        Just(Op::Symlink),
        Just(Op::Chmod),
        Just(Op::Truncate),
        any_path().prop_map(|to| Op::Rename { to }),
        any_path().prop_map(|to| Op::Link { to }),
    ]
}

fn any_behavior() -> impl Strategy<Value = Behavior> {
    (
        any_op(),
        any_path(),
        proptest::option::of(any_path()),
        proptest::option::of(prop_oneof![Just(0), any::<u32>()]),
        any::<(Option<bool>, Option<bool>, Option<bool>)>(),
        prop_oneof![Just(Outcome::Ok), "E[A-Z]{0,4}".prop_map(Outcome::Failed)],
    )
        .prop_map(|(op, path, source, uid, flags, result)| Behavior {
            op,
            path,
            source,
            uid,
            owner: flags.0,
            upper: flags.1,
            tty: flags.2,
            result,
        })
}

fn any_sighting() -> impl Strategy<Value = Sighting> {
    let moment = || prop_oneof![-9..9i64, any::<i64>()].prop_map(Moment);
    let count = prop_oneof![1..9u64, 1..=u64::MAX];
    (count, moment(), moment()).prop_map(|(count, a, b)| Sighting {
        count,
        first: a.min(b),
        last: a.max(b),
    })
}

fn any_report() -> impl Strategy<Value = RunProfile> {
    let moment = || proptest::option::of((-9..9i64).prop_map(Moment));
    (
        proptest::collection::btree_map("[a-c]{0,1}", "[a-c]{0,2}", 0..3),
        moment(),
        moment(),
        any::<bool>(),
        proptest::collection::btree_map(
            prop_oneof![Just("store"), Just("ring-full"), Just("other")].prop_map(Loss::from),
            0..99u64,
            0..3,
        ),
        proptest::collection::btree_map(any_behavior(), any_sighting(), 0..25),
    )
        .prop_map(|(labels, start, stop, late, lost, seen)| RunProfile {
            labels,
            start,
            stop,
            late,
            lost,
            seen: seen.into_iter().collect(),
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn reports_in_any_order_and_any_number_of_times_give_the_same_store(
        reports in proptest::collection::vec((0..3usize, any_report()), 1..6),
        seed in any::<u64>(),
    ) {
        let tmp = tempfile::tempdir().expect("tempdir");
        let key = |n: usize| run(["a", "b", "a/b"][n]);
        let mut joined = Evidence::default();
        for (n, report) in &reports {
            joined.insert(key(*n), report.clone());
        }
        let one = Store::open(&tmp.path().join("one")).expect("open");
        for (n, report) in &reports {
            one.fold(&key(*n), report).expect("fold");
        }
        prop_assert_eq!(&everything(&one), joined.runs());
        let again = one.fold_all(&joined).expect("fold");
        prop_assert_eq!(again.records, 0);

        let mut dice = Dice(seed);
        let mut shuffled: Vec<_> = reports.iter().chain(&reports).collect();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, dice.below(i + 1));
        }
        let dir = tmp.path().join("two");
        let two = Store::open(&dir).expect("open");
        for (n, report) in shuffled {
            two.fold(&key(*n), report).expect("fold");
        }
        drop(two);
        let two = Store::open(&dir).expect("open");
        prop_assert_eq!(&everything(&two), joined.runs());
        let fold_all = Store::open(&tmp.path().join("three")).expect("open");
        fold_all.fold_all(&joined).expect("fold");
        prop_assert_eq!(&everything(&fold_all), joined.runs());
        prop_assert_eq!(
            one.summaries().expect("summaries"),
            two.summaries().expect("summaries")
        );
    }
}

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::observation::Moment;
use crate::workload::Workload;

fn key(run: &str) -> RunKey {
    RunKey {
        workload: Workload {
            namespace: "default".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            container: "web".into(),
        },
        image: String::new(),
        run: run.into(),
    }
}

fn runs(of: &[&[u32]]) -> Vec<BTreeSet<u32>> {
    of.iter().map(|run| run.iter().copied().collect()).collect()
}

/// Of each behaviour, one thing done.
fn once_each(runs: &[BTreeSet<u32>]) -> Vec<Vec<(u32, usize)>> {
    let each = |run: &BTreeSet<u32>| run.iter().map(|behavior| (*behavior, 1)).collect();
    runs.iter().map(each).collect()
}

fn of(complete: &[BTreeSet<u32>]) -> Readiness {
    assess(&once_each(complete), Vec::new(), Vec::new())
}

#[track_caller]
fn assert_near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
}

#[test]
fn without_runs_nothing_is_estimated() {
    let none = of(&[]);
    assert_eq!((none.runs, none.chance, none.share), (0, None, None));
}

#[test]
fn one_run_excludes_nothing() {
    let one = of(&runs(&[&[1, 2, 3]]));
    let all = Some(Estimate {
        expected: 1.0,
        at_most: 1.0,
    });
    assert_eq!((one.chance, one.share), (all, all));
}

#[test]
fn two_runs_that_are_alike_exclude_hardly_anything() {
    let chance = of(&runs(&[&[1, 2], &[1, 2]])).chance.expect("an estimate");
    assert_eq!(chance.expected, 0.0);
    assert_near(chance.at_most, 0.95);
}

#[test]
fn runs_that_are_alike_are_bounded_by_the_rule_of_three_and_never_by_nothing() {
    for n in [2usize, 3, 10, 20, 60, 1000] {
        let alike = of(&vec![BTreeSet::from([1, 2]); n]);
        let wanted = 1.0 - 0.05f64.powf(1.0 / (n as f64 - 1.0));
        for estimate in [alike.chance, alike.share] {
            let Estimate { expected, at_most } = estimate.expect("an estimate");
            assert_eq!(expected, 0.0);
            assert_near(at_most, wanted);
            assert!(at_most < 3.1 / (n as f64 - 1.0), "{n}: {at_most}");
        }
    }
}

#[test]
fn the_bound_is_that_of_clopper_and_pearson() {
    for runs in 2..200usize {
        for hits in 0..runs - 1 {
            let p = chance_at_most(hits, runs);
            let trials = Binomial::new(p, runs as u64 - 1).expect("a probability");
            assert!((trials.cdf(hits as u64) - 0.05).abs() < 1e-6, "{hits} {p}");
        }
        assert_eq!(chance_at_most(runs - 1, runs), 1.0);
    }
}

#[test]
fn what_one_run_alone_showed_is_what_would_have_been_new() {
    let three = of(&runs(&[&[1, 2], &[1, 2, 3, 4], &[1, 2]]));
    assert_eq!((three.behaviors, three.singletons), (4, 2));
    assert_eq!(three.runs_with_singletons, 1);
    assert_near(three.chance.expect("an estimate").expected, 1.0 / 3.0);
    assert_near(three.share.expect("an estimate").expected, 0.5 / 3.0);
}

#[test]
fn what_two_runs_showed_is_not_new_and_widens_the_bound() {
    let mut ten = vec![BTreeSet::from([1, 2]); 10];
    let settled = of(&ten).chance.expect("an estimate");
    ten[3].insert(9);
    ten[7].insert(9);
    let unsettled = of(&ten);
    let chance = unsettled.chance.expect("an estimate");
    assert_eq!((unsettled.runs_unsettled, chance.expected), (2, 0.0));
    assert!(chance.at_most > settled.at_most);
}

#[test]
fn partial_runs_are_named_with_every_reason() {
    let mut profile = RunProfile::default();
    profile.lose(Loss::RingFull, 214);
    profile.lose(Loss::Store, 0);
    let partial = Partial::of(&key("a"), &profile).expect("partial");
    let said: Vec<String> = partial.reasons.iter().map(Gap::to_string).collect();
    assert_eq!(
        said,
        [
            "nothing says that it was watched from its beginning",
            "214 events were lost (ring-full)"
        ]
    );
    profile.late = true;
    let partial = Partial::of(&key("a"), &profile).expect("partial");
    assert_eq!(partial.reasons[0], Gap::Late);

    let whole = RunProfile {
        start: Some(Moment(0)),
        ..RunProfile::default()
    };
    assert_eq!(Partial::of(&key("a"), &whole), None);
    let none: [Vec<(u32, usize)>; 0] = [];
    let readiness = assess(&none, vec![partial.clone()], Vec::new());
    assert_eq!(
        (readiness.runs, &readiness.left_out[..]),
        (0, &[partial][..])
    );
}

#[test]
fn the_json_is_for_programs() {
    let partial = Partial {
        run: key("late"),
        reasons: vec![
            Gap::Late,
            Gap::Lost {
                reason: Loss::RingFull,
                count: 3,
            },
        ],
    };
    let left = LeftOut {
        run: key("a"),
        denied: 1,
        of: 40,
    };
    let value = serde_json::to_value(assess(
        &once_each(&runs(&[&[1]])),
        vec![partial],
        vec![left],
    ))
    .expect("JSON");
    assert_eq!(value["chance"]["at_most"], 1.0);
    assert_eq!(value["left_out"][0]["run"]["run"], "late");
    assert_eq!(value["left_out"][0]["reasons"][0]["gap"], "late");
    assert_eq!(value["left_out"][0]["reasons"][1]["reason"], "ring-full");
    assert_eq!(value["left_one_out"][0]["denied"], 1);
}

proptest! {
    #[test]
    fn the_order_of_the_runs_makes_no_difference_and_a_bound_is_not_below_its_estimate(
        mut complete in proptest::collection::vec(
            proptest::collection::btree_set(0..12u32, 0..6), 0..9),
        turn in 0..9usize,
    ) {
        let before = of(&complete);
        let len = complete.len();
        if len > 0 {
            complete.rotate_left(turn % len);
        }
        prop_assert_eq!(&before, &of(&complete));
        for estimate in [before.chance, before.share].into_iter().flatten() {
            let Estimate { expected, at_most } = estimate;
            prop_assert!(0.0 <= expected && expected <= at_most && at_most <= 1.0);
            prop_assert!(at_most > 0.0);
        }
    }

    #[test]
    fn a_partial_run_is_one_with_a_gap(
        start in any::<bool>(), late in any::<bool>(), lost in 0..3u64,
    ) {
        let mut profile = RunProfile {
            start: start.then_some(Moment(0)),
            late,
            ..RunProfile::default()
        };
        profile.lose(Loss::RingFull, lost);
        let partial = Partial::of(&key("a"), &profile);
        prop_assert_eq!(partial.is_some(), profile.is_partial());
    }
}

/// SplitMix64 with a fixed seed: each test run draws alike.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    fn is_within(&mut self, probability: f64) -> bool {
        ((self.roll() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

/// How runs come about. Each shows the behaviours 0 to 3 besides.
enum Model {
    /// Behaviour `i` (from 1) is shown with probability `top / i^slope`, apart from the others.
    Apart { many: u32, top: f64, slope: f64 },
    /// With probability `any` the run is of one of `many` kinds, each as probable as the others,
    /// and shows what is of its kind: one behaviour, or four, or sixteen.
    Kinds { many: u32, any: f64 },
    /// As `Kinds`, the kind `i` with a weight of `1 / i`.
    UnevenKinds { many: u32, any: f64 },
}

impl Model {
    fn run(&self, dice: &mut Dice) -> BTreeSet<u32> {
        let mut shown: BTreeSet<u32> = (0..4).collect();
        match *self {
            Self::Apart { many, top, slope } => {
                let is_shown = |i: &u32| dice.is_within(top / f64::from(*i).powf(slope));
                shown.extend((1..=many).filter(is_shown).map(|i| 100 * i));
            }
            Self::Kinds { many, any } => {
                if dice.is_within(any) {
                    shown.extend(kind(dice.below(many as usize) as u32));
                }
            }
            Self::UnevenKinds { many, any } => {
                let mut rest: f64 = (1..=many).map(|i| 1.0 / f64::from(i)).sum();
                if dice.is_within(any) {
                    for i in 1..=many {
                        let weight = 1.0 / f64::from(i);
                        if dice.is_within(weight / rest) {
                            shown.extend(kind(i));
                            break;
                        }
                        rest -= weight;
                    }
                }
            }
        }
        shown
    }
}

fn kind(kind: u32) -> impl Iterator<Item = u32> {
    let size = [1, 4, 16][kind as usize % 3];
    (0..size).map(move |i| 100 * (kind + 1) + i)
}

/// The share of draws of `drawn` among `population` for which each bound covers the truth: the
/// share of the remaining runs that show anything new, and the mean share of new in a run.
fn coverage(population: &[BTreeSet<u32>], drawn: usize, draws: usize, dice: &mut Dice) -> [f64; 2] {
    let mut order: Vec<usize> = (0..population.len()).collect();
    let mut covered = [0u32; 2];
    for _ in 0..draws {
        for at in 0..drawn {
            let with = at + dice.below(order.len() - at);
            order.swap(at, with);
        }
        let (seen, held_out) = order.split_at(drawn);
        let seen: Vec<BTreeSet<u32>> = seen.iter().map(|i| population[*i].clone()).collect();
        let known: BTreeSet<u32> = seen.iter().flatten().copied().collect();
        let new: Vec<f64> = held_out
            .iter()
            .map(|i| {
                let run = &population[*i];
                run.difference(&known).count() as f64 / run.len() as f64
            })
            .collect();
        let chance = new.iter().filter(|share| **share > 0.0).count() as f64;
        let share: f64 = new.iter().sum();
        let readiness = of(&seen);
        for (at, (sum, estimate)) in [(chance, readiness.chance), (share, readiness.share)]
            .into_iter()
            .enumerate()
        {
            let at_most = estimate.expect("an estimate").at_most;
            covered[at] += u32::from(sum / new.len() as f64 <= at_most + 1e-12);
        }
    }
    covered.map(|n| f64::from(n) / draws as f64)
}

#[test]
fn the_bounds_cover_the_truth_in_95_of_100_draws_of_heavy_tailed_runs() {
    let apart = |many, top, slope| Model::Apart { many, top, slope };
    let models = [
        ("apart, many at 1/i", apart(100, 1.0, 1.0)),
        ("apart, many at 0.5/i^2", apart(100, 0.5, 2.0)),
        ("apart, many at 0.3/i", apart(50, 0.3, 1.0)),
        ("apart, 30 at 0.2 each", apart(30, 0.2, 0.0)),
        ("apart, one at 0.1", apart(1, 0.1, 0.0)),
        ("four kinds", Model::Kinds { many: 4, any: 1.0 }),
        ("two kinds at 0.6", Model::Kinds { many: 2, any: 0.6 }),
        ("three kinds at 0.9", Model::Kinds { many: 3, any: 0.9 }),
        ("five kinds at 0.3", Model::Kinds { many: 5, any: 0.3 }),
        (
            "100 kinds",
            Model::Kinds {
                many: 100,
                any: 1.0,
            },
        ),
        ("uneven kinds", Model::UnevenKinds { many: 30, any: 1.0 }),
        (
            "uneven kinds at 0.3",
            Model::UnevenKinds { many: 30, any: 0.3 },
        ),
    ];
    let mut dice = Dice(20_261_125);
    for (name, model) in models {
        let population: Vec<_> = (0..90).map(|_| model.run(&mut dice)).collect();
        for drawn in [1, 2, 3, 5, 10, 20] {
            let [chance, share] = coverage(&population, drawn, 400, &mut dice);
            eprintln!("{name}, {drawn} runs: chance {chance:.3}, share {share:.3}");
            assert!(
                chance >= CONFIDENCE && share >= CONFIDENCE,
                "{name}, {drawn} runs: chance covered {chance}, share {share}"
            );
        }
    }
}

//! The bounds of readiness against what the policies deny, but for what quarantine holds.
//!
//! A bound is about the chance that the next run is denied anything, and that chance is not known:
//! where m runs are left, the share of them that is hit swings about it. So the bounds are held
//! against three things.
//!
//! - **The others**: the runs that were not drawn. Told are the draws in which their share is not above
//!   the bound, and those in which it is not so far above that the bound is refuted: as many hits or
//!   more among m runs would come in fewer than one of twenty cases, were the chance as high as the bound.
//! - **Drawn again**: the k runs are drawn with replacement, as if the recorded runs were all that there
//!   are, each as likely as any other. Then the chance is known, and nothing swings.
//! - **Next in time**: learned from k runs that follow one another, held against the one after them. Where
//!   workloads drift, more of these are hit than of runs that were drawn.

use learner::policy::meaning::Enforced;
use learner::readiness::{CONFIDENCE, Estimate};
use learner::recommend::Recommendation;
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::trial::{Asked, Trial};

/// One of the two estimates against its truth, summed over draws.
#[derive(Default)]
struct Against {
    expected: f64,
    at_most: f64,
    truth: f64,
    covered: f64,
}

impl Against {
    fn add(&mut self, estimate: Estimate, truth: f64) {
        self.expected += estimate.expected;
        self.at_most += estimate.at_most;
        self.truth += truth;
        // The truth is a mean of as many values as there are runs, so it may be off by its last digit.
        self.covered += f64::from(truth <= estimate.at_most + 1e-9);
    }
}

/// Both estimates against what was denied of the same runs.
#[derive(Default)]
struct Checked {
    draws: f64,
    chance: Against,
    share: Against,
    not_refuted: f64,
}

impl Checked {
    fn add(
        &mut self,
        made: &Recommendation,
        held: &Enforced,
        asked: &Asked<'_>,
        runs: impl IntoIterator<Item = usize>,
    ) {
        let (Some(chance), Some(share)) = (made.readiness.chance, made.readiness.share) else {
            return;
        };
        let denied: Vec<f64> = runs
            .into_iter()
            .map(|run| asked.denied(run, held))
            .collect();
        let hits = denied.iter().filter(|share| **share > 0.0).count();
        let of = denied.len() as f64;
        self.draws += 1.0;
        self.chance.add(chance, hits as f64 / of);
        self.share.add(share, denied.iter().sum::<f64>() / of);
        self.not_refuted += f64::from(!refutes(hits, denied.len(), chance.at_most));
    }

    fn mean(&self, sum: f64) -> String {
        format!("{:.2}", 100.0 * sum / self.draws.max(1.0))
    }

    fn part(&self, count: f64) -> String {
        format!("{:.1}", 100.0 * count / self.draws.max(1.0))
    }
}

/// Whether so many hits would be rare if a hit were as likely as that.
fn refutes(hits: usize, of: usize, chance: f64) -> bool {
    let trials = Binomial::new(chance.min(1.0), of as u64).expect("a chance");
    hits > 0 && trials.sf(hits as u64 - 1) < 1.0 - CONFIDENCE
}

pub(crate) const COLUMNS: [&str; 11] = [
    "chance expected %",
    "at most %",
    "of the others %",
    "covered %",
    "not refuted %",
    "drawn again: at most, true %",
    "covered %",
    "share at most, of the others %",
    "covered %",
    "drawn again: covered %",
    "next in time: expected, at most, true %",
];

/// The bounds of one trial.
pub(crate) struct Bounds<'a> {
    asked: &'a Asked<'a>,
    others: Checked,
    again: Checked,
    in_time: Checked,
}

impl<'a> Bounds<'a> {
    pub(crate) fn of(asked: &'a Asked<'a>) -> Self {
        Self {
            asked,
            others: Checked::default(),
            again: Checked::default(),
            in_time: Checked::default(),
        }
    }

    /// One draw, with the runs that were not drawn.
    pub(crate) fn add(&mut self, made: &Recommendation, held: &Enforced, others: &[usize]) {
        self.others
            .add(made, held, self.asked, others.iter().copied());
    }

    /// So many draws with replacement, and every row of k runs that has a next one.
    pub(crate) fn draw_again(&mut self, trial: &Trial<'_>, draws: usize) {
        let all = self.asked.runs();
        let mut rng = fastrand::Rng::with_seed(1000 + trial.k as u64);
        for _ in 0..draws {
            let drawn: Vec<usize> = (0..trial.k).map(|_| rng.usize(..all)).collect();
            if let Some(made) = trial.learn(&drawn) {
                let held = trial.enforced(&[&made.policy]);
                self.again.add(&made, &held, self.asked, 0..all);
            }
        }
        let mut in_time: Vec<usize> = (0..all).collect();
        in_time.sort_by_key(|run| trial.runs[*run].1.start);
        for row in in_time.windows(trial.k + 1) {
            if let Some(made) = trial.learn(&row[..trial.k]) {
                let held = trial.enforced(&[&made.policy]);
                self.in_time.add(&made, &held, self.asked, [row[trial.k]]);
            }
        }
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        let Self {
            others,
            again,
            in_time,
            ..
        } = self;
        let (chance, share, next) = (&others.chance, &others.share, &in_time.chance);
        vec![
            others.mean(chance.expected),
            others.mean(chance.at_most),
            others.mean(chance.truth),
            others.part(chance.covered),
            others.part(others.not_refuted),
            format!(
                "{}, {}",
                again.mean(again.chance.at_most),
                again.mean(again.chance.truth)
            ),
            again.part(again.chance.covered),
            format!(
                "{}, {}",
                others.mean(share.at_most),
                others.mean(share.truth)
            ),
            others.part(share.covered),
            again.part(again.share.covered),
            format!(
                "{}, {}, {}",
                in_time.mean(next.expected),
                in_time.mean(next.at_most),
                in_time.mean(next.truth)
            ),
        ]
    }
}

//! How much the next run may still show for the first time.
//!
//! The unit is the run, since runs are what repeats: events of one run say little about another.
//! What counts is behaviour after generalising: all that one rule of the policy allows is one
//! behaviour. So a name that was never seen and that a rule allows is nothing new. What was seen and
//! has no rule is denied in each run that does it, and counts as new in each.
//!
//! Two quantities are estimated, both about the next run of the same kind:
//!
//! - **chance**: that it shows anything new;
//! - **share**: the expected part of what it does, in distinct operations, that is new: what a policy
//!   made of these runs would deny of it.
//!
//! The estimates are Good and Turing's, counted by runs (incidence): each run is left out in turn,
//! and what only it showed (a singleton) would have been new. That is without bias for `n - 1` runs
//! and so errs on the safe side for `n`.
//!
//! A bound is [`CONFIDENCE`] sure in this sense: over draws of `n` runs, at least so often the truth
//! for that draw is not above it. The exact binomial bound (Clopper and Pearson) for the runs that
//! own a singleton does not keep this promise: what a run shows again depends on the others, and a
//! behaviour seen twice says as much about what is missing as one seen once (Esty 1983 has
//! `Q1 + 2 Q2` in the variance). In the worst of several hundred models it covers 80 % (n = 2) to
//! 86 % (n = 60). So two things are counted against the runs here:
//!
//! - a run is held to be **unsettled** if it owns a behaviour that at most three runs showed (and
//!   not all of them), rather than one;
//! - one run names what is to be expected and is no trial of it: there are `n - 1` trials. For runs
//!   that are all alike this is exact: the chance that `n - 1` runs repeat the first when a share
//!   `u` would not is at most `(1 - u)^(n - 1)`.
//!
//! So `n` runs without anything rare are bounded by `1 - 0.05^(1/(n - 1))`, about `3/n`: the rule of
//! three. The bound is checked by simulation (`readiness/tests.rs`), not proven.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF};

use crate::observation::Loss;
use crate::profile::RunProfile;
use crate::workload::RunKey;

/// How sure the bounds are.
pub const CONFIDENCE: f64 = 0.95;

/// A behaviour that at most so many runs showed, and not all of them, is rare.
const RARE: usize = 3;

/// What the complete runs of a workload revision say about the next one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Readiness {
    /// Complete runs: those that are counted.
    pub runs: usize,
    /// Partial runs, which are not, in the order of their keys.
    pub left_out: Vec<Partial>,
    /// Distinct behaviours, over the complete runs.
    pub behaviors: usize,
    /// Of these, seen in one run only.
    pub singletons: usize,
    /// Runs that own a singleton.
    pub runs_with_singletons: usize,
    /// Runs that own a behaviour which at most three runs showed, and not all of them.
    pub runs_unsettled: usize,
    /// Chance that the next run shows anything new. `None` without runs.
    pub chance: Option<Estimate>,
    /// Expected share of the next run's distinct operations that is new. `None` without runs.
    pub share: Option<Estimate>,
    /// How sure `at_most` is.
    pub confidence: f64,
    /// Each run against what was learned from the others, in the order of their keys.
    pub left_one_out: Vec<LeftOut>,
}

/// A quantity between 0 and 1 that is not known exactly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The expected value; 1 for a single run.
    pub expected: f64,
    /// The upper bound; above 0 and not below `expected`.
    pub at_most: f64,
}

/// One run against the policy that was learned from all the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The run.
    pub run: RunKey,
    /// Of its distinct behaviours, those that the policy denies.
    pub denied: usize,
    /// Its distinct behaviours.
    pub of: usize,
}

/// A run that is not counted, since it may have done what was not seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partial {
    /// The run.
    pub run: RunKey,
    /// Why; not empty.
    pub reasons: Vec<Gap>,
}

impl Partial {
    /// `None` for a run that was watched whole.
    pub fn of(run: &RunKey, profile: &RunProfile) -> Option<Self> {
        let mut reasons = Vec::new();
        if profile.late {
            reasons.push(Gap::Late);
        } else if profile.start.is_none() {
            reasons.push(Gap::NoStart);
        }
        let lost = profile.lost.iter().filter(|(_, count)| **count > 0);
        reasons.extend(lost.map(|(reason, count)| Gap::Lost {
            reason: reason.clone(),
            count: *count,
        }));
        (!reasons.is_empty()).then(|| Self {
            run: run.clone(),
            reasons,
        })
    }
}

/// What is missing of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "gap")]
pub enum Gap {
    /// It had begun before it was watched.
    Late,
    /// Nothing says that it was watched from its beginning.
    NoStart,
    /// Events were seen and could not be recorded.
    Lost {
        /// Why.
        reason: Loss,
        /// How many.
        count: u64,
    },
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("it had begun before it was watched"),
            Self::NoStart => f.write_str("nothing says that it was watched from its beginning"),
            Self::Lost { reason, count } => write!(f, "{count} events were lost ({reason})"),
        }
    }
}

/// Estimates from the complete runs' generalised behaviours, whatever stands for one; for each run
/// those that it showed, each once, and of each how many things it did: so many are new where the behaviour is.
///
/// `left_out` and `left_one_out` are handed through, sorted. The order of the arguments makes no
/// difference.
pub fn assess<T: Ord>(
    complete: &[Vec<(T, usize)>],
    mut left_out: Vec<Partial>,
    mut left_one_out: Vec<LeftOut>,
) -> Readiness {
    left_out.sort_by(|a, b| a.run.cmp(&b.run));
    left_one_out.sort_by(|a, b| a.run.cmp(&b.run));
    let runs = complete.len();
    let mut shown: BTreeMap<&T, usize> = BTreeMap::new();
    for (behavior, _) in complete.iter().flatten() {
        *shown.entry(behavior).or_default() += 1;
    }
    let single = shares(complete, |behavior| shown[behavior] == 1);
    let rare = shares(complete, |behavior| {
        shown[behavior] <= RARE && shown[behavior] < runs
    });
    let above_zero = |shares: &[f64]| shares.iter().filter(|share| **share > 0.0).count();
    let (with_singletons, unsettled) = (above_zero(&single), above_zero(&rare));
    let among = |sum: f64| sum / runs as f64;
    Readiness {
        runs,
        left_out,
        behaviors: shown.len(),
        singletons: shown.values().filter(|runs| **runs == 1).count(),
        runs_with_singletons: with_singletons,
        runs_unsettled: unsettled,
        chance: (runs > 0).then(|| Estimate {
            expected: among(with_singletons as f64),
            at_most: chance_at_most(unsettled, runs),
        }),
        share: (runs > 0).then(|| Estimate {
            expected: among(single.iter().sum()),
            at_most: share_at_most(&rare, runs),
        }),
        confidence: CONFIDENCE,
        left_one_out,
    }
}

/// Of each run, the share of what it did whose behaviour is so; greatest first, so that a sum of them
/// does not depend on the order of the runs.
fn shares<T>(runs: &[Vec<(T, usize)>], is_so: impl Fn(&T) -> bool) -> Vec<f64> {
    let share = |run: &Vec<(T, usize)>| {
        let so = run.iter().filter(|(behavior, _)| is_so(behavior));
        let so: usize = so.map(|(_, count)| count).sum();
        match run.iter().map(|(_, count)| count).sum() {
            0usize => 0.0,
            all => so as f64 / all as f64,
        }
    };
    let mut shares: Vec<f64> = runs.iter().map(share).collect();
    shares.sort_by(|a, b| b.total_cmp(a));
    shares
}

/// Clopper and Pearson's upper bound for `hits` in one trial less than there are runs.
fn chance_at_most(hits: usize, runs: usize) -> f64 {
    let trials = runs.saturating_sub(1);
    if hits >= trials {
        return 1.0;
    }
    Beta::new(hits as f64 + 1.0, (trials - hits) as f64)
        .map_or(1.0, |beta| beta.inverse_cdf(CONFIDENCE))
}

/// An expected share is the chance that the share is above `t`, summed over all `t` from 0 to 1;
/// each of these chances is bounded by the number of runs whose share of rare behaviours is above
/// `t`. `rare` is sorted, greatest first.
///
/// Nothing is taken from how small the shares were: a kind of run that was never seen may be new
/// altogether. So the bound does not go below that of a chance which never occurred.
fn share_at_most(rare: &[f64], runs: usize) -> f64 {
    let mut sum = 0.0;
    let mut above = 1.0;
    for (hits, share) in rare.iter().chain([&0.0]).enumerate() {
        sum += (above - share) * chance_at_most(hits, runs);
        above = *share;
    }
    sum
}

#[cfg(test)]
mod tests;

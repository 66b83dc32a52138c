//! What policies deny of the runs that they were not learned from.
//!
//! Told apart is what no rule about names could have known: by the rules that all runs lead to, it is
//! nothing that any of the runs did that were learned from. The rest of what is denied was done by them
//! under another name.

use std::collections::{BTreeMap, BTreeSet};

use learner::behavior::{Access, Behavior, Op};
use learner::generalize::{Generalized, Need, generalize};
use learner::mention::Tombstones;
use learner::policy::meaning::{Enforced, Operation, Verdict};
use learner::profile::RunProfile;
use learner::quarantine::{Include, sort};
use learner::recommend::Recommendation;

use crate::outside::{ANYTHING, seen_in};
use crate::trial::{Run, Trial};

/// What a behaviour needs, each with whether it is written.
fn needs(rules: &Generalized, behavior: &Behavior) -> Vec<(Need, bool)> {
    let writes = !matches!(behavior.op, Op::Exec | Op::Open(Access::Read));
    let needs = rules.needs_of_behavior(behavior, false).into_iter();
    needs.map(|need| (need, writes)).collect()
}

pub(crate) const COLUMNS: [&str; 8] = [
    "denied %",
    "runs hit %",
    "held %",
    "hit by else %",
    "new %",
    "hit by a name %",
    "rules",
    "entries",
];

/// Sums over all draws.
pub(crate) struct Denials {
    everything: Enforced,
    by_all: Generalized,
    /// Of each run what it needed, by the rules that all runs lead to, and whether for writing.
    needed: Vec<BTreeSet<(Need, bool)>>,
    draws: usize,
    operations: usize,
    denied: usize,
    hit: usize,
    /// Of the operations that were denied those whose like quarantine holds for a person's word.
    held: usize,
    /// Runs in which anything else was denied.
    hit_else: usize,
    /// Of all operations those that were denied, are not held, and are none that was learned from,
    /// whatever the names.
    new: usize,
    /// Runs in which anything was denied that is neither held nor new.
    hit_by_name: usize,
    rules: usize,
    entries: usize,
    most: BTreeMap<String, usize>,
    /// What no policy allows.
    never: BTreeMap<String, usize>,
}

impl Denials {
    pub(crate) fn of(trial: &Trial<'_>) -> Self {
        let profiles: Vec<_> = trial.runs.iter().map(|(_, run)| *run).collect();
        let by_all = generalize(&seen_in(&profiles), &ANYTHING).expect("any number of rules");
        let of_run = |profile: &&RunProfile| {
            let learnable = profile.seen.keys().filter(|b| b.is_learnable());
            learnable
                .flat_map(|behavior| needs(&by_all, behavior))
                .collect()
        };
        Self {
            everything: trial.with_everything(),
            needed: profiles.iter().map(of_run).collect(),
            by_all,
            draws: 0,
            operations: 0,
            denied: 0,
            hit: 0,
            held: 0,
            hit_else: 0,
            new: 0,
            hit_by_name: 0,
            rules: 0,
            entries: 0,
            most: BTreeMap::new(),
            never: BTreeMap::new(),
        }
    }

    /// One draw: what the policy denies of the run, and from which runs it was learned. Told back is what was denied.
    pub(crate) fn add(
        &mut self,
        made: &Recommendation,
        policy: &Enforced,
        run: Run<'_>,
        drawn: &[usize],
    ) -> Vec<String> {
        let mut told = Vec::new();
        self.draws += 1;
        self.rules += made.rules.len();
        self.entries += made.budget.map_or(0, |(entries, _)| entries);
        let (key, profile) = run;
        let runs = [run];
        let sorted = sort(&runs, &Include::default(), &Tombstones::default());
        let (mut any, mut any_else, mut any_by_name) = (false, false, false);
        for behavior in profile.seen.keys().filter(|b| b.is_learnable()) {
            self.operations += 1;
            let operation = Operation::from(behavior);
            if self.everything.judge(&operation).verdict == Verdict::Denied {
                *self.never.entry(behavior.to_string()).or_default() += 1;
                continue;
            }
            if policy.judge(&operation).verdict == Verdict::Allowed {
                continue;
            }
            self.denied += 1;
            any = true;
            let why = if !sorted.learned[key].contains_key(behavior) {
                self.held += 1;
                "held"
            } else if self.is_new(behavior, drawn) {
                any_else = true;
                self.new += 1;
                "new"
            } else {
                any_else = true;
                any_by_name = true;
                "another name"
            };
            let shown = format!("{behavior} ({why})");
            told.push(shown.clone());
            *self.most.entry(shown).or_default() += 1;
        }
        self.hit += usize::from(any);
        self.hit_else += usize::from(any_else);
        self.hit_by_name += usize::from(any_by_name);
        told
    }

    fn is_new(&self, behavior: &Behavior, drawn: &[usize]) -> bool {
        let known = |(need, writes): (Need, bool)| {
            drawn.iter().any(|run| {
                let needed = &self.needed[*run];
                // What was written may be read, too.
                needed.contains(&(need.clone(), true))
                    || !writes && needed.contains(&(need.clone(), false))
            })
        };
        !needs(&self.by_all, behavior).into_iter().all(known)
    }

    /// Says what no policy allows, and so many of what was denied most often.
    pub(crate) fn tell(&self, trial: &Trial<'_>, most: usize) {
        let Trial {
            workload,
            k,
            enforcer,
            tightness,
            ..
        } = trial;
        for what in self.never.keys() {
            eprintln!("{workload} {enforcer}: no policy allows {what}");
        }
        let mut shown: Vec<_> = self.most.iter().collect();
        shown.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (what, times) in shown.into_iter().take(most) {
            eprintln!("{workload} k={k} {enforcer} {tightness:?}: {times}x {what}");
        }
    }

    /// In the order of [`COLUMNS`].
    pub(crate) fn cells(&self) -> Vec<String> {
        let of =
            |part: usize, whole: usize| format!("{:.2}", 100.0 * part as f64 / whole.max(1) as f64);
        let mean = |sum: usize| format!("{:.0}", sum as f64 / self.draws.max(1) as f64);
        vec![
            of(self.denied, self.operations),
            of(self.hit, self.draws),
            of(self.held, self.operations),
            of(self.hit_else, self.draws),
            of(self.new, self.operations),
            of(self.hit_by_name, self.draws),
            mean(self.rules),
            mean(self.entries),
        ]
    }
}

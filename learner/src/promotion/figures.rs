//! What a decision reads of the evidence, as numbers.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::interruption::spans;
use super::quiet::quiet;
use super::reason::{Listed, Reason};
use super::{Criteria, Docket, Told};
use crate::alert::Alert;
use crate::behavior::Behavior;
use crate::candidate::{Fate, Frozen, rules};
use crate::generalize::Dialect;
use crate::mention::{Mention, Tombstones};
use crate::observation::Moment;
use crate::posture::{Freeze, Revision};
use crate::profile::{Evidence, RunProfile};
use crate::quarantine::{self, Held, Quarantine, Sorted};
use crate::recommend::{Criteria as Making, Recommendation, assess, recommend_merged};
use crate::shared::Sifted;
use crate::workload::{RunKey, Workload};

/// All that the gate reads. Durations and moments are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Runs of the revision.
    pub runs: usize,
    /// Those of them that were watched whole.
    pub whole: usize,
    /// Start-ups seen from their first exec since the freeze.
    pub started: usize,
    /// Distinct behaviours that were seen since the window began.
    pub active: usize,
    /// Alerts that no person has decided about; none if there are none.
    pub alerts: Option<Opened>,
    /// Alerts that a person has had forgotten: they hold nothing up.
    pub dismissed: usize,
    /// Watched without loss since `quiet_from`.
    pub quiet: u64,
    /// When the window began, or the last alert was seen.
    pub quiet_from: Option<Moment>,
    /// Runs in this time that do not count, and why.
    pub unwatched: Listed,
    /// When alerts may have been missed in this time, which does not count.
    #[serde(default)]
    pub interruptions: Listed,
    /// Rules of the candidate.
    pub rules: usize,
    /// Those of them that were used since the window began.
    pub hit: usize,
    /// Held in quarantine, and neither forgotten nor accepted.
    pub undecided: Listed,
    /// A person has had it forgotten, and the candidate allows it.
    #[serde(default)]
    pub allows_forgotten: Listed,
    /// Learned before the freeze, and denied by the candidate.
    pub own_denied: Listed,
    /// Why this machine cannot enforce the candidate; `None` where it can, or where others are to.
    #[serde(default)]
    pub unenforceable: Option<String>,
    /// Bound on the chance that the next run shows anything new; none without whole runs, and where
    /// nobody wanted it.
    pub risk: Option<f64>,
    /// Why no candidate can be frozen; empty where one can be or is.
    pub no_freeze: Vec<Reason>,
    /// The first denial of the workload's own doing since the promotion to block.
    pub denial: Option<Seen>,
    /// What speaks against a promotion beside the evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<Reason>,
}

/// Alerts that are open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// The first sighting since the freeze.
    pub since: Moment,
    /// The last sighting.
    pub last: Moment,
    /// The alerts.
    pub alerts: Listed,
}

/// One thing, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: Moment,
    /// What, safe for a terminal.
    pub what: String,
    /// What decides.
    pub why: String,
}

impl Figures {
    /// Of a revision without a candidate; `made` is what could be frozen, or why there is nothing.
    pub(super) fn learning(
        runs: &[(&RunKey, &RunProfile)],
        since: Option<Moment>,
        made: &Result<Recommendation, String>,
    ) -> Self {
        let (whole, fresh) = whole(runs, since);
        let mut no_freeze = Vec::new();
        if fresh == 0 {
            no_freeze.push(Reason::NoWholeRun {
                runs: runs.len(),
                since,
            });
        }
        match made {
            Ok(made) => Self {
                risk: made.readiness.chance.map(|chance| chance.at_most),
                undecided: undecided(&made.quarantine).collect(),
                ..Self::bare(runs, whole, no_freeze)
            },
            Err(why) => {
                no_freeze.push(Reason::NoPolicy { why: why.clone() });
                Self::bare(runs, whole, no_freeze)
            }
        }
    }

    fn bare(runs: &[(&RunKey, &RunProfile)], whole: usize, no_freeze: Vec<Reason>) -> Self {
        Self {
            runs: runs.len(),
            whole,
            no_freeze,
            ..Self::default()
        }
    }

    /// Of a revision that is judged; with its risk, if that is wanted.
    #[expect(clippy::too_many_arguments, reason = "all that a decision reads")]
    pub(super) fn judged(
        revision: &Revision,
        runs: &[(&RunKey, &RunProfile)],
        frozen: &Frozen,
        alerts: &[Alert],
        sorted: Sieve<'_>,
        docket: &Docket<'_>,
        risk: bool,
        now: Moment,
    ) -> Self {
        let started = started(runs, &sorted, frozen.freeze());
        let freeze = frozen.freeze();
        let open = || alerts.iter().filter(|alert| !alert.dismissed);
        let opened = open().map(|alert| alert.first).min().map(|since| Opened {
            since,
            last: open().map(|alert| alert.last).max().unwrap_or(since),
            alerts: open().map(|alert| &alert.act).collect(),
        });
        let last = opened.as_ref().map(|opened| opened.last);
        let quiet_from = freeze.window_from.max(last.unwrap_or(freeze.window_from));
        let watched = quiet(runs, quiet_from, now);
        let heard = watched.spans.without(&spans(docket.interruptions));
        let (active, hit) = exercised(runs, frozen);
        let enforcer = frozen.candidate().paper().enforcer;
        let making = Making {
            enforcer,
            tightness: frozen.candidate().paper().tightness,
            leave_out: 0,
            ..Making::default()
        };
        let own_denied = own_denied(&sorted.learned(), frozen);
        let undecided = undecided(sorted.quarantine()).collect();
        let workload = &revision.workload;
        let told = sorted.told();
        let readiness = match sorted {
            _ if !risk => None,
            Sieve::Told(_, told) => {
                let making = Making {
                    include: docket.include.and(frozen.candidate().include()),
                    forgotten: docket.forgotten.clone(),
                    ledger: docket.ledger.clone(),
                    ..making
                };
                let made = recommend_merged(workload, told.merged, &making).ok();
                made.map(|made| made.readiness)
            }
            Sieve::Seen(sorted) => assess(workload, docket.evidence, &making, sorted).ok(),
        };
        let chance = readiness.and_then(|readiness| readiness.chance);
        Self {
            runs: runs.len(),
            whole: whole(runs, None).0,
            started,
            active,
            alerts: opened,
            dismissed: alerts.iter().filter(|alert| alert.dismissed).count(),
            quiet: u64::try_from(heard.total().as_micros()).unwrap_or(u64::MAX),
            quiet_from: Some(quiet_from),
            unwatched: watched
                .unwatched
                .iter()
                .map(|(key, why)| format!("{} {why}", key.run.escape_debug()))
                .collect(),
            interruptions: docket
                .interruptions
                .iter()
                .filter(|one| one.to > quiet_from && one.from < now)
                .collect(),
            rules: rules(frozen.candidate().policy()).len(),
            hit: hit.len(),
            own_denied,
            undecided,
            allows_forgotten: still_allowed(workload, docket.evidence, frozen, docket.forgotten)
                .into_iter()
                .collect(),
            unenforceable: docket
                .unenforceable
                .filter(|_| enforcer == Dialect::Learner)
                .map(str::to_owned),
            risk: chance.map(|chance| chance.at_most),
            no_freeze: Vec::new(),
            denial: denial(alerts),
            besides: told.map_or_else(Vec::new, |told| {
                told.hold.into_iter().chain(told.besides).cloned().collect()
            }),
        }
    }

    /// What speaks against block; empty if nothing does.
    pub(super) fn against_block(&self, freeze: &Freeze, criteria: &Criteria) -> Vec<Reason> {
        let mut reasons = self.besides.clone();
        if let Some(why) = &self.unenforceable {
            reasons.push(Reason::Unenforceable { why: why.clone() });
        }
        if let Some(Opened { since, alerts, .. }) = &self.alerts {
            reasons.push(Reason::Alerts {
                since: *since,
                alerts: alerts.clone(),
            });
        }
        if self.quiet < criteria.window {
            reasons.push(Reason::NotQuiet {
                quiet: self.quiet,
                window: criteria.window,
                unwatched: self.unwatched.clone(),
                interruptions: self.interruptions.clone(),
            });
        }
        if self.active == 0 {
            reasons.push(Reason::Idle {
                since: freeze.window_from,
            });
        }
        if self.started == 0 {
            reasons.push(Reason::NoStart {
                since: freeze.judged_from,
            });
        }
        if self.whole < criteria.min_runs {
            reasons.push(Reason::TooFewRuns {
                whole: self.whole,
                wanted: criteria.min_runs,
            });
        }
        if let Some(wanted) = criteria.min_exercise
            && (self.hit as f64) < wanted * self.rules as f64
        {
            reasons.push(Reason::Unexercised {
                hit: self.hit,
                rules: self.rules,
                wanted,
            });
        }
        if self.undecided.count > 0 {
            reasons.push(Reason::Undecided {
                held: self.undecided.clone(),
            });
        }
        if let Some(wanted) = criteria.max_risk
            && self.risk.is_none_or(|at_most| at_most > wanted)
        {
            reasons.push(Reason::Risk {
                at_most: self.risk,
                wanted,
            });
        }
        if self.allows_forgotten.count > 0 {
            reasons.push(Reason::AllowsForgotten {
                forgotten: self.allows_forgotten.clone(),
            });
        }
        if self.own_denied.count > 0 {
            reasons.push(Reason::DeniesItsOwn {
                operations: self.own_denied.clone(),
            });
        }
        reasons
    }
}

/// Runs watched whole, and those of them that began since.
fn whole(runs: &[(&RunKey, &RunProfile)], since: Option<Moment>) -> (usize, usize) {
    let whole = || runs.iter().filter(|(_, run)| !run.is_partial());
    let fresh = whole().filter(|(_, run)| since.is_none_or(|since| run.start >= Some(since)));
    (whole().count(), fresh.count())
}

/// What the runs of a revision are sorted into: as they were seen here, or by what nodes have told.
pub(super) enum Sieve<'a> {
    Seen(Sorted<'a>),
    Told(Sifted<'a>, &'a Told<'a>),
}

impl<'a> Sieve<'a> {
    pub(super) fn quarantine(&self) -> &Quarantine {
        match self {
            Self::Seen(sorted) => &sorted.quarantine,
            Self::Told(sifted, _) => &sifted.quarantine,
        }
    }

    fn learned(&self) -> BTreeSet<&'a Behavior> {
        match self {
            Self::Seen(sorted) => {
                let learned = sorted.learned.values().flat_map(|run| run.keys());
                learned.copied().collect()
            }
            Self::Told(sifted, _) => sifted.learned.clone(),
        }
    }

    fn told(&self) -> Option<&'a Told<'a>> {
        match self {
            Self::Seen(_) => None,
            Self::Told(_, told) => Some(told),
        }
    }
}

/// Each behaviour once. Many runs share one, which is compared once.
pub(super) fn distinct<'b>(all: impl Iterator<Item = &'b Behavior>) -> BTreeSet<&'b Behavior> {
    let mut known = HashSet::new();
    all.filter(|behavior| known.insert(std::ptr::from_ref(*behavior)))
        .collect()
}

fn started(runs: &[(&RunKey, &RunProfile)], sorted: &Sieve<'_>, freeze: &Freeze) -> usize {
    let has_entry = |key: &RunKey, run: &RunProfile| match sorted {
        // Its node says so.
        Sieve::Told(sifted, _) => sifted.entered.contains(key),
        Sieve::Seen(_) => !quarantine::entries(run).is_empty(),
    };
    let is_started = |key: &RunKey, run: &RunProfile| {
        !run.late && run.start.is_some_and(|start| freeze.judges(start)) && has_entry(key, run)
    };
    let runs = runs.iter();
    runs.filter(|(key, run)| is_started(key, run)).count()
}

/// Distinct behaviours since the window began, and the rules that let them through.
fn exercised(runs: &[(&RunKey, &RunProfile)], frozen: &Frozen) -> (usize, BTreeSet<String>) {
    let from = frozen.freeze().window_from;
    let seen = runs.iter().flat_map(|(_, run)| &run.seen);
    let since = seen.filter(|(behavior, seen)| seen.last >= from && behavior.is_learnable());
    let behaviors = distinct(since.map(|(behavior, _)| behavior));
    let hit = behaviors
        .iter()
        .flat_map(|behavior| frozen.judge().rules_for(behavior))
        .collect();
    (behaviors.len(), hit)
}

/// What is held, and neither denied nor an alert.
pub(super) fn undecided(quarantine: &Quarantine) -> impl Iterator<Item = &Held> {
    let decided = [quarantine::Reason::Denied, quarantine::Reason::Alert];
    let held = quarantine.held.iter();
    held.filter(move |held| decided.iter().all(|reason| !held.reasons.contains(reason)))
}

/// What is learned is no alert: it was seen before the freeze, or the candidate allows it.
fn own_denied(learned: &BTreeSet<&Behavior>, frozen: &Frozen) -> Listed {
    let denied: BTreeSet<String> = learned
        .iter()
        .filter_map(|behavior| match frozen.judge().judge(behavior) {
            Fate::Allowed => None,
            Fate::Denied(why) | Fate::Unknown(why) => Some(format!("{behavior}: {why}")),
        })
        .collect();
    denied.into_iter().collect()
}

/// What a person has had forgotten of a workload, and its candidate allows: as it was recorded, or by
/// any program that a rule names.
pub fn still_allowed<'a>(
    workload: &Workload,
    evidence: &Evidence,
    frozen: &Frozen,
    forgotten: &'a Tombstones,
) -> Vec<&'a Mention> {
    let programs = frozen.candidate().programs();
    if forgotten.iter().all(|(of, _)| of != workload) {
        return Vec::new();
    }
    let runs = evidence.runs().iter();
    let of_it = runs.filter(|(key, _)| key.workload == *workload);
    let recorded = of_it
        .flat_map(|(_, run)| run.seen.keys())
        .filter(|behavior| behavior.is_learnable() && forgotten.bury(workload, behavior));
    let recorded = distinct(recorded);
    let allows = |behavior: &Behavior| frozen.judge().judge(behavior) == Fate::Allowed;
    forgotten
        .iter()
        .filter(|(of, _)| *of == workload)
        .map(|(_, mention)| mention)
        .filter(|mention| {
            let mut of_it = recorded.iter().filter(|behavior| mention.touches(behavior));
            of_it.any(|behavior| allows(behavior))
                || mention.attempts(&programs).any(|attempt| allows(&attempt))
        })
        .collect()
}

fn denial(alerts: &[Alert]) -> Option<Seen> {
    let denials = alerts.iter().filter(|alert| !alert.dismissed);
    let (at, alert) = denials
        .filter_map(|alert| alert.denial.map(|at| (at, alert)))
        .min_by_key(|(at, alert)| (*at, alert.id))?;
    Some(Seen {
        at,
        what: alert.act.to_string(),
        why: alert.why.clone(),
    })
}

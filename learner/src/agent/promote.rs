//! What the agent promotes by: the part of its configuration that is a job.

use serde::{Deserialize, Deserializer, Serialize};

use super::config::{BadConfig, Span};
use crate::generalize::{Dialect, Tightness};
use crate::mention::{BadMention, Mention};
use crate::promotion::Criteria;
use crate::quarantine::Include;

/// How often the agent promotes, and what a promotion takes, as by the options of `learner promote`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Promote {
    /// How often all workloads are reviewed.
    #[serde(deserialize_with = "every")]
    pub every: Span,
    /// Quiet time that a promotion to block takes.
    #[serde(deserialize_with = "window")]
    pub window: Span,
    /// Runs that were watched whole.
    pub min_runs: usize,
    /// Percentage of the candidate's rules that was used since the window began; null: any.
    pub min_exercise: Option<f64>,
    /// Highest bound, in percent, on the chance that the next run shows anything new; null: any.
    pub max_risk: Option<f64>,
    /// How long after the promotion a denial takes it back.
    #[serde(deserialize_with = "canary")]
    pub canary: Span,
    /// Who is to enforce a candidate: Learner's own programs on this machine, or KubeArmor's BPF-LSM.
    pub enforcer: Dialect,
    /// How far a candidate may go beyond what was seen.
    pub tightness: Tightness,
    /// What a candidate learns although it is held, each as `PATH` or `OP:PATH`.
    pub include: Vec<String>,
}

impl Default for Promote {
    fn default() -> Self {
        let Criteria { min_runs, .. } = Criteria::default();
        Self {
            every: Span::seconds(600),
            window: Span::seconds(24 * 3_600),
            min_runs,
            min_exercise: None,
            max_risk: None,
            canary: Span::seconds(3_600),
            enforcer: Dialect::Learner,
            tightness: Tightness::default(),
            include: Vec::new(),
        }
    }
}

impl Promote {
    pub(super) fn check(&self) -> Result<(), BadConfig> {
        let is_percentage = |percent: &f64| (0.0..=100.0).contains(percent);
        if !self.min_exercise.as_ref().is_none_or(is_percentage) {
            let why = "promote.min_exercise: a number from 0 to 100 is needed";
            return Err(BadConfig::Value(why));
        }
        if !self.max_risk.as_ref().is_none_or(is_percentage) {
            let why = "promote.max_risk: a number from 0 to 100 is needed";
            return Err(BadConfig::Value(why));
        }
        if !matches!(self.enforcer, Dialect::Learner | Dialect::Bpf) {
            let why = "promote.enforcer: one of learner and bpf is needed";
            return Err(BadConfig::Value(why));
        }
        self.include()?;
        Ok(())
    }

    /// What a candidate learns although it is held.
    ///
    /// # Errors
    /// [`BadMention`].
    pub fn include(&self) -> Result<Include, BadMention> {
        let mentions = self
            .include
            .iter()
            .map(|text| Mention::parse(text.as_bytes()));
        Ok(Include::from(mentions.collect::<Result<Vec<_>, _>>()?))
    }

    /// What a promotion to block takes.
    pub(super) fn criteria(&self) -> Criteria {
        let micros = |Span(span)| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Criteria {
            window: micros(self.window),
            min_runs: self.min_runs,
            min_exercise: self.min_exercise.map(|percent| percent / 100.0),
            max_risk: self.max_risk.map(|percent| percent / 100.0),
            canary: micros(self.canary),
            ..Criteria::default()
        }
    }
}

fn every<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    Span::often("every", from)
}

fn window<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    Span::long("window", from)
}

fn canary<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    Span::long("canary", from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::Config;
    use crate::promotion::Rollback;

    #[test]
    fn a_promotion_by_the_agent_takes_what_one_by_the_job_takes_unless_told() {
        assert_eq!(Promote::default().criteria(), Criteria::default());
        assert_eq!(Config::default().criteria(), Criteria::default());
        assert_eq!(
            Config::parse("promote: {}").expect("valid").promote,
            Some(Promote::default())
        );
        let text =
            "rollback: never\npromote: {window: 720h, min_runs: 5, max_risk: 2.5, canary: 0s}\n";
        let criteria = Config::parse(text).expect("valid").criteria();
        assert_eq!(criteria.window, 30 * 24 * 3_600_000_000);
        assert_eq!((criteria.min_runs, criteria.canary), (5, 0));
        assert_eq!(
            (criteria.max_risk, criteria.rollback),
            (Some(0.025), Rollback::Never)
        );
    }
}

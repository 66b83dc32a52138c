//! When the alerts of an enforcer that is not ours may have been missed.

use std::collections::BTreeMap;
use std::fmt;

use super::reason::At;
use crate::observation::{Loss, Moment};
use crate::posture::Revision;
use crate::profile::{Evidence, RunProfile, unheard};
use crate::span::{Span, Spans};
use crate::workload::{RunKey, Workload};

/// Interruptions for the same reason that began within this time, in microseconds, are kept as one, and the
/// time between them does not count either: an hour. So a stream that breaks all the time does not fill
/// what is kept.
const TOGETHER: i64 = 3_600_000_000;

/// Time that does not count as quiet, though nothing was heard in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// Since when.
    pub from: Moment,
    /// Until when.
    pub to: Moment,
    /// Why.
    pub why: Missed,
}

/// Why alerts may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// There were too many a second, and the enforcer dropped some.
    Throttled,
    /// The stream of alerts ended.
    Ended,
    /// The stream of alerts broke, or could not be had; in words that are safe for a terminal.
    Broken(String),
    /// The enforcer does not tell what the candidate is about, as when KubeArmor's visibility is off.
    Blind(String),
    /// A node that runs it told nothing; its name, safe for a terminal.
    Silent(String),
    /// The alerts could not be heard, or not all of them: it was kept without the reason in its words.
    Unheard,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled => f.write_str("KubeArmor dropped alerts"),
            Self::Ended => f.write_str("KubeArmor's alerts ended"),
            Self::Broken(cause) => write!(f, "KubeArmor's alerts broke off ({cause})"),
            Self::Blind(what) => write!(f, "KubeArmor did not tell of {what}"),
            Self::Silent(node) => write!(f, "node {node} told nothing"),
            Self::Unheard => f.write_str("KubeArmor's alerts could not be heard"),
        }
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, why } = self;
        match from.0 {
            i64::MIN => write!(f, "{why} until {}", At(*to)),
            _ => write!(f, "{why} from {} to {}", At(*from), At(*to)),
        }
    }
}

impl Interruption {
    /// As it is kept among the runs of a revision, with the name it has there: a
    /// [gap](RunProfile::is_gap). The same interruption, told again when it is longer, is the same gap.
    pub fn gap(&self) -> (String, RunProfile) {
        let reason = match self.why {
            Missed::Throttled => unheard::THROTTLED,
            Missed::Ended
            | Missed::Broken(_)
            | Missed::Blind(_)
            | Missed::Silent(_)
            | Missed::Unheard => unheard::INTERRUPTED,
        };
        let hour = Moment(self.from.0.div_euclid(TOGETHER).saturating_mul(TOGETHER));
        let profile = RunProfile {
            start: Some(self.from),
            stop: Some(self.to.max(self.from)),
            late: true,
            lost: BTreeMap::from([(Loss::from(reason), 1)]),
            ..RunProfile::default()
        };
        (format!("{reason}-{}", At(hour)), profile)
    }

    /// What a gap stands for; nothing for any other run.
    pub fn of_gap(run: &RunProfile) -> Option<Self> {
        let (from, to) = run.start.zip(run.stop).filter(|_| run.is_gap())?;
        let is_throttled = run.lost.keys().all(|of| of.as_str() == unheard::THROTTLED);
        let why = match is_throttled {
            true => Missed::Throttled,
            false => Missed::Unheard,
        };
        Some(Self { from, to, why })
    }
}

/// Adds interruptions, each of a workload or of every one, to the evidence of these revisions, as gaps.
pub fn keep_gaps<'r>(
    evidence: &mut Evidence,
    interruptions: &[(Option<Workload>, Interruption)],
    revisions: impl IntoIterator<Item = &'r Revision>,
) {
    for revision in revisions {
        for (whose, interruption) in interruptions {
            if whose.as_ref().is_some_and(|of| *of != revision.workload) {
                continue;
            }
            let (run, profile) = interruption.gap();
            let key = RunKey {
                workload: revision.workload.clone(),
                image: revision.image.clone(),
                run,
            };
            evidence.insert(key, profile);
        }
    }
}

/// The time that interruptions take, together.
pub(super) fn spans(interruptions: &[Interruption]) -> Spans {
    let spans = interruptions.iter();
    spans
        .filter_map(|one| Span::new(one.from.0, one.to.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn broken(from: i64, to: i64) -> Interruption {
        Interruption {
            from: Moment(from * MINUTE),
            to: Moment(to * MINUTE),
            why: Missed::Broken("odd".to_owned()),
        }
    }

    fn revision(name: &str) -> Revision {
        Revision {
            workload: format!("shop/Deployment/{name}")
                .parse()
                .expect("a workload"),
            image: "i".to_owned(),
        }
    }

    #[test]
    fn what_is_kept_is_no_run_and_says_when_and_why() {
        let (_, gap) = broken(1, 2).gap();
        assert!(gap.is_gap() && gap.is_partial());
        let back = Interruption::of_gap(&gap).expect("a gap");
        assert_eq!((back.from, back.to), (Moment(MINUTE), Moment(2 * MINUTE)));
        assert_eq!(back.why, Missed::Unheard);
        let throttled = Interruption {
            why: Missed::Throttled,
            ..broken(1, 2)
        };
        let (_, gap) = throttled.gap();
        assert_eq!(Interruption::of_gap(&gap), Some(throttled));
    }

    #[test]
    fn a_run_that_lost_something_else_or_was_seen_is_no_gap() {
        let (_, gap) = broken(1, 2).gap();
        let mut other = gap.clone();
        other.lose(Loss::RingFull, 1);
        let ended = RunProfile {
            stop: None,
            ..gap.clone()
        };
        let whole = RunProfile { late: false, ..gap };
        for run in [other, ended, whole, RunProfile::default()] {
            assert!(!run.is_gap(), "{run:?}");
            assert_eq!(Interruption::of_gap(&run), None);
        }
    }

    #[test]
    fn of_a_stream_that_breaks_all_the_time_one_gap_an_hour_is_kept() {
        let mut evidence = Evidence::default();
        let web = revision("web");
        let all: Vec<_> = (0..180).map(|at| (None, broken(at, at))).collect();
        keep_gaps(&mut evidence, &all, [&web]);
        let spans: Vec<_> = evidence
            .runs()
            .values()
            .filter_map(Interruption::of_gap)
            .map(|one| (one.from.0 / MINUTE, one.to.0 / MINUTE))
            .collect();
        assert_eq!(spans, [(0, 59), (60, 119), (120, 179)]);
    }

    #[test]
    fn an_interruption_of_one_workload_is_kept_of_that_alone() {
        let mut evidence = Evidence::default();
        let (web, db) = (revision("web"), revision("db"));
        let of_web = [(Some(web.workload.clone()), broken(1, 2))];
        keep_gaps(&mut evidence, &of_web, [&web, &db]);
        let kept: Vec<_> = evidence.runs().keys().map(|key| &key.workload).collect();
        assert_eq!(kept, [&web.workload]);
    }
}

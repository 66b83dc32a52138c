//! A review of one workload: what its evidence says, what is decided, and what to write down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::figures::{Figures, Sieve, distinct, undecided};
use super::reason::Listed;
use super::{Criteria, Interruption, Reason, Verdict, decide};
use crate::act::{Act, ActId};
use crate::alert::{Alert, alerts, alerts_told};
use crate::candidate::{Candidate, Fate, Frozen, Judge, Ledger, rules};
use crate::digest::Digest;
use crate::generalize::{Dialect, Tightness};
use crate::journal::{Actor, Cause, Draft};
use crate::mention::Tombstones;
use crate::observation::Moment;
use crate::posture::{Freeze, Posture, Revision, Standing};
use crate::profile::{Evidence, RunProfile};
use crate::quarantine::{Include, sort_judged};
use crate::recommend::{Criteria as Making, latest_image, recommend, recommend_told};
use crate::shared::Merged;
use crate::workload::{RunKey, Workload};

/// What a review is made of.
#[derive(Clone, Copy, Debug)]
pub struct Docket<'a> {
    /// All runs of the workload, and of the other containers of its owner.
    pub evidence: &'a Evidence,
    /// What was decided so far.
    pub ledger: &'a Ledger,
    /// What must not be learned.
    pub forgotten: &'a Tombstones,
    /// Who is to enforce a candidate that is frozen now.
    pub enforcer: Dialect,
    /// Why Learner's own programs cannot enforce anything on this machine; `None` where they can.
    pub unenforceable: Option<&'a str>,
    /// How far a candidate that is frozen now may go beyond what was seen.
    pub tightness: Tightness,
    /// What such a candidate learns although it is held.
    pub include: &'a Include,
    /// When alerts of another enforcer may have been missed: that time is not quiet.
    pub interruptions: &'a [Interruption],
    /// Whether the bound on the risk is wanted of what is judged, though no criterion asks for it. It
    /// takes most of the time of a review.
    pub risk: bool,
}

/// What the nodes of a cluster have told, and what else is to be said against a promotion.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The evidence of [`Docket`] is that of this.
    pub merged: &'a Merged,
    /// What speaks against a promotion to block, whatever the evidence says.
    pub besides: &'a [Reason],
    /// What speaks against any promotion.
    pub hold: Option<&'a Reason>,
}

/// What came of a review.
#[derive(Clone, Debug)]
pub struct Review {
    /// The workload at the image of its latest run.
    pub revision: Revision,
    /// Where it stood; nothing if nothing was decided of it so far.
    pub standing: Option<Standing>,
    /// What the evidence says.
    pub figures: Figures,
    /// Its alerts.
    pub alerts: Vec<Alert>,
    /// What is held in quarantine, and neither forgotten nor accepted.
    pub held: Vec<Act>,
    /// What is decided.
    pub verdict: Verdict,
    /// The image that it follows, and what differs, if it is a new image.
    pub change: Option<Change>,
    /// What is to be written, if anything moves.
    pub decision: Option<Move>,
}

impl Review {
    /// Of a workload of which it cannot be read where it stands: it stays there, whatever the evidence says.
    pub fn unreadable(revision: Revision, why: String) -> Self {
        Self {
            revision,
            standing: None,
            figures: Figures::default(),
            alerts: Vec::new(),
            held: Vec::new(),
            verdict: Verdict::Hold(vec![Reason::Unreadable { why }]),
            change: None,
            decision: None,
        }
    }

    /// Of a workload of which it is known that it stays where it stands. Its figures are not told.
    pub fn at_rest(revision: Revision, standing: Option<Standing>) -> Self {
        Self {
            revision,
            standing,
            figures: Figures::default(),
            alerts: Vec::new(),
            held: Vec::new(),
            verdict: Verdict::Stay,
            change: None,
            decision: None,
        }
    }

    /// Where it stood.
    pub fn posture(&self) -> Posture {
        Posture::at(self.standing.as_ref())
    }
}

/// What a new image does differently from the candidate that it starts with.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The image before.
    pub before: String,
    /// The posture that one has.
    pub posture: Posture,
    /// What the candidate denies.
    pub new: Vec<Act>,
    /// Rules of the candidate that were not used.
    pub removed: Vec<String>,
}

/// A decision with all that has to be written for it, together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Move {
    /// Where the revision stood when it was decided; nothing if nothing was decided of it so far.
    pub before: Option<Standing>,
    /// Where the revision stands from then on.
    pub standing: Standing,
    /// The candidate, if it is a new one.
    pub candidate: Option<Candidate>,
    /// The entry for the journal.
    pub draft: Draft,
}

/// Reviews a workload at the image of its latest run. `None` if nothing of it succeeded yet.
pub fn review(
    workload: &Workload,
    docket: &Docket<'_>,
    criteria: &Criteria,
    actor: Actor,
    now: Moment,
) -> Option<Review> {
    reviewed(workload, docket, None, criteria, actor, now)
}

/// As [`review`], of what the nodes of a cluster have told.
pub fn review_told(
    workload: &Workload,
    docket: &Docket<'_>,
    told: &Told<'_>,
    criteria: &Criteria,
    actor: Actor,
    now: Moment,
) -> Option<Review> {
    reviewed(workload, docket, Some(told), criteria, actor, now)
}

fn reviewed(
    workload: &Workload,
    docket: &Docket<'_>,
    told: Option<&Told<'_>>,
    criteria: &Criteria,
    actor: Actor,
    now: Moment,
) -> Option<Review> {
    let image = latest_image(workload, docket.evidence)?;
    let revision = Revision {
        workload: workload.clone(),
        image: image.to_owned(),
    };
    let standing = docket.ledger.standing(&revision).cloned();
    let all: Vec<(&RunKey, &RunProfile)> = docket
        .evidence
        .runs()
        .iter()
        .filter(|(key, _)| revision.has(key))
        .collect();
    let runs = all.iter().copied();
    let runs = runs.filter(|(_, run)| run.is_watched()).collect();
    let gaps = all.iter().map(|(_, run)| run);
    let interruptions: Vec<Interruption> = docket
        .interruptions
        .iter()
        .cloned()
        .chain(gaps.filter_map(|run| Interruption::of_gap(run)))
        .collect();
    let docket = &Docket {
        interruptions: &interruptions,
        ..*docket
    };
    let bench = Bench {
        revision,
        standing,
        runs,
        all,
        docket,
        told,
        criteria,
        actor,
        now,
    };
    Some(
        if let Some(frozen) = docket.ledger.frozen(&bench.revision) {
            bench.judged(frozen)
        } else if bench.standing.is_some() {
            bench.learning()
        } else {
            match predecessor(&bench.revision, docket.ledger) {
                Some((before, posture, frozen)) => bench.follows(before, posture, frozen),
                None => bench.learning(),
            }
        },
    )
}

/// The alerts of a workload, and what they are by.
#[derive(Clone, Debug)]
pub struct Hearing<'a> {
    /// The workload at the image of its latest run.
    pub revision: Revision,
    /// Where it stands.
    pub standing: &'a Standing,
    /// What it is judged by.
    pub frozen: &'a Frozen,
    /// Its alerts.
    pub alerts: Vec<Alert>,
}

/// The alerts of a workload, as [`review`] finds them. `None` if nothing is frozen for the image of its
/// latest run. `evidence` has all of its runs.
pub fn hear<'a>(
    workload: &Workload,
    evidence: &Evidence,
    ledger: &'a Ledger,
    forgotten: &Tombstones,
) -> Option<Hearing<'a>> {
    let revision = Revision {
        workload: workload.clone(),
        image: latest_image(workload, evidence)?.to_owned(),
    };
    let standing = ledger.standing(&revision)?;
    let frozen = ledger.frozen(&revision)?;
    let runs: Vec<_> = evidence.runs().iter().collect();
    Some(Hearing {
        alerts: alerts(&revision, &runs, frozen, forgotten),
        revision,
        standing,
        frozen,
    })
}

/// As [`hear`], of what the nodes of a cluster have told.
pub fn hear_told<'a>(
    workload: &Workload,
    merged: &Merged,
    ledger: &'a Ledger,
    forgotten: &Tombstones,
) -> Option<Hearing<'a>> {
    let revision = Revision {
        workload: workload.clone(),
        image: latest_image(workload, merged.evidence())?.to_owned(),
    };
    let standing = ledger.standing(&revision)?;
    let frozen = ledger.frozen(&revision)?;
    Some(Hearing {
        alerts: alerts_told(&revision, merged, frozen, forgotten),
        revision,
        standing,
        frozen,
    })
}

/// The image whose candidate a new one starts with: the one that something was decided of last.
fn predecessor<'a>(
    revision: &Revision,
    ledger: &'a Ledger,
) -> Option<(&'a str, Posture, &'a Frozen)> {
    ledger
        .iter()
        .filter(|(other, _)| other.workload == revision.workload)
        .filter_map(|(other, standing)| Some((other, standing, ledger.frozen(other)?)))
        .max_by_key(|(other, standing, _)| (standing.since(), *other))
        .map(|(other, standing, frozen)| {
            (other.image.as_str(), standing.posture(), frozen.as_ref())
        })
}

struct Bench<'a> {
    revision: Revision,
    standing: Option<Standing>,
    /// Those that were watched.
    runs: Vec<(&'a RunKey, &'a RunProfile)>,
    /// What other enforcers told too.
    all: Vec<(&'a RunKey, &'a RunProfile)>,
    docket: &'a Docket<'a>,
    told: Option<&'a Told<'a>>,
    criteria: &'a Criteria,
    actor: Actor,
    now: Moment,
}

impl Bench<'_> {
    fn draft(&self, to: Posture, cause: Cause, candidate: Digest, figures: &Figures) -> Draft {
        Draft {
            at: self.now,
            actor: self.actor,
            revision: self.revision.clone(),
            from: Posture::at(self.standing.as_ref()),
            to,
            cause,
            candidate: Some(candidate),
            criteria: Some(self.criteria.clone()),
            figures: Some(figures.clone()),
        }
    }

    fn verdict(&self, figures: &Figures) -> Verdict {
        decide(self.standing.as_ref(), figures, self.criteria, self.now)
    }

    fn learning(self) -> Review {
        let making = Making {
            enforcer: self.docket.enforcer,
            tightness: self.docket.tightness,
            include: self.docket.include.clone(),
            forgotten: self.docket.forgotten.clone(),
            ledger: self.docket.ledger.clone(),
            leave_out: 0,
            ..Making::default()
        };
        let workload = &self.revision.workload;
        let made = match self.told {
            Some(told) => recommend_told(workload, told.merged, &making),
            None => recommend(workload, self.docket.evidence, &making),
        };
        let made = made.map_err(|refusal| refusal.to_string());
        let since = self.standing.as_ref().map(Standing::since);
        let mut figures = Figures::learning(&self.runs, since, &made);
        let hold = self.told.and_then(|told| told.hold);
        figures.no_freeze.extend(hold.cloned());
        let frozen = made.and_then(|made| {
            let Include { mentions, acts } = self.docket.include.clone();
            let Docket {
                enforcer,
                tightness,
                ..
            } = *self.docket;
            Candidate::freeze(&made.policy, enforcer, tightness, mentions, acts)
                .map_err(|bad| bad.to_string())
        });
        let mut verdict = self.verdict(&figures);
        let mut decision = None;
        if verdict == Verdict::Promote {
            match frozen {
                Ok(candidate) => {
                    figures.rules = rules(candidate.policy()).len();
                    let digest = candidate.digest();
                    decision = Some(Move {
                        before: self.standing.clone(),
                        standing: Standing::Audit {
                            since: self.now,
                            freeze: Freeze {
                                candidate: digest,
                                judged_from: Some(self.now),
                                window_from: self.now,
                                blocked: None,
                            },
                        },
                        candidate: Some(candidate),
                        draft: self.draft(Posture::Audit, Cause::Promoted, digest, &figures),
                    });
                }
                Err(why) => verdict = Verdict::Hold(vec![Reason::NoPolicy { why }]),
            }
        }
        Review {
            figures,
            alerts: Vec::new(),
            held: Vec::new(),
            verdict,
            change: None,
            decision,
            standing: self.standing,
            revision: self.revision,
        }
    }

    fn figures(&self, frozen: &Frozen, ledger: &Ledger) -> (Vec<Alert>, Vec<Act>, Figures) {
        let Docket {
            include, forgotten, ..
        } = self.docket;
        let revision = &self.revision;
        let (sorted, alerts) = match self.told {
            Some(told) => {
                let sifted = told.merged.sifted(revision, include, forgotten, ledger);
                let alerts = alerts_told(revision, told.merged, frozen, forgotten);
                (Sieve::Told(sifted, told), alerts)
            }
            None => {
                let sorted = sort_judged(&self.runs, include, forgotten, ledger);
                let alerts = alerts(revision, &self.all, frozen, forgotten);
                (Sieve::Seen(sorted), alerts)
            }
        };
        let held = undecided(sorted.quarantine())
            .map(|held| Act {
                op: held.op.clone(),
                path: held.path.clone(),
                source: held.source.clone(),
            })
            .collect();
        let figures = Figures::judged(
            &self.revision,
            &self.runs,
            frozen,
            &alerts,
            sorted,
            self.docket,
            self.docket.risk || self.criteria.max_risk.is_some(),
            self.now,
        );
        (alerts, held, figures)
    }

    fn judged(self, frozen: &Frozen) -> Review {
        let (alerts, held, figures) = self.figures(frozen, self.docket.ledger);
        let verdict = self.verdict(&figures);
        let freeze = frozen.freeze().clone();
        let candidate = freeze.candidate;
        let decision = match &verdict {
            Verdict::Hold(_) | Verdict::Stay | Verdict::NewImage => None,
            Verdict::Promote => Some(Move {
                before: self.standing.clone(),
                standing: Standing::Block {
                    since: self.now,
                    freeze: Freeze {
                        blocked: Some(self.now),
                        ..freeze
                    },
                    canary_until: after(self.now, self.criteria.canary),
                    slice: None,
                },
                candidate: None,
                draft: self.draft(Posture::Block, Cause::Promoted, candidate, &figures),
            }),
            Verdict::Demote(reason) => {
                let reason = reason.clone();
                let cause = Cause::RolledBack { reason };
                Some(Move {
                    before: self.standing.clone(),
                    standing: Standing::Audit {
                        since: self.now,
                        freeze: Freeze {
                            window_from: self.now,
                            ..freeze
                        },
                    },
                    candidate: None,
                    draft: self.draft(Posture::Audit, cause, candidate, &figures),
                })
            }
        };
        Review {
            figures,
            alerts,
            held,
            verdict,
            change: None,
            decision,
            standing: self.standing,
            revision: self.revision,
        }
    }

    /// A new image starts under audit with the candidate of the one before.
    fn follows(self, before: &str, posture: Posture, old: &Frozen) -> Review {
        let freeze = Freeze {
            candidate: old.freeze().candidate,
            judged_from: None,
            window_from: self.now,
            blocked: None,
        };
        let standing = Standing::Audit {
            since: self.now,
            freeze: freeze.clone(),
        };
        let frozen = Arc::new(Frozen::new(old.share(), freeze));
        let mut ledger = self.docket.ledger.clone();
        ledger.note(self.revision.clone(), standing.clone(), frozen.clone());
        let (alerts, held, figures) = self.figures(&frozen, &ledger);
        let seen = self.runs.iter().flat_map(|(_, run)| run.seen.keys());
        let used: BTreeSet<String> = distinct(seen.filter(|behavior| behavior.is_learnable()))
            .into_iter()
            .flat_map(|behavior| frozen.judge().rules_for(behavior))
            .collect();
        let change = Change {
            before: before.to_owned(),
            posture,
            new: alerts.iter().map(|alert| alert.act.clone()).collect(),
            removed: rules(frozen.candidate().policy())
                .into_iter()
                .filter(|(field, _)| !used.contains(field))
                .map(|(_, about)| about)
                .collect(),
        };
        let cause = Cause::NewImage {
            before: change.before.clone(),
            new: change.new.iter().collect(),
            removed: change
                .removed
                .iter()
                .map(|rule| rule.escape_debug())
                .collect(),
        };
        let digest = frozen.freeze().candidate;
        let draft = self.draft(Posture::Audit, cause, digest, &figures);
        Review {
            decision: Some(Move {
                before: None,
                standing,
                candidate: None,
                draft,
            }),
            figures,
            alerts,
            held,
            verdict: Verdict::NewImage,
            change: Some(change),
            standing: None,
            revision: self.revision,
        }
    }
}

fn after(now: Moment, micros: u64) -> Moment {
    Moment(now.0.saturating_add_unsigned(micros))
}

/// Takes a revision back by a person's word: from block to audit, where the window begins anew, or to
/// learning, where what was an alert may be learned. `None` if it is not above that.
pub fn demote(
    revision: &Revision,
    standing: &Standing,
    to: Posture,
    reason: String,
    actor: Actor,
    now: Moment,
) -> Option<Move> {
    if standing.posture() <= to {
        return None;
    }
    let freeze = standing.freeze()?;
    let (after, candidate) = match to {
        Posture::Learning => (Standing::Learning { since: now }, None),
        Posture::Audit | Posture::Block => {
            let freeze = Freeze {
                window_from: now,
                ..freeze.clone()
            };
            let candidate = Some(freeze.candidate);
            (Standing::Audit { since: now, freeze }, candidate)
        }
    };
    Some(Move {
        before: Some(standing.clone()),
        draft: Draft {
            at: now,
            actor,
            revision: revision.clone(),
            from: standing.posture(),
            to: after.posture(),
            cause: Cause::Demoted { reason },
            candidate,
            criteria: None,
            figures: None,
        },
        standing: after,
        candidate: None,
    })
}

/// Why something cannot be accepted. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// Nothing is frozen.
    #[error("it is learning: nothing is frozen, and what it does is learned")]
    Learning,
    /// Another image runs now.
    #[error("its latest run has another image; `learner promote` puts that under audit first")]
    OldImage,
    /// A person has had it forgotten.
    #[error("{0} is forgotten; let it be learned again first: learner forget --undo PATH")]
    Forgotten(Act),
    /// No policy can be made.
    #[error("no policy: {0}")]
    NoPolicy(String),
    /// A policy cannot say it.
    #[error("{act} is denied all the same: {why}")]
    Denied {
        /// What.
        act: Act,
        /// What decides.
        why: String,
    },
}

/// A new candidate: of what the old one allows, and what is accepted. The window begins anew, under
/// audit; alerts that were not accepted stay open.
///
/// # Errors
/// [`Unacceptable`] if the new candidate would not allow all that is accepted.
pub fn accept(
    revision: &Revision,
    acts: &BTreeSet<Act>,
    docket: &Docket<'_>,
    actor: Actor,
    now: Moment,
) -> Result<Move, Unacceptable> {
    accepted(revision, acts, docket, None, actor, now)
}

/// As [`accept`], of what the nodes of a cluster have told; the evidence of the docket is that of this.
///
/// # Errors
/// As [`accept`].
pub fn accept_told(
    revision: &Revision,
    acts: &BTreeSet<Act>,
    docket: &Docket<'_>,
    merged: &Merged,
    actor: Actor,
    now: Moment,
) -> Result<Move, Unacceptable> {
    accepted(revision, acts, docket, Some(merged), actor, now)
}

fn accepted(
    revision: &Revision,
    acts: &BTreeSet<Act>,
    docket: &Docket<'_>,
    merged: Option<&Merged>,
    actor: Actor,
    now: Moment,
) -> Result<Move, Unacceptable> {
    let standing = docket.ledger.standing(revision);
    let frozen = docket.ledger.frozen(revision);
    let (standing, frozen) = standing.zip(frozen).ok_or(Unacceptable::Learning)?;
    if latest_image(&revision.workload, docket.evidence) != Some(revision.image.as_str()) {
        return Err(Unacceptable::OldImage);
    }
    let buried = |act: &&Act| docket.forgotten.bury(&revision.workload, &act.done());
    if let Some(act) = acts.iter().find(buried) {
        return Err(Unacceptable::Forgotten(act.clone()));
    }
    let paper = frozen.candidate().paper();
    let include = Include {
        mentions: paper.include.clone(),
        acts: paper.accepted.union(acts).cloned().collect(),
    };
    let making = Making {
        enforcer: paper.enforcer,
        tightness: paper.tightness,
        include: include.clone(),
        forgotten: docket.forgotten.clone(),
        ledger: docket.ledger.clone(),
        leave_out: 0,
        ..Making::default()
    };
    let no_policy = |why: String| Unacceptable::NoPolicy(why);
    let made = match merged {
        Some(merged) => recommend_told(&revision.workload, merged, &making),
        None => recommend(&revision.workload, docket.evidence, &making),
    };
    let made = made.map_err(|refusal| no_policy(refusal.to_string()))?;
    let Include {
        mentions,
        acts: all,
    } = include;
    let candidate = Candidate::freeze(&made.policy, paper.enforcer, paper.tightness, mentions, all)
        .map_err(|bad| no_policy(bad.to_string()))?;
    let judge = Judge::of(candidate.policy(), paper.enforcer);
    let done = docket.evidence.runs().iter();
    let done = done.filter(|(key, _)| revision.has(key));
    for behavior in done.flat_map(|(_, run)| run.seen.keys()) {
        let act = Act::of(behavior);
        if !acts.contains(&act) {
            continue;
        }
        if let Fate::Denied(why) | Fate::Unknown(why) = judge.judge(behavior) {
            return Err(Unacceptable::Denied { act, why });
        }
    }
    let since = match standing {
        Standing::Audit { since, .. } => *since,
        Standing::Learning { .. } | Standing::Block { .. } => now,
    };
    let ids: BTreeMap<ActId, &Act> = acts
        .iter()
        .map(|act| (ActId::of(&revision.workload, act), act))
        .collect();
    let digest = candidate.digest();
    Ok(Move {
        before: Some(standing.clone()),
        standing: Standing::Audit {
            since,
            freeze: Freeze {
                candidate: digest,
                window_from: now,
                ..frozen.freeze().clone()
            },
        },
        candidate: Some(candidate),
        draft: Draft {
            at: now,
            actor,
            revision: revision.clone(),
            from: standing.posture(),
            to: Posture::Audit,
            cause: Cause::Accepted {
                ids: ids.keys().copied().collect(),
                acts: Listed::from_iter(ids.values()),
            },
            candidate: Some(digest),
            criteria: None,
            figures: None,
        },
    })
}

//! What the agent decides, and what it says of alerts: from what is stored, off the thread that reads
//! the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::known::{Known, Stand};
use super::shelf::{News, Shelf};
use crate::alert::{Alert, Kind, alerts_besides};
use crate::candidate::{Frozen, Ledger};
use crate::generalize::{Dialect, Tightness};
use crate::journal::Actor;
use crate::kernel::Clock;
use crate::posture::{Posture, Revision, Standing};
use crate::promotion::{Criteria, Docket, Reason, Review, Rollback, Verdict, review, sentences};
use crate::quarantine::Include;
use crate::store::StoreError;
use crate::visible::visible;
use crate::workload::{RunKey, Workload};

/// What is decided by.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub criteria: Criteria,
    pub enforcer: Dialect,
    /// Why this machine cannot enforce.
    pub unenforceable: Option<String>,
    pub tightness: Tightness,
    pub include: Include,
}

/// Which workloads are reviewed besides those with news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pass {
    /// None.
    #[default]
    None,
    /// Those of which anything was decided; nothing is promoted.
    Judged,
    /// All, and what can be is promoted.
    Promote,
}

/// What is there to be judged in one turn.
#[derive(Debug, Default)]
pub(super) struct Docketed {
    pub news: News,
    pub pass: Pass,
}

/// What the agent knows of the workloads that are judged. It can be made anew at any time: what it
/// says is derived from the store.
pub(super) struct Bench {
    shelf: Arc<Shelf>,
    /// The clock of the events: a wall clock that is set moves no decision.
    clock: Clock,
    /// Set when the agent ends.
    ending: Arc<AtomicBool>,
    known: BTreeMap<Revision, Known>,
    /// Where each workload stands, at the image of its latest run.
    stands: BTreeMap<Workload, Stand>,
    /// What held each workload when it was last said.
    held: BTreeMap<Workload, Vec<&'static str>>,
    /// The run of an undecided image for which its workload was last reviewed.
    tried: BTreeMap<Revision, RunKey>,
    /// The first turn: what is open then has been said before, or was not watched by an agent.
    is_first: bool,
}

impl Bench {
    pub(super) fn new(shelf: Arc<Shelf>, clock: Clock, ending: Arc<AtomicBool>) -> Self {
        Self {
            shelf,
            clock,
            ending,
            known: BTreeMap::new(),
            stands: BTreeMap::new(),
            held: BTreeMap::new(),
            tried: BTreeMap::new(),
            is_first: true,
        }
    }

    /// Where each workload stands, as of the last turn.
    pub(super) fn stands(&self) -> Vec<Stand> {
        let open = |stand: &Stand| {
            let known = self.known.get(&stand.revision);
            (known.map_or(0, Known::open), known.map_or(0, |k| k.found))
        };
        let all = self.stands.values().map(|stand| {
            let (open, found) = open(stand);
            Stand {
                open,
                found,
                ..stand.clone()
            }
        });
        all.collect()
    }

    /// Judges what is new, and decides. What cannot be read is said, and left for the next time.
    pub(super) fn sit(&mut self, docketed: Docketed, terms: &Terms) {
        let Docketed { news, pass } = docketed;
        let ledger = self.shelf.ledger();
        let News {
            runs,
            workloads: mut whole,
        } = news;
        whole.retain(|workload| {
            let is_judged = ledger.is_judged(workload);
            if !is_judged {
                self.stands.remove(workload);
            }
            is_judged
        });
        let promoted = self.of_pass(pass, &ledger, &mut whole);
        for key in runs {
            if self.is_ending() || whole.contains(&key.workload) {
                continue;
            }
            match self.glance(&key, &ledger, terms) {
                Ok(true) => _ = whole.insert(key.workload),
                Ok(false) => {}
                Err(error) => unread(&key.workload, &error),
            }
        }
        for workload in whole {
            if self.is_ending() {
                return;
            }
            if let Err(error) = self.review(&workload, terms, promoted.contains(&workload)) {
                unread(&workload, &error);
            }
        }
        self.is_first = false;
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Adds the workloads of a pass; gives those that may be promoted.
    fn of_pass(
        &self,
        pass: Pass,
        ledger: &Ledger,
        whole: &mut BTreeSet<Workload>,
    ) -> BTreeSet<Workload> {
        let mut promoted = BTreeSet::new();
        match pass {
            Pass::None => {}
            Pass::Judged => {
                let judged = ledger.iter().filter(|(of, _)| ledger.frozen(of).is_some());
                whole.extend(judged.map(|(revision, _)| revision.workload.clone()));
            }
            Pass::Promote => match self.shelf.with(|store| store.summaries()) {
                Ok(all) => {
                    promoted = all.into_iter().map(|run| run.key.workload).collect();
                    whole.extend(promoted.iter().cloned());
                }
                Err(error) => tracing::error!("no workload was reviewed: {error}"),
            },
        }
        promoted
    }

    /// Looks at one run by itself, and says its new alerts. True: the whole workload has to be
    /// reviewed.
    fn glance(&mut self, key: &RunKey, ledger: &Ledger, terms: &Terms) -> Result<bool, StoreError> {
        let revision = Revision::of(key);
        let Some(frozen) = ledger.frozen(&revision) else {
            let is_new = ledger.standing(&revision).is_none() && ledger.is_judged(&key.workload);
            // Once for each run: an image that goes on beside a later one is not the latest.
            return Ok(is_new && self.tried.insert(revision, key.clone()).as_ref() != Some(key));
        };
        let (evidence, forgotten) = self.shelf.with(|store| {
            let evidence = store.load(|stored| stored == key)?;
            Ok((evidence, store.tombstones()?))
        })?;
        let runs: Vec<_> = evidence.runs().iter().collect();
        let standing = ledger.standing(&revision);
        let known = self.known.entry(revision.clone()).or_default();
        known.follow(frozen.freeze());
        let mut found = Vec::new();
        let mut needs_all = false;
        let all = alerts_besides(&revision, &runs, frozen, &forgotten, known.cleared());
        for alert in all.into_iter().filter(|alert| !alert.dismissed) {
            needs_all |= takes_back(standing, &alert, terms.criteria.rollback);
            match alert.kind {
                Kind::Done => found.push(alert),
                // Whether it was refused before, another run may say.
                Kind::Refused if known.has(alert.id) => {}
                Kind::Refused => {
                    known.suspect(alert.act);
                    needs_all = true;
                }
            }
        }
        say(known.add(&found), Posture::at(standing));
        Ok(needs_all)
    }

    /// Reviews a workload by all of its runs, and decides.
    fn review(
        &mut self,
        workload: &Workload,
        terms: &Terms,
        promotes: bool,
    ) -> Result<(), StoreError> {
        let (evidence, forgotten) = self.shelf.with(|store| {
            let evidence = store.load(|key| key.workload.is_beside(workload))?;
            Ok((evidence, store.tombstones()?))
        })?;
        // After the evidence: a decision that comes in between finds it overtaken.
        let ledger = self.shelf.ledger();
        let docket = Docket {
            evidence: &evidence,
            ledger: &ledger,
            forgotten: &forgotten,
            enforcer: terms.enforcer,
            unenforceable: terms.unenforceable.as_deref(),
            tightness: terms.tightness,
            include: &terms.include,
            interruptions: &[],
            risk: promotes,
        };
        let now = self.clock.moment();
        let Some(mut review) = review(workload, &docket, &terms.criteria, Actor::Agent, now) else {
            return Ok(());
        };
        if let Some(frozen) = ledger.frozen(&review.revision) {
            self.hear(&review, frozen);
        }
        self.stands
            .insert(workload.clone(), Stand::of(&review, terms.criteria.window));
        self.carry_out(&mut review, promotes);
        Ok(())
    }

    /// Takes note of the alerts of a review, and says those that are new.
    fn hear(&mut self, review: &Review, frozen: &Frozen) {
        let known = self.known.entry(review.revision.clone()).or_default();
        known.follow(frozen.freeze());
        known.settle(&review.alerts);
        let open = review.alerts.iter().filter(|alert| !alert.dismissed);
        let new = known.add(open);
        if self.is_first && !new.is_empty() {
            tracing::warn!(
                workload = %visible(&review.revision.workload.to_string()),
                open = new.len(),
                "alerts are open from before; learner alerts shows them"
            );
            return;
        }
        say(new, review.posture());
    }

    fn carry_out(&mut self, review: &mut Review, promotes: bool) {
        let name = visible(&review.revision.workload.to_string());
        match &review.verdict {
            Verdict::Hold(reasons) if promotes => {
                let words: Vec<&str> = reasons.iter().map(Reason::word).collect();
                let why = visible(&sentences(reasons));
                let posture = review.posture();
                let workload = review.revision.workload.clone();
                // The numbers change each time.
                if self.held.insert(workload, words.clone()).as_ref() == Some(&words) {
                    tracing::debug!(workload = %name, %posture, why, "held");
                } else {
                    tracing::info!(workload = %name, %posture, why, "held");
                }
            }
            Verdict::Promote if !promotes => {}
            Verdict::Promote | Verdict::Demote(_) | Verdict::NewImage => {
                if let Some(decided) = review.decision.take() {
                    self.held.remove(&review.revision.workload);
                    self.decide(decided, &name);
                }
            }
            Verdict::Hold(_) | Verdict::Stay => {}
        }
    }

    fn decide(&self, decided: crate::promotion::Move, name: &str) {
        match self.shelf.decide(&decided) {
            Ok(entry) => {
                let draft = &entry.draft;
                tracing::info!(
                    workload = %name,
                    image = %visible(&draft.revision.image),
                    from = %draft.from,
                    to = %draft.to,
                    verdict = draft.cause.word(),
                    candidate = draft.candidate.map(|digest| digest.short()),
                    entry = entry.number,
                    why = visible(&draft.cause.to_string()),
                    "decided"
                );
            }
            Err(StoreError::Overtaken { .. }) => {
                tracing::debug!(workload = %name, "decided by another meanwhile; the next review sees it");
            }
            Err(error) => tracing::error!(workload = %name, "a decision was not written: {error}"),
        }
    }
}

/// Whether the alert may take its revision back to audit: all of its runs then say whether it does.
fn takes_back(standing: Option<&Standing>, alert: &Alert, rollback: Rollback) -> bool {
    let (Some(Standing::Block { canary_until, .. }), Some(at)) = (standing, alert.denial) else {
        return false;
    };
    match rollback {
        Rollback::Always => true,
        Rollback::Canary => at < *canary_until,
        Rollback::Never => false,
    }
}

fn unread(workload: &Workload, error: &StoreError) {
    let name = visible(&workload.to_string());
    tracing::error!(workload = %name, "it was not judged, and will be at its next run or flush: {error}");
}

/// So many alerts of a workload are said one by one in a turn.
const SAID: usize = 20;

fn say(new: Vec<Alert>, posture: Posture) {
    for alert in new.iter().take(SAID) {
        let source = alert.act.source.as_ref().map(ToString::to_string);
        let to = alert.act.op.to().map(ToString::to_string);
        let runs: Vec<String> = alert.runs.iter().map(|run| visible(run)).collect();
        tracing::warn!(
            workload = %visible(&alert.revision.workload.to_string()),
            image = %visible(&alert.revision.image),
            run = runs.join(" "),
            alert = %alert.id,
            %posture,
            op = alert.act.op.name(),
            access = alert.act.op.access().map(crate::behavior::Access::as_str),
            path = %alert.act.path,
            to,
            source,
            by = alert.whose.word(),
            result = alert.kind.word(),
            why = visible(&alert.why),
            "an alert"
        );
    }
    if let (Some(first), true) = (new.first(), new.len() > SAID) {
        tracing::warn!(
            workload = %visible(&first.revision.workload.to_string()),
            more = new.len() - SAID,
            "more alerts; learner alerts shows them"
        );
    }
}

#[cfg(test)]
mod tests;

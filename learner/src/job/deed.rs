//! What a decision takes in the cluster: policies, and the posture of the namespace.

use std::collections::BTreeSet;

use super::enforcers::is_by_agents;
use super::{JobError, Neighbours, Ruling, Strategy, Watch, World};
use crate::candidate::Frozen;
use crate::cluster::policies::{CANDIDATE, Found, MANAGER, Note, POSTURE, Policies};
use crate::cluster::{Client, namespace, policies};
use crate::policy::meaning::Posture as Word;
use crate::policy::{Identity, Kind, Pod, Policy, names};
use crate::posture::{Posture, Revision, Standing};
use crate::profile::Evidence;
use crate::promotion::{Reason, Surroundings};
use crate::staging::{Behind, hazards};
use crate::visible::visible;
use crate::workload::Workload;

impl World {
    /// Has the server check what a promotion to block would write. What it does not take for the sake of
    /// others, or of a webhook, is a reason to hold.
    pub(super) async fn ask(&self, client: &Client, ruling: &mut Ruling) -> Result<(), JobError> {
        let Some(Standing::Block { .. }) = ruling.after else {
            return Ok(());
        };
        let frozen = self.ledger.frozen(&ruling.review.revision);
        // What Learner's agents enforce is written nowhere else than where it is decided.
        let Some(frozen) = frozen.filter(|frozen| !is_by_agents(frozen)) else {
            return Ok(());
        };
        let policy = frozen.candidate().policy();
        let note = self.note(policy, Posture::Block)?;
        let mut asked = policies::apply(client, policy, &note, true).await;
        if asked.is_ok() && !self.is_block() {
            let block = Some(Word::Block);
            asked = namespace::set_file_posture(client, &self.namespace, block, true).await;
        }
        match asked {
            Err(error) if error.is_refusal() => {
                let message = error.to_string();
                ruling.hold(Reason::Refused { message });
                Ok(())
            }
            asked => Ok(asked?),
        }
    }

    fn note(&self, policy: &Policy, posture: Posture) -> Result<Note, JobError> {
        let mut behind = Behind::default();
        for workload in self.selected(policy) {
            behind.add(policy, self.merged(workload)?.evidence());
        }
        Ok(Note {
            evidence: behind.to_string(),
            posture: Some(posture),
        })
    }

    /// The workloads with runs that a policy selects.
    fn selected(&self, policy: &Policy) -> Vec<&Workload> {
        let is_selected = |workload: &&Workload| {
            let mut labels = self.joint.labels(workload);
            labels.any(|labels| policy.selects(&Pod::of(workload, labels)))
        };
        let all = self.joint.workloads().into_iter();
        all.filter(is_selected).collect()
    }

    /// As [`hazards`]: whether there are none.
    fn is_harmless(&self, policy: &Policy) -> Result<bool, JobError> {
        let selected = self.selected(policy);
        if selected.is_empty() {
            return Ok(hazards(policy, &Evidence::default()).is_empty());
        }
        for workload in selected {
            if !hazards(policy, self.merged(workload)?.evidence()).is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does what was decided, and is not done yet. First goes what is not wanted any more, so that block
    /// finds no policy of a workload that is not ready; then the policies come, and the namespace is put
    /// under block last. Broken off anywhere, nothing is enforced that was not decided.
    pub(super) async fn reconcile(
        &self,
        client: &Client,
        strategy: Strategy,
        watch: &mut Watch<'_>,
    ) -> Result<(), JobError> {
        let plan = self.plan(strategy)?;
        let was_block = self.is_block();
        let mut gone = BTreeSet::new();
        for (revision, frozen) in &plan.unwanted {
            let identity = frozen.candidate().policy().identity();
            let Some(found) = self.policies.found.get(&identity) else {
                continue;
            };
            if !is_ours(found) {
                if was_block {
                    let workload = revision.workload.to_string();
                    tracing::warn!(
                        "{}: policy {identity} was applied by a person, and is enforced; delete it by hand",
                        visible(&workload)
                    );
                }
                continue;
            }
            watch.renew().await?;
            policies::delete(client, &identity, &found.version).await?;
            gone.insert(identity);
        }
        // KubeArmor's own configuration may say block.
        if !plan.audit.is_empty() && self.annotated.file_posture.is_none() {
            watch.renew().await?;
            let audit = Some(Word::Audit);
            namespace::set_file_posture(client, &self.namespace, audit, false).await?;
        }
        // One that the server does not take is no reason not to do the rest; but what is there by its name
        // is not what was decided, so block must not come.
        let mut refused = Ok(());
        for (frozen, posture) in plan.all() {
            match self.put(client, frozen, posture, watch).await {
                Err(JobError::Cluster(error)) if error.is_refusal() => {
                    refused = refused.and(Err(error));
                }
                put => put?,
            }
        }
        if !plan.block.is_empty() && !was_block && refused.is_ok() {
            self.switch(client, &plan, watch).await?;
        }
        if !plan.any_blocked && was_block && !self.is_relied_on(&gone) {
            watch.renew().await?;
            namespace::set_file_posture(client, &self.namespace, None, false).await?;
        }
        Ok(refused?)
    }

    /// Whether all is done that was decided: then [`World::reconcile`] changes nothing.
    pub(super) fn is_settled(&self, strategy: Strategy) -> Result<bool, JobError> {
        let plan = self.plan(strategy)?;
        let is_found = |frozen: &Frozen| {
            let policy = frozen.candidate().policy();
            self.policies.found.contains_key(&policy.identity())
        };
        let is_unwanted = plan.unwanted.iter().any(|(_, frozen)| is_found(frozen));
        let mut all = plan.all();
        let is_done = all.all(|(frozen, posture)| self.is_there(frozen, posture));
        let is_marked = plan.audit.is_empty() || self.annotated.file_posture.is_some();
        let is_switched = plan.block.is_empty() || self.is_block();
        let is_kept = plan.any_blocked || !self.is_block();
        Ok(!is_unwanted && is_done && is_marked && is_switched && is_kept)
    }

    fn plan(&self, strategy: Strategy) -> Result<Plan<'_>, JobError> {
        let mut plan = Plan::default();
        let near = self.neighbours(strategy);
        let revisions = self.all_revisions();
        let is_block = |revision: &Revision| {
            let frozen = self.ledger.frozen(revision);
            matches!(self.ledger.standing(revision), Some(Standing::Block { .. }))
                && frozen.is_some_and(|frozen| !is_by_agents(frozen))
        };
        plan.any_blocked = revisions.iter().any(is_block);
        for revision in revisions {
            let Some(frozen) = self.ledger.frozen(&revision) else {
                continue;
            };
            let policy = frozen.candidate().policy();
            let is_audit = strategy == Strategy::Namespace
                && !is_by_agents(frozen)
                && !plan.any_blocked
                && !self.is_block()
                && matches!(
                    self.ledger.standing(&revision),
                    Some(Standing::Audit { .. })
                )
                && self.is_harmless(policy)?;
            if !is_block(&revision) && !is_audit {
                plan.unwanted.push((revision, frozen));
            } else if is_audit {
                plan.audit.push(frozen);
            } else if self.against_finishing(&revision, &near).is_empty() {
                plan.block.push(frozen);
            } else {
                plan.is_kept_back |= self.policies.found.contains_key(&policy.identity());
            }
        }
        Ok(plan)
    }

    /// What speaks against doing what was decided of a revision under block and is not done, or was undone:
    /// much may have changed since. Empty if nothing does, and where it is done.
    pub(super) fn against_finishing(
        &self,
        revision: &Revision,
        near: &Neighbours<'_>,
    ) -> Vec<Reason> {
        let is_blocked = matches!(self.ledger.standing(revision), Some(Standing::Block { .. }));
        let Some(frozen) = self.ledger.frozen(revision).filter(|_| is_blocked) else {
            return Vec::new();
        };
        if is_by_agents(frozen) {
            return self.around(revision, frozen, near);
        }
        if self.is_block() && self.is_there(frozen, Posture::Block) {
            return Vec::new();
        }
        let hold = self.standings.hold(&revision.workload);
        let held = hold.map(|why| Reason::Held {
            why: why.to_owned(),
        });
        let around = self.around(revision, frozen, near);
        held.into_iter().chain(around).collect()
    }

    pub(super) fn is_there(&self, frozen: &Frozen, posture: Posture) -> bool {
        let policy = frozen.candidate().policy();
        let found = self.policies.found.get(&policy.identity());
        found.is_some_and(|found| {
            found.policy.spec == policy.spec
                && annotation(found, POSTURE) == Some(&posture.to_string())
                && annotation(found, CANDIDATE) == Some(&frozen.candidate().digest().to_string())
        })
    }

    /// Applies a policy, if it is not there as it should be. What a person has applied by its name stays.
    async fn put(
        &self,
        client: &Client,
        frozen: &Frozen,
        posture: Posture,
        watch: &mut Watch<'_>,
    ) -> Result<(), JobError> {
        let policy = frozen.candidate().policy();
        let found = self.policies.found.get(&policy.identity());
        let is_of_others = found.is_some_and(|found| !is_ours(found));
        if !is_of_others && !self.is_there(frozen, posture) {
            watch.renew().await?;
            policies::apply(client, policy, &self.note(policy, posture)?, false).await?;
        }
        Ok(())
    }

    /// Puts the namespace under block, unless there is by now what that would enforce beside what was
    /// decided: the next pass names it.
    async fn switch(
        &self,
        client: &Client,
        plan: &Plan<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), JobError> {
        let wanted: BTreeSet<Identity> = plan
            .all()
            .map(|(frozen, _)| frozen.candidate().policy().identity())
            .collect();
        let now = Policies::read(client, Some(&self.namespace)).await?;
        let is_new = |policy: &Policy| {
            !wanted.contains(&policy.identity())
                && !self.policies.found.contains_key(&policy.identity())
                && Surroundings::makes_a_list(&self.namespace, &self.pods, policy)
        };
        let newcomer = now.policies().find(|policy| is_new(policy));
        if plan.is_kept_back || newcomer.is_some() || !now.refused.is_empty() {
            tracing::warn!(
                "{}: not put under block now: that would enforce more than what was decided; the next \
                 pass says what",
                self.namespace
            );
            return Ok(());
        }
        watch.renew().await?;
        let block = Some(Word::Block);
        namespace::set_file_posture(client, &self.namespace, block, false).await?;
        Ok(())
    }

    /// Names the policies that a job has applied and of which nothing is kept any more: whether they were
    /// wanted nobody knows, so they stay.
    pub(super) fn say_orphans(&self) {
        let revisions = self.ledger.iter().map(|(revision, _)| revision);
        let mut kept: BTreeSet<Identity> = revisions
            .filter_map(|revision| self.ledger.frozen(revision))
            .map(|frozen| frozen.candidate().policy().identity())
            .collect();
        // What cannot be read is said by itself.
        kept.extend(self.unreadable.keys().map(|workload| Identity {
            kind: Kind::Policy,
            namespace: workload.namespace.clone(),
            name: names::policy_name(workload),
        }));
        for (identity, found) in &self.policies.found {
            if is_ours(found) && !kept.contains(identity) {
                let posture = annotation(found, POSTURE).map_or("", String::as_str);
                tracing::warn!(
                    "policy {identity}: a job has applied it under {}, and no WorkloadPosture says so any more. It \
                     stays: delete it by hand if it is not wanted",
                    visible(posture)
                );
            }
        }
    }

    /// Whether anything goes by the namespace's posture, apart from what has just gone.
    fn is_relied_on(&self, gone: &BTreeSet<Identity>) -> bool {
        let all = self.policies.found.iter();
        let mut rest = all.filter(|(identity, _)| !gone.contains(identity));
        !self.policies.refused.is_empty()
            || rest.any(|(_, found)| {
                Surroundings::makes_a_list(&self.namespace, &self.pods, &found.policy)
            })
    }
}

/// What is to be there, and what is not.
#[derive(Default)]
struct Plan<'w> {
    /// Of these there is no policy.
    unwanted: Vec<(Revision, &'w Frozen)>,
    /// These are under audit.
    audit: Vec<&'w Frozen>,
    /// These are enforced.
    block: Vec<&'w Frozen>,
    /// Any workload stands under block.
    any_blocked: bool,
    /// There is a policy of one that stands under block, and something speaks against it.
    is_kept_back: bool,
}

impl<'w> Plan<'w> {
    fn all(&self) -> impl Iterator<Item = (&'w Frozen, Posture)> {
        let audit = self.audit.iter().map(|frozen| (*frozen, Posture::Audit));
        let block = self.block.iter().map(|frozen| (*frozen, Posture::Block));
        audit.chain(block)
    }
}

/// A job has applied it, and not a person who has copied what a job has applied.
pub(super) fn is_ours(found: &Found) -> bool {
    let mut writers = found.writers.iter();
    annotation(found, POSTURE).is_some() && writers.any(|writer| writer.manager == MANAGER)
}

fn annotation<'f>(found: &'f Found, key: &str) -> Option<&'f String> {
    found.policy.metadata.annotations.get(key)
}

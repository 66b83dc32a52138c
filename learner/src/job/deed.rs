//! What a decision takes in the cluster: policies, and the posture of the namespace.

use super::{JobError, Ruling, Strategy, World};
use crate::candidate::Frozen;
use crate::cluster::policies::{CANDIDATE, Found, Note, POSTURE};
use crate::cluster::{Client, namespace, policies};
use crate::policy::Policy;
use crate::policy::meaning::Posture as Word;
use crate::posture::{Posture, Revision, Standing};
use crate::promotion::{Reason, Surroundings};
use crate::staging::behind;

impl World {
    /// Has the server check what a promotion to block would write. What it does not take for the sake of
    /// others, or of a webhook, is a reason to hold.
    pub(super) async fn ask(&self, client: &Client, ruling: &mut Ruling) -> Result<(), JobError> {
        let Some(Standing::Block { .. }) = ruling.after else {
            return Ok(());
        };
        let Some(frozen) = self.ledger.frozen(&ruling.review.revision) else {
            return Ok(());
        };
        let policy = frozen.candidate().policy();
        let note = self.note(policy, Posture::Block);
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

    fn note(&self, policy: &Policy, posture: Posture) -> Note {
        Note {
            evidence: behind(policy, self.merged.evidence()),
            posture: Some(posture),
        }
    }

    /// Does what was decided, and is not done yet. The namespace is put under block before the policies
    /// come, and taken out of it after they are gone.
    pub(super) async fn reconcile(
        &self,
        client: &Client,
        strategy: Strategy,
    ) -> Result<(), JobError> {
        let revisions = self.revisions();
        let standing = |revision: &Revision| self.ledger.standing(revision).cloned();
        let is_blocked =
            |revision: &&Revision| matches!(standing(revision), Some(Standing::Block { .. }));
        let any_blocked = revisions.iter().any(|revision| is_blocked(&revision));
        let was_block = self.is_block();
        if any_blocked && !was_block {
            let block = Some(Word::Block);
            namespace::set_file_posture(client, &self.namespace, block, false).await?;
        }
        for revision in &revisions {
            let Some(frozen) = self.ledger.frozen(revision) else {
                continue;
            };
            let wanted = match standing(revision) {
                Some(Standing::Block { .. }) => Some(Posture::Block),
                Some(Standing::Audit { .. })
                    if strategy == Strategy::Namespace && !any_blocked && !was_block =>
                {
                    Some(Posture::Audit)
                }
                _ => None,
            };
            self.policy(client, frozen, wanted).await?;
        }
        if !any_blocked && was_block && !self.is_relied_on() {
            namespace::set_file_posture(client, &self.namespace, None, false).await?;
        }
        Ok(())
    }

    /// Applies a policy, if it is not there as it should be; deletes one that a job has applied and that
    /// is not wanted any more.
    async fn policy(
        &self,
        client: &Client,
        frozen: &Frozen,
        wanted: Option<Posture>,
    ) -> Result<(), JobError> {
        let policy = frozen.candidate().policy();
        let identity = policy.identity();
        let found = self.policies.found.get(&identity);
        match wanted {
            Some(posture) => {
                let is_there = found.is_some_and(|found| {
                    found.policy.spec == policy.spec
                        && annotation(found, POSTURE) == Some(&posture.to_string())
                        && annotation(found, CANDIDATE)
                            == Some(&frozen.candidate().digest().to_string())
                });
                if !is_there {
                    let note = self.note(policy, posture);
                    policies::apply(client, policy, &note, false).await?;
                }
            }
            None => {
                if found.is_some_and(|found| annotation(found, POSTURE).is_some()) {
                    policies::delete(client, &identity.namespace, &identity.name).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether anything but what a job has applied goes by the namespace's posture.
    fn is_relied_on(&self) -> bool {
        let all = self.policies.found.values();
        let of_others = all.filter(|found| annotation(found, POSTURE).is_none());
        let mut of_others = of_others.map(|found| &found.policy);
        !self.policies.refused.is_empty()
            || of_others
                .any(|policy| Surroundings::makes_a_list(&self.namespace, &self.pods, policy))
    }
}

fn annotation<'f>(found: &'f Found, key: &str) -> Option<&'f String> {
    found.policy.metadata.annotations.get(key)
}

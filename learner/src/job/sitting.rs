//! What people decide of a namespace of a cluster, one at a time with the job.

use std::collections::BTreeSet;

use super::deed::is_ours;
use super::{Clock, JobError, World, take, tell};
use crate::act::Act;
use crate::candidate::Ledger;
use crate::cluster::lease::Lease;
use crate::cluster::news::News;
use crate::cluster::policies::{self, Policies};
use crate::cluster::standings::{self, Kept, Readable, Standings};
use crate::cluster::{Client, ForgottenRow, MAX_FORGOTTEN, Read, read};
use crate::generalize::{Dialect, Tightness};
use crate::journal::{Actor, Entry};
use crate::mention::{Mention, Tombstones};
use crate::observation::Moment;
use crate::posture::{Posture, Revision};
use crate::promotion::{self, Criteria, Docket, Move, Review, Told, Unacceptable, review_told};
use crate::quarantine::Include;
use crate::shared::Merged;
use crate::workload::Workload;

/// The evidence and the postures of a namespace, by who is the only one to decide there while it lasts.
pub struct Sitting {
    client: Client,
    world: World,
    merged: Merged,
    lease: Lease,
    clock: Clock,
    holder: String,
}

impl Sitting {
    /// Waits some seconds for a job that is at work.
    ///
    /// # Errors
    /// [`JobError`]; then nothing is held.
    pub async fn open(
        client: &Client,
        namespace: &str,
        holder: &str,
        now: Moment,
    ) -> Result<Self, JobError> {
        let clock = Clock {
            told: now,
            at: tokio::time::Instant::now(),
        };
        let lease = take(client, namespace, holder, &clock).await?;
        match World::of_people(client, namespace).await {
            Ok((world, merged)) => Ok(Self {
                client: client.clone(),
                world,
                merged,
                lease,
                clock,
                holder: holder.to_owned(),
            }),
            Err(error) => {
                lease.release().await;
                Err(error)
            }
        }
    }

    /// What all nodes have told of the namespace.
    pub fn merged(&self) -> &Merged {
        &self.merged
    }

    /// Where workloads stand.
    pub fn ledger(&self) -> &Ledger {
        &self.world.ledger
    }

    /// What is forgotten.
    pub fn forgotten(&self) -> &Tombstones {
        &self.world.forgotten
    }

    /// What can be said of a workload: its alerts, and what is held of it. Nothing if nothing of it succeeded.
    ///
    /// # Errors
    /// [`JobError::Standing`] if what is kept of it cannot be read.
    pub fn review(&self, workload: &Workload, actor: Actor) -> Result<Option<Review>, JobError> {
        self.readable(workload)?;
        let include = Include::default();
        let docket = self.docket(workload, &include);
        let told = Told {
            merged: &self.merged,
            besides: &[],
            hold: None,
        };
        let now = self.clock.now();
        let criteria = Criteria::default();
        Ok(review_told(workload, &docket, &told, &criteria, actor, now))
    }

    /// Makes a candidate that allows these too; it is not written down.
    ///
    /// # Errors
    /// [`Unacceptable`].
    pub fn accept(
        &self,
        revision: &Revision,
        acts: &BTreeSet<Act>,
        actor: Actor,
    ) -> Result<Move, Unacceptable> {
        let include = Include::default();
        let docket = self.docket(&revision.workload, &include);
        let now = self.clock.now();
        promotion::accept_told(revision, acts, &docket, &self.merged, actor, now)
    }

    /// Takes all images of a workload back that stand above a posture; it is not written down.
    ///
    /// # Errors
    /// [`JobError::Standing`] if what is kept of it cannot be read.
    pub fn demote(
        &self,
        workload: &Workload,
        to: Posture,
        reason: &str,
        actor: Actor,
    ) -> Result<Vec<Move>, JobError> {
        self.readable(workload)?;
        let now = self.clock.now();
        let of_it = self.world.ledger.iter();
        let of_it = of_it.filter(|(revision, _)| revision.workload == *workload);
        Ok(of_it
            .filter_map(|(revision, standing)| {
                promotion::demote(revision, standing, to, reason.to_owned(), actor, now)
            })
            .collect())
    }

    fn readable(&self, workload: &Workload) -> Result<(), JobError> {
        match self.world.unreadable.get(workload) {
            Some(bad) => Err(bad.clone().into()),
            None => Ok(()),
        }
    }

    fn docket<'a>(&'a self, workload: &Workload, include: &'a Include) -> Docket<'a> {
        // A candidate that a person widens stays one for who enforces it.
        let ledger = &self.world.ledger;
        let last = ledger
            .iter()
            .filter(|(revision, _)| revision.workload == *workload)
            .max_by_key(|(_, standing)| standing.since());
        let enforcer = last
            .and_then(|(revision, _)| ledger.frozen(revision))
            .map_or(Dialect::Bpf, |frozen| frozen.candidate().paper().enforcer);
        Docket {
            evidence: self.merged.evidence(),
            ledger: &self.world.ledger,
            forgotten: &self.world.forgotten,
            enforcer,
            unenforceable: None,
            tightness: Tightness::default(),
            include,
            interruptions: &[],
            risk: false,
        }
    }

    /// Writes a decision down, tells of it, and takes the policy away that is not wanted any more.
    ///
    /// # Errors
    /// [`JobError`]. If it is written down, the next pass of the job does the rest.
    pub async fn decide(&mut self, decided: Move) -> Result<Entry, JobError> {
        self.lease.renew(self.clock.now()).await?;
        let world = &mut self.world;
        let Move {
            before: _,
            standing,
            candidate,
            draft,
        } = decided;
        let revision = draft.revision.clone();
        let workload = &revision.workload;
        let old = world.ledger.frozen(&revision).cloned();
        let (number, hash) = world.standings.journal_end(workload)?;
        let (from, to) = (draft.from, draft.to);
        let entry = Entry::after(number, hash, draft);
        world.ledger.follow(revision.clone(), standing, candidate)?;
        let before = world.standings.status(workload).cloned();
        let image = before.as_ref().and_then(|status| status.image.clone());
        let shown = Revision {
            workload: workload.clone(),
            image: image.unwrap_or_else(|| revision.image.clone()),
        };
        let held = before.iter().flat_map(|status| &status.held);
        let runs = before.as_ref().and_then(|status| status.runs);
        let kept = Kept {
            revision: &shown,
            ledger: &world.ledger,
            runs: runs
                .and_then(|runs| usize::try_from(runs).ok())
                .unwrap_or(0),
            held: held.map(String::as_str).collect(),
            // Whoever decides takes the workload out of it.
            canary: None,
            entry: Some(&entry),
        };
        let status = standings::status(before.as_ref(), &kept);
        standings::keep(&self.client, workload, before.as_ref(), &status, false).await?;
        world.standings.note(workload, status);
        let news = News::new(self.client.clone(), &self.holder);
        let told = tell(&news, &entry).await;
        let is_unwanted = from == Posture::Block || to == Posture::Learning;
        if let Some(old) = old.filter(|_| is_unwanted) {
            let identity = old.candidate().policy().identity();
            let found = world.policies.found.get(&identity);
            if let Some(found) = found.filter(|found| is_ours(found)) {
                self.lease.renew(self.clock.now()).await?;
                policies::delete(&self.client, &identity, &found.version).await?;
                world.policies.found.remove(&identity);
            }
        }
        told?;
        Ok(entry)
    }

    /// Keeps from being learned what is named, or lets it be learned again.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn bury(
        &mut self,
        workload: &Workload,
        mentions: &BTreeSet<Mention>,
        undo: bool,
    ) -> Result<(), JobError> {
        let known = self.world.standings.forgetting(workload);
        let rows: BTreeSet<ForgottenRow> = mentions.iter().map(ForgottenRow::of).collect();
        let own = standings::name(workload);
        let mut objects: BTreeSet<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        if !undo {
            objects = BTreeSet::from([own.as_str()]);
        }
        for object in objects {
            let of_it = known.iter().filter(|(name, _)| name == object);
            let mut kept: BTreeSet<ForgottenRow> = of_it.map(|(_, row)| row.clone()).collect();
            let before = kept.clone();
            match undo {
                true => kept.retain(|row| !rows.contains(row)),
                false => kept.extend(rows.iter().cloned()),
            }
            if kept == before {
                continue;
            }
            if kept.len() > MAX_FORGOTTEN {
                return Err(JobError::TooMuch {
                    workload: workload.clone(),
                });
            }
            self.lease.renew(self.clock.now()).await?;
            let kept: Vec<ForgottenRow> = kept.into_iter().collect();
            standings::forget(&self.client, workload, object, &kept).await?;
        }
        Ok(())
    }

    /// Others may decide again.
    pub async fn close(self) {
        self.lease.release().await;
    }
}

impl World {
    /// What people decide by: what speaks against a promotion beside the evidence is not asked for.
    async fn of_people(client: &Client, namespace: &str) -> Result<(Self, Merged), JobError> {
        let found = read(client, Some(namespace)).await?;
        found.say_what_is_left_out();
        let Read { joint, .. } = found;
        let standings = Standings::read(client, Some(namespace)).await?;
        let Readable {
            ledger,
            forgotten,
            refused,
        } = standings.readable();
        let policies = match Policies::read(client, Some(namespace)).await {
            // Where KubeArmor is not, there is none to be taken away.
            Err(error) if error.is_undefined() => Policies::default(),
            read => read?,
        };
        let world = Self {
            namespace: namespace.to_owned(),
            ledger,
            forgotten,
            unreadable: refused,
            standings,
            policies,
            ..Self::default()
        };
        Ok((world, Merged::of(&joint)?))
    }
}

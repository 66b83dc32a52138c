//! The promotion job of a cluster: passes over namespaces.
//!
//! What is decided is written down first, as the status of `WorkloadPosture`, and then done: the
//! namespace's annotation, the policies of workloads under block. Each pass does what is not done yet, so
//! one that is broken off does no harm. KubeArmor's posture is that of a namespace, but without an Allow
//! policy it holds nothing: by [`Strategy::Workload`] only workloads that are promoted have one.

mod deed;
mod enforcers;
mod error;
mod hearsay;
mod quick;
mod reading;
mod rest;
mod ruling;
mod silence;
mod sitting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

pub use error::JobError;
pub use hearsay::{Hearsay, TELLER};
pub use ruling::Ruling;
pub use sitting::Sitting;

use self::enforcers::is_by_agents;
use self::rest::{Calm, Rest, Resting};
use self::ruling::{tell, together};
use crate::candidate::{Frozen, Ledger};
use crate::cluster::lease::{Lease, NoLease};
use crate::cluster::namespace::Told as Annotated;
use crate::cluster::news::News;
use crate::cluster::policies::Policies;
use crate::cluster::standings::{self, BadStanding, Kept, Standings};
use crate::cluster::{
    BadPiece, Client, ClusterError, Enforcement, State, Unenforced, nodes, say_left_out,
};
use crate::generalize::{Dialect, Tightness};
use crate::journal::{Actor, Entry};
use crate::mention::Tombstones;
use crate::observation::Moment;
use crate::policy::meaning::Posture as Word;
use crate::policy::{Identity, Policy};
use crate::posture::{Revision, Standing};
use crate::promotion::{
    Criteria, Docket, Interruption, PodFacts, Reason, Review, Surroundings, Told, Verdict,
    review_told,
};
use crate::quarantine::Include;
use crate::shared::{Joint, Merged, Part};
use crate::workload::{Labels, RunKey, Workload};

/// How long another job is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How workloads of a namespace are promoted by a posture that is the namespace's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// One by one: a workload gets its policy when it is promoted, and the namespace is under block from
    /// the first one on.
    #[default]
    Workload,
    /// Together: all policies are applied under audit, and the namespace is put under block once nothing
    /// speaks against any of its workloads.
    Namespace,
}

/// What a pass goes by.
pub struct Terms<'a> {
    /// What a promotion takes.
    pub criteria: &'a Criteria,
    /// Who is to enforce candidates that are frozen now; none: who the nodes say.
    pub enforcer: Option<Dialect>,
    /// How far rules of a candidate may go.
    pub tightness: Tightness,
    /// What a candidate learns although it is held.
    pub include: &'a Include,
    /// One by one, or together.
    pub strategy: Strategy,
    /// When KubeArmor's alerts may have been missed: of a workload, or of every one.
    pub interruptions: &'a [(Option<Workload>, Interruption)],
    /// What KubeArmor has told now. It is kept, unless nothing is to be changed.
    pub heard: &'a Hearsay,
    /// Which workloads are decided of.
    pub is_meant: &'a dyn Fn(&RunKey, &Labels) -> bool,
    /// Decide, and change nothing.
    pub dry_run: bool,
    /// Read only what is new, where workloads are at rest: of those no figures are told, and whether they are meant is
    /// not asked.
    pub may_rest: bool,
    /// Who is at work, for others who want to be.
    pub holder: &'a str,
}

/// Passes over namespaces, one after the other. Of the nodes the first one asks, for all.
pub struct Round<'a> {
    client: &'a Client,
    terms: &'a Terms<'a>,
    nodes: OnceCell<Arc<Nodes>>,
}

impl<'a> Round<'a> {
    /// Of no pass yet.
    pub fn new(client: &'a Client, terms: &'a Terms<'a>) -> Self {
        Self {
            client,
            terms,
            nodes: OnceCell::new(),
        }
    }

    /// One pass over a namespace, as the only one there. `rulings` gets what was decided and written down,
    /// also where the pass is broken off after that.
    ///
    /// # Errors
    /// [`JobError`]. What was decided before it is done by the next pass.
    pub async fn pass(
        &self,
        namespace: &str,
        now: Moment,
        rulings: &mut Vec<Ruling>,
    ) -> Result<(), JobError> {
        let Self { client, terms, .. } = *self;
        if terms.dry_run {
            let mut world = World::read(self, namespace).await?;
            world.say();
            world.note_blindness(terms.strategy, now);
            rulings.extend(world.rule(terms, now)?);
            return Ok(());
        }
        let clock = Clock {
            told: now,
            at: tokio::time::Instant::now(),
        };
        let mut lease = take(client, namespace, terms.holder, &clock).await?;
        let outcome = self.whole(namespace, &clock, &mut lease, rulings).await;
        lease.release().await;
        outcome
    }

    async fn whole(
        &self,
        namespace: &str,
        clock: &Clock,
        lease: &mut Lease,
        rulings: &mut Vec<Ruling>,
    ) -> Result<(), JobError> {
        let Self { client, terms, .. } = *self;
        if let Some(note) = lease.note().filter(|_| terms.may_rest) {
            let found = quick::world(self, namespace, &note, clock.now()).await?;
            if let Some((mut world, decided)) = found {
                world.say();
                lease.renew(clock.now()).await?;
                let mut at_rest: Vec<Resting> = world.resting.values().cloned().collect();
                let mut all: Vec<Ruling> = world.rulings_at_rest().collect();
                for mut ruling in decided {
                    at_rest.extend(world.at_rest(&ruling, clock.now()));
                    world.write(client, &mut ruling).await?;
                    all.push(ruling);
                }
                all.sort_by(|one, other| one.review.revision.cmp(&other.review.revision));
                rulings.extend(all);
                leave(lease, at_rest);
                return Ok(());
            }
        }
        // Only now: what another job has decided meanwhile is read too.
        let mut world = World::read(self, namespace).await?;
        world.say();
        world.note_blindness(terms.strategy, clock.now());
        let mut decided = world.rule(terms, clock.now())?;
        for ruling in &mut decided {
            world.ask(client, ruling).await?;
        }
        // One that the server does not take holds the others too.
        if terms.strategy == Strategy::Namespace && !world.is_block() {
            together(&mut decided);
        }
        let mut watch = Watch { clock, lease };
        let news = News::new(client.clone(), terms.holder);
        let mut untold = Ok(());
        let mut at_rest = Vec::new();
        for mut ruling in decided {
            at_rest.extend(world.at_rest(&ruling, clock.now()));
            if ruling.after.is_some() {
                watch.renew().await?;
            }
            world.write(client, &mut ruling).await?;
            if let Some(entry) = &ruling.entry {
                untold = untold.and(tell(&news, entry).await);
            }
            rulings.push(ruling);
        }
        watch.renew().await?;
        let kept = world.keep_heard(client).await;
        watch.renew().await?;
        world.reconcile(client, terms.strategy, &mut watch).await?;
        // What was decided is done, also where it cannot be told of, and where what was heard cannot be kept.
        kept?;
        untold?;
        leave(watch.lease, at_rest);
        Ok(())
    }

    /// The nodes, each with what KubeArmor enforces by there.
    async fn nodes(&self) -> Result<Arc<Nodes>, ClusterError> {
        let asked = async || Ok(Arc::new(nodes::enforcers(self.client).await?));
        self.nodes.get_or_try_init(asked).await.cloned()
    }
}

/// The nodes by their names, each with what its label says that KubeArmor enforces by there.
type Nodes = BTreeMap<String, Option<String>>;

/// The present, from one that was told.
struct Clock {
    told: Moment,
    at: tokio::time::Instant,
}

impl Clock {
    fn now(&self) -> Moment {
        let since = i64::try_from(self.at.elapsed().as_micros()).unwrap_or(i64::MAX);
        Moment(self.told.0.saturating_add(since))
    }
}

async fn take(
    client: &Client,
    namespace: &str,
    holder: &str,
    clock: &Clock,
) -> Result<Lease, NoLease> {
    loop {
        match Lease::take(client, namespace, holder, clock.now()).await {
            Err(NoLease::Held { .. }) if clock.at.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            taken => return taken,
        }
    }
}

/// What the next pass is to know.
fn leave(lease: &mut Lease, at_rest: Vec<Resting>) {
    if let Some(note) = Rest::of(at_rest).note() {
        lease.leave(note);
    }
}

/// The lease, by the present.
struct Watch<'a> {
    clock: &'a Clock,
    lease: &'a mut Lease,
}

impl Watch<'_> {
    /// Before each write: a job that has lost the lease writes nothing more.
    async fn renew(&mut self) -> Result<(), JobError> {
        Ok(self.lease.renew(self.clock.now()).await?)
    }
}

/// The same for all workloads of the namespace, until something is decided.
struct Neighbours<'w> {
    policies: BTreeMap<Identity, &'w Policy>,
    /// Policies that cannot be read.
    unread: Vec<String>,
    promoted: BTreeSet<Identity>,
}

/// All that a pass reads.
#[derive(Default)]
struct World {
    namespace: String,
    /// What the nodes have told. It is made evidence of for one workload at a time: that is many times as large.
    joint: Joint,
    /// The image of the latest run of each workload of which anything was seen to succeed.
    latest: BTreeMap<Workload, String>,
    standings: Standings,
    ledger: Ledger,
    forgotten: Tombstones,
    /// Workloads of which it cannot be read where they stand: nothing is decided of them.
    unreadable: BTreeMap<Workload, BadStanding>,
    policies: Policies,
    /// The cluster has no such resources.
    no_policies: Option<ClusterError>,
    annotated: Annotated,
    pods: Vec<PodFacts>,
    nodes: Arc<Nodes>,
    /// When each node last told of each workload.
    told: BTreeMap<(Workload, String), Moment>,
    /// Evidence that cannot be read, by workload.
    unread: BTreeMap<Workload, BTreeSet<String>>,
    /// Pieces of evidence that are not there.
    missing: BTreeMap<(Revision, String), usize>,
    /// Why KubeArmor does not hold a revision's container, where nodes say so.
    unenforced: BTreeMap<Revision, BTreeSet<Unenforced>>,
    /// Who enforces on each node, where its agent is to do it if KubeArmor does not.
    enforcement: BTreeMap<String, Enforcement>,
    /// Why not all of a revision is held on a node whose agent holds others.
    unheld: BTreeMap<(Revision, String), String>,
    /// What was heard and is to be written down.
    heard: BTreeMap<Revision, Part>,
    /// What was heard by now of each revision, and is written down already.
    told_by_enforcer: BTreeMap<Revision, Part>,
    /// When KubeArmor could not tell of a revision, as of now.
    blind: Vec<(Revision, Interruption)>,
    /// Evidence that cannot be read, and why.
    refused: Vec<(String, BadPiece)>,
    /// The states of the evidence of each workload.
    states: BTreeMap<Workload, Vec<Option<State>>>,
    /// Workloads of which not all was read, since they are at rest.
    resting: BTreeMap<Workload, Resting>,
}

impl World {
    /// Says what is left out, and what is nobody's.
    fn say(&self) {
        say_left_out(&self.refused, &self.missing);
        self.say_orphans();
    }

    fn is_block(&self) -> bool {
        self.annotated.file_posture == Some(Word::Block)
    }

    /// The workloads of which anything was seen, at their latest images.
    fn revisions(&self) -> Vec<Revision> {
        let latest = self.latest.iter();
        let revisions = latest.map(|(workload, image)| Revision {
            workload: workload.clone(),
            image: image.clone(),
        });
        revisions.collect()
    }

    /// The same, and those that something was decided of and no node tells of any more: what was told may
    /// be gone, and so what is enforced stays.
    fn all_revisions(&self) -> Vec<Revision> {
        let mut all = self.revisions();
        all.extend(self.resting.values().map(Resting::revision));
        let seen: BTreeSet<Workload> = all.iter().map(|one| one.workload.clone()).collect();
        let mut unseen: BTreeMap<&Workload, (Moment, &Revision)> = BTreeMap::new();
        for (revision, standing) in self.ledger.iter() {
            if !seen.contains(&revision.workload) {
                let last = (standing.since(), revision);
                let known = unseen.entry(&revision.workload).or_insert(last);
                *known = last.max(*known);
            }
        }
        all.extend(unseen.into_values().map(|(_, revision)| revision.clone()));
        all
    }

    /// The policies of Learner's that KubeArmor is to enforce.
    fn promoted(&self, strategy: Strategy) -> BTreeSet<Identity> {
        let is_one = |standing: &Standing| match standing {
            Standing::Block { .. } => true,
            Standing::Audit { .. } => strategy == Strategy::Namespace,
            Standing::Learning { .. } => false,
        };
        let revisions = self.all_revisions().into_iter();
        revisions
            .filter(|revision| self.ledger.standing(revision).is_some_and(is_one))
            .filter_map(|revision| self.ledger.frozen(&revision))
            .filter(|frozen| !is_by_agents(frozen))
            .map(|frozen| frozen.candidate().policy().identity())
            .collect()
    }

    /// What is to become of the workloads that are meant; all are reviewed.
    fn rule(&self, terms: &Terms<'_>, now: Moment) -> Result<Vec<Ruling>, JobError> {
        let near = self.neighbours(terms.strategy);
        let mut rulings = Vec::new();
        let mut meant = BTreeSet::new();
        for revision in self.revisions() {
            let merged = self.merged(&revision.workload)?;
            if let Some(review) = self.review(&revision, &merged, terms, &near, now) {
                let calm = Some(Calm::of(&revision, &self.joint));
                let ruling = self.ruling(review, terms, now);
                rulings.push(Ruling { calm, ..ruling });
            }
            let mut runs = merged.evidence().runs().iter();
            let of_it = |key: &RunKey| key.workload == revision.workload;
            if runs.any(|(key, run)| of_it(key) && (terms.is_meant)(key, &run.labels)) {
                meant.insert(revision.workload);
            }
        }
        for ruling in &mut rulings {
            let revision = &ruling.review.revision;
            if ruling.review.verdict == Verdict::Stay {
                let against = self.against_finishing(revision, &near);
                if !against.is_empty() {
                    ruling.review.verdict = Verdict::Hold(against);
                }
            }
        }
        if terms.strategy == Strategy::Namespace && !self.is_block() {
            together(&mut rulings);
        }
        rulings.retain(|ruling| meant.contains(&ruling.review.revision.workload));
        Ok(rulings)
    }

    fn review(
        &self,
        revision: &Revision,
        merged: &Merged,
        terms: &Terms<'_>,
        near: &Neighbours<'_>,
        now: Moment,
    ) -> Option<Review> {
        let workload = &revision.workload;
        if let Some(bad) = self.unreadable.get(workload) {
            return Some(Review::unreadable(revision.clone(), bad.to_string()));
        }
        let frozen = self.ledger.frozen(revision);
        let is_audit = matches!(self.ledger.standing(revision), Some(Standing::Audit { .. }));
        let candidate = frozen.filter(|_| is_audit);
        let mut besides = Vec::new();
        let mut unheard = Vec::new();
        if let Some(candidate) = candidate {
            besides = self.around(revision, candidate, near);
            let policy = candidate.candidate().policy();
            besides.extend(self.untold(revision, policy, now));
            unheard = self.unheard(revision, policy, now);
        }
        let hold = self.standings.hold(workload);
        let hold = hold.map(|why| Reason::Held {
            why: why.to_owned(),
        });
        let (enforcer, mixed) = self.enforcer(revision, terms);
        // Of a candidate it is among what is around it.
        let hold = hold.or(mixed.filter(|_| candidate.is_none()));
        let interruptions: Vec<Interruption> = terms
            .interruptions
            .iter()
            .filter(|(whose, _)| whose.as_ref().is_none_or(|whose| whose == workload))
            .map(|(_, one)| one.clone())
            .chain(unheard)
            .chain(
                self.blind
                    .iter()
                    .filter(|(of, _)| of == revision)
                    .map(|(_, one)| one.clone()),
            )
            .collect();
        let docket = Docket {
            evidence: merged.evidence(),
            ledger: &self.ledger,
            forgotten: &self.forgotten,
            enforcer,
            unenforceable: None,
            tightness: terms.tightness,
            include: terms.include,
            interruptions: &interruptions,
            risk: false,
        };
        let told = Told {
            merged,
            besides: &besides,
            hold: hold.as_ref(),
        };
        review_told(workload, &docket, &told, terms.criteria, Actor::Job, now)
    }

    /// What [`World::around`] asks of the namespace as a whole.
    fn neighbours(&self, strategy: Strategy) -> Neighbours<'_> {
        let all = self.policies.found.iter();
        let unread = self.policies.refused.iter();
        Neighbours {
            policies: all
                .map(|(identity, found)| (identity.clone(), &found.policy))
                .collect(),
            unread: unread.map(|(name, _)| name.clone()).collect(),
            promoted: self.promoted(strategy),
        }
    }

    /// What around it speaks against the enforcement of a candidate by who it was made for.
    fn around(&self, revision: &Revision, candidate: &Frozen, near: &Neighbours) -> Vec<Reason> {
        let dialect = candidate.candidate().paper().enforcer;
        let mut against = self.against_enforcers(revision, dialect);
        // By its container alone, and by nothing that is KubeArmor's.
        if !is_by_agents(candidate) {
            against.extend(self.around_policy(revision, candidate.candidate().policy(), near));
        }
        against
    }

    fn around_policy(
        &self,
        revision: &Revision,
        candidate: &Policy,
        near: &Neighbours,
    ) -> Vec<Reason> {
        let seen_on = self.joint.nodes(revision).map(str::to_owned).collect();
        let by_hand = self.policies.found.get(&candidate.identity());
        let around = Surroundings {
            is_by_hand: by_hand.is_some_and(|found| !deed::is_ours(found)),
            is_block: self.is_block(),
            visibility: self.annotated.visibility.as_deref(),
            policies: &near.policies,
            unread: &near.unread,
            promoted: &near.promoted,
            pods: &self.pods,
            nodes: &self.nodes,
        };
        let unenforced = self.unenforced.get(revision);
        let unenforced: Vec<&str> = unenforced
            .into_iter()
            .flatten()
            .map(Unenforced::why)
            .collect();
        around.against(&revision.workload, candidate, &seen_on, &unenforced)
    }

    /// Writes down what was decided, or what keeps it where it is, if that is new.
    async fn write(&mut self, client: &Client, ruling: &mut Ruling) -> Result<(), JobError> {
        let review = &mut ruling.review;
        let revision = review.revision.clone();
        let workload = &revision.workload;
        if self.unreadable.contains_key(workload) {
            return Ok(());
        }
        let decided = review.decision.take();
        if let Some(decided) = decided {
            let (number, before) = self.standings.journal_end(workload)?;
            let entry = Entry::after(number, before, decided.draft);
            self.ledger
                .follow(revision.clone(), decided.standing, decided.candidate)?;
            ruling.entry = Some(entry);
        }
        let before = self.standings.status(workload);
        let held = match &review.verdict {
            Verdict::Hold(reasons) => reasons.iter().map(Reason::word).collect(),
            _ => BTreeSet::new(),
        };
        let kept = Kept {
            revision: &revision,
            ledger: &self.ledger,
            runs: review.figures.whole,
            held,
            canary: ruling.canary,
            entry: ruling.entry.as_ref(),
        };
        let status = standings::status(before, &kept);
        if before != Some(&status) {
            let is_promotion = review.verdict == Verdict::Promote;
            standings::keep(client, workload, before, &status, is_promotion).await?;
        }
        Ok(())
    }
}

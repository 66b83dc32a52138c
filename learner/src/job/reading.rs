//! What a pass reads of a namespace.

use std::collections::BTreeMap;

use super::{Hearsay, JobError, Round, World, hearsay};
use crate::cluster::policies::Policies;
use crate::cluster::standings::{Readable, Standings};
use crate::cluster::{Read, namespace, podfacts, read};
use crate::shared::{Joint, Merged};
use crate::workload::Workload;

impl World {
    /// All of it.
    pub(super) async fn read(round: &Round<'_>, namespace: &str) -> Result<Self, JobError> {
        let found = read(round.client, Some(namespace)).await?;
        let mut world = Self::without_evidence(round, namespace).await?;
        world.tell(found, round.terms.heard)?;
        Ok(world)
    }

    /// All but what the nodes have told.
    pub(super) async fn without_evidence(
        round: &Round<'_>,
        namespace: &str,
    ) -> Result<Self, JobError> {
        let client = round.client;
        let standings = Standings::read(client, Some(namespace)).await?;
        let Readable {
            ledger,
            forgotten,
            refused: unreadable,
        } = standings.readable();
        let mut world = Self {
            namespace: namespace.to_owned(),
            ledger,
            forgotten,
            unreadable,
            standings,
            annotated: namespace::told(client, namespace).await?,
            pods: podfacts::facts(client, namespace).await?,
            nodes: round.nodes().await?,
            ..Self::default()
        };
        match Policies::read(client, Some(namespace)).await {
            Err(error) if error.is_undefined() => world.no_policies = Some(error),
            read => world.policies = read?,
        }
        Ok(world)
    }

    /// What the nodes have told, and what was heard.
    pub(super) fn tell(&mut self, found: Read, heard: &Hearsay) -> Result<(), JobError> {
        let Read {
            mut joint,
            missing,
            told,
            unread,
            unenforced,
            enforcement,
            unheld,
            states,
            refused,
        } = found;
        self.heard = hearsay::join(&mut joint, &self.namespace, heard, &self.ledger);
        self.latest = latest(&joint);
        self.told_by_enforcer = hearsay::all_told(&joint);
        self.joint = joint;
        self.told = told;
        self.unread = unread;
        self.missing = missing;
        self.unenforced = unenforced;
        self.enforcement = enforcement;
        self.unheld = unheld;
        self.states = states;
        self.refused = refused;
        // Without KubeArmor there are no policies, and where Learner's agents enforce none are needed.
        match self.no_policies.take() {
            Some(error) if !self.any_agent_enforces() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The evidence of one workload.
    pub(super) fn merged(&self, workload: &Workload) -> Result<Merged, JobError> {
        Ok(Merged::of_workload(&self.joint, workload)?)
    }
}

/// The image of the latest run of each workload of which anything was seen to succeed.
fn latest(joint: &Joint) -> BTreeMap<Workload, String> {
    let workloads = joint.workloads().into_iter();
    let latest = workloads.filter_map(|workload| {
        let image = joint.latest_image(workload)?;
        Some((workload.clone(), image.to_owned()))
    });
    latest.collect()
}

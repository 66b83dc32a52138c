//! Who is to hold a workload of the cluster, by what the nodes that run it say: KubeArmor, or Learner's own
//! agents where it is not there.

use std::collections::BTreeSet;

use super::{Ruling, Terms, World};
use crate::candidate::Frozen;
use crate::cluster::{EnforcedBy, Enforcement, MAX_POLICY};
use crate::generalize::Dialect;
use crate::observation::Moment;
use crate::posture::{Revision, Share, Slice, Standing};
use crate::promotion::{Listed, PodFacts, Reason, Review};
use crate::visible::visible;
use crate::workload::Workload;

/// Who is to enforce on the nodes that run a workload.
#[derive(Clone, Debug, PartialEq)]
enum Enforcers {
    /// Nothing says that Learner's agents are to do it.
    KubeArmor,
    /// Learner's agents: whether they can is another question.
    Learner,
    /// On some nodes the one, and on some the other.
    Both(Reason),
}

/// Who is to enforce on a node.
enum Side {
    KubeArmor,
    Learner,
}

impl World {
    /// Whether the agent of any node is to enforce where KubeArmor does not.
    pub(super) fn any_agent_enforces(&self) -> bool {
        let mut all = self.enforcement.values();
        all.any(|one| one.by != EnforcedBy::Kubearmor)
    }

    /// Who is to enforce on a node; nothing, where neither its agent nor its label says so.
    fn side(&self, node: &str) -> Option<Side> {
        match self.enforcement.get(node).map(|told| told.by) {
            Some(EnforcedBy::Learner | EnforcedBy::Nobody) => Some(Side::Learner),
            Some(EnforcedBy::Kubearmor) => Some(Side::KubeArmor),
            None => {
                let label = self.nodes.get(node).and_then(Option::as_deref);
                label.map(|_| Side::KubeArmor)
            }
        }
    }

    /// The nodes that run a workload, or have run the revision and are still there.
    fn nodes_of(&self, revision: &Revision) -> BTreeSet<&str> {
        let pods = self.pods_of(&revision.workload);
        let of_pods = pods.into_iter().filter_map(|pod| pod.node.as_deref());
        let seen_on = self.joint.nodes(revision);
        let seen_on = seen_on.filter(|node| self.nodes.contains_key(*node));
        of_pods.chain(seen_on).collect()
    }

    /// The pods that are known to be of a workload, by what controls them or by their names.
    fn pods_of(&self, workload: &Workload) -> Vec<&PodFacts> {
        let by_name = |pod: &PodFacts| {
            let of_node = |node: &String| pod.name == format!("{}-{node}", workload.name);
            workload.kind == "Pod"
                && (pod.name == workload.name || pod.node.as_ref().is_some_and(of_node))
        };
        let is_of = |pod: &&PodFacts| match &pod.owner {
            // A static pod is owned by its node.
            Some((kind, _)) if kind != "Node" => pod.may_be_of(workload),
            _ => by_name(pod),
        };
        self.pods.iter().filter(is_of).collect()
    }

    /// Who is to enforce it, by the nodes that say so.
    fn enforcers(&self, revision: &Revision) -> Enforcers {
        let (mut kubearmor, mut learner) = (BTreeSet::new(), BTreeSet::new());
        for node in self.nodes_of(revision) {
            match self.side(node) {
                Some(Side::KubeArmor) => _ = kubearmor.insert(node.escape_debug().to_string()),
                Some(Side::Learner) => _ = learner.insert(node.escape_debug().to_string()),
                None => {}
            }
        }
        match (kubearmor.is_empty(), learner.is_empty()) {
            (_, true) => Enforcers::KubeArmor,
            (true, false) => Enforcers::Learner,
            (false, false) => Enforcers::Both(Reason::MixedNodes {
                kubearmor: kubearmor.into_iter().collect(),
                learner: learner.into_iter().collect(),
            }),
        }
    }

    /// What speaks against the enforcement of a candidate by who it was made for, as far as the nodes tell.
    pub(super) fn against_enforcers(&self, revision: &Revision, dialect: Dialect) -> Vec<Reason> {
        let is_for_learner = dialect == Dialect::Learner;
        let nodes = self.nodes_of(revision);
        let by_kubearmor = |node: &&str| matches!(self.side(node), Some(Side::KubeArmor));
        let other = |made_for: &str| {
            vec![Reason::OtherEnforcer {
                made_for: made_for.to_owned(),
                nodes: nodes.iter().map(|node| node.escape_debug()).collect(),
            }]
        };
        match self.enforcers(revision) {
            Enforcers::Both(mixed) => vec![mixed],
            Enforcers::Learner if !is_for_learner => other("KubeArmor"),
            Enforcers::KubeArmor if !is_for_learner => Vec::new(),
            Enforcers::KubeArmor if nodes.iter().any(by_kubearmor) => {
                other("Learner's own programs")
            }
            Enforcers::KubeArmor | Enforcers::Learner => {
                let lacking = |node: &str| {
                    let why = self.lacks(revision, node)?;
                    Some(format!("{}: {why}", node.escape_debug()))
                };
                let nodes: Listed = nodes.iter().filter_map(|node| lacking(node)).collect();
                let reason = (nodes.count > 0).then_some(Reason::Nodes { nodes });
                reason.into_iter().collect()
            }
        }
    }

    /// Why Learner's own programs do not hold what runs of a revision on a node; nothing where they do.
    fn lacks(&self, revision: &Revision, node: &str) -> Option<String> {
        match self.enforcement.get(node) {
            Some(Enforcement {
                by: EnforcedBy::Learner,
                ..
            }) => {
                let why = self.unheld.get(&(revision.clone(), node.to_owned()))?;
                Some(why.escape_debug().to_string())
            }
            Some(Enforcement {
                by: EnforcedBy::Kubearmor,
                ..
            }) => Some("KubeArmor enforces there".to_owned()),
            Some(Enforcement { why, .. }) => {
                let why = why.as_deref().unwrap_or("nobody enforces there");
                Some(why.escape_debug().to_string())
            }
            None if self.told.keys().any(|(_, of)| of == node) => {
                Some("its agent is not told to enforce ('cluster.enforce')".to_owned())
            }
            None => Some("its agent has not told who enforces there".to_owned()),
        }
    }

    /// What is decided by a review, with the pods that a canary begins with.
    pub(super) fn ruling(&self, mut review: Review, terms: &Terms<'_>, now: Moment) -> Ruling {
        let revision = review.revision.clone();
        let by_agents = self.is_by_agents(&revision, terms);
        if let (Some(decided), Some(share)) = (&mut review.decision, terms.criteria.share)
            && matches!(decided.standing, Standing::Block { .. })
        {
            if by_agents {
                self.choose(&revision, &mut decided.standing, share);
            } else {
                tracing::warn!(
                    "{}: KubeArmor enforces it, on all of its pods at once: a share of {share} is for where \
                     Learner's agents do",
                    visible(&revision.workload.to_string())
                );
            }
        }
        let after = review.decision.as_ref().map(|one| one.standing.clone());
        let standing = after.as_ref().or(review.standing.as_ref());
        let mut ruling = Ruling {
            canary: self.canary(&revision, standing, now),
            after,
            review,
            entry: None,
            by_agents,
            calm: None,
        };
        let frozen = ruling.review.decision.as_ref();
        let frozen = frozen.and_then(|decided| decided.candidate.as_ref());
        let length = frozen.map_or(0, |candidate| candidate.paper().yaml.len());
        if length > MAX_POLICY {
            let why = format!(
                "it has {length} bytes, and a WorkloadPosture takes {MAX_POLICY}: --tightness durable makes a \
                 smaller one"
            );
            ruling.hold(Reason::NoPolicy { why });
        }
        ruling
    }

    /// Whether Learner's agents are to enforce a revision: by its candidate, or, before it has one, by the
    /// nodes.
    fn is_by_agents(&self, revision: &Revision, terms: &Terms<'_>) -> bool {
        match self.ledger.frozen(revision) {
            Some(frozen) => is_by_agents(frozen),
            None => self.enforcer(revision, terms).0 == Dialect::Learner,
        }
    }

    /// Who a candidate is made for that is frozen now, and what speaks against making one.
    pub(super) fn enforcer(
        &self,
        revision: &Revision,
        terms: &Terms<'_>,
    ) -> (Dialect, Option<Reason>) {
        if let Some(told) = terms.enforcer {
            return (told, None);
        }
        match self.enforcers(revision) {
            Enforcers::KubeArmor => (Dialect::Bpf, None),
            Enforcers::Learner => (Dialect::Learner, None),
            Enforcers::Both(mixed) => (Dialect::Bpf, Some(mixed)),
        }
    }

    /// Has the canary of a promotion to block begin with a share of the pods that there are.
    fn choose(&self, revision: &Revision, standing: &mut Standing, share: Share) {
        if let Standing::Block { slice, .. } = standing {
            let pods = self.pods_of(&revision.workload);
            let uids = pods.iter().filter_map(|pod| pod.uid.as_deref());
            *slice = Some(Slice::of(share, uids));
        }
    }

    /// While a canary holds a share of the pods: how many of how many there are.
    fn canary(
        &self,
        revision: &Revision,
        standing: Option<&Standing>,
        now: Moment,
    ) -> Option<(usize, usize)> {
        let (slice, until) = standing?.slice()?;
        let pods = self.pods_of(&revision.workload);
        let uids = pods.iter().filter_map(|pod| pod.uid.as_deref());
        let held: Vec<bool> = uids.map(|uid| slice.has(uid)).collect();
        let count = held.iter().filter(|is_held| **is_held).count();
        (now < until).then_some((count, held.len()))
    }
}

/// Whether Learner's own agents are to enforce the candidate.
pub(super) fn is_by_agents(frozen: &Frozen) -> bool {
    frozen.candidate().paper().enforcer == Dialect::Learner
}

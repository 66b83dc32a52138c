//! What nodes have not told: that is not quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::World;
use crate::observation::Moment;
use crate::policy::{Pod, Policy};
use crate::posture::Revision;
use crate::promotion::{Interruption, Listed, Missed, Reason};

/// So long a new pod may run before its node has told of it: twice the interval at which nodes write,
/// and as long again.
const GRACE: Duration = Duration::from_secs(2_400);

impl World {
    /// Since when each node that runs a workload has told nothing of it; nothing for one that never has.
    fn silent(&self, revision: &Revision, candidate: &Policy) -> BTreeMap<&str, Option<Moment>> {
        let workload = &revision.workload;
        let mut silent: BTreeMap<&str, Option<Moment>> = BTreeMap::new();
        for pod in &self.pods {
            let Some(node) = pod.node.as_deref() else {
                continue;
            };
            let is_of = candidate.selects(&Pod::of(workload, &pod.labels));
            // What is only selected, and of somebody else, is another reason.
            if !is_of || !pod.may_be_of(workload) {
                continue;
            }
            let told = self.told.get(&(workload.clone(), node.to_owned()));
            silent.insert(node, told.copied());
        }
        silent
    }

    /// Time that is not quiet, since a node that runs the workload has told nothing in it.
    pub(super) fn unheard(
        &self,
        revision: &Revision,
        candidate: &Policy,
        now: Moment,
    ) -> Vec<Interruption> {
        let silent = self.silent(revision, candidate).into_iter();
        silent
            .map(|(node, since)| Interruption {
                from: since.unwrap_or(Moment(i64::MIN)),
                to: now,
                why: Missed::Silent(node.escape_debug().to_string()),
            })
            .filter(|one| one.from < one.to)
            .collect()
    }

    /// What speaks against block, since not all was told.
    pub(super) fn untold(
        &self,
        revision: &Revision,
        candidate: &Policy,
        now: Moment,
    ) -> Vec<Reason> {
        let workload = &revision.workload;
        let grace = i64::try_from(GRACE.as_micros()).unwrap_or(i64::MAX);
        let is_old = |node: &str| {
            let mut pods = self.pods.iter();
            pods.any(|pod| {
                let created = pod.created.unwrap_or(Moment(i64::MIN));
                pod.node.as_deref() == Some(node)
                    && candidate.selects(&Pod::of(workload, &pod.labels))
                    && now.0.saturating_sub(created.0) > grace
            })
        };
        let silent = self.silent(revision, candidate);
        let never = silent.iter().filter(|(_, since)| since.is_none());
        let nodes: Listed = never
            .filter(|(node, _)| is_old(node))
            .map(|(node, _)| node.escape_debug())
            .collect();
        let unread = self.unread.get(workload).into_iter().flatten().cloned();
        let missing = self
            .missing
            .iter()
            .filter(|((of, _), _)| of == revision)
            .map(|((_, node), count)| format!("{count} of node {}", node.escape_debug()));
        let objects: BTreeSet<String> = unread.chain(missing).collect();
        let objects: Listed = objects.into_iter().collect();
        let silent = (nodes.count > 0).then_some(Reason::Silent { nodes });
        let unread = (objects.count > 0).then_some(Reason::Untold { objects });
        silent.into_iter().chain(unread).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::Candidate;
    use crate::generalize::Dialect;
    use crate::promotion::PodFacts;

    const HOUR: i64 = 3_600_000_000;

    fn revision() -> Revision {
        Revision {
            workload: "shop/Deployment/web".parse().expect("a workload"),
            image: "i".to_owned(),
        }
    }

    fn candidate() -> Policy {
        Candidate::reads_etc(Dialect::Bpf).policy().clone()
    }

    /// Three nodes run it, and two have told of it: one just now, and one an hour ago.
    fn world(third_is_old: bool) -> World {
        let pod = |node: &str, created: i64| PodFacts {
            name: format!("web-{node}"),
            node: Some(node.to_owned()),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            created: Some(Moment(created)),
            ..PodFacts::default()
        };
        let third = if third_is_old { 0 } else { 9 * HOUR };
        let told = |node: &str, at: i64| ((revision().workload, node.to_owned()), Moment(at));
        World {
            pods: vec![pod("a", 0), pod("b", 0), pod("c", third)],
            told: [told("a", 9 * HOUR), told("b", 8 * HOUR)].into(),
            ..World::default()
        }
    }

    #[test]
    fn time_in_which_a_node_that_runs_it_told_nothing_is_not_quiet() {
        let found = world(true).unheard(&revision(), &candidate(), Moment(9 * HOUR));
        let spans: Vec<_> = found
            .iter()
            .map(|one| (one.why.to_string(), one.from.0, one.to.0))
            .collect();
        let said = |node: &str| format!("node {node} told nothing");
        assert_eq!(
            spans,
            [
                (said("b"), 8 * HOUR, 9 * HOUR),
                (said("c"), i64::MIN, 9 * HOUR)
            ]
        );
    }

    #[test]
    fn a_node_that_never_told_and_evidence_that_is_not_whole_hold_it() {
        let against = |world: &World| -> Vec<String> {
            let found = world.untold(&revision(), &candidate(), Moment(9 * HOUR));
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(against(&world(false)), [""; 0]);
        assert!(
            against(&world(true))[0].starts_with("1 node runs it and tells nothing of it (c): ")
        );
        let mut world = world(false);
        world.missing = [((revision(), "a".to_owned()), 2)].into();
        world.unread = [(revision().workload, ["shop/web-1".to_owned()].into())].into();
        let found = against(&world);
        assert!(
            found[0].contains("not whole (2 of node a, shop/web-1): "),
            "{found:?}"
        );
    }
}

//! What around a workload speaks against its promotion, where KubeArmor is to enforce it.

use std::collections::{BTreeMap, BTreeSet};

use super::reason::{Listed, Reason};
use crate::observation::Moment;
use crate::policy::meaning::{Enforced, Enforcer, Posture, Postures};
use crate::policy::{Action, Effect, Identity, Pod, Policy};
use crate::workload::{Labels, Workload};

/// A pod of the namespace, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// The node that it runs on, once that is decided.
    pub node: Option<String>,
    /// All its labels.
    pub labels: Labels,
    /// It sees the processes of its host: KubeArmor takes it for the host.
    pub host_pid: bool,
    /// Its annotation `kubearmor-policy`.
    pub policy: Option<String>,
    /// Its annotation `kubearmor-visibility`.
    pub visibility: Option<String>,
    /// Kind and name of what controls it.
    pub owner: Option<(String, String)>,
    /// When it was made.
    pub created: Option<Moment>,
    /// The uid that its cgroups are named by.
    pub uid: Option<String>,
}

/// What there is in a namespace, and around it.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// A person has applied a policy of the candidate's name.
    pub is_by_hand: bool,
    /// The namespace is under block for files and programs already.
    pub is_block: bool,
    /// Its annotation `kubearmor-visibility`.
    pub visibility: Option<&'a str>,
    /// The policies of the namespace and of the cluster.
    pub policies: &'a BTreeMap<Identity, &'a Policy>,
    /// Policies that cannot be read: whatever they say may be enforced.
    pub unread: &'a [String],
    /// Policies of Learner's that are to be enforced.
    pub promoted: &'a BTreeSet<Identity>,
    /// The pods of the namespace.
    pub pods: &'a [PodFacts],
    /// All nodes, each with the enforcer that KubeArmor has there.
    pub nodes: &'a BTreeMap<String, Option<String>>,
}

impl Surroundings<'_> {
    /// What speaks against enforcing the candidate of a workload that was seen on these nodes, and of whose
    /// container they say why KubeArmor does not hold it; empty if nothing does.
    ///
    /// While the namespace is not under block, all that block would newly enforce in it counts. After that
    /// what selects the workload does.
    pub fn against(
        &self,
        workload: &Workload,
        candidate: &Policy,
        seen_on: &BTreeSet<String>,
        unenforced: &[&str],
    ) -> Vec<Reason> {
        let own = candidate.identity();
        let wanted = candidate.wanted_labels();
        let pods: Vec<&PodFacts> = self
            .pods
            .iter()
            .filter(|pod| candidate.selects(&Pod::of(workload, &pod.labels)))
            .collect();
        let selects = |policy: &Policy| {
            let labels = pods.iter().map(|pod| &pod.labels).chain([&wanted]);
            let mut labels = labels;
            labels.any(|labels| policy.selects(&Pod::of(workload, labels)))
        };
        let (mut foreign, mut unpromoted) = (Vec::new(), Vec::new());
        if self.is_by_hand {
            foreign.push(format!("{own}, which a person applied: delete it"));
        }
        for (identity, policy) in self.policies {
            if *identity == own || self.promoted.contains(identity) || !allows(policy) {
                continue;
            }
            let is_new =
                || !self.is_block && Self::makes_a_list(&workload.namespace, self.pods, policy);
            let is_enforced = selects(policy) || is_new();
            if !is_enforced {
                continue;
            }
            match policy.is_learned() {
                true => unpromoted.push(identity.to_string()),
                false => foreign.push(identity.to_string()),
            }
        }
        let unread = self.unread.iter();
        foreign.extend(unread.map(|name| format!("{}, which cannot be read", name.escape_debug())));
        let mut reasons = Vec::new();
        if !foreign.is_empty() {
            let policies = foreign.into_iter().collect();
            reasons.push(Reason::ForeignPolicies { policies });
        }
        if !unpromoted.is_empty() {
            let policies = unpromoted.into_iter().collect();
            reasons.push(Reason::UnpromotedPolicies { policies });
        }
        reasons.extend(self.keys(candidate, &selects));
        reasons.extend(self.nodes(&pods, seen_on));
        let others = pods.iter().filter(|pod| !pod.may_be_of(workload));
        let others: Listed = others.map(|pod| pod.name.escape_debug()).collect();
        if others.count > 0 {
            reasons.push(Reason::SelectsOthers { pods: others });
        }
        let pods_said = pods.iter().filter_map(|pod| pod.is_not_enforced());
        let nodes_say = unenforced.iter().map(|why| (*why).to_owned());
        let why: Listed = nodes_say.chain(pods_said).collect();
        if why.count > 0 {
            reasons.push(Reason::NotEnforced { why });
        }
        reasons.extend(self.visibility(&pods));
        reasons
    }

    /// Whether a policy makes programs or files of any container of the namespace a list of what is
    /// allowed: then the namespace's posture is what becomes of the rest.
    pub fn makes_a_list(namespace: &str, pods: &[PodFacts], policy: &Policy) -> bool {
        if !allows(policy) {
            return false;
        }
        if policy.namespace() == Some(namespace) {
            return true;
        }
        let none = Labels::new();
        let labels = pods.iter().map(|pod| &pod.labels).chain([&none]);
        let mut labels = labels;
        labels.any(|labels| {
            policy.selects(&Pod {
                namespace,
                container: None,
                labels,
            })
        })
    }

    fn keys(&self, candidate: &Policy, selects: &dyn Fn(&Policy) -> bool) -> Option<Reason> {
        let own = candidate.identity();
        let others = self.policies.iter();
        let mut all: BTreeMap<Identity, &Policy> = others
            .filter(|(identity, policy)| **identity != own && selects(policy))
            .map(|(identity, policy)| (identity.clone(), *policy))
            .collect();
        all.insert(own, candidate);
        let all: Vec<&Policy> = all.into_values().collect();
        let block = Postures::all(Posture::Block);
        let budget = Enforced::new(Enforcer::Bpf, &all, block).budget();
        let limit = budget.limit.filter(|_| !budget.fits())?;
        Some(Reason::Keys {
            wanted: budget.wanted,
            limit,
        })
    }

    /// Nodes that run it, or have run it and are still there, and enforce by anything but BPF-LSM.
    fn nodes(&self, pods: &[&PodFacts], seen_on: &BTreeSet<String>) -> Option<Reason> {
        let of_pods = pods.iter().filter_map(|pod| pod.node.as_ref());
        let there = |node: &&String| self.nodes.contains_key(*node);
        let nodes: BTreeSet<&String> = of_pods.chain(seen_on.iter().filter(there)).collect();
        let other: Listed = nodes
            .into_iter()
            .filter_map(|node| {
                let label = self.nodes.get(node).and_then(Option::as_deref);
                match label {
                    Some("bpf") => None,
                    Some(other) => Some(format!(
                        "{} has {}",
                        node.escape_debug(),
                        other.escape_debug()
                    )),
                    None => Some(format!("{} has no KubeArmor", node.escape_debug())),
                }
            })
            .collect();
        (other.count > 0).then_some(Reason::Nodes { nodes: other })
    }

    fn visibility(&self, pods: &[&PodFacts]) -> Option<Reason> {
        let of_namespace = self.visibility.map(|told| ("namespace".to_owned(), told));
        let of_pods = pods.iter().filter_map(|pod| {
            let told = pod.visibility.as_deref()?;
            Some((pod.name.clone(), told))
        });
        let told: Listed = of_namespace
            .into_iter()
            .chain(of_pods)
            .filter(|(_, told)| !is_visible(told))
            .map(|(of, told)| format!("{}: '{}'", of.escape_debug(), told.escape_debug()))
            .collect();
        (told.count > 0).then_some(Reason::Visibility { told })
    }
}

impl PodFacts {
    /// Whether what controls it does not say that it is of another workload.
    pub fn may_be_of(&self, workload: &Workload) -> bool {
        let Some((kind, name)) = &self.owner else {
            return true;
        };
        let is = |kind: &str, name: &str| workload.kind == kind && workload.name == name;
        match kind.as_str() {
            // What owns that is called so, with the hash or the time at the end.
            "ReplicaSet" | "Job" => {
                let above = name.rsplit_once('-').map(|(above, _)| above);
                is(kind, name) || above == Some(&workload.name)
            }
            _ => is(kind, name),
        }
    }

    fn is_not_enforced(&self) -> Option<String> {
        let name = self.name.escape_debug();
        if self.host_pid {
            return Some(format!("{name} has hostPID"));
        }
        let word = self.policy.as_deref()?;
        let is_enabled = word.trim().eq_ignore_ascii_case("enabled");
        (!is_enabled).then(|| {
            format!(
                "{name} is annotated kubearmor-policy: {}",
                word.escape_debug()
            )
        })
    }
}

/// Whether both programs and files are told of.
fn is_visible(told: &str) -> bool {
    let words: BTreeSet<&str> = told.split(',').map(str::trim).collect();
    words.contains("process") && words.contains("file")
}

/// Whether a policy makes programs or files a list of what is allowed: then what it does not allow goes by
/// the posture.
fn allows(policy: &Policy) -> bool {
    let spec = &policy.spec;
    let (process, file) = (&spec.process, &spec.file);
    let is = |section: &Option<Action>, own: &Option<Action>| {
        spec.effect(section.as_ref(), own.as_ref()) == Effect::Allow
    };
    let of_programs = |own: &Option<Action>| is(&process.action, own);
    let of_files = |own: &Option<Action>| is(&file.action, own);
    process.match_paths.iter().any(|of| of_programs(&of.action))
        || process
            .match_directories
            .iter()
            .any(|of| of_programs(&of.action))
        || process
            .match_patterns
            .iter()
            .any(|of| of_programs(&of.action))
        || file.match_paths.iter().any(|of| of_files(&of.action))
        || file.match_directories.iter().any(|of| of_files(&of.action))
        || file.match_patterns.iter().any(|of| of_files(&of.action))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::from_yaml;

    fn policy(name: &str, app: &str, more: &str) -> Policy {
        let text = format!(
            "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {{name: {name}, namespace: \
             shop}}\nspec:\n  selector: {{matchLabels: {{app: {app}}}}}\n  action: Allow\n  {more}\n"
        );
        from_yaml(&text).expect("a policy").remove(0)
    }

    const ETC: &str = "file: {matchDirectories: [{dir: /etc/}]}";

    struct World {
        policies: Vec<Policy>,
        pods: Vec<PodFacts>,
        nodes: BTreeMap<String, Option<String>>,
        is_block: bool,
        is_by_hand: bool,
        visibility: Option<String>,
    }

    fn quiet() -> World {
        World {
            policies: Vec::new(),
            pods: vec![PodFacts {
                name: "web-1".to_owned(),
                node: Some("n".to_owned()),
                labels: [("app".to_owned(), "web".to_owned())].into(),
                ..PodFacts::default()
            }],
            nodes: [("n".to_owned(), Some("bpf".to_owned()))].into(),
            is_block: false,
            is_by_hand: false,
            visibility: None,
        }
    }

    impl World {
        fn against(&self) -> Vec<String> {
            let policies = self
                .policies
                .iter()
                .map(|one| (one.identity(), one))
                .collect();
            let around = Surroundings {
                is_by_hand: self.is_by_hand,
                is_block: self.is_block,
                visibility: self.visibility.as_deref(),
                policies: &policies,
                unread: &[],
                promoted: &BTreeSet::new(),
                pods: &self.pods,
                nodes: &self.nodes,
            };
            let workload = "shop/Deployment/web".parse().expect("a workload");
            let candidate = policy("web", "web", ETC);
            let reasons = around.against(&workload, &candidate, &BTreeSet::new(), &[]);
            reasons
                .iter()
                .map(|reason| format!("{}: {reason}", reason.word()))
                .collect()
        }
    }

    #[test]
    fn nothing_around_it_speaks_against_it() {
        assert_eq!(quiet().against(), [""; 0]);
    }

    #[test]
    fn allow_policies_count_by_what_block_would_newly_enforce() {
        let mut world = quiet();
        world.policies = vec![policy("other", "db", ETC)];
        let found = world.against();
        assert_eq!(
            found,
            ["foreign-policies: 1 Allow policy of others (shop/other)"]
        );
        // It is enforced already, and has nothing to do with this one.
        world.is_block = true;
        assert_eq!(world.against(), [""; 0]);
        world.policies = vec![policy("wide", "web", ETC)];
        assert_eq!(world.against().len(), 1);
        world.policies = vec![policy(
            "sockets",
            "web",
            "network: {matchProtocols: [{protocol: tcp}]}",
        )];
        world.is_block = false;
        assert_eq!(world.against(), [""; 0]);
        world.policies = vec![policy(
            "learned",
            "db",
            &format!("tags: [learner]\n  {ETC}"),
        )];
        assert!(
            world.against()[0].starts_with("unpromoted-policies: "),
            "{:?}",
            world.against()
        );
    }

    #[test]
    fn a_policy_that_a_person_applied_by_its_name_is_not_overwritten() {
        let world = World {
            is_by_hand: true,
            ..quiet()
        };
        assert_eq!(
            world.against(),
            [
                "foreign-policies: 1 Allow policy of others (shop/web, which a person applied: delete it)"
            ]
        );
    }

    #[test]
    fn a_policy_that_would_hold_pods_of_others_is_not_enforced() {
        let mut world = quiet();
        let owned = |kind: &str, name: &str| Some((kind.to_owned(), name.to_owned()));
        for (kind, name) in [("ReplicaSet", "web-5d8f"), ("ReplicaSet", "web-77")] {
            world.pods[0].owner = owned(kind, name);
            assert_eq!(world.against(), [""; 0], "{kind} {name}");
        }
        for (kind, name) in [
            ("ReplicaSet", "web-canary-5d8f"),
            ("Job", "web-migrate-1"),
            ("StatefulSet", "web"),
        ] {
            world.pods[0].owner = owned(kind, name);
            assert_eq!(
                world.against(),
                ["selects-others: its policy would hold 1 pod of others too (web-1)"],
                "{kind} {name}"
            );
        }
    }

    #[test]
    fn nodes_pods_visibility_and_keys_are_reasons() {
        let mut world = quiet();
        world.nodes = [("n".to_owned(), Some("apparmor".to_owned()))].into();
        world.pods[0].host_pid = true;
        world.pods[0].visibility = Some("none".to_owned());
        world.visibility = Some("process,network".to_owned());
        let many: Vec<String> = (0..260).map(|n| format!("{{path: /etc/f{n}}}")).collect();
        let many = format!("file: {{matchPaths: [{}]}}", many.join(", "));
        world.policies = vec![policy("many", "web", &many)];
        let found = world.against();
        for word in [
            "foreign-policies",
            "keys",
            "nodes",
            "not-enforced",
            "visibility",
        ] {
            assert!(
                found.iter().any(|reason| reason.starts_with(word)),
                "{word}: {found:?}"
            );
        }
        let has = |text: &str| found.iter().any(|reason| reason.contains(text));
        assert!(
            has("n has apparmor") && has("web-1 has hostPID"),
            "{found:?}"
        );
        assert!(
            has("namespace: 'process,network'") && has("web-1: 'none'"),
            "{found:?}"
        );
    }
}

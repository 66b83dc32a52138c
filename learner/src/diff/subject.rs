//! For whom policies are compared: the containers that were seen, and those that selectors describe.

use std::collections::{BTreeMap, BTreeSet};

use crate::behavior::Behavior;
use crate::policy::{Kind, Pod, Policy};
use crate::profile::Evidence;
use crate::workload::Labels;

/// A container, or all that have these labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    /// For people.
    pub(super) name: String,
    namespace: String,
    container: Option<String>,
    labels: Labels,
}

impl Subject {
    pub(super) fn pod(&self) -> Pod<'_> {
        Pod {
            namespace: &self.namespace,
            container: self.container.as_deref(),
            labels: &self.labels,
        }
    }
}

/// What a subject was seen to do, and how often.
pub(super) type Seen<'a> = BTreeMap<&'a Behavior, u64>;

/// The containers that were seen, and for each policy that selects none of them those that its
/// selector describes.
pub(super) fn subjects<'a>(
    evidence: &'a Evidence,
    policies: &[&Policy],
) -> BTreeMap<Subject, Seen<'a>> {
    let mut subjects: BTreeMap<Subject, Seen<'a>> = BTreeMap::new();
    let mut kinds: BTreeMap<_, BTreeSet<&Labels>> = BTreeMap::new();
    for (key, run) in evidence.runs() {
        kinds.entry(&key.workload).or_default().insert(&run.labels);
    }
    for (key, run) in evidence.runs() {
        let workload = &key.workload;
        let mut name = workload.to_string();
        if kinds[workload].len() > 1 {
            name = format!("{name} ({})", listed(&run.labels));
        }
        let subject = Subject {
            name,
            namespace: workload.namespace.clone(),
            container: Some(workload.container.clone()),
            labels: run.labels.clone(),
        };
        let seen = subjects.entry(subject).or_default();
        for (behavior, sighting) in run.seen.iter().filter(|(b, _)| b.is_learnable()) {
            let count = seen.entry(behavior).or_default();
            *count = count.saturating_add(sighting.count);
        }
    }
    subjects.retain(|subject, _| policies.iter().any(|policy| policy.selects(&subject.pod())));
    let mut described = BTreeSet::new();
    for policy in policies {
        if !subjects
            .keys()
            .any(|subject| policy.selects(&subject.pod()))
        {
            described.extend(of(policy, policies));
        }
    }
    for subject in described {
        subjects.entry(subject).or_default();
    }
    subjects
}

/// Those that a selector describes: one for each container and each alternative that it names.
fn of(policy: &Policy, all: &[&Policy]) -> Vec<Subject> {
    let namespaces: BTreeSet<String> = match policy.kind {
        Kind::HostPolicy => return Vec::new(),
        Kind::Policy => policy.namespace().map(str::to_owned).into_iter().collect(),
        Kind::ClusterPolicy => {
            let named = |policy: &Policy| -> Vec<String> {
                let values = policy.expressions("namespace").flat_map(|e| &e.values);
                let own = policy.namespace().map(str::to_owned);
                values.cloned().chain(own).collect()
            };
            let mut names: BTreeSet<String> = all.iter().flat_map(|other| named(other)).collect();
            names.insert("default".to_owned());
            names
        }
    };
    let containers: Vec<Option<String>> = match policy.kind {
        Kind::Policy if !policy.containers().is_empty() => policy
            .containers()
            .into_iter()
            .map(|name| Some(String::from_utf8_lossy(name).into_owned()))
            .collect(),
        _ => vec![None],
    };
    let base = match policy.kind {
        Kind::Policy => policy.wanted_labels(),
        _ => Labels::new(),
    };
    let alternatives: Vec<Labels> = policy
        .expressions("label")
        .filter(|expression| expression.operator == "In")
        .flat_map(|expression| &expression.values)
        .filter_map(|value| value.split_once('='))
        .map(|(key, value)| {
            let mut labels = base.clone();
            labels.insert(key.to_owned(), value.to_owned());
            labels
        })
        .collect();
    let mut found = Vec::new();
    for namespace in &namespaces {
        for container in &containers {
            for labels in alternatives.iter().chain([&base]) {
                let subject = Subject {
                    name: described(namespace, labels, container.as_deref()),
                    namespace: namespace.clone(),
                    container: container.clone(),
                    labels: labels.clone(),
                };
                if policy.selects(&subject.pod()) {
                    found.push(subject);
                }
            }
        }
    }
    found
}

fn described(namespace: &str, labels: &Labels, container: Option<&str>) -> String {
    let mut text = format!("{namespace}: {}", listed(labels));
    if let Some(container) = container {
        text.push_str(&format!(", container {container}"));
    }
    text
}

fn listed(labels: &Labels) -> String {
    if labels.is_empty() {
        return "any pod".to_owned();
    }
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

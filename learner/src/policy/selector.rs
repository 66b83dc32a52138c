//! Which containers a policy is for, as KubeArmor decides it.
//!
//! Where KubeArmor's source is cited, it is that of commit 510cee31.

use std::collections::BTreeSet;

use super::document::{Kind, MatchExpression, Policy};
use crate::workload::{Labels, Workload};

/// Label by which KubeArmor tells the containers of a pod apart; the value stands in brackets.
pub(crate) const CONTAINER_LABEL: &str = "kubearmor.io/container.name";

/// A container, as far as selectors ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name in the pod; `None` stands for a container that no policy names.
    pub container: Option<&'a str>,
    /// The labels of the pod.
    pub labels: &'a Labels,
}

impl<'a> Pod<'a> {
    /// A run of a workload, by the labels that the run carries.
    pub fn of(workload: &'a Workload, labels: &'a Labels) -> Self {
        Self {
            namespace: &workload.namespace,
            container: Some(&workload.container),
            labels,
        }
    }

    /// `key=value`, as match expressions have it.
    fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|(key, value)| {
            label
                .strip_prefix(key.as_str())
                .and_then(|rest| rest.strip_prefix('='))
                == Some(value)
        })
    }
}

impl Policy {
    /// Whether KubeArmor applies the policy to the container (kubeUpdate.go, GetSecurityPolicies).
    ///
    /// A KubeArmorHostPolicy selects hosts and never a container.
    pub fn selects(&self, pod: &Pod<'_>) -> bool {
        let listed = match self.kind {
            Kind::HostPolicy => false,
            Kind::Policy => self.is_in(pod) && self.has_labels(pod) && self.has_container(pod),
            // Its matchLabels are not looked at.
            Kind::ClusterPolicy => self.lists(pod.namespace),
        };
        listed && self.expressions_hold(pod)
    }

    /// The names that `kubearmor.io/container.name` stands for. None: all containers.
    ///
    /// KubeArmor takes the first and the last byte off without a look at them, so `[a, b]` names
    /// `a` and `b`, and `nginx` names `gin`; up to two bytes name nothing.
    pub fn containers(&self) -> Vec<&[u8]> {
        let value = self.spec.selector.match_labels.get(CONTAINER_LABEL);
        let Some(value) = value.map(String::as_bytes).filter(|v| v.len() > 2) else {
            return Vec::new();
        };
        value[1..value.len() - 1]
            .split(|byte| *byte == b',')
            .filter(|name| !name.is_empty())
            .map(<[u8]>::trim_ascii)
            .collect()
    }

    /// The labels that a pod must have, without that of the container.
    pub fn wanted_labels(&self) -> Labels {
        let mut labels = self.spec.selector.match_labels.clone();
        labels.remove(CONTAINER_LABEL);
        labels
    }

    fn is_in(&self, pod: &Pod<'_>) -> bool {
        self.namespace() == Some(pod.namespace)
    }

    fn has_labels(&self, pod: &Pod<'_>) -> bool {
        self.spec
            .selector
            .match_labels
            .iter()
            .filter(|(key, _)| *key != CONTAINER_LABEL)
            .all(|(key, value)| pod.labels.get(key) == Some(value))
    }

    fn has_container(&self, pod: &Pod<'_>) -> bool {
        let names = self.containers();
        names.is_empty()
            || pod
                .container
                .is_some_and(|own| names.contains(&own.as_bytes()))
    }

    /// A cluster policy takes the namespaces of its In; without one, all that no NotIn names
    /// (kubeUpdate.go, updateNamespaceListforCSP).
    fn lists(&self, namespace: &str) -> bool {
        let with = |operator: &str| {
            self.expressions("namespace")
                .filter(move |e| e.operator == operator)
                .collect::<Vec<_>>()
        };
        let names = |list: &[&MatchExpression]| {
            list.iter()
                .any(|expression| expression.values.iter().any(|value| value == namespace))
        };
        let inside = with("In");
        if inside.is_empty() {
            !names(&with("NotIn"))
        } else {
            names(&inside)
        }
    }

    /// The values of all In are alternatives. A NotIn after an In is not looked at; one before it
    /// decides alone (kubeUpdate.go, CreateSecurityPolicy; common.go, MatchExpIdentities).
    fn expressions_hold(&self, pod: &Pod<'_>) -> bool {
        let mut inside = BTreeSet::new();
        let mut outside = BTreeSet::new();
        for expression in self.expressions("label") {
            match expression.operator.as_str() {
                "In" => inside.extend(&expression.values),
                "NotIn" if inside.is_empty() => outside.extend(&expression.values),
                _ => {}
            }
        }
        let any = |labels: &BTreeSet<&String>| labels.iter().any(|label| pod.has(label));
        if outside.is_empty() {
            inside.is_empty() || any(&inside)
        } else {
            !any(&outside)
        }
    }

    /// The match expressions about this.
    pub(crate) fn expressions<'a>(
        &'a self,
        key: &'a str,
    ) -> impl Iterator<Item = &'a MatchExpression> {
        let all = self.spec.selector.match_expressions.iter();
        all.filter(move |expression| expression.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::from_yaml;

    fn policy(kind: &str, namespace: &str, selector: &str) -> Policy {
        let text = format!(
            "kind: {kind}\nmetadata: {{name: p, namespace: {namespace}}}\nspec: {{selector: {selector}}}\n"
        );
        from_yaml(&text).expect("a policy").remove(0)
    }

    fn selects(policy: &Policy, namespace: &str, container: &str, labels: &[(&str, &str)]) -> bool {
        let labels: Labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        policy.selects(&Pod {
            namespace,
            container: Some(container),
            labels: &labels,
        })
    }

    const WEB: &[(&str, &str)] = &[("app", "web"), ("tier", "front")];

    #[test]
    fn all_labels_of_the_selector_must_be_there_in_its_namespace() {
        let p = policy("KubeArmorPolicy", "shop", "{matchLabels: {app: web}}");
        assert!(selects(&p, "shop", "c", WEB));
        assert!(!selects(&p, "default", "c", WEB));
        assert!(!selects(&p, "shop", "c", &[("tier", "front")]));
        let p = policy("KubeArmorPolicy", "shop", "{matchLabels: {app: web, x: y}}");
        assert!(!selects(&p, "shop", "c", WEB));
        let p = policy("KubeArmorPolicy", "\"\"", "{}");
        assert!(selects(&p, "default", "c", &[]) && !selects(&p, "shop", "c", &[]));
    }

    #[test]
    fn the_first_and_the_last_byte_of_a_container_name_are_taken_off() {
        let named = |value: &str| {
            let selector = format!("{{matchLabels: {{kubearmor.io/container.name: \"{value}\"}}}}");
            policy("KubeArmorPolicy", "shop", &selector)
        };
        assert!(selects(&named("[a, web]"), "shop", "web", WEB));
        assert!(!selects(&named("[a, web]"), "shop", "other", WEB));
        assert!(selects(&named("nginx"), "shop", "gin", WEB));
        assert!(!selects(&named("nginx"), "shop", "nginx", WEB));
        // Nothing is left of it, and nothing names all.
        assert!(selects(&named("[]"), "shop", "any", WEB));
        assert!(!selects(&named("éaé"), "shop", "a", WEB));
    }

    #[test]
    fn expressions_are_alternatives_and_order_matters_as_in_kubearmor() {
        let p = |list: &str| {
            policy(
                "KubeArmorPolicy",
                "shop",
                &format!("{{matchExpressions: {list}}}"),
            )
        };
        let inside = "{key: label, operator: In, values: [app=x, tier=front]}";
        let outside = "{key: label, operator: NotIn, values: [app=web]}";
        assert!(selects(&p(&format!("[{inside}]")), "shop", "c", WEB));
        assert!(!selects(
            &p(&format!("[{inside}]")),
            "shop",
            "c",
            &[("app", "y")]
        ));
        assert!(!selects(&p(&format!("[{outside}]")), "shop", "c", WEB));
        assert!(selects(
            &p(&format!("[{inside}, {outside}]")),
            "shop",
            "c",
            WEB
        ));
        assert!(!selects(
            &p(&format!("[{outside}, {inside}]")),
            "shop",
            "c",
            WEB
        ));
        assert!(selects(
            &p(&format!("[{outside}, {inside}]")),
            "shop",
            "c",
            &[("a", "b")]
        ));
    }

    #[test]
    fn a_cluster_policy_goes_by_namespaces_and_a_host_policy_by_hosts() {
        let p = |list: &str| {
            policy(
                "KubeArmorClusterPolicy",
                "\"\"",
                &format!("{{matchExpressions: {list}}}"),
            )
        };
        let inside = p("[{key: namespace, operator: In, values: [shop]}]");
        assert!(selects(&inside, "shop", "c", &[]) && !selects(&inside, "bank", "c", &[]));
        let outside = p("[{key: namespace, operator: NotIn, values: [shop]}]");
        assert!(!selects(&outside, "shop", "c", &[]) && selects(&outside, "bank", "c", &[]));
        assert!(selects(&p("[]"), "any", "c", &[]));
        let host = policy("KubeArmorHostPolicy", "\"\"", "{}");
        assert!(!selects(&host, "default", "c", WEB));
    }
}

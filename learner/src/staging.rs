//! Whether a policy may be applied while the posture is still audit.
//!
//! KubeArmor's BPF-LSM enforcer denies writes to what a `readOnly` rule allows, and access by others to
//! what an `ownerOnly` rule allows, under audit posture too. So such a rule has to be shown to be harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::policy::meaning::{
    Because, Enforced, Enforcer, Fact, Operation, Posture, Postures, Verdict, Why,
};
use crate::policy::{Action, Effect, Pod, Policy};
use crate::profile::{Evidence, RunProfile};
use crate::promotion::Listed;
use crate::recommend::{RUNS_FOR_READ_ONLY, latest_image};
use crate::workload::{RunKey, Workload};

/// Why a policy is not to be applied under audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hazard {
    /// Nothing was seen of any container that it selects.
    NothingSeen {
        /// The rules that deny under audit.
        rules: Listed,
    },
    /// Not enough whole runs show that the rules deny nothing.
    TooFewRuns {
        /// Whose runs.
        workload: Workload,
        /// So many.
        whole: usize,
        /// The rules that deny under audit.
        rules: Listed,
    },
    /// A rule denies what was done.
    Denies {
        /// Whose doing.
        workload: Workload,
        /// What, and which rule.
        operations: Listed,
    },
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSeen { rules } => write!(
                f,
                "{} readOnly or ownerOnly rules {rules} deny under audit too, and nothing was seen of what \
                 it selects",
                rules.count
            ),
            Self::TooFewRuns {
                workload,
                whole,
                rules,
            } => write!(
                f,
                "{} readOnly or ownerOnly rules {rules} deny under audit too, and only {whole} of \
                 {RUNS_FOR_READ_ONLY} whole runs of {} show that they deny nothing",
                rules.count,
                workload.to_string().escape_debug()
            ),
            Self::Denies {
                workload,
                operations,
            } => write!(
                f,
                "under audit too it denies {} operations of {} {operations}",
                operations.count,
                workload.to_string().escape_debug()
            ),
        }
    }
}

/// What speaks against applying a policy while the posture of its namespace is audit; empty if nothing
/// does. Judged are the runs of the latest image of each workload that it selects.
pub fn hazards(policy: &Policy, evidence: &Evidence) -> Vec<Hazard> {
    let fields = restricting(policy);
    if fields.is_empty() {
        return Vec::new();
    }
    let rules: Listed = fields.iter().collect();
    let mut selected: BTreeMap<&Workload, Vec<(&RunKey, &RunProfile)>> = BTreeMap::new();
    for (key, run) in evidence.runs() {
        if policy.selects(&Pod::of(&key.workload, &run.labels)) {
            selected.entry(&key.workload).or_default().push((key, run));
        }
    }
    let mut hazards = Vec::new();
    if selected.is_empty() {
        hazards.push(Hazard::NothingSeen {
            rules: rules.clone(),
        });
    }
    let audit = Postures::all(Posture::Audit);
    let enforced = Enforced::new(Enforcer::Bpf, &[policy], audit);
    for (workload, mut runs) in selected {
        let image = latest_image(workload, evidence);
        runs.retain(|(key, _)| image.is_none_or(|image| key.image == image));
        let whole = runs.iter().filter(|(_, run)| !run.is_partial()).count();
        if whole < RUNS_FOR_READ_ONLY {
            hazards.push(Hazard::TooFewRuns {
                workload: workload.clone(),
                whole,
                rules: rules.clone(),
            });
        }
        let denied: BTreeSet<String> = runs
            .iter()
            .flat_map(|(_, run)| run.seen.keys())
            .filter(|behavior| behavior.is_learnable())
            .filter_map(|behavior| {
                let judgement = enforced.judge(&Operation::from(behavior));
                let is_meant = match (judgement.verdict, &judgement.why) {
                    (Verdict::Denied, Why::Rule { because, .. }) => {
                        matches!(because, Because::ReadOnly | Because::NotOwner)
                    }
                    (Verdict::Unknown, Why::Missing(fact)) => *fact == Fact::Owner,
                    _ => false,
                };
                is_meant.then(|| format!("{behavior}: {}", judgement.why))
            })
            .collect();
        if !denied.is_empty() {
            hazards.push(Hazard::Denies {
                workload: workload.clone(),
                operations: denied.into_iter().collect(),
            });
        }
    }
    hazards
}

/// The fields of the rules that allow something to readers or owners alone. Patterns are not among them:
/// the BPF-LSM enforcer has none, and AppArmor denies nothing under audit.
fn restricting(policy: &Policy) -> Vec<String> {
    let spec = &policy.spec;
    let (process, file) = (&spec.process, &spec.file);
    let mut fields = Vec::new();
    let mut add = |section: Option<&Action>, own: Option<&Action>, flags: [Option<bool>; 2], at| {
        if flags.contains(&Some(true)) && spec.effect(section, own) == Effect::Allow {
            fields.push(at);
        }
    };
    for (number, rule) in process.match_paths.iter().enumerate() {
        let at = format!("spec.process.matchPaths[{number}]");
        let flags = [None, rule.owner_only];
        add(process.action.as_ref(), rule.action.as_ref(), flags, at);
    }
    for (number, rule) in process.match_directories.iter().enumerate() {
        let at = format!("spec.process.matchDirectories[{number}]");
        let flags = [None, rule.owner_only];
        add(process.action.as_ref(), rule.action.as_ref(), flags, at);
    }
    for (number, rule) in file.match_paths.iter().enumerate() {
        let at = format!("spec.file.matchPaths[{number}]");
        let flags = [rule.read_only, rule.owner_only];
        add(file.action.as_ref(), rule.action.as_ref(), flags, at);
    }
    for (number, rule) in file.match_directories.iter().enumerate() {
        let at = format!("spec.file.matchDirectories[{number}]");
        let flags = [rule.read_only, rule.owner_only];
        add(file.action.as_ref(), rule.action.as_ref(), flags, at);
    }
    fields
}

/// What stands behind a policy, for its annotation: the runs that it selects.
pub fn behind(policy: &Policy, evidence: &Evidence) -> String {
    let mut behind = Behind::default();
    behind.add(policy, evidence);
    behind.to_string()
}

/// The same, of evidence that is not in one place.
#[derive(Clone, Debug, Default)]
pub struct Behind {
    runs: usize,
    whole: usize,
    nodes: BTreeSet<String>,
}

impl Behind {
    /// With the runs of this evidence that the policy selects.
    pub fn add(&mut self, policy: &Policy, evidence: &Evidence) {
        for (key, run) in evidence.runs() {
            if !run.is_watched() || !policy.selects(&Pod::of(&key.workload, &run.labels)) {
                continue;
            }
            self.runs += 1;
            self.whole += usize::from(!run.is_partial());
            // A run of the cluster is called <node>/<run>.
            let node = key.run.split('/').next().unwrap_or_default();
            if !self.nodes.contains(node) {
                self.nodes.insert(node.to_owned());
            }
        }
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        if self.runs == 0 {
            return f.write_str("no runs in this cluster");
        }
        write!(
            f,
            "{} on {}, {} of them whole",
            count(self.runs, "run"),
            count(self.nodes.len(), "node"),
            self.whole
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behavior::{Access, Behavior, Op, Outcome};
    use crate::observation::Moment;
    use crate::path::AbsPath;
    use crate::policy::from_yaml;
    use crate::profile::Sighting;

    fn policy(rule: &str) -> Policy {
        let text = format!(
            "kind: KubeArmorPolicy\nmetadata: {{name: web, namespace: shop}}\nspec:\n  selector: \
             {{matchLabels: {{app: web}}}}\n  file: {{matchDirectories: [{rule}]}}\n  action: Allow\n"
        );
        from_yaml(&text).expect("a policy").remove(0)
    }

    fn evidence(image: &str, runs: usize, access: Access, owner: Option<bool>) -> Evidence {
        let mut evidence = Evidence::default();
        for number in 0..runs {
            let at = Moment(number as i64);
            let seen = Sighting {
                count: 1,
                first: at,
                last: at,
            };
            let behavior = Behavior {
                op: Op::Open(access),
                path: AbsPath::try_from("/etc/web.conf").expect("absolute"),
                source: AbsPath::try_from("/usr/bin/web").ok(),
                uid: None,
                owner,
                upper: Some(false),
                tty: None,
                result: Outcome::Ok,
            };
            let run = RunProfile {
                labels: [("app".to_owned(), "web".to_owned())].into(),
                start: Some(at),
                seen: [(behavior, seen)].into(),
                ..RunProfile::default()
            };
            let key = RunKey {
                workload: "shop/Deployment/web".parse().expect("a workload"),
                image: image.to_owned(),
                run: format!("node-{number}/a"),
            };
            evidence.insert(key, run);
        }
        evidence
    }

    #[test]
    fn what_denies_under_audit_has_to_be_shown_to_be_harmless() {
        let of = |rule: &str, evidence: &Evidence| -> Vec<String> {
            let found = hazards(&policy(rule), evidence);
            found.iter().map(ToString::to_string).collect()
        };
        let none = Evidence::default();
        let reads = evidence("i", 3, Access::Read, Some(true));
        let read_only = "{dir: /etc/, readOnly: true}";
        let owner_only = "{dir: /etc/, ownerOnly: true}";
        assert_eq!(of("{dir: /etc/}", &none), [""; 0]);
        assert_eq!(
            of("{dir: /etc/, readOnly: true, action: Block}", &none),
            [""; 0]
        );
        assert!(of(read_only, &none)[0].contains("(spec.file.matchDirectories[0])"));
        assert_eq!(of(read_only, &reads), [""; 0]);
        assert_eq!(of(owner_only, &reads), [""; 0]);
        let few = of(read_only, &evidence("i", 2, Access::Read, Some(true)));
        assert!(few[0].contains("only 2 of 3 whole runs"), "{few:?}");
        let writes = of(read_only, &evidence("i", 3, Access::Write, Some(true)));
        assert!(
            writes[0].contains("(open /etc/web.conf by /usr/bin/web: "),
            "{writes:?}"
        );
        for owner in [Some(false), None] {
            let others = of(owner_only, &evidence("i", 3, Access::Read, owner));
            assert_eq!(others.len(), 1, "{owner:?}: {others:?}");
        }
    }

    #[test]
    fn what_stands_behind_a_policy_is_told_in_a_line() {
        let policy = policy("{dir: /etc/}");
        assert_eq!(
            behind(&policy, &Evidence::default()),
            "no runs in this cluster"
        );
        let reads = evidence("i", 3, Access::Read, None);
        assert_eq!(
            behind(&policy, &reads),
            "3 runs on 3 nodes, 3 of them whole"
        );
    }
}

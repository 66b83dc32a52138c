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

//! What policies would have done to what was seen.
//!
//! Judged is what succeeded, and nothing else: an operation that failed says nothing about what
//! the workload needs.

use std::collections::{BTreeMap, BTreeSet};

use crate::behavior::{Behavior, Op};
use crate::path::AbsPath;
use crate::policy::meaning::{Enforced, Enforcer, Operation, Postures, Root, Verdict};
use crate::policy::{Identity, Kind, Lint, Pod, Policy, lint, violations};
use crate::profile::{Evidence, RunProfile};
use crate::workload::{RunKey, Workload};

/// What would have come of what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Distinct operations that were judged: allowed, denied and unknown ones.
    pub operations: usize,
    /// Those that would have been done, reported or not.
    pub allowed: usize,
    /// What would have been refused, in the order of workloads and paths.
    pub denied: Vec<Hit>,
    /// What would have been done and reported.
    pub alerts: Vec<Hit>,
    /// What cannot be told from what is known.
    pub unknown: Vec<Hit>,
    /// Allowed operations that change a file of the image. On an overlay root, as containers have,
    /// the kernel copies the file up under a path of the host that no rule allows, so that
    /// KubeArmor would refuse them there.
    pub copied_up: usize,
    /// Runs that were judged.
    pub runs: usize,
    /// Those of them that were not watched whole.
    pub partial: usize,
    /// Workloads that none of the policies selects: nothing of them was judged.
    pub left_out: BTreeSet<Workload>,
    /// Policies that select none of the runs: they were not tested.
    pub untested: Vec<Untested>,
    /// What is wrong with the policies themselves.
    pub findings: Vec<Finding>,
}

/// One operation of one workload, and what decides about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Whose.
    pub workload: Workload,
    /// What was done.
    pub op: Op,
    /// To which path.
    pub path: AbsPath,
    /// By which program, if that is known.
    pub source: Option<AbsPath>,
    /// The runs that did it.
    pub runs: BTreeSet<RunKey>,
    /// How often, over these runs. Saturates.
    pub count: u64,
    /// The rule or the posture that decides, or what is not known.
    pub why: String,
}

/// A policy that selects nothing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untested {
    /// The policy.
    pub policy: Identity,
    /// It is for hosts, and what was seen is of containers.
    pub is_for_hosts: bool,
}

/// Something that is wrong with a policy, whatever was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The policy.
    pub policy: String,
    /// The field, as in `spec.file.matchPaths[3].path`.
    pub field: String,
    /// A sentence.
    pub text: String,
}

/// Judges what succeeded in the runs by the policies that select each of them.
///
/// Policies are applied in the order of their namespaces and names, as KubeArmor reads them at its
/// start: where two of them write the same key, the later one wins.
pub fn simulate(
    evidence: &Evidence,
    policies: &[Policy],
    enforcer: Enforcer,
    postures: Postures,
) -> Simulation {
    let policies = in_order(policies);
    let mut simulation = Simulation::default();
    let mut groups: BTreeMap<(&Workload, Vec<usize>), Vec<Run<'_>>> = BTreeMap::new();
    for run in evidence.runs() {
        let pod = Pod::of(&run.0.workload, &run.1.labels);
        let selecting: Vec<usize> = (0..policies.len())
            .filter(|index| policies[*index].selects(&pod))
            .collect();
        let group = groups.entry((&run.0.workload, selecting)).or_default();
        group.push(run);
    }
    let tested: BTreeSet<usize> = groups.keys().flat_map(|(_, set)| set).copied().collect();
    let judged: BTreeSet<&Workload> = groups
        .keys()
        .filter_map(|(workload, set)| (!set.is_empty()).then_some(*workload))
        .collect();
    let mut hits = Hits::default();
    for ((workload, selecting), runs) in &groups {
        if selecting.is_empty() {
            if !judged.contains(workload) {
                simulation.left_out.insert((*workload).clone());
            }
            continue;
        }
        simulation.runs += runs.len();
        simulation.partial += runs.iter().filter(|(_, run)| run.is_partial()).count();
        let applied: Vec<&Policy> = selecting.iter().map(|index| policies[*index]).collect();
        hits.judge(workload, runs, &Yard::new(enforcer, &applied, postures));
    }
    hits.sort_into(&mut simulation);
    for (index, policy) in policies.iter().enumerate() {
        if !tested.contains(&index) {
            simulation.untested.push(Untested {
                policy: policy.identity(),
                is_for_hosts: policy.kind == Kind::HostPolicy,
            });
        }
    }
    let sets = groups.into_keys().map(|(_, set)| set).collect();
    simulation.findings = findings(&policies, sets, &tested, enforcer);
    simulation
}

/// In the order in which the API server lists them.
fn in_order(policies: &[Policy]) -> Vec<&Policy> {
    let mut ordered: Vec<&Policy> = policies.iter().collect();
    ordered.sort_by_cached_key(|policy| policy.identity());
    ordered
}

/// What is wrong with policies that are applied together, and with each that is applied nowhere.
fn findings(
    policies: &[&Policy],
    mut sets: BTreeSet<Vec<usize>>,
    tested: &BTreeSet<usize>,
    enforcer: Enforcer,
) -> Vec<Finding> {
    let untested = (0..policies.len()).filter(|index| !tested.contains(index));
    sets.extend(untested.map(|index| vec![index]));
    let mut found = BTreeSet::new();
    for set in sets {
        let together: Vec<&Policy> = set.iter().map(|index| policies[*index]).collect();
        for entry in lint(&together, enforcer) {
            let Lint {
                policy,
                field,
                kind: _,
                text,
            } = entry;
            found.insert(Finding {
                policy,
                field,
                text,
            });
        }
    }
    for policy in policies {
        for violation in violations(policy) {
            found.insert(Finding {
                policy: policy.metadata.name.clone(),
                text: format!(
                    "against the CRD: '{}', {}",
                    violation.value.escape_debug(),
                    violation.bound
                ),
                field: violation.field,
            });
        }
    }
    found.into_iter().collect()
}

type Run<'a> = (&'a RunKey, &'a RunProfile);

/// The policies by which runs are judged, on both kinds of root.
struct Yard {
    plain: Enforced,
    overlay: Enforced,
}

impl Yard {
    fn new(enforcer: Enforcer, policies: &[&Policy], postures: Postures) -> Self {
        let enforced = || Enforced::new(enforcer, policies, postures);
        Self {
            plain: enforced(),
            overlay: enforced().on(Root::Overlay { workdir: None }),
        }
    }

    /// Allowed, but not where the file has to be copied up first.
    fn needs_copy_up(&self, behavior: &Behavior) -> bool {
        behavior.upper == Some(false)
            && self.overlay.judge(&Operation::from(behavior)).verdict != Verdict::Allowed
    }
}

/// What an operation is counted under: whoever did it as which user is the same operation, if the
/// same comes of it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    workload: &'a Workload,
    path: &'a AbsPath,
    op: &'a Op,
    source: Option<&'a AbsPath>,
    fate: Fate,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Allowed,
    Reported(String),
    Denied(String),
    Unknown(String),
}

#[derive(Default)]
struct Tally {
    runs: BTreeSet<RunKey>,
    count: u64,
    copied_up: bool,
}

#[derive(Default)]
struct Hits<'a>(BTreeMap<Key<'a>, Tally>);

impl<'a> Hits<'a> {
    fn judge(&mut self, workload: &'a Workload, runs: &[Run<'a>], yard: &Yard) {
        let mut seen: BTreeMap<&Behavior, Tally> = BTreeMap::new();
        for (key, run) in runs {
            for (behavior, sighting) in run.seen.iter().filter(|(b, _)| b.is_learnable()) {
                let tally = seen.entry(behavior).or_default();
                tally.runs.insert((*key).clone());
                tally.count = tally.count.saturating_add(sighting.count);
            }
        }
        for (behavior, mut tally) in seen {
            let judgement = yard.plain.judge(&Operation::from(behavior));
            let why = judgement.why.to_string();
            let fate = match judgement.verdict {
                Verdict::Denied => Fate::Denied(why),
                Verdict::Unknown => Fate::Unknown(why),
                Verdict::Allowed => {
                    tally.copied_up = yard.needs_copy_up(behavior);
                    if judgement.alert {
                        Fate::Reported(why)
                    } else {
                        Fate::Allowed
                    }
                }
            };
            let key = Key {
                workload,
                path: &behavior.path,
                op: &behavior.op,
                source: behavior.source.as_ref(),
                fate,
            };
            let known = self.0.entry(key).or_default();
            known.runs.append(&mut tally.runs);
            known.count = known.count.saturating_add(tally.count);
            known.copied_up |= tally.copied_up;
        }
    }

    fn sort_into(self, simulation: &mut Simulation) {
        simulation.operations = self.0.len();
        for (key, tally) in self.0 {
            simulation.copied_up += usize::from(tally.copied_up);
            let (list, why) = match key.fate {
                Fate::Allowed => {
                    simulation.allowed += 1;
                    continue;
                }
                Fate::Reported(why) => {
                    simulation.allowed += 1;
                    (&mut simulation.alerts, why)
                }
                Fate::Denied(why) => (&mut simulation.denied, why),
                Fate::Unknown(why) => (&mut simulation.unknown, why),
            };
            list.push(Hit {
                workload: key.workload.clone(),
                op: key.op.clone(),
                path: key.path.clone(),
                source: key.source.cloned(),
                runs: tally.runs,
                count: tally.count,
                why,
            });
        }
    }
}

#[cfg(test)]
mod tests;

//! Why a revision stays where it is, or goes back; each with its numbers.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::observation::Moment;
use crate::percent::{bound, expected};
use crate::span::Shown;

/// So many of a list are named.
pub const NAMED: usize = 5;

/// How many there are, and the first few by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// All of them.
    pub count: usize,
    /// At most [`NAMED`], safe for a terminal.
    pub named: Vec<String>,
}

impl<T: fmt::Display> FromIterator<T> for Listed {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut listed = Self::default();
        for one in all {
            listed.count += 1;
            if listed.named.len() < NAMED {
                listed.named.push(one.to_string());
            }
        }
        listed
    }
}

/// In brackets: `(open /etc/a by /bin/b, …)`.
impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}", self.named.join(", "))?;
        if self.count > self.named.len() {
            f.write_str(", …")?;
        }
        f.write_str(")")
    }
}

/// One reason. Durations are in microseconds, shares between 0 and 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// The present is before the posture began: the clock was set back.
    ClockBehind {
        /// The present.
        now: Moment,
        /// When the posture began.
        since: Moment,
    },
    /// No run was watched whole that a candidate could be frozen from.
    NoWholeRun {
        /// Runs there are.
        runs: usize,
        /// Only those that began then or later count.
        since: Option<Moment>,
    },
    /// No policy can be made.
    NoPolicy {
        /// Why.
        why: String,
    },
    /// Alerts that no person has decided about.
    Alerts {
        /// The first of them.
        since: Moment,
        /// The alerts.
        alerts: Listed,
    },
    /// Not watched long enough without loss since the window began and since the last alert.
    NotQuiet {
        /// So long.
        quiet: u64,
        /// So long is wanted.
        window: u64,
        /// Runs in this time that do not count, and why.
        unwatched: Listed,
        /// When alerts may have been missed in this time.
        #[serde(default)]
        interruptions: Listed,
    },
    /// Nothing was seen of it since the window began.
    Idle {
        /// When it began.
        since: Moment,
    },
    /// No start-up was seen from its first exec since the freeze.
    NoStart {
        /// The freeze; none where all is judged.
        since: Option<Moment>,
    },
    /// Not enough runs that were watched whole.
    TooFewRuns {
        /// So many.
        whole: usize,
        /// So many are wanted.
        wanted: usize,
    },
    /// Not enough of the policy's rules were used since the window began.
    Unexercised {
        /// Rules that were.
        hit: usize,
        /// Rules.
        rules: usize,
        /// The share that is wanted.
        wanted: f64,
    },
    /// Held in quarantine, and neither forgotten nor accepted.
    Undecided {
        /// What is held.
        held: Listed,
    },
    /// The next run may show too much that is new.
    Risk {
        /// The bound on the chance that it shows anything new; none without whole runs.
        at_most: Option<f64>,
        /// The bound that is wanted.
        wanted: f64,
    },
    /// A person has had it forgotten, and the candidate allows it.
    AllowsForgotten {
        /// What.
        forgotten: Listed,
    },
    /// The candidate denies what was learned before it was frozen.
    DeniesItsOwn {
        /// The operations, and what decides.
        operations: Listed,
    },
    /// Learner's own programs are to enforce the candidate, and cannot on this machine.
    Unenforceable {
        /// Why, and what cures it.
        why: String,
    },
    /// What is kept of it cannot be read, so nothing is decided of it.
    Unreadable {
        /// What, and what cures it.
        why: String,
    },
    /// A person holds it.
    Held {
        /// Why, in their words.
        why: String,
    },
    /// Allow policies of others in the namespace: under block they would be enforced too, or they open
    /// again what the candidate closes.
    ForeignPolicies {
        /// Which.
        policies: Listed,
    },
    /// Policies that Learner has made for workloads which are not promoted: under block they would be
    /// enforced.
    UnpromotedPolicies {
        /// Which.
        policies: Listed,
    },
    /// All that selects the container does not fit into the enforcer's rule map.
    Keys {
        /// Keys that are wanted.
        wanted: usize,
        /// There is room for so many.
        limit: usize,
    },
    /// Nodes that run it do not enforce it.
    Nodes {
        /// Which, and what they have.
        nodes: Listed,
    },
    /// Of the nodes that run it some are KubeArmor's to enforce on, and some Learner's agents'.
    MixedNodes {
        /// KubeArmor's.
        kubearmor: Listed,
        /// Learner's.
        learner: Listed,
    },
    /// The candidate was made for another enforcer than the nodes that run it have.
    OtherEnforcer {
        /// For which.
        made_for: String,
        /// The nodes.
        nodes: Listed,
    },
    /// Nodes that run it have told nothing of it.
    Silent {
        /// Which.
        nodes: Listed,
    },
    /// What nodes have told of it is not whole.
    Untold {
        /// Objects that cannot be read, and pieces that are missing.
        objects: Listed,
    },
    /// Its candidate selects pods of others.
    SelectsOthers {
        /// Which pods.
        pods: Listed,
    },
    /// KubeArmor does not hold it, or pods of it, to any policy.
    NotEnforced {
        /// Why, and of which pods.
        why: Listed,
    },
    /// KubeArmor is told not to tell of programs or files.
    Visibility {
        /// Where, and as it is written.
        told: Listed,
    },
    /// The API server does not take what the promotion writes.
    Refused {
        /// In its words.
        message: String,
    },
    /// The namespace goes as a whole, and these are not ready.
    Waits {
        /// Which workloads.
        workloads: Listed,
    },
    /// The workload's own doing was denied under block.
    Denial {
        /// When.
        at: Moment,
        /// What.
        alert: String,
        /// Why.
        why: String,
        /// The end of the canary.
        canary_until: Moment,
    },
}

impl Reason {
    /// The word that programs know it by.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ClockBehind { .. } => "clock-behind",
            Self::NoWholeRun { .. } => "no-whole-run",
            Self::NoPolicy { .. } => "no-policy",
            Self::Alerts { .. } => "alerts",
            Self::NotQuiet { .. } => "not-quiet",
            Self::Idle { .. } => "idle",
            Self::NoStart { .. } => "no-start",
            Self::TooFewRuns { .. } => "too-few-runs",
            Self::Unexercised { .. } => "unexercised",
            Self::Undecided { .. } => "undecided",
            Self::Risk { .. } => "risk",
            Self::AllowsForgotten { .. } => "allows-forgotten",
            Self::DeniesItsOwn { .. } => "denies-its-own",
            Self::Unenforceable { .. } => "unenforceable",
            Self::Unreadable { .. } => "unreadable",
            Self::Held { .. } => "held",
            Self::ForeignPolicies { .. } => "foreign-policies",
            Self::UnpromotedPolicies { .. } => "unpromoted-policies",
            Self::Keys { .. } => "keys",
            Self::Nodes { .. } => "nodes",
            Self::MixedNodes { .. } => "mixed-nodes",
            Self::OtherEnforcer { .. } => "other-enforcer",
            Self::Silent { .. } => "silent",
            Self::Untold { .. } => "untold",
            Self::SelectsOthers { .. } => "selects-others",
            Self::NotEnforced { .. } => "not-enforced",
            Self::Visibility { .. } => "visibility",
            Self::Refused { .. } => "refused",
            Self::Waits { .. } => "waits",
            Self::Denial { .. } => "denial",
        }
    }
}

/// A moment as `2026-11-25T02:14:00Z`, or in microseconds where no calendar has it.
#[derive(Clone, Copy, Debug)]
pub struct At(pub Moment);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0.0) {
            Ok(time) => write!(f, "{}", time.strftime("%FT%TZ")),
            Err(_) => write!(f, "{} µs", self.0.0),
        }
    }
}

fn span(micros: u64) -> Shown {
    Shown(Duration::from_micros(micros))
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// Reasons in one line.
pub fn sentences(reasons: &[Reason]) -> String {
    let sentences: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    sentences.join("; ")
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockBehind { now, since } => write!(
                f,
                "the clock says {}, before the posture began at {}",
                At(*now),
                At(*since)
            ),
            Self::NoWholeRun { runs, since } => {
                write!(
                    f,
                    "none of {runs} {} was watched whole",
                    plural(*runs, "run", "runs")
                )?;
                since.map_or(Ok(()), |since| write!(f, " since {}", At(since)))
            }
            Self::NoPolicy { why } => write!(f, "no policy: {why}"),
            Self::Alerts { since, alerts } => {
                let count = alerts.count;
                let what = plural(count, "alert", "alerts");
                write!(f, "{count} {what} since {} {alerts}", At(*since))
            }
            Self::NotQuiet {
                quiet,
                window,
                unwatched,
                interruptions,
            } => {
                write!(f, "{} of {} quiet", span(*quiet), span(*window))?;
                if unwatched.count > 0 {
                    let count = unwatched.count;
                    let what = plural(count, "run does", "runs do");
                    write!(f, ", {count} {what} not count {unwatched}")?;
                }
                if interruptions.count > 0 {
                    let count = interruptions.count;
                    let what = plural(count, "time", "times");
                    write!(
                        f,
                        ", alerts may have been missed {count} {what} {interruptions}"
                    )?;
                }
                Ok(())
            }
            Self::Idle { since } => write!(f, "idle: nothing was seen since {}", At(*since)),
            Self::NoStart { since } => {
                f.write_str("no start-up was seen from its first exec")?;
                since.map_or(Ok(()), |since| write!(f, " since {}", At(since)))
            }
            Self::TooFewRuns { whole, wanted } => write!(f, "{whole} of {wanted} whole runs"),
            Self::Unexercised { hit, rules, wanted } => write!(
                f,
                "{hit} of {rules} rules used again, {:.0} % wanted",
                wanted * 100.0
            ),
            Self::Undecided { held } => {
                write!(f, "{} undecided in quarantine {held}", held.count)
            }
            Self::Risk { at_most, wanted } => {
                match at_most {
                    Some(at_most) => write!(f, "risk at most {}", bound(*at_most))?,
                    None => f.write_str("risk not known without whole runs")?,
                }
                write!(f, ", {} wanted", expected(*wanted))
            }
            Self::AllowsForgotten { forgotten } => {
                write!(f, "the candidate allows what is forgotten {forgotten}")
            }
            Self::DeniesItsOwn { operations } => write!(
                f,
                "the candidate denies {} of the workload's own operations {operations}",
                operations.count
            ),
            Self::Unenforceable { why } => write!(f, "it cannot be enforced here: {why}"),
            Self::Unreadable { why } => {
                write!(
                    f,
                    "what is kept of it cannot be read: {}",
                    why.escape_debug()
                )
            }
            Self::Held { why } => write!(f, "a person holds it: {}", why.escape_debug()),
            Self::ForeignPolicies { policies } => {
                let count = policies.count;
                let what = plural(count, "policy", "policies");
                write!(f, "{count} Allow {what} of others {policies}")
            }
            Self::UnpromotedPolicies { policies } => {
                let count = policies.count;
                let what = plural(count, "policy", "policies");
                write!(
                    f,
                    "{count} {what} of workloads that are not promoted would be enforced {policies}"
                )
            }
            Self::Keys { wanted, limit } => write!(
                f,
                "the policies of the container want {wanted} keys, and there is room for {limit}"
            ),
            Self::Nodes { nodes } => {
                let count = nodes.count;
                let what = plural(count, "node does", "nodes do");
                write!(f, "{count} {what} not enforce it {nodes}")
            }
            Self::MixedNodes { kubearmor, learner } => write!(
                f,
                "KubeArmor is to enforce on {} of the nodes that run it {kubearmor}, and Learner's agents on {} \
                 {learner}: install KubeArmor on all of them or on none",
                kubearmor.count, learner.count
            ),
            Self::OtherEnforcer { made_for, nodes } => write!(
                f,
                "its candidate was made for {made_for}, which does not enforce on the nodes that run it {nodes}: \
                 delete its WorkloadPosture to begin anew"
            ),
            Self::Silent { nodes } => {
                let count = nodes.count;
                let what = plural(count, "node runs it and tells", "nodes run it and tell");
                write!(
                    f,
                    "{count} {what} nothing of it {nodes}: see whether Learner's agent runs there"
                )
            }
            Self::Untold { objects } => write!(
                f,
                "what nodes have told of it is not whole {objects}: see their agents, or delete \
                 WorkloadEvidence of nodes that are gone"
            ),
            Self::SelectsOthers { pods } => {
                let count = pods.count;
                let what = plural(count, "pod", "pods");
                write!(
                    f,
                    "its policy would hold {count} {what} of others too {pods}"
                )
            }
            Self::NotEnforced { why } => {
                write!(f, "KubeArmor does not hold it to a policy {why}")
            }
            Self::Visibility { told } => {
                write!(
                    f,
                    "KubeArmor does not tell of all programs and files {told}"
                )
            }
            Self::Refused { message } => write!(f, "the API server does not take it: {message}"),
            Self::Waits { workloads } => write!(
                f,
                "the namespace goes as a whole, and {} of it {} not ready {workloads}",
                workloads.count,
                plural(workloads.count, "is", "are")
            ),
            Self::Denial {
                at,
                alert,
                why,
                canary_until,
            } => write!(
                f,
                "denied at {}, canary until {}: {alert}: {why}",
                At(*at),
                At(*canary_until)
            ),
        }
    }
}

//! The agent's figures, for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::known::Stand;
use super::shelf::Decisions;
use super::watching::Standing;
use crate::candidate::Ledger;
use crate::posture::{Posture, Revision};

/// Labels of a figure: name and value.
type Of = Vec<(&'static str, String)>;

/// What is counted, as of the agent's last turn.
#[derive(Default)]
pub(super) struct Figures(Mutex<Inner>);

/// One state of the figures.
#[derive(Default)]
pub(super) struct Inner {
    /// The programs are attached and the last turn was without an error.
    pub healthy: bool,
    /// Workloads that are watched.
    pub watched: usize,
    /// Records from the kernel.
    pub records: u64,
    /// Most bytes that were taken from the ring buffer in one turn.
    pub fullest: u64,
    /// Bytes of the ring buffer.
    pub ring: u64,
    /// Bytes of the store on disk.
    pub store: u64,
    /// Runs that have ended.
    pub ended: u64,
    /// Cgroups in which something had run to its end before they were watched.
    pub unseen: u64,
    /// Runs of which it is not known whose they are.
    pub unnamed: usize,
    /// Runs that were given up, since nobody said whose they were.
    pub given_up: u64,
    /// How it stands with the API server, on a node of a cluster.
    pub reach: Option<Reach>,
    /// How it stands with KubeArmor, if it is heard.
    pub kubearmor: Option<Hearing>,
    /// Folds into the store.
    pub folds: u64,
    /// Folds that failed.
    pub failed: u64,
    /// Runs that wait for the store.
    pub waiting: usize,
    /// Each watched run.
    pub standing: Vec<Standing>,
    /// How far each workload is that was reviewed.
    pub stands: Vec<Stand>,
    /// Where all revisions stand.
    pub ledger: Arc<Ledger>,
    /// What was decided since the agent began.
    pub decisions: Decisions,
    /// The revisions that are held to their candidates.
    pub enforced: BTreeSet<Revision>,
    /// Why nothing can be held that is not held already.
    pub unenforced: Option<String>,
    /// Why of these not all that runs is held, where others are.
    pub unheld: BTreeMap<Revision, String>,
    /// What was refused to them since the agent began.
    pub refused: BTreeMap<Revision, u64>,
}

/// How it stands with the API server.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// The pods of the node are followed.
    pub follows: bool,
    /// Containers of pods that are known.
    pub containers: usize,
    /// Revisions that are to be written.
    pub waiting: usize,
    /// Objects that were written.
    pub written: u64,
    /// What was refused, by kind.
    pub failed: BTreeMap<&'static str, u64>,
    /// Who enforces on the node, in a word and in a sentence, where the agent is to do it if nobody else does.
    pub enforces: Option<(&'static str, String)>,
    /// What goes wrong as of now, in a sentence each.
    pub complaints: Vec<String>,
}

/// How it stands with KubeArmor.
#[derive(Clone, Debug, Default)]
pub(super) struct Hearing {
    /// Why its alerts are not heard; nothing while they are.
    pub away: Option<String>,
    /// Alerts that were heard.
    pub heard: u64,
    /// Those beyond what is kept.
    pub dropped: u64,
    /// Messages that say nothing.
    pub malformed: u64,
    /// Times that KubeArmor dropped alerts.
    pub throttled: u64,
    /// Alerts of containers that are not watched here.
    pub elsewhere: u64,
}

impl Figures {
    /// Changes them.
    pub(super) fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(
            &mut self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }

    /// Whether the agent watches as it should.
    pub(super) fn is_healthy(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .healthy
    }

    /// Why nothing can be held that is not held already, where that was tried in vain.
    #[cfg(feature = "cluster")]
    pub(super) fn unenforced(&self) -> Option<String> {
        let inner = self.0.lock();
        let inner = inner.unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.unenforced.clone()
    }

    /// Why of these not all that runs is held, where others are.
    #[cfg(feature = "cluster")]
    pub(super) fn unheld(&self) -> BTreeMap<Revision, String> {
        let inner = self.0.lock();
        let inner = inner.unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.unheld.clone()
    }

    /// Who enforces on a node of a cluster, and what goes wrong with the API server and with KubeArmor, a line
    /// each. It does no harm to what is watched and stored.
    pub(super) fn complaints(&self) -> Vec<String> {
        let inner = self.0.lock();
        let inner = inner.unwrap_or_else(std::sync::PoisonError::into_inner);
        let reach = inner.reach.iter();
        let hearing = inner.kubearmor.iter();
        let away = hearing.filter_map(|hearing| hearing.away.as_ref());
        reach
            .flat_map(|reach| {
                let enforces = reach.enforces.iter().map(|(_, text)| text.clone());
                enforces.chain(reach.complaints.iter().cloned())
            })
            .chain(away.map(|why| format!("KubeArmor's alerts are not heard: {why}")))
            .collect()
    }

    /// Prometheus' text format. Label values are escaped, so that no name can pass for a figure.
    pub(super) fn text(&self) -> String {
        let inner = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut registry = Registry::with_prefix("learner");
        inner.plain(&mut registry);
        inner.by_run(&mut registry);
        inner.by_workload(&mut registry);
        inner.of_cluster(&mut registry);
        inner.of_kubearmor(&mut registry);
        drop(inner);
        let mut text = String::new();
        if encode(&mut text, &registry).is_err() {
            tracing::error!("the figures could not be written");
        }
        text
    }
}

impl Inner {
    fn plain(&self, registry: &mut Registry) {
        let gauges = [
            (
                "watched_workloads",
                "Workloads that are watched",
                self.watched as u64,
            ),
            ("ring_bytes", "Size of the ring buffer", self.ring),
            (
                "ring_fullest_bytes",
                "Most bytes taken from the ring buffer in one turn",
                self.fullest,
            ),
            ("store_bytes", "Bytes of the store on disk", self.store),
            (
                "waiting_runs",
                "Ended runs that are not in the store yet",
                self.waiting as u64,
            ),
            (
                "healthy",
                "1 if the agent watches as it should",
                u64::from(self.healthy),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = Gauge::<i64>::default();
            gauge.set(value as i64);
            registry.register(name, help, gauge);
        }
        let counters = [
            ("records", "Records that came from the kernel", self.records),
            ("ended_runs", "Runs that have ended", self.ended),
            (
                "unseen_runs",
                "Cgroups in which something had run before they were watched",
                self.unseen,
            ),
            ("folds", "Folds into the store", self.folds),
            (
                "failed_folds",
                "Folds into the store that failed",
                self.failed,
            ),
        ];
        for (name, help, value) in counters {
            registry.register(name, help, counted(value));
        }
    }

    fn by_run(&self, registry: &mut Registry) {
        let behaviors = Family::<Of, Gauge>::default();
        let events = Family::<Of, Counter>::default();
        let lost = Family::<Of, Counter>::default();
        for Standing {
            run,
            behaviors: distinct,
            events: all,
            lost: by_reason,
        } in &self.standing
        {
            let of = vec![
                ("workload", run.workload.to_string()),
                ("run", run.run.clone()),
            ];
            behaviors.get_or_create(&of).set(*distinct as i64);
            events.get_or_create(&of).inc_by(*all);
            for (reason, count) in by_reason {
                let mut of = of.clone();
                of.push(("reason", reason.clone()));
                lost.get_or_create(&of).inc_by(*count);
            }
        }
        registry.register(
            "behaviors",
            "Distinct behaviours of a watched run",
            behaviors,
        );
        registry.register(
            "events",
            "Events of a watched run, as of the last flush",
            events,
        );
        registry.register(
            "lost_events",
            "Events of a watched run that were lost",
            lost,
        );
    }
}

impl Inner {
    fn of_cluster(&self, registry: &mut Registry) {
        let Some(reach) = &self.reach else {
            return;
        };
        let gauges = [
            (
                "cluster_follows_pods",
                "1 while the API server tells of the pods of the node",
                u64::from(reach.follows),
            ),
            (
                "cluster_containers",
                "Containers of pods that are known",
                reach.containers as u64,
            ),
            (
                "cluster_unwritten_revisions",
                "Revisions of which something is to be written",
                reach.waiting as u64,
            ),
            (
                "cluster_unnamed_runs",
                "Runs of which it is not known yet whose they are",
                self.unnamed as u64,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = Gauge::<i64>::default();
            gauge.set(value as i64);
            registry.register(name, help, gauge);
        }
        registry.register(
            "cluster_given_up_runs",
            "Runs that were given up, since nobody said whose they were",
            counted(self.given_up),
        );
        registry.register(
            "cluster_written_objects",
            "Objects that were written",
            counted(reach.written),
        );
        if let Some((by, _)) = &reach.enforces {
            let enforces = Family::<Of, Gauge>::default();
            for word in ["learner", "kubearmor", "nobody"] {
                let of = vec![("by", word.to_owned())];
                enforces.get_or_create(&of).set(i64::from(word == *by));
            }
            registry.register(
                "cluster_enforces",
                "1 for who enforces on the node, 0 for the others",
                enforces,
            );
        }
        let failed = Family::<Of, Counter>::default();
        for (kind, count) in &reach.failed {
            let of = vec![("reason", (*kind).to_owned())];
            failed.get_or_create(&of).inc_by(*count);
        }
        registry.register(
            "cluster_refused_requests",
            "Requests that the API server refused or did not answer",
            failed,
        );
    }

    fn of_kubearmor(&self, registry: &mut Registry) {
        let Some(hearing) = &self.kubearmor else {
            return;
        };
        let connected = Gauge::<i64>::default();
        connected.set(i64::from(hearing.away.is_none()));
        registry.register(
            "kubearmor_connected",
            "1 while KubeArmor's alerts are heard",
            connected,
        );
        let counters = [
            (
                "alerts",
                "Alerts of KubeArmor that were heard",
                hearing.heard,
            ),
            (
                "dropped_alerts",
                "Alerts of KubeArmor beyond what is kept",
                hearing.dropped,
            ),
            (
                "malformed_messages",
                "Messages of KubeArmor that say nothing",
                hearing.malformed,
            ),
            (
                "throttled",
                "Times that KubeArmor said that it drops alerts",
                hearing.throttled,
            ),
            (
                "alerts_elsewhere",
                "Alerts of KubeArmor of containers that are not watched here",
                hearing.elsewhere,
            ),
        ];
        for (name, help, value) in counters {
            registry.register(format!("kubearmor_{name}"), help, counted(value));
        }
    }

    fn by_workload(&self, registry: &mut Registry) {
        let of = |revision: &Revision| -> Of {
            vec![
                ("workload", revision.workload.to_string()),
                ("image", revision.image.clone()),
            ]
        };
        let postures = Family::<Of, Gauge>::default();
        let alerts = Family::<Of, Counter>::default();
        let open = Family::<Of, Gauge>::default();
        let quiet = Family::<Of, Gauge>::default();
        let wanted = Family::<Of, Gauge>::default();
        let decisions = Family::<Of, Counter>::default();
        let enforced = Family::<Of, Gauge>::default();
        let refused = Family::<Of, Counter>::default();
        let seconds = |micros: u64| (micros / 1_000_000) as i64;
        let running = self
            .standing
            .iter()
            .map(|running| Revision::of(&running.run));
        let reviewed = self.stands.iter().map(|stand| stand.revision.clone());
        for revision in running.chain(reviewed).collect::<BTreeSet<_>>() {
            let posture = Posture::at(self.ledger.standing(&revision));
            for each in [Posture::Learning, Posture::Audit, Posture::Block] {
                let mut of = of(&revision);
                of.push(("posture", each.to_string()));
                postures.get_or_create(&of).set(i64::from(each == posture));
            }
        }
        for Stand {
            revision,
            open: are_open,
            found,
            quiet: times,
        } in &self.stands
        {
            let of = of(revision);
            if let Some((was, window)) = times {
                open.get_or_create(&of).set(*are_open as i64);
                alerts.get_or_create(&of).inc_by(*found);
                quiet.get_or_create(&of).set(seconds(*was));
                wanted.get_or_create(&of).set(seconds(*window));
            }
        }
        for revision in self.ledger.iter().map(|(revision, _)| revision) {
            if self.ledger.to_enforce(revision).is_some() {
                let is_enforced = self.enforced.contains(revision);
                let gauge = enforced.get_or_create(&of(revision));
                gauge.set(i64::from(is_enforced));
            }
        }
        for (revision, count) in &self.refused {
            refused.get_or_create(&of(revision)).inc_by(*count);
        }
        for ((actor, verdict), count) in &self.decisions {
            let of = vec![
                ("actor", (*actor).to_owned()),
                ("verdict", (*verdict).to_owned()),
            ];
            decisions.get_or_create(&of).inc_by(*count);
        }
        registry.register(
            "posture",
            "1 for the posture of a workload, 0 for the others",
            postures,
        );
        registry.register("alerts", "Alerts that were found, each once", alerts);
        registry.register(
            "open_alerts",
            "Alerts that no person has decided about",
            open,
        );
        registry.register(
            "quiet_seconds",
            "Watched without loss and without an alert since the window began, as of the last review",
            quiet,
        );
        registry.register(
            "wanted_quiet_seconds",
            "Quiet seconds that a promotion to block takes",
            wanted,
        );
        registry.register(
            "enforced",
            "1 for a workload under block that runs and is held to its candidate, 0 for one that is not",
            enforced,
        );
        registry.register("refused", "Operations that were refused to it", refused);
        registry.register("decisions", "Decisions that were written down", decisions);
    }
}

fn counted(value: u64) -> Counter<u64, AtomicU64> {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{RunKey, Workload};

    #[test]
    fn a_hostile_name_is_a_label_and_no_figure_of_its_own() {
        let figures = Figures::default();
        let name = "a\"} 7\nlearner_healthy 1\n";
        figures.set(|inner| {
            inner.records = 3;
            inner.standing = vec![Standing {
                run: RunKey {
                    workload: Workload {
                        namespace: "host".to_owned(),
                        kind: "Unit".to_owned(),
                        name: name.to_owned(),
                        container: name.to_owned(),
                    },
                    image: String::new(),
                    run: "r".to_owned(),
                },
                behaviors: 2,
                events: 5,
                lost: vec![("ring-full".to_owned(), 4)],
            }];
        });
        let text = figures.text();
        assert!(
            text.lines().any(|line| line == "learner_healthy 0"),
            "{text}"
        );
        assert!(
            !text.lines().any(|line| line == "learner_healthy 1"),
            "{text}"
        );
        assert!(
            text.lines().any(|line| line == "learner_records_total 3"),
            "{text}"
        );
        let lost = text
            .lines()
            .find(|line| line.starts_with("learner_lost_events_total{"));
        let lost = lost.expect("lost events");
        assert!(
            lost.contains("reason=\"ring-full\"") && lost.ends_with("} 4"),
            "{text}"
        );
    }
}

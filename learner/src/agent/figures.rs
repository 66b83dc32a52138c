//! The agent's figures, for Prometheus.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::watching::Standing;

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
    /// Folds into the store.
    pub folds: u64,
    /// Folds that failed.
    pub failed: u64,
    /// Runs that wait for the store.
    pub waiting: usize,
    /// Each watched run.
    pub standing: Vec<Standing>,
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

    /// Prometheus' text format. Label values are escaped, so that no name can pass for a figure.
    pub(super) fn text(&self) -> String {
        let inner = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut registry = Registry::with_prefix("learner");
        inner.plain(&mut registry);
        inner.by_run(&mut registry);
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

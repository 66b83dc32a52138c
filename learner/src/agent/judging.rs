//! The bench's turns: one at a time, beside the agent's one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::bench::{Bench, Docketed, Pass, Terms};
use super::config::Config;
use super::figures::Figures;
use super::shelf::Shelf;
use crate::generalize::Dialect;
use crate::kernel::Clock;

/// The bench, here or at work.
pub(super) struct Judging {
    shelf: Arc<Shelf>,
    figures: Arc<Figures>,
    clock: Clock,
    ending: Arc<AtomicBool>,
    terms: Terms,
    /// None while it is at work.
    bench: Option<Bench>,
    turn: Option<JoinHandle<Bench>>,
    /// What the next turn looks at besides what is new.
    due: Pass,
}

impl Judging {
    /// Nothing is judged before [`Judging::begin`]; then first of all what is in the store already.
    pub(super) fn new(
        shelf: Arc<Shelf>,
        figures: Arc<Figures>,
        clock: Clock,
        config: &Config,
        unenforceable: Option<String>,
    ) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        Self {
            bench: Some(Bench::new(Arc::clone(&shelf), clock, Arc::clone(&ending))),
            shelf,
            figures,
            clock,
            ending,
            terms: terms(config, unenforceable),
            turn: None,
            due: Pass::Judged,
        }
    }

    /// Decides by another configuration from the next turn on.
    pub(super) fn follow(&mut self, config: &Config) {
        self.terms = terms(config, self.terms.unenforceable.take());
    }

    /// A pass is due.
    pub(super) fn due(&mut self, pass: Pass) {
        self.due = self.due.max(pass);
    }

    /// Begins a turn, unless one is under way or there is nothing to judge.
    pub(super) fn begin(&mut self) {
        let Some(mut bench) = self.bench.take() else {
            return;
        };
        let news = self.shelf.news();
        let pass = std::mem::take(&mut self.due);
        if pass == Pass::None && news.runs.is_empty() && news.workloads.is_empty() {
            self.bench = Some(bench);
            return;
        }
        let (terms, figures) = (self.terms.clone(), Arc::clone(&self.figures));
        self.turn = Some(tokio::task::spawn_blocking(move || {
            bench.sit(Docketed { news, pass }, &terms);
            figures.set(|inner| inner.stands = bench.stands());
            bench
        }));
    }

    /// Waits for the turn that is under way; never, if there is none.
    pub(super) async fn done(&mut self) {
        let Some(turn) = &mut self.turn else {
            return std::future::pending().await;
        };
        let ended = turn.await;
        self.turn = None;
        self.bench = Some(ended.unwrap_or_else(|panicked| {
            tracing::error!("what is new was not judged: {panicked}");
            Bench::new(
                Arc::clone(&self.shelf),
                self.clock,
                Arc::clone(&self.ending),
            )
        }));
    }

    /// The turn that is under way ends with the workload it is at. What it leaves is in the store, and
    /// is judged when an agent begins again.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

fn terms(config: &Config, unenforceable: Option<String>) -> Terms {
    let promote = config.promote.as_ref();
    Terms {
        criteria: config.criteria(),
        enforcer: promote.map_or(Dialect::Learner, |promote| promote.enforcer),
        unenforceable,
        tightness: promote.map(|promote| promote.tightness).unwrap_or_default(),
        // It was checked when the configuration was read.
        include: promote
            .and_then(|promote| promote.include().ok())
            .unwrap_or_default(),
    }
}

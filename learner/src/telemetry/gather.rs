//! From messages to runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::UNSEEN;
use super::account::Account;
use super::error::Unreadable;
use super::event::{Channel, Deed, Event, Throttle, Whose};
use super::message::Message;
use super::relay::Feed;
use crate::behavior::Behavior;
use crate::observation::{Fact, Loss, Moment, Observation};
use crate::path::AbsPath;
use crate::profile::{Evidence, HEARSAY};
use crate::promotion::{Interruption, Missed};
use crate::workload::{Labels, RunKey, Workload};

/// Runs that are kept; what others did is counted as lost.
pub const MAX_RUNS: usize = 65_536;
/// Events that are held until their container is named; more are counted as lost.
pub const MAX_HELD: usize = 16_384;

/// Interruptions that are kept each by itself.
pub const MAX_INTERRUPTIONS: usize = 16_384;

/// What was gathered.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The runs.
    pub evidence: Evidence,
    /// What became of the messages.
    pub account: Account,
    /// When alerts may have been missed, of a workload or of every one.
    pub interruptions: Vec<(Option<Workload>, Interruption)>,
}

/// Gathers messages to runs. None of them has a start, and each has a loss by [`UNSEEN`]: so they are
/// partial evidence, and add nothing to quiet time.
pub struct Gatherer<'j> {
    is_runtime: fn(&AbsPath) -> bool,
    is_judged: &'j dyn Fn(&RunKey, Moment) -> bool,
    feed: Feed,
    evidence: Evidence,
    account: Account,
    /// The run of each container that has been named.
    containers: BTreeMap<String, (Arc<RunKey>, Arc<Labels>)>,
    /// Of containers that have not.
    held: BTreeMap<String, Vec<(Moment, Said)>>,
    held_count: usize,
    broken: u64,
    interruptions: Vec<(Option<Workload>, Interruption)>,
}

/// What a message says of a run.
#[derive(Clone)]
enum Said {
    Fact(Fact),
    /// It was done, and audited.
    Audited(Behavior),
}

impl<'j> Gatherer<'j> {
    /// `is_runtime` tells the programs that set containers up; `is_judged` the runs that a frozen
    /// candidate judges at a moment. What was audited of these is evidence: it is an alert of theirs, or
    /// allowed already, and teaches nothing either way.
    pub fn new(
        is_runtime: fn(&AbsPath) -> bool,
        is_judged: &'j dyn Fn(&RunKey, Moment) -> bool,
    ) -> Self {
        Self {
            is_runtime,
            is_judged,
            feed: Feed::All,
            interruptions: Vec::new(),
            evidence: Evidence::default(),
            account: Account::default(),
            containers: BTreeMap::new(),
            held: BTreeMap::new(),
            held_count: 0,
            broken: 0,
        }
    }

    /// Of alerts alone: telemetry is counted, and nothing more is made of it. What is gathered is
    /// [hearsay](crate::profile::RunProfile::is_hearsay).
    #[must_use]
    pub fn of_alerts(self) -> Self {
        Self {
            feed: Feed::Alerts,
            ..self
        }
    }

    /// Takes a message with its number, or why there is none.
    pub fn take(&mut self, number: u64, message: Result<Message, Unreadable>) {
        self.account.messages += 1;
        match message.and_then(|message| Event::of(&message, self.is_runtime)) {
            Err(cause) => self.account.refuse(number, cause),
            Ok(Event::Beside(beside)) => {
                *self.account.beside.entry(beside).or_default() += 1;
            }
            Ok(Event::Throttled(throttle)) => {
                self.account.throttled += 1;
                let Throttle { whose, at, until } = throttle;
                let workload = match &whose {
                    Some(Whose::Run { run, .. }) => Some(run.workload.clone()),
                    Some(Whose::Container(_)) | None => None,
                };
                let why = Missed::Throttled;
                self.note(
                    workload,
                    Interruption {
                        from: at,
                        to: until,
                        why,
                    },
                );
                match whose {
                    Some(whose) => self.state(whose, at, lost("kubearmor-throttled")),
                    None => self.account.unattributed += 1,
                }
            }
            Ok(Event::Deed(deed)) => self.deed(*deed),
        }
    }

    /// Takes that for a while nothing could be heard of any workload: every run may lack something.
    pub fn interrupted(&mut self, interruption: Interruption) {
        self.broken += 1;
        self.note(None, interruption);
    }

    /// Those beyond [`MAX_INTERRUPTIONS`] are joined with the last of them, which then is of every
    /// workload.
    fn note(&mut self, workload: Option<Workload>, interruption: Interruption) {
        if self.interruptions.len() < MAX_INTERRUPTIONS {
            self.interruptions.push((workload, interruption));
        } else if let Some((whose, last)) = self.interruptions.last_mut() {
            *whose = None;
            last.from = last.from.min(interruption.from);
            last.to = last.to.max(interruption.to);
        }
    }

    /// The runs, and what became of the messages.
    pub fn finish(mut self) -> Gathered {
        for (container, held) in std::mem::take(&mut self.held) {
            match self.containers.get(&container).cloned() {
                Some((run, labels)) => {
                    for (at, said) in held {
                        self.fold(run.clone(), labels.clone(), at, said);
                    }
                }
                None => self.account.unattributed += held.len() as u64,
            }
        }
        let nobodys = [
            ("kubearmor-unreadable", self.account.unreadable),
            ("kubearmor-unattributed", self.account.unattributed),
            ("kubearmor-runs", self.account.beyond),
            ("kubearmor-interrupted", self.broken),
            match self.feed {
                Feed::Alerts => (HEARSAY, 1),
                Feed::All => (UNSEEN, 1),
            },
        ];
        let runs: Vec<RunKey> = self.evidence.runs().keys().cloned().collect();
        for run in runs {
            let run = Arc::new(run);
            for (reason, count) in nobodys.into_iter().filter(|(_, count)| *count > 0) {
                self.evidence.fold(Observation {
                    run: run.clone(),
                    labels: Arc::default(),
                    at: Moment(0),
                    fact: Fact::Lost {
                        reason: Loss::from(reason),
                        count,
                    },
                });
            }
        }
        Gathered {
            evidence: self.evidence,
            account: self.account,
            interruptions: self.interruptions,
        }
    }

    fn deed(&mut self, deed: Deed) {
        let Deed {
            whose,
            at,
            channel,
            behavior,
            gap,
        } = deed;
        if self.feed == Feed::Alerts && channel == Channel::Telemetry {
            self.account.telemetry += 1;
            return;
        }
        if let Some(gap) = gap {
            *self.account.gaps.entry(gap).or_default() += 1;
            self.state(whose.clone(), at, lost(gap.loss().as_str()));
        }
        let Some(behavior) = behavior else {
            return;
        };
        let said = match (&channel, behavior.is_learnable()) {
            (Channel::Telemetry, true) => {
                self.account.done += 1;
                Said::Fact(seen(behavior, at))
            }
            (Channel::Alert { .. }, true) => Said::Audited(behavior),
            (_, false) => {
                self.account.failed += 1;
                Said::Fact(seen(behavior, at))
            }
        };
        self.state(whose, at, said);
    }

    fn state(&mut self, whose: Whose, at: Moment, said: Said) {
        match whose {
            Whose::Run {
                run,
                labels,
                container,
            } => {
                if self.fold(run.clone(), labels.clone(), at, said) && !container.is_empty() {
                    // Of two the greater is kept, so that their order does not matter.
                    let known = self.containers.entry(container);
                    let known = known.or_insert_with(|| (run.clone(), labels.clone()));
                    if run > known.0 {
                        *known = (run, labels);
                    }
                }
            }
            Whose::Container(container) if self.held_count < MAX_HELD => {
                self.held_count += 1;
                self.held.entry(container).or_default().push((at, said));
            }
            Whose::Container(_) => self.account.unattributed += 1,
        }
    }

    /// Whether the run is among those that are kept.
    fn fold(&mut self, run: Arc<RunKey>, labels: Arc<Labels>, at: Moment, said: Said) -> bool {
        let runs = self.evidence.runs();
        if runs.len() >= MAX_RUNS && !runs.contains_key(&*run) {
            self.account.beyond += 1;
            return false;
        }
        let fact = match said {
            Said::Fact(fact) => fact,
            Said::Audited(behavior) if (self.is_judged)(&run, at) => {
                self.account.judged += 1;
                seen(behavior, at)
            }
            Said::Audited(_) => {
                self.account.audited += 1;
                Fact::Lost {
                    reason: Loss::from("kubearmor-audited"),
                    count: 1,
                }
            }
        };
        self.evidence.fold(Observation {
            run,
            labels,
            at,
            fact,
        });
        true
    }
}

/// One event, at least.
fn lost(reason: &str) -> Said {
    Said::Fact(Fact::Lost {
        reason: Loss::from(reason),
        count: 1,
    })
}

fn seen(behavior: Behavior, at: Moment) -> Fact {
    Fact::Seen {
        behavior,
        count: 1,
        last: at,
    }
}

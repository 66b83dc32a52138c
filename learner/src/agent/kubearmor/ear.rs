//! The loop's side: whose the alerts are, and what is stored of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::super::figures::{Figures, Hearing};
use super::super::run::AgentError;
use super::super::watching::Report;
use super::KubeArmor;
use super::basket::{Acts, Basket, Counts, Taken};
use crate::candidate::Ledger;
use crate::host;
use crate::kernel::Clock;
use crate::observation::{Loss, Moment};
use crate::posture::Revision;
use crate::profile::{Evidence, HEARSAY, RunProfile};
use crate::promotion::{Interruption, Missed, keep_gaps};
use crate::telemetry::{Followed, Relay};
use crate::visible::visible;
use crate::workload::{RunKey, Workload};

/// Containers whose runs are remembered after they have ended.
const MAX_RUNS: usize = 8_192;
/// Distinct alerts that wait until it is known whose container it is.
const MAX_HELD: usize = 20_000;
/// How long they wait, in microseconds: two minutes. Then they are another node's, or of what is not watched.
const PATIENCE: i64 = 120_000_000;
/// Distinct alerts whose counts are kept.
const MAX_TOLD: usize = 20_000;
/// So many digits of a container's id are in the names of its runs.
const SHORT: usize = 12;

/// What hears KubeArmor; nothing, where it is not to be heard.
#[derive(Default)]
pub(in crate::agent) struct Ear(Option<Inside>);

struct Inside {
    basket: Arc<Mutex<Basket>>,
    figures: Arc<Figures>,
    clock: Clock,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    sorter: Sorter,
}

impl Ear {
    /// Begins to listen, on a thread of its own; it does not wait for KubeArmor.
    ///
    /// # Errors
    /// Certificates that are not there, and if no thread can be had.
    pub(in crate::agent) fn begin(
        config: Option<&KubeArmor>,
        is_of_cluster: bool,
        clock: Clock,
        figures: &Arc<Figures>,
    ) -> Result<Self, AgentError> {
        let Some(config) = config else {
            return Ok(Self::default());
        };
        let relay = config.relay()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AgentError::Wait)?;
        let basket = Arc::new(Mutex::new(Basket::new(clock.moment())));
        let (stop, stopped) = oneshot::channel();
        show(
            figures,
            Some("not connected yet".to_owned()),
            &Counts::default(),
            0,
        );
        let thread = std::thread::spawn({
            let (basket, figures) = (Arc::clone(&basket), Arc::clone(figures));
            move || {
                runtime.block_on(listen(&relay, clock, &basket, &figures, stopped));
                // A name that is still looked up is not waited for.
                runtime.shutdown_background();
            }
        });
        Ok(Self(Some(Inside {
            basket,
            figures: Arc::clone(figures),
            clock,
            stop,
            thread,
            sorter: Sorter::new(is_of_cluster),
        })))
    }

    /// Takes note of runs, by which it is known whose an alert is.
    pub(in crate::agent) fn note(&mut self, reports: &[Report]) {
        if let Some(inside) = &mut self.0 {
            for (key, _) in reports {
                inside.sorter.note(key);
            }
        }
    }

    /// What was heard since the last time, as reports of runs.
    pub(in crate::agent) fn reports(
        &mut self,
        running: &BTreeSet<Revision>,
        ledger: &Ledger,
    ) -> Vec<Report> {
        let Some(inside) = &mut self.0 else {
            return Vec::new();
        };
        let now = inside.clock.moment();
        let taken = locked(&inside.basket).take(now);
        let counts = taken.counts;
        let reports = inside.sorter.sort(taken, running, ledger, now);
        let (dropped, elsewhere) = (inside.sorter.dropped, inside.sorter.elsewhere);
        let counts = Counts {
            dropped: counts.dropped + dropped,
            ..counts
        };
        inside.figures.set(|inner| {
            if let Some(hearing) = &mut inner.kubearmor {
                hearing.count(&counts, elsewhere);
            }
        });
        reports
    }

    /// Hears nothing more. It does not wait for KubeArmor.
    pub(in crate::agent) fn end(self) {
        if let Some(Inside { stop, thread, .. }) = self.0 {
            let _ = stop.send(());
            if thread.join().is_err() {
                tracing::error!("the thread that hears KubeArmor had panicked");
            }
        }
    }
}

async fn listen(
    relay: &Relay,
    clock: Clock,
    basket: &Mutex<Basket>,
    figures: &Figures,
    stopped: oneshot::Receiver<()>,
) {
    let address = visible(&relay.address);
    let mut said: Option<String> = None;
    let mut sink = |followed: Followed| {
        match &followed {
            Followed::Opened => {
                tracing::info!("{address}: KubeArmor's alerts are heard");
                said = None;
                connected(figures, None);
            }
            Followed::Closed(why) => {
                let why = format!("{address}: {why}");
                if said.as_ref() != Some(&why) {
                    tracing::warn!(
                        "KubeArmor's alerts are not heard, so no time counts as quiet: {why}"
                    );
                }
                connected(figures, Some(why.clone()));
                said = Some(why);
            }
            Followed::Message(_) => {}
        }
        locked(basket).put(followed, clock.moment());
    };
    tokio::select! {
        () = relay.follow(&mut sink) => {}
        _ = stopped => {}
    }
}

fn show(figures: &Figures, away: Option<String>, counts: &Counts, elsewhere: u64) {
    figures.set(|inner| {
        let hearing = inner.kubearmor.get_or_insert_default();
        hearing.away = away;
        hearing.count(counts, elsewhere);
    });
}

fn connected(figures: &Figures, away: Option<String>) {
    figures.set(|inner| inner.kubearmor.get_or_insert_default().away = away);
}

impl Hearing {
    fn count(&mut self, counts: &Counts, elsewhere: u64) {
        self.heard = counts.heard;
        self.dropped = counts.dropped;
        self.malformed = counts.malformed;
        self.throttled = counts.throttled;
        self.elsewhere = elsewhere;
    }
}

/// What is in it is whole after a panic too.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose alerts are. Pure: it is told the time.
struct Sorter {
    is_of_cluster: bool,
    /// The last run of each container, and when it was noted last, as a number.
    runs: BTreeMap<String, (RunKey, u64)>,
    noted: u64,
    /// Alerts of containers that are not known, and since when.
    held: BTreeMap<String, (Moment, Acts)>,
    held_missed: Vec<(String, Interruption, Moment)>,
    /// What was told of each run, so that counts go on.
    told: BTreeMap<RunKey, Acts>,
    dropped: u64,
    elsewhere: u64,
}

impl Sorter {
    fn new(is_of_cluster: bool) -> Self {
        Self {
            is_of_cluster,
            runs: BTreeMap::new(),
            noted: 0,
            held: BTreeMap::new(),
            held_missed: Vec::new(),
            told: BTreeMap::new(),
            dropped: 0,
            elsewhere: 0,
        }
    }

    fn note(&mut self, key: &RunKey) {
        let Some(id) = key.run.split('-').next().and_then(short) else {
            return;
        };
        self.noted += 1;
        self.runs.insert(id.to_owned(), (key.clone(), self.noted));
        if self.runs.len() > MAX_RUNS {
            let oldest = self.runs.iter().min_by_key(|(_, (_, noted))| *noted);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.runs.remove(&id);
            }
        }
    }

    fn run(&self, container: &str) -> Option<&RunKey> {
        let (key, _) = self.runs.get(short(container)?)?;
        Some(key)
    }

    fn sort(
        &mut self,
        taken: Taken,
        running: &BTreeSet<Revision>,
        ledger: &Ledger,
        now: Moment,
    ) -> Vec<Report> {
        let mut evidence = Evidence::default();
        let mut missed: Vec<Interruption> = Vec::new();
        let mut of_one: Vec<(String, Interruption, Moment)> = std::mem::take(&mut self.held_missed);
        for (whose, interruption) in taken.missed {
            match whose {
                Some(container) => of_one.push((container, interruption, now)),
                None => missed.push(interruption),
            }
        }
        self.hold(taken.alerts, now, &mut missed);
        let known: Vec<String> = self
            .held
            .keys()
            .filter(|id| self.run(id).is_some())
            .cloned()
            .collect();
        for id in known {
            let (Some(key), Some((_, acts))) = (self.run(&id).cloned(), self.held.remove(&id))
            else {
                continue;
            };
            self.tell(&key, acts, ledger, &mut evidence);
        }
        let is_old = |since: Moment| now.0.saturating_sub(since.0) > PATIENCE;
        let old: Vec<_> = self
            .held
            .extract_if(.., |_, (since, _)| is_old(*since))
            .collect();
        for (_, (_, acts)) in old {
            let events = acts.values().map(|seen| seen.count);
            self.elsewhere += events.sum::<u64>();
        }
        for (container, interruption, since) in of_one {
            match self.run(&container) {
                Some(key) => {
                    let revision = Revision::of(key);
                    keep_gaps(&mut evidence, &[(None, interruption)], [&revision]);
                }
                None if is_old(since) => {}
                None if self.held_missed.len() < MAX_HELD => {
                    self.held_missed.push((container, interruption, since));
                }
                // It may be anybody's.
                None => missed.push(interruption),
            }
        }
        let missed: Vec<_> = missed.into_iter().map(|one| (None, one)).collect();
        // Before a candidate is frozen no time counts.
        let may_be_judged = running.iter().filter(|revision| {
            self.is_told_of(&revision.workload) || ledger.frozen(revision).is_some()
        });
        keep_gaps(&mut evidence, &missed, may_be_judged);
        evidence.into_runs().into_iter().collect()
    }

    /// Keeps alerts until it is known whose container it is.
    fn hold(
        &mut self,
        alerts: BTreeMap<String, Acts>,
        now: Moment,
        missed: &mut Vec<Interruption>,
    ) {
        let mut held: usize = self.held.values().map(|(_, acts)| acts.len()).sum();
        for (container, acts) in alerts {
            let is_known = self.run(&container).is_some();
            for (behavior, seen) in acts {
                if !is_known && held >= MAX_HELD {
                    self.dropped += seen.count;
                    let why = "there were more of containers that nobody knows than are kept";
                    missed.push(Interruption {
                        from: seen.first,
                        to: now,
                        why: Missed::Broken(why.to_owned()),
                    });
                    continue;
                }
                held += usize::from(!is_known);
                let (_, known) = self
                    .held
                    .entry(container.clone())
                    .or_insert_with(|| (now, Acts::new()));
                known
                    .entry(behavior)
                    .and_modify(|sum| *sum = sum.plus(seen))
                    .or_insert(seen);
            }
        }
    }

    /// What is stored of the alerts of a run. Alerts never teach.
    fn tell(&mut self, key: &RunKey, acts: Acts, ledger: &Ledger, evidence: &mut Evidence) {
        let revision = Revision::of(key);
        let is_told_of = self.is_told_of(&key.workload);
        let freeze = ledger.frozen(&revision).map(|frozen| frozen.freeze());
        let (mut own, mut hearsay) = (RunProfile::default(), RunProfile::default());
        for (behavior, mut seen) in acts {
            let into = match behavior.is_learnable() {
                false => &mut own,
                true if is_told_of => &mut hearsay,
                true => match freeze.filter(|freeze| freeze.judges(seen.last)) {
                    Some(freeze) => {
                        let from = freeze.judged_from.unwrap_or(Moment(i64::MIN));
                        seen.first = seen.first.max(from);
                        &mut own
                    }
                    None => continue,
                },
            };
            into.seen.insert(behavior, seen);
        }
        if !own.seen.is_empty() {
            self.go_on(key, &mut own);
            evidence.insert(key.clone(), own);
        }
        if !hearsay.seen.is_empty() {
            hearsay.lose(Loss::from(HEARSAY), 1);
            let container = key.run.split('-').next().unwrap_or_default();
            let key = RunKey {
                run: format!("kubearmor-{container}"),
                ..key.clone()
            };
            self.go_on(&key, &mut hearsay);
            evidence.insert(key, hearsay);
        }
    }

    /// Whether it is a pod's: then the job knows what is judged, and this agent does not.
    fn is_told_of(&self, workload: &Workload) -> bool {
        self.is_of_cluster && !host::is_of_host(workload)
    }

    /// With what was told before: the fuller report counts.
    fn go_on(&mut self, key: &RunKey, run: &mut RunProfile) {
        let told: usize = self.told.values().map(BTreeMap::len).sum();
        if told > MAX_TOLD {
            self.told.clear();
        }
        let told = self.told.entry(key.clone()).or_default();
        for (behavior, seen) in &mut run.seen {
            if let Some(before) = told.get(behavior) {
                *seen = seen.plus(*before);
            }
            told.insert(behavior.clone(), *seen);
        }
    }
}

/// The digits that name the runs of a container.
fn short(id: &str) -> Option<&str> {
    let short = id.get(..SHORT)?;
    short
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then_some(short)
}

#[cfg(test)]
mod tests;

//! From the kernel's events and counts to what each scope's run did.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use learner_ebpf::{flag, op};

use super::clock::Clock;
use super::decode::{Event, decode};
use super::hook::Hook;
use super::meaning::{Meaning, Reading};
use super::process;
use super::sensor::{Sensor, SensorError};
use crate::behavior::Behavior;
use crate::observation::{Loss, Moment};
use crate::path::AbsPath;
use crate::profile::{RunProfile, Sighting};

/// Keys beyond the limit of behaviours that are told apart, a scope. What comes beyond these counts
/// as lost event by event.
const MAX_BEYOND: usize = 131_072;
/// Events of a scope that wait for what their processes execute.
const MAX_WAITING: usize = 65_536;
/// So long a runtime may take from its first event in a container until it executes the program,
/// microseconds. A process that does something later and has not is none.
const PRELUDE: i64 = 10_000_000;

/// What one key stands for.
struct Known {
    meaning: Meaning,
    /// Events that came; the count, if the kernel's map had no room for the key.
    events: Sighting,
}

/// From when on what happens in a scope is the run's doing.
#[derive(Clone, Copy)]
pub enum Beginning {
    /// From the first event.
    Now,
    /// From the first successful exec of a program that is none of a runtime's, or the first that is
    /// done by such a program. What a runtime does before that, to set the scope up, is not the
    /// workload's.
    FirstExec {
        /// Whether a program is a runtime's.
        is_runtime: fn(&AbsPath) -> bool,
    },
}

/// How a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its first event that counts.
    pub at: Moment,
    /// That was the exec of its first program. If not, the program came from elsewhere, and what it
    /// did there was not seen.
    pub by_exec: bool,
}

/// What is gathered of one scope.
struct Gathered {
    reading: Reading,
    /// None: the run has begun.
    awaited: Option<fn(&AbsPath) -> bool>,
    begun: Option<Begun>,
    /// Whether who comes from outside is a runtime until it executes something.
    has_runtime: bool,
    /// What is told by what the process executes then, by process.
    waiting: HashMap<u32, Vec<(Event, Moment)>>,
    known: HashMap<[u64; 2], Known>,
    /// Events by keys for which there was no room.
    beyond: HashMap<[u64; 2], u64>,
    direct: BTreeMap<Behavior, Sighting>,
    lost: BTreeMap<Loss, u64>,
    /// What could not be recorded of nobody in particular, when the scope was made.
    malformed_before: u64,
    skipped_before: u64,
}

/// Gathers the events of scopes, which come and go while it does.
///
/// Guarantee: each event of a scope is in that scope's profile, or in its loss account. What is
/// lost of nobody in particular (`malformed`, `skipped`) is in the account of every scope that was
/// watched then.
pub struct Collector {
    clock: Clock,
    fill_in: bool,
    scopes: BTreeMap<u32, Gathered>,
    malformed: u64,
    /// As of the last [`Collector::look`].
    skipped: u64,
    records: u64,
    fullest: u64,
    max_behaviors: usize,
}

impl Collector {
    /// Gathers what `sensor` reports, at most `max_behaviors` distinct behaviours a scope.
    pub fn new(sensor: &Sensor, clock: Clock, max_behaviors: usize) -> Self {
        Self {
            clock,
            fill_in: sensor.is_on_floor(Hook::Open),
            scopes: BTreeMap::new(),
            malformed: 0,
            skipped: 0,
            records: 0,
            fullest: 0,
            max_behaviors,
        }
    }

    /// Gathers `scope` from now on; to be called before [`Sensor::watch`], since events of a scope
    /// that is not gathered are dropped. A scope's number is used once.
    pub fn begin(&mut self, scope: u32, beginning: Beginning) {
        let awaited = match beginning {
            Beginning::Now => None,
            Beginning::FirstExec { is_runtime } => Some(is_runtime),
        };
        let gathered = Gathered {
            reading: Reading::new(self.fill_in),
            awaited,
            begun: None,
            has_runtime: awaited.is_some(),
            waiting: HashMap::new(),
            known: HashMap::new(),
            beyond: HashMap::new(),
            direct: BTreeMap::new(),
            lost: BTreeMap::new(),
            malformed_before: self.malformed,
            skipped_before: self.skipped,
        };
        self.scopes.insert(scope, gathered);
    }

    /// Looks how often the kernel skipped a program until now, and what was repeated. To be called
    /// before scopes begin, and before their profiles are taken; it takes longer than these.
    ///
    /// # Errors
    /// As [`Collector::profile`].
    pub fn look(&mut self, sensor: &mut Sensor) -> Result<(), SensorError> {
        self.skipped = sensor.skipped();
        let now = self.clock.moment();
        for gathered in self.scopes.values_mut() {
            gathered.wait_no_longer(now, self.max_behaviors);
        }
        sensor.gather()
    }

    /// What happens in the scope from now on is the run's doing, whatever it waited for.
    pub fn begin_now(&mut self, scope: u32) {
        if let Some(gathered) = self.scopes.get_mut(&scope) {
            gathered.awaited = None;
        }
    }

    /// Takes what is in the ring buffer now, up to a limit; true if that was all.
    pub fn drain(&mut self, sensor: &mut Sensor) -> bool {
        let mut events = Vec::new();
        let mut bytes_taken = 0;
        let is_all = sensor.records(|bytes| {
            bytes_taken += bytes.len() as u64;
            self.records += 1;
            match decode(bytes) {
                Ok(event) => events.push(event),
                Err(malformed) => {
                    tracing::warn!(%malformed);
                    self.malformed += 1;
                }
            }
        });
        self.fullest = self.fullest.max(bytes_taken);
        // What is removed by a later event was there for an earlier one.
        for event in &events {
            if let Some(gathered) = self.scopes.get_mut(&event.scope) {
                gathered.reading.note(event);
            }
        }
        for event in events {
            // None: the scope has ended, and so has what was lost of it.
            if let Some(gathered) = self.scopes.get_mut(&event.scope) {
                let at = self.clock.at(event.at);
                gathered.take(&event, at, self.max_behaviors);
            }
        }
        is_all
    }

    /// How the run began; None: not yet.
    pub fn begun(&self, scope: u32) -> Option<Begun> {
        self.scopes.get(&scope)?.begun
    }

    /// Records taken from the ring buffer, of all scopes.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Most bytes that one turn of [`Collector::drain`] took, which is how full the ring buffer was
    /// at least.
    pub fn fullest(&self) -> u64 {
        self.fullest
    }

    /// Distinct behaviours of a scope so far, and events that stand for no behaviour.
    pub fn behaviors(&self, scope: u32) -> usize {
        self.scopes
            .get(&scope)
            .map_or(0, |gathered| gathered.known.len() + gathered.direct.len())
    }

    /// What the run did so far, with the kernel's counts: every later profile of it is one that this
    /// joins into. None if the scope is not gathered.
    ///
    /// # Errors
    /// [`SensorError::Map`] if the kernel's maps cannot be read.
    pub fn profile(&self, scope: u32, sensor: &Sensor) -> Result<Option<RunProfile>, SensorError> {
        let Some(gathered) = self.scopes.get(&scope) else {
            return Ok(None);
        };
        let mut profile = gathered.profile(&self.clock, sensor)?;
        for (reason, count) in self.losses(scope, gathered, sensor)? {
            profile.lose(reason, count);
        }
        Ok(Some(profile))
    }

    /// What the kernel, and this process before it knew whose it was, could not record.
    fn losses(
        &self,
        scope: u32,
        gathered: &Gathered,
        sensor: &Sensor,
    ) -> Result<Vec<(Loss, u64)>, SensorError> {
        let mut losses = sensor.losses(scope)?;
        for (reason, now, before) in [
            ("malformed", self.malformed, gathered.malformed_before),
            ("skipped", self.skipped, gathered.skipped_before),
        ] {
            if now > before {
                losses.push((Loss::from(reason), now - before));
            }
        }
        Ok(losses)
    }

    /// What of the scope could not be recorded so far, without what only the kernel's counts tell
    /// ([`Collector::profile`] has these). Cheap.
    ///
    /// # Errors
    /// As [`Collector::profile`].
    pub fn lost(&self, scope: u32, sensor: &Sensor) -> Result<BTreeMap<Loss, u64>, SensorError> {
        let Some(gathered) = self.scopes.get(&scope) else {
            return Ok(BTreeMap::new());
        };
        let mut lost = gathered.lost.clone();
        for (reason, count) in self.losses(scope, gathered, sensor)? {
            *lost.entry(reason).or_default() += count;
        }
        Ok(lost)
    }

    /// Ends a scope and gives what its run did; None if it is not gathered. Its tasks are not
    /// watched any more by then and the ring buffer is drained. What the kernel keeps of it is
    /// removed.
    ///
    /// # Errors
    /// [`SensorError::Map`] if the kernel's maps cannot be read.
    pub fn finish(
        &mut self,
        scope: u32,
        sensor: &mut Sensor,
    ) -> Result<Option<RunProfile>, SensorError> {
        let profile = self.profile(scope, sensor)?;
        if let Some(gathered) = self.scopes.remove(&scope) {
            let keys = gathered.known.into_keys();
            sensor.forget(scope, keys.chain(gathered.beyond.into_keys()));
        }
        Ok(profile)
    }
}

impl Gathered {
    fn lose(&mut self, reason: &str, count: u64) {
        *self.lost.entry(reason.into()).or_default() += count;
    }

    fn take(&mut self, event: &Event, at: Moment, max_behaviors: usize) {
        if self.waits(event) {
            return self.wait(event, at);
        }
        self.settle(event, at, max_behaviors);
    }

    /// Whether what the event is depends on what its process executes next: what the kernel opens for an
    /// exec comes before the exec is known to be done, and what a runtime does before it is not the
    /// run's doing.
    fn waits(&self, event: &Event) -> bool {
        (self.awaited.is_some() && event.has(flag::FOR_EXEC))
            || (self.has_runtime && event.has(flag::NEWCOMER) && event.op != op::EXEC)
    }

    fn settle(&mut self, event: &Event, at: Moment, max_behaviors: usize) {
        let sighting = Sighting {
            count: 1,
            first: at,
            last: at,
        };
        let had_begun = self.begun.is_some();
        let is_own = self.is_own(event);
        let by_exec = event.op == op::EXEC && event.errno == 0;
        let mut opened = Vec::new();
        if event.op == op::EXEC {
            opened = self.waiting.remove(&event.pid).unwrap_or_default();
            opened.retain(|(before, _)| by_exec && is_own && before.has(flag::FOR_EXEC));
        }
        if is_own && !had_begun {
            let at = opened.first().map_or(at, |(_, first)| at.min(*first));
            self.begun = Some(Begun { at, by_exec });
        }
        for (mut before, at) in opened {
            if had_begun && event.has(flag::NEWCOMER) {
                // Who joins is outside, whatever it calls itself there.
                before.source.clone_from(&event.source);
            }
            self.settle(&before, at, max_behaviors);
        }
        let mut event = Cow::Borrowed(event);
        if had_begun && event.has(flag::NEWCOMER) && event.has(flag::EXEC_DONE) {
            // As above, of what is filled in.
            let source = event.source.clone();
            event.to_mut().to = source;
        }
        let event = &*event;
        if event.key != [0; 2]
            && let Some(known) = self.known.get_mut(&event.key)
        {
            known.events = known.events.plus(sighting);
            return;
        }
        let meaning = if is_own {
            self.reading.of(event)
        } else {
            Meaning::default()
        };
        let is_full = self.known.len() + self.direct.len() >= max_behaviors;
        if event.key != [0; 2] {
            if is_full {
                return self.turn_away(event.key);
            }
            let known = Known {
                meaning,
                events: sighting,
            };
            self.known.insert(event.key, known);
            return;
        }
        if let Some(reason) = meaning.lost {
            self.lose(reason, 1);
        }
        for behavior in meaning.behaviors {
            match self.direct.get_mut(&behavior) {
                Some(known) => *known = known.plus(sighting),
                None if is_full => self.lose("store", 1),
                None => {
                    self.direct.insert(behavior, sighting);
                }
            }
        }
    }

    fn wait(&mut self, event: &Event, at: Moment) {
        if event.errno != 0 {
            return;
        }
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        if waiting >= MAX_WAITING {
            tracing::debug!("too many execs at once");
            self.lose("in-flight", waiting as u64);
            self.waiting = HashMap::new();
        }
        let events = self.waiting.entry(event.pid).or_default();
        events.push((event.clone(), at));
    }

    /// A process that was moved into the scope and goes on there without executing anything is no
    /// runtime.
    fn wait_no_longer(&mut self, now: Moment, max_behaviors: usize) {
        let is_over = |events: &[(Event, Moment)]| {
            let first = events.first().map_or(now, |(_, first)| *first);
            now.0.saturating_sub(first.0) > PRELUDE
        };
        let waiting = self.waiting.iter();
        let over = waiting.filter(|(_, events)| is_over(events));
        let mut over: Vec<u32> = over.map(|(pid, _)| *pid).collect();
        over.sort_unstable();
        for pid in over {
            let events = self.waiting.remove(&pid).unwrap_or_default();
            // One that has ended without executing anything has failed to join.
            if !process::may_be_alive(pid) {
                continue;
            }
            for (event, at) in events {
                if self.begun.is_some() && event.source.is_none() {
                    self.lose("no-path", 1);
                } else {
                    self.settle(&event, at, max_behaviors);
                }
            }
        }
    }

    /// Whether the run has begun, with this event at the latest.
    fn is_own(&mut self, event: &Event) -> bool {
        let Some(is_runtime) = self.awaited else {
            return true;
        };
        let begins = match event.op {
            // A shell's search for a program is not its beginning.
            op::EXEC => event.errno == 0 && !event.has(flag::NO_PATH) && !is_runtime(&event.path),
            _ => event
                .source
                .as_ref()
                .is_some_and(|source| !is_runtime(source)),
        };
        if begins {
            self.awaited = None;
        }
        begins
    }

    /// Beyond the limit of distinct behaviours: its events go to the loss account.
    fn turn_away(&mut self, key: [u64; 2]) {
        tracing::debug!(?key, "beyond the limit of distinct behaviours");
        if let Some(events) = self.beyond.get_mut(&key) {
            *events += 1;
        } else if self.beyond.len() < MAX_BEYOND {
            self.beyond.insert(key, 1);
        } else {
            self.lose("store", 1);
        }
    }

    fn profile(&self, clock: &Clock, sensor: &Sensor) -> Result<RunProfile, SensorError> {
        let mut profile = RunProfile {
            lost: self.lost.clone(),
            ..RunProfile::default()
        };
        let mut add = |behavior: &Behavior, sighting: Sighting| {
            profile
                .seen
                .entry(behavior.clone())
                .and_modify(|known| *known = known.plus(sighting))
                .or_insert(sighting);
        };
        let mut lost: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (key, Known { meaning, events }) in &self.known {
            if meaning.lost.is_none() && meaning.behaviors.is_empty() {
                continue;
            }
            let sighting = sensor
                .count(*key)?
                .map_or(*events, |[count, first, last]| Sighting {
                    count,
                    first: clock.at(first),
                    last: clock.at(last),
                });
            if let Some(reason) = meaning.lost {
                *lost.entry(reason).or_default() += sighting.count;
            }
            for behavior in &meaning.behaviors {
                add(behavior, sighting);
            }
        }
        for (behavior, sighting) in &self.direct {
            add(behavior, *sighting);
        }
        for (key, events) in &self.beyond {
            *lost.entry("store").or_default() += match sensor.count(*key)? {
                Some([count, ..]) => count,
                None => *events,
            };
        }
        for (reason, count) in lost {
            profile.lose(Loss::from(reason), count);
        }
        Ok(profile)
    }
}

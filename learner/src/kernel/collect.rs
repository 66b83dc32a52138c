//! From the kernel's events and counts to what a run did.

use std::collections::{BTreeMap, HashMap};

use learner_ebpf::{access, flag, op};

use super::decode::{Event, decode};
use super::hook::Hook;
use super::image;
use super::resolve::{Kind, Named, Resolver, as_written};
use super::sensor::{Sensor, SensorError};
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::observation::{Loss, Moment};
use crate::path::AbsPath;
use crate::profile::{RunProfile, Sighting};

/// A file that is executed and of no format that the kernel knows.
const ENOEXEC: u32 = 8;

/// The kernel's monotonic clock in terms of the wall clock, fixed when the run began: a wall clock
/// that is set while the run goes on moves none of its times.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall clock minus `CLOCK_BOOTTIME`, microseconds.
    offset: i64,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};
        let micros = |id| {
            let time = clock_gettime(id);
            time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
        };
        Self {
            offset: micros(ClockId::Realtime) - micros(ClockId::Boottime),
        }
    }

    /// The wall clock now, by this clock.
    pub fn moment(self) -> Moment {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::Boottime);
        Moment(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000 + self.offset)
    }

    pub(super) fn at(self, boottime: u64) -> Moment {
        Moment((boottime / 1_000) as i64 + self.offset)
    }
}

/// What one key stands for.
struct Known {
    meaning: Meaning,
    /// Events that came; the count, if the kernel's map had no room for the key.
    events: Sighting,
}

/// What an event says was done.
#[derive(Default)]
struct Meaning {
    /// One behaviour, or for an exec on the tracepoint rung those that come with it. None: no rule
    /// can govern it, or it is lost.
    behaviors: Vec<Behavior>,
    /// Why something of it is lost.
    lost: Option<&'static str>,
}

impl Meaning {
    fn lost(reason: &'static str) -> Self {
        Self {
            behaviors: Vec::new(),
            lost: Some(reason),
        }
    }
}

/// Gathers the events of one scope.
pub struct Collector {
    scope: u32,
    clock: Clock,
    fill_in: bool,
    resolver: Resolver,
    known: HashMap<[u64; 2], Known>,
    direct: BTreeMap<Behavior, Sighting>,
    lost: BTreeMap<Loss, u64>,
    max_behaviors: usize,
}

impl Collector {
    /// Gathers what `sensor` reports of `scope`, at most `max_behaviors` distinct behaviours.
    pub fn new(scope: u32, sensor: &Sensor, clock: Clock, max_behaviors: usize) -> Self {
        Self {
            scope,
            clock,
            fill_in: sensor.is_on_floor(Hook::Open),
            resolver: Resolver::new(),
            known: HashMap::new(),
            direct: BTreeMap::new(),
            lost: BTreeMap::new(),
            max_behaviors,
        }
    }

    /// Takes what is in the ring buffer now, up to a limit; true if that was all.
    pub fn drain(&mut self, sensor: &mut Sensor) -> bool {
        let mut events = Vec::new();
        let is_all = sensor.records(|bytes| match decode(bytes) {
            Ok(event) if event.scope == self.scope => events.push(event),
            Ok(_) => {}
            Err(malformed) => {
                tracing::warn!(%malformed);
                self.lose("malformed", 1);
            }
        });
        // What is removed by a later event was there for an earlier one.
        for event in &events {
            self.note(event);
        }
        for event in events {
            self.take(event);
        }
        is_all
    }

    /// Keeps what an event tells of a name that may be gone when another event's is looked up.
    fn note(&mut self, event: &Event) {
        let kind = match event.op {
            op::MKDIR | op::RMDIR => Kind::Directory,
            op::OPEN if event.has(flag::DIRECTORY) => Kind::Directory,
            op::SYMLINK => Kind::Link,
            _ => return,
        };
        if event.errno == 0 && !event.has(flag::NO_PATH) {
            let root = event.root.as_ref().unwrap_or(&event.path);
            self.resolver.note(root, &event.path, &event.raw, kind);
        }
    }

    fn lose(&mut self, reason: &str, count: u64) {
        *self.lost.entry(reason.into()).or_default() += count;
    }

    fn take(&mut self, event: Event) {
        let at = self.clock.at(event.at);
        let sighting = Sighting {
            count: 1,
            first: at,
            last: at,
        };
        if event.key != [0; 2]
            && let Some(known) = self.known.get_mut(&event.key)
        {
            known.events = known.events.plus(sighting);
            return;
        }
        let meaning = self.meaning(&event);
        let is_full = self.known.len() + self.direct.len() >= self.max_behaviors;
        if event.key != [0; 2] {
            if is_full {
                // Its count goes to the loss account when the run is closed.
                tracing::debug!(key = ?event.key, "beyond the limit of distinct behaviours");
                return;
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

    /// Closes the run: reads the kernel's counts and loss account. The programs are detached and
    /// the ring buffer is drained by then.
    ///
    /// # Errors
    /// [`SensorError::Map`] if the kernel's maps cannot be read.
    pub fn finish(mut self, sensor: &mut Sensor) -> Result<RunProfile, SensorError> {
        sensor.detach();
        while !self.drain(sensor) {}
        let mut counts: HashMap<[u64; 2], Sighting> = HashMap::new();
        for count in sensor.counts()? {
            let sighting = Sighting {
                count: count.count,
                first: self.clock.at(count.first),
                last: self.clock.at(count.last),
            };
            counts.insert(count.key, sighting);
        }
        let mut profile = RunProfile::default();
        let mut add = |behavior: Behavior, sighting: Sighting| {
            profile
                .seen
                .entry(behavior)
                .and_modify(|known| *known = known.plus(sighting))
                .or_insert(sighting);
        };
        for (key, Known { meaning, events }) in self.known {
            let sighting = counts.remove(&key).unwrap_or(events);
            if let Some(reason) = meaning.lost {
                *self.lost.entry(reason.into()).or_default() += sighting.count;
            }
            for behavior in meaning.behaviors {
                add(behavior, sighting);
            }
        }
        for (behavior, sighting) in self.direct {
            add(behavior, sighting);
        }
        profile.lost = self.lost;
        for (reason, count) in sensor.losses(self.scope)? {
            profile.lose(reason, count);
        }
        if sensor.skipped() > 0 {
            profile.lose(Loss::from("skipped"), sensor.skipped());
        }
        // Keys that are counted but whose event was turned away at the limit. With one scope there
        // is nobody else's.
        let beyond: u64 = counts.values().map(|s| s.count).sum();
        if beyond > 0 {
            profile.lose(Loss::Store, beyond);
        }
        Ok(profile)
    }

    fn meaning(&mut self, event: &Event) -> Meaning {
        if event.has(flag::NO_PATH) {
            // No enforcer resolves such a file either. Executing one is another matter.
            tracing::debug!(path = %event.path, op = event.op, "a file without a path");
            return match event.op {
                op::EXEC => Meaning::lost("no-path"),
                _ => Meaning::default(),
            };
        }
        if event.has(flag::EXEC_DONE) {
            return self.executed(event);
        }
        let (path, to) = if event.has(flag::RAW) {
            match self.resolve_raw(event) {
                Some(paths) => paths,
                None if event.errno == 0 || event.errno == ENOEXEC => {
                    return Meaning::lost("unresolved");
                }
                None => return Meaning::default(),
            }
        } else {
            (event.path.clone(), event.to.clone())
        };
        let Some(op) = operation(event, to) else {
            return Meaning::lost("malformed");
        };
        if op == Op::Exec && event.errno == ENOEXEC {
            return self.read_as_script(event, path);
        }
        let path = if event.has(flag::DIRECTORY) {
            as_directory(path)
        } else {
            path
        };
        Meaning {
            behaviors: vec![behavior(event, op, path, event.source.clone())],
            lost: None,
        }
    }

    /// A file of no known format has passed every check of an exec, and the kernel has opened it:
    /// a shell reads it as a script then.
    fn read_as_script(&self, event: &Event, path: AbsPath) -> Meaning {
        let event = Event {
            errno: 0,
            ..event.clone()
        };
        let open = Op::Open(Access::Read);
        let opened = behavior(&event, open, path.clone(), event.to.clone());
        let mut behaviors = vec![behavior(&event, Op::Exec, path, event.source.clone())];
        if self.fill_in {
            behaviors.push(opened);
        }
        Meaning {
            behaviors,
            lost: None,
        }
    }

    fn resolve_raw(&mut self, event: &Event) -> Option<(AbsPath, Option<AbsPath>)> {
        let follow = matches!(event.op, op::OPEN | op::EXEC | op::CHMOD | op::TRUNCATE);
        let root = event.root.as_ref()?;
        let mut resolve = |base, raw| {
            let named = Named {
                base,
                raw,
                root,
                root_mnt: event.root_mnt,
                mnt_ns: event.mnt_ns,
                pid: event.pid,
            };
            let found = self.resolver.resolve(&named, follow);
            // What failed is not learned: where it led is told as well as can be.
            if event.errno == 0 || event.errno == ENOEXEC {
                found
            } else {
                found.or_else(|| as_written(&named))
            }
        };
        let path = resolve(&event.path, &event.raw)?;
        let to = match &event.to {
            Some(base) if !event.raw_to.is_empty() => Some(resolve(base, &event.raw_to)?),
            _ => None,
        };
        Some((path, to))
    }

    /// An exec that the kernel reports when it is done: the image alone. The script, its
    /// interpreters and the loader are read from the files.
    fn executed(&mut self, event: &Event) -> Meaning {
        let top = root_directory();
        let named = Named {
            base: event.cwd.as_ref().unwrap_or(&top),
            raw: &event.raw,
            root: event.root.as_ref().unwrap_or(&top),
            root_mnt: event.root_mnt,
            mnt_ns: event.mnt_ns,
            pid: event.pid,
        };
        let mut images = Vec::new();
        let mut lost = None;
        if !event.raw.is_empty() {
            match self.resolver.resolve(&named, true) {
                Some(script) => {
                    images.push(script.clone());
                    images.extend(image::interpreters(&mut self.resolver, &named, &script));
                }
                None => lost = Some("unresolved"),
            }
        }
        if images.last() != Some(&event.path) {
            images.push(event.path.clone());
        }
        let opened = if self.fill_in {
            let loader = image::loader(&mut self.resolver, &named, &event.path);
            images.iter().cloned().chain(loader).collect()
        } else {
            Vec::new()
        };
        let about_other_files = Event {
            flags: event.flags & flag::TTY,
            ..event.clone()
        };
        let of = |path: &AbsPath| {
            if *path == event.path {
                event
            } else {
                &about_other_files
            }
        };
        let mut behaviors: Vec<Behavior> = images
            .iter()
            .map(|path| behavior(of(path), Op::Exec, path.clone(), event.source.clone()))
            .collect();
        behaviors.extend(opened.into_iter().map(|path| {
            behavior(
                of(&path),
                Op::Open(Access::Read),
                path.clone(),
                event.to.clone(),
            )
        }));
        Meaning { behaviors, lost }
    }
}

fn root_directory() -> AbsPath {
    AbsPath::from_components([]).unwrap_or_else(|_| unreachable!("no component holds a NUL"))
}

pub(super) fn operation(event: &Event, to: Option<AbsPath>) -> Option<Op> {
    Some(match event.op {
        op::EXEC => Op::Exec,
        op::OPEN => Op::Open(match event.access {
            access::WRITE => Access::Write,
            a if a == access::READ | access::WRITE => Access::ReadWrite,
            _ => Access::Read,
        }),
        op::CREATE => Op::Create,
        op::MKDIR => Op::Mkdir,
        op::UNLINK => Op::Unlink,
        op::RMDIR => Op::Rmdir,
        op::RENAME => Op::Rename { to: to? },
        op::LINK => Op::Link { to: to? },
        op::SYMLINK => Op::Symlink,
        op::CHMOD => Op::Chmod,
        op::TRUNCATE => Op::Truncate,
        _ => return None,
    })
}

/// An opened directory is told by the slash at its end.
pub(super) fn as_directory(path: AbsPath) -> AbsPath {
    if path.as_bytes().ends_with(b"/") {
        return path;
    }
    let mut bytes = path.as_bytes().to_vec();
    bytes.push(b'/');
    AbsPath::new(bytes).unwrap_or(path)
}

pub(super) fn behavior(event: &Event, op: Op, path: AbsPath, source: Option<AbsPath>) -> Behavior {
    let known = |known, bit| event.has(known).then(|| event.has(bit));
    Behavior {
        op,
        path,
        source,
        uid: Some(event.uid),
        owner: known(flag::OWNER_KNOWN, flag::OWNER),
        upper: known(flag::UPPER_KNOWN, flag::UPPER),
        tty: Some(event.has(flag::TTY)),
        result: match event.errno {
            0 => Outcome::Ok,
            errno => Outcome::Failed(format!("{:?}", nix::errno::Errno::from_raw(errno as i32))),
        },
    }
}

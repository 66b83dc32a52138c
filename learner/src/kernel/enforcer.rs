//! The enforcing programs: loaded, pinned, and told which policy holds for which cgroup.
//!
//! What is guaranteed, and why it holds:
//!
//! - **A policy is replaced whole.** The rules of a policy are edges under a generation that is never
//!   used twice. They are all in the map before the one entry that names the generation is replaced,
//!   and the old ones are removed only after every program that may have read the old entry has
//!   ended (`membarrier`, which waits for the kernel's grace period).
//! - **What is enforced stays enforced.** Programs, rules and policies are pinned below
//!   `/sys/fs/bpf/learner`: they outlive the process that made them, however it ends. Whoever opens
//!   the same instance later takes them over as they are. [`release`] removes them.
//! - **A pinned state is whole or not there.** It is made under another name and renamed.
//! - **Another version's state is not touched** until it is retired, after its policies were applied
//!   to the new programs.
//!
//! Needs Linux 5.14 with BPF LSM active, `CAP_BPF` and `CAP_PERFMON`, and a bpf file system on
//! `/sys/fs/bpf` that may be written to.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::EbpfLoader;
use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::{Lsm, ProgramError};
use learner_ebpf::enforce::{
    Edge, LONG_WORDS, Policy, SHORT_NAME, SHORT_WORDS, edge_generation, edge_start, kept, posture,
};
use learner_ebpf::{CGROUP_LEVELS, flag, lost, setting};

use super::btf::{Layout, OffsetError, layout};
use super::cgroup::GroupId;
use super::collect::{Clock, as_directory, behavior, operation};
use super::decode::{Event, decode};

use super::sensor::{OBJECT, active_lsms, chain, patiently, reason, types};
use crate::behavior::Behavior;
use crate::observation::{Loss, Moment};
use crate::policy::meaning::{Branch, NodeId, Posture, Tree, TreeRule};

/// Where instances are pinned.
pub const PINS: &str = "/sys/fs/bpf/learner";

/// Enough for alerts, which are sent once each.
const RING: u32 = 1 << 20;
/// Distinct alerts that are counted in the kernel; of others each is sent.
const ALERTS: u32 = 16_384;

/// The programs and the hooks that they are on.
const PROGRAMS: [(&str, &str); 11] = [
    ("enforce_exec", "bprm_check_security"),
    ("enforce_open", "file_open"),
    ("enforce_create", "path_mknod"),
    ("enforce_mkdir", "path_mkdir"),
    ("enforce_unlink", "path_unlink"),
    ("enforce_rmdir", "path_rmdir"),
    ("enforce_rename", "path_rename"),
    ("enforce_link", "path_link"),
    ("enforce_symlink", "path_symlink"),
    ("enforce_chmod", "path_chmod"),
    ("enforce_truncate", "path_truncate"),
];

/// The maps that are pinned.
const MAPS: [&str; 7] = [
    "POLICIES",
    "EDGES",
    "LONG_EDGES",
    "KEPT",
    "EVENTS",
    "SEEN",
    "LOST",
];

/// Bytes of the longest name of a file.
const NAME_MAX: usize = 255;
const SHORT_KEY: usize = SHORT_WORDS + 1;
const LONG_KEY: usize = LONG_WORDS + 1;
type ShortKey = [u64; SHORT_KEY];
type LongKey = [u64; LONG_KEY];

/// Enforcing is not possible.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The kernel does not ask BPF programs.
    #[error(
        "the kernel does not ask BPF programs before an operation: {0}. Boot with 'bpf' in the list of the kernel parameter lsm=, as in lsm={1}bpf, on a kernel with CONFIG_BPF_LSM"
    )]
    NotActive(String, String),
    /// The kernel's types do not hold what the programs need.
    #[error(transparent)]
    Offsets(#[from] OffsetError),
    /// The kernel refused a map or a program.
    #[error("the kernel refused {what}: {cause}. Enforcing needs root, and Linux 5.14 or newer")]
    Refused {
        /// What it refused.
        what: String,
        /// Why.
        cause: String,
    },
    /// The pinned state cannot be read or written.
    #[error("{}: {cause}; is a bpf file system mounted on /sys/fs/bpf?", path.display())]
    Pins {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A map has no room or cannot be read.
    #[error("a map of the enforcer failed: {0}")]
    Map(#[from] aya::maps::MapError),
    /// No random key could be had.
    #[error("no random numbers from the kernel: {0}")]
    Random(rustix::io::Errno),
    /// The cgroup is too deep.
    #[error("the cgroup is {0} levels deep; at most {max} are supported", max = CGROUP_LEVELS - 1)]
    TooDeep(u32),
    /// The kernel cannot be asked to wait for running programs.
    #[error("the old rules cannot be removed safely: membarrier: {0}")]
    Barrier(rustix::io::Errno),
}

/// A policy as it is applied to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The cgroup v2 id.
    pub group: u64,
    /// The workload's number.
    pub scope: u32,
    /// What becomes of programs that no rule is about.
    pub process: Option<Posture>,
    /// What becomes of files that no rule is about.
    pub file: Option<Posture>,
    /// The beginning of the policy's hash.
    pub hash: [u64; 2],
}

/// What a policy denies, as the kernel met it: once for each behaviour, however often it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The workload's number.
    pub scope: u32,
    /// What was tried. Where the file has no path (a memfd), the path is what the kernel calls it.
    pub behavior: Behavior,
    /// It was refused. If not, the posture is audit.
    pub denied: bool,
    /// First tried.
    pub at: Moment,
}

/// The programs of one instance, and their maps. Dropping it leaves them at work.
pub struct Enforcer {
    policies: HashMap<MapData, u64, [u64; 4]>,
    edges: HashMap<MapData, ShortKey, [u64; 2]>,
    long_edges: HashMap<MapData, LongKey, [u64; 2]>,
    kept: Array<MapData, u64>,
    events: RingBuf<MapData>,
    seen: HashMap<MapData, [u64; 2], [u64; 3]>,
    lost: HashMap<MapData, u64, u64>,
    taken_over: bool,
    older: Vec<PathBuf>,
}

impl Enforcer {
    /// Takes over what is pinned of an instance, or loads the programs, attaches them to all hooks
    /// and pins them. Until a policy is applied they let everything be.
    ///
    /// # Errors
    /// [`EnforceError`] with what would cure it. Nothing is left behind then.
    pub fn open(instance: &str) -> Result<Self, EnforceError> {
        let pins = Path::new(PINS);
        let own = pins.join(pinned_name(instance));
        let older = instances(pins)?
            .into_iter()
            .filter(|other| *other != own && is_of(other, instance))
            .collect();
        if own.is_dir() {
            return Self::adopt(&own, older);
        }
        is_active()?;
        let making = pins.join(format!("{}+new", pinned_name(instance)));
        remove(&making)?;
        fs::create_dir_all(&making).map_err(|e| pins_error(&making, &e))?;
        let made = load(&making).and_then(|()| {
            fs::rename(&making, &own).map_err(|e| pins_error(&own, &e))?;
            Self::adopt(&own, older)
        });
        match made {
            Ok(mut made) => {
                made.taken_over = false;
                Ok(made)
            }
            Err(error) => {
                remove(&making)?;
                Err(error)
            }
        }
    }

    fn adopt(directory: &Path, older: Vec<PathBuf>) -> Result<Self, EnforceError> {
        let data = |name: &str| MapData::from_pin(directory.join(name));
        Ok(Self {
            policies: HashMap::try_from(Map::HashMap(data("POLICIES")?))?,
            edges: HashMap::try_from(Map::HashMap(data("EDGES")?))?,
            long_edges: HashMap::try_from(Map::HashMap(data("LONG_EDGES")?))?,
            kept: Array::try_from(Map::Array(data("KEPT")?))?,
            events: RingBuf::try_from(Map::RingBuf(data("EVENTS")?))?,
            seen: HashMap::try_from(Map::HashMap(data("SEEN")?))?,
            lost: HashMap::try_from(Map::HashMap(data("LOST")?))?,
            taken_over: true,
            older,
        })
    }

    /// Whether the programs were at work already.
    pub fn was_at_work(&self) -> bool {
        self.taken_over
    }

    /// Applies a policy to a cgroup, in place of the one that it has. `scope` is not 0.
    ///
    /// # Errors
    /// [`EnforceError`]; the old policy then stays in force, whole.
    pub fn apply(
        &mut self,
        GroupId { id, level }: GroupId,
        scope: u32,
        hash: [u64; 2],
        tree: &Tree,
    ) -> Result<(), EnforceError> {
        for kind in 0..lost::COUNT {
            let key = loss_key(scope, kind);
            if self.lost.get(&key, 0).is_err() {
                self.lost.insert(key, 0, 0)?;
            }
        }
        let generation = self.next_generation()?;
        for ((node, name), branch) in &tree.branches {
            let start = edge_start(generation, node.0);
            let value = edge(branch).words();
            let inserted = if name.len() <= SHORT_NAME {
                self.edges.insert(key::<SHORT_KEY>(start, name), value, 0)
            } else if name.len() <= NAME_MAX {
                self.long_edges
                    .insert(key::<LONG_KEY>(start, name), value, 0)
            } else {
                // No file has such a name.
                Ok(())
            };
            if let Err(error) = inserted {
                self.forget(generation)?;
                return Err(error.into());
            }
        }
        let levels = self.kept.get(&kept::LEVELS, 0)?;
        let more = match level {
            Some(level) if level < CGROUP_LEVELS => levels | 1 << level,
            Some(level) => return Err(EnforceError::TooDeep(level)),
            None => (1 << CGROUP_LEVELS) - 1,
        };
        let before = self.policies.get(&id, 0).ok().map(Policy::from_words);
        let policy = Policy {
            generation,
            scope,
            process: posture_word(tree.process),
            file: posture_word(tree.file),
            hash,
        };
        self.policies.insert(id, policy.words(), 0)?;
        self.kept.set(kept::LEVELS, more, 0)?;
        if let Some(before) = before {
            settle()?;
            self.forget(before.generation)?;
        }
        Ok(())
    }

    /// Lets a cgroup be. False: it had no policy.
    ///
    /// # Errors
    /// [`EnforceError`].
    pub fn lift(&mut self, group: u64) -> Result<bool, EnforceError> {
        let Ok(words) = self.policies.get(&group, 0) else {
            return Ok(false);
        };
        self.policies.remove(&group)?;
        settle()?;
        self.forget(Policy::from_words(words).generation)?;
        Ok(true)
    }

    /// The policies that are in force.
    ///
    /// # Errors
    /// [`EnforceError`].
    pub fn applied(&self) -> Result<Vec<Applied>, EnforceError> {
        let mut applied = Vec::new();
        for entry in self.policies.iter() {
            let (group, words) = entry?;
            let policy = Policy::from_words(words);
            applied.push(Applied {
                group,
                scope: policy.scope,
                process: posture_of(policy.process),
                file: posture_of(policy.file),
                hash: policy.hash,
            });
        }
        applied.sort_by_key(|applied| applied.group);
        Ok(applied)
    }

    /// Takes the alerts that are there. Each behaviour is sent once; see
    /// [`Enforcer::alert_count`].
    pub fn alerts(&mut self, clock: Clock) -> Vec<Alert> {
        let mut alerts = Vec::new();
        while let Some(record) = self.events.next() {
            match decode(&record) {
                Ok(event) => alerts.extend(alert(&event, clock)),
                Err(malformed) => tracing::warn!(%malformed),
            }
        }
        alerts
    }

    /// What the programs could not tell or report of a workload, by reason. Where the path could not
    /// be told, it was judged as one that no rule is about.
    ///
    /// # Errors
    /// [`EnforceError`].
    pub fn losses(&self, scope: u32) -> Result<Vec<(Loss, u64)>, EnforceError> {
        let mut losses = Vec::new();
        for kind in 0..lost::COUNT {
            let count = self.lost.get(&loss_key(scope, kind), 0).unwrap_or(0);
            if count > 0 {
                losses.push((Loss::from(lost::NAMES[kind as usize]), count));
            }
        }
        Ok(losses)
    }

    /// Alerts in all, repeated ones included.
    ///
    /// # Errors
    /// [`EnforceError`].
    pub fn alert_count(&self) -> Result<u64, EnforceError> {
        let mut total = 0u64;
        for entry in self.seen.iter() {
            let (_, [count, _, _]) = entry?;
            total = total.saturating_add(count);
        }
        Ok(total)
    }

    /// How many edges the rules of all policies take.
    ///
    /// # Errors
    /// [`EnforceError`].
    pub fn edges(&self) -> Result<usize, EnforceError> {
        let mut count = 0;
        for key in self.edges.keys() {
            key?;
            count += 1;
        }
        for key in self.long_edges.keys() {
            key?;
            count += 1;
        }
        Ok(count)
    }

    /// Removes what another version of this program has pinned under the same instance: to be
    /// called when its policies are applied here.
    ///
    /// # Errors
    /// [`EnforceError::Pins`].
    pub fn retire_older(&mut self) -> Result<usize, EnforceError> {
        for older in &self.older {
            remove(older)?;
        }
        Ok(std::mem::take(&mut self.older).len())
    }

    /// What another version has pinned.
    pub fn older(&self) -> &[PathBuf] {
        &self.older
    }

    fn next_generation(&mut self) -> Result<u32, EnforceError> {
        let generation = self.kept.get(&kept::GENERATION, 0)?.max(1);
        self.kept.set(kept::GENERATION, generation + 1, 0)?;
        u32::try_from(generation).map_err(|_| EnforceError::Refused {
            what: "another policy".into(),
            cause: "all generations are used up; run learner release and apply again".into(),
        })
    }

    /// Removes the edges of a generation that no program uses.
    fn forget(&mut self, generation: u32) -> Result<(), EnforceError> {
        remove_generation(&mut self.edges, generation)?;
        remove_generation(&mut self.long_edges, generation)
    }
}

fn remove_generation<const WORDS: usize>(
    edges: &mut HashMap<MapData, [u64; WORDS], [u64; 2]>,
    generation: u32,
) -> Result<(), EnforceError> {
    let mut gone = Vec::new();
    for key in edges.keys() {
        let key = key?;
        if edge_generation(key[0]) == generation {
            gone.push(key);
        }
    }
    for key in gone {
        edges.remove(&key)?;
    }
    Ok(())
}

impl AsFd for Enforcer {
    /// Readable when there are alerts.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// Removes the pins of an instance, of every version, or of all. What they enforced is let be. Gives
/// how many there were.
///
/// # Errors
/// [`EnforceError::Pins`].
pub fn release(instance: Option<&str>) -> Result<usize, EnforceError> {
    let mut released = 0;
    for pinned in instances(Path::new(PINS))? {
        if instance.is_none_or(|instance| is_of(&pinned, instance)) {
            remove(&pinned)?;
            released += 1;
        }
    }
    Ok(released)
}

/// `INSTANCE@HASH`: another object is another state. bpffs refuses names with a dot.
fn pinned_name(instance: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(OBJECT);
    let short: String = hash
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{instance}@{short}")
}

fn is_of(pinned: &Path, instance: &str) -> bool {
    let name = pinned.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.split_once('@'))
        .is_some_and(|(of, _)| of == instance)
}

fn instances(pins: &Path) -> Result<Vec<PathBuf>, EnforceError> {
    let entries = match fs::read_dir(pins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(pins_error(pins, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(|e| pins_error(pins, &e))?.path());
    }
    found.sort();
    Ok(found)
}

fn remove(directory: &Path) -> Result<(), EnforceError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(pins_error(directory, &error)),
    };
    for entry in entries {
        let path = entry.map_err(|e| pins_error(directory, &e))?.path();
        fs::remove_file(&path).map_err(|e| pins_error(&path, &e))?;
    }
    fs::remove_dir(directory).map_err(|e| pins_error(directory, &e))
}

fn pins_error(path: &Path, error: &io::Error) -> EnforceError {
    EnforceError::Pins {
        path: path.into(),
        cause: error.to_string(),
    }
}

/// Whether programs on LSM hooks are asked at all.
///
/// # Errors
/// [`EnforceError::NotActive`] with the kernel parameter to set.
pub fn is_active() -> Result<(), EnforceError> {
    match active_lsms() {
        Some(list) if list.iter().any(|lsm| lsm == "bpf") => Ok(()),
        Some(list) => {
            let known: String = list.iter().map(|lsm| format!("{lsm},")).collect();
            let why = format!("the active LSMs are {}", list.join(", "));
            Err(EnforceError::NotActive(why, known))
        }
        None => {
            let why = "securityfs is not mounted on /sys/kernel/security, so the active LSMs cannot be told";
            Err(EnforceError::NotActive(why.into(), "…,".into()))
        }
    }
}

/// Loads, attaches and pins.
fn load(directory: &Path) -> Result<(), EnforceError> {
    let refused = |what: &str, cause: String| EnforceError::Refused {
        what: what.to_owned(),
        cause,
    };
    let Layout { offsets, .. } = layout()?;
    // Repeated alerts are told by a keyed hash: see `learner-ebpf/src/bpf/record.rs`.
    let mut key = [0u8; 16];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
        .map_err(EnforceError::Random)?;
    let btf = types().map_err(|e| refused("its own types", e))?;
    let mut ebpf = EbpfLoader::new()
        .btf(Some(btf))
        .override_global("OFFSETS", &offsets[..], true)
        .override_global("SIP_KEY", &key[..], true)
        .override_global("SETTINGS", &[0u32; setting::COUNT][..], true)
        .map_max_entries("EVENTS", RING)
        .map_max_entries("SEEN", ALERTS)
        .map_max_entries("IMAGES", 1)
        .map_max_entries("PENDING", 1)
        .map_max_entries("CALLS", 1)
        .load(OBJECT)
        .map_err(|e| refused("the maps", chain(&e)))?;
    let map = ebpf.map_mut("KEPT");
    let map = map.ok_or_else(|| refused("KEPT", "the kernel object lacks the map".into()))?;
    let mut kept: Array<_, u64> = Array::try_from(map)?;
    kept.set(kept::GENERATION, 1, 0)?;
    for name in MAPS {
        let map = ebpf.map(name);
        let map = map.ok_or_else(|| refused(name, "the kernel object lacks the map".into()))?;
        map.pin(directory.join(name))
            .map_err(|e| EnforceError::Pins {
                path: directory.join(name),
                cause: chain(&e),
            })?;
    }
    for (name, hook) in PROGRAMS {
        let program: &mut Lsm = ebpf
            .program_mut(name)
            .ok_or_else(|| refused(name, "the kernel object lacks the program".into()))?
            .try_into()
            .map_err(|e: ProgramError| refused(name, reason(&e)))?;
        patiently(|| program.load(hook, btf)).map_err(|e| refused(name, e))?;
        let link = program.attach().map_err(|e| refused(name, reason(&e)))?;
        let link = program
            .take_link(link)
            .map_err(|e| refused(name, reason(&e)))?;
        FdLink::from(link)
            .pin(directory.join(name))
            .map_err(|e| EnforceError::Pins {
                path: directory.join(name),
                cause: chain(&e),
            })?;
    }
    Ok(())
}

/// Waits until every program that was running has ended.
fn settle() -> Result<(), EnforceError> {
    rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global)
        .map_err(EnforceError::Barrier)
}

/// The key of an edge: where it starts, and the name with zeros behind it.
fn key<const WORDS: usize>(start: u64, name: &[u8]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = start;
    for (word, bytes) in words[1..].iter_mut().zip(name.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(padded);
    }
    words
}

fn edge(branch: &Branch) -> Edge {
    let Branch {
        child,
        source,
        own,
        below,
    } = branch;
    let node = |node: &Option<NodeId>| node.map_or(0, |node| node.0);
    let TreeRule { process, file } = *own;
    Edge {
        child: node(child),
        source: node(source),
        process,
        file,
        process_below: below.process,
        file_below: below.file,
    }
}

fn posture_word(posture: Option<Posture>) -> u32 {
    match posture {
        None => posture::NONE,
        Some(Posture::Audit) => posture::AUDIT,
        Some(Posture::Block) => posture::BLOCK,
    }
}

fn posture_of(word: u32) -> Option<Posture> {
    match word {
        posture::AUDIT => Some(Posture::Audit),
        posture::BLOCK => Some(Posture::Block),
        _ => None,
    }
}

fn alert(event: &Event, clock: Clock) -> Option<Alert> {
    let op = operation(event, event.to.clone())?;
    let path = if event.has(flag::DIRECTORY) {
        as_directory(event.path.clone())
    } else {
        event.path.clone()
    };
    Some(Alert {
        scope: event.scope,
        behavior: behavior(event, op, path, event.source.clone()),
        denied: event.errno != 0,
        at: clock.at(event.at),
    })
}

fn loss_key(scope: u32, kind: u32) -> u64 {
    u64::from(scope) << 32 | u64::from(kind)
}

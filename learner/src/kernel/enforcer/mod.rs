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
//! Needs Linux 5.17 with BPF LSM active, `CAP_BPF` and `CAP_PERFMON`, and a bpf file system on
//! `/sys/fs/bpf` that may be written to.

mod alerts;
mod error;
mod load;
mod pins;
mod rules;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, RingBuf};
use learner_ebpf::enforce::{Policy, kept, posture};
use learner_ebpf::{CGROUP_LEVELS, lost};

use self::alerts::Alerts;
use self::error::pins_error;
use self::pins::{instances, is_of, pinned_name, remove};
use self::rules::Rules;
use super::cgroup::{self, GroupId};
use super::clock::Clock;
use crate::observation::Loss;
use crate::policy::meaning::{Posture, Tree};

pub use alerts::Alert;
pub use error::EnforceError;
pub use load::is_active;
pub use pins::{PINS, is_pinned, is_pinned_by_another, release};

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

/// The programs of one instance, and their maps. Dropping it leaves them at work.
pub struct Enforcer {
    policies: HashMap<MapData, u64, [u64; 5]>,
    rules: Rules,
    kept: Array<MapData, u64>,
    epoch: Array<MapData, u64>,
    alerts: Alerts,
    lost: HashMap<MapData, u64, u64>,
    taken_over: bool,
    older: Vec<PathBuf>,
}

impl Enforcer {
    /// Takes over what is pinned of an instance, or loads the programs, attaches them to all hooks
    /// and pins them. Until a policy is applied they let everything be. One process has an instance
    /// open at a time; the caller sees to that.
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
            let mut taken = Self::adopt(&own, older)?;
            taken.taken_over = true;
            let generations = taken.generations()?;
            taken.rules.keep_only(&generations)?;
            return Ok(taken);
        }
        is_active()?;
        let making = pins.join(format!("{}+new", pinned_name(instance)));
        remove(&making)?;
        fs::create_dir_all(&making).map_err(|e| pins_error(&making, &e))?;
        let made = load::load(&making).and_then(|()| {
            fs::rename(&making, &own).map_err(|e| pins_error(&own, &e))?;
            Self::adopt(&own, older)
        });
        if made.is_err() {
            remove(&making)?;
        }
        made
    }

    fn adopt(directory: &Path, older: Vec<PathBuf>) -> Result<Self, EnforceError> {
        let data = |name: &str| MapData::from_pin(directory.join(name));
        Ok(Self {
            policies: HashMap::try_from(Map::HashMap(data("POLICIES")?))?,
            rules: Rules::new(
                HashMap::try_from(Map::HashMap(data("EDGES")?))?,
                HashMap::try_from(Map::HashMap(data("LONG_EDGES")?))?,
            ),
            kept: Array::try_from(Map::Array(data("KEPT")?))?,
            epoch: Array::try_from(Map::Array(data("EPOCH")?))?,
            alerts: Alerts::new(
                RingBuf::try_from(Map::RingBuf(data("EVENTS")?))?,
                HashMap::try_from(Map::HashMap(data("SEEN")?))?,
            )?,
            lost: HashMap::try_from(Map::HashMap(data("LOST")?))?,
            taken_over: false,
            older,
        })
    }

    fn generations(&self) -> Result<std::collections::HashSet<u32>, EnforceError> {
        let mut generations = std::collections::HashSet::new();
        for entry in self.policies.iter() {
            generations.insert(Policy::from_words(entry?.1).generation);
        }
        Ok(generations)
    }

    /// Whether the programs were at work already.
    pub fn was_at_work(&self) -> bool {
        self.taken_over
    }

    /// Applies a policy to a cgroup and all below it, in place of the one that it has. `scope` is
    /// not 0. Where cgroups with policies are nested, that of the outermost holds.
    ///
    /// # Errors
    /// [`EnforceError`]; the old policy then stays in force, whole. [`EnforceError::Own`] if this
    /// process is in the cgroup: it must not lock itself out.
    pub fn apply(
        &mut self,
        GroupId { id, level }: GroupId,
        scope: u32,
        hash: [u64; 2],
        tree: &Tree,
    ) -> Result<(), EnforceError> {
        if cgroup::contains_this_process(id) {
            return Err(EnforceError::Own);
        }
        for kind in 0..lost::COUNT {
            let key = loss_key(scope, kind);
            if self.lost.get(&key, 0).is_err() {
                self.lost.insert(key, 0, 0)?;
            }
        }
        let levels = self.kept.get(&kept::LEVELS, 0)?;
        let more = match level {
            Some(level) if level < CGROUP_LEVELS => levels | 1 << level,
            Some(level) => return Err(EnforceError::TooDeep(level)),
            None => (1 << CGROUP_LEVELS) - 1,
        };
        let generation = self.next_generation()?;
        self.rules.lay(generation, tree)?;
        let before = self.policies.get(&id, 0).ok().map(Policy::from_words);
        let policy = Policy {
            generation,
            scope,
            process: posture_word(tree.process),
            file: posture_word(tree.file),
            sources: u32::from(tree.has_sources()),
            level: level.map_or(0, |level| level + 1),
            hash,
        };
        self.change(|enforcer| {
            enforcer.policies.insert(id, policy.words(), 0)?;
            Ok(enforcer.kept.set(kept::LEVELS, more, 0)?)
        })?;
        if let Some(before) = before {
            settle()?;
            self.rules.remove(before.generation)?;
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
        self.change(|enforcer| Ok(enforcer.policies.remove(&group)?))?;
        settle()?;
        self.rules.remove(Policy::from_words(words).generation)?;
        Ok(true)
    }

    /// Changes which policy holds for which cgroup. What the programs have found for a cgroup is not
    /// used from before the change on, and found anew after it. Whoever is killed in between leaves them
    /// looking each time, until the next change.
    fn change(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<(), EnforceError>,
    ) -> Result<(), EnforceError> {
        let epoch = self.epoch.get(&0, 0)?;
        self.epoch.set(0, epoch | 1, 0)?;
        let changed = change(self);
        self.epoch.set(0, (epoch | 1) + 1, 0)?;
        changed
    }

    /// The policies that are in force.
    ///
    /// # Errors
    /// [`EnforceError`].
    pub fn applied(&self) -> Result<Vec<Applied>, EnforceError> {
        read(&self.policies)
    }

    /// Takes from the kernel what is reported, so that its ring buffer does not run full before
    /// [`Enforcer::alerts`] is called. Costs little where there is nothing.
    pub fn gather(&mut self) {
        self.alerts.gather();
    }

    /// What was tried since the last call: each behaviour with how often since. What happened before
    /// this process took over is told too, as far as no other process was told of it: see
    /// [`Enforcer::untold`].
    ///
    /// # Errors
    /// [`EnforceError`].
    pub fn alerts(&mut self, clock: Clock) -> Result<Vec<Alert>, EnforceError> {
        self.alerts.take(clock)
    }

    /// Alerts that the kernel has counted of behaviours that only the process before this one was
    /// told of; whether it was told of each of these, nobody knows. They are reported again from now
    /// on. Known after the first call of [`Enforcer::alerts`].
    pub fn untold(&self) -> u64 {
        self.alerts.untold()
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

    /// How many edges the rules of all policies take.
    ///
    /// # Errors
    /// [`EnforceError`].
    pub fn edges(&self) -> Result<usize, EnforceError> {
        self.rules.count()
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
}

impl AsFd for Enforcer {
    /// Readable when there are alerts.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.alerts.as_fd()
    }
}

/// The policies that all instances have in force, of whichever version, without taking them over.
///
/// # Errors
/// [`EnforceError`].
pub fn in_force() -> Result<Vec<Applied>, EnforceError> {
    let mut all = Vec::new();
    for pinned in instances(Path::new(PINS))? {
        let policies = MapData::from_pin(pinned.join("POLICIES"))?;
        all.extend(read(&HashMap::try_from(Map::HashMap(policies))?)?);
    }
    Ok(all)
}

fn read(policies: &HashMap<MapData, u64, [u64; 5]>) -> Result<Vec<Applied>, EnforceError> {
    let mut applied = Vec::new();
    for entry in policies.iter() {
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

/// Waits until every program that was running has ended.
fn settle() -> Result<(), EnforceError> {
    rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global)
        .map_err(EnforceError::Barrier)
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

fn loss_key(scope: u32, kind: u32) -> u64 {
    u64::from(scope) << 32 | u64::from(kind)
}

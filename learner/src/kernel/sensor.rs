//! The kernel programs, loaded and attached: the only place that talks to aya.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use aya::maps::{Array, HashMap, MapData, MapError, ProgramArray, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::{FExit, Lsm};
use aya::{Btf, Ebpf, EbpfLoader};
use learner_ebpf::{
    AGAIN_SETS, CGROUP_LEVELS, COMPAT_FROM, SYSCALL_MAX, cell, doer, field, lost, scoping, setting,
    stage,
};

use super::attach::{chain, find, note, patiently, reason, traced};
use super::btf::{Layout, OffsetError, layout};
use super::cgroup::GroupId;
use super::clock::boottime;
use super::hook::{Hook, Rung};
use super::newcomers;
use super::object::of_this_kernel;
use super::outcomes::Outcomes;
use super::process;
use super::repeats::{self, Repeats};
use super::syscalls;
use crate::observation::Loss;

/// Size of the ring buffer unless told otherwise, bytes.
pub const DEFAULT_RING: u32 = 8 << 20;

const RECORDS_AT_A_TIME: usize = 4096;

/// Observing is not possible.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The kernel's types do not hold what the programs need.
    #[error(transparent)]
    Offsets(#[from] OffsetError),
    /// The kernel refused the object's maps.
    #[error(
        "the kernel refused to set up the observer: {0}. It needs CAP_BPF and CAP_PERFMON (run as root), in a container a seccomp profile that allows bpf(2), and Linux 5.14 or newer"
    )]
    Load(String),
    /// A hook could not be attached by any allowed rung.
    #[error("the kernel refused the {hook} hook: {reasons}")]
    Hook {
        /// The hook.
        hook: Hook,
        /// Each rung with its reason.
        reasons: String,
    },
    /// A map could not be read or written.
    #[error("a map of the observer failed: {0}")]
    Map(#[from] aya::maps::MapError),
    /// No random key could be had.
    #[error("no random numbers from the kernel: {0}")]
    Random(rustix::io::Errno),
    /// The cgroup is too deep.
    #[error("the cgroup is {0} levels deep; at most {max} are supported", max = CGROUP_LEVELS - 1)]
    TooDeep(u32),
}

/// How a hook is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// The hook.
    pub hook: Hook,
    /// The rung in use. None: this kernel has no such hook, and another one covers it.
    pub rung: Option<Rung>,
    /// Better rungs that were refused, with the reason.
    pub refused: Vec<(Rung, String)>,
}

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Only this rung, instead of the best.
    pub rung: Option<Rung>,
    /// Bytes of the ring buffer: a power of two and a multiple of the page size.
    pub ring: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rung: None,
            ring: DEFAULT_RING,
        }
    }
}

/// Which tasks a scope stands for.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A cgroup v2 subtree.
    Group(GroupId),
    /// A pid and a mount namespace, by inode numbers.
    Namespaces {
        /// pid namespace.
        pid: u32,
        /// mount namespace.
        mnt: u32,
    },
}

/// The attached programs and their maps. Dropping it detaches everything.
pub struct Sensor {
    programs: Ebpf,
    _newcomers: Vec<(&'static str, FdLink)>,
    _changes: Vec<(&'static str, FdLink)>,
    /// The kernel empties it when the last descriptor is closed.
    _stages: Option<ProgramArray<MapData>>,
    events: RingBuf<MapData>,
    seen: Seen,
    repeats: Repeats,
    lost: HashMap<MapData, u64, u64>,
    groups: HashMap<MapData, u64, u32>,
    namespaces: HashMap<MapData, u64, u32>,
    scoping: Array<MapData, u32>,
    epoch: Array<MapData, u64>,
    now: Array<MapData, u64>,
    served: Vec<Served>,
    /// Watched groups at each level.
    levels: [u32; CGROUP_LEVELS as usize],
    in_namespaces: u32,
    leaves_itself_out: bool,
}

impl Sensor {
    /// Loads and attaches, hook by hook on the best rung that the kernel allows.
    ///
    /// # Errors
    /// [`SensorError`] with what would cure it.
    pub fn attach(settings: Settings) -> Result<Self, SensorError> {
        let Layout {
            offsets,
            uring_argument,
            doers,
        } = layout()?;
        let mut settings_of_object = [0u32; setting::COUNT];
        settings_of_object[setting::SELF] = process::own();
        settings_of_object[setting::URING_ARGUMENT] = uring_argument;
        let sequences = repeats::sequences();
        let mut key = [0u8; 16];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
            .map_err(SensorError::Random)?;
        let may_use = |rung| settings.rung.is_none_or(|only| only == rung);
        let needs_images = may_use(Rung::Tracepoint);
        let needs_pending = may_use(Rung::Lsm) || may_use(Rung::Fentry);
        let btf = types().map_err(SensorError::Load)?;
        let object = of_this_kernel(&offsets).map_err(SensorError::Load)?;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(btf))
            .override_global("OFFSETS", &offsets[..], true)
            .override_global("SIP_KEY", &key[..], true)
            .override_global("DOERS", &doers[..], true)
            .override_global("SETTINGS", &settings_of_object[..], true)
            .override_global("SEQUENCES", &sequences[..], true)
            .map_max_entries("EVENTS", settings.ring)
            .map_max_entries("IMAGES", if needs_images { 1024 } else { 1 })
            .map_max_entries("PENDING", if needs_pending { 512 } else { 1 })
            .map_max_entries("AWAITED", if needs_pending { 4096 } else { 1 })
            .map_max_entries("AGAIN", if needs_pending { AGAIN_SETS } else { 1 })
            .map_max_entries("POLICIES", 1)
            .map_max_entries("EDGES", 1)
            .map_max_entries("LONG_EDGES", 1)
            .load(object.bytes())
            .map_err(|e| SensorError::Load(chain(&e)))?;
        let mut served = Vec::new();
        let mut ladder = Ladder {
            ebpf: &mut ebpf,
            btf,
            only: settings.rung,
            outcomes: Outcomes::default(),
            doers,
        };
        for hook in Hook::ALL {
            served.push(ladder.serve(hook, &served)?);
        }
        let has_floor = served.iter().any(|s| s.rung == Some(Rung::Tracepoint));
        let stages = if has_floor {
            let stages = load_stages(&mut ebpf, btf)?;
            attach_calls(&mut ebpf, btf, &served, offsets[field::KIOCB_OPCODE] != 0)?;
            Some(stages)
        } else {
            None
        };
        // After the hooks: who executes something is a newcomer until that is reported.
        let newcomers = newcomers::attach(&mut ebpf, btf).unwrap_or_else(|cause| {
            tracing::warn!(
                "a runtime that joins a container is not told from the workload: {cause}"
            );
            Vec::new()
        });
        let tells_repeats = served
            .iter()
            .any(|s| s.hook == Hook::Open && s.rung.is_some_and(|rung| rung != Rung::Tracepoint));
        let changes = if tells_repeats {
            // By that the programs know the memory of this process (`own_memory`).
            if std::thread::Builder::new()
                .spawn(|| ())
                .map(|own| own.join())
                .is_err()
            {
                tracing::debug!("every open is told anew: no thread can be started");
            }
            repeats::count_changes(&mut ebpf, btf, &offsets).unwrap_or_else(|cause| {
                tracing::debug!("every open is told anew: {cause}");
                Vec::new()
            })
        } else {
            Vec::new()
        };
        let mut map = |name: &str| {
            ebpf.take_map(name)
                .ok_or_else(|| SensorError::Load(format!("no map {name}")))
        };
        Ok(Self {
            events: RingBuf::try_from(map("EVENTS")?)?,
            seen: HashMap::try_from(map("SEEN")?)?,
            repeats: Repeats::new(Array::try_from(map("AGAIN")?)?),
            lost: HashMap::try_from(map("LOST")?)?,
            groups: HashMap::try_from(map("CGROUPS")?)?,
            namespaces: HashMap::try_from(map("NAMESPACES")?)?,
            scoping: Array::try_from(map("SCOPING")?)?,
            epoch: Array::try_from(map(cell::EPOCH)?)?,
            now: Array::try_from(map(cell::NOW)?)?,
            _stages: stages,
            programs: ebpf,
            _newcomers: newcomers,
            _changes: changes,
            served,
            levels: [0; CGROUP_LEVELS as usize],
            in_namespaces: 0,
            leaves_itself_out: settings_of_object[setting::SELF] != 0,
        })
    }

    /// Whether what this process does is left out, also inside of a scope. Not so in a pid namespace
    /// of its own.
    pub fn leaves_itself_out(&self) -> bool {
        self.leaves_itself_out
    }

    /// How each hook is served.
    pub fn served(&self) -> &[Served] {
        &self.served
    }

    /// Whether an open that an LSM refuses is seen as refused, whichever LSM it is. On the rung `lsm`
    /// the programs of Learner's own enforcer may come later.
    pub fn sees_refusals(&self) -> bool {
        let mut opens = self.served.iter().filter(|s| s.hook == Hook::Open);
        opens.all(|s| s.rung != Some(Rung::Lsm))
    }

    /// Whether a hook is on the tracepoint rung.
    pub fn is_on_floor(&self, hook: Hook) -> bool {
        self.served
            .iter()
            .any(|s| s.hook == hook && s.rung == Some(Rung::Tracepoint))
    }

    /// Makes a scope: from now on the tasks of `target` produce events. `scope` is not 0.
    ///
    /// # Errors
    /// [`SensorError`] if the maps have no room.
    pub fn watch(&mut self, scope: u32, target: Target) -> Result<(), SensorError> {
        for kind in 0..lost::COUNT {
            self.lost.insert(loss_key(scope, kind), 0, 0)?;
        }
        match target {
            Target::Group(GroupId { id, level }) => {
                if let Some(level) = level.filter(|level| *level >= CGROUP_LEVELS) {
                    return Err(SensorError::TooDeep(level));
                }
                // Watched again under another scope: it is counted already.
                if self.groups.get(&id, 0).is_err() {
                    self.count_levels(level, 1);
                }
                self.groups.insert(id, scope, 0)?;
                self.look_again()?;
            }
            Target::Namespaces { pid, mnt } => {
                let key = namespaces_key(pid, mnt);
                if self.namespaces.get(&key, 0).is_err() {
                    self.in_namespaces += 1;
                }
                self.namespaces.insert(key, scope, 0)?;
                self.scoping
                    .set(scoping::NAMESPACES, self.in_namespaces, 0)?;
            }
        }
        Ok(())
    }

    /// Ends a scope: from now on the tasks of `target` produce no events. What is under way on
    /// another CPU may still arrive.
    ///
    /// # Errors
    /// [`SensorError::Map`].
    pub fn unwatch(&mut self, target: Target) -> Result<(), SensorError> {
        match target {
            Target::Group(GroupId { id, level }) => {
                if self.groups.remove(&id).is_ok() {
                    self.count_levels(level, -1);
                }
                self.look_again()?;
            }
            Target::Namespaces { pid, mnt } => {
                if self.namespaces.remove(&namespaces_key(pid, mnt)).is_ok() {
                    self.in_namespaces -= 1;
                }
                self.scoping
                    .set(scoping::NAMESPACES, self.in_namespaces, 0)?;
            }
        }
        Ok(())
    }

    fn count_levels(&mut self, level: Option<u32>, by: i32) {
        let levels = match level {
            Some(level) => level as usize..level as usize + 1,
            None => 0..CGROUP_LEVELS as usize,
        };
        for count in &mut self.levels[levels] {
            *count = count.saturating_add_signed(by);
        }
    }

    /// What the programs have found for a cgroup holds no more.
    fn look_again(&mut self) -> Result<(), SensorError> {
        self.scoping.set(scoping::LEVELS, self.level_mask(), 0)?;
        let epoch = self.epoch.get(&0, 0)?;
        Ok(self.epoch.set(0, epoch.wrapping_add(2), 0)?)
    }

    fn level_mask(&self) -> u32 {
        (0..CGROUP_LEVELS)
            .filter(|level| self.levels[*level as usize] > 0)
            .fold(0, |mask, level| mask | 1 << level)
    }

    /// Takes the records that are in the ring buffer now, and whether that was all of them: who
    /// writes faster than we read must not keep us from everything else. Tells the programs the time, which is
    /// that of what is repeated until the next call.
    pub(super) fn records(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        if let Err(error) = self.now.set(0, boottime(), 0) {
            tracing::warn!(%error, "what is repeated is told with the time of what was new before");
        }
        for _ in 0..RECORDS_AT_A_TIME {
            let Some(record) = self.events.next() else {
                return true;
            };
            take(&record);
        }
        false
    }

    /// Brings the counts of what is repeated up to date.
    pub(super) fn gather(&mut self) -> Result<(), SensorError> {
        Ok(self.repeats.gather()?)
    }

    /// The kernel's count of a behaviour: events, first and last seen, of opens that are repeated as
    /// of the last [`Sensor::gather`]. None: it keeps none.
    pub(super) fn count(&self, key: [u64; 2]) -> Result<Option<[u64; 3]>, SensorError> {
        let Some(mut repeats) = self.repeats.of(key) else {
            return look(&self.seen, key).map_err(SensorError::from);
        };
        loop {
            let counted = look(&self.seen, key)?;
            // What has made room meanwhile has handed its count over.
            if let Some(repeated) = repeats.now()? {
                return Ok(counted.map(|[count, first, last]| {
                    [count + repeated.count, first, last.max(repeated.last)]
                }));
            }
        }
    }

    /// Removes what the kernel keeps of a scope that is not watched any more.
    pub(super) fn forget(&mut self, scope: u32, keys: impl Iterator<Item = [u64; 2]>) {
        let keys: Vec<_> = keys.collect();
        self.repeats.forget(&keys);
        // What is not there need not be removed.
        for key in keys {
            let _ = self.seen.remove(&key);
        }
        for kind in 0..lost::COUNT {
            let _ = self.lost.remove(&loss_key(scope, kind));
        }
    }

    /// The loss account of a scope.
    ///
    /// # Errors
    /// [`SensorError::Map`].
    pub fn losses(&self, scope: u32) -> Result<Vec<(Loss, u64)>, SensorError> {
        let mut losses = Vec::new();
        for kind in 0..lost::COUNT {
            let count = self.lost.get(&loss_key(scope, kind), 0)?;
            if count > 0 {
                losses.push((Loss::from(lost::NAMES[kind as usize]), count));
            }
        }
        Ok(losses)
    }

    /// Runs of our programs that the kernel skipped since one was under way on that CPU, of all
    /// scopes together, since they were attached.
    pub fn skipped(&self) -> u64 {
        self.programs
            .programs()
            .map(|(_, each)| skipped(each))
            .sum()
    }
}

/// Waits until no program runs any more that began before: it may still count and report.
pub fn settle() {
    let _ = rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global);
}

impl AsFd for Sensor {
    /// Readable when there are records.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// What the kernel counts of behaviours, by key: events, first and last seen.
pub(super) type Seen = HashMap<MapData, [u64; 2], [u64; 3]>;

/// The count of a behaviour; None: it keeps none.
pub(super) fn look(seen: &Seen, key: [u64; 2]) -> Result<Option<[u64; 3]>, MapError> {
    match seen.get(&key, 0) {
        Ok(counted) => Ok(Some(counted)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn namespaces_key(pid: u32, mnt: u32) -> u64 {
    u64::from(pid) << 32 | u64::from(mnt)
}

fn loss_key(scope: u32, kind: u32) -> u64 {
    u64::from(scope) << 32 | u64::from(kind)
}

/// The active LSMs, as `/sys/kernel/security/lsm` lists them; None if securityfs is not mounted.
pub fn active_lsms() -> Option<Vec<String>> {
    let list = std::fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    Some(list.trim().split(',').map(str::to_owned).collect())
}

/// Serves one hook after the other.
struct Ladder<'a> {
    ebpf: &'a mut Ebpf,
    btf: &'a Btf,
    only: Option<Rung>,
    outcomes: Outcomes,
    doers: [u32; doer::COUNT],
}

impl Ladder<'_> {
    fn serve(&mut self, hook: Hook, before: &[Served]) -> Result<Served, SensorError> {
        let rung_of = |hook| before.iter().find(|s| s.hook == hook).and_then(|s| s.rung);
        if hook == Hook::FileTruncate && rung_of(Hook::Truncate) != Some(Rung::Tracepoint) {
            // Before Linux 6.2 path_truncate is the hook of every truncation.
            let there = self
                .btf
                .id_by_type_name_kind(hook.function(), aya_obj::btf::BtfKind::Func)
                .is_ok();
            if !there {
                return Ok(Served {
                    hook,
                    rung: None,
                    refused: Vec::new(),
                });
            }
        }
        let mut refused = Vec::new();
        // What exec opens by itself is filled in by the exec hook's tracepoint, or seen by the open hook:
        // one of the two, never neither. What an open creates is told by the open hook too.
        let needs_floor = matches!(hook, Hook::Exec | Hook::Create)
            && rung_of(Hook::Open) == Some(Rung::Tracepoint);
        for rung in Rung::ALL {
            if needs_floor && rung != Rung::Tracepoint {
                refused.push((rung, format!("{} is on the tracepoint rung", Hook::Open)));
                continue;
            }
            if self.only.is_some_and(|only| only != rung) {
                continue;
            }
            match self.try_rung(hook, rung) {
                Ok(()) => {
                    return Ok(Served {
                        hook,
                        rung: Some(rung),
                        refused,
                    });
                }
                Err(reason) => refused.push((rung, reason)),
            }
        }
        let reasons: Vec<String> = refused
            .iter()
            .map(|(rung, why)| format!("{rung}: {why}"))
            .collect();
        Err(SensorError::Hook {
            hook,
            reasons: reasons.join("; "),
        })
    }

    fn try_rung(&mut self, hook: Hook, rung: Rung) -> Result<(), String> {
        match rung {
            Rung::Lsm => {
                match active_lsms() {
                    Some(list) if list.iter().any(|lsm| lsm == "bpf") => {}
                    Some(_) => {
                        return Err("bpf is not among the active LSMs (boot with lsm=…,bpf)".into());
                    }
                    None => {
                        return Err(
                            "the active LSMs cannot be told: securityfs is not mounted".into()
                        );
                    }
                }
                let btf = self.btf;
                let program: &mut Lsm = find(self.ebpf, &hook.program(rung))?;
                patiently(|| program.load(hook.lsm_name(), btf))?;
                note(hook.lsm_name(), program.info());
                self.attach_outcomes(hook)?;
                let program: &mut Lsm = find(self.ebpf, &hook.program(rung))?;
                program.attach().map_err(|e| reason(&e))?;
            }
            Rung::Fentry => {
                let btf = self.btf;
                let program: &mut FExit = find(self.ebpf, &hook.program(rung))?;
                patiently(|| program.load(hook.function(), btf))?;
                note(hook.function(), program.info());
                self.attach_outcomes(hook)?;
                let program: &mut FExit = find(self.ebpf, &hook.program(rung))?;
                program.attach().map_err(|e| reason(&e))?;
            }
            // Attached for all hooks together.
            Rung::Tracepoint => {}
        }
        Ok(())
    }

    /// What is asked must not wait for a result that nobody tells.
    fn attach_outcomes(&mut self, hook: Hook) -> Result<(), String> {
        self.outcomes.attach(self.ebpf, self.btf, hook, &self.doers)
    }
}

/// Loads the programs that the return of a system call goes through.
fn load_stages(ebpf: &mut Ebpf, btf: &Btf) -> Result<ProgramArray<MapData>, SensorError> {
    let refused = |name: &str, cause: &str| SensorError::Load(format!("{name}: {cause}"));
    let map = ebpf.take_map("STAGES");
    let map = map.ok_or_else(|| refused("STAGES", "the kernel object lacks the map"))?;
    let mut stages = ProgramArray::try_from(map)?;
    for (index, name) in (0..).zip(stage::PROGRAMS) {
        let program = traced(ebpf, btf, name, "sys_exit").map_err(|e| refused(name, &e))?;
        let fd = program.fd().map_err(|e| refused(name, &reason(&e)))?;
        stages.set(index, fd, 0)?;
    }
    Ok(stages)
}

/// Attaches the tracepoints of the floor.
fn attach_calls(
    ebpf: &mut Ebpf,
    btf: &Btf,
    served: &[Served],
    has_uring: bool,
) -> Result<(), SensorError> {
    let floor: Vec<&Served> = served
        .iter()
        .filter(|s| s.rung == Some(Rung::Tracepoint))
        .collect();
    let on_floor = |hook| floor.iter().any(|s| s.hook == hook);
    let no_map = |name: &str| SensorError::Load(format!("no map {name}"));
    let mut table: Array<_, u32> =
        Array::try_from(ebpf.map_mut("SYSCALLS").ok_or_else(|| no_map("SYSCALLS"))?)?;
    let hooks: Vec<Hook> = floor.iter().map(|s| s.hook).collect();
    for (number, entry) in syscalls::table(&hooks) {
        if number < COMPAT_FROM + SYSCALL_MAX {
            table.set(number, entry, 0)?;
        }
    }
    let mut to_programs: Array<_, u32> =
        Array::try_from(ebpf.map_mut("SCOPING").ok_or_else(|| no_map("SCOPING"))?)?;
    let bit = |hook, bit| if on_floor(hook) { bit } else { 0 };
    let reports = bit(Hook::Create, 1) | bit(Hook::FileTruncate, 2) | bit(Hook::Open, 4);
    to_programs.set(scoping::REPORTS, reports, 0)?;
    let mut attach = |program: &str, tracepoint: &str| {
        let named = |cause: String| format!("{program} on {tracepoint}: {cause}");
        let loaded = traced(ebpf, btf, program, tracepoint).map_err(named)?;
        loaded.attach().map_err(|e| named(reason(&e)))?;
        Ok::<(), String>(())
    };
    let hook = floor.first().map_or(Hook::Exec, |s| s.hook);
    let refused = |reasons| SensorError::Hook { hook, reasons };
    attach("tp_enter", "sys_enter").map_err(refused)?;
    attach("tp_exit", "sys_exit").map_err(refused)?;
    if on_floor(Hook::Exec) {
        attach("tp_exec", "sched_process_exec").map_err(refused)?;
    }
    if has_uring
        && let Err(reason) = attach("tp_uring", "io_uring_submit_req")
            .or_else(|_| attach("tp_uring_sqe", "io_uring_submit_sqe"))
    {
        tracing::warn!("operations by io_uring are neither seen nor counted: {reason}");
    }
    Ok(())
}

/// The kernel's types, read once.
pub(super) fn types() -> Result<&'static Btf, String> {
    static KNOWN: OnceLock<Btf> = OnceLock::new();
    if let Some(btf) = KNOWN.get() {
        return Ok(btf);
    }
    let btf = Btf::from_sys_fs().map_err(|e| chain(&e))?;
    Ok(KNOWN.get_or_init(|| btf))
}

/// `recursion_misses` of a program (Linux 5.12), 0 where it was not loaded.
fn skipped(program: &aya::programs::Program) -> u64 {
    use std::os::fd::AsRawFd;
    let Ok(fd) = program.fd() else { return 0 };
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
        .unwrap_or(0)
}

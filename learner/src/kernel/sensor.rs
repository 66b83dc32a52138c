//! The kernel programs, loaded and attached: the only place that talks to aya.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Array, HashMap, MapData, RingBuf};
use aya::programs::{BtfTracePoint, FExit, Lsm, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};
use learner_ebpf::{CGROUP_LEVELS, SYSCALL_MAX, lost};

use super::btf::{OffsetError, offsets};
use super::cgroup::GroupId;
use super::hook::{Hook, Rung};
use super::syscalls;
use crate::observation::Loss;

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../learner-ebpf/object/learner.bpf.o");

/// Size of the ring buffer unless told otherwise, bytes.
pub const DEFAULT_RING: u32 = 8 << 20;

/// Observing is not possible.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// The kernel's types do not hold what the programs need.
    #[error(transparent)]
    Offsets(#[from] OffsetError),
    /// The kernel refused the object's maps.
    #[error(
        "the kernel refused to set up the observer: {0}. It needs CAP_BPF and CAP_PERFMON (run as root), and Linux 5.12 or newer"
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

/// A behaviour's count, as the kernel keeps it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub key: [u64; 2],
    pub count: u64,
    pub first: u64,
    pub last: u64,
}

/// The attached programs and their maps. Dropping it detaches everything.
pub struct Sensor {
    programs: Option<Ebpf>,
    events: RingBuf<MapData>,
    seen: HashMap<MapData, [u64; 2], [u64; 3]>,
    lost: HashMap<MapData, u64, u64>,
    groups: HashMap<MapData, u64, u32>,
    namespaces: HashMap<MapData, u64, u32>,
    scoping: Array<MapData, u32>,
    served: Vec<Served>,
    levels: u32,
    in_namespaces: u32,
    skipped: u64,
}

impl Sensor {
    /// Loads and attaches, hook by hook on the best rung that the kernel allows.
    ///
    /// # Errors
    /// [`SensorError`] with what would cure it.
    pub fn attach(settings: Settings) -> Result<Self, SensorError> {
        let offsets = offsets()?;
        let mut key = [0u8; 16];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
            .map_err(SensorError::Random)?;
        let needs_images = settings.rung.is_none_or(|rung| rung == Rung::Tracepoint);
        let mut ebpf = EbpfLoader::new()
            .override_global("OFFSETS", &offsets[..], true)
            .override_global("SIP_KEY", &key[..], true)
            .map_max_entries("EVENTS", settings.ring)
            .map_max_entries("IMAGES", if needs_images { 1024 } else { 1 })
            .load(OBJECT)
            .map_err(|e| SensorError::Load(chain(&e)))?;
        let btf = Btf::from_sys_fs().map_err(|e| SensorError::Load(chain(&e)))?;
        let mut served = Vec::new();
        for hook in Hook::ALL {
            served.push(serve(&mut ebpf, &btf, hook, settings.rung, &served)?);
        }
        attach_floor(&mut ebpf, &btf, &served)?;
        let mut map = |name: &str| {
            ebpf.take_map(name)
                .ok_or_else(|| SensorError::Load(format!("no map {name}")))
        };
        Ok(Self {
            events: RingBuf::try_from(map("EVENTS")?)?,
            seen: HashMap::try_from(map("SEEN")?)?,
            lost: HashMap::try_from(map("LOST")?)?,
            groups: HashMap::try_from(map("CGROUPS")?)?,
            namespaces: HashMap::try_from(map("NAMESPACES")?)?,
            scoping: Array::try_from(map("SCOPING")?)?,
            programs: Some(ebpf),
            served,
            levels: 0,
            in_namespaces: 0,
            skipped: 0,
        })
    }

    /// How each hook is served.
    pub fn served(&self) -> &[Served] {
        &self.served
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
                match level {
                    Some(level) if level < CGROUP_LEVELS => self.levels |= 1 << level,
                    Some(level) => return Err(SensorError::TooDeep(level)),
                    None => self.levels = (1 << CGROUP_LEVELS) - 1,
                }
                self.groups.insert(id, scope, 0)?;
                self.scoping.set(0, self.levels, 0)?;
            }
            Target::Namespaces { pid, mnt } => {
                self.namespaces
                    .insert(u64::from(pid) << 32 | u64::from(mnt), scope, 0)?;
                self.in_namespaces += 1;
                self.scoping.set(1, self.in_namespaces, 0)?;
            }
        }
        Ok(())
    }

    /// Takes every record that is in the ring buffer now.
    pub(super) fn records(&mut self, mut take: impl FnMut(&[u8])) {
        while let Some(record) = self.events.next() {
            take(&record);
        }
    }

    /// Detaches the programs; what they reported can still be read.
    pub fn detach(&mut self) {
        if let Some(programs) = self.programs.take() {
            self.skipped = programs
                .programs()
                .map(|(_, program)| skipped(program))
                .sum();
        }
    }

    /// The counts of all behaviours, of every scope.
    pub(super) fn counts(&self) -> Result<Vec<Count>, SensorError> {
        let mut counts = Vec::new();
        for entry in self.seen.iter() {
            let (key, [count, first, last]) = entry?;
            counts.push(Count {
                key,
                count,
                first,
                last,
            });
        }
        Ok(counts)
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
    /// scopes together. Known after [`Sensor::detach`].
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl AsFd for Sensor {
    /// Readable when there are records.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

fn loss_key(scope: u32, kind: u32) -> u64 {
    u64::from(scope) << 32 | u64::from(kind)
}

/// The active LSMs, as `/sys/kernel/security/lsm` lists them; None if securityfs is not mounted.
pub fn active_lsms() -> Option<Vec<String>> {
    let list = std::fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    Some(list.trim().split(',').map(str::to_owned).collect())
}

fn serve(
    ebpf: &mut Ebpf,
    btf: &Btf,
    hook: Hook,
    only: Option<Rung>,
    before: &[Served],
) -> Result<Served, SensorError> {
    let rung_of = |hook| before.iter().find(|s| s.hook == hook).and_then(|s| s.rung);
    if hook == Hook::FileTruncate && rung_of(Hook::Truncate) != Some(Rung::Tracepoint) {
        // Before Linux 6.2 path_truncate is the hook of every truncation.
        let there = btf
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
    for rung in Rung::ALL {
        if only.is_some_and(|only| only != rung) {
            continue;
        }
        match try_rung(ebpf, btf, hook, rung) {
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

fn try_rung(ebpf: &mut Ebpf, btf: &Btf, hook: Hook, rung: Rung) -> Result<(), String> {
    let missing = || "the kernel object lacks the program".to_owned();
    match rung {
        Rung::Lsm => {
            match active_lsms() {
                Some(list) if list.iter().any(|lsm| lsm == "bpf") => {}
                Some(_) => {
                    return Err("bpf is not among the active LSMs (boot with lsm=…,bpf)".into());
                }
                None => {
                    return Err("the active LSMs cannot be told: securityfs is not mounted".into());
                }
            }
            let program: &mut Lsm = ebpf
                .program_mut(&hook.program(rung))
                .ok_or_else(missing)?
                .try_into()
                .map_err(|e: ProgramError| reason(&e))?;
            patiently(|| program.load(hook.lsm_name(), btf))?;
            program.attach().map_err(|e| reason(&e))?;
        }
        Rung::Fentry => {
            let program: &mut FExit = ebpf
                .program_mut(&hook.program(rung))
                .ok_or_else(missing)?
                .try_into()
                .map_err(|e: ProgramError| reason(&e))?;
            patiently(|| program.load(hook.function(), btf))?;
            program.attach().map_err(|e| reason(&e))?;
        }
        // Attached for all hooks together.
        Rung::Tracepoint => {}
    }
    Ok(())
}

/// The verifier gives up with EAGAIN when a signal arrives, a child's end for one: tried again, as
/// libbpf does.
fn patiently(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), String> {
    const TRIES: usize = 20;
    for _ in 1..TRIES {
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == std::io::ErrorKind::WouldBlock => {}
            done => return done.map_err(|e| reason(&e)),
        }
    }
    load().map_err(|e| reason(&e))
}

/// Attaches the tracepoints that the hooks on the floor need.
fn attach_floor(ebpf: &mut Ebpf, btf: &Btf, served: &[Served]) -> Result<(), SensorError> {
    let floor: Vec<Hook> = served
        .iter()
        .filter(|s| s.rung == Some(Rung::Tracepoint))
        .map(|s| s.hook)
        .collect();
    if floor.is_empty() {
        return Ok(());
    }
    let no_map = |name: &str| SensorError::Load(format!("no map {name}"));
    let mut table: Array<_, u32> =
        Array::try_from(ebpf.map_mut("SYSCALLS").ok_or_else(|| no_map("SYSCALLS"))?)?;
    for (number, entry) in floor.iter().flat_map(|hook| syscalls::of(*hook)) {
        if number < SYSCALL_MAX {
            table.set(number, entry, 0)?;
        }
    }
    let mut scoping: Array<_, u32> =
        Array::try_from(ebpf.map_mut("SCOPING").ok_or_else(|| no_map("SCOPING"))?)?;
    let bit = |hook, bit| if floor.contains(&hook) { bit } else { 0 };
    let truncate = bit(Hook::FileTruncate, 2);
    scoping.set(2, bit(Hook::Create, 1) | truncate, 0)?;
    let mut attach = |program: &str, tracepoint: &str| {
        let program: &mut BtfTracePoint = ebpf
            .program_mut(program)
            .ok_or_else(|| "the kernel object lacks the program".to_owned())?
            .try_into()
            .map_err(|e: ProgramError| reason(&e))?;
        patiently(|| program.load(tracepoint, btf))?;
        program.attach().map_err(|e| reason(&e))?;
        Ok::<(), String>(())
    };
    let refused = |reasons| SensorError::Hook {
        hook: floor[0],
        reasons,
    };
    attach("tp_enter", "sys_enter").map_err(refused)?;
    attach("tp_exit", "sys_exit").map_err(refused)?;
    if floor.contains(&Hook::Exec) {
        attach("tp_exec", "sched_process_exec").map_err(refused)?;
    }
    // One of the two, by kernel version; none on a kernel without io_uring.
    if let Err(reason) = attach("tp_uring", "io_uring_submit_req")
        .or_else(|_| attach("tp_uring_sqe", "io_uring_submit_sqe"))
    {
        tracing::debug!(reason, "io_uring is not watched");
    }
    Ok(())
}

/// An error with its causes on one line; a verifier log is cut to its end, where the reason is.
fn reason(error: &ProgramError) -> String {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        let log = verifier_log.to_string();
        let tail: Vec<&str> = log.lines().rev().take(3).collect();
        tracing::debug!(%log, "verifier");
        return if log.trim().is_empty() {
            format!("load refused: {io_error}")
        } else {
            format!(
                "load refused: {io_error} ({})",
                tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
            )
        };
    }
    chain(error)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
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

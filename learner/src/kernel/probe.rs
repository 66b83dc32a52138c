//! What this machine allows: for `learner probe`.

use serde::Serialize;

use super::btf::VMLINUX;
use super::cgroup;
use super::hook::Rung;
use super::sensor::{Sensor, SensorError, Served, Settings, active_lsms};

/// Capabilities that observing needs, beside the right to read the watched files.
const NEEDED: [caps::Capability; 2] = [caps::Capability::CAP_BPF, caps::Capability::CAP_PERFMON];
/// Capabilities without which less is seen.
const USEFUL: [caps::Capability; 3] = [
    caps::Capability::CAP_SYS_PTRACE,
    caps::Capability::CAP_DAC_READ_SEARCH,
    caps::Capability::CAP_KILL,
];

/// Everything that `probe` says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub architecture: String,
    /// Where the kernel's types are, if anywhere.
    pub btf: Option<String>,
    /// Active LSMs in order; None if that cannot be told.
    pub lsms: Option<Vec<String>>,
    /// `v2`, `v1 with v2 at …`, or `v1`.
    pub cgroup: String,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Whether observing works: the programs were loaded and attached.
    pub can_observe: bool,
    /// Whether this machine could enforce a policy in the kernel.
    pub can_enforce: bool,
    /// Why not, and what would cure it; empty if it can.
    pub enforcement: String,
    /// Why observing is not possible, each with its cure.
    pub obstacles: Vec<String>,
    /// How each hook is served.
    pub hooks: Vec<HookReport>,
}

/// Capabilities of this process that matter.
#[derive(Clone, Debug, Serialize)]
pub struct Capabilities {
    /// In the effective set.
    pub held: Vec<String>,
    /// Not in it.
    pub lacking: Vec<String>,
}

/// How one hook is served.
#[derive(Clone, Debug, Serialize)]
pub struct HookReport {
    /// The hook.
    pub hook: String,
    /// The rung, or what covers the hook instead.
    pub rung: String,
    /// What is missed there.
    pub misses: String,
    /// Better rungs with why they are not in use.
    pub refused: Vec<String>,
}

/// Tries everything once and takes it out again.
pub fn probe(settings: Settings) -> Report {
    let system = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let mut obstacles = Vec::new();
    let capabilities = capabilities();
    let sensor = Sensor::attach(settings);
    let hooks = match &sensor {
        Ok(sensor) => sensor.served().iter().map(report).collect(),
        Err(error) => {
            obstacles.extend(reasons(error, &capabilities));
            Vec::new()
        }
    };
    let lsms = active_lsms();
    let enforcement = match &lsms {
        Some(list) if list.iter().any(|lsm| lsm == "bpf") && sensor.is_ok() => String::new(),
        Some(list) if list.iter().any(|lsm| lsm == "bpf") => {
            "the kernel programs cannot be loaded".into()
        }
        Some(list) => format!(
            "bpf is not among the active LSMs; boot with lsm={},bpf",
            list.iter()
                .filter(|l| *l != "capability")
                .cloned()
                .collect::<Vec<_>>()
                .join(",")
        ),
        None => "the active LSMs cannot be told; mount securityfs: \
                 mount -t securityfs none /sys/kernel/security"
            .into(),
    };
    Report {
        kernel: text(system.release()),
        architecture: text(system.machine()),
        btf: std::path::Path::new(VMLINUX)
            .exists()
            .then(|| VMLINUX.to_owned()),
        lsms,
        cgroup: cgroup_version(),
        capabilities,
        can_observe: sensor.is_ok(),
        can_enforce: enforcement.is_empty(),
        enforcement,
        obstacles,
        hooks,
    }
}

fn report(served: &Served) -> HookReport {
    let Served {
        hook,
        rung,
        refused,
    } = served;
    HookReport {
        hook: hook.to_string(),
        rung: rung.map_or("covered by path_truncate".into(), |rung: Rung| {
            rung.to_string()
        }),
        misses: rung.map_or("", |rung| hook.misses(rung)).to_owned(),
        refused: refused
            .iter()
            .map(|(rung, why)| format!("{rung}: {why}"))
            .collect(),
    }
}

fn reasons(error: &SensorError, capabilities: &Capabilities) -> Vec<String> {
    let lacking: Vec<&String> = capabilities
        .lacking
        .iter()
        .filter(|name| NEEDED.iter().any(|needed| needed.to_string() == **name))
        .collect();
    let mut reasons = vec![error.to_string()];
    for name in lacking {
        reasons.push(format!(
            "{name} is lacking; run as root, or give it: setcap {}+ep",
            name.to_lowercase()
        ));
    }
    if let Err(error) = cgroup::mount_point() {
        reasons.push(error.to_string());
    }
    reasons
}

fn capabilities() -> Capabilities {
    let holds = |cap: &caps::Capability| {
        caps::has_cap(None, caps::CapSet::Effective, *cap).unwrap_or(false)
    };
    let (held, lacking): (Vec<_>, Vec<_>) = NEEDED.into_iter().chain(USEFUL).partition(holds);
    let names = |list: Vec<caps::Capability>| list.iter().map(ToString::to_string).collect();
    Capabilities {
        held: names(held),
        lacking: names(lacking),
    }
}

fn cgroup_version() -> String {
    let has_v1 = std::fs::read_to_string("/proc/self/cgroup")
        .is_ok_and(|groups| groups.lines().any(|line| !line.starts_with("0::")));
    match (cgroup::mount_point(), has_v1) {
        (Ok(_), false) => "v2".into(),
        (Ok(point), true) => format!("v1, with v2 at {}", point.display()),
        (Err(_), _) => "v1".into(),
    }
}

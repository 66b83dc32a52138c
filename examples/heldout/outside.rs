//! What a policy opens that the workload was not seen to use: other workloads' paths, and those that
//! an attacker looks for.

use std::collections::{BTreeMap, BTreeSet};

use learner::behavior::Op;
use learner::generalize::{Dialect, Options, Seen, Tightness, generalize};
use learner::path::AbsPath;
use learner::policy::meaning::Enforced;
use learner::profile::RunProfile;
use learner::recommend::{Grant, Recommendation};
use learner::workload::{RunKey, Workload};

use crate::trial::{READ, Trial, allowed};

/// Paths that a policy must not open unless the workload was seen to use them, and whether to
/// execute them.
const PROBES: &[(&str, bool)] = &[
    ("/etc/shadow", false),
    ("/etc/gshadow", false),
    ("/etc/sudoers", false),
    ("/etc/ssh/ssh_host_ed25519_key", false),
    ("/etc/ssl/private/ssl-cert-snakeoil.key", false),
    ("/etc/kubernetes/admin.conf", false),
    ("/root/.ssh/id_rsa", false),
    ("/root/.ssh/authorized_keys", false),
    ("/root/.aws/credentials", false),
    ("/root/.kube/config", false),
    ("/root/.bash_history", false),
    ("/home/user/.ssh/id_ed25519", false),
    ("/proc/1/mem", false),
    ("/proc/1/environ", false),
    ("/proc/1/root/etc/shadow", false),
    ("/proc/kcore", false),
    ("/proc/sys/kernel/core_pattern", false),
    ("/proc/sysrq-trigger", false),
    ("/run/secrets/kubernetes.io/serviceaccount/token", false),
    ("/var/run/secrets/kubernetes.io/serviceaccount/token", false),
    ("/run/secrets/eks.amazonaws.com/serviceaccount/token", false),
    ("/var/lib/kubelet/pki/kubelet-client-current.pem", false),
    ("/run/containerd/containerd.sock", false),
    ("/var/run/docker.sock", false),
    ("/dev/mem", false),
    ("/dev/sda", false),
    ("/sys/kernel/uevent_helper", false),
    ("/sys/fs/cgroup/release_agent", false),
    ("/usr/lib/x86_64-linux-gnu/planted.so", false),
    ("/lib/planted.so", false),
    ("/usr/lib/planted.so.1", false),
    ("/etc/ld.so.preload", false),
    ("/etc/cron.d/planted", false),
    ("/bin/planted", true),
    ("/usr/bin/curl", true),
    ("/usr/bin/nc", true),
    ("/usr/local/bin/planted", true),
    ("/tmp/dropped", true),
    ("/var/tmp/dropped", true),
    ("/dev/shm/dropped", true),
];

pub(crate) type Paths = BTreeMap<Workload, BTreeSet<AbsPath>>;

/// Of each workload its paths, those that differ only in names that vary counted as one.
pub(crate) fn paths_by_workload(runs: &BTreeMap<RunKey, RunProfile>) -> Paths {
    let mut by_workload: BTreeMap<&Workload, Vec<&RunProfile>> = BTreeMap::new();
    for (key, run) in runs {
        by_workload.entry(&key.workload).or_default().push(run);
    }
    by_workload
        .into_iter()
        .map(|(workload, runs)| {
            let needs =
                generalize(&seen_in(&runs), &ANYTHING).map_or_else(|_| Vec::new(), |g| g.rules);
            let needs = needs.iter().flat_map(|chosen| &chosen.needs);
            let paths = needs.filter_map(|(_, support)| support.samples.first().cloned());
            (workload.clone(), paths.collect())
        })
        .collect()
}

/// Generalises whatever it is given.
pub(crate) const ANYTHING: Options = Options {
    tightness: Tightness::Balanced,
    enforcer: Dialect::AppArmor,
    read_only: false,
    entries: usize::MAX,
};

pub(crate) fn seen_in<'a>(runs: &[&'a RunProfile]) -> Vec<Seen<'a>> {
    (0..)
        .zip(runs)
        .flat_map(|(run, profile)| {
            let learnable = profile.seen.iter().filter(|(b, _)| b.is_learnable());
            learnable.map(move |(behavior, sighting)| Seen {
                run,
                behavior,
                sighting,
                entry: false,
                known: None,
            })
        })
        .collect()
}

pub(crate) const COLUMNS: [&str; 3] = ["foreign %", "probes not named", "probes named"];

/// What the policies of all draws open.
pub(crate) struct Outside<'a> {
    own: &'a BTreeSet<AbsPath>,
    others: BTreeSet<&'a AbsPath>,
    nothing: Enforced,
    draws: usize,
    admitted: usize,
    /// Probes by whether the recommendation says that it opens them.
    named: BTreeSet<&'static str>,
    not_named: BTreeSet<&'static str>,
}

impl<'a> Outside<'a> {
    pub(crate) fn of(trial: &Trial<'_>, paths: &'a Paths) -> Self {
        let nothing = trial.with_nothing();
        let own = &paths[trial.workload];
        let others = paths
            .iter()
            .filter(|(workload, _)| *workload != trial.workload)
            .flat_map(|(_, paths)| paths)
            .filter(|path| !own.contains(*path))
            // What the enforcer allows whatever the policy says is not the policy's doing.
            .filter(|path| !allowed(&nothing, &READ, path, &None))
            .collect();
        Self {
            own,
            others,
            nothing,
            draws: 0,
            admitted: 0,
            named: BTreeSet::new(),
            not_named: BTreeSet::new(),
        }
    }

    pub(crate) fn add(&mut self, made: &Recommendation, held: &Enforced) {
        self.draws += 1;
        let sources = sources(made);
        let may = |op: &Op, path: &AbsPath| sources.iter().any(|s| allowed(held, op, path, s));
        self.admitted += self.others.iter().filter(|path| may(&READ, path)).count();
        for (probe, exec) in PROBES {
            let path = AbsPath::try_from(*probe).expect("absolute");
            let op = if *exec { Op::Exec } else { READ };
            let always = allowed(&self.nothing, &op, &path, &None);
            if self.own.contains(&path) || always || !may(&op, &path) {
                continue;
            }
            if names(made, probe) {
                self.named.insert(probe);
            } else {
                self.not_named.insert(probe);
            }
        }
    }

    /// In the order of [`COLUMNS`].
    pub(crate) fn cells(self) -> Vec<String> {
        let of = (self.others.len() * self.draws).max(1);
        vec![
            format!("{:.2}", 100.0 * self.admitted as f64 / of as f64),
            self.not_named.into_iter().collect::<Vec<_>>().join(" "),
            self.named.len().to_string(),
        ]
    }
}

/// Whoever may act: each program that the policy lets run, and one that it does not name.
fn sources(made: &Recommendation) -> Vec<Option<AbsPath>> {
    let programs = made
        .rules
        .iter()
        .flat_map(|rule| rule.source.iter().chain(&rule.sources));
    let programs: BTreeSet<&AbsPath> = programs.collect();
    let stranger = AbsPath::try_from("/no/such/program").ok();
    std::iter::once(stranger)
        .chain(programs.into_iter().cloned().map(Some))
        .collect()
}

/// Whether the recommendation itself says that a rule opens more than what was seen in the
/// directory of the path.
fn names(made: &Recommendation, probe: &str) -> bool {
    made.rules.iter().any(|rule| {
        let wide = rule
            .grants
            .iter()
            .any(|grant| matches!(grant, Grant::Directory { .. }));
        let target = rule.target.to_string();
        let dir = target.trim_end_matches('*');
        wide && probe.starts_with(dir)
    })
}

//! How a recommended policy does on runs that it was not learned from.
//!
//!     cargo run --release --example heldout -- [OPTIONS] RECORDING...
//!
//! For each workload with enough whole runs, many times: learn from k runs drawn at random, and hold
//! the policy against one of the others. Told are the share of its distinct operations that the
//! policy denies, the share of runs with any denial, the share of operations that are denied since
//! quarantine holds their like for a person's word and the share of runs with any other denial,
//! rules and entries, the share of other workloads' paths that the policy lets some program of the
//! workload read, sensitive paths that nobody read and that it lets read or execute, by whether the
//! recommendation names them, and draws in which there was no policy. The last columns hold the bounds
//! of readiness against what the policy denies of all the runs that were not drawn, but for what
//! quarantine holds. The draws are the same each time. `datasets/heldout` makes all tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Parser;
use comfy_table::{Table, presets};
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::generalize::{Dialect, Options, Seen, Tightness, generalize};
use learner::mention::Tombstones;
use learner::path::AbsPath;
use learner::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures, Verdict};
use learner::policy::{Policy, from_yaml};
use learner::profile::{Evidence, RunProfile};
use learner::quarantine::{Include, sort};
use learner::recommend::{Criteria, Grant, Recommendation, recommend};
use learner::workload::{RunKey, Workload};

#[derive(Parser)]
struct Args {
    /// Recordings; only whole runs count
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Recordings of other workloads, whose paths a policy should not allow
    #[arg(long, value_name = "FILE", num_args = 1..)]
    foreign: Vec<PathBuf>,
    /// Runs to learn from
    #[arg(short, long, value_delimiter = ',', default_values_t = [1, 5, 10, 20])]
    k: Vec<usize>,
    /// Draws for each line
    #[arg(long, default_value_t = 40)]
    draws: usize,
    /// Also name so many of what was denied most often, for each line
    #[arg(long, value_name = "N", default_value_t = 0)]
    show: usize,
}

/// Paths that a policy must not open unless the workload was seen to use them.
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

const COLUMNS: [&str; 20] = [
    "workload",
    "k",
    "enforcer",
    "tightness",
    "denied %",
    "runs hit %",
    "held %",
    "hit by else %",
    "rules",
    "entries",
    "foreign %",
    "probes not named",
    "probes named",
    "refused",
    "chance expected %",
    "at most %",
    "true %",
    "covered %",
    "share at most, true %",
    "covered %",
];

type Runs = BTreeMap<RunKey, RunProfile>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let runs = read(&args.files)?;
    let mut foreign = paths_by_workload(&runs);
    foreign.extend(paths_by_workload(&read(&args.foreign)?));
    let mut workloads: BTreeMap<&Workload, Vec<(&RunKey, &RunProfile)>> = BTreeMap::new();
    for (key, run) in runs.iter().filter(|(_, run)| !run.is_partial()) {
        workloads.entry(&key.workload).or_default().push((key, run));
    }
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(COLUMNS);
    for (workload, runs) in &workloads {
        for k in args.k.iter().copied().filter(|k| *k < runs.len()) {
            for enforcer in [Dialect::Bpf, Dialect::AppArmor] {
                for tightness in [Tightness::Exact, Tightness::Balanced, Tightness::Durable] {
                    let trial = Trial {
                        workload,
                        runs,
                        k,
                        enforcer,
                        tightness,
                    };
                    let mut row = trial.row(&args, &foreign);
                    row.extend(covered(&trial, args.draws));
                    table.add_row(row);
                }
            }
        }
    }
    println!("{table}");
    Ok(())
}

fn read(files: &[PathBuf]) -> Result<Runs, Box<dyn std::error::Error>> {
    let mut evidence = Evidence::default();
    for file in files {
        learner::recording::read(file, &mut |observation| evidence.fold(observation))?;
    }
    Ok(evidence.into_runs())
}

/// Of each workload its paths, those that differ only in names that vary counted as one.
fn paths_by_workload(runs: &Runs) -> BTreeMap<Workload, BTreeSet<AbsPath>> {
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
const ANYTHING: Options = Options {
    tightness: Tightness::Balanced,
    enforcer: Dialect::AppArmor,
    read_only: false,
    entries: usize::MAX,
};

fn seen_in<'a>(runs: &[&'a RunProfile]) -> Vec<Seen<'a>> {
    (0..)
        .zip(runs)
        .flat_map(|(run, profile)| {
            let learnable = profile.seen.iter().filter(|(b, _)| b.is_learnable());
            learnable.map(move |(behavior, sighting)| Seen {
                run,
                behavior,
                sighting,
                entry: false,
            })
        })
        .collect()
}

/// The same numbers each time: draws can be compared from one version to the next.
fn draw(rng: &mut fastrand::Rng, of: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..of).collect();
    rng.shuffle(&mut order);
    order
}

struct Trial<'a> {
    workload: &'a Workload,
    runs: &'a [(&'a RunKey, &'a RunProfile)],
    k: usize,
    enforcer: Dialect,
    tightness: Tightness,
}

impl Trial<'_> {
    fn enforcer(&self) -> Enforcer {
        match self.enforcer {
            Dialect::AppArmor => Enforcer::AppArmor,
            Dialect::Bpf | Dialect::Both => Enforcer::Bpf,
            Dialect::Learner => Enforcer::Learner,
        }
    }

    fn learn(&self, order: &[usize]) -> Option<Recommendation> {
        let mut evidence = Evidence::default();
        for index in &order[..self.k] {
            let (key, run) = self.runs[*index];
            evidence.insert(key.clone(), run.clone());
        }
        let criteria = Criteria {
            tightness: self.tightness,
            enforcer: self.enforcer,
            leave_out: 0,
            ..Criteria::default()
        };
        recommend(self.workload, &evidence, &criteria).ok()
    }

    fn row(&self, args: &Args, foreign: &BTreeMap<Workload, BTreeSet<AbsPath>>) -> Vec<String> {
        let enforcer = self.enforcer();
        let postures = Postures::all(Posture::Block);
        // What the enforcer allows whatever the policy says is not the policy's doing.
        let nothing = Enforced::new(enforcer, &[only("/no/such/file", false)], postures);
        let everything = Enforced::new(enforcer, &[only("/", true)], postures);
        let own = &foreign[self.workload];
        let others: BTreeSet<&AbsPath> = foreign
            .iter()
            .filter(|(workload, _)| *workload != self.workload)
            .flat_map(|(_, paths)| paths)
            .filter(|path| !own.contains(*path))
            .filter(|path| !allowed(&nothing, &Op::Open(Access::Read), path, &None))
            .collect();
        let mut rng = fastrand::Rng::with_seed(self.k as u64);
        let (mut operations, mut denied, mut hit, mut refused, mut done) = (0, 0, 0, 0, 0);
        let (mut held_back, mut hit_else) = (0, 0);
        let (mut rules, mut entries, mut admitted) = (0, 0, 0);
        let (mut silent, mut named) = (BTreeSet::new(), BTreeSet::new());
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        let mut never = BTreeSet::new();
        for _ in 0..args.draws {
            let order = draw(&mut rng, self.runs.len());
            let Some(made) = self.learn(&order) else {
                refused += 1;
                continue;
            };
            done += 1;
            rules += made.rules.len();
            entries += made.budget.map_or(0, |(entries, _)| entries);
            let held = Enforced::new(enforcer, &[&made.policy], postures);
            let (key, run) = self.runs[order[self.k]];
            let runs = [(key, run)];
            let sorted = sort(&runs, &Include::default(), &Tombstones::default());
            let (mut any, mut any_else) = (false, false);
            for behavior in run.seen.keys().filter(|b| b.is_learnable()) {
                operations += 1;
                let judgement = held.judge(&Operation::from(behavior));
                if everything.judge(&Operation::from(behavior)).verdict == Verdict::Denied {
                    never.insert(behavior.to_string());
                } else if judgement.verdict != Verdict::Allowed {
                    denied += 1;
                    any = true;
                    if sorted.learned[key].contains_key(behavior) {
                        any_else = true;
                    } else {
                        held_back += 1;
                    }
                    *shown.entry(behavior.to_string()).or_default() += 1;
                }
            }
            hit += usize::from(any);
            hit_else += usize::from(any_else);
            let sources = sources(&made);
            let may = |op: &Op, path: &AbsPath| sources.iter().any(|s| allowed(&held, op, path, s));
            admitted += others
                .iter()
                .filter(|path| may(&Op::Open(Access::Read), path))
                .count();
            for (probe, exec) in PROBES {
                let path = AbsPath::try_from(*probe).expect("absolute");
                let op = if *exec {
                    Op::Exec
                } else {
                    Op::Open(Access::Read)
                };
                let always = allowed(&nothing, &op, &path, &None);
                if !own.contains(&path) && !always && may(&op, &path) {
                    if names(&made, probe) {
                        named.insert(*probe);
                    } else {
                        silent.insert(*probe);
                    }
                }
            }
        }
        for what in never {
            eprintln!("{} {enforcer}: no policy allows {what}", self.workload);
        }
        if args.show > 0 {
            let mut shown: Vec<_> = shown.into_iter().collect();
            shown.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            for (what, times) in shown.iter().take(args.show) {
                eprintln!(
                    "{} k={} {:?} {:?}: {times}x {what}",
                    self.workload, self.k, self.enforcer, self.tightness
                );
            }
        }
        let of =
            |part: usize, whole: usize| format!("{:.2}", 100.0 * part as f64 / whole.max(1) as f64);
        let mean = |sum: usize| format!("{:.0}", sum as f64 / done.max(1) as f64);
        vec![
            self.workload.to_string(),
            self.k.to_string(),
            format!("{:?}", self.enforcer).to_lowercase(),
            format!("{:?}", self.tightness).to_lowercase(),
            of(denied, operations),
            of(hit, done),
            of(held_back, operations),
            of(hit_else, done),
            mean(rules),
            mean(entries),
            of(admitted, others.len() * done),
            silent.into_iter().collect::<Vec<_>>().join(" "),
            named.len().to_string(),
            refused.to_string(),
        ]
    }
}

/// A policy that allows one directory to all, with what is below it, and every program.
fn only(dir: &str, recursive: bool) -> Policy {
    let rule = if recursive {
        format!("matchDirectories: [{{dir: {dir}, recursive: true}}]")
    } else {
        format!("matchPaths: [{{path: {dir}}}]")
    };
    let text = format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {{name: a, namespace: b}}\n\
         spec: {{selector: {{matchLabels: {{a: b}}}}, process: {{{rule}}}, file: {{{rule}}}, action: Allow}}\n"
    );
    from_yaml(&text).expect("a policy").remove(0)
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

fn allowed(held: &Enforced, op: &Op, path: &AbsPath, source: &Option<AbsPath>) -> bool {
    let behavior = Behavior {
        op: op.clone(),
        path: path.clone(),
        source: source.clone(),
        uid: Some(0),
        owner: Some(true),
        upper: None,
        tty: Some(false),
        result: Outcome::Ok,
    };
    held.judge(&Operation::from(&behavior)).verdict == Verdict::Allowed
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

/// The bounds of readiness against the runs that were not drawn: those in which the policy denies
/// something that quarantine would not hold, and the share of what they do that it denies.
fn covered(trial: &Trial<'_>, draws: usize) -> Vec<String> {
    let enforcer = trial.enforcer();
    let postures = Postures::all(Posture::Block);
    let everything = Enforced::new(enforcer, &[only("/", true)], postures);
    let asked: Vec<Vec<Operation<'_>>> = trial
        .runs
        .iter()
        .map(|(key, run)| {
            let sorted = sort(&[(*key, *run)], &Include::default(), &Tombstones::default());
            let of_run = sorted.learned.into_values().flat_map(BTreeMap::into_keys);
            of_run
                .map(Operation::from)
                .filter(|operation| everything.judge(operation).verdict != Verdict::Denied)
                .collect()
        })
        .collect();
    let mut rng = fastrand::Rng::with_seed(1000 + trial.k as u64);
    let mut sums = [0.0; 6];
    let (mut chance_covered, mut share_covered, mut done) = (0u32, 0u32, 0u32);
    for _ in 0..draws {
        let order = draw(&mut rng, trial.runs.len());
        let Some(made) = trial.learn(&order) else {
            continue;
        };
        let (Some(chance), Some(share)) = (made.readiness.chance, made.readiness.share) else {
            continue;
        };
        done += 1;
        let held = Enforced::new(enforcer, &[&made.policy], postures);
        let rest = &order[trial.k..];
        let (mut hit, mut shares) = (0, 0.0);
        for index in rest {
            let asked = &asked[*index];
            let is_denied = |asked: &&Operation<'_>| held.judge(asked).verdict != Verdict::Allowed;
            let denied = asked.iter().filter(is_denied).count();
            hit += usize::from(denied > 0);
            shares += denied as f64 / asked.len().max(1) as f64;
        }
        let truth = hit as f64 / rest.len() as f64;
        let share_truth = shares / rest.len() as f64;
        chance_covered += u32::from(truth <= chance.at_most);
        share_covered += u32::from(share_truth <= share.at_most);
        for (sum, value) in sums.iter_mut().zip([
            chance.expected,
            chance.at_most,
            truth,
            share.expected,
            share.at_most,
            share_truth,
        ]) {
            *sum += value;
        }
    }
    let n = f64::from(done.max(1));
    let mean = |index: usize| format!("{:.2}", 100.0 * sums[index] / n);
    let part = |covered: u32| format!("{:.1}", 100.0 * f64::from(covered) / n);
    vec![
        mean(0),
        mean(1),
        mean(2),
        part(chance_covered),
        format!("{}, {}", mean(4), mean(5)),
        part(share_covered),
    ]
}

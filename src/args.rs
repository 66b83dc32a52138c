//! What may be asked, as it is typed.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use learner::act::ActId;
use learner::behavior::OpKind;
use learner::generalize::{Dialect, Tightness};
use learner::mention::Mention;
use learner::path::AbsPath;
use learner::policy::meaning::{Enforcer, Posture};
use learner::posture::Share;

use crate::selection::Label;

/// Writes least-permissive KubeArmor policies for Linux workloads by watching what they do.
#[derive(Debug, Parser)]
#[command(
    name = "learner",
    version,
    arg_required_else_help = true,
    after_help = "Standard output is the answer, standard error the talk.\n\
                  Exit code: 0 done, 1 no, 2 error.\n\n\
                  Example:\n  \
                  learner recommend -n default -o policies && kubectl apply -R -f policies"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Heading of the options that every verb has.
const EVERYWHERE: &str = "Options of every command";

/// What every verb knows.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Where recorded behaviour is kept [default: /var/lib/learner as root, else
    /// $XDG_DATA_HOME/learner]
    #[arg(long, global = true, value_name = "DIR", env = "LEARNER_STORE", help_heading = EVERYWHERE)]
    pub(crate) store: Option<PathBuf>,
    /// Where the agent is reached that has the store open [default: /run/learner/agent.sock]
    #[arg(long, global = true, value_name = "PATH", env = "LEARNER_SOCKET", help_heading = EVERYWHERE)]
    pub(crate) socket: Option<PathBuf>,
    /// Say more; twice for all
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = EVERYWHERE)]
    pub(crate) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = EVERYWHERE)]
    pub(crate) quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Probe(Probe),
    Observe(Observe),
    Agent(Agent),
    #[command(name = "__launch", hide = true)]
    Launch(Launch),
    #[command(name = "__decode", hide = true)]
    Decode(Decode),
    Run(Run),
    Release(Release),
    Recommend(Recommend),
    Readiness(Readiness),
    Simulate(Simulate),
    Diff(Diff),
    Runs(Runs),
    Export(Export),
    Import(Import),
    Forget(Forget),
    Status(Status),
    Promote(Promote),
    Demote(Demote),
    Alerts(Alerts),
    Accept(Accept),
    Journal(Journal),
    Hold(Hold),
    Apply(Apply),
    Crd(Crd),
    Completions(Completions),
}

/// Say what can be observed on this machine, and how
///
/// Loads the kernel programs, reports per hook which of the kernel's means serves it and what that
/// one misses, and takes them out again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner probe\n  \
                  learner probe -f json | jq .hooks\n  \
                  learner probe --cluster --node worker-1\n\n\
                  Exit code 1: observing is not possible; each reason comes with its cure.")]
pub(crate) struct Probe {
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) format: TableFormat,
    /// Try this of the kernel's means alone, instead of the best for each hook
    #[arg(long, value_enum)]
    pub(crate) rung: Option<RungName>,
    /// Ask the API server too who enforces on this node of a cluster: KubeArmor, or Learner's agent
    #[arg(long, help_heading = IN_CLUSTER)]
    pub(crate) cluster: bool,
    /// The node's name in the cluster
    #[arg(long, env = "NODE_NAME", value_name = "NAME", help_heading = IN_CLUSTER)]
    pub(crate) node: Option<String>,
}

/// One of the kernel's means of observing, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RungName {
    /// fexit on the security_* functions
    Fentry,
    /// BPF LSM programs
    Lsm,
    /// BTF tracepoints
    Tracepoint,
}

/// Watch a program at work and write the policy that allows what it did and nothing else
///
/// Runs the command as a workload, with its own input, output, signals and exit status, until it
/// and all that it started have ended. The run goes into the store; the policy is that of this run.
/// An interrupt is passed on to the command; a second one ends the watch at once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner observe -o nginx.yaml -- nginx -g 'daemon off;'\n  \
                  learner observe -o - -- sh -c 'cat /etc/hostname; ls /usr >/dev/null'\n  \
                  learner observe --pid 4711 --for 10m --name shop/Deployment/cart\n\n\
                  Exit code: that of the command; 128 and the signal's number if one ended it;\n\
                  124 if it was still running when the watch ended; 2 if it could not be watched.")]
#[command(group(clap::ArgGroup::new("subject").required(true).args(["command", "cgroup", "pid"])))]
pub(crate) struct Observe {
    /// Whose run it is [default: default/Command/<basename of the command>]
    #[arg(long, value_name = "NS/KIND/NAME[/CONTAINER]")]
    pub(crate) name: Option<learner::workload::Workload>,
    /// A match label of the workload, for the policy's selector; may be given several times
    /// [default: app=<name>]
    #[arg(
        short,
        long = "label",
        visible_alias = "labels",
        value_name = "KEY=VALUE"
    )]
    pub(crate) labels: Vec<Label>,
    /// What the run is called; a run of the same name counts once [default: name, time and pid]
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,
    /// The longest that is watched, as in 30s, 10m or 1h30m; then the command is asked to end
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) limit: Option<std::time::Duration>,
    /// Also write what was recorded to this file: JSON Lines, or Parquet if it ends in .parquet.
    /// Only its owner can read it (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub(crate) recording: Option<PathBuf>,
    /// Where the policy goes: a file, a directory, or '-' for standard output
    #[arg(short, long, value_name = "FILE|DIR|-", default_value = "out/")]
    pub(crate) output: PathBuf,
    /// How the policy is written
    #[arg(short, long, value_enum, default_value_t = PolicyFormat::Yaml)]
    pub(crate) format: PolicyFormat,
    #[command(flatten)]
    pub(crate) making: Making,
    /// Watch what runs in this cgroup v2 directory already
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Watch this process and what shares its cgroup (on cgroup v1: its namespaces)
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Use this of the kernel's means alone, instead of the best for each hook
    #[arg(long, value_enum)]
    pub(crate) rung: Option<RungName>,
    /// Bytes between kernel and user space: a power of two, at least 4096
    #[arg(long, value_name = "BYTES", default_value_t = learner::kernel::DEFAULT_RING, value_parser = ring_size)]
    pub(crate) ring_buffer: u32,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    match std::time::Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("a duration is more than nothing, as in 30s".to_owned()),
    }
}

fn ring_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (4096..=1 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("a size is a power of two from 4096 to 1073741824".to_owned()),
    }
}

/// Run a command under a policy, or as the workload that it is
///
/// With --policy it is held to that, and nothing is recorded. With --name it is a run of that workload,
/// recorded as by 'learner observe', and held to what the workload stands under: nothing while it is
/// learning, its candidate from then on ('learner promote').
///
/// Under block, what the policy does not allow fails with 'Permission denied', enforced by Learner's
/// own programs in the kernel: KubeArmor is not needed, and its limits do not hold. Under audit
/// everything works, and what the policy would have denied is said at the end. Programs and files
/// are held to the policy; sockets, capabilities and arguments are not. The policy counts whatever
/// its selector says.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["policies", "name"]))]
#[command(after_help = "Examples:\n  \
                  learner run --policy nginx.yaml -- nginx -g 'daemon off;'\n  \
                  learner run --policy nginx.yaml --posture audit -- nginx -g 'daemon off;'\n  \
                  learner run --name shop/Deployment/web -- nginx -g 'daemon off;'\n\n\
                  Exit code: that of the command; 128 and the signal's number if one ended it;\n\
                  124 if it was still running when the watch ended; 2 if it could not be run so.")]
pub(crate) struct Run {
    /// The policy: a file, a directory, or '-'; may be given several times
    #[arg(long = "policy", value_name = "FILE|DIR|-")]
    pub(crate) policies: Vec<PathBuf>,
    /// Whose run it is: it is held to what the store says of this workload, and recorded
    #[arg(long, value_name = "NS/KIND/NAME[/CONTAINER]")]
    pub(crate) name: Option<learner::workload::Workload>,
    /// What becomes of what the policy does not allow: audit or block
    #[arg(
        long,
        value_name = "POSTURE",
        default_value = "block",
        conflicts_with = "name"
    )]
    pub(crate) posture: learner::policy::meaning::Posture,
    /// The longest that it runs; then the command is asked to end
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) limit: Option<std::time::Duration>,
    /// Observe by this of the kernel's means alone, instead of the best for each hook
    #[arg(long, value_enum)]
    pub(crate) rung: Option<RungName>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// Stop enforcing what a Learner that has ended left enforced
///
/// Enforcement is pinned in the kernel: it goes on when Learner ends or is killed. This removes it.
/// Run it from outside of what is held to a policy. An agent that runs says so, and enforces nothing until
/// it is restarted; 'learner demote' takes back one workload.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner release\n  \
                  learner release run-4711\n\n\
                  Exit code 1: nothing was enforced.")]
pub(crate) struct Release {
    /// Only this instance, as in /sys/fs/bpf/learner [default: all]
    pub(crate) instance: Option<String>,
}

/// Watch the workloads of this host at once, for as long as it runs
///
/// All containers, and the systemd units and cgroups that the configuration names, each from its
/// first exec. The agent has the store open; every other command goes on working, by the agent's
/// socket. What runs did is stored as they end, and every few seconds meanwhile. SIGTERM ends it, when
/// everything is stored. SIGHUP has it read its configuration again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner agent\n  \
                  learner agent --config agent.yaml --log-format json\n  \
                  learner agent --check --config agent.yaml\n  \
                  learner agent --cluster --node worker-1\n\n\
                  Exit code: 0 when it was ended by SIGTERM or SIGINT; 2 if it cannot run.")]
pub(crate) struct Agent {
    /// The configuration [default: /etc/learner/agent.yaml, if it is there]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How the log on standard error is written [default: as configured, else text]
    #[arg(long, value_enum)]
    pub(crate) log_format: Option<LogFormatName>,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    pub(crate) check: bool,
    /// This host is a node of a Kubernetes cluster: name containers by its pods, and write what they did to
    /// the API server (KUBECONFIG, or the service account of the pod)
    #[arg(long)]
    pub(crate) cluster: bool,
    /// The node's name in the cluster [default: as configured]
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub(crate) node: Option<String>,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormatName {
    /// A line for people
    Text,
    /// An object a line, for programs
    Json,
}

/// What `observe` starts the command with
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// What reads Parquet for `import` and `--from`
#[derive(Debug, Args)]
pub(crate) struct Decode {
    /// What standard input is called in errors
    #[arg(last = true, required = true)]
    pub(crate) name: String,
}

/// Which workloads are meant; all, unless told.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Which {
    /// Only workloads of this namespace
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
    /// Only runs with this label; may be given several times, then all are needed
    #[arg(
        short,
        long = "label",
        visible_alias = "labels",
        value_name = "KEY=VALUE"
    )]
    pub(crate) labels: Vec<Label>,
}

/// How policies are made of what was seen.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "How policies are made")]
pub(crate) struct Making {
    /// How far rules may go beyond what was seen: exact (not at all), balanced (names that change
    /// from run to run, by their class), durable (wherever that is possible) [default: balanced]
    #[arg(long, value_parser = tightness())]
    pub(crate) tightness: Option<Tightness>,
    /// For which enforcer: KubeArmor's bpf or apparmor, both at once, or Learner's own, which has no
    /// limits of its own (learner) [default: bpf]
    #[arg(long, value_parser = dialect())]
    pub(crate) enforcer: Option<Dialect>,
    /// The posture that the policy is for; under audit, readOnly rules come only from three whole
    /// runs on, since KubeArmor denies writes to them under audit too [default: audit]
    #[arg(long, value_parser = posture())]
    pub(crate) posture: Option<Posture>,
    /// Learn this although it is held in quarantine: a path, a directory with its slash for all
    /// below it, or OP:PATH; may be given several times
    #[arg(
        long,
        value_name = "[OP:]PATH",
        value_parser = mention()
    )]
    pub(crate) include: Vec<Mention>,
}

/// Write the policies that let the workloads go on doing what they were seen to do
///
/// From the store, or with --from from recordings alone, or with --cluster from what all nodes of a
/// cluster have told. One policy for each workload goes to
/// OUTDIR/<namespace>-<workload>/<policy>.yaml. Names that machines make (process ids, digests,
/// times, temporary names) are told by their class and by the runs that have them. What a policy
/// leaves out, holds back and grants beyond what was seen is said on standard error, and in the
/// report for each rule.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner recommend -n default -l app=nginx\n  \
                  learner recommend --from nginx.jsonl -o - | kubectl apply -f -\n  \
                  learner recommend -n shop --include exec:/usr/bin/pg_isready\n  \
                  learner recommend -n default --tightness durable -r report.html\n  \
                  learner recommend -n shop -l app=web --cluster -o -\n\n\
                  Exit code 1: there is nothing to recommend, or not for every workload.")]
pub(crate) struct Recommend {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) making: Making,
    /// Learn from this recording and leave the store alone; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
    /// Learn from what the nodes of the cluster have told, and leave the store alone; the cluster is that
    /// of KUBECONFIG or ~/.kube/config, or the one that this runs in
    #[arg(long, conflicts_with = "from")]
    pub(crate) cluster: bool,
    /// Also write a report with the evidence for each rule, by the name's ending: .txt, .html or
    /// .json
    #[arg(short, long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Where the policies go; '-' is standard output
    #[arg(short, long, value_name = "OUTDIR|-", default_value = "out")]
    pub(crate) outdir: PathBuf,
    /// How policies are written
    #[arg(short, long, value_enum, default_value_t = PolicyFormat::Yaml)]
    pub(crate) format: PolicyFormat,
}

/// How a policy is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyFormat {
    /// YAML, '---' between documents
    Yaml,
    /// JSON, one object after another
    Json,
}

/// Say how much the next run of each workload may still show
///
/// After generalisation, by the runs that were watched whole: the chance that the next run shows
/// anything new and the share of its behaviours that is new, each with a bound of 95 %, and each run
/// held against the policy that the others lead to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner readiness -n default\n  \
                  learner readiness --from nginx.jsonl -f json | jq '.[].readiness.chance'\n\n\
                  Exit code 1: nothing has been recorded that a policy could be made of.")]
pub(crate) struct Readiness {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) making: Making,
    /// Learn from this recording and leave the store alone; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) format: TableFormat,
}

/// Say what policies would have denied of what was recorded
///
/// Each run is judged by those of the policies that select it, as KubeArmor would. Judged is what
/// succeeded, each operation once. A policy that selects none of the runs was not tested, which is
/// said. Then comes what is wrong with the policies themselves: rules that never match, are
/// shadowed or in conflict, too many keys, and what is against the CRD.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner simulate nginx.yaml\n  \
                  learner simulate policies -n default --posture audit\n  \
                  learner recommend --from old.jsonl -o - | learner simulate - --from new.jsonl\n  \
                  learner simulate nginx.yaml -f json | jq '.denials[] | [.op, .path, .why]'\n\n\
                  Exit code 0: nothing would have been denied; 1: something would; 2: error, also\n\
                  if none of the policies selects anything that was recorded.")]
pub(crate) struct Simulate {
    /// Policies: a YAML file, a directory (all .yaml and .yml below it that are not hidden), or
    /// '-' for standard input
    #[arg(required = true, value_name = "POLICY")]
    pub(crate) policies: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Test against this recording and leave the store alone; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
    /// The posture of the namespace: what becomes of what no rule allows
    #[arg(long, default_value = "block", value_parser = posture())]
    pub(crate) posture: Posture,
    /// What enforces the policies
    #[arg(long, default_value = "bpf", value_parser = enforcer())]
    pub(crate) enforcer: Enforcer,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) format: TableFormat,
}

fn tightness() -> impl TypedValueParser<Value = Tightness> {
    PossibleValuesParser::new(["exact", "balanced", "durable"])
        .try_map(|word| word.parse::<Tightness>())
}

fn dialect() -> impl TypedValueParser<Value = Dialect> {
    PossibleValuesParser::new(["bpf", "apparmor", "both", "learner"])
        .try_map(|word| word.parse::<Dialect>())
}

/// Those whose rules a promotion can count.
fn judged() -> impl TypedValueParser<Value = Dialect> {
    PossibleValuesParser::new(["learner", "bpf"]).try_map(|word| word.parse::<Dialect>())
}

fn posture() -> impl TypedValueParser<Value = Posture> {
    PossibleValuesParser::new(["audit", "block"]).try_map(|word| word.parse::<Posture>())
}

fn enforcer() -> impl TypedValueParser<Value = Enforcer> {
    PossibleValuesParser::new(["bpf", "apparmor", "learner"])
        .try_map(|word| word.parse::<Enforcer>())
}

/// Say what changes when the suggested policies are applied, by meaning and not by text
///
/// A suggested policy replaces the applied one of its kind, namespace and name, and what Learner
/// recommended before for the same workload. Policies from elsewhere stay beside what Learner
/// recommends; first of all is said what they open again. Compared are all operations that were
/// recorded, and for each rule of either side those at its boundary, under the posture block.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner diff --applied policies\n  \
                  learner diff new.yaml --applied old.yaml\n  \
                  kubectl get ksp -A -o yaml | learner diff --applied -\n  \
                  learner diff new.yaml --applied old.yaml -f json | jq '.workloads[].becomes_denied'\n  \
                  learner diff -n shop -l app=web --cluster\n  \
                  learner diff -n shop --cluster --watch\n\n\
                  '*' in a path stands for any name that no rule holds.\n\
                  Exit code 0: the same meaning; 1: another one; 2: error.")]
pub(crate) struct Diff {
    /// The suggested policies: a YAML file, a directory, or '-' for standard input [default: what
    /// `learner recommend` says now]
    #[arg(value_name = "SUGGESTED")]
    pub(crate) suggested: Option<PathBuf>,
    /// The applied policies: a YAML file, a directory (all .yaml and .yml below it that are not
    /// hidden), or '-' for standard input
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) applied: Vec<PathBuf>,
    /// Compare with what is applied in the cluster, by what its nodes have told: all KubeArmorPolicies and
    /// KubeArmorClusterPolicies that select the workloads, with who has written each and when
    #[arg(long, conflicts_with_all = ["applied", "from"])]
    pub(crate) cluster: bool,
    /// Compare again every 30 seconds until Ctrl-C, and show it each time that it is another
    #[arg(long, requires = "cluster")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Take what was recorded from this recording and leave the store alone; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
    /// How far what is recommended now may go beyond what was seen [default: balanced]
    #[arg(long, value_parser = tightness(), conflicts_with = "suggested")]
    pub(crate) tightness: Option<Tightness>,
    /// What enforces the policies [default: bpf; with --cluster each that a node is labelled with]
    #[arg(long, value_parser = enforcer())]
    pub(crate) enforcer: Option<Enforcer>,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = ValueFormat::Table)]
    pub(crate) format: ValueFormat,
}

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValueFormat {
    /// For people
    Table,
    /// For programs
    Json,
    /// The same as YAML
    Yaml,
}

/// Show what has been recorded of each workload
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner runs -n default\n  \
                  learner runs -f json | jq '.[] | select(.partial > 0)'\n\n\
                  Exit code 1: nothing has been recorded.")]
pub(crate) struct Runs {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) format: TableFormat,
}

/// How a list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// For people
    Table,
    /// For programs: an array of objects
    Json,
}

/// Write what has been recorded as a recording
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner export -n default | gzip > default.jsonl.gz\n  \
                  learner export -f parquet -o everything.parquet\n\n\
                  Exit code 1: nothing has been recorded; the recording is empty.")]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How the recording is written
    #[arg(short, long, value_enum, default_value_t = RecordingFormat::Jsonl)]
    pub(crate) format: RecordingFormat,
    /// Where it goes; '-' is standard output. Only its owner can read a file (mode 0600): it tells
    /// what programs do and where their secrets are
    #[arg(short, long, value_name = "FILE|-", default_value = "-")]
    pub(crate) output: PathBuf,
}

/// How a recording is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecordingFormat {
    /// JSON Lines
    Jsonl,
    /// Parquet
    Parquet,
}

/// Put recordings into the store
///
/// JSON Lines or Parquet, told apart by their content. All files or none: after an error the store
/// is as it was. A run that the store has already counts once.
///
/// With --kubearmor, what KubeArmor says: its telemetry, one JSON object a line, in either of its
/// encodings; with --gRPC the same from its relay, as it comes, stored at the end. Its alerts teach nothing. What cannot be read is said, and counts as lost. Such runs are
/// partial: that telemetry does not show all that a policy governs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner import node-1.jsonl node-2.parquet\n  \
                  ssh node-1 learner export | learner import -\n  \
                  learner import --kubearmor -o web.jsonl events.json\n  \
                  learner import --gRPC localhost:32767 --for 10m -o web.jsonl\n\n\
                  Exit code 1: there is nothing in them, or with --kubearmor not all could be read; what\n\
                  could is imported all the same.")]
pub(crate) struct Import {
    /// Recordings; '-' is standard input
    #[arg(
        required_unless_present = "grpc",
        value_name = "FILE",
        conflicts_with = "grpc"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// The files are what `karmor logs --json --logFilter all` prints, or what KubeArmor writes to its
    /// own log
    #[arg(long)]
    pub(crate) kubearmor: bool,
    /// Listen to KubeArmor's relay instead, until Ctrl-C, or as long as --for says [default address:
    /// $KUBEARMOR_SERVICE, else in a pod kubearmor.kubearmor:32767, else localhost:32767]
    #[arg(
        id = "grpc",
        long = "gRPC",
        value_name = "HOST:PORT",
        num_args = 0..=1,
        default_missing_value = "",
        help_heading = RELAY
    )]
    pub(crate) grpc: Option<String>,
    #[command(flatten)]
    pub(crate) relay: Relay,
    /// Write one recording of them all, and leave the store alone; '-' is standard output. Only its
    /// owner can read a file (mode 0600)
    #[arg(short, long, value_name = "FILE|-")]
    pub(crate) output: Option<PathBuf>,
    /// How that recording is written
    #[arg(short, long, value_enum, default_value_t = RecordingFormat::Jsonl, requires = "output")]
    pub(crate) format: RecordingFormat,
}

/// Heading of the options for KubeArmor's relay.
const RELAY: &str = "KubeArmor's relay";

/// How KubeArmor's relay is listened to; the options are karmor's, but for --for.
#[derive(Debug, Args)]
#[command(next_help_heading = RELAY)]
pub(crate) struct Relay {
    /// How long it is listened to, as in 30s, 10m or 1h30m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, requires = "grpc")]
    pub(crate) limit: Option<std::time::Duration>,
    /// Connect by TLS
    #[arg(long, requires = "grpc")]
    pub(crate) secure: bool,
    /// The directory with ca.crt, and ca.key, or with '--tlsCertProvider external' client.crt and client.key
    /// if the relay asks for them [default: /var/lib/kubearmor/tls]
    #[arg(
        id = "tls_cert_path",
        long = "tlsCertPath",
        value_name = "DIR",
        requires = "secure"
    )]
    pub(crate) tls_cert_path: Option<PathBuf>,
    /// Where the certificate comes from that the relay may ask for
    #[arg(
        id = "tls_cert_provider",
        long = "tlsCertProvider",
        value_enum,
        default_value_t = CertProviderName::Own,
        requires = "secure"
    )]
    pub(crate) tls_cert_provider: CertProviderName,
    /// To sign it, take KubeArmor's CA from the Secret in the cluster that KubeArmor's operator keeps it in, and not from
    /// the directory [default: true, without --tlsCertPath]
    #[arg(
        id = "read_ca_from_secret",
        long = "readCAFromSecret",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        requires = "secure"
    )]
    pub(crate) read_ca_from_secret: Option<bool>,
}

/// Where a client's certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CertProviderName {
    /// It is made for each connection, and signed by KubeArmor's CA
    #[value(name = "self")]
    Own,
    /// It is in the directory
    External,
}

/// Keep what was recorded from being learned, for good
///
/// What is named is not learned any more, by any revision of the workload, nor when it is recorded or
/// imported again. The evidence stays: 'learner export' still writes it. PATH is a path as it was
/// recorded; with a slash at the end it means all that is below it. A rename or a link is forgotten
/// with either of its names.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner forget -n shop -l app=cart /etc/shadow\n  \
                  learner forget --op exec --source /usr/bin/dash /usr/bin/curl /tmp/\n  \
                  learner forget --list\n  \
                  learner forget --undo /etc/shadow\n\n\
                  Exit code 1: a PATH matches nothing that was recorded, or with --undo nothing that\n\
                  was forgotten; what does match is done all the same.")]
pub(crate) struct Forget {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only this operation: exec, open, create, mkdir, unlink, rmdir, rename, link, symlink, chmod
    /// or truncate
    #[arg(long, value_name = "OP", value_parser = operation)]
    pub(crate) op: Option<OpKind>,
    /// Only what this program did; for exec, what it started
    #[arg(long, value_name = "PATH", value_parser = recorded_path())]
    pub(crate) source: Option<AbsPath>,
    /// Let it be learned again
    #[arg(long)]
    pub(crate) undo: bool,
    /// Show what is forgotten
    #[arg(long, conflicts_with_all = ["undo", "paths", "op", "source"])]
    pub(crate) list: bool,
    /// How the list is shown
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table, requires = "list")]
    pub(crate) format: TableFormat,
    /// What is to be forgotten
    #[arg(value_name = "PATH", required_unless_present = "list", value_parser = recorded_path())]
    pub(crate) paths: Vec<AbsPath>,
    /// Of workloads of the cluster: it is kept in WorkloadPosture, and counts for all who make policies of what the
    /// nodes have told
    #[arg(long, help_heading = IN_CLUSTER)]
    pub(crate) cluster: bool,
}

fn operation(name: &str) -> Result<OpKind, String> {
    OpKind::parse(name).ok_or_else(|| {
        let all = OpKind::ALL.map(OpKind::as_str).join(", ");
        format!("an operation is one of {all}")
    })
}

/// Any bytes, as below.
fn mention() -> impl TypedValueParser<Value = Mention> {
    OsStringValueParser::new().try_map(|text| Mention::parse(&text.into_vec()))
}

/// Any bytes: a recorded path need not be text.
fn recorded_path() -> impl TypedValueParser<Value = AbsPath> {
    OsStringValueParser::new().try_map(|path| AbsPath::new(path.into_vec()))
}

/// What a promotion from audit to block takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What a promotion takes")]
pub(crate) struct Gate {
    /// How long the workload must have been watched without loss, since the window began and since
    /// the last alert
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = span)]
    pub(crate) window: std::time::Duration,
    /// Runs of the revision that were watched whole
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) min_runs: usize,
    /// Share of the policy's rules that was used again since the window began
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) min_exercise: Option<f64>,
    /// Highest bound on the chance that the next run shows anything new (see 'learner readiness')
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) max_risk: Option<f64>,
    /// How long after the promotion a denial of the workload's own doing takes it back
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = span)]
    pub(crate) canary: std::time::Duration,
    /// Which denials take it back: all, those before the end of the canary, or none
    #[arg(long, value_enum, default_value_t = RollbackName::Canary)]
    pub(crate) rollback: RollbackName,
}

/// Which denials take a workload back to audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RollbackName {
    /// All
    Always,
    /// Those before the end of the canary
    Canary,
    /// None
    Never,
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    std::time::Duration::try_from(parsed)
        .map_err(|_| "a duration is not below nothing, as in 24h".to_owned())
}

/// As a share between 0 and 1.
fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("a percentage is a number from 0 to 100".to_owned()),
    }
}

/// Move workloads on where the evidence allows it: learning, audit, block
///
/// One pass over all workloads, made to be run by a timer. A workload with a run that was watched
/// whole goes from learning to audit: its policy is frozen as the candidate. What it does from then on
/// and the candidate denies is an alert ('learner alerts'), and teaches nothing. From audit it goes to
/// block once nothing speaks against it; all that does is said. A new image goes back to audit with
/// the old candidate. A denial of its own doing soon after the promotion to block takes it back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner promote --dry-run\n  \
                  learner promote -n shop --window 72h --min-exercise 80\n  \
                  learner promote -f json | jq '.[] | [.workload, .verdict]'\n  \
                  learner promote -n shop --cluster --window 72h\n\n\
                  Exit code 0: all were promoted, or there was nothing to do; 1: something was held,\n\
                  taken back, or has a new image (0 with --held-is-done); 2: error.")]
pub(crate) struct Promote {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) gate: Gate,
    /// Who is to enforce a candidate: Learner's own programs on this machine, or KubeArmor's BPF-LSM
    /// (bpf), to which the policy is then given [default: learner; with --cluster who the nodes say: KubeArmor,
    /// or Learner's agents where it is not there]
    #[arg(long, value_name = "ENFORCER", value_parser = judged(), help_heading = "How candidates are made")]
    pub(crate) enforcer: Option<Dialect>,
    /// How far rules of a candidate may go beyond what was seen
    #[arg(long, value_parser = tightness(), help_heading = "How candidates are made")]
    pub(crate) tightness: Option<Tightness>,
    /// Let the candidate allow this although it is held in quarantine: a path, a directory with its
    /// slash for all below it, or OP:PATH; may be given several times
    #[arg(long, value_name = "[OP:]PATH", value_parser = mention(), help_heading = "How candidates are made")]
    pub(crate) include: Vec<Mention>,
    /// KubeArmor's alerts, as `karmor logs --json` prints them; may be given several times: while it
    /// says that it drops alerts of a workload, that one's window does not count. To have the alerts
    /// themselves count, import them first ('learner import --kubearmor'); with --cluster they count
    #[arg(long, value_name = "FILE|-")]
    pub(crate) kubearmor: Vec<PathBuf>,
    /// Listen to the alerts of KubeArmor's relay first, as long as --for says, and keep them as evidence; what
    /// could not be heard of them meanwhile does not count for any window [default address:
    /// $KUBEARMOR_SERVICE, else in a pod kubearmor.kubearmor:32767, else localhost:32767]
    #[arg(
        id = "grpc",
        long = "gRPC",
        value_name = "HOST:PORT",
        num_args = 0..=1,
        default_missing_value = "",
        requires = "limit",
        help_heading = RELAY
    )]
    pub(crate) grpc: Option<String>,
    #[command(flatten)]
    pub(crate) relay: Relay,
    /// By what the nodes of the cluster have told: decisions are kept as WorkloadPosture and told as Events.
    /// Where KubeArmor enforces, policies of workloads under block are applied for it; where it is not there,
    /// Learner's agents hold what is decided
    #[arg(long, help_heading = IN_CLUSTER)]
    pub(crate) cluster: bool,
    /// KubeArmor's posture is that of a namespace: promote its workloads one by one, each getting its policy
    /// when it is promoted; or all together, with all policies applied under audit before
    #[arg(long, value_enum, default_value_t = StrategyName::Workload, requires = "cluster", help_heading = IN_CLUSTER)]
    pub(crate) strategy: StrategyName,
    /// Until the end of the canary hold only so many pods of a workload that Learner's agents enforce: a percentage
    /// (10%) of those there are, rounded up, or a number. Whose uid decides who it is, so they stay the same
    #[arg(long, value_name = "PERCENT%|PODS", requires = "cluster", help_heading = IN_CLUSTER)]
    pub(crate) canary_share: Option<Share>,
    /// Exit with 0 too where something was held, was taken back, or has a new image: for a CronJob, which takes 1
    /// for a failure
    #[arg(long)]
    pub(crate) held_is_done: bool,
    /// Decide and say it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How verdicts are shown
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) format: TableFormat,
}

/// Heading of the options for a cluster.
const IN_CLUSTER: &str = "In a cluster";

/// How workloads of a namespace are promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyName {
    /// One by one
    Workload,
    /// Together
    Namespace,
}

/// Hold a workload of the cluster where it is, whatever the evidence says
///
/// While it is held 'learner promote --cluster' does not promote it. A denial still takes it back from
/// block, and a new image still puts it under audit. The hold is in the specification of its WorkloadPosture.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner hold shop/cart --reason 'release 4 is being rolled out'\n  \
                  learner hold shop/Deployment/cart/proxy --reason 'not watched yet'\n  \
                  learner hold shop/cart --release\n\n\
                  Exit code 1: nothing is known of NS/NAME in the cluster.")]
#[command(group(clap::ArgGroup::new("word").required(true).args(["reason", "release"])))]
pub(crate) struct Hold {
    /// The workload: all containers of all that is called so in the namespace, or one container
    #[arg(value_name = "NS/NAME|NS/KIND/NAME[/CONTAINER]", value_parser = held())]
    pub(crate) name: HeldName,
    /// Why, for those who ask
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<String>,
    /// Let it go
    #[arg(long)]
    pub(crate) release: bool,
}

/// What is held, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeldName {
    /// Whatever is called so.
    Called { namespace: String, name: String },
    /// This one.
    This(learner::workload::Workload),
}

fn held() -> impl TypedValueParser<Value = HeldName> {
    clap::builder::StringValueParser::new().try_map(|text| match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(HeldName::Called {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => text.parse().map(HeldName::This),
    })
}

/// As long as a WorkloadPosture has room for.
fn reason(text: &str) -> Result<String, String> {
    match text.trim().len() {
        1..=1024 => Ok(text.trim().to_owned()),
        _ => Err("a reason is a text of 1 to 1024 bytes".to_owned()),
    }
}

/// Take a workload back, from block to audit or to learning
///
/// All its revisions that are above. Under audit the window begins anew. Under learning no candidate is
/// in force, and what was an alert may be learned; the next candidate is frozen once a run that began
/// later was watched whole.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner demote shop/Deployment/cart --reason 'release 4 breaks uploads'\n  \
                  learner demote shop/Deployment/cart --to learning --reason 'new feature'\n\n\
                  Exit code 1: it does not stand above that.")]
pub(crate) struct Demote {
    /// The workload
    #[arg(value_name = "NS/KIND/NAME[/CONTAINER]")]
    pub(crate) name: learner::workload::Workload,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// How far back
    #[arg(long, value_enum, default_value_t = Lower::Audit)]
    pub(crate) to: Lower,
    /// A workload of the cluster: it is kept as WorkloadPosture and told as an Event, and its policy is taken away
    #[arg(long, help_heading = IN_CLUSTER)]
    pub(crate) cluster: bool,
}

/// How far back a workload is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lower {
    /// The candidate stays, and the window begins anew
    Audit,
    /// No candidate
    Learning,
}

/// Show what workloads did that their frozen candidates deny
///
/// Of each workload that is under audit or block, at the image of its latest run. An alert is there until
/// a person decides: 'learner accept' makes it a rule, 'learner forget' makes it stay denied.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner alerts -n shop\n  \
                  learner alerts -f json | jq '.[] | select(.decision == null) | .id'\n  \
                  learner alerts -f kubearmor >> alerts.jsonl\n  \
                  learner alerts --follow -f json | jq -r .path\n\n\
                  Exit code 0: there are none that are open; 1: there are. With --follow: 0, at Ctrl-C.")]
pub(crate) struct Alerts {
    #[command(flatten)]
    pub(crate) which: Which,
    /// How they are shown
    #[arg(short, long, value_enum, default_value_t = AlertFormat::Table)]
    pub(crate) format: AlertFormat,
    /// Print those that are open, then each as it comes, one a line, until Ctrl-C
    #[arg(long)]
    pub(crate) follow: bool,
    /// By what the nodes of the cluster have told, and the candidates in WorkloadPosture
    #[arg(long, help_heading = IN_CLUSTER, conflicts_with = "follow")]
    pub(crate) cluster: bool,
}

/// How alerts are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AlertFormat {
    /// For people
    Table,
    /// For programs: an array of objects
    Json,
    /// As KubeArmor's own alerts: one object a line, with the fields of its protobuf
    Kubearmor,
}

/// Make rules of alerts, or of what is held in quarantine: a new candidate
///
/// The new candidate allows what the old one does and what is accepted. The workload is under audit with
/// it, and the window begins anew. If a policy cannot say all of it, nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner alerts\n  \
                  learner accept 3fa9c01b22d4 81ffa0c4e7d2\n  \
                  learner accept -n shop exec:/usr/bin/pg_isready\n\n\
                  Exit code 1: an ALERT names nothing that is open or held; what others name is done all\n\
                  the same.")]
pub(crate) struct Accept {
    #[command(flatten)]
    pub(crate) which: Which,
    /// The id of an alert; or a path, a directory with its slash for all below it, or OP:PATH
    #[arg(required = true, value_name = "ALERT|[OP:]PATH", value_parser = accepted())]
    pub(crate) what: Vec<Accepted>,
    /// Of workloads of the cluster: it is kept as WorkloadPosture, and told as an Event
    #[arg(long, help_heading = IN_CLUSTER)]
    pub(crate) cluster: bool,
}

/// What is accepted, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// By its id.
    Id(ActId),
    /// By what it is.
    Named(Mention),
}

/// An id has neither slash nor colon; a mention has one of them.
fn accepted() -> impl TypedValueParser<Value = Accepted> {
    OsStringValueParser::new().try_map(|text| {
        let id = text.to_str().and_then(ActId::parse);
        id.map_or_else(
            || Mention::parse(&text.into_vec()).map(Accepted::Named),
            |id| Ok(Accepted::Id(id)),
        )
    })
}

/// Say where each workload stands, and what keeps it there
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner status -n shop\n  \
                  learner status --watch\n  \
                  learner status -f json | jq '.[] | select(.posture != \"block\") | [.workload, .held]'\n\n\
                  Exit code 1: nothing has been recorded.")]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) gate: Gate,
    /// Show it again every two seconds, until it is interrupted
    #[arg(long, conflicts_with = "format")]
    pub(crate) watch: bool,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) format: TableFormat,
}

/// Show what was decided, by whom and why
///
/// With --verify: whether an entry was changed, moved or removed since. Each has the hash of the one
/// before, and the store the hash of the last.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner journal\n  \
                  learner journal --verify\n  \
                  learner journal -f json | jq '.[-1].figures'\n\n\
                  Exit code 1: nothing was decided yet; with --verify: something is wrong.")]
pub(crate) struct Journal {
    /// Only of workloads of this namespace
    #[arg(short, long, value_name = "NS", conflicts_with = "verify")]
    pub(crate) namespace: Option<String>,
    /// Check it, and show what is wrong instead
    #[arg(long)]
    pub(crate) verify: bool,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) format: TableFormat,
}

/// Apply policies to the cluster, as Learner's own
///
/// By server-side apply with the field manager 'learner'; what somebody else has set is not overwritten,
/// and they are named. Each policy gets the label app.kubernetes.io/managed-by: learner, and as annotations
/// the hash of its document and what the nodes of the cluster have told of the workloads that it selects.
/// All are checked by the server, webhooks included, before the first is applied.
///
/// KubeArmor denies writes to what a readOnly rule allows, and access by others to what an ownerOnly rule
/// allows, under audit too. A policy with such rules is not applied while the posture of its namespace is
/// not block, unless three whole runs of each workload show that the rules deny nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner recommend -n shop --cluster && learner apply\n  \
                  learner apply --dry-run=server out/shop-web\n  \
                  learner recommend -n shop --cluster -o - | learner apply -\n\n\
                  Exit code 1: a policy was not applied since it would deny under audit; 2: the server\n\
                  refused something, and nothing was applied.")]
pub(crate) struct Apply {
    /// Policies: a YAML file, a directory (all .yaml and .yml below it that are not hidden), or '-' for
    /// standard input
    #[arg(value_name = "FILE", default_value = "out")]
    pub(crate) files: Vec<PathBuf>,
    /// Let the server check everything, and change nothing
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) dry_run: Option<DryRun>,
}

/// Who tries it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// The API server, with its webhooks
    Server,
}

/// Print the definitions of Learner's resources for a cluster
///
/// WorkloadEvidence holds what one node has seen of a workload at one image, and WorkloadPosture how far a
/// workload is on its way. Applying them again is an upgrade.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
                  learner crd | kubectl apply -f -")]
pub(crate) struct Crd {}

/// Write a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
                  learner completions bash > /etc/bash_completion.d/learner")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}

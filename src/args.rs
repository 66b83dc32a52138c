//! What may be asked, as it is typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where recorded behaviour is kept [default: /var/lib/learner as root, else
    /// $XDG_DATA_HOME/learner]
    #[arg(long, global = true, value_name = "DIR", env = "LEARNER_STORE", help_heading = EVERYWHERE)]
    pub(crate) store: Option<PathBuf>,
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
    #[command(name = "__launch", hide = true)]
    Launch(Launch),
    #[command(name = "__decode", hide = true)]
    Decode(Decode),
    Recommend(Recommend),
    Runs(Runs),
    Export(Export),
    Import(Import),
    Completions(Completions),
}

/// Say what can be observed on this machine, and how
///
/// Loads the kernel programs, reports per hook which of the kernel's means serves it and what that
/// one misses, and takes them out again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner probe\n  \
                  learner probe -f json | jq .hooks\n\n\
                  Exit code 1: observing is not possible; each reason comes with its cure.")]
pub(crate) struct Probe {
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table)]
    pub(crate) format: TableFormat,
    /// Try this of the kernel's means alone, instead of the best for each hook
    #[arg(long, value_enum)]
    pub(crate) rung: Option<RungName>,
}

/// One of the kernel's means of observing, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RungName {
    /// BPF LSM programs
    Lsm,
    /// fexit on the security_* functions
    Fentry,
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

/// Write the policies that allow what was seen and nothing else
///
/// From the store, or with --from from recordings alone. One policy for each workload goes to
/// OUTDIR/<namespace>-<workload>/<policy>.yaml; what it could not express, and what it grants
/// beyond what was seen, is said on standard error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner recommend -n default -l app=nginx\n  \
                  learner recommend --from nginx.jsonl -o - | kubectl apply -f -\n\n\
                  Exit code 1: there is nothing to recommend, or not for every workload.")]
pub(crate) struct Recommend {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Learn from this recording and leave the store alone; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
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
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
                  learner import node-1.jsonl node-2.parquet\n  \
                  ssh node-1 learner export | learner import -\n\n\
                  Exit code 1: the recordings are empty.")]
pub(crate) struct Import {
    /// Recordings; '-' is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

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

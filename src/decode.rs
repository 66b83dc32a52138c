//! The hidden verb that reads Parquet for the others: on a hostile file it is the one that ends.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use learner::profile::Evidence;
use learner::recording::{REFUSED, RecordingError, relay};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};

/// Memory that a file may take, in bytes: far more than a recording needs, and less than what
/// brings a machine down.
const MOST_MEMORY: u64 = 4 << 30;

/// This program, to decode the file of that name.
pub(crate) fn command(name: &str) -> Command {
    // The running program, also if its file has been replaced.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("learner")
        .args(["__decode", "--", name])
        .env("RUST_BACKTRACE", "0");
    command
}

/// Reads Parquet on standard input, and answers with JSON Lines of what it folds to. What is wrong
/// with it is said as it is: the parent passes it on.
pub(crate) fn run(name: &str) -> ExitCode {
    let file = bound().and_then(|()| io::stdin().as_fd().try_clone_to_owned());
    let failed = |source| RecordingError::Decoder {
        name: name.to_owned(),
        source,
    };
    let done = file.map_err(failed).and_then(|file| {
        relay(
            File::from(file),
            name,
            Evidence::default(),
            io::stdout().lock(),
        )
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{error}");
            ExitCode::from(REFUSED)
        }
    }
}

/// Ends with the parent, leaves no dump of what it holds, and takes no more than its share.
fn bound() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let Rlimit { current, maximum } = getrlimit(Resource::Data);
    let at_most = |limit: Option<u64>| Some(limit.map_or(MOST_MEMORY, |n| n.min(MOST_MEMORY)));
    let limit = Rlimit {
        current: at_most(current),
        maximum: at_most(maximum),
    };
    Ok(setrlimit(Resource::Data, limit)?)
}

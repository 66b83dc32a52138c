//! The hidden verb between `observe` or `run` and the command: stops itself, is put into its cgroup, and
//! once continued executes the command. So nothing of the command happens unwatched.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use learner::session::{Plan, Subject, Watched, watch};
use rustix::fs::{Access, access};
use rustix::process::{Signal, getpid, kill_process};

use crate::Verdict;
use crate::failure::Failure;

/// Why a command cannot be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// No command was given.
    #[error("no command was given")]
    Nothing,
    /// The command is not in PATH, or not executable.
    #[error("{0}: not found, or not executable; give a path or a command that is in PATH")]
    NotFound(String),
    /// The kernel refused.
    #[error("{command}: {cause}")]
    Refused {
        /// The command.
        command: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
}

/// The command as what is watched, from its first exec: started by this program's hidden verb.
pub(crate) fn subject(argv: &[OsString]) -> Result<Subject, Failure> {
    let own = std::env::current_exe().map_err(Failure::Runtime)?;
    let hidden = ["__launch", "--"].map(OsString::from);
    Ok(Subject::Command {
        launcher: [own.into_os_string()].into_iter().chain(hidden).collect(),
        argv: argv.to_owned(),
    })
}

/// Watches, until what is watched has ended.
pub(crate) fn watched(plan: Plan) -> Result<Watched, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    Ok(runtime.block_on(watch(plan))?)
}

/// Stops, and when continued becomes the command: comes back only with why it could not.
pub(crate) fn run(argv: &[OsString]) -> Result<Verdict, Failure> {
    match become_command(argv) {
        Err(error) => Err(error.into()),
    }
}

fn become_command(argv: &[OsString]) -> Result<Infallible, LaunchError> {
    let (name, arguments) = argv.split_first().ok_or(LaunchError::Nothing)?;
    let shown = || name.to_string_lossy().into_owned();
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let program = find(name, &path).ok_or_else(|| LaunchError::NotFound(shown()))?;
    let mut command = Command::new(program);
    command.arg0(name).args(arguments);
    kill_process(getpid(), Signal::STOP).map_err(|errno| LaunchError::Refused {
        command: shown(),
        cause: errno.into(),
    })?;
    Err(LaunchError::Refused {
        command: shown(),
        cause: command.exec(),
    })
}

/// As a shell finds a command. Done before the watch begins, so that the search is not recorded.
fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let is_program = |p: &Path| p.is_file() && access(p, Access::EXEC_OK).is_ok();
    if name.as_bytes().contains(&b'/') {
        return is_program(Path::new(name)).then(|| name.into());
    }
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|p| is_program(p))
}

//! A process that tries what it is told, line by line, and says what came of it.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use learner::kernel::cgroup::Group;
use libtest_mimic::Failed;

/// The child's side: `act attempts`. Opens nothing by itself.
pub(crate) fn act() {
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let answer = match attempt(&line) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        };
        writeln!(out, "{answer}").expect("an answer");
        out.flush().expect("an answer");
    }
}

fn attempt(line: &str) -> std::io::Result<()> {
    let words: Vec<&str> = line.split(' ').collect();
    let (op, path) = (words[0], Path::new(words[1]));
    let to = || Path::new(words[2]);
    match op {
        "r" => OpenOptions::new().read(true).open(path).map(drop),
        "w" => OpenOptions::new().write(true).open(path).map(drop),
        "rw" => OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map(drop),
        "exec" => Command::new(path)
            .stdin(Stdio::inherit())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .map(drop),
        "create" => nix::sys::stat::mknod(
            path,
            nix::sys::stat::SFlag::S_IFREG,
            nix::sys::stat::Mode::S_IRWXU,
            0,
        )
        .map_err(Into::into),
        "mkdir" => fs::create_dir(path),
        "unlink" => fs::remove_file(path),
        "rmdir" => fs::remove_dir(path),
        "rename" => fs::rename(path, to()),
        "link" => fs::hard_link(path, to()),
        "symlink" => std::os::unix::fs::symlink("anywhere", path),
        "chmod" => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        "truncate" => nix::unistd::truncate(path, 1).map_err(Into::into),
        "memfd" => execute_memfd(path),
        "again" => again(path),
        other => panic!("no attempt {other}"),
    }
}

/// Executes a copy of a program that is in memory alone.
fn execute_memfd(program: &Path) -> std::io::Result<()> {
    let bytes = fs::read(program)?;
    let memory = rustix::fs::memfd_create("copy", rustix::fs::MemfdFlags::empty())?;
    fs::File::from(memory.try_clone()?).write_all(&bytes)?;
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    Command::new(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .map(drop)
}

/// Opens with `O_PATH`, and then for reading by the descriptor.
fn again(path: &Path) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let held = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    fs::File::open(format!("/proc/self/fd/{}", held.as_raw_fd())).map(drop)
}

/// The parent's side: such a process in a cgroup of its own.
pub(crate) struct Attempts {
    pub(crate) group: Group,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Attempts {
    pub(crate) fn start() -> Result<Self, Failed> {
        let group = Group::create("attempts")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["act", "attempts"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        group.add(child.id())?;
        let to = child.stdin.take().ok_or("a pipe")?;
        let from = BufReader::new(child.stdout.take().ok_or("a pipe")?);
        let mut attempts = Self {
            group,
            child,
            to,
            from,
        };
        // It has started when it answers.
        attempts.attempt("r /")?;
        Ok(attempts)
    }

    /// 0, or the errno.
    pub(crate) fn attempt(&mut self, line: &str) -> Result<i32, Failed> {
        writeln!(self.to, "{line}")?;
        let mut answer = String::new();
        self.from.read_line(&mut answer)?;
        Ok(answer
            .trim()
            .parse::<i32>()
            .map_err(|_| format!("{line}: no answer"))?)
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

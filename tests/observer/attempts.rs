//! A process that tries what it is told, line by line, and says what came of it.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use learner::kernel::cgroup::Group;
use libtest_mimic::Failed;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The child's side: `act attempts`. Opens nothing by itself.
pub(crate) fn act() {
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let answer = match line.split_once(' ') {
            Some(("opens", path)) => nanoseconds(2_000, || fs::File::open(path).map(drop)),
            Some(("execs", path)) => nanoseconds(100, || Command::new(path).status().map(drop)),
            _ => match attempt(&line) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(-1),
            },
        };
        writeln!(out, "{answer}").expect("an answer");
        out.flush().expect("an answer");
    }
}

/// How long something takes that is done many times, after a few that do not count: the least of three rounds.
fn nanoseconds(times: u32, mut what: impl FnMut() -> std::io::Result<()>) -> i32 {
    for _ in 0..times / 10 {
        what().expect("it works");
    }
    let mut round = || {
        let begun = std::time::Instant::now();
        for _ in 0..times {
            what().expect("it works");
        }
        (begun.elapsed().as_nanos() / u128::from(times)) as i32
    };
    (0..3).map(|_| round()).min().unwrap_or_default()
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
        // The first is busybox by whatever name.
        "cat" => {
            let mut cat = Command::new(path);
            let output = cat.arg0("cat").arg(to()).stdin(Stdio::inherit()).output()?;
            match output.status.success() {
                true => Ok(()),
                false => Err(std::io::Error::from_raw_os_error(libc::EACCES)),
            }
        }
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
        "execveat" => execute_descriptor(path),
        "again" => again(path),
        "self" => Command::new("/proc/self/exe").output().map(drop),
        "loader" => Command::new(path).arg(to()).output().map(drop),
        "preload" => preload(path, to()),
        "ring" => open_by_ring(path),
        "chroot" => in_a_child(|| {
            nix::unistd::chroot(path)?;
            std::env::set_current_dir("/")?;
            fs::File::open(to()).map(drop)
        }),
        "namespace" => in_a_child(|| {
            alone()?;
            fs::File::open(path).map(drop)
        }),
        "bind" => in_a_child(|| {
            alone()?;
            let none: Option<&str> = None;
            mount(Some(path), to(), none, MsFlags::MS_BIND, none)?;
            fs::File::open(to()).map(drop)
        }),
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

/// Executes a copy of a program that is in memory, by its descriptor and no name at all.
fn execute_descriptor(program: &Path) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let bytes = fs::read(program)?;
    let memory = rustix::fs::memfd_create("copy", rustix::fs::MemfdFlags::empty())?;
    fs::File::from(memory.try_clone()?).write_all(&bytes)?;
    in_a_child(|| {
        let none: [*const libc::c_char; 1] = [std::ptr::null()];
        // SAFETY: an empty path and two lists that end.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                memory.as_raw_fd(),
                c"".as_ptr(),
                none.as_ptr(),
                none.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        Err(std::io::Error::last_os_error())
    })
}

/// Runs a program with a library forced upon it, which the loader tells if it cannot open it.
fn preload(program: &Path, library: &Path) -> std::io::Result<()> {
    let output = Command::new(program)
        .args(["act", "nothing"])
        .env("LD_PRELOAD", library)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("cannot open shared object file") {
        return Err(std::io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(())
}

/// Opens a file by io_uring alone, in one of the kernel's own threads.
fn open_by_ring(file: &Path) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut ring = io_uring::IoUring::new(4)?;
    let name = std::ffi::CString::new(file.as_os_str().as_bytes())?;
    let open = io_uring::opcode::OpenAt::new(io_uring::types::Fd(libc::AT_FDCWD), name.as_ptr())
        .flags(libc::O_RDONLY)
        .build()
        .flags(io_uring::squeue::Flags::ASYNC);
    // SAFETY: `name` lives until the completion has been waited for.
    unsafe { ring.submission().push(&open) }.expect("room");
    ring.submit_and_wait(1)?;
    match ring.completion().next().expect("completed").result() {
        result if result < 0 => Err(std::io::Error::from_raw_os_error(-result)),
        _ => Ok(()),
    }
}

/// A mount namespace of its own.
fn alone() -> std::io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    Ok(mount(none, "/", none, private, none)?)
}

/// Does what must not touch this process in a child of it.
fn in_a_child(what: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            let error = what().err().map(|e| e.raw_os_error().unwrap_or(255));
            // SAFETY: nothing of the parent's is to be done at the end.
            unsafe { libc::_exit(error.unwrap_or(0)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            unsafe { libc::waitpid(child, &mut status, 0) };
            match libc::WEXITSTATUS(status) {
                0 => Ok(()),
                error => Err(std::io::Error::from_raw_os_error(error)),
            }
        }
    }
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

/// This program in a cgroup, as the scenario that is still to be named. Executed there: who was moved in and has
/// executed nothing yet is let be.
pub(crate) fn acting(group: &Group) -> std::io::Result<Command> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "echo $$ > \"$0\"; exec \"$@\""])
        .arg(group.path().join("cgroup.procs"))
        .arg(std::env::current_exe()?)
        .arg("act");
    Ok(command)
}

impl Attempts {
    pub(crate) fn start() -> Result<Self, Failed> {
        let group = Group::create("attempts")?;
        let mut child = acting(&group)?
            .arg("attempts")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
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

//! The program that is watched. Each scenario does what its name says and nothing else.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};

/// Acts a scenario; panics if an operation that should work does not.
pub(crate) fn run(arguments: Vec<OsString>) {
    let scenario = arguments[0].to_str().expect("utf-8");
    let paths: Vec<PathBuf> = arguments[1..].iter().map(PathBuf::from).collect();
    let path = |n: usize| paths[n].as_path();
    match scenario {
        "nothing" => {}
        "read" => drop(File::open(path(0)).expect("open")),
        "read-again-later" => {
            for _ in 0..3 {
                drop(File::open(path(0)).expect("open"));
                std::thread::sleep(std::time::Duration::from_secs(2));
            }
        }
        "read-relative" => {
            std::env::set_current_dir(path(0)).expect("chdir");
            drop(File::open(path(1)).expect("open"));
        }
        "read-write" => {
            drop(
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(path(0))
                    .expect("open"),
            );
        }
        "append" => drop(OpenOptions::new().append(true).open(path(0)).expect("open")),
        "openat2" => {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let none = ResolveFlags::empty();
            rustix::fs::openat2(CWD, path(0), flags, Mode::empty(), none).expect("openat2");
        }
        "create" => {
            drop(
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(path(0))
                    .expect("create"),
            );
        }
        "overwrite" => drop(File::create(path(0)).expect("overwrite")),
        "read-directory" => {
            assert_eq!(fs::read_dir(path(0)).expect("directory").count(), 1);
        }
        "only-path" => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::open(path(0), flags, Mode::empty()).expect("O_PATH");
        }
        "rename" => fs::rename(path(0), path(1)).expect("rename"),
        "unlink" => fs::remove_file(path(0)).expect("unlink"),
        "mkdir" => fs::create_dir(path(0)).expect("mkdir"),
        "rmdir" => fs::remove_dir(path(0)).expect("rmdir"),
        "link" => fs::hard_link(path(0), path(1)).expect("link"),
        "symlink" => std::os::unix::fs::symlink(path(0), path(1)).expect("symlink"),
        "chmod" => fs::set_permissions(path(0), fs::Permissions::from_mode(0o600)).expect("chmod"),
        "fchmod" => {
            let file = File::open(path(0)).expect("open");
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .expect("fchmod");
        }
        "truncate" => {
            nix::unistd::truncate(path(0), 0).expect("truncate");
        }
        "ftruncate" => {
            let file = OpenOptions::new().write(true).open(path(0)).expect("open");
            file.set_len(0).expect("ftruncate");
        }
        "mkfifo" => nix::unistd::mkfifo(path(0), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo"),
        "bind" => drop(std::os::unix::net::UnixListener::bind(path(0)).expect("bind")),
        "directory-by-descriptor" => {
            let dir = File::open(path(0)).expect("directory");
            rustix::fs::mkdirat(dir.as_fd(), "made", Mode::RWXU).expect("mkdirat");
            rustix::fs::renameat(dir.as_fd(), "made", dir.as_fd(), "moved").expect("renameat");
            rustix::fs::unlinkat(dir.as_fd(), "moved", AtFlags::REMOVEDIR).expect("unlinkat");
        }
        "chroot" => {
            nix::unistd::chroot(path(0)).expect("chroot");
            std::env::set_current_dir("/").expect("chdir");
            drop(File::open("/file").expect("open"));
            fs::create_dir("/dir/../made").expect("mkdir");
        }
        "nested-group" => nested_group(path(0)),
        "execute" => {
            let status = Command::new(path(0)).status().expect("execute");
            assert!(status.success());
        }
        "become" => {
            use std::os::unix::process::CommandExt;
            panic!("{}", Command::new(path(0)).exec());
        }
        "crowd" => crowd(path(0)),
        "read-many-times" => {
            for _ in 0..1000 {
                drop(File::open(path(0)).expect("open"));
            }
        }
        "read-all" => {
            for entry in paths_of(path(0)) {
                drop(File::open(entry).expect("open"));
            }
        }
        "read-all-unobserved" => {
            // The observer is our parent: stopped, it takes nothing out of the ring.
            let observer = rustix::process::getppid().expect("a parent");
            let tell = |signal| rustix::process::kill_process(observer, signal).expect("told");
            let files = paths_of(path(0));
            tell(rustix::process::Signal::STOP);
            let opened = files.iter().all(|file| File::open(file).is_ok());
            tell(rustix::process::Signal::CONT);
            assert!(opened);
        }
        "read-each" => {
            for file in &paths {
                drop(File::open(file).expect("open"));
            }
        }
        "read-missing" => assert!(File::open(path(0)).is_err()),
        "reuse-an-inode" => reuse_an_inode(path(0)),
        "rename-the-directory" => {
            drop(File::open(path(0).join("file")).expect("open"));
            fs::rename(path(0), path(1)).expect("rename");
            drop(File::open(path(1).join("file")).expect("open"));
        }
        "repeat-through-changes" => repeat_through_changes(path(0)),
        "go-deep" => go_deep(path(0)),
        "ring" => ring(path(0)),
        "leave-a-daemon" => leave_a_daemon(path(0)),
        "overlay" => super::overlay::act(path(0)),
        "pivot" => super::roots::pivot(path(0)),
        "by-proc-self" => super::roots::by_proc_self(path(0)),
        "through-a-link-that-goes" => super::roots::through_a_link_that_goes(path(0)),
        "fail" => fail(path(0)),
        "run-without-a-first-line" => {
            let status = Command::new("/bin/sh").arg("-c").arg(path(0)).status();
            assert!(status.expect("a shell").success());
        }
        "turn" => super::overhead::turn(path(0), path(1)),
        "attempts" => super::attempts::act(),
        "mkdir-as-32-bit" => super::compat::mkdir(path(0)),
        other => panic!("no scenario {other}"),
    }
}

/// Opens, each some times, while their names come to mean other files and other names these files.
fn repeat_through_changes(dir: &Path) {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use nix::sched::{CloneFlags, unshare};
    let (a, b, bound) = (dir.join("a"), dir.join("b"), dir.join("mount"));
    let read = |path: &Path| (0..5).for_each(|_| drop(File::open(path).expect("open")));
    read(&a.join("file"));
    fs::rename(&a, &b).expect("renamed");
    read(&b.join("file"));
    fs::rename(b.join("file"), b.join("other")).expect("renamed");
    read(&b.join("other"));
    fs::create_dir(&a).expect("a directory");
    fs::write(a.join("unlike"), "").expect("a file");
    fs::rename(a.join("unlike"), a.join("file")).expect("renamed");
    read(&a.join("file"));
    for _ in 0..5 {
        let mut both = OpenOptions::new();
        drop(
            both.read(true)
                .write(true)
                .open(a.join("file"))
                .expect("open"),
        );
    }
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let none: Option<&str> = None;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(none, "/", none, private, none).expect("private");
    mount(Some(&a), &bound, none, MsFlags::MS_BIND, none).expect("mounted");
    read(&bound.join("file"));
    umount2(&bound, MntFlags::MNT_DETACH).expect("unmounted");
    read(&a.join("file"));
}

/// Operations that the kernel begins to check and then refuses, each in its own way.
fn fail(dir: &Path) {
    assert!(fs::remove_dir(dir.join("full")).is_err(), "not empty");
    assert!(fs::create_dir(dir.join("full")).is_err(), "exists");
    assert!(fs::remove_file(dir.join("full")).is_err(), "a directory");
    assert!(
        fs::rename(dir.join("file"), dir.join("full")).is_err(),
        "onto one"
    );
    assert!(
        Command::new(dir.join("no-program")).status().is_err(),
        "no format"
    );
    // Nobody may change anything in the directory of root.
    let nobody = rustix::fs::Uid::from_raw(65534);
    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("setresuid");
    assert!(fs::create_dir(dir.join("new")).is_err(), "not allowed");
    assert!(fs::remove_file(dir.join("file")).is_err(), "not allowed");
    assert!(fs::set_permissions(dir.join("file"), fs::Permissions::from_mode(0o777)).is_err());
}

/// Names that the observer's own directory walk made; sorted, so that the order is the same.
fn paths_of(list: &Path) -> Vec<PathBuf> {
    let count: usize = fs::read_to_string(list.join("count"))
        .expect("count")
        .parse()
        .expect("number");
    (0..count).map(|n| list.join(format!("f{n}"))).collect()
}

/// Moves itself to a cgroup below its own, and reads there.
fn nested_group(file: &Path) {
    let groups = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
    let own = groups
        .lines()
        .find_map(|l| l.strip_prefix("0::/"))
        .expect("cgroup v2");
    let mount = learner::kernel::cgroup::mount_point().expect("mounted");
    let nested = mount.join(own).join("inner").join("most");
    fs::create_dir_all(&nested).expect("nested group");
    fs::write(nested.join("cgroup.procs"), "0").expect("moved");
    drop(File::open(file).expect("open"));
}

/// 200 processes at once, each of which reads a file of its own.
fn crowd(dir: &Path) {
    let own = std::env::current_exe().expect("own image");
    let children: Vec<_> = (0..200)
        .map(|n| {
            let file = dir.join(format!("f{n}"));
            Command::new(&own)
                .arg("act")
                .arg("read")
                .arg(file)
                .spawn()
                .expect("spawn")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
}

/// A file is removed and another made, until the second has the first one's inode number.
fn reuse_an_inode(dir: &Path) {
    use std::os::unix::fs::MetadataExt;
    for n in 0..1000 {
        let (first, second) = (
            dir.join(format!("first{n}")),
            dir.join(format!("second{n}")),
        );
        let number = File::create(&first)
            .expect("create")
            .metadata()
            .expect("stat")
            .ino();
        drop(File::open(&first).expect("open"));
        fs::remove_file(&first).expect("unlink");
        let again = File::create(&second)
            .expect("create")
            .metadata()
            .expect("stat")
            .ino();
        drop(File::open(&second).expect("open"));
        if number == again {
            fs::write(dir.join("which"), n.to_string()).expect("which");
            return;
        }
    }
    // tmpfs never reuses: any pair will do.
    fs::write(dir.join("which"), "0").expect("which");
}

/// 130 directories, one in the other, and a file in the last.
fn go_deep(dir: &Path) {
    std::env::set_current_dir(dir).expect("chdir");
    for _ in 0..130 {
        fs::create_dir("d").expect("mkdir");
        std::env::set_current_dir("d").expect("chdir");
    }
    drop(
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open("file")
            .expect("create"),
    );
}

/// Opens a file by io_uring alone.
fn ring(file: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let mut ring = io_uring::IoUring::new(4).expect("io_uring");
    let name = std::ffi::CString::new(file.as_os_str().as_bytes()).expect("name");
    let fd = io_uring::types::Fd(libc::AT_FDCWD);
    let open = io_uring::opcode::OpenAt::new(fd, name.as_ptr())
        .flags(libc::O_RDONLY)
        .build();
    // SAFETY: `name` lives until the completion has been waited for.
    unsafe { ring.submission().push(&open) }.expect("room");
    ring.submit_and_wait(1).expect("submitted");
    let result = ring.completion().next().expect("completed").result();
    assert!(result >= 0, "open by io_uring: {result}");
}

/// A child that outlives this process, and reads after it is gone.
#[expect(clippy::zombie_processes, reason = "it is to outlive this process")]
fn leave_a_daemon(file: &Path) {
    let own = std::env::current_exe().expect("own image");
    let script = format!(
        "sleep 0.3; exec {} act read {}",
        own.display(),
        file.display()
    );
    Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .spawn()
        .expect("spawn");
}

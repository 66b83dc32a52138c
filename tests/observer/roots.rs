//! Roots that change, and names that lead elsewhere by the time they are looked up.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use learner::kernel::Rung;
use learner::observation::Loss;
use libtest_mimic::Failed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::check;
use crate::scenarios::expect;
use crate::watched::{World, act};

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[
    ("after pivot_root paths are those of the new root", pivoted),
    ("/proc/self is the workload and not the observer", proc_self),
    (
        "a path through a link that is gone is right or counted as lost",
        link_gone,
    ),
];

/// Makes a tmpfs with a link in it its root, and makes a directory through the link.
pub(crate) fn pivot(dir: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).expect("mount namespace");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("private");
    mount(Some("new"), dir, Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs");
    std::env::set_current_dir(dir).expect("chdir");
    // Looked up in the old root, so that the observer has met it under this namespace.
    fs::create_dir_all(dir.join("real-here/before")).expect("mkdir");
    symlink("real-here", "link-here").expect("symlink");
    if nix::unistd::pivot_root(".", ".").is_ok() {
        umount2(".", MntFlags::MNT_DETACH).expect("old root");
    } else {
        // An initramfs cannot be pivoted away from.
        mount(Some("."), "/", none, MsFlags::MS_MOVE, none).expect("move");
        nix::unistd::chroot(".").expect("chroot");
    }
    std::env::set_current_dir("/").expect("chdir");
    fs::create_dir("/link-here/made").expect("mkdir");
    // Long enough for the observer to look.
    std::thread::sleep(std::time::Duration::from_millis(500));
}

fn pivoted(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let seen = act(rung, "pivot", &[&world.path()])?;
    let made = |path: &str| {
        seen.find(Path::new(path))
            .iter()
            .any(|b| b.op.name() == "mkdir")
    };
    check(made("/real-here/made") && !made("/link-here/made"), || {
        format!(
            "lost {:?}, seen {:#?}",
            seen.lost(),
            seen.below(Path::new("/real-here"))
        )
    })
}

/// Changes a file's mode by the link that stands for its descriptor.
pub(crate) fn by_proc_self(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = File::open(file).expect("open");
    let link = format!("/proc/self/fd/{}", open.as_raw_fd());
    fs::set_permissions(link, fs::Permissions::from_mode(0o600)).expect("chmod");
    std::thread::sleep(std::time::Duration::from_millis(500));
}

fn proc_self(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let seen = act(rung, "by-proc-self", &[&world.file("file")])?;
    expect(&seen, &world, &["open r %/file", "chmod %/file"])
}

/// Twenty directories removed through a link that is removed right behind.
pub(crate) fn through_a_link_that_goes(dir: &Path) {
    fs::create_dir(dir.join("real")).expect("mkdir");
    for n in 0..20 {
        fs::create_dir(dir.join(format!("real/x{n}"))).expect("mkdir");
        symlink("real", dir.join("link")).expect("symlink");
        fs::remove_dir(dir.join(format!("link/x{n}"))).expect("rmdir");
        fs::remove_file(dir.join("link")).expect("unlink");
    }
}

fn link_gone(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let seen = act(rung, "through-a-link-that-goes", &[&world.path()])?;
    let removed = |at: &str| -> u64 {
        let lines = seen.counted(&world.join(at));
        let of = lines.iter().filter(|(line, _)| line.starts_with("rmdir "));
        of.map(|(_, count)| count).sum()
    };
    let unresolved = Loss::from("unresolved");
    let lost = seen.lost().get(&unresolved).copied().unwrap_or(0);
    let right = removed("real");
    check(removed("link") == 0 && right + lost == 20, || {
        format!("{right} right, {lost} lost, {} wrong", removed("link"))
    })
}

//! On an overlayfs root, as every container has: what the file system opens for itself is not the
//! workload's.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use learner::kernel::Rung;
use libtest_mimic::Failed;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::check;
use crate::watched::{self, World};

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[(
    "on an overlay root only the workload's own operations are seen",
    overlay_root,
)];

/// Makes an overlay of `dir` its root, as a container runtime does, and works there.
pub(crate) fn act(dir: &Path) {
    let merged = dir.join("merged");
    unshare(CloneFlags::CLONE_NEWNS).expect("mount namespace");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("private");
    let at = |name: &str| dir.join(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower"),
        at("upper"),
        at("work")
    );
    mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .expect("overlay");
    std::env::set_current_dir(&merged).expect("chdir");
    if nix::unistd::pivot_root(".", ".").is_ok() {
        umount2(".", MntFlags::MNT_DETACH).expect("old root");
    } else {
        // An initramfs cannot be pivoted away from: move the mount over the root instead.
        mount(Some("."), "/", none, MsFlags::MS_MOVE, none).expect("move");
        nix::unistd::chroot(".").expect("chroot");
    }
    std::env::set_current_dir("/").expect("chdir");
    drop(File::open("/work-here/image-file").expect("read"));
    // The first write to a file of the image copies it up.
    drop(
        OpenOptions::new()
            .append(true)
            .open("/work-here/image-file")
            .expect("write"),
    );
    drop(File::create_new("/work-here/new-file").expect("create"));
    drop(File::open("/work-here/new-file").expect("read"));
    fs::rename("/work-here/other-file", "/work-here/moved").expect("rename");
    fs::remove_file("/work-here/third-file").expect("unlink");
    // The tracepoint rung resolves names afterwards, under this root, which goes with its last process.
    std::thread::sleep(Duration::from_secs(2));
}

fn overlay_root(rung: Rung) -> Result<(), Failed> {
    let filesystems = fs::read_to_string("/proc/filesystems")?;
    if !filesystems.contains("overlay") {
        eprintln!("skipped: this kernel has no overlayfs (it is tested in the virtual machine)");
        return Ok(());
    }
    let world = World::new();
    for name in ["image-file", "other-file", "third-file"] {
        world.file(&format!("lower/work-here/{name}"));
    }
    for name in ["upper", "work", "merged"] {
        fs::create_dir(world.join(name))?;
    }
    let seen = watched::act(rung, "overlay", &[&world.path()])?;
    let got = seen.below(Path::new("/work-here"));
    let wanted = world.lines([
        "open r /work-here/image-file",
        "open w /work-here/image-file",
        "create /work-here/new-file",
        "open rw /work-here/new-file",
        "open r /work-here/new-file",
        "rename /work-here/other-file -> /work-here/moved",
        "unlink /work-here/third-file",
    ]);
    check(got == wanted, || format!("got {got:#?}"))?;
    // Nothing of the layers, by whatever name.
    let layers: Vec<String> = seen
        .profile
        .seen
        .keys()
        .map(ToString::to_string)
        .filter(|line| {
            ["/lower/", "/upper/", "/work/work", "/#"]
                .iter()
                .any(|inner| line.contains(inner))
        })
        .collect();
    check(layers.is_empty(), || {
        format!("the file system's own: {layers:#?}")
    })?;
    let upper = |path: &str| {
        seen.find(Path::new(path))
            .iter()
            .filter(|b| b.op.name() == "open")
            .map(|b| b.upper)
            .collect::<Vec<_>>()
    };
    check(
        upper("/work-here/new-file")
            .iter()
            .all(|u| *u == Some(true)),
        || format!("new-file: upper {:?}", upper("/work-here/new-file")),
    )?;
    check(
        upper("/work-here/image-file").contains(&Some(false)),
        || format!("image-file: upper {:?}", upper("/work-here/image-file")),
    )
}

//! An open that a policy has let be is not looked up again: it is judged by what it is now all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use learner::kernel::Rung;
use learner::policy::meaning::Posture;
use libtest_mimic::Failed;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};

use crate::attempts::Attempts;
use crate::check;
use crate::enforce::enforces;
use crate::enforced::{files, kernel, under};
use crate::watched::World;

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[
    (
        "enforced: an open that is repeated is judged by what it is now",
        repeated,
    ),
    (
        "enforced: who opens is the program that runs now",
        by_another_program,
    ),
    (
        "enforced: a mount that others move is judged by where it is now",
        moved_by_others,
    ),
];

const EACCES: i32 = 13;

fn repeated(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let world = World::new();
    let (allowed, other) = (world.file("d/x/allowed"), world.join("d/x/other"));
    let mut attempts = Attempts::start()?;
    let mut kernel = kernel()?;
    let group = attempts.group.id()?;
    let rule = |more: &str| {
        files(&format!(
            "{{matchPaths: [{{path: {}{more}}}]}}",
            allowed.display()
        ))
    };
    let mut apply = |text: &str| kernel.apply(group, 11, [0, 0], &under(text, Posture::Block).1);
    let mut expect = |what: &str, line: &str, path: &Path, answer: i32| -> Result<(), Failed> {
        // More than once: by the walk, and by what was kept of it.
        for turn in 0..3 {
            let given = attempts.attempt(&format!("{line} {}", path.display()))?;
            check(given == answer, || format!("{what}, turn {turn}: {given}"))?;
        }
        Ok(())
    };
    apply(&rule(""))?;
    expect("the file", "r", &allowed, 0)?;

    fs::rename(&allowed, &other)?;
    expect("under another name", "r", &other, EACCES)?;
    fs::rename(&other, &allowed)?;
    expect("under its name again", "r", &allowed, 0)?;

    let (dir, moved) = (world.join("d/x"), world.join("d/y"));
    fs::rename(&dir, &moved)?;
    expect(
        "in a directory of another name",
        "r",
        &moved.join("allowed"),
        EACCES,
    )?;
    fs::rename(&moved, &dir)?;
    expect("in its directory again", "r", &allowed, 0)?;

    fs::hard_link(&allowed, &other)?;
    expect("by a second name", "r", &other, EACCES)?;
    fs::remove_file(&other)?;

    let elsewhere = world.join("e");
    fs::create_dir(&elsewhere)?;
    mount(
        Some(&dir),
        &elsewhere,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    let by_mount = expect("on another mount", "r", &elsewhere.join("allowed"), EACCES);
    umount(&elsewhere)?;
    by_mount?;

    // Memory of a name that is gone is used for another one.
    for turn in 0..100 {
        fs::write(&allowed, "x")?;
        expect("made again", "r", &allowed, 0)?;
        fs::remove_file(&allowed)?;
        let name = dir.join(format!("n{turn}"));
        fs::write(&name, "x")?;
        expect("another file", "r", &name, EACCES)?;
        fs::remove_file(&name)?;
    }

    fs::write(&allowed, "x")?;
    apply(&rule(", readOnly: true"))?;
    expect("to read", "r", &allowed, 0)?;
    expect("to write", "w", &allowed, EACCES)?;

    apply(&rule(", ownerOnly: true"))?;
    expect("by its owner", "r", &allowed, 0)?;
    std::os::unix::fs::chown(&allowed, Some(1), None)?;
    expect("by somebody else", "r", &allowed, EACCES)?;

    apply(&rule(""))?;
    expect("under the first policy", "r", &allowed, 0)?;
    apply(&files("{matchPaths: [{path: /nothing}]}"))?;
    expect("under another policy", "r", &allowed, EACCES)?;
    kernel.lift(group.id)?;
    Ok(())
}

/// Programs of one inode come and go under two names, whose memory each takes over from the other.
fn by_another_program(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let world = World::new();
    let (file, program) = (world.file("file"), world.join("program"));
    fs::copy("/bin/busybox", &program)?;
    let (allowed, other) = (world.join("bin/allowed"), world.join("bin/another"));
    fs::create_dir(world.join("bin"))?;
    let mut attempts = Attempts::start()?;
    let mut kernel = kernel()?;
    let group = attempts.group.id()?;
    let policy = files(&format!(
        "{{matchDirectories: [{{dir: {}/}}], matchPaths: [{{path: {}, fromSource: [{{path: {}}}]}}]}}",
        world.join("bin").display(),
        file.display(),
        allowed.display(),
    ));
    kernel.apply(group, 11, [0, 0], &under(&policy, Posture::Block).1)?;
    let mut expect = |by: &Path, turn: usize, answer: i32| -> Result<(), Failed> {
        for _ in 0..2 {
            let given = attempts.attempt(&format!("cat {} {}", by.display(), file.display()))?;
            check(given == answer, || format!("{by:?}, turn {turn}: {given}"))?;
        }
        Ok(())
    };
    for turn in 0..20 {
        for (by, answer) in [(&allowed, 0), (&other, EACCES)] {
            fs::hard_link(&program, by)?;
            expect(by, turn, answer)?;
            fs::remove_file(by)?;
        }
    }
    kernel.lift(group.id)?;
    Ok(())
}

/// Mounts of a namespace that this process is not in, done by a thread that is: the first is bound on the
/// second, and then moved to the third. What the thread did when is told by the two channels.
fn others(
    (bound, on, then): (PathBuf, PathBuf, PathBuf),
    ready: Sender<PathBuf>,
    go_on: Receiver<()>,
) -> Result<(), Failed> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
    mount(Some(&bound), &on, none, MsFlags::MS_BIND, none)?;
    let root = fs::read_link("/proc/thread-self")?;
    ready.send(Path::new("/proc").join(root).join("root"))?;
    go_on.recv()?;
    mount(Some(&on), &then, none, MsFlags::MS_MOVE, none)?;
    ready.send(then)?;
    // Until nobody wants anything any more.
    let _ = go_on.recv();
    Ok(())
}

fn moved_by_others(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let world = World::new();
    let dir = world.file("d/x/file");
    let dir = dir.parent().ok_or("a directory")?.to_owned();
    let (on, then) = (world.join("on"), world.join("then"));
    for mountpoint in [&on, &then] {
        fs::create_dir(mountpoint)?;
    }
    let mut attempts = Attempts::start()?;
    let mut kernel = kernel()?;
    let group = attempts.group.id()?;
    let rule = files(&format!(
        "{{matchPaths: [{{path: {}}}]}}",
        on.join("file").display()
    ));
    kernel.apply(group, 12, [0, 0], &under(&rule, Posture::Block).1)?;
    let (ready, told) = channel();
    let (go_on, waits) = channel();
    let mounts = (dir, on.clone(), then.clone());
    let thread = std::thread::spawn(move || others(mounts, ready, waits));
    let root = told.recv()?;
    let inside = |path: &Path| format!("{}{}/file", root.display(), path.display());
    let mut expect = |what: &str, path: &Path, answer: i32| -> Result<(), Failed> {
        for turn in 0..3 {
            let given = attempts.attempt(&format!("r {}", inside(path)))?;
            check(given == answer, || format!("{what}, turn {turn}: {given}"))?;
        }
        Ok(())
    };
    expect("where it was bound", &on, 0)?;
    go_on.send(())?;
    told.recv()?;
    expect("where it was moved", &then, EACCES)?;
    drop(go_on);
    thread.join().map_err(|_| "the thread panicked")??;
    kernel.lift(group.id)?;
    Ok(())
}

//! Do one thing, expect exactly its events.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use learner::behavior::{Op, Outcome};
use learner::kernel::{Rung, Settings};
use learner::observation::Loss;
use learner::profile::DEFAULT_MAX_BEHAVIORS;
use learner::session::{Plan, Subject};
use libtest_mimic::Failed;

use std::os::unix::fs::PermissionsExt;

use crate::execs::{executable, shell};
use crate::watched::{Seen, World, act, attach, run};
use crate::{check, execs, limits};

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[
    (
        "each operation is seen as itself and nothing else",
        each_operation,
    ),
    ("a relative path is resolved", relative_path),
    ("a symbolic link is resolved", symbolic_link),
    ("a hard link is another path", hard_link),
    (
        "operations by directory descriptor are resolved",
        by_descriptor,
    ),
    (
        "a chroot'ed process is seen from the root of its mount namespace",
        chrooted,
    ),
    ("a nested cgroup belongs to its workload", nested_group),
    ("a script and its interpreter are executed", execs::script),
    (
        "a chain of scripts is seen whole",
        execs::script_of_a_script,
    ),
    (
        "exec names the parent's image, the kernel's opens the one before",
        execs::sources,
    ),
    ("two hundred processes at once lose nothing", limits::crowd),
    ("a repeated behaviour is one, counted", limits::repeated),
    (
        "a repeated behaviour is told with the time of its last turn",
        limits::repeated_later,
    ),
    (
        "a file under a reused inode number is a new behaviour",
        reused_inode,
    ),
    (
        "a file whose directory was renamed is a new behaviour",
        renamed_directory,
    ),
    (
        "an open that is repeated has the path of now",
        repeated_through_changes,
    ),
    ("hostile names come through byte for byte", hostile_names),
    (
        "a path of 64 components and one of 4095 bytes are whole",
        limits::limits,
    ),
    (
        "a path beyond the limits is counted as lost",
        limits::beyond_the_limits,
    ),
    ("what others do is not seen", others),
    (
        "a descendant that outlives the command is waited for",
        daemon,
    ),
    ("a failed operation is never learned", failed),
    (
        "a script without a first line is executed by the shell that reads it",
        script_without_first_line,
    ),
    ("an open by io_uring is seen or counted", by_ring),
    (
        "a flood loses events and says exactly how many",
        limits::flood,
    ),
    (
        "a running group is watched late, with what it has open",
        late,
    ),
    ("every rung gives the same policy", execs::same_policy),
];

pub(crate) fn expect(seen: &Seen, world: &World, lines: &[&str]) -> Result<(), Failed> {
    let (got, wanted) = (
        seen.below(&world.path()),
        world.lines(lines.iter().copied()),
    );
    check(got == wanted, || {
        let extra: Vec<_> = got.difference(&wanted).collect();
        let missing: Vec<_> = wanted.difference(&got).collect();
        format!("unexpected {extra:#?}\nmissing {missing:#?}")
    })?;
    check(seen.lost().is_empty(), || format!("lost {:?}", seen.lost()))
}

fn each_operation(rung: Rung) -> Result<(), Failed> {
    // Scenario, its paths, and what is expected.
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("read", &["file"], &["open r %/file"]),
        ("read-write", &["file"], &["open rw %/file"]),
        ("append", &["file"], &["open w %/file"]),
        ("openat2", &["file"], &["open w %/file"]),
        ("create", &["new"], &["create %/new", "open w %/new"]),
        (
            "overwrite",
            &["file"],
            &["open w %/file", "truncate %/file"],
        ),
        ("overwrite", &["new"], &["create %/new", "open w %/new"]),
        ("read-directory", &["dir"], &["open r %/dir/"]),
        ("only-path", &["file"], &[]),
        ("rename", &["file", "new"], &["rename %/file -> %/new"]),
        ("unlink", &["file"], &["unlink %/file"]),
        ("mkdir", &["new"], &["mkdir %/new"]),
        ("rmdir", &["empty"], &["rmdir %/empty"]),
        ("link", &["file", "new"], &["link %/file -> %/new"]),
        ("symlink", &["file", "new"], &["symlink %/new"]),
        ("chmod", &["file"], &["chmod %/file"]),
        ("fchmod", &["file"], &["chmod %/file", "open r %/file"]),
        ("truncate", &["file"], &["truncate %/file"]),
        (
            "ftruncate",
            &["file"],
            &["open w %/file", "truncate %/file"],
        ),
        ("mkfifo", &["new"], &["create %/new"]),
        ("bind", &["new"], &["create %/new"]),
    ];
    for (scenario, names, wanted) in cases {
        let world = World::new();
        world.file("file");
        world.file("dir/inside");
        std::fs::create_dir(world.join("empty"))?;
        let paths: Vec<PathBuf> = names.iter().map(|name| world.join(name)).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let seen = act(rung, scenario, &paths)?;
        expect(&seen, &world, wanted).map_err(|e| {
            Failed::from(format!(
                "{scenario} {names:?}: {}",
                e.message().unwrap_or_default()
            ))
        })?;
    }
    Ok(())
}

fn relative_path(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    world.file("a/file");
    world.file("a/b/c");
    let seen = act(
        rung,
        "read-relative",
        &[&world.join("a/b"), Path::new("../b/.././file")],
    )?;
    expect(&seen, &world, &["open r %/a/file"])
}

fn symbolic_link(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    world.file("real/file");
    std::os::unix::fs::symlink("real", world.join("link"))?;
    std::os::unix::fs::symlink("link/file", world.join("alias"))?;
    let seen = act(rung, "read", &[&world.join("alias")])?;
    expect(&seen, &world, &["open r %/real/file"])?;
    let seen = act(rung, "mkdir", &[&world.join("link/new")])?;
    expect(&seen, &world, &["mkdir %/real/new"])?;
    let seen = act(rung, "chmod", &[&world.join("alias")])?;
    expect(&seen, &world, &["chmod %/real/file"])?;
    let seen = act(rung, "unlink", &[&world.join("alias")])?;
    expect(&seen, &world, &["unlink %/alias"])
}

fn hard_link(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    std::fs::hard_link(world.file("one"), world.join("two"))?;
    let seen = act(rung, "read-each", &[&world.join("one"), &world.join("two")])?;
    expect(&seen, &world, &["open r %/one", "open r %/two"])
}

fn by_descriptor(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let seen = act(rung, "directory-by-descriptor", &[&world.path()])?;
    expect(
        &seen,
        &world,
        &[
            "open r %/",
            "mkdir %/made",
            "rename %/made -> %/moved",
            "rmdir %/moved",
        ],
    )
}

fn chrooted(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    world.file("jail/file");
    world.file("jail/dir/x");
    let seen = act(rung, "chroot", &[&world.join("jail")])?;
    expect(&seen, &world, &["open r %/jail/file", "mkdir %/jail/made"])
}

fn nested_group(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    world.file("file");
    let seen = act(rung, "nested-group", &[&world.join("file")])?;
    expect(&seen, &world, &["open r %/file"])
}

fn reused_inode(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let seen = act(rung, "reuse-an-inode", &[&world.path()])?;
    let n = std::fs::read_to_string(world.join("which"))?;
    let (first, second) = (
        world.join(&format!("first{n}")),
        world.join(&format!("second{n}")),
    );
    for path in [first, second] {
        check(
            seen.find(&path).iter().any(|b| matches!(b.op, Op::Open(_))),
            || format!("{} was not seen", path.display()),
        )?;
    }
    Ok(())
}

fn renamed_directory(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    world.file("old/file");
    let seen = act(
        rung,
        "rename-the-directory",
        &[&world.join("old"), &world.join("new")],
    )?;
    expect(
        &seen,
        &world,
        &[
            "open r %/old/file",
            "rename %/old -> %/new",
            "open r %/new/file",
        ],
    )
}

/// However well known the objects are that an open goes through, its path is the one of now, and every
/// open counts.
fn repeated_through_changes(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    world.file("a/file");
    world.file("a/other");
    std::fs::create_dir(world.join("mount"))?;
    let seen = act(rung, "repeat-through-changes", &[&world.path()])?;
    let counted = seen.counted(&world.path());
    let of = |line: &str| {
        let line = line.replace('%', &world.path().display().to_string());
        counted.get(&line).copied().unwrap_or_default()
    };
    for (line, count) in [
        // Before the directory is renamed, when another one has its name, after the bind mount.
        ("open r %/a/file", 5 + 5 + 5),
        ("open r %/b/file", 5),
        // Over the file, its neighbour has been renamed.
        ("open r %/b/other", 5),
        ("open r %/mount/file", 5),
        ("open rw %/a/file", 5),
    ] {
        check(of(line) == count, || {
            format!("{line}: {} instead of {count}; all: {counted:#?}", of(line))
        })?;
    }
    check(seen.lost().is_empty(), || format!("{:?}", seen.lost()))
}

fn hostile_names(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let names: [&[u8]; 6] = [
        b"new\nline",
        b"\"quote'",
        b"- yaml: [x",
        b"\xff\xfe",
        b" blank ",
        b"\x1b[31m",
    ];
    let mut files = Vec::new();
    for name in names {
        let file = world.path().join(OsStr::from_bytes(name));
        std::fs::write(&file, "x")?;
        files.push(file);
    }
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let seen = act(rung, "read-each", &paths)?;
    for file in &files {
        check(seen.find(file).len() == 1, || {
            format!("{file:?} was not seen as it is")
        })?;
    }
    check(seen.below(&world.path()).len() == files.len(), || {
        "something else was seen".into()
    })
}

fn others(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let ours = world.file("ours");
    world.file("theirs");
    // Not in this process: each child that ends would interrupt the verifier at its work.
    let mut other = Command::new("/bin/sh")
        .arg("-c")
        .arg("while :; do read line < theirs; /bin/sh -c :; done")
        .current_dir(world.path())
        .spawn()?;
    let seen = act(rung, "read-many-times", &[&ours]);
    other.kill()?;
    other.wait()?;
    let seen = seen?;
    expect(&seen, &world, &["open r %/ours"])?;
    check(seen.find(&shell()).is_empty(), || {
        "another process's shell was seen".into()
    })
}

fn daemon(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("file");
    let seen = act(rung, "leave-a-daemon", &[&file])?;
    expect(&seen, &world, &["open r %/file"])
}

fn failed(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let missing = world.join("missing");
    let seen = act(rung, "read-missing", &[&missing])?;
    expect(&seen, &world, &[])?;
    let found = seen.find(&missing);
    let wanted = Outcome::Failed("ENOENT".into());
    match rung {
        // The check is never reached for a file that is not there.
        Rung::Lsm | Rung::Fentry => check(found.is_empty(), || format!("{found:?}"))?,
        Rung::Tracepoint => check(found.len() == 1 && found[0].result == wanted, || {
            format!("{found:?}")
        })?,
    }
    // These the kernel checks before it refuses them.
    let world = World::new();
    world.file("file");
    world.file("full/inside");
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o755))?;
    executable(&world, "no-program", "\x7fELF, but not really");
    let seen = act(rung, "fail", &[&world.path()])?;
    // A shell would read it as a script: that it may be executed and read is learned.
    expect(&seen, &world, &["exec %/no-program", "open r %/no-program"])?;
    let refused = |name: &str, errno: &str| {
        let wanted = Outcome::Failed(errno.into());
        let found = seen.find(&world.join(name));
        check(found.iter().any(|b| b.result == wanted), || {
            format!("{name}: no {errno} in {found:#?}")
        })
    };
    refused("full", "ENOTEMPTY")?;
    refused("file", "EACCES")
}

fn script_without_first_line(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let script = executable(&world, "script", "exit 0\n");
    let seen = act(rung, "run-without-a-first-line", &[&script])?;
    expect(&seen, &world, &["exec %/script", "open r %/script"])
}

fn by_ring(rung: Rung) -> Result<(), Failed> {
    if io_uring::IoUring::new(4).is_err() {
        eprintln!("skipped: this kernel has no io_uring");
        return Ok(());
    }
    let world = World::new();
    let file = world.file("file");
    let seen = act(rung, "ring", &[&file])?;
    if rung == Rung::Tracepoint {
        let lost = seen.lost().get(&Loss::from("io-uring")).copied();
        return check(lost == Some(1), || format!("lost {:?}", seen.lost()));
    }
    expect(&seen, &world, &["open r %/file"])
}

fn late(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("file");
    let group = learner::kernel::cgroup::Group::create(&format!("late-{}", std::process::id()))?;
    // Attaching takes longer than it sleeps where there is no hardware virtualisation.
    attach(rung)?;
    let mut sleeper = Command::new("/bin/sh")
        .arg("-c")
        .arg("exec 3<$0; sleep $1; cat $0 >/dev/null")
        .arg(&file)
        .arg("4")
        .spawn()?;
    group.add(sleeper.id())?;
    std::thread::sleep(Duration::from_millis(300));
    let seen = run(Plan {
        subject: Subject::Group(group.path().into()),
        limit: None,
        settings: Settings {
            rung: Some(rung),
            ..Settings::default()
        },
        max_behaviors: DEFAULT_MAX_BEHAVIORS,
        takes_state: true,
        order: None,
    })?;
    sleeper.wait()?;
    check(seen.profile.late && seen.profile.is_partial(), || {
        "it is not marked as late".into()
    })?;
    let by: BTreeSet<String> = seen
        .find(&file)
        .iter()
        .filter_map(|b| b.source.as_ref().map(ToString::to_string))
        .collect();
    let cat = Path::new("/bin/cat").canonicalize()?.display().to_string();
    let shell = shell().display().to_string();
    check(by == BTreeSet::from([shell.clone(), cat]), || {
        format!("{} read by {by:?}", file.display())
    })?;
    check(
        seen.find(Path::new(&shell))
            .iter()
            .any(|b| b.op == Op::Exec),
        || "the image that ran already is not among the executed".into(),
    )
}

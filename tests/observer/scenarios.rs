//! Do one thing, expect exactly its events.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use learner::behavior::{Op, Outcome};
use learner::kernel::{Rung, Settings};
use learner::observation::Loss;
use learner::policy::{exact, to_yaml};
use learner::profile::{DEFAULT_MAX_BEHAVIORS, Evidence};
use learner::session::{Plan, Subject};
use learner::workload::{Labels, RunKey};
use libtest_mimic::Failed;

use crate::check;
use crate::watched::{Seen, World, act, act_with, command, run};

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
    ("a script and its interpreter are executed", script),
    ("a chain of scripts is seen whole", script_of_a_script),
    (
        "exec names the parent's image, the kernel's opens the one before",
        sources,
    ),
    ("two hundred processes at once lose nothing", crowd),
    ("a repeated behaviour is one, counted", repeated),
    (
        "a file under a reused inode number is a new behaviour",
        reused_inode,
    ),
    (
        "a file whose directory was renamed is a new behaviour",
        renamed_directory,
    ),
    ("hostile names come through byte for byte", hostile_names),
    (
        "a path of 64 components and one of 4095 bytes are whole",
        limits,
    ),
    (
        "a path beyond the limits is counted as lost",
        beyond_the_limits,
    ),
    ("what others do is not seen", others),
    (
        "a descendant that outlives the command is waited for",
        daemon,
    ),
    ("a failed operation is never learned", failed),
    ("an open by io_uring is seen or counted", by_ring),
    ("a flood loses events and says exactly how many", flood),
    (
        "a running group is watched late, with what it has open",
        late,
    ),
    ("every rung gives the same policy", same_policy),
];

fn expect(seen: &Seen, world: &World, lines: &[&str]) -> Result<(), Failed> {
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

fn executable(world: &World, name: &str, content: &str) -> PathBuf {
    let path = world.join(name);
    std::fs::write(&path, content).expect("script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    path
}

fn shell() -> PathBuf {
    Path::new("/bin/sh").canonicalize().expect("a shell")
}

fn script(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let script = executable(&world, "script", "#!/bin/sh\nexit 0\n");
    std::os::unix::fs::symlink("script", world.join("alias"))?;
    let seen = act(rung, "execute", &[&world.join("alias")])?;
    expect(&seen, &world, &["exec %/script", "open r %/script"])?;
    let shell = shell();
    check(seen.find(&shell).iter().any(|b| b.op == Op::Exec), || {
        format!("{} was not seen as executed", shell.display())
    })?;
    check(script.exists(), || "the script is gone".into())
}

fn script_of_a_script(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let inner = executable(&world, "inner", "#!/bin/sh\nexit 0\n");
    let outer = executable(&world, "outer", &format!("#!{}\n", inner.display()));
    let seen = act(rung, "execute", &[&outer])?;
    expect(
        &seen,
        &world,
        &[
            "exec %/outer",
            "exec %/inner",
            "open r %/outer",
            "open r %/inner",
        ],
    )
}

fn sources(rung: Rung) -> Result<(), Failed> {
    let own = std::env::current_exe()?;
    let shell = shell();
    let world = World::new();
    world.file("file");
    // The shell becomes this binary: the exec's source is the image of the shell's parent, which is
    // this binary too, while the kernel opens the image in the name of the shell. The first exec
    // is by the test itself, and its open in the name of the launcher.
    let line = format!(
        "exec {} act read {}",
        own.display(),
        world.join("file").display()
    );
    let script = executable(&world, "script", &format!("#!/bin/sh\n{line}\n"));
    let seen = act(rung, "execute", &[&script])?;
    let of = |op: fn(&Op) -> bool, path: &Path| -> BTreeSet<PathBuf> {
        seen.find(path)
            .into_iter()
            .filter(|b| op(&b.op) && b.is_learnable())
            .filter_map(|b| b.source.as_ref().map(|s| s.as_path().to_owned()))
            .collect()
    };
    let is_exec = |op: &Op| *op == Op::Exec;
    let is_open = |op: &Op| matches!(op, Op::Open(_));
    let learner = crate::learner().canonicalize()?;
    let wanted = BTreeSet::from([own.clone()]);
    check(of(is_exec, &own) == wanted, || {
        format!("exec by {:?}", of(is_exec, &own))
    })?;
    let wanted = BTreeSet::from([shell.clone(), learner]);
    check(of(is_open, &own) == wanted, || {
        format!("opened by {:?}", of(is_open, &own))
    })?;
    let wanted = BTreeSet::from([own.clone()]);
    check(of(is_exec, &script) == wanted, || {
        format!("script by {:?}", of(is_exec, &script))
    })?;
    let file = world.join("file");
    check(of(is_open, &file) == wanted, || {
        format!("file by {:?}", of(is_open, &file))
    })
}

fn crowd(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let lines: Vec<String> = (0..200).map(|n| format!("open r %/f{n}")).collect();
    for n in 0..200 {
        world.file(&format!("f{n}"));
    }
    let seen = act(rung, "crowd", &[&world.path()])?;
    expect(
        &seen,
        &world,
        &lines.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

fn repeated(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("file");
    let seen = act(rung, "read-many-times", &[&file])?;
    expect(&seen, &world, &["open r %/file"])?;
    let count: u64 = seen.counted(&world.path()).values().sum();
    check(count == 1000, || format!("counted {count}"))
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

/// A file whose whole path is as deep, or as long, as given. Made from inside, since the path may
/// be longer than one system call takes.
fn file_at(world: &World, depth: usize, component: usize) -> PathBuf {
    let mut path = world.path();
    while path.components().count() - 1 < depth - 1 {
        path.push("d".repeat(component));
    }
    std::fs::create_dir_all(&path).expect("directories");
    path.push("f");
    std::fs::write(&path, "x").expect("file");
    path
}

fn limits(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let deep = file_at(&world, 64, 1);
    let seen = act(rung, "read", &[&deep])?;
    check(seen.find(&deep).len() == 1, || {
        "64 components: not seen".into()
    })?;
    check(seen.lost().is_empty(), || format!("lost {:?}", seen.lost()))?;

    let world = World::new();
    let mut long = world.path();
    while long.as_os_str().len() + 201 < 4090 {
        long.push("l".repeat(200));
    }
    let rest = 4095 - long.as_os_str().len() - 1;
    std::fs::create_dir_all(&long)?;
    long.push("f".repeat(rest.min(255)));
    std::fs::write(&long, "x")?;
    let seen = act(rung, "read", &[&long])?;
    check(seen.find(&long).len() == 1, || {
        format!("{} bytes: not seen", long.as_os_str().len())
    })?;
    check(seen.lost().is_empty(), || format!("lost {:?}", seen.lost()))
}

fn beyond_the_limits(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let seen = act(rung, "go-deep", &[&world.path()])?;
    let lost = seen.lost().get(&Loss::PathTooDeep).copied().unwrap_or(0);
    // The directories beyond the limit, and the file's creation and open, at the very least.
    check(lost > 30, || format!("lost {:?}", seen.lost()))?;
    let whole = seen.below(&world.path()).iter().all(|line| {
        line.strip_prefix("mkdir ")
            .is_some_and(|path| path.ends_with("/d"))
    });
    check(whole, || {
        format!("a path was cut: {:#?}", seen.below(&world.path()))
    })
}

fn others(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let ours = world.file("ours");
    world.file("theirs");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let theirs = world.join("theirs");
    let (flag, file) = (stop.clone(), theirs.clone());
    let other = std::thread::spawn(move || {
        while !flag.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = std::fs::File::open(&file);
            let _ = Command::new("/bin/sh").arg("-c").arg(":").status();
        }
    });
    let seen = act(rung, "read-many-times", &[&ours]);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    other.join().map_err(|_| "the other thread failed")?;
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
        Rung::Lsm | Rung::Fentry => check(found.is_empty(), || format!("{found:?}")),
        Rung::Tracepoint => check(found.len() == 1 && found[0].result == wanted, || {
            format!("{found:?}")
        }),
    }
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

fn flood(rung: Rung) -> Result<(), Failed> {
    const FILES: u64 = 3000;
    let world = World::new();
    for n in 0..FILES {
        world.file(&format!("f{n}"));
    }
    std::fs::write(world.join("count"), FILES.to_string())?;
    // One page of ring holds some 40 events.
    let small = Settings {
        rung: Some(rung),
        ring: 4096,
    };
    let seen = act_with(small, "read-all", &[&world.path()])?;
    let (events, lost) = seen.totals();
    let quiet = Settings {
        rung: Some(rung),
        ..Settings::default()
    };
    std::fs::write(world.join("count"), "0")?;
    let (without, none) = act_with(quiet, "read-all", &[&world.path()])?.totals();
    check(none == 0, || format!("lost {none} of a few"))?;
    check(lost > 0, || {
        "the flood lost nothing: it is too small".into()
    })?;
    check(seen.lost().keys().all(|why| *why == Loss::RingFull), || {
        format!("{:?}", seen.lost())
    })?;
    check(events + lost == without + FILES, || {
        format!("{events} seen + {lost} lost, but {without} + {FILES} done")
    })
}

fn late(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("file");
    let group = learner::kernel::cgroup::Group::create(&format!("late-{}", std::process::id()))?;
    let mut sleeper = Command::new("/bin/sh")
        .arg("-c")
        .arg("exec 3<$0; sleep 4; cat $0 >/dev/null")
        .arg(&file)
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

/// The policy of one program, by this rung and by the tracepoint rung.
fn same_policy(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("file");
    let script = executable(
        &world,
        "script",
        &format!(
            "#!/bin/sh\ncat {} >/dev/null; ls / >/dev/null; mkdir $0.d; rmdir $0.d\n",
            file.display()
        ),
    );
    let policy = |rung| -> Result<String, Failed> {
        let settings = Settings {
            rung: Some(rung),
            ..Settings::default()
        };
        let profile = command(settings, vec![script.clone().into()])?.profile;
        let key = RunKey {
            workload: "default/Command/script".parse()?,
            image: String::new(),
            run: "r".into(),
        };
        let mut evidence = Evidence::default();
        let labels = Labels::from([("app".to_owned(), "script".to_owned())]);
        evidence.insert(
            key.clone(),
            learner::profile::RunProfile { labels, ..profile },
        );
        Ok(to_yaml(&exact(&key.workload, &evidence)?.policy))
    };
    let (this, floor) = (policy(rung)?, policy(Rung::Tracepoint)?);
    check(this == floor, || {
        format!("{rung}:\n{this}\ntracepoint:\n{floor}")
    })
}

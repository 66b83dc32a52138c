//! Real containers, by the runtimes that are installed here.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use learner::behavior::Op;
use learner::profile::RunProfile;
use learner::workload::RunKey;

use crate::world::{World, read_below, wait_for, world};

const WATCH: &str = "watch: {containers: true}\nflush: 200ms\n";

/// A root file system of a static busybox; None: there is none.
fn rootfs(world: &World) -> Option<PathBuf> {
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        eprintln!("skipped: containers: there is no /bin/busybox");
        return None;
    }
    let root = world.join("bundle/rootfs");
    for directory in ["bin", "proc", "dev", "sys", "etc"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    fs::copy(busybox, root.join("bin/busybox")).expect("busybox");
    for name in ["sh", "cat", "sleep", "true"] {
        symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
    fs::write(root.join("etc/motd"), "x").expect("a file");
    Some(root)
}

/// Whether the runtime can run anything here.
fn works(tried: std::io::Result<Output>, what: &str) -> bool {
    match tried {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("skipped: {what}: {}", err.trim());
            false
        }
        Err(error) => {
            eprintln!("skipped: {what}: {error}");
            false
        }
    }
}

const SCRIPT: &str = "cat /etc/motd > /dev/null; sleep 0.3; cat /etc/motd > /dev/null";

/// A container of busybox that runs a line of shell; None: there is no busybox.
fn bundle(world: &World, line: &str) -> Option<PathBuf> {
    rootfs(world)?;
    let bundle = world.join("bundle");
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/",
            "args": ["/bin/sh", "-c", line], "env": ["PATH=/bin"],
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}]},
    });
    fs::write(bundle.join("config.json"), config.to_string()).expect("a bundle");
    Some(bundle)
}

fn runc(bundle: &Path, id: &str) -> Command {
    let mut command = Command::new("runc");
    command.args(["run", "-b"]).arg(bundle).arg(id);
    command
}

/// What was seen of a container from its first exec. One that begins before a busy machine's agent looks is late, and
/// said to be: then once more, and once again.
fn from_its_start(run: impl Fn() -> Option<(RunKey, RunProfile)>) -> Option<(RunKey, RunProfile)> {
    let mut seen = run()?;
    for _ in 0..2 {
        if seen.1.late {
            seen = run()?;
        }
    }
    Some(seen)
}

/// The one run that an agent has stored.
fn the_run(world: &World) -> (RunKey, RunProfile) {
    let mut runs = world.stored();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    runs.remove(0)
}

#[test]
fn a_container_of_runc_is_watched_from_its_first_exec_without_the_doings_of_runc() {
    let id = format!("learner-test-{}", std::process::id());
    let seen = from_its_start(|| {
        let world = world("runc")?;
        let bundle = bundle(&world, SCRIPT)?;
        let run = || runc(&bundle, &id).output();
        if !works(run(), "runc") {
            return None;
        }
        let agent = world.agent(WATCH);
        assert!(works(run(), "runc under watch"));
        wait_for("the run to end", || agent.log().contains("a run has ended"));
        assert!(agent.stop().success());
        Some(the_run(&world))
    });
    let Some((key, run)) = seen else { return };
    assert_eq!(
        key.workload.to_string(),
        format!("host/Container/{id}/{id}")
    );
    assert!(!run.is_partial() && run.stop.is_some(), "{run:#?}");
    assert_eq!(
        read_below(&run, Path::new("/etc")),
        [(Path::new("/etc/motd"), 2)]
    );
    nothing_is_of_runc(&run);
}

fn nothing_is_of_runc(run: &RunProfile) {
    let allowed = ["/bin", "/etc", "/dev", "/lib", "/stop"];
    for behavior in run.seen.keys() {
        let path = behavior.path.as_path();
        assert!(
            allowed.iter().any(|dir| path.starts_with(dir)),
            "runc's, not the container's: {behavior:?}"
        );
    }
}

#[test]
fn who_joins_a_container_shows_what_it_executes_and_not_how_it_came_in() {
    let id = format!("learner-joins-{}", std::process::id());
    let seen = from_its_start(|| {
        let world = world("joins")?;
        let bundle = bundle(
            &world,
            "cat /etc/motd > /dev/null; until [ -e /stop ]; do sleep 0.1; done",
        )?;
        let agent = world.agent(WATCH);
        let run = runc(&bundle, &id).stdout(Stdio::null()).spawn();
        let Ok(mut run) = run else {
            eprintln!("skipped: runc: it cannot be run");
            return None;
        };
        let join = || {
            Command::new("runc")
                .args(["exec", &id, "/bin/cat", "/etc/motd"])
                .output()
        };
        wait_for("the container to run", || {
            agent.log().contains("a run is watched")
        });
        if !works(join(), "runc exec") {
            let _ = run.kill();
            return None;
        }
        // What the kernel has told once it does not tell again.
        assert!(works(join(), "runc exec, again"));
        fs::write(bundle.join("rootfs/stop"), "").expect("a file");
        assert!(run.wait().expect("its end").success());
        wait_for("the run to end", || agent.log().contains("a run has ended"));
        assert!(agent.stop().success());
        Some(the_run(&world))
    });
    let Some((_, run)) = seen else { return };
    assert!(!run.is_partial(), "{run:#?}");
    nothing_is_of_runc(&run);
    assert_eq!(
        read_below(&run, Path::new("/etc")),
        [(Path::new("/etc/motd"), 3)]
    );
    let joined = run.seen.iter().filter(|(behavior, _)| {
        let by = behavior.source.as_ref().map(|source| source.as_path());
        behavior.op == Op::Exec && by.is_some_and(|by| by.ends_with("runc"))
    });
    // The container's own start, and twice who joined.
    let times: u64 = joined.map(|(_, seen)| seen.count).sum();
    assert_eq!(times, 3, "{run:#?}");
}

#[test]
fn a_container_of_podman_has_its_name_and_the_digest_of_its_image() {
    let image = format!("localhost/learner-test:{}", std::process::id());
    let name = format!("learner-test-{}", std::process::id());
    let seen = from_its_start(|| run_by_podman(&image, &name));
    let Some((key, run)) = seen else { return };
    assert_eq!(
        key.workload.to_string(),
        format!("host/Container/{name}/{name}")
    );
    assert!(
        key.image.starts_with(&format!("{image}@sha256:")),
        "{}",
        key.image
    );
    assert!(!run.is_partial() && run.stop.is_some(), "{run:#?}");
    assert_eq!(
        read_below(&run, Path::new("/etc")),
        [(Path::new("/etc/motd"), 2)]
    );
}

fn run_by_podman(image: &str, name: &str) -> Option<(RunKey, RunProfile)> {
    let world = world("podman")?;
    let root = rootfs(&world)?;
    let tar = world.join("root.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .output();
    assert!(works(packed, "tar"));
    let import = Command::new("podman")
        .arg("import")
        .arg(&tar)
        .arg(image)
        .output();
    if !works(import, "podman import") {
        return None;
    }
    let run = || {
        Command::new("podman")
            .args([
                "--cgroup-manager",
                "cgroupfs",
                "--runtime",
                "runc",
                "run",
                "--rm",
            ])
            .args([
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1024:1024",
            ])
            .args([
                "--network",
                "none",
                "--name",
                name,
                image,
                "/bin/sh",
                "-c",
                SCRIPT,
            ])
            .output()
    };
    let remove = || {
        Command::new("podman")
            .args(["image", "rm", "-f", image])
            .output()
    };
    if !works(run(), "podman run") {
        let _ = remove();
        return None;
    }
    let agent = world.agent(WATCH);
    let ran = run();
    let _ = remove();
    assert!(works(ran, "podman under watch"));
    wait_for("the run to end", || agent.log().contains("a run has ended"));
    assert!(agent.stop().success());
    Some(the_run(&world))
}

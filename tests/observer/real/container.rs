//! A container of runc on an overlay root: learned, promoted, and run again under block, with a file of its
//! image that is copied up. Who gets into it is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use libtest_mimic::Failed;
use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use super::host::Host;
use crate::check;

const NAME: &str = "shop-runc";
const BUNDLE: &str = "/tmp/container";
const WORK: &str =
    "cat /etc/motd; echo served >> /var/log/app; while [ ! -e /run/stop ]; do sleep 0.2; done";

fn image() -> Result<(), Failed> {
    let lower = Path::new(BUNDLE).join("lower");
    for name in ["bin", "proc", "dev", "etc", "run", "var/log", "tmp"] {
        fs::create_dir_all(lower.join(name))?;
    }
    fs::copy("/bin/busybox", lower.join("bin/busybox"))?;
    for name in ["sh", "cat", "sleep"] {
        symlink("busybox", lower.join("bin").join(name))?;
    }
    fs::write(lower.join("etc/motd"), "hello")?;
    fs::write(lower.join("etc/shadow"), "secret")?;
    Ok(fs::write(lower.join("var/log/app"), "")?)
}

/// What it executes.
fn configure(line: &str) -> Result<(), Failed> {
    let config = serde_json::json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/",
            "args": ["/bin/sh", "-c", line], "env": ["PATH=/bin"],
        },
        "root": {"path": "merged"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": format!("/{NAME}"),
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}],
        },
    });
    Ok(fs::write(
        Path::new(BUNDLE).join("config.json"),
        config.to_string(),
    )?)
}

/// The first thing that it does is not what it was learned to do.
const STRAY: &str = "cat /etc/shadow >> /var/log/app; while [ ! -e /run/stop ]; do sleep 0.2; done";

/// Starts the container on a root that nothing was written to yet.
fn launch(host: &Host, line: &str) -> Result<Child, Failed> {
    configure(line)?;
    let at = |name: &str| Path::new(BUNDLE).join(name);
    let _ = umount(&at("merged"));
    for name in ["upper", "work", "merged"] {
        let _ = fs::remove_dir_all(at(name));
        fs::create_dir_all(at(name))?;
    }
    let options = format!("lowerdir={BUNDLE}/lower,upperdir={BUNDLE}/upper,workdir={BUNDLE}/work");
    mount(
        Some("overlay"),
        &at("merged"),
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )?;
    let child = Command::new("/usr/sbin/runc")
        .args(["run", "--no-pivot", "-b", BUNDLE, NAME])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(host.join("runc.log"))?)
        .spawn()?;
    Ok(child)
}

/// What it has written.
fn written() -> Option<Vec<u8>> {
    fs::read(Path::new(BUNDLE).join("upper/var/log/app")).ok()
}

fn start(host: &Host) -> Result<Child, Failed> {
    let child = launch(host, WORK)?;
    host.wait("the container to work", || {
        written().is_some_and(|log| log == b"served\n")
    })?;
    Ok(child)
}

/// Executes something in it from outside.
fn enter(program: &[&str]) -> Result<Output, Failed> {
    let mut runc = Command::new("/usr/sbin/runc");
    Ok(runc.args(["exec", NAME]).args(program).output()?)
}

/// Asks it whether it is well, as Kubernetes does.
fn probe() -> Result<(), Failed> {
    let said = enter(&["/bin/cat", "/etc/motd"])?;
    check(said.status.success() && said.stdout == b"hello", || {
        format!("the probe: {said:?}")
    })
}

fn stop(host: &Host, mut child: Child) -> Result<(), Failed> {
    let before = host.ends(NAME);
    fs::write(Path::new(BUNDLE).join("merged/run/stop"), "")?;
    let status = child.wait()?;
    check(status.success(), || {
        let log = fs::read(host.join("runc.log")).unwrap_or_default();
        format!("{status}: {}", String::from_utf8_lossy(&log))
    })?;
    host.wait("the end of the run", || host.ends(NAME) > before)
}

fn whole(host: &Host) -> Result<(), Failed> {
    let child = start(host)?;
    probe()?;
    // As long as the window that it is to be quiet.
    std::thread::sleep(Duration::from_secs(2));
    stop(host, child)
}

/// How often `/etc/shadow` was refused, by the alerts.
fn refused(host: &Host) -> Result<u64, Failed> {
    let alerts = host.alerts(NAME)?;
    check(
        alerts.iter().all(|alert| alert["path"] == "/etc/shadow"),
        || format!("{alerts:?}"),
    )?;
    let count = |alert: &serde_json::Value| alert["count"].as_u64().unwrap_or(0);
    Ok(alerts.iter().map(count).sum())
}

pub(crate) fn story(host: &mut Host) -> Result<(), Failed> {
    image()?;
    host.carry(NAME, 2, &[], "1s", whole)?;
    let child = start(host)?;
    host.held(NAME, 1)?;
    check(
        host.status(NAME)?["enforced"] == json!({"by": "learner", "cgroups": 1}),
        || format!("{:?}", host.status(NAME)),
    )?;
    // The runtime may come in; what it executes is held to the policy.
    probe()?;
    let entered = enter(&["/bin/cat", "/etc/shadow"])?;
    check(
        !entered.status.success() && entered.stdout.is_empty(),
        || format!("{entered:?}"),
    )?;
    host.wait("the alert", || {
        refused(host).is_ok_and(|refused| refused == 1)
    })?;
    check(host.status(NAME)?["posture"] == "block", || {
        format!("{:?}", host.status(NAME))
    })?;
    stop(host, child)?;

    // Held before it executes anything: what it does first is refused.
    let child = launch(host, STRAY)?;
    host.held(NAME, 2)?;
    let is_again = || refused(host).is_ok_and(|refused| refused == 2);
    let waited = host.wait("the refusal", is_again);
    check(waited.is_ok(), || {
        format!("{waited:?}: {:?}", host.alerts(NAME))
    })?;
    check(written().is_none_or(|log| log.is_empty()), || {
        format!("{:?}", written())
    })?;

    // The last resort, by hand: all is let be, and the agent says so.
    let released = host.learner(&["release"])?;
    check(released.status.success(), || format!("{released:?}"))?;
    host.wait("the agent to notice", || {
        host.log().contains("somebody ran learner release")
    })?;
    let entered = enter(&["/bin/cat", "/etc/shadow"])?;
    check(entered.stdout == b"secret", || format!("{entered:?}"))?;
    stop(host, child)
}

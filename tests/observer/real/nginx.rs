//! nginx: KubeArmor's own example of a workload. What it was learned to do works under block; a shell,
//! `chroot`, a planted binary and `/etc/shadow` do not, whether the agent lives or not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::host::{Host, Running, said};
use crate::check;

const NAME: &str = "nginx";
const CONFIG: &str = "
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
events {}
http {
    access_log /var/log/nginx/access.log;
    server {
        listen 127.0.0.1:80;
        root /srv/shop;
    }
}
";

fn get(path: &str) -> Option<String> {
    said(&[
        "curl",
        "-sf",
        "-m",
        "20",
        &format!("http://127.0.0.1{path}"),
    ])
}

fn start(host: &Host) -> Result<Running, Failed> {
    let running = host.start(
        NAME,
        &[
            "/usr/sbin/nginx",
            "-c",
            "/srv/nginx.conf",
            "-g",
            "daemon off;",
        ],
    )?;
    host.wait("nginx to serve", || get("/index.html").is_some())?;
    Ok(running)
}

fn requests(host: &Host, running: &Running) -> Result<(), Failed> {
    for (path, text) in [("/index.html", "Shop"), ("/tea.txt", "tea")] {
        let answer = get(path);
        check(answer.as_deref() == Some(text), || {
            format!("{path}: {answer:?}")
        })?;
    }
    check(get("/nothing").is_none(), || {
        "what is not there is served".into()
    })?;
    let before = running.children();
    running.signal(Signal::HUP)?;
    host.wait("the reload", || {
        let now = running.children();
        now.len() == 1 && now != before
    })?;
    host.wait("nginx to serve", || get("/tea.txt").is_some())
}

fn whole(host: &Host) -> Result<(), Failed> {
    let running = start(host)?;
    requests(host, &running)?;
    running.stop(host, Signal::QUIT)
}

/// What somebody who comes in from outside cannot execute.
fn attacks(host: &Host, planted: &str) -> Result<(), Failed> {
    refused(
        host,
        &[
            (&format!("{planted} true"), "a planted binary"),
            ("chroot / true", "chroot"),
            ("/bin/sh -c true", "a shell"),
        ],
    )
}

/// What the workload's own program is made to do.
fn misuse(host: &Host) -> Result<(), Failed> {
    let nginx = "exec /usr/sbin/nginx -t -c";
    let log = format!("{nginx} /srv/nginx.conf -g 'error_log /srv/shop/planted.html;'");
    refused(
        host,
        &[
            (&format!("{nginx} /etc/shadow"), "/etc/shadow"),
            (&log, "a page"),
        ],
    )
}

fn refused(host: &Host, lines: &[(&str, &str)]) -> Result<(), Failed> {
    for (line, what) in lines {
        let output = host.intrude(NAME, line)?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        check(
            !output.status.success() && text.contains("Permission denied"),
            || format!("{what}: {} {text}", output.status),
        )?;
    }
    Ok(())
}

/// The alerts about each of these say what, whose doing it was, and why.
fn alerted(host: &Host, wanted: &[(&str, &str, &str)]) -> Result<(), Failed> {
    host.wait("the alerts to be stored", || {
        let alerts = host.alerts(NAME).unwrap_or_default();
        wanted.iter().all(|(op, path, by)| {
            alerts.iter().any(|alert| {
                let says =
                    |key: &str, text: &str| alert[key].as_str().is_some_and(|s| s.contains(text));
                alert["path"] == *path
                    && says("op", op)
                    && says("by", by)
                    && says("result", "refused")
                    && says("why", "no rule allows it")
            })
        })
    })
    .map_err(|why| {
        let alerts = host.alerts(NAME).unwrap_or_default();
        let alerts: Vec<String> = alerts.iter().map(ToString::to_string).collect();
        let why = why.message().unwrap_or_default().to_owned();
        Failed::from(format!("{why}: {wanted:?} of\n{}", alerts.join("\n")))
    })
}

pub(crate) fn story(host: &mut Host) -> Result<(), Failed> {
    fs::create_dir_all("/srv/shop")?;
    fs::create_dir_all("/var/log/nginx")?;
    fs::create_dir_all("/var/lib/nginx")?;
    fs::write("/srv/nginx.conf", CONFIG)?;
    fs::write("/srv/shop/index.html", "Shop")?;
    fs::write("/srv/shop/tea.txt", "tea")?;
    for name in ["planted", "planted-later"] {
        let planted = format!("/tmp/{name}");
        fs::copy("/bin/busybox", &planted)?;
        fs::set_permissions(&planted, fs::Permissions::from_mode(0o755))?;
    }
    host.carry(NAME, 2, &[], "1h", whole)?;

    // Under block everything that was learned works, a reload among it.
    let mut running = start(host)?;
    host.held(NAME, 1)?;
    requests(host, &running)?;
    check(host.alerts(NAME)?.is_empty(), || {
        format!("{:?}", host.alerts(NAME))
    })?;
    attacks(host, "/tmp/planted")?;
    alerted(host, &[("exec", "/tmp/planted", "outside")])?;

    // Nobody there: what is blocked stays blocked, and goes on serving.
    host.kill_agent()?;
    attacks(host, "/tmp/planted-later")?;
    requests(host, &running)?;
    host.start_agent()?;
    host.wait("it to be said that it was taken over", || {
        host.log().contains("goes on being enforced")
    })?;
    attacks(host, "/tmp/planted-later")?;
    alerted(host, &[("exec", "/tmp/planted-later", "outside")])?;
    requests(host, &running)?;
    check(running.goes_on()?, || "nginx has ended".into())?;

    // Who came in from outside takes nothing back, in the canary either.
    check(host.status(NAME)?["posture"] == "block", || {
        format!("{:?}", host.status(NAME))
    })?;
    running.stop(host, Signal::QUIT)?;

    // A restart under block, which is held from its first exec on.
    check(host.is_enforced(NAME), || {
        "it is let be between its runs".into()
    })?;
    let running = start(host)?;
    check(host.is_enforced(NAME), || "it is let be".into())?;
    requests(host, &running)?;
    attacks(host, "/tmp/planted")?;
    host.halted(|| misuse(host))?;
    alerted(host, &[("open", "/etc/shadow", "workload")])?;
    host.wait("what its own program was denied to take it back", || {
        host.status(NAME)
            .is_ok_and(|status| status["posture"] == "audit")
    })?;
    running.stop(host, Signal::QUIT)
}

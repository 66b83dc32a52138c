//! redis-server with persistence; and what takes a workload back: a denial of its own doing in the canary,
//! and after it nothing.

use std::fs;

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::host::{Host, Running, said};
use crate::check;

const NAME: &str = "redis";
const CONFIG: &str = "
bind 127.0.0.1
port 6379
daemonize no
dir /srv/redis
save 3600 1
appendonly yes
enable-protected-configs local
logfile /var/log/redis/redis-server.log
";

fn cli(args: &[&str]) -> Option<String> {
    let answer = said(&[&["redis-cli"], args].concat())?;
    (!answer.contains("ERR")).then(|| answer.trim().to_owned())
}

fn is(host: &Host, line: &str) -> Result<(), Failed> {
    host.wait(line, || {
        // It counts errors, by their names.
        said(&["redis-cli", "INFO"]).is_some_and(|info| info.lines().any(|one| one.trim() == line))
    })
}

fn start(host: &Host) -> Result<Running, Failed> {
    let running = host.start(NAME, &["/usr/bin/redis-server", "/srv/redis.conf"])?;
    host.wait("redis to answer", || {
        cli(&["PING"]).as_deref() == Some("PONG")
    })?;
    Ok(running)
}

fn work(host: &Host) -> Result<(), Failed> {
    let set = cli(&[
        "EVAL",
        "for n = 1, 500 do redis.call('SET', 'key:'..n, n) end",
        "0",
    ]);
    check(set.is_some(), || "nothing was set".into())?;
    check(cli(&["BGSAVE"]).is_some(), || "no snapshot".into())?;
    is(host, "rdb_bgsave_in_progress:0")?;
    is(host, "rdb_last_bgsave_status:ok")?;
    check(cli(&["BGREWRITEAOF"]).is_some(), || "no rewrite".into())?;
    is(host, "aof_rewrite_in_progress:0")?;
    is(host, "aof_last_bgrewrite_status:ok")?;
    let value = cli(&["GET", "key:500"]);
    check(value.as_deref() == Some("500"), || format!("{value:?}"))
}

fn whole(host: &Host) -> Result<(), Failed> {
    let running = start(host)?;
    work(host)?;
    running.stop(host, Signal::TERM)
}

/// Redis itself is told to write where it was never seen to write.
fn strays(dir: &str) -> Result<(), Failed> {
    check(cli(&["CONFIG", "SET", "dir", dir]).is_some(), || {
        "no other directory".into()
    })?;
    let saved = cli(&["SAVE"]);
    check(
        cli(&["CONFIG", "SET", "dir", "/srv/redis"]).is_some(),
        || "not back".into(),
    )?;
    check(saved.is_none(), || format!("it was saved: {saved:?}"))
}

fn posture(host: &Host) -> Option<String> {
    host.status(NAME).ok()?["posture"]
        .as_str()
        .map(str::to_owned)
}

pub(crate) fn story(host: &mut Host) -> Result<(), Failed> {
    for dir in ["/srv/redis", "/var/log/redis", "/srv/stray", "/srv/astray"] {
        fs::create_dir_all(dir)?;
    }
    fs::write("/srv/redis.conf", CONFIG)?;
    host.carry(NAME, 3, &[], "1h", whole)?;
    let running = start(host)?;
    host.held(NAME, 1)?;
    work(host)?;
    check(host.alerts(NAME)?.is_empty(), || {
        format!("{:?}", host.alerts(NAME))
    })?;

    // In the canary a denial of its own doing takes it back at once, and it is let be.
    strays("/srv/stray")?;
    host.wait("the way back", || posture(host).as_deref() == Some("audit"))?;
    host.wait("it to be let be", || {
        host.log().contains("is not enforced any more")
    })?;
    check(
        cli(&["CONFIG", "SET", "dir", "/srv/astray"]).is_some(),
        || "no directory".into(),
    )?;
    check(cli(&["SAVE"]).is_some(), || {
        "under audit something is refused".into()
    })?;
    check(
        cli(&["CONFIG", "SET", "dir", "/srv/redis"]).is_some(),
        || "not back".into(),
    )?;
    running.stop(host, Signal::TERM)?;

    // A person says that all of it is to stay denied; then it is promoted without a canary.
    let said = host.learner(&["forget", "-n", "host", "/srv/stray/", "/srv/astray/"])?;
    check(said.status.success(), || format!("{said:?}"))?;
    whole(host)?;
    let said = host.promote(NAME, &["--window", "1s", "--canary", "0s"])?;
    check(said.contains("promoted: audit -> block"), || {
        format!("{said}\n{:?}", host.alerts(NAME))
    })?;
    let running = start(host)?;
    host.held(NAME, 2)?;
    strays("/srv")?;
    host.wait("the alert", || {
        host.alerts(NAME).is_ok_and(|all| !all.is_empty())
    })?;
    let said = host.promote(NAME, &[])?;
    check(posture(host).as_deref() == Some("block"), || said)?;
    work(host)?;
    running.stop(host, Signal::TERM)
}

//! PostgreSQL: initdb, start, queries, checkpoint, stop; learned, and all of it again under block.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;
use rustix::process::Signal;

use super::host::{Host, said};
use crate::check;

const NAME: &str = "postgresql";
const DATA: &str = "/srv/postgresql/data";
/// Goes on as the server: the cluster is made in the same run.
const ENTRYPOINT: &str = "#!/bin/sh
set -e
initdb -D \"$PGDATA\" -A trust --no-locale -E UTF8 -N
exec postgres -D \"$PGDATA\" -c jit=off -c listen_addresses=127.0.0.1 -c unix_socket_directories=
";

/// Where the package's programs are.
pub(crate) fn programs() -> Option<String> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let bins = versions.map(|version| version.path().join("bin"));
    let mut servers = bins.filter(|bin| bin.join("postgres").is_file());
    servers.next().map(|bin| bin.display().to_string())
}

fn query(bin: &str, text: &str) -> Option<String> {
    let psql = format!("{bin}/psql");
    let answer = said(&[
        &psql,
        "-qXtA",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-c",
        text,
    ])?;
    Some(answer.trim().to_owned())
}

fn whole(host: &Host, bin: &str) -> Result<(), Failed> {
    if Path::new(DATA).exists() {
        fs::remove_dir_all(DATA)?;
    }
    let path = format!("PATH={bin}:/usr/bin:/bin");
    let data = format!("PGDATA={DATA}");
    let running = host.start(
        NAME,
        &[
            "/usr/bin/setpriv",
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--init-groups",
            "/bin/env",
            "-i",
            &path,
            &data,
            "/srv/postgresql/entrypoint",
        ],
    )?;
    host.wait("PostgreSQL to answer", || query(bin, "SELECT 1").is_some())?;
    let held = host.status(NAME).is_ok_and(|row| row["posture"] == "block");
    if held {
        host.held(NAME, 1)?;
    }
    for text in [
        "CREATE TABLE items (id serial PRIMARY KEY, name text, price numeric)",
        "INSERT INTO items (name, price) SELECT 'item ' || n, n FROM generate_series(1, 3000) n",
        "CREATE INDEX ON items (price)",
        "CHECKPOINT",
        "VACUUM ANALYZE items",
    ] {
        check(query(bin, text).is_some(), || format!("{text}: refused"))?;
    }
    let count = query(bin, "SELECT count(*) FROM items WHERE price > 1000");
    check(count.as_deref() == Some("2000"), || format!("{count:?}"))?;
    running.stop(host, Signal::INT)
}

pub(crate) fn story(host: &mut Host) -> Result<(), Failed> {
    let bin = programs().ok_or("PostgreSQL is not there")?;
    fs::create_dir_all("/srv/postgresql")?;
    fs::write("/srv/postgresql/entrypoint", ENTRYPOINT)?;
    let owned = Command::new("chown")
        .args(["-R", "postgres:postgres", "/srv/postgresql"])
        .status()?;
    check(owned.success(), || "chown".into())?;
    let executable = Command::new("chmod")
        .args(["755", "/srv/postgresql/entrypoint"])
        .status()?;
    check(executable.success(), || "chmod".into())?;
    host.carry(NAME, 3, &["--tightness", "durable"], "1h", |host| {
        whole(host, &bin)
    })?;
    whole(host, &bin)?;
    check(host.alerts(NAME)?.is_empty(), || {
        format!("{:?}", host.alerts(NAME))
    })?;
    let posture = host.status(NAME)?["posture"].clone();
    check(posture == "block", || posture.to_string())
}

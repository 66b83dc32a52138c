//! Real programs on their way from learning to block: nginx, redis-server and PostgreSQL from Debian's
//! packages, with one agent that watches them, in the virtual machine.

mod container;
mod host;
mod nginx;
mod postgresql;
mod redis;

use std::process::ExitCode;
use std::time::Instant;

use libtest_mimic::Failed;

use self::host::Host;

/// All of it, one after the other, or what the next argument names; says each step.
pub(crate) fn run() -> ExitCode {
    let begun = Instant::now();
    let mut host = match Host::begin() {
        Ok(host) => host,
        Err(why) => return failed("the agent", &why),
    };
    let stories: [(&str, Story); 4] = [
        ("nginx", nginx::story),
        ("redis-server", redis::story),
        ("PostgreSQL", postgresql::story),
        ("a container of runc", container::story),
    ];
    let only = std::env::args().nth(2).unwrap_or_default();
    for (name, story) in stories.iter().filter(|(name, _)| name.contains(&only)) {
        if let Err(why) = story(&mut host) {
            eprintln!("{}\n{}", host.log(), host.output());
            return failed(name, &why);
        }
        let seconds = begun.elapsed().as_secs();
        println!("real: {name}: from learning to block ({seconds} s)");
    }
    match host.end() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => failed("the end of the agent", &why),
    }
}

/// Debian's packages that have to be installed on this machine to be there.
pub(crate) fn packages() -> Vec<String> {
    let version = postgresql::programs().and_then(|bin| Some(bin.split('/').nth(4)?.to_owned()));
    let version = version.unwrap_or_else(|| "15".to_owned());
    let mut all: Vec<String> = [
        "nginx",
        "nginx-common",
        "redis-server",
        "redis-tools",
        "tzdata",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("postgresql-{version}"));
    all.push(format!("postgresql-client-{version}"));
    all
}

type Story = fn(&mut Host) -> Result<(), Failed>;

fn failed(what: &str, why: &Failed) -> ExitCode {
    let why = why.message().unwrap_or("no reason");
    eprintln!("real: {what}: FAILED: {why}");
    ExitCode::FAILURE
}

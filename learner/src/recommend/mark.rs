//! Rules that let an attacker live off the land, by the MITRE ATT&CK technique they serve.

use serde::Serialize;

use crate::generalize::{Rule, RuleClass, Target};
use crate::path::AbsPath;

/// What a rule is good for in the wrong hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mark {
    /// The technique of MITRE ATT&CK for Enterprise, as `T1059.004`.
    pub technique: &'static str,
    /// In a few words.
    pub what: &'static str,
}

const fn mark(technique: &'static str, what: &'static str) -> Mark {
    Mark { technique, what }
}

const SHELL: Mark = mark("T1059.004", "a shell");
const PYTHON: Mark = mark("T1059.006", "a Python interpreter");
const INTERPRETER: Mark = mark("T1059", "an interpreter");
const DOWNLOADER: Mark = mark("T1105", "fetches or sends files over the network");
const PACKAGES: Mark = mark("T1072", "a package manager");
const COMPILER: Mark = mark("T1027.004", "compiles or links programs");
const PRIVILEGE: Mark = mark("T1548.003", "acts as another user");
const ESCAPE: Mark = mark("T1611", "enters other namespaces or mounts file systems");
const SCHEDULER: Mark = mark("T1053.003", "schedules programs");
const WRITABLE: Mark = mark(
    "T1036.005",
    "programs from a place that any user may write to",
);
const TOKEN: Mark = mark("T1528", "the service account's token");
const HASHES: Mark = mark("T1003.008", "password hashes");
const KEYS: Mark = mark("T1552.004", "private keys");
const CREDENTIALS: Mark = mark("T1552.001", "credentials in files");
const PROCESSES: Mark = mark("T1003.007", "memory and environment of other processes");

/// The marks of a rule, sorted.
pub(super) fn marks(rule: &Rule) -> Vec<Mark> {
    let mut marks: Vec<Mark> = match rule.class {
        RuleClass::Process => program(&rule.target).into_iter().collect(),
        RuleClass::File => file(&rule.target),
    };
    marks.sort_unstable();
    marks.dedup();
    marks
}

fn program(target: &Target) -> Option<Mark> {
    let path = match target {
        Target::Path(path) => path,
        Target::Directory { dir, .. } => {
            return crate::generalize::is_writable(dir).then_some(WRITABLE);
        }
        Target::Pattern(_) => return None,
    };
    if crate::generalize::is_writable(path) {
        return Some(WRITABLE);
    }
    let name = path.as_bytes().rsplit(|byte| *byte == b'/').next()?;
    let name = std::str::from_utf8(name).ok()?;
    // `python3.11`, `lua5.4`, `gcc-12`: the version says nothing.
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    Some(match bare {
        "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "mksh" | "fish" | "csh" | "tcsh"
        | "busybox" | "toybox" => SHELL,
        "python" | "pypy" => PYTHON,
        "perl" | "ruby" | "node" | "nodejs" | "php" | "lua" | "luajit" | "tclsh" | "java"
        | "awk" | "gawk" | "mawk" | "gdb" | "expect" | "erl" | "R" | "Rscript" => INTERPRETER,
        "curl" | "wget" | "nc" | "ncat" | "netcat" | "nc.traditional" | "nc.openbsd" | "socat"
        | "ftp" | "tftp" | "scp" | "sftp" | "ssh" | "rsync" | "telnet" | "git" => DOWNLOADER,
        "apt" | "apt-get" | "dpkg" | "yum" | "dnf" | "microdnf" | "rpm" | "apk" | "pacman"
        | "zypper" | "pip" | "npm" | "yarn" | "pnpm" | "gem" | "cargo" | "snap" => PACKAGES,
        "gcc"
        | "cc"
        | "g++"
        | "c++"
        | "clang"
        | "clang++"
        | "ld"
        | "ld.bfd"
        | "ld.gold"
        | "ld.lld"
        | "as"
        | "make"
        | "cc1"
        | "tcc"
        | "go"
        | "rustc"
        | "x86_64-linux-gnu-gcc"
        | "x86_64-linux-gnu-ld.bfd" => COMPILER,
        "su" | "sudo" | "doas" | "pkexec" | "newgrp" | "setpriv" | "runuser" => PRIVILEGE,
        "nsenter" | "unshare" | "chroot" | "mount" | "umount" | "capsh" | "runc" | "docker"
        | "ctr" | "crictl" | "kubectl" => ESCAPE,
        "cron" | "crontab" | "at" | "atd" | "batch" => SCHEDULER,
        _ => return None,
    })
}

fn file(target: &Target) -> Vec<Mark> {
    let known: &[(&str, Mark)] = &[
        ("/run/secrets/kubernetes.io/serviceaccount/token", TOKEN),
        ("/var/run/secrets/kubernetes.io/serviceaccount/token", TOKEN),
        ("/etc/shadow", HASHES),
        ("/etc/gshadow", HASHES),
        ("/root/.ssh/id_rsa", KEYS),
        ("/proc/1/environ", PROCESSES),
        ("/proc/1/mem", PROCESSES),
    ];
    let mut marks: Vec<Mark> = match target {
        Target::Directory { dir, recursive } => known
            .iter()
            .filter(|(path, _)| is_in(path.as_bytes(), dir, *recursive))
            .map(|(_, mark)| *mark)
            .collect(),
        Target::Path(path) => known
            .iter()
            .filter(|(known, _)| known.as_bytes() == path.as_bytes())
            .map(|(_, mark)| *mark)
            .collect(),
        Target::Pattern(_) => Vec::new(),
    };
    let text = target.to_string();
    if text.contains("/secrets/kubernetes.io/serviceaccount/") && text.ends_with("/token") {
        marks.push(TOKEN);
    }
    let keys = [".pem", ".key", "/id_rsa", "/id_ed25519", "/id_ecdsa"];
    let public = text.contains("/certs/") || ends(&text, &["/cert.pem", "/ca.pem", ".pub"]);
    if text.contains("/.ssh/") || text.contains("/ssl/private/") || ends(&text, &keys) && !public {
        marks.push(KEYS);
    }
    let credentials = [
        "/.aws/credentials",
        "/.kube/config",
        "/.docker/config.json",
        "/.pgpass",
        "/.netrc",
        "/.git-credentials",
        ".htpasswd",
    ];
    if ends(&text, &credentials) {
        marks.push(CREDENTIALS);
    }
    if text.starts_with("/proc/{pid}/") && ends(&text, &["/environ", "/mem", "/maps"]) {
        marks.push(PROCESSES);
    }
    marks
}

fn ends(text: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| text.ends_with(ending))
}

fn is_in(path: &[u8], dir: &AbsPath, recursive: bool) -> bool {
    path.strip_prefix(dir.as_bytes())
        .is_some_and(|rest| recursive || !rest.contains(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(class: RuleClass, target: Target) -> Vec<&'static str> {
        let rule = Rule {
            class,
            target,
            source: None,
        };
        marks(&rule).iter().map(|mark| mark.technique).collect()
    }

    fn path(text: &str) -> AbsPath {
        AbsPath::new(text).expect("absolute")
    }

    #[test]
    fn what_an_attacker_lives_off_is_marked_whatever_its_version() {
        let program = |text: &str| of(RuleClass::Process, Target::Path(path(text)));
        assert_eq!(program("/usr/bin/dash"), ["T1059.004"]);
        assert_eq!(program("/usr/bin/python3.11"), ["T1059.006"]);
        assert_eq!(program("/usr/bin/gcc-12"), ["T1027.004"]);
        assert_eq!(program("/usr/bin/curl"), ["T1105"]);
        assert_eq!(program("/tmp/x/run"), ["T1036.005"]);
        assert!(program("/usr/sbin/nginx").is_empty());
        assert!(program("/usr/bin/curlew").is_empty());
    }

    #[test]
    fn a_directory_is_marked_for_what_it_opens() {
        let directory = |text: &str, recursive| {
            let dir = path(text);
            of(RuleClass::File, Target::Directory { dir, recursive })
        };
        assert_eq!(directory("/proc/", true), ["T1003.007"]);
        assert_eq!(
            directory("/run/secrets/kubernetes.io/serviceaccount/", true),
            ["T1528"]
        );
        assert!(directory("/proc/", false).is_empty());
        assert!(directory("/srv/", true).is_empty());
        let file = |text: &str| of(RuleClass::File, Target::Path(path(text)));
        assert_eq!(file("/etc/nginx/shop.key"), ["T1552.004"]);
        assert_eq!(file("/srv/tls/server.pem"), ["T1552.004"]);
        assert!(file("/etc/ssl/certs/ca-certificates.pem").is_empty());
    }
}

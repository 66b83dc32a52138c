//! How much a directory may be opened: what stands in it decides, not what was seen.

use crate::path::AbsPath;

/// What may make a rule for a whole directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    /// A directory of the workload's own: a class may.
    Own,
    /// Others have names in it too: only where it must, and it is said what it opens.
    Shared,
    /// Modules and data of a package below `/usr`: only if the rules do not fit otherwise, for
    /// reading, and not where programs or libraries were seen.
    Package,
    /// Nothing may.
    Kept,
}

/// The tier of a directory. `recursive`: with all that is below it.
pub(super) fn of(directory: &AbsPath, recursive: bool) -> Tier {
    let segments: Vec<&[u8]> = super::names::segments(directory).collect();
    of_segments(&segments, recursive)
}

/// Whether names in this place are never called changing by the runs alone.
pub(super) fn is_kept(before: &[&[u8]]) -> bool {
    of_segments(before, true) != Tier::Own
}

fn of_segments(segments: &[&[u8]], recursive: bool) -> Tier {
    if segments.iter().any(|segment| is_secret(segment)) {
        return Tier::Kept;
    }
    let text: Vec<&str> = segments
        .iter()
        .map(|segment| std::str::from_utf8(segment).unwrap_or("?"))
        .collect();
    match text[..] {
        [] => Tier::Kept,
        // What may be executed or loaded: one more name in it is a planted one.
        [
            "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32" | "boot",
            ..,
        ] => Tier::Kept,
        ["usr", "lib" | "lib64" | "libexec" | "src", _, ..] if !recursive => Tier::Package,
        ["usr", "local", "lib" | "lib64" | "libexec", _, ..] if !recursive => Tier::Package,
        ["usr"]
        | ["usr", "local" | "share"]
        | [
            "usr",
            "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32" | "libexec" | "src",
            ..,
        ]
        | [
            "usr",
            "local",
            "bin" | "sbin" | "lib" | "lib64" | "libexec",
            ..,
        ] => Tier::Kept,
        ["etc"]
        | [
            "etc",
            "ssl" | "pki" | "ssh" | "pam.d" | "security" | "sudoers.d" | "cron.d" | "cron.daily"
            | "cron.hourly" | "cron.monthly" | "cron.weekly" | "systemd" | "profile.d"
            | "ld.so.conf.d" | "kubernetes" | "rancher" | "default" | "init.d",
            ..,
        ] => Tier::Kept,
        ["root"] | ["home"] | ["home", _] => Tier::Kept,
        ["dev"] | ["dev", "disk" | "mapper" | "block" | "char", ..] => Tier::Kept,
        ["dev", ..] => Tier::Shared,
        ["proc", ..] => Tier::Shared,
        ["sys", "fs", "cgroup", ..] => Tier::Shared,
        ["sys"] | ["sys", "kernel" | "fs" | "firmware"] => Tier::Kept,
        ["sys", "kernel", "debug" | "security" | "tracing", ..] => Tier::Kept,
        ["sys", "fs" | "firmware", ..] => Tier::Kept,
        ["sys", ..] => Tier::Shared,
        // The service account's token stands there, and every secret that is mounted.
        ["run", "secrets"] | ["var", "run", "secrets"] => Tier::Kept,
        ["run", "secrets", ..] | ["var", "run", "secrets", ..] => Tier::Shared,
        [
            "var",
            "lib",
            "kubelet" | "containerd" | "docker" | "rancher" | "etcd",
            ..,
        ] => Tier::Kept,
        ["var"]
        | [
            "var",
            "lib" | "log" | "cache" | "spool" | "run" | "opt" | "mail" | "backups",
        ]
        | ["run" | "opt" | "srv" | "mnt" | "media" | "host" | "data" | "app" | "workspace"] => {
            if recursive || matches!(text[..], ["var"]) {
                Tier::Shared
            } else {
                Tier::Own
            }
        }
        // Nothing there is executed by a rule of its own, and temporary directories are in it.
        ["tmp"] | ["var", "tmp"] => Tier::Own,
        // Any other directory of the root: who knows whose it is.
        [_] if recursive => Tier::Shared,
        _ => Tier::Own,
    }
}

/// Directories that hold keys and credentials.
pub(super) fn is_secret(segment: &[u8]) -> bool {
    matches!(
        segment,
        b".ssh"
            | b".gnupg"
            | b".aws"
            | b".azure"
            | b".gcloud"
            | b".kube"
            | b".docker"
            | b".password-store"
            | b"private"
            | b"shadow"
            | b"sudoers"
    )
}

/// Whether any user may make a file there.
pub(super) fn is_writable(directory: &AbsPath) -> bool {
    let mut segments = super::names::segments(directory);
    matches!(
        (segments.next(), segments.next()),
        (Some(b"tmp"), _)
            | (Some(b"var"), Some(b"tmp"))
            | (Some(b"dev"), Some(b"shm"))
            | (Some(b"run"), Some(b"user" | b"lock" | b"shm"))
    )
}

/// What stands where an attacker looks, and why it matters.
pub(super) const SENSITIVE: &[(&str, &str)] = &[
    ("/proc/1/environ", "the environment of the first process"),
    ("/proc/1/mem", "the memory of the first process"),
    (
        "/proc/1/root/etc/shadow",
        "files by way of another process's root",
    ),
    (
        "/proc/sys/kernel/core_pattern",
        "what the kernel runs when a process crashes",
    ),
    ("/proc/kcore", "the memory of the kernel"),
    ("/etc/shadow", "password hashes"),
    ("/root/.ssh/id_rsa", "keys of root"),
    (
        "/run/secrets/kubernetes.io/serviceaccount/token",
        "the service account's token",
    ),
    (
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "the service account's token",
    ),
    (
        "/sys/fs/cgroup/release_agent",
        "what the kernel runs when a cgroup is empty",
    ),
    (
        "/sys/kernel/uevent_helper",
        "what the kernel runs for a device",
    ),
    ("/dev/mem", "the memory of the machine"),
    ("/dev/sda", "a disk as it is"),
];

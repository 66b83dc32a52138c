//! What is in every profile, whatever the policies say.
//!
//! KubeArmor's template includes AppArmor's `abstractions/base` and has lines of its own after the
//! rules (KubeArmor/enforcer/appArmorTemplate.go, POST START). The abstraction is that of the
//! node: here it is the part of AppArmor 3.0's that is about files.

/// Lines that allow: a pattern and what it allows.
pub(super) const ALLOWED: &[(&str, &str)] = &[
    ("/lib/x86_64-linux-gnu/{*,**}", "rm"),
    // abstractions/base
    ("/dev/log", "w"),
    ("/dev/{random,urandom}", "r"),
    ("/dev/{null,zero,full}", "rw"),
    (
        "/{run,var/run}/systemd/journal/{dev-log,socket,stdout}",
        "w",
    ),
    (
        "/etc/{locale/**,locale.alias,localtime,bindresvport.blacklist}",
        "r",
    ),
    (
        "/usr/share/{locale-bundle,locale-langpack,locale,zoneinfo}/**",
        "r",
    ),
    ("/usr/share/**/locale/**", "r"),
    ("/usr/share/zoneinfo/", "r"),
    ("/usr/lib{,32,64}/locale/**", "mr"),
    ("/etc/ld.so.cache", "mr"),
    ("/etc/{ld.so.conf,ld.so.preload}", "r"),
    ("/etc/ld.so.conf.d/{,*.conf}", "r"),
    ("/{usr/,}lib{,32,64}/**", "r"),
    ("/{usr/,}lib{,32,64}/**.so*", "mr"),
    ("/proc/{meminfo,stat,cpuinfo}", "r"),
    ("/proc/sys/kernel/{version,ngroups_max,cap_last_cap}", "r"),
    ("/proc/sys/vm/overcommit_memory", "r"),
    ("/proc/[0-9]*/{maps,auxv,status}", "r"),
    ("/sys/devices/system/cpu/{,online}", "r"),
];

/// Lines that deny; a container that is privileged has not got them.
pub(super) const DENIED: &[(&str, &str)] = &[
    ("/proc/{*,**^[0-9*],sys/kernel/shm*}", "wkx"),
    ("/proc/{sysrq-trigger,mem,kmem,kcore}", "rwklx"),
    ("/sys/[^f]*/**", "wklx"),
    ("/sys/f[^s]*/**", "wklx"),
    ("/sys/fs/[^c]*/**", "wklx"),
    ("/sys/fs/c[^g]*/**", "wklx"),
    ("/sys/fs/cg[^r]*/**", "wklx"),
    ("/sys/firmware/efi/efivars/**", "rwklx"),
    ("/sys/kernel/security/**", "rwklx"),
];

//! Words of rules for sockets and capabilities, and the numbers in their keys.

use super::{SOCKET_PROTOCOL, SOCKET_TYPE};

/// KubeArmor/common, ObjCommaExpandFirstDupOthers: where the first rule has a comma, all of them
/// are split at commas and lose their blanks.
pub(super) fn expanded<'r, R>(
    rules: &'r [R],
    word: impl Fn(&'r R) -> &'r String,
) -> impl Iterator<Item = (usize, &'r R, String)> {
    let split = rules.first().is_some_and(|rule| word(rule).contains(','));
    rules.iter().enumerate().flat_map(move |(index, rule)| {
        let words: Vec<String> = if split {
            let words = word(rule).split(',');
            words.map(|word| word.replace(' ', "")).collect()
        } else {
            vec![word(rule).clone()]
        };
        words.into_iter().map(move |word| (index, rule, word))
    })
}

/// By the names that KubeArmor has for them.
pub(super) const SOCKET_TYPES: [(&str, u8); 7] = [
    ("STREAM", 1),
    ("DGRAM", 2),
    ("RAW", 3),
    ("RDM", 4),
    ("SEQPACKET", 5),
    ("DCCP", 6),
    ("PACKET", 10),
];

/// As KubeArmor has them: `ICMPv6` is looked up in capital letters there, and not found.
const PROTOCOLS: [(&str, u8); 4] = [("ICMP", 1), ("TCP", 6), ("UDP", 17), ("SCTP", 132)];

/// An unknown word, `all` among them, is the key of zeros, which nothing asks for.
pub(super) fn protocol_key(protocol: &str) -> [u8; 2] {
    let protocol = protocol.to_uppercase();
    let number = |words: &[(&str, u8)]| {
        let found = words.iter().find(|(word, _)| *word == protocol);
        found.map(|(_, number)| *number)
    };
    match (number(&PROTOCOLS), number(&SOCKET_TYPES)) {
        (Some(number), _) => [SOCKET_PROTOCOL, number],
        (None, Some(number)) => [SOCKET_TYPE, number],
        (None, None) => [0, 0],
    }
}

/// By number, as in `capabilities(7)`.
pub(crate) const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// An unknown name has the number 0, that of chown: the daemon reads a Go map.
pub(super) fn capability_number(name: &str) -> u8 {
    let name = name.to_lowercase();
    let name = name.strip_prefix("cap_").unwrap_or(&name);
    let found = CAPABILITIES.iter().position(|known| *known == name);
    found
        .and_then(|number| u8::try_from(number).ok())
        .unwrap_or(0)
}

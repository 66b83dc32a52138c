//! What KubeArmor's CRD accepts, and what its enforcer can then match: not the same.

/// The CRD's `maxLength` of a path, in characters.
pub const MAX_PATH_CHARS: usize = 200;
/// The longest path that the BPF-LSM enforcer compares whole, in bytes. One byte more passes the
/// CRD and never matches.
pub const MAX_KEY_BYTES: usize = 199;
/// The longest `dir` whose children the BPF-LSM enforcer finds, in bytes, slashes included.
pub const MAX_DIR_BYTES: usize = 64;
/// Components that the BPF-LSM enforcer follows; every mount on the way costs one.
pub const MAX_DEPTH: usize = 20;
/// Entries of the rule map of one container.
pub const MAX_ENTRIES: usize = 256;

/// Names of system calls that the CRD knows, one a word.
pub(super) const SYSCALLS: &str = include_str!("crd/syscalls.txt");

/// The pattern of a `path`.
pub const PATH: &str = r"^\/+.*[^\/]$";
/// The pattern of a `dir`.
pub const DIRECTORY: &str = r"^\/$|^\/.*\/$";
/// The pattern of an `execname`.
pub const EXECNAME: &str = r"^[^\/]+$";
/// The pattern of a `protocol`. Its beginning is not tied to that of the text.
pub const PROTOCOL: &str = "(tcp|TCP|udp|UDP|raw|RAW|icmp|ICMP|icmpv6|ICMPV6|sctp|SCTP|stream|STREAM\
|dgram|DGRAM|rdm|RDM|seqpacket|SEQPACKET|dccp|DCCP|packet|PACKET|all|ALL)$";
/// The pattern of a `capability`. Its beginning is not tied to that of the text.
pub const CAPABILITY: &str = "(chown|dac_override|dac_read_search|fowner|fsetid|kill|setgid|setuid|setpcap\
|linux_immutable|net_bind_service|net_broadcast|net_admin|net_raw|ipc_lock|ipc_owner|sys_module|sys_rawio\
|sys_chroot|sys_ptrace|sys_pacct|sys_admin|sys_boot|sys_nice|sys_resource|sys_time|sys_tty_config|mknod\
|lease|audit_write|audit_control|setfcap|mac_override|mac_admin)$";

/// `^\/+.*[^\/]$` and at most 200 characters: a `path`, also of `fromSource`.
///
/// `.` is not a newline and `[^\/]` is: a newline may stand at the end and nowhere else.
pub fn is_path(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next() == Some('/')
        && chars.next_back().is_some_and(|last| last != '/')
        && chars.all(|c| c != '\n')
        && text.chars().count() <= MAX_PATH_CHARS
}

/// `^\/$|^\/.*\/$`: a `dir`. The CRD knows no limit of its length.
pub fn is_directory(text: &str) -> bool {
    text.starts_with('/') && text.ends_with('/') && !text.contains('\n')
}

/// 1 to 10.
pub fn is_severity(severity: i64) -> bool {
    (1..=10).contains(&severity)
}

/// [`EXECNAME`].
pub fn is_execname(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

/// [`PROTOCOL`].
pub fn is_protocol(text: &str) -> bool {
    ends_in_one_of(text, PROTOCOL)
}

/// [`CAPABILITY`].
pub fn is_capability(text: &str) -> bool {
    ends_in_one_of(text, CAPABILITY)
}

/// A system call of the CRD's list.
pub fn is_syscall(text: &str) -> bool {
    SYSCALLS.split_whitespace().any(|name| name == text)
}

/// `(a|b|…)$`.
fn ends_in_one_of(text: &str, pattern: &str) -> bool {
    let words = pattern.trim_start_matches('(').trim_end_matches(")$");
    words.split('|').any(|word| text.ends_with(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn crd_path(text: &str) -> bool {
        let pattern = Regex::new(PATH).expect("the CRD's pattern");
        pattern.is_match(text) && text.chars().count() <= 200
    }

    fn crd_directory(text: &str) -> bool {
        Regex::new(DIRECTORY)
            .expect("the CRD's pattern")
            .is_match(text)
    }

    #[test]
    fn the_corners_are_those_of_the_patterns() {
        for text in [
            "", "/", "//", "//x", "/x", "/x/", "x", "/\n", "/a\nb", "/a\n", "\n/a", "/\n/",
        ] {
            assert_eq!(is_path(text), crd_path(text), "{text:?}");
            assert_eq!(is_directory(text), crd_directory(text), "{text:?}");
        }
        for text in [
            "",
            "tcp",
            "tcp,udp",
            "xtcp",
            "Tcp",
            "tcp ",
            "ALL",
            "icmpv6",
            "chown",
            "cap_chown",
            "syslog",
            "a/b",
        ] {
            let matches = |pattern: &str| Regex::new(pattern).expect("pattern").is_match(text);
            assert_eq!(is_protocol(text), matches(PROTOCOL), "{text:?}");
            assert_eq!(is_capability(text), matches(CAPABILITY), "{text:?}");
            assert_eq!(is_execname(text), matches(EXECNAME), "{text:?}");
        }
        assert!(is_syscall("openat") && !is_syscall("openat2") && !is_syscall(""));
        let long = format!("/{}", "é".repeat(199));
        assert!(is_path(&long) && crd_path(&long));
        assert!(!is_path(&format!("{long}e")));
    }

    proptest! {
        #[test]
        fn the_checks_agree_with_the_patterns(text in "[/\na-c\u{e9}\r\u{85}\u{2028}.]{0,8}") {
            prop_assert_eq!(is_path(&text), crd_path(&text));
            prop_assert_eq!(is_directory(&text), crd_directory(&text));
        }

        #[test]
        fn the_checks_agree_with_the_patterns_at_length(text in "/[^/]{190,210}") {
            prop_assert_eq!(is_path(&text), crd_path(&text));
        }
    }
}

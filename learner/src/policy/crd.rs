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
pub fn is_severity(severity: u8) -> bool {
    (1..=10).contains(&severity)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn crd_path(text: &str) -> bool {
        let pattern = Regex::new(r"^\/+.*[^\/]$").expect("the CRD's pattern");
        pattern.is_match(text) && text.chars().count() <= 200
    }

    fn crd_directory(text: &str) -> bool {
        Regex::new(r"^\/$|^\/.*\/$")
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

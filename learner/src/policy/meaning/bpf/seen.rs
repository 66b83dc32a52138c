//! A path as the BPF programs see it.

use super::Bounds;
use crate::path::AbsPath;
use crate::policy::crd::{MAX_DEPTH, MAX_KEY_BYTES};

/// The part of a path that `prepend_path` comes to (KubeArmor/BPF/shared.h): from its end, 20
/// components or mounts; and of that the first 199 bytes. The rest is cut off, so a deeper path is
/// taken for another one (verdicts depth-016, -017), and so is a longer one (path-length-003).
///
/// None for the root directory: it has no components, and the programs give up.
pub(super) fn path<'p>(path: &'p [u8], mounts: &[AbsPath]) -> Option<&'p [u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path.is_empty() {
        return None;
    }
    let is_shallow =
        || path.len() <= MAX_DEPTH || memchr::memchr_iter(b'/', path).count() <= MAX_DEPTH;
    if mounts.is_empty() && is_shallow() {
        return Some(&path[..path.len().min(MAX_KEY_BYTES)]);
    }
    let mut steps = MAX_DEPTH;
    let mut end = path.len();
    let mut start = end;
    while steps > 0 && end > 0 {
        if !mounts.is_empty() && mounts.iter().any(|mount| mount.as_bytes() == &path[..end]) {
            steps -= 1;
            if steps == 0 {
                break;
            }
        }
        let Some(slash) = path[..end].iter().rposition(|byte| *byte == b'/') else {
            break;
        };
        start = slash;
        end = slash;
        steps -= 1;
    }
    let seen = &path[start..];
    // Not one component was reached.
    (!seen.is_empty()).then(|| &seen[..seen.len().min(MAX_KEY_BYTES)])
}

/// A path without limits. None for the root directory.
pub(super) fn whole(path: &[u8]) -> Option<&[u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    (!path.is_empty()).then_some(path)
}

/// The last component, by which programs are looked up too.
pub(super) fn name(path: &[u8], bounds: Bounds) -> &[u8] {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    match bounds {
        Bounds::KubeArmor => &name[..name.len().min(MAX_KEY_BYTES)],
        Bounds::Unlimited => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str, mounts: &[&str]) -> Option<String> {
        let mounts: Vec<AbsPath> = mounts
            .iter()
            .map(|mount| AbsPath::try_from(*mount).expect("absolute"))
            .collect();
        path(text.as_bytes(), &mounts).map(|seen| String::from_utf8_lossy(seen).into_owned())
    }

    #[test]
    fn twenty_components_are_followed_from_the_end() {
        let deep: String = (1..=21).map(|n| format!("/{n}")).collect();
        let kept: String = (2..=21).map(|n| format!("/{n}")).collect();
        assert_eq!(seen(&deep, &[]), Some(kept.clone()));
        assert_eq!(seen(&kept, &[]), Some(kept.clone()));
        // A mount on the way costs one.
        let cut: String = (3..=21).map(|n| format!("/{n}")).collect();
        assert_eq!(seen(&kept, &["/2/3/4"]), Some(cut));
        assert_eq!(seen("/mnt/x", &["/mnt"]), Some("/mnt/x".into()));
    }

    #[test]
    fn the_root_has_no_name_and_a_slash_at_the_end_is_none() {
        assert_eq!(seen("/", &[]), None);
        assert_eq!(seen("/etc/", &[]), Some("/etc".into()));
        assert_eq!(name(b"/usr/bin/e", Bounds::KubeArmor), b"e");
    }

    #[test]
    fn a_longer_path_keeps_its_first_199_bytes() {
        let long = format!("/{}", "x".repeat(300));
        assert_eq!(seen(&long, &[]).map(|seen| seen.len()), Some(199));
    }
}

//! Names that Kubernetes accepts, made of names that anybody may have chosen.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::workload::Workload;

/// Cut here, so that the file `<policy name>.yaml` stays below the 255 bytes of a file name.
const MAX_NAME: usize = 200;
/// Cut here, so that `<namespace>-<workload>` does.
const MAX_FOLDER_NAME: usize = 180;

/// A DNS-1123 label: a namespace.
pub fn is_dns_label(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

/// A DNS-1123 subdomain: the name of an object.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            // Kubernetes does not limit the parts of a subdomain to 63.
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        })
}

/// The key of a label: a name of up to 63 characters, perhaps after a subdomain and a slash.
pub fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_name(name),
        None => is_label_name(text),
    }
}

/// The value of a label: empty, or as the name of a key.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

fn is_label_name(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// Any text as a label value: itself if it is one, else what is left of it and a hash of the whole.
pub fn label_value(text: &str) -> String {
    if is_label_value(text) {
        return text.to_owned();
    }
    with_hash(sanitised(text, 46), &[text])
}

/// The policy's name: `<workload>-<kind>-learned`, or `<workload>.<container>-<kind>-learned` where
/// the container is not called as the workload.
///
/// Guarantee: a DNS-1123 subdomain of at most 217 bytes, and different workloads have different
/// names: where something had to be changed or cut, a hash of the whole is added.
pub fn policy_name(workload: &Workload) -> String {
    let Workload {
        namespace,
        kind,
        name,
        container,
    } = workload;
    let plain = is_dns_label(name) && is_dns_label(container) && is_plain_kind(kind);
    let kind_part = kind.to_ascii_lowercase();
    if plain {
        return if name == container {
            format!("{name}-{kind_part}-learned")
        } else {
            format!("{name}.{container}-{kind_part}-learned")
        };
    }
    let whole = if name == container {
        format!("{name}-{kind}-learned")
    } else {
        format!("{name}-{container}-{kind}-learned")
    };
    with_hash(
        sanitised(&whole, MAX_NAME),
        &[namespace, kind, name, container],
    )
}

/// The name of an object that parts name: what is left of the first ones, and a hash of all of them.
///
/// Guarantee: a DNS-1123 subdomain of at most 253 bytes, and different parts have different names.
pub fn object_name(parts: &[&str]) -> String {
    let shown = parts.iter().take(2).copied().collect::<Vec<_>>().join("-");
    with_hash(sanitised(&shown, MAX_NAME), parts)
}

/// Where the policy goes below the output directory, as `karmor recommend` lays it out:
/// `<namespace>-<workload>/<policy name>.<extension>`.
///
/// Guarantee: two components, neither of them `.` or `..`, without a slash that came from a name.
pub fn relative_path(workload: &Workload, extension: &str) -> PathBuf {
    let folder = format!(
        "{}-{}",
        sanitised(&workload.namespace, 63),
        sanitised(&workload.name, MAX_FOLDER_NAME)
    );
    PathBuf::from(folder).join(format!("{}.{extension}", policy_name(workload)))
}

/// Kinds whose names stay different in lower case.
fn is_plain_kind(kind: &str) -> bool {
    matches!(
        kind,
        "Command"
            | "CronJob"
            | "DaemonSet"
            | "Deployment"
            | "Job"
            | "Pod"
            | "ReplicaSet"
            | "ReplicationController"
            | "StatefulSet"
    )
}

/// Lower case letters and digits, with one `-` for whatever stands between; `x` for nothing.
fn sanitised(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        if out.len() >= max {
            break;
        }
    }
    let kept = out.trim_end_matches('-').len();
    out.truncate(kept);
    if out.is_empty() {
        out.push('x');
    }
    out
}

/// `text-<16 hex digits>` of the parts, which are told apart by their lengths.
fn with_hash(mut text: String, parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    text.push('-');
    text.push_str(&hex::encode(&hasher.finalize()[..8]));
    text
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn workload(namespace: &str, kind: &str, name: &str, container: &str) -> Workload {
        Workload {
            namespace: namespace.into(),
            kind: kind.into(),
            name: name.into(),
            container: container.into(),
        }
    }

    #[test]
    fn an_ordinary_workload_has_a_readable_name() {
        let nginx = workload("default", "Deployment", "nginx", "nginx");
        assert_eq!(policy_name(&nginx), "nginx-deployment-learned");
        assert_eq!(
            relative_path(&nginx, "yaml"),
            PathBuf::from("default-nginx/nginx-deployment-learned.yaml")
        );
        let sidecar = workload("default", "Deployment", "nginx", "proxy");
        assert_eq!(policy_name(&sidecar), "nginx.proxy-deployment-learned");
    }

    #[test]
    fn names_that_look_alike_once_cleaned_stay_apart() {
        let names = [
            workload("default", "Command", "a b", "a b"),
            workload("default", "Command", "a_b", "a_b"),
            workload("default", "Command", "A-b", "A-b"),
            workload("default", "Command", "a-b", "a-b"),
            workload("default", "command", "a-b", "a-b"),
            workload("default", "Command", "a", "b"),
            workload("default", "Command", "a.b", "a.b"),
            workload("default", "Command", "[", "["),
            workload("default", "Command", "..", ".."),
            workload("default", "Command", "é", "é"),
        ]
        .map(|w| policy_name(&w));
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }

    #[test]
    fn a_program_with_an_odd_name_still_gets_a_label() {
        assert_eq!(label_value("nginx"), "nginx");
        assert!(label_value("[").starts_with("x-"));
        assert!(is_label_value(&label_value("[")));
        assert_ne!(label_value("a b"), label_value("a\tb"));
    }

    proptest! {
        #[test]
        fn whatever_it_is_called_it_stays_in_its_folder(
            namespace in ".{1,80}", kind in ".{1,20}", name in ".{1,300}", container in ".{1,300}",
        ) {
            let workload = workload(&namespace, &kind, &name, &container);
            let policy = policy_name(&workload);
            prop_assert!(is_dns_subdomain(&policy), "{}", policy);
            let path = relative_path(&workload, "yaml");
            let parts: Vec<_> = path.components().collect();
            prop_assert_eq!(parts.len(), 2);
            for part in parts {
                prop_assert!(matches!(part, Component::Normal(_)));
                prop_assert!(part.as_os_str().len() <= 255);
            }
            prop_assert!(is_label_value(&label_value(&name)));
        }

        #[test]
        fn the_checks_of_names_agree_with_the_patterns_of_kubernetes(text in "[a-cA-C0-9._/-]{0,7}") {
            let is = |pattern: &str| regex::Regex::new(pattern).expect("pattern").is_match(&text);
            prop_assert_eq!(is_dns_label(&text), is(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"));
            prop_assert_eq!(
                is_dns_subdomain(&text),
                is(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
            );
            prop_assert_eq!(
                is_label_value(&text),
                is(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
            );
        }
    }
}

//! Whose cgroup it is, by its path: pure, and no file is looked at.
//!
//! Runtimes and cgroup drivers name the cgroups of containers in these ways, below whatever
//! directory (a pod's, `system.slice`, `machine.slice`, `docker`):
//!
//! | name | by |
//! |---|---|
//! | `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>.scope`, `libpod-<id>.scope` | systemd driver |
//! | `<id>` below `docker`, `kubepods/…/pod<uid>`, `libpod_parent` or anything | cgroupfs driver |
//! | `libpod-<id>`, `crio-<id>` | cgroupfs driver of Podman and CRI-O |
//! | `<slice>:cri-containerd:<id>` | containerd with a systemd path and the cgroupfs driver |
//!
//! An id is 64 hexadecimal digits. The monitors of Podman and CRI-O (`libpod-conmon-<id>.scope`,
//! `crio-conmon-<id>`) are none of it.

/// What made a container, as far as the name of its cgroup tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd for Kubernetes.
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// It cannot be told.
    Unknown,
}

/// Whose a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A container's.
    Container {
        /// What made it.
        runtime: Runtime,
        /// Its id.
        id: String,
        /// UID of its Kubernetes pod.
        pod: Option<String>,
    },
    /// A systemd unit's: a service or a scope.
    Unit(String),
    /// Something else's.
    Other,
}

/// Whose the cgroup at `path`, from the root of the hierarchy, is: that of its last name alone. What
/// is nested in a container's cgroup is not that container's by this, but is counted as its.
pub fn place(path: &str) -> Place {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    let Some(name) = names.next_back() else {
        return Place::Other;
    };
    if let Some((runtime, id)) = container(name) {
        let parents: Vec<&str> = names.collect();
        return Place::Container {
            runtime: match runtime {
                Runtime::Unknown => runtime_of(&parents),
                known => known,
            },
            id: id.to_owned(),
            pod: [name]
                .iter()
                .chain(parents.iter().rev())
                .find_map(|name| pod(name)),
        };
    }
    // The scopes of monitors, and of what other managers start for themselves, are units.
    if name.ends_with(".service") || name.ends_with(".scope") {
        return Place::Unit(unescape(name));
    }
    Place::Other
}

fn container(name: &str) -> Option<(Runtime, &str)> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let bare = stem.rsplit(':').next().unwrap_or(stem);
    let (runtime, id) = match bare.rsplit_once('-') {
        None => (prefix_runtime(stem), bare),
        Some(("docker", id)) => (Runtime::Docker, id),
        Some(("cri-containerd", id)) => (Runtime::Containerd, id),
        Some(("crio", id)) => (Runtime::Crio, id),
        Some(("libpod" | "libpod-payload", id)) => (Runtime::Podman, id),
        Some(_) => return None,
    };
    is_id(id).then_some((runtime, id))
}

/// `kubepods-….slice:cri-containerd:<id>`.
fn prefix_runtime(stem: &str) -> Runtime {
    match stem.rsplit(':').nth(1) {
        Some("cri-containerd") => Runtime::Containerd,
        Some("docker") => Runtime::Docker,
        Some("crio") => Runtime::Crio,
        Some("libpod") => Runtime::Podman,
        _ => Runtime::Unknown,
    }
}

fn runtime_of(parents: &[&str]) -> Runtime {
    match parents.last() {
        Some(&"docker") => Runtime::Docker,
        Some(&"libpod_parent") => Runtime::Podman,
        _ => Runtime::Unknown,
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The UID in `pod<uid>` or `kubepods-burstable-pod<uid>.slice`, with dashes.
fn pod(name: &str) -> Option<String> {
    let name = name.split(':').next().unwrap_or(name);
    let stem = name.strip_suffix(".slice").unwrap_or(name);
    let last = stem.rsplit('-').next().unwrap_or(stem);
    let uid = last.strip_prefix("pod").or_else(|| {
        // With the cgroupfs driver the UID has dashes itself.
        stem.strip_prefix("pod")
    })?;
    let uid = uid.replace('_', "-");
    let fits = uid.len() >= 32 && uid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    fits.then_some(uid)
}

/// systemd writes a name that the kernel would take for a file of its own with `_` before it.
fn unescape(unit: &str) -> String {
    unit.strip_prefix('_').unwrap_or(unit).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4823608f2ce67c1bbc476e2abcf5493f7c4de3b3f018a39246be7056ba204198";
    const UID: &str = "2f3a1c9e-7b1d-4a7e-9c55-0d6f1e2a3b4c";

    /// `<id>`, `<uid>`, and `<u_id>` for a UID with underscores.
    fn filled(path: &str) -> String {
        let path = path.replace("<id>", ID).replace("<uid>", UID);
        path.replace("<u_id>", &UID.replace('-', "_"))
    }

    #[test]
    fn containers_are_known_by_the_paths_that_runtimes_really_give_them() {
        use Runtime::{Containerd, Crio, Docker, Podman, Unknown};
        const BURSTABLE: &str =
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<u_id>.slice";
        for (path, runtime, has_pod) in [
            ("/system.slice/docker-<id>.scope", Docker, false),
            ("/docker/<id>", Docker, false),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope",
                Podman,
                false,
            ),
            ("/machine.slice/libpod-<id>.scope", Podman, false),
            ("/libpod_parent/libpod-<id>", Podman, false),
            ("/libpod_parent/<id>", Podman, false),
            (
                "/user.slice/user-0.slice/session-3.scope/libpod-payload-<id>",
                Podman,
                false,
            ),
            (
                &format!("{BURSTABLE}/cri-containerd-<id>.scope"),
                Containerd,
                true,
            ),
            (&format!("{BURSTABLE}/docker-<id>.scope"), Docker, true),
            (&format!("{BURSTABLE}/crio-<id>.scope"), Crio, true),
            (
                "/kubepods.slice/kubepods-pod<u_id>.slice/cri-containerd-<id>.scope",
                Containerd,
                true,
            ),
            (
                "/kubelet.slice/kubelet-kubepods-pod<u_id>.slice/cri-containerd-<id>.scope",
                Containerd,
                true,
            ),
            ("/kubepods/besteffort/pod<uid>/<id>", Unknown, true),
            ("/kubepods/pod<uid>/<id>", Unknown, true),
            ("/kubepods/burstable/pod<uid>/crio-<id>", Crio, true),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod<u_id>.slice:cri-containerd:<id>",
                Containerd,
                true,
            ),
            ("/default/<id>", Unknown, false),
            ("/<id>", Unknown, false),
        ] {
            let expected = Place::Container {
                runtime,
                id: ID.to_owned(),
                pod: has_pod.then(|| UID.to_owned()),
            };
            assert_eq!(place(&filled(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_stands_around_containers_is_none() {
        for path in [
            "",
            "/",
            "/docker",
            "/kubepods.slice/kubepods-burstable.slice",
            "/libpod_parent/libpod-conmon-<id>",
            "/kubepods/burstable/pod<uid>/crio-conmon-<id>",
            "/kubepods/pod<uid>",
            "/docker/4823608f2ce6",
            "/docker/<id>0",
            "/system.slice",
            "/a-<id>",
        ] {
            assert_eq!(place(&filled(path)), Place::Other, "{path}");
        }
        let upper = format!("/docker/{}", ID.to_uppercase());
        assert_eq!(place(&upper), Place::Other);
    }

    #[test]
    fn units_are_services_and_scopes() {
        for (path, unit) in [
            ("/system.slice/nginx.service", "nginx.service"),
            (
                "/system.slice/system-postgresql.slice/postgresql@15-main.service",
                "postgresql@15-main.service",
            ),
            ("/init.scope", "init.scope"),
            ("/system.slice/_cgroup.service", "cgroup.service"),
            (
                "/user.slice/user-0.slice/session-3.scope",
                "session-3.scope",
            ),
        ] {
            assert_eq!(place(path), Place::Unit(unit.to_owned()), "{path}");
        }
        for path in [
            "/machine.slice/libpod-conmon-<id>.scope",
            "/kubepods.slice/crio-conmon-<id>.scope",
        ] {
            let path = filled(path);
            assert!(matches!(place(&path), Place::Unit(_)), "{path}");
        }
    }
}

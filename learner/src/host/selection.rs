//! Which cgroups are workloads.

use std::path::PathBuf;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::place::{Place, place};

/// Where runtimes keep what they know of their containers; named so that tests can have their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// `/run`: runc, crun, containerd.
    pub run: PathBuf,
    /// `/var/lib`: Docker, containers/storage.
    pub lib: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            run: "/run".into(),
            lib: "/var/lib".into(),
        }
    }
}

/// Which of the host's cgroups are workloads.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// All containers.
    pub containers: bool,
    /// Units by name.
    pub units: Globs,
    /// Other cgroups by their path from the root of the hierarchy.
    pub cgroups: Globs,
    /// Where runtimes keep what they know.
    pub roots: Roots,
}

/// What a workload is on this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A container, by its id.
    Container {
        /// The id that its runtime gave it.
        id: String,
        /// UID of its pod.
        pod: Option<String>,
    },
    /// A systemd unit, by its name.
    Unit(String),
    /// A cgroup that the configuration names, by its last name.
    Cgroup(String),
}

impl Selection {
    /// What the cgroup at `path` is, if it is a workload.
    pub fn pick(&self, path: &str) -> Option<What> {
        let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
        match place(path) {
            Place::Container { id, pod, .. } if self.containers => {
                Some(What::Container { id, pod })
            }
            Place::Unit(unit) if self.units.has(&unit) => Some(What::Unit(unit)),
            _ if self.cgroups.has(path) => Some(What::Cgroup(name.to_owned())),
            Place::Other if self.containers && self.is_bare_container(name) => {
                let (id, pod) = (name.to_owned(), None);
                Some(What::Container { id, pod })
            }
            _ => None,
        }
    }

    /// A container of `runc run NAME`, whose cgroup has that name alone: runc makes its directory
    /// before the cgroup.
    fn is_bare_container(&self, name: &str) -> bool {
        ["runc", "crun"]
            .iter()
            .any(|runtime| self.roots.run.join(runtime).join(name).is_dir())
    }
}

/// Patterns of names: `*` any characters but `/`, `**` any, `?` one, `[a-z]` one of these.
#[derive(Clone, Debug, Default)]
pub struct Globs(Option<GlobSet>);

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is no pattern: {cause}", pattern.escape_debug())]
pub struct BadGlob {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub cause: String,
}

impl Globs {
    /// Any of the patterns; without a pattern nothing.
    ///
    /// # Errors
    /// [`BadGlob`] for the first that is none.
    pub fn new(patterns: &[String]) -> Result<Self, BadGlob> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let glob = GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .map_err(|error| BadGlob {
                    pattern: pattern.clone(),
                    cause: error.kind().to_string(),
                })?;
            set.add(glob);
        }
        let set = set.build().map_err(|error| BadGlob {
            pattern: patterns.join(" "),
            cause: error.kind().to_string(),
        })?;
        Ok(Self((!patterns.is_empty()).then_some(set)))
    }

    /// Whether a name fits any of them.
    pub fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|set| set.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4823608f2ce67c1bbc476e2abcf5493f7c4de3b3f018a39246be7056ba204198";

    fn globs(patterns: &[&str]) -> Globs {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        Globs::new(&patterns).expect("patterns")
    }

    #[test]
    fn only_what_was_asked_for_is_a_workload() {
        let selection = Selection {
            containers: true,
            units: globs(&["nginx.service", "app-*.service"]),
            cgroups: globs(&["/batch/*"]),
            ..Selection::default()
        };
        let container = What::Container {
            id: ID.to_owned(),
            pod: None,
        };
        let docker = format!("/docker/{ID}");
        assert_eq!(selection.pick(&docker), Some(container));
        let unit = |name: &str| Some(What::Unit(name.to_owned()));
        assert_eq!(
            selection.pick("/system.slice/nginx.service"),
            unit("nginx.service")
        );
        assert_eq!(
            selection.pick("/system.slice/app-1.service"),
            unit("app-1.service")
        );
        assert_eq!(selection.pick("/system.slice/sshd.service"), None);
        assert_eq!(
            selection.pick("/batch/a"),
            Some(What::Cgroup("a".to_owned()))
        );
        assert_eq!(selection.pick("/batch/a/b"), None);
        assert_eq!(selection.pick("/"), None);
        assert_eq!(Selection::default().pick(&docker), None);
    }

    #[test]
    fn a_container_of_plain_runc_is_known_by_the_directory_that_runc_keeps_of_it() {
        let dir = tempfile::tempdir().expect("dir");
        let selection = Selection {
            containers: true,
            roots: Roots {
                run: dir.path().to_owned(),
                ..Roots::default()
            },
            ..Selection::default()
        };
        assert_eq!(selection.pick("/web"), None);
        std::fs::create_dir_all(dir.path().join("runc/web")).expect("mkdir");
        let web = What::Container {
            id: "web".to_owned(),
            pod: None,
        };
        assert_eq!(selection.pick("/web"), Some(web));
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_its_text() {
        let bad = Globs::new(&["a[".to_owned()]).expect_err("no pattern");
        assert!(bad.to_string().starts_with("'a[' is no pattern: "), "{bad}");
    }
}

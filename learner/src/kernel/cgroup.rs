//! cgroup v2: where it is mounted, a group for a command, and what identifies a group in the kernel.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A cgroup v2 directory, as the kernel programs know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId {
    /// The directory's inode number, which `bpf_get_current_cgroup_id` returns.
    pub id: u64,
    /// Its depth below the root of the hierarchy; None if that cannot be told, as from inside a
    /// cgroup namespace.
    pub level: Option<u32>,
}

/// cgroup v2 could not be used.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// It is not mounted.
    #[error(
        "cgroup v2 is not mounted, so a command cannot be told from the rest of the machine. Mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    NotMounted,
    /// A path given by the user is not in it.
    #[error("{0}: not a cgroup v2 directory; give one below {1}")]
    NotAGroup(PathBuf, PathBuf),
    /// A file operation failed.
    #[error("{path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        cause: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> GroupError {
    let path = path.to_owned();
    move |cause| GroupError::Io { path, cause }
}

/// Where cgroup v2 is mounted, if it is.
///
/// # Errors
/// [`GroupError::NotMounted`].
pub fn mount_point() -> Result<PathBuf, GroupError> {
    Ok(hierarchy()?.1)
}

/// Which part of the hierarchy is mounted, and where.
fn hierarchy() -> Result<(PathBuf, PathBuf), GroupError> {
    let file = Path::new("/proc/self/mountinfo");
    let mounts = fs::read_to_string(file).map_err(at(file))?;
    find_mount(&mounts).ok_or(GroupError::NotMounted)
}

/// Root and mount point of the first cgroup v2 mount in a `mountinfo` file.
fn find_mount(mounts: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.split(' ').next() == Some("cgroup2")).then(|| (root.into(), point.into()))
    })
}

/// Identifies a directory of the hierarchy.
///
/// # Errors
/// [`GroupError::NotAGroup`] if it is none.
pub fn identify(directory: &Path) -> Result<GroupId, GroupError> {
    let (root, mount) = hierarchy()?;
    let real = directory.canonicalize().map_err(at(directory))?;
    let below = real
        .strip_prefix(&mount)
        .map_err(|_| GroupError::NotAGroup(directory.into(), mount.clone()))?;
    let id = fs::metadata(&real).map_err(at(&real))?.ino();
    let in_namespace = fs::read_link("/proc/self/ns/cgroup")
        .is_ok_and(|link| link.as_os_str() != "cgroup:[4026531835]");
    // The mount may show a subtree only; from inside a namespace its depth cannot be told.
    let names = |path: &Path| path.iter().filter(|name| *name != "/").count() as u32;
    let level = (!in_namespace).then(|| names(&root) + names(below));
    Ok(GroupId { id, level })
}

/// The cgroup v2 directory of a process.
///
/// # Errors
/// [`GroupError`] names the file that could not be read.
pub fn of_process(pid: u32) -> Result<PathBuf, GroupError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let groups = fs::read_to_string(&path).map_err(at(&path))?;
    let own = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or("");
    Ok(mount_point()?.join(own))
}

/// Whether this process is in the cgroup v2 directory with this id, or below it.
pub(super) fn contains_this_process(id: u64) -> bool {
    let Ok(own) = of_process(std::process::id()) else {
        return false;
    };
    own.ancestors()
        .any(|group| fs::metadata(group).is_ok_and(|found| found.ino() == id))
}

/// A group made for one command; removed when dropped, if nothing is left in it.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes a group below the one that this process is in, so that its limits go on holding. It is
    /// called `name`, this process's id, and a number.
    ///
    /// # Errors
    /// [`GroupError`] if cgroup v2 is not mounted or may not be written.
    pub fn create(name: &str) -> Result<Self, GroupError> {
        let own = of_process(std::process::id())?;
        let pid = std::process::id();
        // One of that name may be left from an earlier process, with something still in it.
        for attempt in 0.. {
            let path = own.join(format!("{name}-{pid}-{attempt}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {}
                Err(e) => return Err(at(&path)(e)),
            }
        }
        unreachable!("the loop returns")
    }

    /// Moves a process in.
    ///
    /// # Errors
    /// [`GroupError::Io`].
    pub fn add(&self, pid: u32) -> Result<(), GroupError> {
        let file = self.path.join("cgroup.procs");
        fs::write(&file, pid.to_string()).map_err(at(&file))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What identifies it in the kernel.
    ///
    /// # Errors
    /// [`GroupError::Io`].
    pub fn id(&self) -> Result<GroupId, GroupError> {
        identify(&self.path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove_tree(&self.path);
    }
}

fn remove_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    if let Err(cause) = fs::remove_dir(path) {
        tracing::debug!(path = %path.display(), %cause, "cgroup not removed");
    }
}

/// Whether any process is in the subtree. A group that is gone holds none; the root of the
/// hierarchy, which does not tell, always does.
pub fn is_populated(directory: &Path) -> bool {
    match fs::read_to_string(directory.join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 1"),
        Err(_) => directory.exists(),
    }
}

/// Whether anything has run in the subtree, as its account of processor time has it (in every cgroup
/// of v2, whatever controllers there are). Not if the group is gone.
pub fn has_run(directory: &Path) -> bool {
    let account = fs::read_to_string(directory.join("cpu.stat")).unwrap_or_default();
    let used = account
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    used.is_some_and(|used| used != "0")
}

/// The processes of the subtree, in no order.
pub fn processes(directory: &Path) -> Vec<u32> {
    let mut found: Vec<u32> = fs::read_to_string(directory.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(processes(&entry.path()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_beside_version_one() {
        let version_one = "30 25 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n";
        let both = format!(
            "{version_one}31 25 0:27 /a.slice /sys/fs/cgroup/unified rw - cgroup2 none rw\n"
        );
        let found = ("/a.slice".into(), "/sys/fs/cgroup/unified".into());
        assert_eq!(find_mount(&both), Some(found));
        assert_eq!(find_mount(version_one), None);
    }
}

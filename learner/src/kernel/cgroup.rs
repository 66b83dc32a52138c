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
    let mounts =
        fs::read_to_string("/proc/self/mounts").map_err(at(Path::new("/proc/self/mounts")))?;
    find_mount(&mounts).ok_or(GroupError::NotMounted)
}

fn find_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })
}

/// Identifies a directory of the hierarchy.
///
/// # Errors
/// [`GroupError::NotAGroup`] if it is none.
pub fn identify(directory: &Path) -> Result<GroupId, GroupError> {
    let mount = mount_point()?;
    let real = directory.canonicalize().map_err(at(directory))?;
    let below = real
        .strip_prefix(&mount)
        .map_err(|_| GroupError::NotAGroup(directory.into(), mount.clone()))?;
    let id = fs::metadata(&real).map_err(at(&real))?.ino();
    let in_namespace = fs::read_link("/proc/self/ns/cgroup")
        .is_ok_and(|link| link.as_os_str() != "cgroup:[4026531835]");
    let level = (!in_namespace).then(|| below.components().count() as u32);
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

/// A group made for one command; removed when dropped, if nothing is left in it.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// Makes a group below the one that this process is in, so that its limits go on holding.
    ///
    /// # Errors
    /// [`GroupError`] if cgroup v2 is not mounted or may not be written.
    pub fn create(name: &str) -> Result<Self, GroupError> {
        let path = of_process(std::process::id())?.join(name);
        fs::create_dir(&path).map_err(at(&path))?;
        Ok(Self { path })
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

/// Whether any process is in the subtree. A group that is gone holds none.
pub fn is_populated(directory: &Path) -> bool {
    fs::read_to_string(directory.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
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
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            find_mount(mounts),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            find_mount("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"),
            None
        );
    }
}

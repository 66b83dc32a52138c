//! The cgroups of the host, as they come and go.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::selection::{Selection, What};

/// Deepest directory that is looked into, below the mount point.
const MAX_DEPTH: usize = 15;
/// Directories that are watched for new ones in them; what is in further ones is found by the next
/// look at all.
const MAX_WATCHES: usize = 16_384;

/// A cgroup that is a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Its directory.
    pub directory: PathBuf,
    /// Its path from the root of what is mounted.
    pub path: String,
    /// What it is.
    pub what: What,
}

/// A mounted hierarchy that is looked through for workloads.
///
/// The outermost cgroup that is a workload stands for everything in it: what is nested in a
/// container is that container's.
#[derive(Debug)]
pub struct Tree {
    mount: PathBuf,
    notices: OwnedFd,
    watches: HashMap<i32, PathBuf>,
}

/// What has changed since the last look.
#[derive(Debug, Default)]
pub struct Changes {
    /// Workloads that may be new.
    pub found: Vec<Candidate>,
    /// Notices were lost: look at all.
    pub missed: bool,
}

impl Tree {
    /// Looks at the hierarchy mounted at `mount`.
    ///
    /// # Errors
    /// The kernel has no inotify instance left (`fs.inotify.max_user_instances`).
    pub fn new(mount: PathBuf) -> io::Result<Self> {
        Ok(Self {
            mount,
            notices: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            watches: HashMap::new(),
        })
    }

    /// All workloads that are there now. From then on new ones are noticed.
    pub fn scan(&mut self, selection: &Selection) -> Vec<Candidate> {
        let mut found = Vec::new();
        self.look(&self.mount.clone(), 0, selection, &mut found);
        found
    }

    /// What has come since, as far as the kernel noticed it. Does not block.
    pub fn changes(&mut self, selection: &Selection) -> Changes {
        let mut changes = Changes::default();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut made = Vec::new();
        let mut reader = inotify::Reader::new(self.notices.as_fd(), &mut buffer);
        while let Ok(event) = reader.next() {
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.missed = true;
            } else if flags.contains(ReadFlags::IGNORED) {
                self.watches.remove(&event.wd());
            } else if flags.contains(ReadFlags::CREATE | ReadFlags::ISDIR)
                && let Some(parent) = self.watches.get(&event.wd())
                && let Some(name) = event.file_name()
            {
                made.push(parent.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
        }
        for directory in made {
            let depth = directory
                .strip_prefix(&self.mount)
                .map_or(0, |below| below.components().count());
            self.look(&directory, depth, selection, &mut changes.found);
        }
        changes
    }

    /// Has the descriptor become readable when the last process of a workload's cgroup has ended.
    pub fn notice_end(&mut self, directory: &Path) {
        let file = directory.join("cgroup.events");
        let _ = inotify::add_watch(&self.notices, &file, WatchFlags::MODIFY);
    }

    fn look(
        &mut self,
        directory: &Path,
        depth: usize,
        selection: &Selection,
        found: &mut Vec<Candidate>,
    ) {
        let Ok(below) = directory.strip_prefix(&self.mount) else {
            return;
        };
        // A name that is not text is no runtime's and no unit's.
        if let Some(path) = below.to_str().map(|below| format!("/{below}"))
            && let Some(what) = selection.pick(&path)
        {
            found.push(Candidate {
                directory: directory.to_owned(),
                path,
                what,
            });
            return;
        }
        // Watched before it is listed, so that nothing comes unseen in between.
        if self.watches.len() < MAX_WATCHES {
            let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
            if let Ok(watch) = inotify::add_watch(&self.notices, directory, flags) {
                self.watches.insert(watch, directory.to_owned());
            }
        }
        if depth >= MAX_DEPTH {
            return;
        }
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut children: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        children.sort();
        for child in children {
            self.look(&child, depth + 1, selection, found);
        }
    }
}

impl AsFd for Tree {
    /// Readable when something has changed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::selection::Globs;
    use super::*;

    /// Directories are directories: any file system notices them.
    #[test]
    fn workloads_are_found_where_they_are_and_when_they_come_and_only_the_outermost() {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().canonicalize().expect("canonical");
        let make = |path: &str| fs::create_dir_all(root.join(path)).expect("mkdir");
        let selection = Selection {
            cgroups: Globs::new(&["/batch/*".to_owned(), "/**/deep".to_owned()]).expect("globs"),
            ..Selection::default()
        };
        make("batch/one/deep");
        make("else");
        let mut tree = Tree::new(root.clone()).expect("inotify");
        let paths = |found: Vec<Candidate>| -> Vec<String> {
            found.into_iter().map(|candidate| candidate.path).collect()
        };
        assert_eq!(paths(tree.scan(&selection)), ["/batch/one"]);
        assert!(tree.changes(&selection).found.is_empty());
        make("batch/two");
        make("else/a/b/deep");
        assert_eq!(
            paths(tree.changes(&selection).found),
            ["/batch/two", "/else/a/b/deep"]
        );
        fs::remove_dir(root.join("batch/two")).expect("rmdir");
        make("batch/two");
        assert_eq!(paths(tree.changes(&selection).found), ["/batch/two"]);
    }
}

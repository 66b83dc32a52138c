//! The directory: where it is, who may enter it, and how a small file in it is replaced.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::error::StoreError;
use super::format;

/// What may be there before `FORMAT` is: left over from a first opening that was interrupted.
const UNFINISHED: [&str; 4] = ["LOCK", "HEAD", "HEAD.new", "FORMAT.new"];

/// Where the store is unless told otherwise: `/var/lib/learner` as root, else
/// `$XDG_DATA_HOME/learner`, else `~/.local/share/learner`.
///
/// The arguments are the environment's `XDG_DATA_HOME` and `HOME`. One that is not an absolute path
/// does not count, as the XDG specification has it. `None` if nothing is left.
pub fn default_dir(
    is_root: bool,
    xdg_data_home: Option<OsString>,
    home: Option<OsString>,
) -> Option<PathBuf> {
    if is_root {
        return Some(PathBuf::from("/var/lib/learner"));
    }
    let absolute = |dir: OsString| Some(PathBuf::from(dir)).filter(|dir| dir.is_absolute());
    xdg_data_home
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".local/share")))
        .map(|data| data.join("learner"))
}

/// Makes the directory, or makes sure that it is a store's or empty, and closed to others.
pub(super) fn prepare(dir: &Path) -> Result<(), StoreError> {
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => Err(StoreError::NotDirectory {
            path: dir.to_owned(),
        }),
        Ok(found) => {
            if !format::check(dir)? && !is_unfinished(dir)? {
                return Err(StoreError::Foreign {
                    path: dir.to_owned(),
                });
            }
            close_to_others(dir, &found)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o700)))
            .map_err(|e| StoreError::io(dir, "making the directory", e)),
        Err(e) => Err(StoreError::io(dir, "looking at the directory", e)),
    }
}

fn is_unfinished(dir: &Path) -> Result<bool, StoreError> {
    let list = || -> io::Result<bool> {
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            if !UNFINISHED.iter().any(|known| name == *known) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    list().map_err(|e| StoreError::io(dir, "listing the directory", e))
}

fn close_to_others(dir: &Path, found: &fs::Metadata) -> Result<(), StoreError> {
    let mode = found.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(StoreError::Exposed {
            path: dir.to_owned(),
            mode,
            owner: found.uid(),
        });
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))
        .map_err(|e| StoreError::io(dir, "closing the directory to others", e))
}

/// Holds the store for this process until the file is closed, or the process ends.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| StoreError::io(&path, "opening the lock", e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked {
            path: dir.to_owned(),
        }),
        Err(e) => Err(StoreError::io(&path, "locking", e.into())),
    }
}

/// Gives `name` new contents: after a crash it has the old ones or the new ones.
pub(super) fn replace(dir: &Path, name: &str, contents: &[u8]) -> Result<(), StoreError> {
    let new = dir.join(format!("{name}.new"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&new, dir.join(name))?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| StoreError::io(&dir.join(name), "writing", e))
}

/// Makes a directory within the store, if it is not there.
pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io(dir, "making the directory", e))
        }
        _ => Ok(()),
    }
}

/// Makes an empty file within the store, if it is not there, so that its mode is ours to choose.
pub(super) fn make_file(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io(path, "making the file", e))
        }
        _ => Ok(()),
    }
}

/// Takes group's and others' permissions from everything within the store.
pub(super) fn close_files(dir: &Path) -> Result<(), StoreError> {
    walk(dir, &mut |path, found| {
        let mode = if found.is_dir() { 0o700 } else { 0o600 };
        if found.mode() & 0o077 == 0 || found.is_symlink() {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    })
    .map_err(|e| StoreError::io(dir, "closing the files to others", e))
}

/// Bytes that the store takes up: allocated blocks.
pub(super) fn size(dir: &Path) -> Result<u64, StoreError> {
    let mut size = 0;
    walk(dir, &mut |_, found| {
        size += found.blocks() * 512;
        Ok(())
    })
    .map_err(|e| StoreError::io(dir, "measuring", e))?;
    Ok(size)
}

/// What disappears meanwhile is passed over: sled's threads remove files.
fn walk(
    dir: &Path,
    visit: &mut impl FnMut(&Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let found = match fs::symlink_metadata(&path) {
            Err(e) if gone(&e) => continue,
            found => found?,
        };
        match visit(&path, &found) {
            Err(e) if gone(&e) => continue,
            visited => visited?,
        }
        if found.is_dir() {
            walk(&path, visit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_place_follows_who_runs_it_and_xdg() {
        let dir = |root, xdg: Option<&str>, home: Option<&str>| {
            default_dir(root, xdg.map(Into::into), home.map(Into::into))
        };
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(dir(true, Some("/x"), Some("/h")), at("/var/lib/learner"));
        assert_eq!(dir(false, Some("/x"), Some("/h")), at("/x/learner"));
        assert_eq!(dir(false, None, Some("/h")), at("/h/.local/share/learner"));
        assert_eq!(
            dir(false, Some("relative"), Some("/h")),
            at("/h/.local/share/learner")
        );
        assert_eq!(dir(false, Some(""), None), None);
        assert_eq!(dir(false, None, Some("")), None);
    }
}

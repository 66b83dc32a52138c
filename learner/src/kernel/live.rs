//! What processes that run already have open: evidence of what was done before they were watched.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::profile::{RunProfile, Sighting};

/// The pid and mount namespaces of a process, by inode number.
pub fn namespaces(pid: u32) -> Option<(u32, u32)> {
    let of = |name| {
        fs::metadata(format!("/proc/{pid}/ns/{name}"))
            .ok()
            .map(|m| m.ino() as u32)
    };
    Some((of("pid_for_children").or_else(|| of("pid"))?, of("mnt")?))
}

/// The processes that share both namespaces with `pid`, itself included.
pub fn namespace_mates(pid: u32) -> Vec<u32> {
    let Some(wanted) = namespaces(pid) else {
        return Vec::new();
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| namespaces(*pid) == Some(wanted))
        .collect()
}

/// What `/proc/PID/{exe,maps,fd}` shows of the processes: each image as executed and opened, each
/// mapped file as opened for reading, each open file by its mode.
///
/// Best effort: a process that ends meanwhile shows nothing. Deleted files have no path.
pub fn state(pids: &[u32], at: Moment) -> RunProfile {
    let mut profile = RunProfile::default();
    let sighting = Sighting {
        count: 1,
        first: at,
        last: at,
    };
    for pid in pids {
        for behavior in process(*pid) {
            profile
                .seen
                .entry(behavior)
                .and_modify(|known| *known = known.plus(sighting))
                .or_insert(sighting);
        }
    }
    profile
}

fn process(pid: u32) -> BTreeSet<Behavior> {
    let mut found = BTreeSet::new();
    let root = Path::new("/proc").join(pid.to_string());
    let exe = link(&root.join("exe"));
    let uid = fs::metadata(&root).ok().map(|m| m.uid());
    let mut add = |op, path, source: Option<AbsPath>| {
        found.insert(Behavior {
            op,
            path,
            source,
            uid,
            owner: None,
            upper: None,
            tty: None,
            result: Outcome::Ok,
        });
    };
    let Some(exe) = exe else { return found };
    add(Op::Exec, exe.clone(), None);
    add(Op::Open(Access::Read), exe.clone(), None);
    for path in mapped(&fs::read(root.join("maps")).unwrap_or_default()) {
        add(Op::Open(Access::Read), path, Some(exe.clone()));
    }
    for entry in fs::read_dir(root.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let Some(path) = link(&entry.path()) else {
            continue;
        };
        let info = root.join("fdinfo").join(entry.file_name());
        let Some(access) = fs::read_to_string(info).ok().as_deref().and_then(access) else {
            continue;
        };
        let is_directory = fs::metadata(entry.path()).is_ok_and(|m| m.is_dir());
        let path = if is_directory { with_slash(path) } else { path };
        add(Op::Open(access), path, Some(exe.clone()));
    }
    found
}

/// Where a link of /proc leads, if that is a path that still is there.
fn link(path: &Path) -> Option<AbsPath> {
    let target = fs::read_link(path).ok()?;
    named(target.as_os_str().as_bytes())
}

fn named(target: &[u8]) -> Option<AbsPath> {
    if target.ends_with(b" (deleted)") || target.starts_with(b"/memfd:") {
        return None;
    }
    AbsPath::new(target).ok()
}

fn with_slash(path: AbsPath) -> AbsPath {
    let mut bytes = path.as_bytes().to_vec();
    if !bytes.ends_with(b"/") {
        bytes.push(b'/');
    }
    AbsPath::new(bytes).unwrap_or(path)
}

/// The files of a `maps` file. Newlines in names are written `\012`.
fn mapped(maps: &[u8]) -> BTreeSet<AbsPath> {
    maps.split(|b| *b == b'\n')
        .filter_map(|line| {
            let start = line.iter().position(|b| *b == b'/')?;
            named(&unescape(&line[start..]))
        })
        .collect()
}

fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, tail)) = rest.split_first() {
        if rest.starts_with(b"\\012") {
            out.push(b'\n');
            rest = &rest[4..];
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    out
}

/// The access that the octal `flags:` line of a `fdinfo` file gives; None for `O_PATH`.
fn access(info: &str) -> Option<Access> {
    const O_PATH: u32 = 0o10_000_000;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
    if flags & O_PATH != 0 {
        return None;
    }
    Some(match flags & 3 {
        0 => Access::Read,
        1 => Access::Write,
        _ => Access::ReadWrite,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_give_files_and_no_anonymous_memory() {
        let maps = b"7f00-7f01 r-xp 0000 fe:00 1 /usr/lib/libc.so.6\n\
                     7f01-7f02 rw-p 0000 00:00 0 \n7f02-7f03 rw-p 0 00:00 0 [heap]\n\
                     7f03-7f04 r--p 0 fe:00 2 /tmp/a\\012b\n7f04-7f05 r--p 0 fe:00 3 /tmp/x (deleted)\n";
        let found: Vec<String> = mapped(maps).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["/tmp/a\\nb", "/usr/lib/libc.so.6"]);
    }

    #[test]
    fn access_is_read_from_the_octal_flags() {
        assert_eq!(
            access("pos:\t0\nflags:\t0100002\n"),
            Some(Access::ReadWrite)
        );
        assert_eq!(access("pos:\t0\nflags:\t0100000\n"), Some(Access::Read));
        assert_eq!(access("flags:\t012000000\n"), None);
        assert_eq!(access("nothing"), None);
    }

    #[test]
    fn this_process_is_seen_with_its_image_and_libraries() {
        let found = process(std::process::id());
        assert!(found.iter().any(|b| b.op == Op::Exec));
        assert!(found.iter().any(|b| b.path.to_string().contains("libc.so")));
    }
}

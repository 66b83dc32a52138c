//! From the bytes of the ring buffer to an event. Never panics, whatever the bytes.

use learner_ebpf::{Header, flag, segment};

use crate::path::AbsPath;

/// One event, as the kernel reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub key: [u64; 2],
    pub at: u64,
    pub pid: u32,
    pub scope: u32,
    pub op: u32,
    pub access: u32,
    pub uid: u32,
    pub flags: u32,
    pub errno: u32,
    pub mnt_ns: u32,
    pub root_mnt: u32,
    pub path: AbsPath,
    pub to: Option<AbsPath>,
    pub source: Option<AbsPath>,
    pub raw: Vec<u8>,
    pub raw_to: Vec<u8>,
    /// For a script: the working directory that its name starts from.
    pub cwd: Option<AbsPath>,
    pub root: Option<AbsPath>,
}

impl Event {
    pub(super) fn has(&self, bit: u32) -> bool {
        self.flags & bit != 0
    }
}

/// The record does not have the shape of this version's wire.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of {0} bytes from the kernel is malformed")]
pub(super) struct Malformed(usize);

/// Takes a record apart.
pub(super) fn decode(bytes: &[u8]) -> Result<Event, Malformed> {
    parse(bytes).ok_or(Malformed(bytes.len()))
}

fn parse(bytes: &[u8]) -> Option<Event> {
    let mut reader = Reader(bytes);
    let key = [reader.u64()?, reader.u64()?];
    let at = reader.u64()?;
    let pid = reader.u32()?;
    let root_mnt = reader.u32()?;
    let scope = reader.u32()?;
    let op = reader.u32()?;
    let access = reader.u32()?;
    let uid = reader.u32()?;
    let flags = reader.u32()?;
    let errno = reader.u32()?;
    let mnt_ns = reader.u32()?;
    let mut len = [0usize; segment::COUNT];
    for len in &mut len {
        *len = usize::from(reader.u16()?);
    }
    const _: () = assert!(size_of::<Header>() == 72);
    let mut part = |index: usize| reader.take(len[index]);
    let path = part(segment::PATH)?;
    let to = part(segment::TO)?;
    let source = part(segment::SOURCE)?;
    let raw = part(segment::RAW)?;
    let raw_to = part(segment::RAW_TO)?;
    let root = part(segment::ROOT)?;
    let is_script = flags & flag::EXEC_DONE != 0 && !raw.is_empty();
    let is_raw = flags & (flag::RAW | flag::EXEC_DONE) != 0;
    Some(Event {
        key,
        at,
        pid,
        scope,
        op,
        access,
        uid,
        flags,
        errno,
        mnt_ns,
        root_mnt,
        path: components(path)?,
        to: if to.is_empty() && raw_to.is_empty() {
            None
        } else {
            Some(components(to)?)
        },
        source: if source.is_empty() {
            None
        } else {
            Some(components(source)?)
        },
        raw: without_nul(raw),
        raw_to: if is_script {
            Vec::new()
        } else {
            without_nul(raw_to)
        },
        cwd: if is_script {
            Some(components(raw_to)?)
        } else {
            None
        },
        root: if is_raw {
            Some(components(root)?)
        } else {
            None
        },
    })
}

/// Components from the leaf up, each with its NUL, to a path.
fn components(bytes: &[u8]) -> Option<AbsPath> {
    let mut names: Vec<&[u8]> = bytes.split(|b| *b == 0).collect();
    // What follows the last NUL is empty.
    names.pop().filter(|rest| rest.is_empty())?;
    AbsPath::from_components(names.into_iter().rev()).ok()
}

fn without_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_ne_bytes(self.take(8)?.try_into().ok()?))
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_ne_bytes(self.take(2)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(flags: u32, parts: [&[u8]; segment::COUNT]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [1u64, 2, 3] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        for word in [4u32, 0, 5, 2, 1, 0, flags, 0, 9] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u16).to_ne_bytes());
        }
        for part in parts {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    #[test]
    fn components_are_read_from_the_leaf_up() {
        let event = decode(&record(
            0,
            [b"passwd\0etc\0", b"", b"cat\0bin\0usr\0", b"", b"", b""],
        ))
        .expect("decodes");
        assert_eq!(event.path.as_bytes(), b"/etc/passwd");
        assert_eq!(event.source.expect("source").as_bytes(), b"/usr/bin/cat");
        assert_eq!(event.to, None);
        assert_eq!((event.pid, event.scope, event.mnt_ns), (4, 5, 9));
    }

    #[test]
    fn the_root_directory_has_no_component() {
        let event =
            decode(&record(flag::DIRECTORY, [b"", b"", b"", b"", b"", b""])).expect("decodes");
        assert_eq!(event.path.as_bytes(), b"/");
    }

    #[test]
    fn a_cut_record_is_refused_at_every_length() {
        let whole = record(flag::RAW, [b"a\0", b"b\0", b"c\0", b"x\0", b"y\0", b""]);
        assert!(decode(&whole).is_ok());
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), Err(Malformed(len)));
        }
    }
}

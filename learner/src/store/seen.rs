//! A behaviour of a run as a record.

use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::profile::Sighting;

use super::codec::{Reader, Writer};
use super::record::Sum;

/// A behaviour that is stored: where, what is known of it, and its record's checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) number: u32,
    pub(super) sighting: Sighting,
    pub(super) sum: Sum,
}

/// Bytes that count towards a revision's limit: the names, and something for the rest.
pub(super) fn weight(behavior: &Behavior) -> u64 {
    let Behavior {
        op, path, source, ..
    } = behavior;
    let names = [Some(path), op.to(), source.as_ref()];
    let len: usize = names.iter().flatten().map(|p| p.as_bytes().len()).sum();
    len as u64 + 32
}

pub(super) fn write(behavior: &Behavior, sighting: Sighting) -> Writer {
    let Behavior {
        op,
        path,
        source,
        uid,
        owner,
        upper,
        tty,
        result,
    } = behavior;
    let Sighting { count, first, last } = sighting;
    let mut w = Writer::default();
    w.byte(match op {
        Op::Exec => 0,
        Op::Open(Access::Read) => 1,
        Op::Open(Access::Write) => 2,
        Op::Open(Access::ReadWrite) => 3,
        Op::Create => 4,
        Op::Mkdir => 5,
        Op::Unlink => 6,
        Op::Rmdir => 7,
        Op::Rename { .. } => 8,
        Op::Link { .. } => 9,
        Op::Symlink => 10,
        Op::Chmod => 11,
        Op::Truncate => 12,
    });
    if let Some(to) = op.to() {
        w.bytes(to.as_bytes());
    }
    w.bytes(path.as_bytes());
    w.byte(u8::from(source.is_some()));
    if let Some(source) = source {
        w.bytes(source.as_bytes());
    }
    w.optional(uid.map(i64::from));
    for maybe in [owner, upper, tty] {
        w.byte(maybe.map_or(2, u8::from));
    }
    match result {
        Outcome::Ok => w.byte(0),
        Outcome::Failed(errno) => {
            w.byte(1);
            w.bytes(errno.as_bytes());
        }
    }
    w.number(count);
    w.signed(first.0);
    w.signed(last.0.wrapping_sub(first.0));
    w
}

pub(super) fn read(r: &mut Reader<'_>) -> Option<(Behavior, Sighting)> {
    let op = match r.byte()? {
        0 => Op::Exec,
        1 => Op::Open(Access::Read),
        2 => Op::Open(Access::Write),
        3 => Op::Open(Access::ReadWrite),
        4 => Op::Create,
        5 => Op::Mkdir,
        6 => Op::Unlink,
        7 => Op::Rmdir,
        8 => Op::Rename { to: path(r)? },
        9 => Op::Link { to: path(r)? },
        10 => Op::Symlink,
        11 => Op::Chmod,
        12 => Op::Truncate,
        _ => return None,
    };
    let behavior = Behavior {
        op,
        path: path(r)?,
        source: if r.flag()? { Some(path(r)?) } else { None },
        uid: match r.optional()? {
            Some(uid) => Some(u32::try_from(uid).ok()?),
            None => None,
        },
        owner: maybe(r)?,
        upper: maybe(r)?,
        tty: maybe(r)?,
        result: if r.flag()? {
            Outcome::Failed(r.text()?)
        } else {
            Outcome::Ok
        },
    };
    let count = r.number()?;
    let first = r.signed()?;
    let last = first.wrapping_add(r.signed()?);
    let sighting = Sighting {
        count,
        first: Moment(first),
        last: Moment(last),
    };
    Some((behavior, sighting))
}

fn path(r: &mut Reader<'_>) -> Option<AbsPath> {
    AbsPath::new(r.bytes()?).ok()
}

#[expect(clippy::option_option, reason = "outer: readable; inner: known")]
fn maybe(r: &mut Reader<'_>) -> Option<Option<bool>> {
    match r.byte()? {
        0 => Some(Some(false)),
        1 => Some(Some(true)),
        2 => Some(None),
        _ => None,
    }
}

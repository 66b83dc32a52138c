//! A tombstone as a record: what a person has had forgotten, or lets be learned again.

use std::collections::BTreeMap;
use std::path::Path;

use crate::behavior::OpKind;
use crate::mention::Mention;
use crate::path::AbsPath;
use crate::workload::Workload;

use super::codec::{Reader, Writer};
use super::engine::Batch;
use super::error::StoreError;
use super::format;
use super::key;
use super::record::{self, Sum};
use super::run::Root;

/// What a tombstone is about.
pub(super) type Grave = (Workload, Mention);

/// A tombstone's record, as it stands on disk. One that was taken away stays and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stone {
    pub(super) number: u32,
    pub(super) stands: bool,
    /// Checksum of this record.
    pub(super) sum: Sum,
}

/// Tombstones that are set or taken away together. Nothing is changed before it is committed.
pub(super) struct Burial<'a> {
    pub(super) batch: Batch,
    pub(super) root: Root,
    /// The changed ones.
    pub(super) stones: BTreeMap<Grave, Stone>,
    dir: &'a Path,
    stored: &'a BTreeMap<Grave, Stone>,
}

impl<'a> Burial<'a> {
    pub(super) fn new(dir: &'a Path, root: Root, stored: &'a BTreeMap<Grave, Stone>) -> Self {
        Self {
            batch: Batch::default(),
            root,
            stones: BTreeMap::new(),
            dir,
            stored,
        }
    }

    /// Sets a tombstone or takes it away, unless that is so already.
    pub(super) fn set(&mut self, grave: &Grave, stands: bool) -> Result<(), StoreError> {
        let before = self.stones.get(grave).or_else(|| self.stored.get(grave));
        if before.is_some_and(|stone| stone.stands) == stands {
            return Ok(());
        }
        let number = before.map_or(self.root.tombstones, |stone| stone.number);
        let at = key::tombstone(number);
        let (value, sum) = record::seal(&at, &write(grave, stands));
        if value.len() > record::MAX_LEN {
            return Err(StoreError::TooLarge {
                path: self.dir.to_owned(),
                what: "a tombstone".to_owned(),
                size: value.len(),
                limit: record::MAX_LEN,
            });
        }
        match before {
            Some(stone) => self.root.tombstone_sum.remove(stone.sum),
            None => self.root.tombstones += 1,
        }
        self.root.tombstone_sum.add(sum);
        self.batch.insert(&at, value);
        let stone = Stone {
            number,
            stands,
            sum,
        };
        self.stones.insert(grave.clone(), stone);
        Ok(())
    }

    /// Adds the root, unless nothing has changed.
    pub(super) fn finish(&mut self) -> Option<Sum> {
        if self.batch.records() == 0 {
            return None;
        }
        self.root.format = self.root.format.max(format::TOMBSTONES);
        self.root.fold += 1;
        let (value, sum) = record::seal(&key::ROOT, &self.root.write());
        self.batch.insert(&key::ROOT, value);
        Some(sum)
    }
}

fn write((workload, mention): &Grave, stands: bool) -> Writer {
    let Workload {
        namespace,
        kind,
        name,
        container,
    } = workload;
    let Mention { op, path, source } = mention;
    let mut w = Writer::default();
    w.byte(u8::from(stands));
    for text in [namespace, kind, name, container] {
        w.bytes(text.as_bytes());
    }
    w.bytes(op.map_or("", OpKind::as_str).as_bytes());
    w.bytes(path.as_bytes());
    w.bytes(source.as_ref().map_or(&[][..], AbsPath::as_bytes));
    w
}

pub(super) fn read(number: u32, r: &mut Reader<'_>) -> Option<(Grave, Stone)> {
    let stands = r.flag()?;
    let workload = Workload {
        namespace: r.text()?,
        kind: r.text()?,
        name: r.text()?,
        container: r.text()?,
    };
    let mention = Mention {
        op: match r.text()?.as_str() {
            "" => None,
            op => Some(OpKind::parse(op)?),
        },
        path: AbsPath::new(r.bytes()?).ok()?,
        source: match r.bytes()? {
            [] => None,
            source => Some(AbsPath::new(source).ok()?),
        },
    };
    let stone = Stone {
        number,
        stands,
        sum: Sum::default(),
    };
    Some(((workload, mention), stone))
}

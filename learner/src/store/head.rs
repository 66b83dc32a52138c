//! The file `HEAD`: the last fold that was confirmed.
//!
//! It is written after sled has synced the fold. So a store behind its `HEAD` has lost something,
//! and a store ahead of it was interrupted between the two, which is no loss.

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::error::StoreError;
use super::place;
use super::record::Sum;

const NAME: &str = "HEAD";

/// What `HEAD` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Number of the fold; 0 before the first.
    pub(super) fold: u64,
    /// Checksum of the root record after it; 0 before the first.
    pub(super) root: Sum,
}

impl Head {
    pub(super) fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::damaged(dir, "the file HEAD is missing"));
            }
            Err(e) => return Err(StoreError::io(&path, "reading", e)),
        };
        parse(&text)
            .ok_or_else(|| StoreError::damaged(dir, "the file HEAD does not match its checksum"))
    }

    pub(super) fn exists(dir: &Path) -> bool {
        dir.join(NAME).exists()
    }

    pub(super) fn write(self, dir: &Path) -> Result<(), StoreError> {
        place::replace(dir, NAME, self.text().as_bytes())
    }

    fn text(self) -> String {
        let Self { fold, root } = self;
        let said = format!("fold {fold}\nroot {:016x}\n", root.0);
        format!("{said}check {:016x}\n", xxh3_64(said.as_bytes()))
    }
}

fn parse(text: &[u8]) -> Option<Head> {
    let said = std::str::from_utf8(text).ok()?;
    let mut lines = said.lines();
    let head = Head {
        fold: lines.next()?.strip_prefix("fold ")?.parse().ok()?,
        root: Sum(u64::from_str_radix(lines.next()?.strip_prefix("root ")?, 16).ok()?),
    };
    (head.text() == said).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_head_is_noticed() {
        let head = Head {
            fold: 1234,
            root: Sum(0xfeed),
        };
        let text = head.text().into_bytes();
        assert_eq!(parse(&text), Some(head));
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&flipped), None, "bit {bit}");
        }
    }
}

//! A record: version, body, and a checksum over its key and both.

use xxhash_rust::xxh3::Xxh3Default;

use super::codec::{Reader, Writer};

/// Version that this code writes, in the first byte of every value.
const VERSION: u8 = 1;

/// Largest record in bytes. Three whole Linux paths fit.
///
/// The reason is sled: a leaf holds up to 17 records, and a leaf above a quarter of a segment goes
/// to a file of its own, for which "disk full" leaves sled waiting for ever. See `engine.rs`.
pub(super) const MAX_LEN: usize = 14 * 1024;

/// The checksum of a record. Sums of these (modulo 2^64) say whether a set of records is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(pub(super) u64);

impl Sum {
    pub(super) fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.0 = self.0.wrapping_sub(other.0);
    }
}

/// A body is wrapped for writing.
pub(super) fn seal(key: &[u8], body: &Writer) -> (Vec<u8>, Sum) {
    let mut value = Vec::with_capacity(body.0.len() + 9);
    value.push(VERSION);
    value.extend_from_slice(&body.0);
    let sum = checksum(key, &value);
    value.extend_from_slice(&sum.0.to_le_bytes());
    (value, sum)
}

/// The inverse of [`seal`], or what is wrong, as the end of a sentence.
pub(super) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<(Reader<'a>, Sum), String> {
    let wrong = |what: &str| format!("the record at key {} {what}", hex::encode(key));
    let (sealed, stored) = value
        .split_last_chunk::<8>()
        .ok_or_else(|| wrong("is too short"))?;
    let stored = Sum(u64::from_le_bytes(*stored));
    if checksum(key, sealed) != stored {
        return Err(wrong("does not match its checksum"));
    }
    match sealed.split_first() {
        Some((&VERSION, body)) => Ok((Reader(body), stored)),
        Some((version, _)) => Err(wrong(&format!("has unknown version {version}"))),
        None => Err(wrong("is empty")),
    }
}

/// As [`unseal`], and the body is read to its end.
pub(super) fn decode<T>(
    key: &[u8],
    value: &[u8],
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<(T, Sum), String> {
    let (mut body, sum) = unseal(key, value)?;
    read(&mut body)
        .and_then(|read| body.end().map(|()| (read, sum)))
        .ok_or_else(|| format!("the record at key {} cannot be read", hex::encode(key)))
}

/// Keys have a fixed length for their first byte, so key and value need no mark between them.
fn checksum(key: &[u8], sealed: &[u8]) -> Sum {
    let mut hash = Xxh3Default::new();
    hash.update(key);
    hash.update(sealed);
    Sum(hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed_and_so_is_another_key() {
        let mut body = Writer::default();
        body.bytes(b"/etc/passwd");
        body.number(3);
        let (value, sum) = seal(b"k", &body);
        assert_eq!(unseal(b"k", &value).expect("whole").1, sum);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(b"k", &flipped).is_err(), "bit {bit}");
        }
        for len in 0..value.len() {
            assert!(unseal(b"k", &value[..len]).is_err(), "length {len}");
        }
        assert!(unseal(b"j", &value).is_err());
    }
}

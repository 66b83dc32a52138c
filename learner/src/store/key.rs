//! Keys: fixed length a kind, in the order root, runs, behaviours by run, tombstones.

/// The one record about the whole.
pub(super) const ROOT: [u8; 1] = [0];

/// First byte of a run's key.
const RUN: u8 = 1;

/// First byte of a behaviour's key.
const SEEN: u8 = 2;

/// First byte of a tombstone's key.
const TOMBSTONE: u8 = 3;

/// First byte of every tombstone's key, as a prefix.
pub(super) const TOMBSTONES: [u8; 1] = [TOMBSTONE];

/// First byte of every run's key, as a prefix.
pub(super) const RUNS: [u8; 1] = [RUN];

/// Of the run with this number.
pub(super) fn run(run: u32) -> [u8; 5] {
    let [a, b, c, d] = run.to_be_bytes();
    [RUN, a, b, c, d]
}

/// Prefix of the behaviours of a run.
pub(super) fn seen_in(run: u32) -> [u8; 5] {
    let [a, b, c, d] = run.to_be_bytes();
    [SEEN, a, b, c, d]
}

/// Of a run's behaviour.
pub(super) fn seen(run: u32, behavior: u32) -> [u8; 9] {
    let [a, b, c, d] = run.to_be_bytes();
    let [e, f, g, h] = behavior.to_be_bytes();
    [SEEN, a, b, c, d, e, f, g, h]
}

/// Of the tombstone with this number.
pub(super) fn tombstone(tombstone: u32) -> [u8; 5] {
    let [a, b, c, d] = tombstone.to_be_bytes();
    [TOMBSTONE, a, b, c, d]
}

/// The number at the end of a key.
pub(super) fn number(key: &[u8]) -> Option<u32> {
    let (_, last) = key.split_last_chunk::<4>()?;
    Some(u32::from_be_bytes(*last))
}

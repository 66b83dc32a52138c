//! Keys: fixed length a kind, in the order root, runs, behaviours by run, tombstones, standings, pages
//! of candidates, pages of the journal's entries.

/// The one record about the whole.
pub(super) const ROOT: [u8; 1] = [0];

/// First byte of a run's key.
const RUN: u8 = 1;

/// First byte of a behaviour's key.
const SEEN: u8 = 2;

/// First byte of a tombstone's key.
const TOMBSTONE: u8 = 3;

/// First byte of a standing's key.
const STANDING: u8 = 4;

/// First byte of the key of a candidate's page.
const CANDIDATE: u8 = 5;

/// First byte of the key of an entry's page.
const ENTRY: u8 = 6;

/// First byte of every standing's key, as a prefix.
pub(super) const STANDINGS: [u8; 1] = [STANDING];

/// First byte of the key of every candidate's page, as a prefix.
pub(super) const CANDIDATES: [u8; 1] = [CANDIDATE];

/// First byte of the key of every entry's page, as a prefix.
pub(super) const ENTRIES: [u8; 1] = [ENTRY];

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
    pair(SEEN, run, behavior)
}

/// Of a page of the candidate with this number.
pub(super) fn candidate(candidate: u32, page: u32) -> [u8; 9] {
    pair(CANDIDATE, candidate, page)
}

/// Of a page of the entry with this number.
pub(super) fn entry(entry: u32, page: u32) -> [u8; 9] {
    pair(ENTRY, entry, page)
}

/// Of the standing with this number.
pub(super) fn standing(standing: u32) -> [u8; 5] {
    let [a, b, c, d] = standing.to_be_bytes();
    [STANDING, a, b, c, d]
}

fn pair(kind: u8, of: u32, number: u32) -> [u8; 9] {
    let [a, b, c, d] = of.to_be_bytes();
    let [e, f, g, h] = number.to_be_bytes();
    [kind, a, b, c, d, e, f, g, h]
}

/// The number before the one at the end of the key of a page.
pub(super) fn of(key: &[u8]) -> Option<u32> {
    let (_, of, _) = (key.first()?, key.get(1..5)?, key.get(5..9)?);
    Some(u32::from_be_bytes(of.try_into().ok()?))
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

//! Pieces of what is too large for one object.

/// As few pieces as powers of two allow, so that each of them fits. A row is in a piece by its hash alone:
/// where the number of pieces stays, one more row changes one of them, and where it doubles, each
/// becomes two.
///
/// A single row, or rows of one hash, are not cut: their piece may not fit.
pub fn split<R>(
    rows: Vec<R>,
    hash: impl Fn(&R) -> u64,
    fits: impl Fn(&[R]) -> bool,
) -> Vec<Vec<R>> {
    // More than these do not help.
    let most = rows.len().max(1).next_power_of_two().saturating_mul(16);
    let mut pieces = vec![rows];
    while pieces.len() < most && !pieces.iter().all(|piece| fits(piece)) {
        let count = pieces.len() * 2;
        let mut finer: Vec<Vec<R>> = (0..count).map(|_| Vec::new()).collect();
        for row in pieces.into_iter().flatten() {
            let place = hash(&row) as usize & (count - 1);
            finer[place].push(row);
        }
        pieces = finer;
    }
    pieces
}

//! Rows that state the same, told by where their texts are and not by what they are: those of a
//! dictionary are in one place.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use polars::prelude::{
    BooleanChunked, ChunkedArray, PlHashMap, PolarsDataType, StaticArray as _, StringChunked,
    UInt32Chunked,
};

/// A column, in one piece.
pub(super) enum Values<'r> {
    Texts(&'r StringChunked),
    Flags(&'r BooleanChunked),
    Numbers(&'r UInt32Chunked),
}

/// Stands for null: no number is as great, and no place of a text has these bits, since a text that
/// long does not begin with bytes that are not UTF-8.
const NULL: u128 = u128::MAX;

impl Values<'_> {
    /// Hands over a value for each of the rows: the same one for the same text, flag or number,
    /// unless a text is in several places.
    fn each(&self, rows: Range<usize>, mut sink: impl FnMut(u128)) {
        match self {
            Self::Texts(column) => {
                let views = &column.downcast_as_array().views()[rows.clone()];
                match column.chunks()[0].validity() {
                    None => views.iter().for_each(|view| sink(view.as_u128())),
                    Some(is_there) => views.iter().zip(rows).for_each(|(view, row)| {
                        sink(if is_there.get_bit(row) {
                            view.as_u128()
                        } else {
                            NULL
                        });
                    }),
                }
            }
            Self::Flags(column) => each_of(column, rows, sink),
            Self::Numbers(column) => each_of(column, rows, sink),
        }
    }

    /// Whether all rows have the same value.
    fn is_constant(&self, rows: usize) -> bool {
        let mut first = None;
        self.each(0..rows.min(1), |value| first = Some(value));
        let mut is_constant = true;
        for block in blocks(rows) {
            self.each(block, |value| is_constant &= Some(value) == first);
            if !is_constant {
                return false;
            }
        }
        true
    }
}

fn each_of<T: PolarsDataType>(
    column: &ChunkedArray<T>,
    rows: Range<usize>,
    mut sink: impl FnMut(u128),
) where
    for<'a> T::Physical<'a>: Into<u128>,
{
    let array = column.downcast_as_array();
    rows.for_each(|row| sink(array.get(row).map_or(NULL, Into::into)));
}

/// For each row, a number of whose it is and one of what it states. The same number is the same
/// owner or statement; one may have several. A number that comes for the first time is greater by
/// one than all before it.
pub(super) struct Numbered {
    pub(super) whose: Vec<u32>,
    pub(super) statements: Vec<u32>,
}

/// Rows that are looked at together, so that what is known of them stays in the processor's caches.
const BLOCK: usize = 1024;

fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows)
        .step_by(BLOCK)
        .map(move |begin| begin..rows.min(begin + BLOCK))
}

impl Numbered {
    /// Of so many rows.
    pub(super) fn of(rows: usize, of_whom: Vec<Values<'_>>, of_what: Vec<Values<'_>>) -> Self {
        let (of_whom, of_what) = (keyed(of_whom, rows), keyed(of_what, rows));
        let mut numbered = Self {
            whose: Vec::with_capacity(rows),
            statements: Vec::with_capacity(rows),
        };
        let (mut owners, mut statements) = (Numbers::default(), Numbers::default());
        let mut sums = Vec::with_capacity(BLOCK);
        for block in blocks(rows) {
            sums.clear();
            sums.resize(block.len(), Sum::default());
            let mut add = |columns: &[Keyed<'_>], numbers: &mut Numbers| {
                for (column, key) in columns {
                    let mut sums = sums.iter_mut();
                    column.each(block.clone(), |value| {
                        if let Some(sum) = sums.next() {
                            key.add(sum, value);
                        }
                    });
                }
                let numbers = sums.iter().map(|sum| numbers.of(*sum));
                numbers.collect::<Vec<_>>()
            };
            numbered.whose.extend(add(&of_whom, &mut owners));
            numbered.statements.extend(add(&of_what, &mut statements));
        }
        numbered
    }
}

type Keyed<'r> = (Values<'r>, Key);

/// Those of the columns whose values tell rows apart, each with keys of its own.
fn keyed(columns: Vec<Values<'_>>, rows: usize) -> Vec<Keyed<'_>> {
    columns
        .into_iter()
        .filter(|column| !column.is_constant(rows))
        .map(|column| {
            let random = RandomState::new();
            (column, Key([0, 1, 2, 3].map(|n| random.hash_one(n))))
        })
        .collect()
}

/// A hash of the values of a row: twice the NH of UMAC (RFC 4418). Two different rows have the same
/// one with a probability of 2^-128, whatever is in them, since who made them does not know the
/// keys; those of any two of the rows that are looked at together, with 2^-93.
type Sum = [u128; 2];

/// The keys of a column.
struct Key([u64; 4]);

impl Key {
    fn add(&self, sum: &mut Sum, value: u128) {
        let Self([a, b, c, d]) = *self;
        let (low, high) = (value as u64, (value >> 64) as u64);
        let product = |a, b| u128::from(low.wrapping_add(a)) * u128::from(high.wrapping_add(b));
        sum[0] = sum[0].wrapping_add(product(a, b));
        sum[1] = sum[1].wrapping_add(product(c, d));
    }
}

/// Numbers in the order in which they are first asked for.
#[derive(Default)]
struct Numbers {
    known: PlHashMap<Sum, u32>,
    before: Option<(Sum, u32)>,
}

impl Numbers {
    fn of(&mut self, sum: Sum) -> u32 {
        if let Some((same, number)) = self.before
            && same == sum
        {
            return number;
        }
        let next = self.known.len() as u32;
        let number = *self.known.entry(sum).or_insert(next);
        self.before = Some((sum, number));
        number
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::NewChunkedArray as _;

    use super::*;

    fn texts<'t>(rows: impl IntoIterator<Item = Option<&'t str>>) -> StringChunked {
        StringChunked::from_iter_options("texts".into(), rows.into_iter())
    }

    fn numbered(columns: &[Values<'_>], rows: usize) -> Vec<u32> {
        let columns = columns.iter().map(|column| match *column {
            Values::Texts(column) => Values::Texts(column),
            Values::Flags(column) => Values::Flags(column),
            Values::Numbers(column) => Values::Numbers(column),
        });
        Numbered::of(rows, Vec::new(), columns.collect()).statements
    }

    #[test]
    fn rows_are_told_apart_by_every_column_and_null_is_no_value() {
        let long = "longer than what stands in its place";
        let one = texts([Some("a"), None, Some(""), Some("a"), Some(long), Some("a")]);
        let other = texts([None, Some("a"), None, None, None, Some("a")]);
        let (one, other) = (Values::Texts(&one), Values::Texts(&other));
        assert_eq!(numbered(&[one, other], 6), [0, 1, 2, 0, 3, 4]);

        let flags = BooleanChunked::from_iter_options(
            "flags".into(),
            [Some(true), Some(false), None, Some(true)].into_iter(),
        );
        let ids = UInt32Chunked::from_iter_options(
            "ids".into(),
            [Some(0), Some(0), Some(u32::MAX), None].into_iter(),
        );
        let columns = [Values::Flags(&flags), Values::Numbers(&ids)];
        assert_eq!(numbered(&columns, 4), [0, 1, 2, 3]);
    }

    #[test]
    fn a_value_that_comes_late_is_told_apart_too() {
        let rows = 3 * BLOCK + 7;
        let differs = |row| row == rows - 1 || row == BLOCK;
        let column = texts((0..rows).map(|row| Some(if differs(row) { "b" } else { "a" })));
        let numbers = numbered(&[Values::Texts(&column)], rows);
        let expected: Vec<u32> = (0..rows).map(|row| u32::from(differs(row))).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn rows_without_a_difference_are_one_statement() {
        let column = texts([Some("a"); 3]);
        assert_eq!(numbered(&[Values::Texts(&column)], 3), [0, 0, 0]);
        assert_eq!(numbered(&[], 2), [0, 0]);
        assert!(numbered(&[], 0).is_empty());
    }
}

//! Spans of time, and sums of them.

use std::fmt;
use std::time::Duration;

/// From one moment to a later one, in microseconds of whichever clock the spans of one sum share:
/// the wall clock of recordings, or a monotonic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    from: i64,
    to: i64,
}

impl Span {
    /// `None` unless it ends after it begins.
    pub fn new(from: i64, to: i64) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    /// Where it begins.
    pub fn from(self) -> i64 {
        self.from
    }

    /// Where it ends.
    pub fn to(self) -> i64 {
        self.to
    }
}

/// A set of moments, as spans that neither overlap nor touch, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// What lies between two moments.
    #[must_use]
    pub fn within(&self, from: i64, to: i64) -> Self {
        let cut = |span: &Span| Span::new(span.from.max(from), span.to.min(to));
        Self(self.0.iter().filter_map(cut).collect())
    }

    /// What is in these and not in the others.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let mut rest = Vec::new();
        for span in &self.0 {
            let mut from = span.from;
            for other in &others.0 {
                rest.extend(Span::new(from, span.to.min(other.from)));
                from = from.max(other.to);
            }
            rest.extend(Span::new(from, span.to));
        }
        Self(rest)
    }

    /// How long they are together.
    pub fn total(&self) -> Duration {
        let micros = self.0.iter().fold(0u64, |sum, span| {
            sum.saturating_add(span.to.abs_diff(span.from))
        });
        Duration::from_micros(micros)
    }

    /// The spans.
    pub fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }
}

impl FromIterator<Span> for Spans {
    /// Their union.
    fn from_iter<I: IntoIterator<Item = Span>>(all: I) -> Self {
        let mut all: Vec<Span> = all.into_iter().collect();
        all.sort_unstable();
        let mut union: Vec<Span> = Vec::new();
        for span in all {
            match union.last_mut() {
                Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
                _ => union.push(span),
            }
        }
        Self(union)
    }
}

/// A duration in the two largest units that it has: `6h 12m`, `24h`, `3m 5s`, `0s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        match (hours, minutes, seconds) {
            (0, 0, seconds) => write!(f, "{seconds}s"),
            (0, minutes, 0) => write!(f, "{minutes}m"),
            (0, minutes, seconds) => write!(f, "{minutes}m {seconds}s"),
            (hours, 0, _) => write!(f, "{hours}h"),
            (hours, minutes, _) => write!(f, "{hours}h {minutes}m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    fn some() -> impl Strategy<Value = Spans> {
        prop::collection::vec((-20i64..20, -20i64..20), 0..8).prop_map(|pairs| {
            let spans = pairs.into_iter();
            spans.filter_map(|(a, b)| Span::new(a, b)).collect()
        })
    }

    fn moments(spans: &Spans) -> BTreeSet<i64> {
        spans.iter().flat_map(|s| s.from()..s.to()).collect()
    }

    proptest! {
        #[test]
        fn spans_are_sets_of_moments(a in some(), b in some(), from in -25i64..25, to in -25i64..25) {
            let (of_a, of_b) = (moments(&a), moments(&b));
            prop_assert_eq!(a.total(), Duration::from_micros(of_a.len() as u64));
            prop_assert_eq!(moments(&a.without(&b)), &of_a - &of_b);
            let within: BTreeSet<i64> =
                of_a.iter().copied().filter(|at| (from..to).contains(at)).collect();
            prop_assert_eq!(moments(&a.within(from, to)), within);
            let union: Spans = a.iter().chain(b.iter()).collect();
            prop_assert_eq!(moments(&union), &of_a | &of_b);
            let apart = union.iter().zip(union.iter().skip(1)).all(|(a, b)| a.to() < b.from());
            prop_assert!(apart);
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let all: Spans = Span::new(i64::MIN, i64::MAX).into_iter().collect();
        assert_eq!(all.total(), Duration::from_micros(u64::MAX));
        assert_eq!(Span::new(1, 1), None);
        assert_eq!(Span::new(2, 1), None);
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (185, "3m 5s"),
            (600, "10m"),
            (3_600, "1h"),
            (6 * 3_600 + 12 * 60 + 59, "6h 12m"),
            (86_400, "24h"),
        ] {
            assert_eq!(Shown(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}

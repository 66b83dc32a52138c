//! Times as they are mostly written: `2025-06-01T12:00:00.123456Z`, many of one minute together.

use crate::observation::Moment;

/// What comes before the seconds: `2025-06-01T12:00:`.
type Text = [u8; 17];

/// The minute that a time was of, so that of the next one only the seconds are looked at.
#[derive(Default)]
pub(super) struct Minute {
    /// Its text, and when it begins.
    known: Option<(Text, i64)>,
}

impl Minute {
    /// The time, to the microsecond. `None` if it is spelled in another way, or is none.
    pub(super) fn moment(&mut self, time: &str) -> Option<Moment> {
        let (text, rest) = time.as_bytes().split_first_chunk()?;
        let (seconds, rest) = rest.strip_suffix(b"Z")?.split_first_chunk::<2>()?;
        let fraction = match rest {
            [] => rest,
            [b'.', digits @ ..] if (1..=6).contains(&digits.len()) => digits,
            _ => return None,
        };
        let seconds = number(seconds).filter(|seconds| *seconds < 60)?;
        let micros = number(fraction)? * 10_i64.pow(6 - fraction.len() as u32);
        let begin = match self.known {
            Some((known, begin)) if known == *text => begin,
            _ => begin(text)?,
        };
        self.known = Some((*text, begin));
        Some(Moment(begin + seconds * 1_000_000 + micros))
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        Some(number * 10 + i64::from(digit))
    })
}

/// When a minute begins of which every microsecond can be said.
fn begin(minute: &Text) -> Option<i64> {
    let [
        _,
        _,
        _,
        _,
        b'-',
        _,
        _,
        b'-',
        _,
        _,
        b'T',
        _,
        _,
        b':',
        _,
        _,
        b':',
    ] = minute
    else {
        return None;
    };
    let minute = std::str::from_utf8(minute).ok()?;
    let last: jiff::Timestamp = format!("{minute}59.999999Z").parse().ok()?;
    Some(last.as_microsecond() - 59_999_999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_one_that_rfc_3339_means_or_left_to_who_knows() {
        let mut minute = Minute::default();
        let times = [
            "2026-05-28T20:26:40Z",
            "2026-05-28T20:26:40.000731Z",
            "2026-05-28T20:26:59.9Z",
            "2026-05-28T20:27:00.25Z",
            "1969-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00.000001Z",
            "-000001-01-01T00:00:00Z",
            "2024-02-29T00:00:01Z",
            "9999-12-30T22:00:00.999999Z",
            "2026-05-28T20:26:40.0007319Z",
            "2026-05-28T20:26:40+02:00",
            "2026-05-28T20:26:60Z",
        ];
        let known = times.iter().filter(|time| {
            let whole: jiff::Timestamp = time.parse().expect("a time");
            minute.moment(time).is_some_and(|moment| {
                assert_eq!(moment, Moment(whole.as_microsecond()), "{time}");
                true
            })
        });
        assert_eq!(known.count(), 7);
    }

    #[test]
    fn what_is_no_time_is_none() {
        let mut minute = Minute::default();
        let nothing = "\0".repeat(17) + "00Z";
        assert_eq!(minute.moment(&nothing), None, "before any minute is known");
        assert!(minute.moment("2026-05-28T20:26:40Z").is_some());
        for text in [
            "",
            "Z",
            "2026-05-28T20:26:Z",
            "2026-05-28T20:26:4Z",
            "2026-05-28T20:26:40",
            "2026-05-28T20:26:40.Z",
            "2026-05-28T20:26:61Z",
            "2026-05-28T20:26:-1Z",
            "2026-05-28T20:26:40.1234567Z",
            "2026-05-28T20:26:40.12 4Z",
            "2026-13-28T20:26:40Z",
            "2025-02-29T00:00:01Z",
            "2026-05-28 20:26:40Z",
            "+002026-05-28T20:26Z",
        ] {
            assert_eq!(minute.moment(text), None, "{text}");
        }
    }
}

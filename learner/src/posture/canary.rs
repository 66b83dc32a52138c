//! Which pods of a workload are held while its canary lasts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// How many of the pods of a workload are held while its canary lasts: `10%`, or `3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(Amount);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    /// From 1 to 100.
    Percent(u32),
    /// At least 1.
    Pods(u32),
}

/// What is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a share is from 1% to 100%, or a number of pods from 1 on: 10%, 3")]
pub struct BadShare;

impl FromStr for Share {
    type Err = BadShare;
    fn from_str(text: &str) -> Result<Self, BadShare> {
        let number = text.strip_suffix('%').unwrap_or(text);
        let is_plain = number.bytes().all(|b| b.is_ascii_digit());
        let number: u32 = number.parse().map_err(|_| BadShare)?;
        let amount = match text.ends_with('%') {
            true => Amount::Percent(number),
            false => Amount::Pods(number),
        };
        let fits = match amount {
            Amount::Percent(percent) => (1..=100).contains(&percent),
            Amount::Pods(pods) => pods > 0,
        };
        (is_plain && fits).then_some(Self(amount)).ok_or(BadShare)
    }
}

impl TryFrom<String> for Share {
    type Error = BadShare;
    fn try_from(text: String) -> Result<Self, BadShare> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> Self {
        share.to_string()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Amount::Percent(percent) => write!(f, "{percent}%"),
            Amount::Pods(pods) => write!(f, "{pods}"),
        }
    }
}

/// The pods that are held while a canary lasts. Whether a pod is one of them is told by its uid alone: so
/// each node tells it by itself, and it does not change while the pod lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// How many they were to be.
    pub share: Share,
    /// The last place that is held: each uid has one, by its hash.
    pub last: u64,
}

impl Slice {
    /// Of the pods that there are now, by their uids, so many: a percentage is rounded up, and of any pods one is
    /// held at least. Of pods that come later about the same share is. Where there are none, or not so many,
    /// a number of pods is all.
    pub fn of<'a>(share: Share, uids: impl IntoIterator<Item = &'a str>) -> Self {
        let mut places: Vec<u64> = uids.into_iter().map(place).collect();
        places.sort_unstable();
        let there = places.len();
        let last = match share.0 {
            Amount::Percent(100) => u64::MAX,
            Amount::Percent(percent) if there == 0 => {
                let all = u128::from(u64::MAX);
                u64::try_from(all * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
            Amount::Percent(percent) => {
                let held = (there * percent as usize).div_ceil(100);
                places[held.clamp(1, there) - 1]
            }
            Amount::Pods(pods) => {
                let held = pods as usize;
                if held >= there {
                    u64::MAX
                } else {
                    places[held - 1]
                }
            }
        };
        Self { share, last }
    }

    /// Whether the pod of this uid is held.
    pub fn has(&self, uid: &str) -> bool {
        place(uid) <= self.last
    }
}

fn place(uid: &str) -> u64 {
    Digest::of(uid.as_bytes()).words()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("2f3a1c9e-{n}")).collect()
    }

    fn held(share: &str, there: usize) -> usize {
        let uids = uids(there);
        let share = share.parse().expect("a share");
        let slice = Slice::of(share, uids.iter().map(String::as_str));
        uids.iter().filter(|uid| slice.has(uid)).count()
    }

    #[test]
    fn so_many_pods_are_held_as_are_wanted_and_one_at_least() {
        for (share, there, expected) in [
            ("10%", 3, 1),
            ("10%", 1, 1),
            ("10%", 20, 2),
            ("34%", 3, 2),
            ("100%", 7, 7),
            ("1", 7, 1),
            ("3", 7, 3),
            ("7", 7, 7),
            ("9", 7, 7),
        ] {
            assert_eq!(held(share, there), expected, "{share} of {there}");
        }
    }

    #[test]
    fn who_is_held_stays_so_whoever_else_comes() {
        let uids = uids(500);
        let share = "10%".parse().expect("a share");
        let slice = Slice::of(share, uids[..50].iter().map(String::as_str));
        let later = uids[50..].iter().filter(|uid| slice.has(uid)).count();
        // Of 450 that come later 45 are expected; the hash is what it is.
        assert!((20..=90).contains(&later), "{later}");
        // A larger share has the pods of a smaller one.
        let more = Slice::of(
            "30%".parse().expect("a share"),
            uids[..50].iter().map(String::as_str),
        );
        assert!(uids.iter().all(|uid| !slice.has(uid) || more.has(uid)));
    }

    #[test]
    fn where_there_is_no_pod_a_percentage_is_one_of_those_to_come_and_a_number_is_all() {
        let none: [&str; 0] = [];
        let share = |text: &str| Slice::of(text.parse().expect("a share"), none).last;
        assert_eq!(share("50%"), u64::MAX / 2);
        assert_eq!(share("2"), u64::MAX);
    }

    #[test]
    fn what_is_no_share_is_refused_and_a_share_is_read_as_it_is_written() {
        for text in [
            "",
            "0",
            "0%",
            "101%",
            "-1",
            "+5",
            "10 %",
            "1.5",
            "%",
            "4294967296",
        ] {
            assert_eq!(text.parse::<Share>(), Err(BadShare), "{text}");
        }
        for text in ["1%", "100%", "1", "4000"] {
            assert_eq!(text.parse::<Share>().expect("a share").to_string(), text);
        }
    }
}

//! When a node writes: on change, not more often than an interval for each thing, and not when all
//! others do. Pure, and told the time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::digest::Digest;
use crate::observation::Moment;

/// How often is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At least so long between two writes of one thing. The first write, and each one after, is up to
    /// as long later, by a hash of node and thing: so nodes that start together do not write together.
    pub interval: Duration,
    /// After a failure, and twice as long after each further one, up to [`Pace::interval`].
    pub retry: Duration,
}

impl Default for Pace {
    /// Ten minutes, and half a minute after a failure.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(600),
            retry: Duration::from_secs(30),
        }
    }
}

/// What is to be written by a node, and when.
///
/// Guarantees: what was offered is due within twice the interval, unless writing fails; the same
/// content is due once; between two writes of a thing there is an interval at least.
#[derive(Clone, Debug)]
pub struct Schedule<K> {
    node: String,
    pace: Pace,
    things: BTreeMap<K, Thing>,
}

#[derive(Clone, Debug, Default)]
struct Thing {
    written: Option<Digest>,
    /// What is to be written, and not before when.
    waiting: Option<(Digest, Moment)>,
    /// No write before it.
    free: Option<Moment>,
    failures: u32,
}

impl<K: Ord + Clone + std::fmt::Display> Schedule<K> {
    /// Nothing so far.
    pub fn new(node: &str, pace: Pace) -> Self {
        Self {
            node: node.to_owned(),
            pace,
            things: BTreeMap::new(),
        }
    }

    /// A thing is like this now. What is written already, or waiting, is not offered twice.
    pub fn offer(&mut self, key: &K, content: Digest, now: Moment) {
        let jitter = jitter(&self.node, key, self.pace.interval);
        let thing = self.things.entry(key.clone()).or_default();
        if thing.written == Some(content) {
            thing.waiting = None;
            return;
        }
        match &mut thing.waiting {
            Some((waiting, _)) => *waiting = content,
            None => {
                let earliest = thing.free.map_or(now, |free| free.max(now));
                thing.waiting = Some((content, later(earliest, jitter)));
            }
        }
    }

    /// What is to be written now, in the order in which it came due.
    pub fn due(&self, now: Moment) -> Vec<K> {
        let mut due: Vec<(Moment, &K)> = self
            .things
            .iter()
            .filter_map(|(key, thing)| Some((thing.waiting?.1, key)))
            .filter(|(at, _)| *at <= now)
            .collect();
        due.sort();
        due.into_iter().map(|(_, key)| key.clone()).collect()
    }

    /// How many things are to be written.
    pub fn count(&self) -> usize {
        let things = self.things.values();
        things.filter(|thing| thing.waiting.is_some()).count()
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Moment> {
        let waiting = self.things.values().filter_map(|thing| thing.waiting);
        waiting.map(|(_, at)| at).min()
    }

    /// A thing was written with this content.
    pub fn wrote(&mut self, key: &K, content: Digest, now: Moment) {
        let thing = self.things.entry(key.clone()).or_default();
        thing.written = Some(content);
        thing.failures = 0;
        thing.free = Some(later(now, self.pace.interval));
        if let Some((waiting, at)) = &mut thing.waiting {
            if *waiting == content {
                thing.waiting = None;
            } else {
                *at = later(now, self.pace.interval);
            }
        }
    }

    /// A thing could not be written; the server may have said for how long not to come back.
    pub fn failed(&mut self, key: &K, after: Option<Duration>, now: Moment) {
        let jitter = jitter(&self.node, key, self.pace.retry);
        let Some(thing) = self.things.get_mut(key) else {
            return;
        };
        let factor = 1u32.checked_shl(thing.failures.min(16)).unwrap_or(u32::MAX);
        let own = self
            .pace
            .retry
            .saturating_mul(factor)
            .min(self.pace.interval);
        let wait = own.max(after.unwrap_or_default());
        thing.failures = thing.failures.saturating_add(1);
        if let Some((_, at)) = &mut thing.waiting {
            *at = later(later(now, wait), jitter);
        }
    }

    /// A thing is not to be written any more.
    pub fn forget(&mut self, key: &K) {
        self.things.remove(key);
    }
}

/// Up to `most`, always the same for a node and a thing.
pub(super) fn jitter(node: &str, key: &impl std::fmt::Display, most: Duration) -> Duration {
    let hash = Digest::of(format!("{node}\0{key}").as_bytes()).words()[0];
    let share = (hash >> 11) as f64 / (1u64 << 53) as f64;
    most.mul_f64(share)
}

fn later(moment: Moment, by: Duration) -> Moment {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Moment(moment.0.saturating_add(by))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn content(n: u8) -> Digest {
        Digest::of(&[n])
    }

    fn pace(interval: u64, retry: u64) -> Pace {
        Pace {
            interval: Duration::from_secs(interval),
            retry: Duration::from_secs(retry),
        }
    }

    #[test]
    fn nodes_that_start_together_do_not_write_together() {
        let mut by_minute: BTreeMap<i64, usize> = BTreeMap::new();
        for node in 0..1_000 {
            let mut schedule = Schedule::new(&format!("node-{node}"), Pace::default());
            schedule.offer(&"web", content(1), Moment(0));
            let due = schedule.next().expect("something is due");
            *by_minute.entry(due.0 / (60 * SECOND)).or_default() += 1;
        }
        assert_eq!(
            by_minute.keys().copied().collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        );
        assert!(
            by_minute.values().all(|count| (60..=140).contains(count)),
            "{by_minute:?}"
        );
    }

    #[test]
    fn what_is_written_is_not_written_again_and_what_changes_waits() {
        let mut schedule = Schedule::new("a", pace(100, 10));
        schedule.offer(&"web", content(1), Moment(0));
        let at = schedule.next().expect("due");
        assert_eq!(schedule.due(at), ["web"]);
        schedule.wrote(&"web", content(1), at);
        schedule.offer(&"web", content(1), at);
        assert_eq!(schedule.next(), None);
        schedule.offer(&"web", content(2), at);
        assert!(schedule.next().expect("due").0 >= at.0 + 100 * SECOND);
        // It is as it was again before its time has come.
        schedule.offer(&"web", content(1), at);
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn failures_wait_longer_each_time_and_as_long_as_the_server_says() {
        let mut schedule = Schedule::new("a", pace(1_000, 10));
        schedule.offer(&"web", content(1), Moment(0));
        let mut waits = Vec::new();
        for _ in 0..9 {
            schedule.failed(&"web", None, Moment(0));
            waits.push(schedule.next().expect("due").0 / SECOND / 10);
        }
        // Each with the same jitter of less than ten seconds.
        let whole: Vec<i64> = waits.iter().map(|wait| wait - waits[0] + 1).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 64, 100, 100]);
        schedule.failed(&"web", Some(Duration::from_secs(5_000)), Moment(0));
        assert!(schedule.next().expect("due").0 >= 5_000 * SECOND);
        let at = schedule.next().expect("due");
        schedule.wrote(&"web", content(1), at);
        schedule.offer(&"web", content(2), at);
        schedule.failed(&"web", None, at);
        assert!(schedule.next().expect("due").0 < at.0 + 21 * SECOND);
    }

    proptest! {
        /// Whatever is offered when, each write is an interval after the last, and the last thing that
        /// was offered is written at last.
        #[test]
        fn writes_are_an_interval_apart_and_the_last_change_is_written(
            changes in prop::collection::vec((0i64..40, 0u8..3), 1..40),
        ) {
            let mut schedule = Schedule::new("a", pace(60, 5));
            let mut now = Moment(0);
            let mut writes: Vec<(Moment, Digest)> = Vec::new();
            let mut offered = content(0);
            let mut step = |schedule: &mut Schedule<&str>, now: Moment, offered: Digest| {
                if !schedule.due(now).is_empty() {
                    schedule.wrote(&"web", offered, now);
                    writes.push((now, offered));
                }
            };
            for (wait, change) in changes {
                now = Moment(now.0 + wait * SECOND);
                offered = content(change);
                schedule.offer(&"web", offered, now);
                step(&mut schedule, now, offered);
            }
            step(&mut schedule, Moment(now.0 + 121 * SECOND), offered);
            prop_assert_eq!(schedule.next(), None);
            prop_assert_eq!(writes.last().map(|(_, written)| *written), Some(offered));
            for pair in writes.windows(2) {
                prop_assert!(pair[1].0.0 - pair[0].0.0 >= 60 * SECOND);
                prop_assert!(pair[0].1 != pair[1].1);
            }
        }
    }
}

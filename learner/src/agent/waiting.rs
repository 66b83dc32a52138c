//! What came before it was known whose it is.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::observation::Moment;

/// How much is held, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// At most so much, over all containers, in whatever is weighed.
    pub(super) most: usize,
    /// A container that is not known after this time is given up.
    pub(super) longest: Duration,
}

impl Default for Patience {
    /// 200,000 behaviours, which are some 60 MB, and two hours: an API server that is away for one is
    /// waited for.
    fn default() -> Self {
        Self {
            most: 200_000,
            longest: Duration::from_secs(2 * 3_600),
        }
    }
}

/// What is held for containers that are not known yet, by their ids. What cannot be held any longer is
/// handed back with its id, and counted.
#[derive(Clone, Debug)]
pub(super) struct Waiting<T> {
    patience: Patience,
    held: BTreeMap<String, Held<T>>,
    weight: usize,
    given_up: u64,
}

#[derive(Clone, Debug)]
struct Held<T> {
    since: Moment,
    weight: usize,
    of: Vec<T>,
}

impl<T> Waiting<T> {
    /// Nothing so far.
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            held: BTreeMap::new(),
            weight: 0,
            given_up: 0,
        }
    }

    /// Holds something of a container.
    ///
    /// # Errors
    /// It, where there is no room: it is given up, and counted.
    pub(super) fn hold(&mut self, id: &str, of: T, weight: usize, now: Moment) -> Result<(), T> {
        if self.weight.saturating_add(weight) > self.patience.most {
            self.given_up += 1;
            return Err(of);
        }
        self.weight += weight;
        let held = self.held.entry(id.to_owned()).or_insert_with(|| Held {
            since: now,
            weight: 0,
            of: Vec::new(),
        });
        held.weight += weight;
        held.of.push(of);
        Ok(())
    }

    /// What was held of a container that is known now, in the order in which it came.
    pub(super) fn claim(&mut self, id: &str) -> Vec<T> {
        let Some(held) = self.held.remove(id) else {
            return Vec::new();
        };
        self.weight -= held.weight;
        held.of
    }

    /// What has been held for too long: it is given up, and counted.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<(String, Vec<T>)> {
        let longest = i64::try_from(self.patience.longest.as_micros()).unwrap_or(i64::MAX);
        let is_old = |_: &String, held: &mut Held<T>| now.0.saturating_sub(held.since.0) > longest;
        let old: Vec<_> = self.held.extract_if(.., is_old).collect();
        old.into_iter()
            .map(|(id, held)| {
                self.weight -= held.weight;
                self.given_up += held.of.len() as u64;
                (id, held.of)
            })
            .collect()
    }

    /// All that is held, with the ids of its containers.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &T)> {
        let all = self.held.iter();
        all.flat_map(|(id, held)| held.of.iter().map(move |of| (id.as_str(), of)))
    }

    /// What all that is held weighs.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// How much is held.
    pub(super) fn count(&self) -> usize {
        self.held.values().map(|held| held.of.len()).sum()
    }

    /// How much was given up since the beginning.
    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Waiting<u8> {
        Waiting::new(Patience {
            most: 3,
            longest: Duration::from_micros(10),
        })
    }

    #[test]
    fn what_came_early_is_had_once_its_container_is_known() {
        let mut waiting = waiting();
        for (id, of) in [("a", 1), ("b", 2), ("a", 3)] {
            assert_eq!(waiting.hold(id, of, 1, Moment(0)), Ok(()));
        }
        assert_eq!(waiting.claim("a"), [1, 3]);
        assert!(waiting.claim("a").is_empty());
        assert_eq!((waiting.count(), waiting.given_up()), (1, 0));
    }

    #[test]
    fn what_cannot_be_held_is_handed_back_and_counted() {
        let mut waiting = waiting();
        for of in 0..3 {
            assert_eq!(waiting.hold("a", of, 1, Moment(of.into())), Ok(()));
        }
        assert_eq!(waiting.hold("b", 9, 1, Moment(3)), Err(9));
        assert!(waiting.expire(Moment(10)).is_empty());
        assert_eq!(
            waiting.expire(Moment(11)),
            [("a".to_owned(), vec![0, 1, 2])]
        );
        assert_eq!((waiting.count(), waiting.given_up()), (0, 4));
        assert_eq!(waiting.hold("b", 9, 3, Moment(12)), Ok(()));
    }
}

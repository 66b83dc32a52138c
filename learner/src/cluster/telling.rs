//! What a node still has to tell, and when. Pure, and told the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::objects::{Place, period, place};
use super::pace::{Pace, Schedule};
use crate::digest::Digest;
use crate::observation::Moment;
use crate::posture::Revision;

/// What a node has to tell of the revisions that it has seen.
///
/// Guarantees: what is new of a revision is due within twice the interval, unless the API server is away;
/// then within half a minute of its being back, or within twice the interval, whichever is later. Of a revision that runs
/// something is due at least once in [`ALIVE`](super::ALIVE).
#[derive(Clone, Debug)]
pub struct Telling {
    node: String,
    pace: Pace,
    schedule: Schedule<Revision>,
    news: BTreeMap<Revision, News>,
    /// What is known to be there.
    there: BTreeMap<Place, String>,
    /// Nothing is due before, and how often that has been so.
    away: Option<(Moment, u32)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// How often there was something new.
    times: u64,
    /// The last period in which it was told to be alive, or is to be.
    alive: i64,
}

/// How new something is that is being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition(Digest);

impl Telling {
    /// Of a node that has nothing to tell yet.
    pub fn new(node: &str, pace: Pace) -> Self {
        Self {
            node: node.to_owned(),
            pace,
            schedule: Schedule::new(node, pace),
            news: BTreeMap::new(),
            there: BTreeMap::new(),
            away: None,
        }
    }

    /// What there is of this node, as [`Writer::mine`](super::Writer::mine) says.
    pub fn is_there(&mut self, there: BTreeMap<Place, String>) {
        self.there = there;
    }

    /// Something was stored of a revision.
    pub fn stored(&mut self, revision: &Revision, now: Moment) {
        let news = self.news.entry(revision.clone()).or_default();
        news.times += 1;
        self.schedule.offer(revision, news.edition().0, now);
    }

    /// Runs of these go on.
    pub fn running<'r>(&mut self, running: impl IntoIterator<Item = &'r Revision>, now: Moment) {
        for revision in running {
            let period = period(&self.node, revision, now);
            let news = self.news.entry(revision.clone()).or_default();
            if news.alive != period {
                news.alive = period;
                self.stored(revision, now);
            }
        }
    }

    /// What is to be told now, in the order in which it came due.
    pub fn due(&self, now: Moment) -> Vec<Revision> {
        match self.away {
            Some((until, _)) if until > now => Vec::new(),
            _ => self.schedule.due(now),
        }
    }

    /// All that is to be told, whether its time has come or not.
    pub fn waiting(&self) -> Vec<Revision> {
        self.schedule.due(Moment(i64::MAX))
    }

    /// How many revisions are to be told of.
    pub fn count(&self) -> usize {
        self.schedule.count()
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Moment> {
        let next = self.schedule.next()?;
        Some(self.away.map_or(next, |(until, _)| until.max(next)))
    }

    /// How new what is read of a revision is. It is asked before that is read.
    pub fn edition(&self, revision: &Revision) -> Edition {
        self.news
            .get(revision)
            .copied()
            .unwrap_or_default()
            .edition()
    }

    /// Whether that is there already.
    pub fn is_told(&self, revision: &Revision, content: &str) -> bool {
        let there = self.there.get(&place(revision));
        there.is_some_and(|there| there == content)
    }

    /// It has been told, or was there.
    pub fn told(&mut self, revision: &Revision, edition: Edition, content: &str, now: Moment) {
        self.away = None;
        self.there.insert(place(revision), content.to_owned());
        self.schedule.wrote(revision, edition.0, now);
    }

    /// A revision could not be told.
    pub fn failed(&mut self, revision: &Revision, after: Option<Duration>, now: Moment) {
        // Some of it may have been written.
        self.there.remove(&place(revision));
        self.schedule.failed(revision, after, now);
    }

    /// Nothing can be told, whatever it is: the API server is away, or wants to be left alone.
    pub fn is_away(&mut self, after: Option<Duration>, now: Moment) {
        let times = self.away.map_or(0, |(_, times)| times);
        let own = self.pace.retry.saturating_mul(1 << times.min(16));
        let wait = own.min(self.pace.interval).max(after.unwrap_or_default());
        let wait = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        self.away = Some((Moment(now.0.saturating_add(wait)), times.saturating_add(1)));
    }

    /// The API server answers again.
    pub fn is_back(&mut self) {
        self.away = None;
    }

    /// It is not to be told any more, until there is something new of it.
    pub fn forget(&mut self, revision: &Revision) {
        self.there.remove(&place(revision));
        self.news.remove(revision);
        self.schedule.forget(revision);
    }

    /// The places of which there is something that none of these revisions has.
    pub fn strangers(&self, known: &BTreeSet<Revision>) -> usize {
        let known: BTreeSet<Place> = known.iter().map(place).collect();
        self.there.keys().filter(|of| !known.contains(*of)).count()
    }
}

impl News {
    fn edition(self) -> Edition {
        Edition(Digest::of(&self.times.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3_600 * SECOND;

    fn revision(name: &str) -> Revision {
        let workload = format!("shop/Deployment/{name}/web").parse();
        let (workload, image) = (workload.expect("a workload"), "web:1".to_owned());
        Revision { workload, image }
    }

    fn telling() -> Telling {
        Telling::new("n", Pace::default())
    }

    /// Tells what is due by a server that is away for an hour, a step of a second at a time.
    #[test]
    fn what_was_seen_while_the_server_was_away_for_an_hour_is_told_when_it_is_back() {
        let mut telling = telling();
        let (web, db) = (revision("web"), revision("db"));
        let mut attempts = Vec::new();
        let mut told = BTreeMap::new();
        for second in 0..2 * 3_600 {
            let now = Moment(second * SECOND);
            let is_away = second < 3_600;
            if second == 0 {
                telling.stored(&web, now);
            }
            if second == 1_800 {
                telling.stored(&db, now);
            }
            if second == 3_620 {
                // The watch of the pods finds it first.
                telling.is_back();
            }
            for due in telling.due(now) {
                let edition = telling.edition(&due);
                if is_away {
                    attempts.push(second);
                    telling.is_away(None, now);
                    break;
                }
                telling.told(&due, edition, "c", now);
                told.insert(due, second);
            }
        }
        assert!((6..=16).contains(&attempts.len()), "{attempts:?}");
        assert!(told.values().all(|at| *at <= 3_620), "{told:?}");
        assert_eq!(told.len(), 2);
        assert!(telling.waiting().is_empty());
    }

    #[test]
    fn what_comes_while_it_is_being_told_is_told_afterwards() {
        let mut telling = telling();
        let web = revision("web");
        telling.stored(&web, Moment(0));
        let edition = telling.edition(&web);
        telling.stored(&web, Moment(1));
        telling.told(&web, edition, "c", Moment(2));
        assert_eq!(telling.waiting(), std::slice::from_ref(&web));
        let edition = telling.edition(&web);
        telling.told(&web, edition, "d", Moment(3));
        assert!(telling.waiting().is_empty());
        assert!(telling.is_told(&web, "d") && !telling.is_told(&web, "c"));
    }

    #[test]
    fn what_runs_is_told_to_be_alive_once_in_a_day() {
        let mut telling = telling();
        let web = revision("web");
        let mut told = 0;
        for hour in 0..10 * 24 {
            let now = Moment(hour * HOUR);
            telling.running([&web], now);
            for due in telling.due(Moment(i64::MAX)) {
                let edition = telling.edition(&due);
                telling.told(&due, edition, &hour.to_string(), now);
                told += 1;
            }
        }
        // Ten days of 24 hours in periods of 22, and the first.
        assert!((11..=12).contains(&told), "{told}");
    }

    #[test]
    fn a_server_that_wants_to_be_left_alone_is() {
        let mut telling = telling();
        telling.stored(&revision("web"), Moment(0));
        let at = telling.next().expect("due");
        telling.is_away(Some(Duration::from_secs(7_200)), at);
        assert!(telling.due(Moment(at.0 + HOUR)).is_empty());
        assert_eq!(telling.due(Moment(at.0 + 2 * HOUR)).len(), 1);
    }
}

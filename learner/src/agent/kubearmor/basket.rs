//! What KubeArmor has told and the agent has not taken yet. Pure: it is told the time.

use std::collections::BTreeMap;

use crate::behavior::Behavior;
use crate::host::is_runtime;
use crate::observation::Moment;
use crate::profile::Sighting;
use crate::promotion::{Interruption, Missed};
use crate::telemetry::{Channel, Deed, Event, Followed, Message, Throttle, Whose};

/// Distinct alerts that wait to be taken; what comes beyond is counted, and the time does not count.
pub(super) const MAX_ALERTS: usize = 20_000;
/// Interruptions that wait; those beyond are joined with the last of them, which then is everybody's.
const MAX_MISSED: usize = 1_024;
/// How long a connection that is broken may look whole, in microseconds: a minute, by the questions that the
/// kernel asks on one that is idle.
const UNNOTICED: i64 = 60_000_000;

/// Whether KubeArmor is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Heard { since: Moment, last: Moment },
    Away { since: Moment, why: Missed },
}

/// How much was heard, since the agent began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Alerts of what a policy for files and programs is about.
    pub(super) heard: u64,
    /// Alerts beyond what is kept.
    pub(super) dropped: u64,
    /// Messages that say nothing.
    pub(super) malformed: u64,
    /// Times that KubeArmor said that it drops alerts.
    pub(super) throttled: u64,
}

/// What a container did, by its alerts.
pub(super) type Acts = BTreeMap<Behavior, Sighting>;

/// It waits to be taken; its size is bounded, whatever is told.
#[derive(Debug)]
pub(super) struct Basket {
    state: State,
    /// By the runtime's ids of containers.
    alerts: BTreeMap<String, Acts>,
    kept: usize,
    missed: Vec<(Option<String>, Interruption)>,
    counts: Counts,
    /// When it was emptied.
    emptied: Moment,
}

/// What was taken out of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Taken {
    /// By the runtime's ids of containers.
    pub(super) alerts: BTreeMap<String, Acts>,
    /// When alerts may have been missed, of a container or of every one; also of the time that goes on.
    pub(super) missed: Vec<(Option<String>, Interruption)>,
    pub(super) counts: Counts,
}

impl Basket {
    /// Nothing is heard yet.
    pub(super) fn new(now: Moment) -> Self {
        let why = Missed::Unheard;
        Self {
            state: State::Away { since: now, why },
            alerts: BTreeMap::new(),
            kept: 0,
            missed: Vec::new(),
            counts: Counts::default(),
            emptied: now,
        }
    }

    pub(super) fn put(&mut self, followed: Followed, now: Moment) {
        match followed {
            Followed::Opened => {
                let state = State::Heard {
                    since: now,
                    last: now,
                };
                if let State::Away { since, why } = std::mem::replace(&mut self.state, state) {
                    self.miss(None, since, now, why);
                }
            }
            Followed::Closed(why) => {
                let since = match self.state {
                    State::Heard { last, .. } => last.max(Moment(now.0.saturating_sub(UNNOTICED))),
                    State::Away { since, .. } => since,
                };
                self.state = State::Away { since, why };
            }
            Followed::Message(message) => {
                self.message(&message, now);
                if let State::Heard { last, .. } = &mut self.state {
                    *last = now;
                }
            }
        }
    }

    fn message(&mut self, message: &Message, now: Moment) {
        match Event::of(message, is_runtime) {
            Err(cause) => {
                self.counts.malformed += 1;
                // It came since the one before, and may have been anybody's.
                let from = match self.state {
                    State::Heard { last, .. } => last,
                    State::Away { since, .. } => since,
                };
                let why = Missed::Broken(format!("a message says nothing: {cause}"));
                self.miss(None, from, now, why);
            }
            Ok(Event::Beside(_)) => {}
            Ok(Event::Throttled(Throttle { whose, at, until })) => {
                self.counts.throttled += 1;
                let whose = whose.and_then(container);
                self.miss(whose, at, until, Missed::Throttled);
            }
            Ok(Event::Deed(deed)) => self.deed(*deed, now),
        }
    }

    fn deed(&mut self, deed: Deed, now: Moment) {
        let Deed {
            whose,
            at,
            channel,
            behavior,
            gap,
        } = deed;
        if channel == Channel::Telemetry {
            return;
        }
        self.counts.heard += 1;
        let since = match self.state {
            State::Heard { since, .. } | State::Away { since, .. } => since,
        };
        let (Some(container), Some(behavior)) = (container(whose.clone()), behavior) else {
            // What it was, or whose, nobody will know: what was quiet before it was not.
            let gap = gap.map_or_else(|| "whose".to_owned(), |gap| gap.to_string());
            let why = Missed::Broken(format!("not all of an alert is told: {gap}"));
            self.miss(container(whose), since, at.min(now), why);
            return;
        };
        let seen = Sighting {
            count: 1,
            first: at.min(now),
            last: at.min(now),
        };
        let acts = self.alerts.get_mut(&container);
        if let Some(known) = acts.and_then(|acts| acts.get_mut(&behavior)) {
            *known = known.plus(seen);
        } else if self.kept < MAX_ALERTS {
            self.kept += 1;
            let acts = self.alerts.entry(container).or_default();
            acts.insert(behavior, seen);
        } else {
            self.counts.dropped += 1;
            let why = Missed::Broken("there were more than are kept".to_owned());
            self.miss(None, self.emptied, now, why);
        }
    }

    /// One that goes on is the same.
    fn miss(&mut self, whose: Option<String>, from: Moment, to: Moment, why: Missed) {
        if let Some((of, last)) = self.missed.last_mut() {
            let is_same = *of == whose && last.from == from && last.why == why;
            if is_same || self.missed.len() >= MAX_MISSED {
                if let Some((of, last)) = self.missed.last_mut() {
                    if !is_same {
                        *of = None;
                    }
                    last.from = last.from.min(from);
                    last.to = last.to.max(to);
                }
                return;
            }
        }
        self.missed.push((whose, Interruption { from, to, why }));
    }

    /// Empties it.
    pub(super) fn take(&mut self, now: Moment) -> Taken {
        if let State::Away { since, why } = &self.state {
            let (since, why) = (*since, why.clone());
            self.miss(None, since, now, why);
        }
        self.kept = 0;
        self.emptied = now;
        Taken {
            alerts: std::mem::take(&mut self.alerts),
            missed: std::mem::take(&mut self.missed),
            counts: self.counts,
        }
    }
}

fn container(whose: Whose) -> Option<String> {
    let id = match whose {
        Whose::Run { container, .. } | Whose::Container(container) => container,
    };
    Some(id).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> Moment {
        Moment(1_700_000_000 * SECOND + seconds * SECOND)
    }

    fn message(change: impl FnOnce(&mut Message)) -> Followed {
        let mut message = Message {
            timestamp: 1_700_000_000,
            namespace_name: "shop".to_owned(),
            pod_name: "web-1".to_owned(),
            container_name: "web".to_owned(),
            container_id: "5d1f".to_owned(),
            process_name: "/usr/bin/web".to_owned(),
            kind: "MatchedPolicy".to_owned(),
            policy_name: "DefaultPosture".to_owned(),
            operation: "File".to_owned(),
            resource: "/etc/shadow".to_owned(),
            data: "lsm=FILE_OPEN".to_owned(),
            action: "Audit".to_owned(),
            result: "Passed".to_owned(),
            ..Message::default()
        };
        change(&mut message);
        Followed::Message(Box::new(message))
    }

    fn heard() -> Basket {
        let mut basket = Basket::new(at(0));
        basket.put(Followed::Opened, at(0));
        basket.take(at(0));
        basket
    }

    fn spans(taken: &Taken) -> Vec<(Option<&str>, i64, i64)> {
        let second = |moment: Moment| (moment.0 - at(0).0) / SECOND;
        let all = taken.missed.iter();
        all.map(|(whose, one)| (whose.as_deref(), second(one.from), second(one.to)))
            .collect()
    }

    #[test]
    fn before_it_is_heard_and_while_it_is_away_no_time_counts() {
        let mut basket = Basket::new(at(0));
        assert_eq!(spans(&basket.take(at(5))), [(None, 0, 5)]);
        basket.put(Followed::Closed(Missed::Ended), at(6));
        assert_eq!(spans(&basket.take(at(10))), [(None, 0, 10)]);
        basket.put(Followed::Opened, at(12));
        assert!(matches!(basket.state, State::Heard { .. }));
        assert_eq!(spans(&basket.take(at(15))), [(None, 0, 12)]);
        assert_eq!(spans(&basket.take(at(300))), []);
        // It may have been broken before that was noticed; not before the last message.
        basket.put(Followed::Closed(Missed::Ended), at(400));
        assert_eq!(spans(&basket.take(at(401))), [(None, 340, 401)]);
        basket.put(Followed::Opened, at(402));
        basket.take(at(402));
        basket.put(message(|_| {}), at(440));
        basket.put(Followed::Closed(Missed::Ended), at(441));
        assert_eq!(spans(&basket.take(at(442))), [(None, 440, 442)]);
    }

    #[test]
    fn alerts_are_counted_by_container_and_act() {
        let mut basket = heard();
        for _ in 0..3 {
            basket.put(message(|_| {}), at(1));
        }
        basket.put(message(|m| "77aa".clone_into(&mut m.container_id)), at(1));
        let log = message(|m| {
            "ContainerLog".clone_into(&mut m.kind);
            m.policy_name.clear();
            m.action.clear();
            "syscall=SYS_OPEN flags=O_RDONLY".clone_into(&mut m.data);
        });
        basket.put(log, at(1));
        let taken = basket.take(at(2));
        let counts: Vec<_> = taken
            .alerts
            .iter()
            .flat_map(|(id, acts)| acts.values().map(|seen| (id.as_str(), seen.count)))
            .collect();
        assert_eq!(counts, [("5d1f", 3), ("77aa", 1)]);
        assert_eq!(taken.counts.heard, 4);
        assert_eq!(basket.take(at(3)).alerts.len(), 0);
    }

    #[test]
    fn what_is_dropped_damaged_or_half_told_is_time_that_does_not_count() {
        let mut basket = heard();
        let dropped = message(|m| {
            "SystemEvent".clone_into(&mut m.kind);
            "AlertThreshold".clone_into(&mut m.operation);
            m.dropping_alerts_interval = 30;
        });
        basket.put(dropped, at(1));
        basket.put(message(|m| m.kind = "Surprise".to_owned()), at(3));
        basket.put(message(|m| m.resource = "relative".to_owned()), at(4));
        let taken = basket.take(at(5));
        assert_eq!(
            spans(&taken),
            [(Some("5d1f"), 0, 30), (None, 1, 3), (Some("5d1f"), 0, 0)]
        );
        assert_eq!((taken.counts.throttled, taken.counts.malformed), (1, 1));
        assert!(taken.alerts.is_empty());
    }

    #[test]
    fn an_endless_stream_of_what_is_distinct_is_bounded_and_its_time_does_not_count() {
        let mut basket = heard();
        for number in 0..MAX_ALERTS + 500 {
            basket.put(message(|m| m.resource = format!("/made/{number}")), at(7));
        }
        let taken = basket.take(at(8));
        let kept: usize = taken.alerts.values().map(BTreeMap::len).sum();
        assert_eq!((kept, taken.counts.dropped), (MAX_ALERTS, 500));
        assert_eq!(spans(&taken), [(None, 0, 7)]);
        basket.put(message(|_| {}), at(9));
        assert_eq!(basket.take(at(9)).alerts.len(), 1);
    }

    #[test]
    fn interruptions_without_end_are_joined() {
        let mut basket = heard();
        for number in 0..2 * MAX_MISSED as i64 {
            basket.put(message(|m| m.kind = format!("Odd{number}")), at(number));
        }
        let taken = basket.take(at(9_000));
        assert_eq!(taken.missed.len(), MAX_MISSED);
        let last = taken.missed.last().expect("one");
        assert_eq!(last.1.to, at(2 * MAX_MISSED as i64 - 1));
    }
}

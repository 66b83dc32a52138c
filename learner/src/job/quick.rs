//! A pass that reads only what is new, where workloads are at rest.
//!
//! It does nothing but to write down what holds those that are not. Where anything is to be done, or is not as it
//! should be, it is given up, and all is read: so whatever is decided is decided by all evidence.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};

use super::rest::{Look, Rest, Resting, standing};
use super::{JobError, Round, Ruling, World};
use crate::cluster::{Client, ClusterError, Reading, State, WorkloadEvidence, one, states};
use crate::job::enforcers::is_by_agents;
use crate::observation::Moment;
use crate::posture::{Posture, Revision, Standing};
use crate::promotion::{Review, Verdict};
use crate::workload::Workload;

/// So many objects are asked for at a time.
const AT_A_TIME: usize = 8;

/// The world, as far as there is anything new in it, if a look at that is enough.
pub(super) async fn world(
    round: &Round<'_>,
    namespace: &str,
    note: &str,
    now: Moment,
) -> Result<Option<(World, Vec<Ruling>)>, JobError> {
    let Some(rest) = Rest::read(note) else {
        return Ok(None);
    };
    let Round { client, terms, .. } = *round;
    let mut world = World::without_evidence(round, namespace).await?;
    let now_there = match states(client, namespace).await {
        Ok(Some(now_there)) => now_there,
        Ok(None) => return Ok(None),
        Err(error) => return Ok(not_in_memory(&error)),
    };
    let look = rest.look(&now_there, |of| world.standing_at_rest(of, now), now);
    // One list is less than that many questions.
    if look.at_rest.is_empty() || look.fresh.len() > now_there.len() / 2 {
        return Ok(None);
    }
    let mut news = News::of(look, &world, &now_there);
    let names = std::mem::take(&mut news.fresh);
    let mut read_of_all = names.len();
    let is_all = each(client, namespace, names, |name, object| {
        news.take(name, object);
    });
    match is_all.await {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => return Ok(not_in_memory(&error)),
    }
    // Of those that are not at rest after all, the rest.
    let again = news.disturbed();
    read_of_all += again.len();
    let is_all = each(client, namespace, again, |_, object| {
        news.reading.add(object);
    });
    match is_all.await {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) => return Ok(not_in_memory(&error)),
    }
    let News {
        reading, at_rest, ..
    } = news;
    let read = reading.done();
    if !read.enforcement.is_empty() {
        return Ok(None);
    }
    world.resting = at_rest;
    world.tell(read, terms.heard)?;
    world.note_blindness(terms.strategy, now);
    let rulings = world.rule(terms, now)?;
    tracing::debug!(
        "{namespace}: {} workloads are at rest, and {read_of_all} of {} objects were read",
        world.resting.len(),
        now_there.len()
    );
    let is_still = rulings.iter().all(|ruling| ruling.after.is_none());
    if !is_still || !world.heard.is_empty() || !world.is_settled(terms.strategy)? {
        return Ok(None);
    }
    Ok(Some((world, rulings)))
}

/// A server whose memory is not ready, or that refuses, is asked for what is stored, and says there what it has
/// against it.
fn not_in_memory<T>(error: &ClusterError) -> Option<T> {
    tracing::debug!("{error}; all that is stored is asked for");
    None
}

/// Takes objects by their names; whether all of them are there.
async fn each(
    client: &Client,
    namespace: &str,
    names: BTreeSet<String>,
    mut take: impl FnMut(String, &WorkloadEvidence),
) -> Result<bool, ClusterError> {
    let asked = names.into_iter().map(|name| async move {
        let found = one(client, namespace, &name).await?;
        Ok::<_, ClusterError>((name, found))
    });
    let asked = stream::iter(asked).buffer_unordered(AT_A_TIME);
    futures_util::pin_mut!(asked);
    while let Some(found) = asked.next().await {
        let (name, Some(object)) = found? else {
            return Ok(false);
        };
        take(name, &object);
    }
    Ok(true)
}

/// What is new, as it is read.
struct News<'w> {
    world: &'w World,
    fresh: BTreeSet<String>,
    reading: Reading,
    at_rest: BTreeMap<Workload, Resting>,
    /// Of each that is at rest, or was taken for it: the states that its evidence is in.
    states: BTreeMap<Workload, BTreeSet<State>>,
    /// The names of what has stirred them.
    again: BTreeSet<String>,
    /// By the hash of each name.
    names: BTreeMap<u64, &'w str>,
    /// What is not at rest after all.
    stirred: BTreeSet<Workload>,
    /// Of those with anything new: whether any of that shows that the image is still the latest.
    shown: BTreeMap<Workload, bool>,
}

impl<'w> News<'w> {
    fn of(look: Look, world: &'w World, now_there: &'w BTreeMap<String, State>) -> Self {
        let names = now_there.iter();
        let (mut at_rest, mut states) = (BTreeMap::new(), BTreeMap::new());
        for (workload, (resting, known)) in look.at_rest {
            at_rest.insert(workload.clone(), resting);
            states.insert(workload, known);
        }
        Self {
            world,
            fresh: look.fresh,
            reading: Reading::default(),
            again: BTreeSet::new(),
            at_rest,
            states,
            names: names.map(|(name, of)| (of.name, name.as_str())).collect(),
            stirred: BTreeSet::new(),
            shown: BTreeMap::new(),
        }
    }

    fn take(&mut self, name: String, object: &WorkloadEvidence) {
        let workload = object.spec.workload.within(&self.world.namespace);
        let Some(resting) = self.at_rest.get(&workload) else {
            self.reading.add(object);
            return;
        };
        let frozen = self.world.ledger.frozen(&resting.revision());
        let looked = frozen.and_then(|frozen| resting.looked_at(object, frozen));
        match (looked, State::of(&object.metadata)) {
            (Some(is_latest), Some(state)) => {
                let shown = self.shown.entry(workload.clone()).or_default();
                *shown |= is_latest;
                self.states.entry(workload).or_default().insert(state);
            }
            _ => {
                self.again.insert(name);
                self.stirred.insert(workload);
            }
        }
    }

    /// The names of all evidence of what is not at rest after all.
    fn disturbed(&mut self) -> BTreeSet<String> {
        let mut names = std::mem::take(&mut self.again);
        for (workload, resting) in &self.at_rest {
            // What is new may be of an image that is not the latest any more, and what is gone may have been.
            let is_latest = self.shown.get(workload).is_none_or(|is_shown| *is_shown);
            let states = self.states.get(workload);
            let is_all_there = states.is_some_and(|now| resting.is_within(now));
            if !is_latest || !is_all_there {
                self.stirred.insert(workload.clone());
            }
        }
        for workload in &self.stirred {
            self.at_rest.remove(workload);
            let states = self.states.remove(workload).unwrap_or_default();
            let of_it = states
                .iter()
                .filter_map(|state| self.names.get(&state.name));
            names.extend(of_it.map(|name| (*name).to_owned()));
        }
        let at_rest = std::mem::take(&mut self.at_rest);
        let going_on = at_rest.into_iter().map(|(workload, resting)| {
            let states = self.states.remove(&workload).unwrap_or_default();
            (workload, resting.going_on(&states))
        });
        self.at_rest = going_on.collect();
        names
    }
}

impl World {
    /// What the verdict of a revision depends on beside its evidence, if it may be at rest: it stands under block, and
    /// its canary is over; KubeArmor is to enforce it, and nothing of that is left to be done.
    pub(super) fn standing_at_rest(&self, revision: &Revision, now: Moment) -> Option<String> {
        let of = self.ledger.standing(revision)?;
        let frozen = self.ledger.frozen(revision)?;
        let Standing::Block {
            since,
            canary_until,
            ..
        } = of
        else {
            return None;
        };
        let is_over = *canary_until < now && *since < now;
        let is_done = self.is_block() && self.is_there(frozen, Posture::Block);
        let workload = &revision.workload;
        let is_readable = !self.unreadable.contains_key(workload);
        let forgotten = self.forgotten.iter();
        let forgotten = forgotten.filter(|(of, _)| *of == workload);
        (is_over && is_done && is_readable && !is_by_agents(frozen))
            .then(|| standing(of, forgotten.map(|(_, mention)| mention)))
    }

    /// What is to be known of a workload that nothing speaks against, by the next pass; nothing, if it is not at rest.
    pub(super) fn at_rest(&self, ruling: &Ruling, now: Moment) -> Option<Resting> {
        let review = &ruling.review;
        let revision = &review.revision;
        let workload = &revision.workload;
        let is_quiet = review.verdict == Verdict::Stay
            && review.alerts.is_empty()
            && ruling.after.is_none()
            && ruling.canary.is_none();
        let is_whole = !self.unread.contains_key(workload)
            && self.missing.keys().all(|(of, _)| of.workload != *workload)
            && self.enforcement.is_empty();
        let standing = self.standing_at_rest(revision, now)?;
        let states = self.states.get(workload)?;
        let calm = ruling.calm.filter(|_| is_quiet && is_whole)?;
        Resting::of(revision, standing, calm, states, now)
    }

    /// Those that were found at rest, as they are said.
    pub(super) fn rulings_at_rest(&self) -> impl Iterator<Item = Ruling> {
        self.resting.values().map(|resting| {
            let revision = resting.revision();
            let standing = self.ledger.standing(&revision).cloned();
            Ruling {
                review: Review::at_rest(revision, standing),
                after: None,
                entry: None,
                by_agents: false,
                canary: None,
                calm: None,
            }
        })
    }
}

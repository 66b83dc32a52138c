//! Behaviours, and how often and when each was seen.

use std::collections::btree_map::{self, BTreeMap};
use std::ops::Index;
use std::sync::Arc;

use super::Sighting;
use crate::behavior::Behavior;

/// What was seen of each behaviour, in the order of the behaviours. Many runs do the same, so a behaviour may be
/// shared between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings(BTreeMap<Arc<Behavior>, Sighting>);

type Shown<'a> = (&'a Behavior, &'a Sighting);
type Iter<'a> = std::iter::Map<
    btree_map::Iter<'a, Arc<Behavior>, Sighting>,
    fn((&'a Arc<Behavior>, &'a Sighting)) -> Shown<'a>,
>;
type IterMut<'a> = std::iter::Map<
    btree_map::IterMut<'a, Arc<Behavior>, Sighting>,
    fn((&'a Arc<Behavior>, &'a mut Sighting)) -> (&'a Behavior, &'a mut Sighting),
>;

impl Sightings {
    /// In the place of what was known of the behaviour, which is given.
    pub fn insert(
        &mut self,
        behavior: impl Into<Arc<Behavior>>,
        seen: Sighting,
    ) -> Option<Sighting> {
        self.0.insert(behavior.into(), seen)
    }

    /// The place of a behaviour.
    pub fn entry(
        &mut self,
        behavior: impl Into<Arc<Behavior>>,
    ) -> btree_map::Entry<'_, Arc<Behavior>, Sighting> {
        self.0.entry(behavior.into())
    }

    /// What is known of a behaviour.
    pub fn get(&self, behavior: &Behavior) -> Option<&Sighting> {
        self.0.get(behavior)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, behavior: &Behavior) -> Option<&mut Sighting> {
        self.0.get_mut(behavior)
    }

    /// Whether it was seen.
    pub fn contains_key(&self, behavior: &Behavior) -> bool {
        self.0.contains_key(behavior)
    }

    /// The behaviours.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Behavior> + Clone {
        self.0.keys().map(|behavior| &**behavior)
    }

    /// What was seen of each.
    pub fn values(&self) -> btree_map::Values<'_, Arc<Behavior>, Sighting> {
        self.0.values()
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> btree_map::ValuesMut<'_, Arc<Behavior>, Sighting> {
        self.0.values_mut()
    }

    /// Both.
    pub fn iter(&self) -> Iter<'_> {
        self.0.iter().map(|(behavior, seen)| (&**behavior, seen))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps those of which it is said so.
    pub fn retain(&mut self, mut keep: impl FnMut(&Behavior, &mut Sighting) -> bool) {
        self.0.retain(|behavior, seen| keep(behavior, seen));
    }
}

impl Index<&Behavior> for Sightings {
    type Output = Sighting;
    fn index(&self, behavior: &Behavior) -> &Sighting {
        &self.0[behavior]
    }
}

impl<B: Into<Arc<Behavior>>> Extend<(B, Sighting)> for Sightings {
    fn extend<I: IntoIterator<Item = (B, Sighting)>>(&mut self, seen: I) {
        let seen = seen.into_iter();
        self.0
            .extend(seen.map(|(behavior, seen)| (behavior.into(), seen)));
    }
}

impl<B: Into<Arc<Behavior>>> FromIterator<(B, Sighting)> for Sightings {
    fn from_iter<I: IntoIterator<Item = (B, Sighting)>>(seen: I) -> Self {
        let seen = seen.into_iter();
        Self(
            seen.map(|(behavior, seen)| (behavior.into(), seen))
                .collect(),
        )
    }
}

impl<B: Into<Arc<Behavior>>, const N: usize> From<[(B, Sighting); N]> for Sightings {
    fn from(seen: [(B, Sighting); N]) -> Self {
        seen.into_iter().collect()
    }
}

impl IntoIterator for Sightings {
    type Item = (Arc<Behavior>, Sighting);
    type IntoIter = btree_map::IntoIter<Arc<Behavior>, Sighting>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Sightings {
    type Item = Shown<'a>;
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Sightings {
    type Item = (&'a Behavior, &'a mut Sighting);
    type IntoIter = IterMut<'a>;
    fn into_iter(self) -> IterMut<'a> {
        self.0
            .iter_mut()
            .map(|(behavior, seen)| (&**behavior, seen))
    }
}

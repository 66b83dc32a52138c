//! Lines that say the same but for how often and when, counted as what they are: one statement.
//!
//! A recording repeats itself. What a line states is worked out, checked and kept once; of each
//! line that repeats it, only `at`, `last` and `count` are looked at.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use siphasher::sip128::SipHasher13;

use super::error::Problem;
use super::line::{Deed, Kind, Line, When, Whose};
use super::meaning::{Meaning, Statement};
use super::outline::Finders;
use crate::observation::{Moment, Observation};
use crate::profile::Sighting;

/// One statement with how often and when it was made.
pub(super) struct Entry {
    /// The first line that made it.
    first_line: u64,
    statement: Statement,
    sighting: Sighting,
}

/// What is known by a hash that nobody can foresee.
type ByHash<T> = HashMap<u128, T, BuildHasherDefault<AsItIs>>;

/// The hash of a hash: a part of it.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// As many ways to spell a statement are remembered, on an average.
const MOST_SPELLINGS: usize = 2;

/// What changes no sighting that it is added to.
pub(super) const NEVER: Sighting = Sighting {
    count: 0,
    first: Moment(i64::MAX),
    last: Moment(i64::MIN),
};

/// Statements with how often and when each was made.
///
/// A statement is known by SipHash-1-3-128 of its fields under a random key, as in the kernel
/// (decision 1). A collision would count one as another; whoever writes the lines does not know the
/// key, and of a million statements two collide with a probability of about 2^-89.
///
/// Folding [`Tally::drain`]ed entries, those of several tallies together, in the order of their
/// first lines gives what folding each line gives: sums, earliest and latest times do not depend on
/// the order, and a behaviour is taken into the evidence, or is not, when it comes first.
pub(super) struct Tally {
    meaning: Meaning,
    hasher: SipHasher13,
    /// Which entry a statement is.
    known: ByHash<u32>,
    /// Of each entry. Apart from what it means, so that what every line looks at stays in the
    /// processor's caches.
    sightings: Vec<Sighting>,
    statements: Vec<(u64, Statement)>,
    weight: usize,
    /// Lines of JSON Lines by what they are apart from how often and when: which entry they are
    /// for, and of which kind.
    outlines: ByHash<(u32, Kind)>,
    finders: Finders,
    /// Whose the line before was, and the hash of that.
    whose: (Vec<u8>, u128),
    fields: Vec<u8>,
}

impl Default for Tally {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            meaning: Meaning::default(),
            hasher: SipHasher13::new_with_keys(random.hash_one(0), random.hash_one(1)),
            known: ByHash::default(),
            sightings: Vec::new(),
            statements: Vec::new(),
            weight: 0,
            outlines: ByHash::default(),
            finders: Finders::default(),
            whose: (Vec::new(), 0),
            fields: Vec::new(),
        }
    }
}

impl Tally {
    /// Counts a line of JSON Lines in.
    pub(super) fn add(&mut self, number: u64, text: &[u8]) -> Result<(), Problem> {
        let blanks = self.finders.guess(text);
        let outline = blanks.as_ref().map(|blanks| {
            self.fields.clear();
            blanks.write_outline(text, &mut self.fields);
            self.hasher.hash(&self.fields).as_u128()
        });
        if let (Some(blanks), Some(outline)) = (&blanks, outline)
            && let Some((entry, kind)) = self.outlines.get(&outline)
            && let Some(when) = blanks.when(text, *kind)
        {
            let (entry, sighting) = (*entry, self.sighting(when)?);
            self.count(entry, sighting);
            return Ok(());
        }
        let line = Line::parse(text)?;
        let whose = self.whose(&line.whose());
        let statement = self.statement(whose, &line.deed());
        let entry = match self.entry(statement) {
            Some(entry) => entry,
            None => self.insert(statement, number, &line)?,
        };
        let when = line.when();
        let sighting = self.sighting(when)?;
        self.count(entry, sighting);
        if let (Some(blanks), Some(outline)) = (&blanks, outline)
            && self.outlines.len() < MOST_SPELLINGS * self.sightings.len()
            && self.finders.are_of(blanks, text, &line)
        {
            self.weight += size_of::<(u128, (u32, Kind))>();
            self.outlines.insert(outline, (entry, when.kind));
        }
        Ok(())
    }

    /// How often and when, of a line.
    pub(super) fn sighting(&mut self, when: When<'_>) -> Result<Sighting, Problem> {
        self.meaning.sighting(when)
    }

    /// Whose a line is, for [`Tally::statement`].
    pub(super) fn whose(&mut self, whose: &Whose<'_>) -> u128 {
        let (before, hash) = &mut self.whose;
        self.fields.clear();
        whose.write(&mut self.fields);
        if self.fields != *before {
            before.clone_from(&self.fields);
            *hash = self.hasher.hash(before).as_u128();
        }
        *hash
    }

    /// What a line states.
    pub(super) fn statement(&mut self, whose: u128, deed: &Deed<'_>) -> u128 {
        self.fields.clear();
        self.fields.extend_from_slice(&whose.to_le_bytes());
        deed.write(&mut self.fields);
        self.hasher.hash(&self.fields).as_u128()
    }

    /// The entry of a statement, until all are taken out.
    pub(super) fn entry(&self, statement: u128) -> Option<u32> {
        self.known.get(&statement).copied()
    }

    /// Makes an entry of the first line that states this; nothing is counted yet.
    pub(super) fn insert(
        &mut self,
        statement: u128,
        number: u64,
        line: &Line<'_>,
    ) -> Result<u32, Problem> {
        let meaning = self.meaning.statement(line)?;
        // The weight that makes a tally full is reached long before.
        let entry = self.sightings.len() as u32;
        self.weight += size_of::<Entry>() + self.fields.len() + self.whose.0.len();
        self.known.insert(statement, entry);
        self.sightings.push(NEVER);
        self.statements.push((number, meaning));
        Ok(entry)
    }

    /// Counts in what lines say that state what the entry does.
    pub(super) fn count(&mut self, entry: u32, sighting: Sighting) {
        let known = &mut self.sightings[entry as usize];
        *known = known.plus(sighting.in_order());
    }

    /// About the bytes that the entries take, as if none shared its run and labels with another.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Takes all out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry> + '_ {
        self.weight = 0;
        self.known.clear();
        self.outlines.clear();
        let entries = self.statements.drain(..).zip(self.sightings.drain(..));
        entries.map(|((first_line, statement), sighting)| Entry {
            first_line,
            statement,
            sighting,
        })
    }
}

/// The entries as observations, in the order of their first lines.
pub(super) fn in_order(mut entries: Vec<Entry>) -> impl Iterator<Item = Observation> {
    entries.sort_unstable_by_key(|entry| entry.first_line);
    entries
        .into_iter()
        .map(|entry| entry.statement.at(entry.sighting))
}

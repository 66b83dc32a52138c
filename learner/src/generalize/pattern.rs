//! Which patterns take in which names, and so which other patterns: what the narrower one matches,
//! the wider one matches too.
//!
//! Looked at segment by segment. The answer "no" may be wrong where a pattern is a choice or the tree of cgroups
//! (`{pid}`, `{cgroup…}`): these take in only themselves. The answer "yes" is never wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::class::{Class, Piece};
use super::item::RuleClass;
use super::rule::Rule;
use super::shape::{self, Segment, Shape};

/// One place of a segment's pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    /// One byte of these.
    One(Bytes),
    /// Any number of bytes, none too: `*`.
    Any,
}

/// A set of bytes, by bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes([u64; 4]);

impl Bytes {
    const ALL: Self = Self([u64::MAX; 4]);

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    fn only(byte: u8) -> Self {
        let mut bytes = Self::default();
        bytes.insert(byte);
        bytes
    }

    fn takes_in(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| b & !a == 0)
    }

    /// The one byte that is in it.
    fn single(self) -> Option<u8> {
        let count: u32 = self.0.iter().map(|bits| bits.count_ones()).sum();
        let (at, bits) = self.0.iter().zip(0u8..).find_map(|(bits, at)| {
            let bits = *bits;
            (bits != 0).then_some((at, bits))
        })?;
        (count == 1).then(|| at * 64 + bits.trailing_zeros() as u8)
    }
}

impl Symbol {
    fn takes_in(self, other: Self) -> bool {
        match (self, other) {
            (Self::One(these), Self::One(those)) => these.takes_in(those),
            (Self::One(_), Self::Any) | (Self::Any, _) => false,
        }
    }

    fn single(self) -> Option<u8> {
        match self {
            Self::One(bytes) => bytes.single(),
            Self::Any => None,
        }
    }
}

/// Whether names of a shape are meant as they are, or as a pattern spells them: there a byte that is
/// AppArmor's syntax is any one byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelled {
    AsSeen,
    AsPattern,
}

/// `None` for a tree or a choice.
fn symbols(segment: &Segment, spelled: Spelled) -> Option<Vec<Symbol>> {
    let text = |bytes: &[u8]| -> Vec<Symbol> {
        let symbol = |byte: &u8| {
            let plain = byte.is_ascii() && shape::is_plain(*byte);
            if plain || spelled == Spelled::AsSeen {
                Symbol::One(Bytes::only(*byte))
            } else {
                Symbol::One(Bytes::ALL)
            }
        };
        bytes.iter().map(symbol).collect()
    };
    match segment {
        Segment::Literal(name) => Some(text(name)),
        Segment::Varying(form) => {
            let mut symbols = Vec::new();
            for piece in &form.0 {
                match piece {
                    Piece::Text(bytes) => symbols.extend(text(bytes)),
                    Piece::Token(class) => symbols.extend(of_class(*class)?),
                }
            }
            Some(symbols)
        }
        Segment::Tree(_) => None,
    }
}

/// A class by its pattern. `None` where that is a choice.
fn of_class(class: Class) -> Option<Vec<Symbol>> {
    let mut symbols = Vec::new();
    let mut glob = class.glob().bytes().peekable();
    while let Some(byte) = glob.next() {
        symbols.push(match byte {
            b'{' => return None,
            b'*' => Symbol::Any,
            b'?' => Symbol::One(Bytes::ALL),
            b'[' => {
                let mut bytes = Bytes::default();
                loop {
                    let first = glob.next().filter(|byte| *byte != b']');
                    let Some(first) = first else { break };
                    let last = match glob.next_if_eq(&b'-') {
                        // A dash at the end is itself.
                        Some(dash) if glob.peek() == Some(&b']') => {
                            bytes.insert(dash);
                            first
                        }
                        Some(_) => glob.next()?,
                        None => first,
                    };
                    (first..=last).for_each(|byte| bytes.insert(byte));
                }
                Symbol::One(bytes)
            }
            byte => Symbol::One(Bytes::only(byte)),
        });
    }
    Some(symbols)
}

/// Whether all that the narrower one matches is matched by the wider one.
fn takes_in(wide: &[Symbol], narrow: &[Symbol]) -> bool {
    let (mut at, mut of) = (0, 0);
    // Where the last `*` stands, and what it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while of < narrow.len() {
        match wide.get(at) {
            Some(Symbol::Any) => {
                star = Some((at, of));
                at += 1;
            }
            Some(symbol) if symbol.takes_in(narrow[of]) => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((stands, taken)) = star else {
                    return false;
                };
                star = Some((stands, taken + 1));
                at = stands + 1;
                of = taken + 1;
            }
        }
    }
    wide[at..].iter().all(|symbol| *symbol == Symbol::Any)
}

fn segment_takes_in(pattern: &Segment, segment: &Segment) -> bool {
    pattern == segment
        || match (
            symbols(pattern, Spelled::AsPattern),
            symbols(segment, Spelled::AsSeen),
        ) {
            (Some(wide), Some(narrow)) => takes_in(&wide, &narrow),
            _ => false,
        }
}

/// All that is in a directory, files and directories: `**`.
const WITHIN: Segment = Segment::Tree(Class::Within);

/// Whether the pattern made of the one shape matches every name of the other.
pub(super) fn covers(pattern: &Shape, shape: &Shape) -> bool {
    let each = |patterns: &[Segment], segments: &[Segment]| {
        let mut both = patterns.iter().zip(segments);
        both.all(|(pattern, segment)| segment_takes_in(pattern, segment))
    };
    if let Some((last, before)) = pattern.segments.split_last()
        && *last == WITHIN
        && !pattern.directory
    {
        return shape.segments.len() > before.len() && each(before, &shape.segments);
    }
    pattern.directory == shape.directory
        && pattern.segments.len() == shape.segments.len()
        && each(&pattern.segments, &shape.segments)
}

/// The rules for patterns, by segment.
///
/// What may take in a name is found by the text that it begins and ends with. Only patterns that
/// begin and end alike are tried one by one.
#[derive(Debug, Default)]
pub(super) struct Patterns(BTreeMap<RuleClass, Node>);

#[derive(Debug, Default)]
struct Node {
    below: BTreeMap<Segment, (Option<Vec<Symbol>>, Node)>,
    /// The segments below that are no mere text or single name, by their ends.
    ends: BTreeMap<Ends, Vec<Segment>>,
    /// How long the ends are.
    lengths: BTreeSet<(usize, usize)>,
    rules: Vec<Rule>,
}

/// The text that a segment begins and ends with.
type Ends = (Vec<u8>, Vec<u8>);

fn ends(symbols: &[Symbol]) -> Ends {
    let text = |symbol: &Symbol| symbol.single();
    let first: Vec<u8> = symbols.iter().map_while(text).collect();
    let mut last: Vec<u8> = symbols.iter().rev().map_while(text).collect();
    last.reverse();
    (first, last)
}

impl Patterns {
    pub(super) fn add(&mut self, pattern: &Shape, rule: &Rule) {
        let mut node = self.0.entry(rule.class).or_default();
        for segment in &pattern.segments {
            if !node.below.contains_key(segment) {
                let symbols = symbols(segment, Spelled::AsPattern);
                if let Some(symbols) = &symbols {
                    let ends = ends(symbols);
                    node.lengths.insert((ends.0.len(), ends.1.len()));
                    node.ends.entry(ends).or_default().push(segment.clone());
                }
                let below = (symbols, Node::default());
                node.below.insert(segment.clone(), below);
            }
            node = match node.below.get_mut(segment) {
                Some((_, below)) => below,
                None => return,
            };
        }
        node.rules.push(rule.clone());
    }

    /// Rules of the class whose pattern may match all names of the shape, and those that do.
    pub(super) fn covering(&self, class: RuleClass, shape: &Shape) -> Vec<&Rule> {
        let mut found = Vec::new();
        if let Some(root) = self.0.get(&class) {
            root.walk(&shape.segments, &mut found);
        }
        found
    }
}

impl Node {
    fn walk<'a>(&'a self, rest: &[Segment], found: &mut Vec<&'a Rule>) {
        let Some((segment, rest)) = rest.split_first() else {
            found.extend(&self.rules);
            return;
        };
        if let Some((_, below)) = self.below.get(segment) {
            below.walk(rest, found);
        }
        if let Some((_, within)) = self.below.get(&WITHIN)
            && !(rest.is_empty() && *segment == WITHIN)
        {
            found.extend(&within.rules);
        }
        let Some(narrow) = symbols(segment, Spelled::AsSeen) else {
            return;
        };
        let (first, last) = ends(&narrow);
        for (before, after) in &self.lengths {
            let (Some(first), Some(after)) = (first.get(..*before), last.len().checked_sub(*after))
            else {
                continue;
            };
            let ends = (first.to_vec(), last[after..].to_vec());
            for pattern in self.ends.get(&ends).into_iter().flatten() {
                if let Some((Some(wide), below)) = self.below.get(pattern)
                    && pattern != segment
                    && takes_in(wide, &narrow)
                {
                    below.walk(rest, found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Stores that spread digests over directories named by a few of their digits: `objects/ab/<digest>`.
//!
//! A short name says nothing by itself: `de` and `ca` are languages, `db` is a directory of some
//! program. It is a directory of a fan-out by what is below it, by those beside it, and by the runs.

use std::collections::{BTreeMap, BTreeSet};

use super::super::class::{self, Class, Form, Piece, Place};
use super::super::tier;
use super::{Child, Names, Run};

/// A directory of a fan-out has so many digits at most.
const WIDEST: usize = 3;

/// There are so many directories above a digest at most.
const DEEPEST: usize = 3;

/// So many directories that hold digests are a fan-out whatever the runs say: nobody names so many
/// things in hexadecimal digits, and the names of digests vary by their class.
const MANY: usize = 8;

/// The names in a place that are directories of a fan-out, each with its form.
///
/// Of all names of one length that hold digests every one is hexadecimal, and they have both letters
/// and decimal digits, as words and counters have not. There are [`MANY`] of them; or not all runs
/// have the same, and two at least have a digest of their own. Nothing below was executed, and the
/// place is neither a package's nor one that others share.
pub(super) fn directories<'a>(names: &'a Names, place: Place<'_>) -> Vec<(&'a [u8], Form)> {
    if !may_be(place) {
        return Vec::new();
    }
    let mut by_width: BTreeMap<usize, Vec<Child<'a>>> = BTreeMap::new();
    for (name, below) in &names.below {
        if name.len() <= WIDEST {
            by_width.entry(name.len()).or_default().push((name, below));
        }
    }
    let mut found = Vec::new();
    for (width, group) in by_width {
        let form = Form(vec![Piece::Token(Class::HexDigit); width]);
        if is_fan_out(&group, names.known.contains_key(&form)) {
            let members = group.into_iter().filter(is_member);
            found.extend(members.map(|(name, _)| (name, form.clone())));
        }
    }
    found
}

fn may_be(place: Place<'_>) -> bool {
    let settings = place.before.first() == Some(&&b"etc"[..]);
    !settings && !place.in_image() && !tier::is_kept(place.before)
}

/// Whether names of one length are, but for some that hold no digest, directories of a fan-out. `known`:
/// there are others of that length, and they are.
fn is_fan_out(group: &[Child<'_>], known: bool) -> bool {
    let hold: Vec<&Child<'_>> = group
        .iter()
        .filter(|(_, below)| holds_digest(below, DEEPEST))
        .collect();
    let has = |kind: fn(&u8) -> bool| hold.iter().any(|(name, _)| name.iter().any(kind));
    let sets: BTreeSet<&BTreeSet<Run>> = hold.iter().map(|(_, below)| &below.runs).collect();
    let mut owners = BTreeSet::new();
    for (_, below) in &hold {
        add_owners(below, DEEPEST, &mut owners);
    }
    let by_these = || {
        has(u8::is_ascii_digit)
            && has(u8::is_ascii_alphabetic)
            && (hold.len() >= MANY || sets.len() >= 2 && owners.len() >= 2)
    };
    hold.iter().all(|(name, _)| is_hex(name))
        && (known || by_these())
        && !hold.iter().any(|(_, below)| below.executed)
}

/// Beside directories of a fan-out: one that holds a digest, or nothing but what has a class.
fn is_member((name, below): &Child<'_>) -> bool {
    let classed = |name: &[u8]| class::form(name, Place { before: &[] }).is_some();
    is_hex(name)
        && !below.executed
        && (holds_digest(below, DEEPEST) || below.below.keys().all(|name| classed(name)))
}

fn is_hex(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_hexdigit)
}

fn is_digest(name: &[u8]) -> bool {
    let found = class::form(name, Place { before: &[] });
    found.is_some_and(|found| is_of_digests(&found.form))
}

fn is_of_digests(form: &Form) -> bool {
    matches!(form.0.first(), Some(Piece::Token(Class::Hex)))
}

/// Digests below, directly or in more directories of such names.
fn digests(names: &Names, levels: usize) -> impl Iterator<Item = Child<'_>> {
    let direct = names.below.iter().filter(|(name, _)| is_digest(name));
    let deeper = names
        .below
        .iter()
        .filter(move |(name, _)| levels > 1 && name.len() <= WIDEST && is_hex(name))
        .flat_map(move |(_, below)| {
            let found: Vec<Child<'_>> = digests(below, levels - 1).collect();
            found
        });
    direct.map(|(name, below)| (&**name, below)).chain(deeper)
}

/// Runs of digests of which no more is known than that they vary: directly below, or deeper.
fn known_digests(names: &Names, levels: usize) -> BTreeSet<Run> {
    let is_one = |form: &Form| is_of_digests(form) || (levels > 1 && is_of_digits(form));
    let direct = names.known.iter().filter(|(form, _)| is_one(form));
    let mut runs: BTreeSet<Run> = direct.flat_map(|(_, below)| &below.runs).copied().collect();
    if levels > 1 {
        let is_short = |name: &[u8]| name.len() <= WIDEST && is_hex(name);
        for (_, below) in names.below.iter().filter(|(name, _)| is_short(name)) {
            runs.extend(known_digests(below, levels - 1));
        }
    }
    runs
}

fn is_of_digits(form: &Form) -> bool {
    form.classes().all(|class| class == Class::HexDigit)
}

fn holds_digest(names: &Names, levels: usize) -> bool {
    digests(names, levels).next().is_some() || !known_digests(names, levels).is_empty()
}

/// Runs that have a digest which no other run has.
fn add_owners(names: &Names, levels: usize, owners: &mut BTreeSet<Run>) {
    for (_, digest) in digests(names, levels) {
        if digest.runs.len() == 1 {
            owners.extend(&digest.runs);
        }
    }
    owners.extend(known_digests(names, levels));
}

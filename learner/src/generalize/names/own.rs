//! Directories that a run makes for itself under a temporary name: `/tmp/tmp.Ab3dEf9hIj`, by `mktemp -d`.
//!
//! Nobody else has put anything there, so what is in it is the run's own, under whatever names.

use std::collections::{BTreeMap, BTreeSet};

use super::super::class::{Class, Form, Place};
use super::super::tier;
use super::{Names, Until, is_own};

/// The forms of names in a place of which each is a directory that every run has made that has it.
///
/// The class alone says that such a name varies; who has made it the runs say. Nothing below was executed or lies where keys and
/// credentials do, and the place is neither a package's nor one that others share.
pub(super) fn directories(
    names: &Names,
    place: Place<'_>,
    until: Until,
    varying: &BTreeMap<&[u8], Form>,
) -> BTreeSet<Form> {
    if !is_own(place) || !names.is_by_runs(until) {
        return BTreeSet::new();
    }
    let seen = names.below.iter().filter_map(|(name, below)| {
        let form = varying.get(&**name)?;
        Some((form, below))
    });
    let mut own: BTreeMap<&Form, bool> = BTreeMap::new();
    for (form, below) in seen.chain(&names.known) {
        if form.classes().any(|class| class == Class::Temporary) {
            *own.entry(form).or_insert(true) &= is_made(below);
        }
    }
    own.into_iter()
        .filter(|(_, is_own)| *is_own)
        .map(|(form, _)| form.clone())
        .collect()
}

fn is_made(names: &Names) -> bool {
    names.made_directory == names.runs && !names.executed && !holds_secrets(names)
}

fn holds_secrets(names: &Names) -> bool {
    let secret = names.below.keys().any(|name| tier::is_secret(name));
    let deeper = || names.below.values().chain(names.known.values());
    secret || deeper().any(holds_secrets)
}

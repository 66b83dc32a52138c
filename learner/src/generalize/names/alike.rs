//! Numbered names of one kind in directories of one name: `a.git/refs/heads/topic-3`, `b.git/refs/heads/topic-5`.
//!
//! What the runs say of such a name in one of these directories they say of it in all.

use std::collections::{BTreeMap, BTreeSet};

use super::super::class::{self, Form, Place};
use super::{Child, Names, Until, is_another, is_own};

/// The kinds of numbered names that vary somewhere, each with the name of the directory.
#[derive(Debug, Default)]
pub(super) struct Alike<'a>(BTreeSet<(&'a [u8], Form)>);

impl<'a> Alike<'a> {
    pub(super) fn of(all: &'a Names, until: Until) -> Self {
        let mut alike = Self::default();
        alike.add(all, &mut Vec::new(), until);
        alike
    }

    fn add(&mut self, names: &'a Names, before: &mut Vec<&'a [u8]>, until: Until) {
        let place = Place { before };
        if let Some(directory) = directory(before)
            && is_own(place)
            && names.is_by_runs(until)
        {
            let known = names.known.keys().filter(|form| form.is_numbered());
            self.0.extend(known.map(|form| (directory, form.clone())));
            let varying = numbered(names, place).into_iter();
            let varying = varying.filter(|(_, group)| is_another(group));
            self.0.extend(varying.map(|(form, _)| (directory, form)));
        }
        for (name, below) in &names.below {
            before.push(name);
            self.add(below, before, until);
            before.pop();
        }
    }

    /// Whether names of the form vary in a directory of the same name. Programs do not.
    pub(super) fn has(&self, place: Place<'_>, form: &Form, group: &[Child<'_>]) -> bool {
        let executed = group.iter().any(|(_, names)| names.executed);
        let known = |directory| self.0.contains(&(directory, form.clone()));
        !executed && directory(place.before).is_some_and(known)
    }
}

/// The name of the directory, if it is one that people chose: a digit may be a machine's.
fn directory<'a>(before: &[&'a [u8]]) -> Option<&'a [u8]> {
    let name = before.last().copied()?;
    let is_chosen = |byte: &u8| byte.is_ascii_alphabetic() || b"-_.".contains(byte);
    name.iter().all(is_chosen).then_some(name)
}

fn numbered<'a>(names: &'a Names, place: Place<'_>) -> BTreeMap<Form, Vec<Child<'a>>> {
    let mut forms: BTreeMap<Form, Vec<Child<'a>>> = BTreeMap::new();
    for (name, below) in &names.below {
        let has = |kind: fn(&u8) -> bool| name.iter().any(kind);
        if !has(u8::is_ascii_digit) || !has(u8::is_ascii_alphabetic) {
            continue;
        }
        let found = class::form(name, place).or_else(|| class::numbered(name));
        if let Some(found) = found.filter(|found| found.form.is_numbered()) {
            forms.entry(found.form).or_default().push((name, below));
        }
    }
    forms
}

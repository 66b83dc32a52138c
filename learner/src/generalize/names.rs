//! Which names vary from run to run: told by their class, and by the runs that have them.

mod fan_out;

use std::collections::{BTreeMap, BTreeSet};

use super::class::{self, Class, Form, Found, Piece, Place, Strength};
use super::shape::{Segment, Shape};
use super::tier;
use crate::path::AbsPath;

/// A run, by its number among those of the evidence.
pub(super) type Run = u32;

/// A name that no class knows is called changing from so many runs on.
const RUNS_TO_CALL_CHANGING: usize = 3;

/// A name, and what comes below it.
type Child<'a> = (&'a [u8], &'a Names);

/// What makes names alike: the ending, and the names below.
type Kinship<'a> = (&'a [u8], Vec<&'a [u8]>);

/// All paths of a workload, by segment, each with the runs that have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    runs: BTreeSet<Run>,
    /// It, or something below it, was executed.
    executed: bool,
    below: BTreeMap<Box<[u8]>, Names>,
}

impl Names {
    pub(super) fn add(&mut self, path: &AbsPath, run: Run, executed: bool) {
        self.runs.insert(run);
        let mut node = self;
        for segment in segments(path) {
            node = node.below.entry(segment.into()).or_default();
            node.runs.insert(run);
            node.executed |= executed;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.runs.extend(&other.runs);
        self.executed |= other.executed;
        for (name, below) in &other.below {
            self.below.entry(name.clone()).or_default().merge(below);
        }
    }

    /// Decides for every name whether it varies.
    pub(super) fn settle(&self) -> Settled {
        self.settle_at(&mut Vec::new())
    }

    fn settle_at<'a>(&'a self, before: &mut Vec<&'a [u8]>) -> Settled {
        let place = Place { before };
        if place.is_cgroup_root() && self.below.values().any(Self::walks_cgroups) {
            return Settled::Cgroups;
        }
        let varying = self.varying(place);
        let mut below = BTreeMap::new();
        let mut merged: BTreeMap<Form, (&'a [u8], Names)> = BTreeMap::new();
        for (name, names) in &self.below {
            match varying.get(&**name) {
                None => {
                    before.push(name);
                    below.insert(Segment::Literal(name.clone()), names.settle_at(before));
                    before.pop();
                }
                Some(form) => merged
                    .entry(form.clone())
                    .or_insert_with(|| (name, Names::default()))
                    .1
                    .merge(names),
            }
        }
        for (form, (name, names)) in &merged {
            // What comes below is settled for all names of the form at once.
            let mut path: Vec<&[u8]> = before.clone();
            path.push(name);
            below.insert(Segment::Varying(form.clone()), names.settle_at(&mut path));
        }
        Settled::Names {
            varying: varying
                .into_iter()
                .map(|(name, form)| (name.into(), form))
                .collect(),
            below,
        }
    }

    /// Whether it reads the cgroups of pods and containers that come and go.
    fn walks_cgroups(&self) -> bool {
        self.below.iter().any(|(name, names)| {
            let found = class::form(name, Place { before: &[] });
            found.is_some_and(|found| {
                found
                    .form
                    .classes()
                    .any(|class| matches!(class, Class::PodUid | Class::Hex | Class::Uuid))
            }) || names.walks_cgroups()
        })
    }

    fn varying(&self, place: Place<'_>) -> BTreeMap<&[u8], Form> {
        let mut varying: BTreeMap<&[u8], Form> =
            fan_out::directories(self, place).into_iter().collect();
        let mut forms: BTreeMap<Form, (Strength, Vec<Child<'_>>)> = BTreeMap::new();
        let is_own = is_own(place);
        for (name, names) in &self.below {
            if varying.contains_key(&**name) {
                continue;
            }
            // After a few letters a number is none of a class, unless the runs say so.
            let numbered = || {
                let may_be = is_own && !names.executed;
                may_be.then(|| class::numbered(name)).flatten()
            };
            if let Some(Found { form, strength }) = class::form(name, place).or_else(numbered) {
                let group = forms.entry(form).or_insert((strength, Vec::new()));
                group.0 = group.0.max(strength);
                group.1.push((name, names));
            }
        }
        for (form, (strength, group)) in forms {
            let differs = differs(&group) || (form.is_numbered() && is_own && is_another(&group));
            for (name, names) in &group {
                let stable = self.runs.len() > 1 && names.runs == self.runs;
                let varies = match strength {
                    Strength::Always => true,
                    Strength::Strong if place.in_image() => differs && !stable,
                    Strength::Strong => !stable,
                    Strength::Weak => differs && !stable,
                };
                if varies {
                    varying.insert(*name, form.clone());
                }
            }
        }
        for (name, form) in self.changing(place, &varying) {
            varying.insert(name, form);
        }
        varying
    }

    /// Names that no class knows, of which nearly every run has one of its own in this place.
    fn changing<'a>(
        &'a self,
        place: Place<'_>,
        varying: &BTreeMap<&[u8], Form>,
    ) -> Vec<(&'a [u8], Form)> {
        if self.runs.len() < RUNS_TO_CALL_CHANGING || !is_own(place) {
            return Vec::new();
        }
        // Names that are alike: files of one ending, or directories that hold the same.
        let mut alike: BTreeMap<Kinship<'_>, Vec<Child<'a>>> = BTreeMap::new();
        for (name, names) in &self.below {
            if names.runs.len() == 1 && !varying.contains_key(&**name) {
                let holds = names.below.keys().map(|below| &**below).collect();
                let group = alike.entry((ending(name), holds)).or_default();
                group.push((name, names));
            }
        }
        let mut changing = Vec::new();
        for ((ending, _), group) in alike {
            let owners = owners(&group).len();
            if owners >= RUNS_TO_CALL_CHANGING && owners * 10 >= self.runs.len() * 8 {
                let mut pieces = vec![Piece::Token(Class::Changing)];
                if !ending.is_empty() {
                    pieces.push(Piece::Text(ending.into()));
                }
                let form = Form(pieces);
                changing.extend(group.into_iter().map(|(name, _)| (name, form.clone())));
            }
        }
        changing
    }
}

/// Whether at least half of the runs that have such a name, and two at least, have one that no other
/// run has.
fn differs(group: &[Child<'_>]) -> bool {
    let visiting: BTreeSet<Run> = group.iter().flat_map(|(_, n)| &n.runs).copied().collect();
    let owners = owners(group);
    owners.len() >= 2 && owners.len() * 2 >= visiting.len()
}

/// Whether names there are neither a package's, nor of the system's settings, nor in a place that
/// others share.
fn is_own(place: Place<'_>) -> bool {
    let settings = matches!(place.before.first().copied(), Some(b"etc" | b"root"));
    !settings && !place.in_image() && !tier::is_kept(place.before)
}

/// Whether of the runs that have such a name some have another one: the names that a feature brings
/// with it are the same in all runs that use it. Programs are none.
fn is_another(group: &[Child<'_>]) -> bool {
    let names: BTreeSet<&BTreeSet<Run>> = group.iter().map(|(_, names)| &names.runs).collect();
    names.len() >= 2 && !group.iter().any(|(_, names)| names.executed)
}

/// Runs that have a name which no other run has.
fn owners(group: &[Child<'_>]) -> BTreeSet<Run> {
    let single = |names: &Names| match names.runs.first() {
        Some(run) if names.runs.len() == 1 => Some(*run),
        _ => None,
    };
    group
        .iter()
        .filter_map(|(_, names)| single(names))
        .collect()
}

/// `.log` of `a.log`; nothing of `.profile`.
fn ending(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(at) if at > 0 => &name[at..],
        _ => &[],
    }
}

pub(super) fn segments(path: &AbsPath) -> impl Iterator<Item = &[u8]> {
    path.as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|segment| !segment.is_empty())
}

/// Which names vary, decided.
#[derive(Debug)]
pub(super) enum Settled {
    /// A tree of names.
    Names {
        varying: BTreeMap<Box<[u8]>, Form>,
        below: BTreeMap<Segment, Settled>,
    },
    /// `/sys/fs/cgroup`, whose directories come and go.
    Cgroups,
}

impl Settled {
    /// The shape of a path; of one that was not among the names, as far as it is known.
    pub(super) fn shape(&self, path: &AbsPath) -> Shape {
        let mut shape = Vec::new();
        let mut node = Some(self);
        let mut rest = segments(path).peekable();
        while let Some(name) = rest.next() {
            if let Some(Self::Cgroups) = node
                && class::is_cgroup(name)
            {
                while rest.next_if(|next| class::is_cgroup(next)).is_some() {}
                shape.push(Segment::Tree(Class::Cgroup));
                node = None;
                continue;
            }
            let (segment, below) = match node {
                Some(Self::Names { varying, below }) => {
                    let segment = varying.get(name).map_or_else(
                        || Segment::Literal(name.into()),
                        |form| Segment::Varying(form.clone()),
                    );
                    let below = below.get(&segment);
                    (segment, below)
                }
                _ => (Segment::Literal(name.into()), None),
            };
            shape.push(segment);
            node = below;
        }
        Shape {
            segments: shape,
            directory: path.as_bytes().ends_with(b"/"),
        }
    }
}

//! Which names vary from run to run: told by their class, and by the runs that have them.

mod alike;
mod fan_out;
mod own;

use std::collections::{BTreeMap, BTreeSet};

use self::alike::Alike;
use super::class::{self, Class, Form, Found, Piece, Place, Strength};
use super::shape::{Segment, Shape};
use super::tier;
use crate::path::AbsPath;

/// A run, by its number among those of the evidence.
pub(super) type Run = u32;

/// A name that no class knows is called changing from so many runs on.
const RUNS_TO_CALL_CHANGING: usize = 3;

/// Which names vary by the runs alone is settled by some of the runs from so many on: those of two runs
/// are other ones easily, and the same over all.
const RUNS_TO_SETTLE: usize = 10;

/// A name, and what comes below it.
type Child<'a> = (&'a [u8], &'a Names);

/// What makes names alike: the ending, and the names below.
type Kinship<'a> = (&'a [u8], BTreeSet<Kind<'a>>);

/// A name, told from others as far as one run's differ from another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind<'a> {
    Name(&'a [u8]),
    Form(Form),
}

/// Stands for a name of which the form alone is known, where what is below it is looked at.
const ANY: &[u8] = b"*";

/// One segment of a path: a name as it was seen, or what has been told of it before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'a> {
    Seen(&'a [u8]),
    Varying(&'a Form),
    /// Any number of segments, all that follow or those of cgroups.
    Tree(Class),
}

/// What a run did with what a path names, as far as it says how the name came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It was executed.
    Executed,
    /// It was made: a file, a link.
    Made,
    /// It was made, a directory.
    MadeDirectory,
    /// It was taken away, or given another name.
    TakenAway,
    /// Anything else.
    Used,
}

/// What is settled by the names that are known so far, and what only others can add to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// These are all runs.
    Now,
    /// Runs elsewhere will be told of too: a name that may be the same in all of them stays as it is.
    Joined,
}

/// All paths of a workload, by segment, each with the runs that have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    runs: BTreeSet<Run>,
    /// It, or something below it, was executed.
    executed: bool,
    /// The runs that have made it.
    made: BTreeSet<Run>,
    /// Of them those that have made it as a directory.
    made_directory: BTreeSet<Run>,
    /// The runs that have taken it away.
    taken_away: BTreeSet<Run>,
    below: BTreeMap<Box<[u8]>, Names>,
    /// Names that are known to vary, by their form: a node has settled it.
    known: BTreeMap<Form, Names>,
    /// Below it are the cgroups of what comes and goes, or what is in a run's own directory: a node has
    /// settled it.
    trees: BTreeSet<Class>,
}

impl Names {
    pub(super) fn add<'p>(&mut self, path: impl IntoIterator<Item = Name<'p>>, run: Run, act: Act) {
        self.runs.insert(run);
        let mut node = self;
        for name in path {
            node = match name {
                Name::Seen(name) => node.below.entry(name.into()).or_default(),
                Name::Varying(form) => node.known.entry(form.clone()).or_default(),
                Name::Tree(class) => {
                    node.trees.insert(class);
                    return;
                }
            };
            node.runs.insert(run);
            node.executed |= act == Act::Executed;
        }
        match act {
            Act::Made => {
                node.made.insert(run);
            }
            Act::MadeDirectory => {
                node.made.insert(run);
                node.made_directory.insert(run);
            }
            Act::TakenAway => {
                node.taken_away.insert(run);
            }
            Act::Executed | Act::Used => {}
        }
    }

    /// Whether a run has made it and taken it away again.
    fn is_passing(&self) -> bool {
        !self.made.is_disjoint(&self.taken_away)
    }

    fn merge(&mut self, other: &Self) {
        self.runs.extend(&other.runs);
        self.executed |= other.executed;
        self.made.extend(&other.made);
        self.made_directory.extend(&other.made_directory);
        self.taken_away.extend(&other.taken_away);
        self.trees.extend(&other.trees);
        for (name, below) in &other.below {
            self.below.entry(name.clone()).or_default().merge(below);
        }
        for (form, below) in &other.known {
            self.known.entry(form.clone()).or_default().merge(below);
        }
    }

    /// Decides for every name whether it varies.
    pub(super) fn settle(&self, until: Until) -> Settled {
        let alike = Alike::of(self, until);
        self.settle_at(&mut Vec::new(), until, &alike)
    }

    fn settle_at<'a>(
        &'a self,
        before: &mut Vec<&'a [u8]>,
        until: Until,
        alike: &Alike<'_>,
    ) -> Settled {
        let place = Place { before };
        let walks = || self.below.values().any(Self::walks_cgroups);
        if place.is_cgroup_root() && (self.trees.contains(&Class::Cgroup) || walks()) {
            return Settled::Cgroups;
        }
        let varying = self.varying(place, until, alike);
        let mut below = BTreeMap::new();
        let mut merged: BTreeMap<Form, (&'a [u8], Names)> = BTreeMap::new();
        let own = own::directories(self, place, until, &varying);
        for (form, names) in &self.known {
            merged.insert(form.clone(), (ANY, names.clone()));
        }
        for (name, names) in &self.below {
            match varying.get(&**name) {
                None => {
                    before.push(name);
                    below.insert(
                        Segment::Literal(name.clone()),
                        names.settle_at(before, until, alike),
                    );
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
            if own.contains(form) {
                below.insert(Segment::Varying(form.clone()), Settled::Within);
                continue;
            }
            // What comes below is settled for all names of the form at once.
            let mut path: Vec<&[u8]> = before.clone();
            path.push(name);
            below.insert(
                Segment::Varying(form.clone()),
                names.settle_at(&mut path, until, alike),
            );
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

    /// Whether the runs say which names here vary, or their class alone.
    fn is_by_runs(&self, until: Until) -> bool {
        until == Until::Now || self.runs.len() >= RUNS_TO_SETTLE
    }

    fn varying(&self, place: Place<'_>, until: Until, alike: &Alike<'_>) -> BTreeMap<&[u8], Form> {
        let by_runs = self.is_by_runs(until);
        let mut varying: BTreeMap<&[u8], Form> = BTreeMap::new();
        if by_runs {
            varying.extend(fan_out::directories(self, place));
        }
        let mut forms: BTreeMap<Form, (Strength, Vec<Child<'_>>)> = BTreeMap::new();
        let is_own = is_own(place);
        for (name, names) in &self.below {
            if varying.contains_key(&**name) {
                continue;
            }
            // After a few letters a number is none of a class, unless the runs say so.
            let numbered = || {
                (is_own && !names.executed)
                    .then(|| class::numbered(name))
                    .flatten()
            };
            // A name that a run makes and takes away again may be any maker's.
            let random = || {
                let may_be = is_own && !names.executed && names.is_passing();
                may_be.then(|| class::random(name)).flatten()
            };
            let found = random()
                .or_else(|| class::form(name, place))
                .or_else(numbered);
            if let Some(Found { form, strength }) = found {
                let group = forms.entry(form).or_insert((strength, Vec::new()));
                group.0 = group.0.max(strength);
                group.1.push((name, names));
            }
        }
        for (form, (strength, group)) in forms {
            let differs = self.known.contains_key(&form)
                || differs(&group)
                || (form.is_numbered()
                    && is_own
                    && (is_another(&group) || alike.has(place, &form, &group)));
            for (name, names) in &group {
                let many = self.runs.len() > 1 || until == Until::Joined;
                let stable = many && names.runs == self.runs;
                let varies = match strength {
                    Strength::Always => true,
                    Strength::Strong if place.in_image() => by_runs && differs && !stable,
                    Strength::Strong => !stable,
                    Strength::Weak => by_runs && differs && !stable,
                };
                if varies {
                    varying.insert(*name, form.clone());
                }
            }
        }
        if by_runs {
            for (name, form) in self.changing(place, &varying) {
                varying.insert(name, form);
            }
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
                let kinship = (ending(name), names.kinds_below(place, name));
                alike.entry(kinship).or_default().push((name, names));
            }
        }
        let mut changing = Vec::new();
        for ((ending, holds), group) in alike {
            let mut pieces = vec![Piece::Token(Class::Changing)];
            if !ending.is_empty() {
                pieces.push(Piece::Text(ending.into()));
            }
            let form = Form(pieces);
            let mut owners = owners(&group);
            if let Some(known) = self.known.get(&form)
                && known.kinds_below(place, ANY) == holds
            {
                owners.extend(&known.runs);
            }
            let owners = owners.len();
            if owners >= RUNS_TO_CALL_CHANGING && owners * 10 >= self.runs.len() * 8 {
                changing.extend(group.into_iter().map(|(name, _)| (name, form.clone())));
            }
        }
        changing
    }

    /// The names below; those that a class knows, by their form.
    fn kinds_below<'a>(&'a self, place: Place<'_>, name: &[u8]) -> BTreeSet<Kind<'a>> {
        let before: Vec<&[u8]> = place.before.iter().copied().chain([name]).collect();
        let place = Place { before: &before };
        let seen = self
            .below
            .keys()
            .map(|name| class::form(name, place).map_or(Kind::Name(name), |f| Kind::Form(f.form)));
        let known = self.known.keys().cloned().map(Kind::Form);
        seen.chain(known).collect()
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

/// The names of a path as it was seen.
pub(super) fn seen(path: &AbsPath) -> impl Iterator<Item = Name<'_>> {
    segments(path).map(Name::Seen)
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
    /// A directory that runs make under a temporary name: whatever is in it.
    Within,
}

impl Settled {
    /// The shape of a path; of one that was not among the names, as far as it is known.
    pub(super) fn shape<'p>(
        &self,
        path: impl IntoIterator<Item = Name<'p>>,
        directory: bool,
    ) -> Shape {
        let mut shape = Vec::new();
        let mut node = Some(self);
        let mut rest = path.into_iter().peekable();
        while let Some(name) = rest.next() {
            let name = match name {
                Name::Seen(name) => name,
                Name::Varying(form) => {
                    let segment = Segment::Varying(form.clone());
                    node = match node {
                        Some(Self::Names { below, .. }) => below.get(&segment),
                        _ => None,
                    };
                    shape.push(segment);
                    continue;
                }
                Name::Tree(class) => {
                    shape.push(Segment::Tree(class));
                    node = None;
                    continue;
                }
            };
            if let Some(Self::Within) = node {
                shape.push(Segment::Tree(Class::Within));
                break;
            }
            if let Some(Self::Cgroups) = node
                && class::is_cgroup(name)
            {
                let is_one = |next: &Name<'_>| match next {
                    Name::Seen(next) => class::is_cgroup(next),
                    Name::Varying(_) | Name::Tree(_) => true,
                };
                while rest.next_if(is_one).is_some() {}
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
            directory,
        }
    }
}

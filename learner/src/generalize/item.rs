//! What has to stay possible: the behaviours of all runs, by class, shape and source.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{self, Act, Names, Run, Settled, Until};
use super::shape::{Known, Shape};
use crate::behavior::{Access, Behavior, Op};
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::profile::Sighting;

/// KubeArmor's two classes of rules that a path decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleClass {
    /// What may be executed.
    Process,
    /// What may be opened, made, renamed, removed.
    File,
}

/// One thing that has to stay possible.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Need {
    /// By which rules.
    pub class: RuleClass,
    /// To what.
    pub shape: Shape,
    /// By which program of the workload; `None`: by whatever program.
    pub source: Option<AbsPath>,
}

/// How often, when and by what a need was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// Events.
    pub count: u64,
    /// The runs, by number.
    pub(super) runs: BTreeSet<Run>,
    /// First seen.
    pub first: Moment,
    /// Last seen.
    pub last: Moment,
    /// Something was written, made, renamed or removed.
    pub writes: bool,
    /// The path is that of a directory.
    pub directory: bool,
    /// Paths as they were, the first few in the order of their bytes.
    pub samples: BTreeSet<AbsPath>,
}

/// So many raw paths are kept as samples of a need.
const SAMPLES: usize = 3;

impl Support {
    fn of(run: Run, need: &Need, raw: &AbsPath, writes: bool, seen: &Seen<'_>) -> Self {
        let sighting = seen.sighting;
        // Of what was told by its form alone there is no path as it was.
        let is_raw = seen.known.is_none() || !need.shape.varies();
        Self {
            count: sighting.count,
            runs: BTreeSet::from([run]),
            first: sighting.first,
            last: sighting.last,
            writes,
            directory: raw.as_bytes().ends_with(b"/"),
            samples: is_raw.then(|| raw.clone()).into_iter().collect(),
        }
    }

    /// The runs, by number.
    pub(crate) fn runs(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs.iter().copied()
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.runs.extend(&other.runs);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.writes |= other.writes;
        self.directory |= other.directory;
        self.samples.extend(other.samples.iter().cloned());
        while self.samples.len() > SAMPLES {
            self.samples.pop_last();
        }
    }
}

/// What an operation does with its first path.
fn act(op: &Op) -> Act {
    match op {
        Op::Exec => Act::Executed,
        Op::Mkdir => Act::MadeDirectory,
        Op::Create | Op::Symlink => Act::Made,
        Op::Unlink | Op::Rmdir | Op::Rename { .. } => Act::TakenAway,
        Op::Open(_) | Op::Link { .. } | Op::Chmod | Op::Truncate => Act::Used,
    }
}

/// A behaviour of a run, as it is handed in.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The run, by its number among those of the evidence.
    pub run: u32,
    /// What was done.
    pub behavior: &'a Behavior,
    /// How often and when.
    pub sighting: &'a Sighting,
    /// It started the run: its source is the container's runtime, not the workload.
    pub entry: bool,
    /// What a node has settled of its paths before: then those of the behaviour are examples.
    pub known: Option<&'a Known>,
}

impl<'a> Seen<'a> {
    fn path(&self) -> Vec<names::Name<'a>> {
        match self.known {
            Some(known) => known.path.names().collect(),
            None => names::seen(&self.behavior.path).collect(),
        }
    }

    fn to(&self) -> Option<Vec<names::Name<'a>>> {
        match self.known {
            Some(known) => Some(known.to.as_ref()?.names().collect()),
            None => Some(names::seen(self.behavior.op.to()?).collect()),
        }
    }
}

/// The needs of all runs, and the names that they were told by.
#[derive(Debug)]
pub(super) struct Needs {
    pub(super) all: BTreeMap<Need, Support>,
    pub(super) names: Settled,
    programs: BTreeSet<AbsPath>,
}

impl Needs {
    pub(super) fn of(seen: &[Seen<'_>], until: Until) -> Self {
        let mut names = Names::default();
        let mut programs = BTreeSet::new();
        for seen in seen {
            names.add(seen.path(), seen.run, act(&seen.behavior.op));
            if let Some(to) = seen.to() {
                names.add(to, seen.run, Act::Made);
            }
            if seen.behavior.op == Op::Exec {
                programs.insert(seen.behavior.path.clone());
            }
        }
        let mut needs = Self {
            all: BTreeMap::new(),
            names: names.settle(until),
            programs,
        };
        for seen in seen {
            for (need, raw, writes) in needs.of_behavior(seen) {
                let support = Support::of(seen.run, &need, raw, writes, seen);
                needs
                    .all
                    .entry(need)
                    .and_modify(|known| known.join(&support))
                    .or_insert(support);
            }
        }
        needs
    }

    /// What a behaviour needs, each with its raw path and whether it writes.
    pub(super) fn of_behavior<'b>(&self, seen: &Seen<'b>) -> Vec<(Need, &'b AbsPath, bool)> {
        let behavior = seen.behavior;
        let source = if seen.entry { None } else { self.source(seen) };
        let directory = matches!(behavior.op, Op::Mkdir | Op::Rmdir);
        let need = |class, path: &'b AbsPath, names: Vec<names::Name<'_>>, writes| {
            let is_directory = directory || path.as_bytes().ends_with(b"/");
            let need = Need {
                class,
                shape: self.names.shape(names, is_directory),
                source: source.clone(),
            };
            (need, path, writes)
        };
        let path = &behavior.path;
        match &behavior.op {
            // KubeArmor asks the file rules about every program too, as the kernel opens it.
            Op::Exec => vec![
                need(RuleClass::Process, path, seen.path(), false),
                need(RuleClass::File, path, seen.path(), false),
            ],
            Op::Open(access) => {
                let writes = *access != Access::Read;
                vec![need(RuleClass::File, path, seen.path(), writes)]
            }
            Op::Rename { to } | Op::Link { to } => vec![
                need(RuleClass::File, path, seen.path(), true),
                need(RuleClass::File, to, seen.to().unwrap_or_default(), true),
            ],
            Op::Create
            | Op::Mkdir
            | Op::Unlink
            | Op::Rmdir
            | Op::Symlink
            | Op::Chmod
            | Op::Truncate => vec![need(RuleClass::File, path, seen.path(), true)],
        }
    }

    /// A program of the workload whose name stays the same. The container's runtime and the
    /// observer's launcher are none, and a rule for them would never match under KubeArmor.
    fn source(&self, seen: &Seen<'_>) -> Option<AbsPath> {
        let source = seen.behavior.source.as_ref()?;
        if seen.known.is_some_and(|known| known.source_varies) {
            return None;
        }
        let varies = || self.names.shape(names::seen(source), false).varies();
        (self.programs.contains(source) && !varies()).then(|| source.clone())
    }
}

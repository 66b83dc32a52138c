//! The exact policy: one rule for each path that was seen, and none for any other.

use std::collections::{BTreeMap, BTreeSet};

use super::crd::{self, MAX_DEPTH, MAX_DIR_BYTES, MAX_ENTRIES, MAX_KEY_BYTES};
use super::document::{
    Action, Directory, FileRules, Metadata, PathRule, Policy, ProcessRules, Selector, Spec,
};
use super::names;
use super::recommendation::{Note, Reason, Recommendation, Refusal, Unexpressed};
use crate::behavior::{Behavior, Op};
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::profile::{Evidence, RunProfile};
use crate::workload::{Labels, RunKey, Workload};

/// Label by which KubeArmor tells the containers of a pod apart; the value stands in brackets.
pub(super) const CONTAINER_LABEL: &str = "kubearmor.io/container.name";
/// Entries that the postures of programs and files take in a container's rule map.
const POSTURE_ENTRIES: usize = 2;

/// The least that lets the workload do again what it was seen to do.
///
/// Learned is what succeeded, in the runs of one image: that of the run that began last. The
/// selector is made of the labels of that run. It names the container only where the evidence
/// holds other containers of the same owner; a pod with containers that were never watched is
/// selected whole.
///
/// # Errors
/// [`Refusal`] says why no policy can be made that is both true and safe.
pub fn exact(workload: &Workload, evidence: &Evidence) -> Result<Recommendation, Refusal> {
    if !names::is_dns_label(&workload.namespace) {
        return Err(Refusal::BadNamespace(workload.namespace.clone()));
    }
    let mut notes = Vec::new();
    let runs = runs_of_latest_image(workload, evidence, &mut notes)?;
    note_gaps(&runs, &mut notes);
    let selector = selector(workload, evidence, &runs, &mut notes)?;

    let behaviors = runs.iter().flat_map(|(_, run)| run.seen.keys());
    let mut rules = Rules::default();
    for behavior in behaviors.filter(|b| b.is_learnable()) {
        rules.learn(behavior);
    }
    let Rules {
        programs,
        files,
        directories,
        root_opened,
        unexpressed,
    } = rules;
    let unexpressed: Vec<Unexpressed> = unexpressed.into_iter().collect();
    if programs.is_empty() && files.is_empty() && directories.is_empty() {
        return Err(if unexpressed.is_empty() {
            Refusal::NothingSeen
        } else {
            Refusal::NothingExpressed(unexpressed)
        });
    }
    note_limits(&programs, &files, &directories, root_opened, &mut notes);

    let spec = Spec {
        severity: Some(1),
        tags: vec!["learner".to_owned(), "allowlist".to_owned()],
        message: Some(format!("{workload} did what it was not seen to do")),
        selector,
        process: ProcessRules {
            match_paths: programs.into_values().map(path_rule).collect(),
            ..ProcessRules::default()
        },
        file: FileRules {
            match_paths: files.into_values().map(path_rule).collect(),
            match_directories: directories.into_values().map(directory_rule).collect(),
            ..FileRules::default()
        },
        action: Some(Action::Allow),
        ..Spec::default()
    };
    let metadata = Metadata {
        name: names::policy_name(workload),
        namespace: workload.namespace.clone(),
        ..Metadata::default()
    };
    Ok(Recommendation {
        workload: workload.clone(),
        policy: Policy::new(metadata, spec),
        unexpressed,
        notes,
    })
}

type Run<'a> = (&'a RunKey, &'a RunProfile);

/// When a run began, as far as is known: what was not seen at all comes first.
fn began(run: &RunProfile) -> Option<Moment> {
    run.start
        .or_else(|| run.seen.values().map(|sighting| sighting.first).min())
}

fn latest<'a>(runs: impl IntoIterator<Item = Run<'a>>) -> Option<Run<'a>> {
    runs.into_iter().max_by_key(|(key, run)| (began(run), *key))
}

fn runs_of_latest_image<'a>(
    workload: &Workload,
    evidence: &'a Evidence,
    notes: &mut Vec<Note>,
) -> Result<Vec<Run<'a>>, Refusal> {
    let all: Vec<Run<'a>> = evidence
        .runs()
        .iter()
        .filter(|(key, _)| key.workload == *workload)
        .collect();
    let learnable = all
        .iter()
        .copied()
        .filter(|(_, run)| run.seen.keys().any(Behavior::is_learnable));
    let (newest, _) = latest(learnable).ok_or(Refusal::NothingSeen)?;
    let left_out: BTreeSet<&String> = all
        .iter()
        .map(|(key, _)| &key.image)
        .filter(|image| **image != newest.image)
        .collect();
    if !left_out.is_empty() {
        notes.push(Note::OtherImages {
            used: newest.image.clone(),
            left_out: left_out.into_iter().cloned().collect(),
        });
    }
    Ok(all
        .into_iter()
        .filter(|(key, _)| key.image == newest.image)
        .collect())
}

fn note_gaps(runs: &[Run<'_>], notes: &mut Vec<Note>) {
    let partial = runs.iter().filter(|(_, run)| run.is_partial()).count();
    if partial > 0 {
        notes.push(Note::PartialEvidence {
            partial,
            runs: runs.len(),
        });
    }
    let mut lost = BTreeMap::new();
    for (_, run) in runs {
        for (reason, count) in &run.lost {
            let total: &mut u64 = lost.entry(reason.clone()).or_default();
            *total = total.saturating_add(*count);
        }
    }
    notes.extend(
        lost.into_iter()
            .map(|(reason, count)| Note::Lost { reason, count }),
    );
}

fn selector(
    workload: &Workload,
    evidence: &Evidence,
    runs: &[Run<'_>],
    notes: &mut Vec<Note>,
) -> Result<Selector, Refusal> {
    let labelled = || {
        runs.iter()
            .copied()
            .filter(|(_, run)| !run.labels.is_empty())
    };
    let (_, newest) = latest(labelled()).ok_or(Refusal::NoLabels)?;
    let mut match_labels: Labels = newest.labels.clone();
    for (key, value) in &match_labels {
        if !names::is_label_key(key) || !names::is_label_value(value) {
            return Err(Refusal::BadLabel {
                key: key.clone(),
                value: value.clone(),
            });
        }
    }
    if labelled().any(|(_, run)| run.labels != match_labels) {
        notes.push(Note::LabelsDiffer);
    }
    let siblings: BTreeSet<&str> = evidence
        .runs()
        .keys()
        .map(|key| &key.workload)
        .filter(|other| {
            (&other.namespace, &other.kind, &other.name)
                == (&workload.namespace, &workload.kind, &workload.name)
        })
        .map(|other| other.container.as_str())
        .collect();
    if siblings.len() > 1 {
        // A comma or a bracket in it would select another container.
        if !names::is_dns_label(&workload.container) {
            return Err(Refusal::BadLabel {
                key: CONTAINER_LABEL.to_owned(),
                value: workload.container.clone(),
            });
        }
        match_labels.insert(
            CONTAINER_LABEL.to_owned(),
            format!("[{}]", workload.container),
        );
        notes.push(Note::OneContainer {
            container: workload.container.clone(),
        });
    }
    Ok(Selector {
        match_labels,
        ..Selector::default()
    })
}

/// Paths by what KubeArmor is told about them, in the order of their bytes.
#[derive(Default)]
struct Rules {
    programs: BTreeMap<AbsPath, String>,
    files: BTreeMap<AbsPath, String>,
    directories: BTreeMap<AbsPath, String>,
    root_opened: bool,
    unexpressed: BTreeSet<Unexpressed>,
}

impl Rules {
    fn learn(&mut self, behavior: &Behavior) {
        match &behavior.op {
            // KubeArmor asks the file rules about every program too, as the kernel opens it.
            Op::Exec if behavior.path.as_bytes().ends_with(b"/") => {
                self.leave_out(&behavior.path, Reason::NotAProgram);
            }
            Op::Exec => {
                self.program(&behavior.path);
                self.file(&behavior.path);
            }
            Op::Open(_) => self.opened(&behavior.path),
            Op::Rename { to } | Op::Link { to } => {
                self.file(&behavior.path);
                self.file(to);
            }
            Op::Create
            | Op::Mkdir
            | Op::Unlink
            | Op::Rmdir
            | Op::Symlink
            | Op::Chmod
            | Op::Truncate => self.file(&behavior.path),
        }
    }

    fn program(&mut self, path: &AbsPath) {
        match expressible(path.as_bytes()) {
            Ok(text) => {
                self.programs.insert(path.clone(), text);
            }
            Err(reason) => self.leave_out(path, reason),
        }
    }

    /// A directory that is made, renamed or removed is named without its slash.
    fn file(&mut self, path: &AbsPath) {
        let bytes = path.as_bytes();
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        if bytes.is_empty() {
            self.root_opened = true;
            return;
        }
        match (expressible(bytes), AbsPath::new(bytes)) {
            (Ok(text), Ok(path)) => {
                self.files.insert(path, text);
            }
            (Err(reason), _) => self.leave_out(path, reason),
            // A path without its last byte is one still.
            (_, Err(_)) => {}
        }
    }

    fn opened(&mut self, path: &AbsPath) {
        let Some(object) = path.as_bytes().strip_suffix(b"/") else {
            self.file(path);
            return;
        };
        if object.is_empty() {
            self.root_opened = true;
            return;
        }
        match expressible(object) {
            // The one newline that a path may hold, at its end, a directory's slash comes after.
            Ok(text) if text.ends_with('\n') => self.leave_out(path, Reason::Newline),
            Ok(text) => {
                self.directories.insert(path.clone(), text + "/");
            }
            Err(reason) => self.leave_out(path, reason),
        }
    }

    fn leave_out(&mut self, path: &AbsPath, reason: Reason) {
        let what = path.clone();
        self.unexpressed.insert(Unexpressed { what, reason });
    }
}

/// The path as a rule may hold it, or why none may.
fn expressible(path: &[u8]) -> Result<String, Reason> {
    let text = std::str::from_utf8(path).map_err(|_| Reason::NotUtf8)?;
    if path.len() > MAX_KEY_BYTES {
        return Err(Reason::TooLong { bytes: path.len() });
    }
    if text
        .split('/')
        .skip(1)
        .any(|c| matches!(c, "" | "." | ".."))
    {
        return Err(Reason::NotResolved);
    }
    if !crd::is_path(text) {
        return Err(Reason::Newline);
    }
    Ok(text.to_owned())
}

fn path_rule(path: String) -> PathRule {
    PathRule {
        path,
        ..PathRule::default()
    }
}

/// Not recursive: the directory and its direct children.
fn directory_rule(dir: String) -> Directory {
    Directory {
        dir,
        ..Directory::default()
    }
}

fn note_limits(
    programs: &BTreeMap<AbsPath, String>,
    files: &BTreeMap<AbsPath, String>,
    directories: &BTreeMap<AbsPath, String>,
    root_opened: bool,
    notes: &mut Vec<Note>,
) {
    if programs.is_empty() {
        notes.push(Note::NoPrograms);
    }
    if files.is_empty() && directories.is_empty() {
        notes.push(Note::NoFiles);
    }
    if root_opened {
        notes.push(Note::RootOpened);
    }
    let (found, not_found): (Vec<AbsPath>, Vec<AbsPath>) = directories
        .keys()
        .cloned()
        .partition(|dir| dir.as_bytes().len() <= MAX_DIR_BYTES);
    if !found.is_empty() {
        notes.push(Note::GrantsChildren { directories: found });
    }
    if !not_found.is_empty() {
        notes.push(Note::ChildrenNotFound {
            directories: not_found,
        });
    }
    let paths: BTreeSet<&AbsPath> = programs.keys().chain(files.keys()).collect();
    let longest = |path: &&AbsPath| path.as_bytes().len() == MAX_KEY_BYTES;
    let longest: Vec<AbsPath> = paths.iter().copied().filter(longest).cloned().collect();
    if !longest.is_empty() {
        notes.push(Note::GrantsLonger { paths: longest });
    }
    let deep: Vec<AbsPath> = paths
        .into_iter()
        .chain(directories.keys())
        .filter(|path| depth(path) > MAX_DEPTH)
        .cloned()
        .collect();
    if !deep.is_empty() {
        notes.push(Note::TooDeep { paths: deep });
    }
    let rules = programs.len() + files.len() + directories.len();
    if rules + POSTURE_ENTRIES > MAX_ENTRIES {
        notes.push(Note::TooManyRules { rules });
    }
}

fn depth(path: &AbsPath) -> usize {
    path.as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty())
        .count()
}

#[cfg(test)]
mod tests;

//! Whom a policy is for: the runs of one image, and the labels that select them.

use std::collections::{BTreeMap, BTreeSet};

use super::note::{Note, Refusal};
use crate::behavior::Behavior;
use crate::observation::Moment;
use crate::policy::{CONTAINER_LABEL, Selector, names};
use crate::profile::{Evidence, RunProfile};
use crate::workload::{Labels, RunKey, Workload};

pub(super) type Run<'a> = (&'a RunKey, &'a RunProfile);

/// The runs that a policy is learned from.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// All runs of the image of the latest one, in the order of their keys; of what an enforcer's alerts tell
    /// those with anything that a person has accepted.
    pub(super) runs: Vec<Run<'a>>,
    pub(super) selector: Selector,
    pub(super) notes: Vec<Note>,
}

impl<'a> Subject<'a> {
    /// `accepts`: whether a person has accepted what an enforcer told by an alert alone.
    pub(super) fn of(
        workload: &Workload,
        evidence: &'a Evidence,
        accepts: &dyn Fn(&RunKey, &Behavior) -> bool,
    ) -> Result<Self, Refusal> {
        if !names::is_dns_label(&workload.namespace) {
            return Err(Refusal::BadNamespace(workload.namespace.clone()));
        }
        let mut notes = Vec::new();
        let mut runs = runs_of_latest_image(workload, evidence, &mut notes)?;
        note_gaps(&runs, &mut notes);
        let image = runs.first().map(|(key, _)| key.image.clone());
        let is_accepted = |(key, run): &Run<'_>| {
            key.workload == *workload
                && Some(&key.image) == image.as_ref()
                && run.is_hearsay()
                && run.seen.keys().any(|behavior| accepts(key, behavior))
        };
        runs.extend(evidence.runs().iter().filter(is_accepted));
        runs.sort_by_key(|(key, _)| *key);
        let selector = selector(workload, evidence, &runs, &mut notes)?;
        Ok(Self {
            runs,
            selector,
            notes,
        })
    }
}

impl<'a> Subject<'a> {
    /// The runs, in their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a RunKey> {
        self.runs.iter().map(|(key, _)| *key)
    }
}

/// When a run began, as far as is known: what was not seen at all comes first.
pub(super) fn began(run: &RunProfile) -> Option<Moment> {
    run.start
        .or_else(|| run.seen.values().map(|sighting| sighting.first).min())
}

fn latest<'a>(runs: impl IntoIterator<Item = Run<'a>>) -> Option<Run<'a>> {
    runs.into_iter().max_by_key(|(key, run)| (began(run), *key))
}

/// Its runs, without what another enforcer told.
fn of<'a>(workload: &Workload, evidence: &'a Evidence) -> impl Iterator<Item = Run<'a>> {
    let runs = evidence.runs().iter();
    runs.filter(move |(key, run)| key.workload == *workload && run.is_watched())
}

/// The run that began last, of those in which something succeeded.
pub(super) fn newest<'a>(workload: &Workload, evidence: &'a Evidence) -> Option<Run<'a>> {
    let learnable = |(_, run): &Run<'_>| run.seen.keys().any(Behavior::is_learnable);
    latest(of(workload, evidence).filter(learnable))
}

fn runs_of_latest_image<'a>(
    workload: &Workload,
    evidence: &'a Evidence,
    notes: &mut Vec<Note>,
) -> Result<Vec<Run<'a>>, Refusal> {
    let all: Vec<Run<'a>> = of(workload, evidence).collect();
    let (newest, _) = newest(workload, evidence).ok_or(Refusal::NothingSeen)?;
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

//! Reasons and notes: a word for programs, a sentence for people.

use serde::Serialize;

use super::shown::{Name, said};
use crate::quarantine::{self, Unjudged};
use crate::readiness;
use crate::recommend::Note;

/// A sentence, and the word that programs know it by.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Said {
    pub(super) kind: &'static str,
    pub(super) text: String,
    /// All that the sentence is about; it may name the first few alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) items: Vec<String>,
}

/// A run, and what has to be said of it.
#[derive(Debug, Serialize)]
pub(super) struct RunReasons<'a> {
    pub(super) run: Name<'a>,
    pub(super) reasons: Vec<Said>,
}

impl Said {
    pub(super) fn new(kind: &'static str, text: impl std::fmt::Display) -> Self {
        Self {
            kind,
            text: said(text),
            items: Vec::new(),
        }
    }
}

pub(super) fn held_for(reason: &quarantine::Reason) -> Said {
    use quarantine::Reason;
    let kind = match reason {
        Reason::Tty => "tty",
        Reason::Upper => "upper",
        Reason::MadeAtRunTime => "madeAtRunTime",
        Reason::Denied => "denied",
        Reason::OutsideAncestry => "outsideAncestry",
        Reason::Alert => "alert",
    };
    Said::new(kind, reason)
}

pub(super) fn unjudged(reason: &Unjudged) -> Said {
    let kind = match reason {
        Unjudged::Ancestry => "ancestry",
        Unjudged::Terminal => "terminal",
    };
    Said::new(kind, reason)
}

pub(super) fn gap(gap: &readiness::Gap) -> Said {
    use readiness::Gap;
    let kind = match gap {
        Gap::Late => "late",
        Gap::NoStart => "noStart",
        Gap::Lost { .. } => "lost",
    };
    Said::new(kind, gap)
}

pub(super) fn note(note: &Note) -> Said {
    let paths = |paths: &[crate::path::AbsPath]| paths.iter().map(said).collect();
    let (kind, items) = match note {
        Note::PartialEvidence { .. } => ("partialEvidence", Vec::new()),
        Note::Lost { .. } => ("lost", Vec::new()),
        Note::OtherImages { .. } => ("otherImages", Vec::new()),
        Note::LabelsDiffer => ("labelsDiffer", Vec::new()),
        Note::OneContainer { .. } => ("oneContainer", Vec::new()),
        Note::NoPrograms => ("noPrograms", Vec::new()),
        Note::NoFiles => ("noFiles", Vec::new()),
        Note::RootOpened => ("rootOpened", Vec::new()),
        Note::GrantsLonger { paths: all } => ("grantsLonger", paths(all)),
        Note::TooDeep { paths: all } => ("tooDeep", paths(all)),
        Note::CopiesUp { paths: all } => ("copiesUp", paths(all)),
        Note::PostureNames { paths: all } => ("postureNames", paths(all)),
        Note::GrantsForgotten { paths: all } => ("grantsForgotten", paths(all)),
        Note::NotAllowed { operations } => ("notAllowed", operations.iter().map(said).collect()),
    };
    Said {
        kind,
        text: said(note),
        items,
    }
}

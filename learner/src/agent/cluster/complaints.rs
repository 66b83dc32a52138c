//! What the API server refuses: each said once in the log, and counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::figures::{Figures, Reach};
use crate::cluster::ClusterError;
use crate::cluster::standings::BadStanding;
use crate::posture::Revision;
use crate::visible::visible;

/// What it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// The pods of the node.
    Pods,
    /// What owns them.
    Owners,
    /// What the node has seen, whatever it is.
    Evidence,
    /// What the node has seen in one namespace.
    Namespace(String),
    /// What the node has seen of one revision.
    Revision(String),
    /// What is decided in one namespace.
    Decided(String),
    /// Whether KubeArmor enforces on the node.
    Enforcer,
}

/// What stands as of now.
pub(super) struct Complaints {
    figures: Arc<Figures>,
    standing: BTreeMap<About, (&'static str, String)>,
    pub(super) reach: Reach,
}

impl Complaints {
    pub(super) fn new(figures: Arc<Figures>) -> Self {
        let new = Self {
            figures,
            standing: BTreeMap::new(),
            reach: Reach::default(),
        };
        new.show();
        new
    }

    /// Something was refused. It is said, unless it was so before.
    pub(super) fn about(&mut self, about: About, error: &ClusterError) {
        *self.reach.failed.entry(error.word()).or_default() += 1;
        self.stands(about, error.word(), &error.to_string());
    }

    /// What is decided cannot be read. It is said, unless it was so before.
    pub(super) fn say(&mut self, about: About, bad: &BadStanding) {
        self.stands(about, "unread", &bad.to_string());
    }

    fn stands(&mut self, about: About, word: &'static str, text: &str) {
        let text = visible(text);
        let now = (word, text.clone());
        let before = self.standing.insert(about, now);
        if before.is_none_or(|(known, _)| known != word) {
            tracing::warn!("{text}");
        } else {
            tracing::debug!("still: {text}");
        }
        self.show();
    }

    /// Why nothing can be held that is not held already, where that was tried in vain.
    pub(super) fn unenforced(&self) -> Option<String> {
        self.figures.unenforced()
    }

    /// Why of these not all that runs is held, where others are.
    pub(super) fn unheld(&self) -> BTreeMap<Revision, String> {
        self.figures.unheld()
    }

    /// It goes well again.
    pub(super) fn over(&mut self, about: &About) {
        if let Some((_, before)) = self.standing.remove(about) {
            match about {
                About::Pods => tracing::info!("the pods of the node are told again"),
                About::Owners => tracing::info!("the owners of pods are told again"),
                About::Evidence => tracing::info!("what the node has seen is written again"),
                About::Namespace(namespace) => {
                    tracing::info!(namespace = %visible(namespace), "what the node has seen is written again");
                }
                About::Decided(namespace) => {
                    tracing::info!(namespace = %visible(namespace), "what is decided is told again");
                }
                About::Enforcer => tracing::info!("whether KubeArmor is there is told again"),
                About::Revision(revision) => {
                    tracing::info!(revision = %visible(revision), "written, after: {before}");
                }
            }
        }
    }

    /// Shows how it stands in metrics and health.
    pub(super) fn show(&self) {
        let mut reach = self.reach.clone();
        reach.complaints = self
            .standing
            .values()
            .map(|(_, text)| text.clone())
            .collect();
        self.figures.set(|inner| inner.reach = Some(reach));
    }
}

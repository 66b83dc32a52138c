//! `WorkloadPosture`: how far a workload is on its way, and who decided what.
#![expect(
    unreachable_pub,
    reason = "kube derives a copy of the specification for its schema"
)]

use kube::api::ObjectMeta;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::{WorkloadName, maybe_date_time};
use super::forgotten::ForgottenRow;
use super::piece::time;
use crate::journal::Entry;
use crate::posture::Posture;

/// Largest policy of a candidate, bytes.
pub const MAX_POLICY: usize = 131_072;

/// So many of the last entries of the journal are in the status.
pub const JOURNAL_TAIL: usize = 20;

/// Longest text of an entry in the status, bytes.
const MAX_TEXT: usize = 1024;

/// The posture of a workload. The specification is a person's: a hold, and what is to be forgotten. The status is the promotion
/// job's.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "learner.dev",
    version = "v1alpha1",
    kind = "WorkloadPosture",
    plural = "workloadpostures",
    shortname = "wlp",
    category = "learner",
    namespaced,
    doc = "How far a workload is on its way from learning to block, and who decided what.",
    status = "WorkloadPostureStatus",
    derive = "PartialEq",
    validation = Rule::new("self.spec.workload == oldSelf.spec.workload").message("the workload does not change"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.workload.kind"),
    printcolumn(name = "Workload", type_ = "string", json_path = ".spec.workload.name"),
    printcolumn(name = "Container", type_ = "string", json_path = ".spec.workload.container"),
    printcolumn(name = "Posture", type_ = "string", json_path = ".status.posture"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.since"),
    printcolumn(name = "Runs", type_ = "integer", json_path = ".status.runs"),
    printcolumn(name = "Canary", type_ = "integer", json_path = ".status.canary.held", priority = "1"),
    printcolumn(name = "Held", type_ = "string", json_path = ".spec.hold.reason"),
    printcolumn(name = "Candidate", type_ = "string", json_path = ".status.candidate", priority = "1"),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", priority = "1")
)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPostureSpec {
    /// Whose posture, within the object's namespace.
    pub workload: WorkloadName,
    /// While it is there nothing is promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldSpec>,
    /// What it must not be learned to do, in any of its images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub forgotten: Vec<ForgottenRow>,
}

impl WorkloadPosture {
    /// With what it takes to enforce it, and nothing else: so it does not change with every pass of the job.
    #[must_use]
    pub fn in_short(self) -> Self {
        let metadata = ObjectMeta {
            name: self.metadata.name,
            namespace: self.metadata.namespace,
            ..ObjectMeta::default()
        };
        let status = self.status.map(|status| WorkloadPostureStatus {
            revisions: status.revisions,
            candidates: status.candidates,
            ..WorkloadPostureStatus::default()
        });
        let spec = self.spec;
        Self {
            metadata,
            spec,
            status,
        }
    }
}

/// A person's word that wins over everything.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldSpec {
    /// Why.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
}

/// Where a workload stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPostureStatus {
    /// The posture of its latest image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_posture")]
    pub posture: Option<PostureName>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_date_time")]
    pub since: Option<String>,
    /// That image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub image: Option<String>,
    /// SHA-256 of the candidate that it is judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub candidate: Option<String>,
    /// Complete runs, over all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<i64>,
    /// The words for what keeps it where it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub held: Vec<String>,
    /// While a canary holds a share of the pods: how many of how many there were at the last pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryRow>,
    /// Where its images stand: the last ones that something was decided of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub revisions: Vec<RevisionRow>,
    /// The candidates that these are judged by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub candidates: Vec<CandidateRow>,
    /// The last entries of the journal, the last one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub journal: Vec<JournalLine>,
}

/// The pods that a canary holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryRow {
    /// So many are held to the candidate.
    pub held: i64,
    /// Of so many.
    pub of: i64,
}

/// Where an image stands.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRow {
    /// The image.
    #[schemars(length(max = 1024))]
    pub image: String,
    /// Its posture.
    pub posture: PostureName,
    /// Since when.
    #[schemars(schema_with = "super::evidence::date_time")]
    pub since: String,
    /// SHA-256 of the candidate that it is judged by; none while learning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub candidate: Option<String>,
    /// What was done from then on is judged; all, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_date_time")]
    pub judged_from: Option<String>,
    /// Quiet time counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_date_time")]
    pub window_from: Option<String>,
    /// When it was last promoted to block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_date_time")]
    pub blocked: Option<String>,
    /// Until when a denial of its own doing takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "maybe_date_time")]
    pub canary_until: Option<String>,
    /// How many of its pods are held until then, as it was asked for: `10%`, or a number; all, if it says
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub canary_share: Option<String>,
    /// Which: those of whose uid's SHA-256 the first 16 hexadecimal digits are not above these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub canary_last: Option<String>,
}

/// A frozen candidate.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CandidateRow {
    /// The policy document, to the byte.
    #[schemars(length(max = 131072))]
    pub policy: String,
    /// What it was made by: enforcer, tightness, and what a person has included, as JSON.
    #[schemars(length(max = 65536))]
    pub made: String,
}

/// A posture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are those of crate::posture::Posture")]
pub enum PostureName {
    Learning,
    Audit,
    Block,
}

/// Servers of 1.20 refuse the `null` that an optional enumeration would have among its values.
fn maybe_posture(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "string", "enum": ["learning", "audit", "block"], "nullable": true
    })
}

impl From<PostureName> for Posture {
    fn from(name: PostureName) -> Self {
        match name {
            PostureName::Learning => Self::Learning,
            PostureName::Audit => Self::Audit,
            PostureName::Block => Self::Block,
        }
    }
}

impl From<Posture> for PostureName {
    fn from(posture: Posture) -> Self {
        match posture {
            Posture::Learning => Self::Learning,
            Posture::Audit => Self::Audit,
            Posture::Block => Self::Block,
        }
    }
}

/// An entry of the journal in short.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JournalLine {
    /// Its number.
    pub number: i64,
    /// When.
    #[schemars(schema_with = "super::evidence::date_time")]
    pub at: String,
    /// Who decided.
    #[schemars(length(max = 64))]
    pub actor: String,
    /// At which image.
    #[schemars(length(max = 1024))]
    pub image: String,
    /// From which posture.
    pub from: PostureName,
    /// To which.
    pub to: PostureName,
    /// The word for why.
    #[schemars(length(max = 64))]
    pub cause: String,
    /// Why.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// SHA-256 of the entry, by which the next one knows it.
    #[schemars(length(max = 64))]
    pub hash: String,
}

impl JournalLine {
    /// Of an entry. What is too long is cut, and ends in an ellipsis.
    pub fn of(entry: &Entry) -> Self {
        let draft = &entry.draft;
        Self {
            number: i64::try_from(entry.number).unwrap_or(i64::MAX),
            at: time(draft.at),
            actor: cut(&draft.actor.to_string(), 64),
            image: cut(&draft.revision.image, MAX_TEXT),
            from: draft.from.into(),
            to: draft.to.into(),
            cause: draft.cause.word().to_owned(),
            message: cut(&draft.cause.to_string(), MAX_TEXT),
            hash: entry.hash().to_string(),
        }
    }

    /// Of the last entries; the last one last.
    pub fn tail<'e>(entries: impl DoubleEndedIterator<Item = &'e Entry>) -> Vec<Self> {
        let mut last: Vec<Self> = entries.rev().take(JOURNAL_TAIL).map(Self::of).collect();
        last.reverse();
        last
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_fits() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "lo…");
        for most in 3..12 {
            let text = cut(&"é".repeat(20), most);
            assert!(text.len() <= most && text.ends_with('…'), "{text}");
        }
    }
}

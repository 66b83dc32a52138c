//! Where workloads stand, as it is kept in the status of `WorkloadPosture`; and what a person holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::error::{ClusterError, Doing};
use super::evidence::WorkloadName;
use super::forgotten::ForgottenRow;
use super::pages::{LARGE, each};
use super::piece::{moment, time};
use super::policies::MANAGER;
use super::posture::{
    CanaryRow, CandidateRow, HoldSpec, JournalLine, RevisionRow, WorkloadPosture,
    WorkloadPostureSpec, WorkloadPostureStatus,
};
use crate::candidate::{Candidate, Ledger, Paper};
use crate::digest::Digest;
use crate::journal::Entry;
use crate::mention::{Mention, Tombstones};
use crate::policy::names;
use crate::posture::{BadShare, Freeze, Posture, Revision, Slice, Standing};
use crate::workload::Workload;

mod words;

pub use words::{forget, hold, release};

pub(super) const POSTURES: &str = "workloadpostures.learner.dev";
const STATUS: &str = "workloadpostures.learner.dev/status";

/// So many images of a workload are kept: the ones that something was decided of last.
const MAX_REVISIONS: usize = 5;

/// Largest status, bytes of JSON: older images go before it would be larger.
const MAX_STATUS: usize = super::MAX_OBJECT - (16 << 10);

/// What is written of a workload is not what a promotion job writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("WorkloadPosture {name}: {why}; delete it to begin anew, in learning")]
pub struct BadStanding {
    /// As `namespace/name`.
    name: String,
    why: String,
}

/// The workloads of which something is kept.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    known: BTreeMap<Workload, WorkloadPosture>,
    /// The objects by which each is held.
    holding: BTreeMap<Workload, Vec<String>>,
    /// What a person has had forgotten, by the object of the workload's own name, and by all.
    forgotten: BTreeMap<Workload, Vec<(String, ForgottenRow)>>,
}

/// What can be read of what is kept, and of which workloads it cannot be.
#[derive(Clone, Debug, Default)]
pub struct Readable {
    /// Where the others stand.
    pub ledger: Ledger,
    /// What is forgotten of the others.
    pub forgotten: Tombstones,
    /// Nothing is decided of these.
    pub refused: BTreeMap<Workload, BadStanding>,
}

impl Standings {
    /// Those of a namespace, or of all.
    ///
    /// # Errors
    /// [`ClusterError`], where the list cannot be had whole.
    pub async fn read(client: &Client, namespace: Option<&str>) -> Result<Self, ClusterError> {
        let api: Api<WorkloadPosture> = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let page = ListParams::default().limit(LARGE);
        let mut standings = Self::default();
        let list = async |page: &ListParams| api.list(page).await;
        each(page, &Doing::list(POSTURES, namespace), list, |object| {
            standings.add(object);
        })
        .await?;
        Ok(standings)
    }

    fn add(&mut self, object: WorkloadPosture) {
        let namespace = object.namespace().unwrap_or_default();
        let workload = object.spec.workload.within(&namespace);
        // A person may have made one by another name: its hold counts.
        let name = name(&workload);
        if object.spec.hold.is_some() {
            let holding = self.holding.entry(workload.clone()).or_default();
            holding.push(object.name_any());
        }
        let rows = object.spec.forgotten.iter();
        let rows: Vec<_> = rows.map(|row| (object.name_any(), row.clone())).collect();
        if !rows.is_empty() {
            self.forgotten
                .entry(workload.clone())
                .or_default()
                .extend(rows);
        }
        match self.known.get_mut(&workload) {
            Some(known) if object.name_any() != name => {
                known.spec.hold = known.spec.hold.take().or(object.spec.hold);
            }
            Some(known) => {
                let hold = known.spec.hold.take();
                *known = object;
                known.spec.hold = known.spec.hold.take().or(hold);
            }
            None => {
                self.known.insert(workload, object);
            }
        }
    }

    /// The workloads, in order.
    pub fn workloads(&self) -> impl Iterator<Item = &Workload> {
        self.known.keys()
    }

    /// Why a person holds a workload, if one does.
    pub fn hold(&self, workload: &Workload) -> Option<&str> {
        let hold = self.known.get(workload)?.spec.hold.as_ref()?;
        Some(&hold.reason)
    }

    /// The names of the objects by which a workload is held.
    pub fn holding(&self, workload: &Workload) -> &[String] {
        self.holding.get(workload).map_or(&[], Vec::as_slice)
    }

    /// What is kept of a workload.
    pub fn status(&self, workload: &Workload) -> Option<&WorkloadPostureStatus> {
        self.known.get(workload)?.status.as_ref()
    }

    /// Takes note of what was written of a workload.
    pub fn note(&mut self, workload: &Workload, status: WorkloadPostureStatus) {
        let known = self.known.entry(workload.clone());
        known.or_insert_with(|| object(workload, None)).status = Some(status);
    }

    /// Where all of them stand.
    ///
    /// # Errors
    /// [`BadStanding`] names the first one that somebody has changed.
    pub fn ledger(&self) -> Result<Ledger, BadStanding> {
        self.whole().map(|of| of.ledger)
    }

    /// All that can be read, if that is all.
    ///
    /// # Errors
    /// [`BadStanding`] names the first one that somebody has changed.
    pub fn whole(&self) -> Result<Readable, BadStanding> {
        let mut readable = self.readable();
        match readable.refused.pop_first() {
            Some((_, bad)) => Err(bad),
            None => Ok(readable),
        }
    }

    /// Where those stand of which it can be read, what is forgotten of them, and of which it cannot be.
    pub fn readable(&self) -> Readable {
        let mut readable = Readable::default();
        for (workload, object) in &self.known {
            let mut ledger = Ledger::default();
            let noted = match &object.status {
                Some(status) => note(&mut ledger, workload, status),
                None => Ok(()),
            };
            let forgotten = self.forgotten.get(workload).into_iter().flatten();
            let mentions: Result<Vec<Mention>, String> =
                forgotten.map(|(_, row)| row.mention()).collect();
            let end = self.journal_end(workload).map(drop);
            match (noted.and(mentions), end) {
                (Ok(mentions), Ok(())) => {
                    readable.ledger.extend(ledger);
                    for mention in mentions {
                        readable.forgotten.insert(workload.clone(), mention);
                    }
                }
                (Err(why), _) => {
                    let name = format!("{}/{}", workload.namespace, object.name_any());
                    let bad = BadStanding { name, why };
                    readable.refused.insert(workload.clone(), bad);
                }
                (Ok(_), Err(bad)) => {
                    readable.refused.insert(workload.clone(), bad);
                }
            }
        }
        readable
    }

    /// The objects in which something is forgotten of a workload, each with what.
    pub fn forgetting(&self, workload: &Workload) -> &[(String, ForgottenRow)] {
        self.forgotten.get(workload).map_or(&[], Vec::as_slice)
    }

    /// Number and hash of the last entry of a workload's journal; 0 and [`Digest::NONE`] before the first.
    ///
    /// # Errors
    /// [`BadStanding`].
    pub fn journal_end(&self, workload: &Workload) -> Result<(u64, Digest), BadStanding> {
        let last = self
            .status(workload)
            .and_then(|status| status.journal.last());
        let Some(line) = last else {
            return Ok((0, Digest::NONE));
        };
        let number = u64::try_from(line.number).ok();
        number
            .zip(line.hash.parse().ok())
            .ok_or_else(|| BadStanding {
                name: format!("{}/{}", workload.namespace, name(workload)),
                why: "the last entry of the journal has no number or no hash".to_owned(),
            })
    }
}

/// Where the images of one workload stand, as its own object says: that which a promotion job keeps. Nothing
/// is said by an object of another name, which a person may have made.
///
/// # Errors
/// [`BadStanding`], if somebody has changed it.
pub fn ledger_of(object: &WorkloadPosture) -> Result<Ledger, BadStanding> {
    let mut ledger = Ledger::default();
    let namespace = object.namespace().unwrap_or_default();
    let workload = object.spec.workload.within(&namespace);
    let is_its_own = object.name_any() == name(&workload);
    if let Some(status) = object.status.as_ref().filter(|_| is_its_own) {
        note(&mut ledger, &workload, status).map_err(|why| BadStanding {
            name: format!("{namespace}/{}", object.name_any()),
            why,
        })?;
    }
    Ok(ledger)
}

fn note(
    ledger: &mut Ledger,
    workload: &Workload,
    status: &WorkloadPostureStatus,
) -> Result<(), String> {
    let mut candidates: BTreeMap<Digest, Arc<Candidate>> = BTreeMap::new();
    for row in &status.candidates {
        let paper: Paper = serde_json::from_str(&row.made).map_err(|why| why.to_string())?;
        let paper = Paper {
            yaml: row.policy.clone(),
            ..paper
        };
        let candidate = Candidate::read(paper).map_err(|why| why.to_string())?;
        candidates.insert(candidate.digest(), Arc::new(candidate));
    }
    for row in &status.revisions {
        let revision = Revision {
            workload: workload.clone(),
            image: row.image.clone(),
        };
        let standing = standing(row)?;
        ledger
            .insert(revision, standing, &candidates)
            .map_err(|why| why.to_string())?;
    }
    Ok(())
}

fn standing(row: &RevisionRow) -> Result<Standing, String> {
    let RevisionRow {
        image: _,
        posture,
        since,
        candidate,
        judged_from,
        window_from,
        blocked,
        canary_until,
        canary_share,
        canary_last,
    } = row;
    let at = |text: &String| moment(text).map_err(|why| why.to_string());
    let maybe = |text: &Option<String>| text.as_ref().map(at).transpose();
    let since = at(since)?;
    let freeze = || -> Result<Freeze, String> {
        let candidate = candidate.as_ref().ok_or("a revision has no candidate")?;
        Ok(Freeze {
            candidate: candidate
                .parse()
                .map_err(|why: crate::digest::BadDigest| why.to_string())?,
            judged_from: maybe(judged_from)?,
            window_from: maybe(window_from)?.unwrap_or(since),
            blocked: maybe(blocked)?,
        })
    };
    Ok(match Posture::from(*posture) {
        Posture::Learning => Standing::Learning { since },
        Posture::Audit => Standing::Audit {
            since,
            freeze: freeze()?,
        },
        Posture::Block => Standing::Block {
            since,
            freeze: freeze()?,
            canary_until: maybe(canary_until)?.unwrap_or(since),
            slice: slice(canary_share.as_deref(), canary_last.as_deref())?,
        },
    })
}

fn slice(share: Option<&str>, last: Option<&str>) -> Result<Option<Slice>, String> {
    let Some(share) = share else {
        return Ok(None);
    };
    let share = share.parse().map_err(|why: BadShare| why.to_string())?;
    let last = last.and_then(|last| u64::from_str_radix(last, 16).ok());
    let last = last.ok_or("which pods the canary holds is not told")?;
    Ok(Some(Slice { share, last }))
}

fn row(image: &str, standing: &Standing) -> RevisionRow {
    let freeze = standing.freeze();
    let slice = standing.slice().map(|(slice, _)| slice);
    RevisionRow {
        image: image.to_owned(),
        posture: standing.posture().into(),
        since: time(standing.since()),
        candidate: freeze.map(|freeze| freeze.candidate.to_string()),
        judged_from: freeze.and_then(|freeze| freeze.judged_from).map(time),
        window_from: freeze.map(|freeze| time(freeze.window_from)),
        blocked: freeze.and_then(|freeze| freeze.blocked).map(time),
        canary_until: match standing {
            Standing::Block { canary_until, .. } => Some(time(*canary_until)),
            Standing::Learning { .. } | Standing::Audit { .. } => None,
        },
        canary_share: slice.map(|slice| slice.share.to_string()),
        canary_last: slice.map(|slice| format!("{:016x}", slice.last)),
    }
}

/// What is to be kept of a workload.
#[derive(Clone, Debug)]
pub struct Kept<'a> {
    /// Its latest image.
    pub revision: &'a Revision,
    /// Where all its images stand, and by which candidates.
    pub ledger: &'a Ledger,
    /// Complete runs of the latest image.
    pub runs: usize,
    /// The words for what keeps it where it is.
    pub held: BTreeSet<&'a str>,
    /// While a canary holds a share of the pods: how many of how many.
    pub canary: Option<(usize, usize)>,
    /// What was decided now.
    pub entry: Option<&'a Entry>,
}

/// The status of a workload, from what it was before.
pub fn status(before: Option<&WorkloadPostureStatus>, kept: &Kept<'_>) -> WorkloadPostureStatus {
    let workload = &kept.revision.workload;
    let mut all: Vec<(&Revision, &Standing)> = kept
        .ledger
        .iter()
        .filter(|(revision, _)| revision.workload == *workload)
        .collect();
    all.sort_by_key(|(revision, standing)| {
        (*revision == kept.revision, standing.since(), *revision)
    });
    let first = all.len().saturating_sub(MAX_REVISIONS);
    let mut all = all.split_off(first);
    let mut status = of(&all, before, kept);
    let size = |status: &WorkloadPostureStatus| serde_json::to_vec(status).map_or(0, |of| of.len());
    while all.len() > 1 && size(&status) > MAX_STATUS {
        all.remove(0);
        status = of(&all, before, kept);
    }
    status
}

fn of(
    all: &[(&Revision, &Standing)],
    before: Option<&WorkloadPostureStatus>,
    kept: &Kept<'_>,
) -> WorkloadPostureStatus {
    let mut candidates = BTreeMap::new();
    for (revision, _) in all {
        if let Some(frozen) = kept.ledger.frozen(revision) {
            let candidate = frozen.candidate();
            candidates.insert(candidate.digest(), candidate_row(candidate));
        }
    }
    let mut journal = before.map_or_else(Vec::new, |status| status.journal.clone());
    journal.extend(kept.entry.map(JournalLine::of));
    let first = journal.len().saturating_sub(super::posture::JOURNAL_TAIL);
    let standing = kept.ledger.standing(kept.revision);
    WorkloadPostureStatus {
        posture: Some(Posture::at(standing).into()),
        since: standing.map(|standing| time(standing.since())),
        image: Some(kept.revision.image.clone()),
        candidate: standing
            .and_then(Standing::freeze)
            .map(|freeze| freeze.candidate.to_string()),
        runs: i64::try_from(kept.runs).ok(),
        held: kept.held.iter().map(|word| (*word).to_owned()).collect(),
        canary: kept.canary.map(|(held, of)| CanaryRow {
            held: i64::try_from(held).unwrap_or(i64::MAX),
            of: i64::try_from(of).unwrap_or(i64::MAX),
        }),
        revisions: all
            .iter()
            .map(|(revision, standing)| row(&revision.image, standing))
            .collect(),
        candidates: candidates.into_values().collect(),
        journal: journal.split_off(first),
    }
}

fn candidate_row(candidate: &Candidate) -> CandidateRow {
    let paper = candidate.paper();
    let made = Paper {
        yaml: String::new(),
        ..paper.clone()
    };
    CandidateRow {
        policy: paper.yaml.clone(),
        // Words and paths: there is nothing in it that JSON cannot hold.
        made: serde_json::to_string(&made).unwrap_or_default(),
    }
}

/// The name of the object that is kept of a workload.
pub fn name(workload: &Workload) -> String {
    names::object_name(&[&workload.name, &workload.container, &workload.kind])
}

fn doing(verb: &'static str, resource: &'static str, workload: &Workload) -> Doing {
    Doing {
        verb,
        resource,
        namespace: Some(workload.namespace.clone()),
        name: Some(name(workload)),
    }
}

/// The fields of a status.
const FIELDS: [&str; 10] = [
    "posture",
    "since",
    "image",
    "candidate",
    "runs",
    "held",
    "revisions",
    "candidates",
    "journal",
    "canary",
];

/// Keeps the status of a workload, as [`MANAGER`], if it is still what it was `before`;
/// and a promotion only if no person holds the workload by now.
///
/// # Errors
/// [`ClusterError`].
pub async fn keep(
    client: &Client,
    workload: &Workload,
    before: Option<&WorkloadPostureStatus>,
    status: &WorkloadPostureStatus,
    is_promotion: bool,
) -> Result<(), ClusterError> {
    let api: Api<WorkloadPosture> = Api::namespaced(client.clone(), &workload.namespace);
    let name = name(workload);
    let how = PatchParams::apply(MANAGER);
    let object = object(workload, None);
    let made = api.patch(&name, &how, &Patch::Apply(&object)).await;
    let made = made.map_err(|error| ClusterError::of(doing("patch", POSTURES, workload), error))?;
    let is_held = is_promotion && made.spec.hold.is_some();
    if made.status.as_ref() != before || is_held {
        return Err(ClusterError::Stale {
            doing: doing("patch", STATUS, workload),
        });
    }
    // Whatever else is written meanwhile is a conflict too.
    let mut with_status = json!({
        "metadata": {"resourceVersion": made.resource_version()}, "status": status,
    });
    // What it has no more is taken away by name: servers before 1.22 do not tell the fields of the status from
    // others that the same manager has applied, and would leave it.
    if let Some(fields) = with_status["status"].as_object_mut() {
        for field in FIELDS {
            fields.entry(field).or_insert(Value::Null);
        }
    }
    let how = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let with_status = Patch::Merge(&with_status);
    let kept = api.patch_status(&name, &how, &with_status).await;
    kept.map(drop)
        .map_err(|error| ClusterError::of(doing("patch", STATUS, workload), error))
}

fn object(workload: &Workload, hold: Option<HoldSpec>) -> WorkloadPosture {
    WorkloadPosture {
        metadata: ObjectMeta {
            name: Some(name(workload)),
            namespace: Some(workload.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: WorkloadPostureSpec {
            workload: WorkloadName::of(workload),
            hold,
            forgotten: Vec::new(),
        },
        status: None,
    }
}

#[cfg(test)]
mod tests;

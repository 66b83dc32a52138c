//! What KubeArmor itself has told, held against what the nodes have.
//!
//! It is kept as what a node of the name [`TELLER`] tells, which no node of a cluster can have: so the next
//! pass has it too, whatever runs in the cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::{JobError, Strategy, World};
use crate::candidate::Ledger;
use crate::cluster::{Client, ClusterError, Writer};
use crate::observation::{Loss, Moment};
use crate::posture::{Revision, Standing};
use crate::profile::{Evidence, RunProfile};
use crate::promotion::{Interruption, Missed, Reason, keep_gaps};
use crate::shared::{Joint, Part};
use crate::visible::visible;
use crate::workload::{RunKey, Workload};

/// Whose word it is, in the place of a node's.
pub const TELLER: &str = "kubearmor:relay";

/// KubeArmor's alerts, and when they may have been missed: it is kept.
#[derive(Clone, Debug, Default)]
pub struct Hearsay {
    /// What its alerts tell of, each as if it were judged.
    pub evidence: Evidence,
    /// When alerts may have been missed, of a workload or of every one.
    pub unheard: Vec<(Option<Workload>, Interruption)>,
}

/// The revisions of a namespace, by which it is told whose an alert is.
pub(super) struct Known {
    /// Of each workload, and the latest of them.
    images: BTreeMap<Workload, (BTreeSet<String>, String)>,
}

impl Known {
    pub(super) fn of(joint: &Joint) -> Self {
        let mut all: BTreeMap<&Workload, BTreeSet<String>> = BTreeMap::new();
        let told = joint.revisions();
        for revision in told.filter(|revision| joint.nodes(revision).next().is_some()) {
            let images = all.entry(&revision.workload).or_default();
            images.insert(revision.image.clone());
        }
        let images = all.into_iter().filter_map(|(workload, images)| {
            let latest = joint.latest_image(workload);
            let latest = latest.or(images.first().map(String::as_str))?.to_owned();
            Some((workload.clone(), (images, latest)))
        });
        Self {
            images: images.collect(),
        }
    }

    /// Whose it is. KubeArmor may know an owner by another kind than the API server, and a bare pod by its
    /// label: then the container of that name counts, if there is one alone.
    pub(super) fn workload(&self, told: &Workload) -> Option<&Workload> {
        if let Some((known, _)) = self.images.get_key_value(told) {
            return Some(known);
        }
        let is_like = |known: &&Workload| {
            (&known.namespace, &known.name, &known.container)
                == (&told.namespace, &told.name, &told.container)
        };
        let mut like = self.images.keys().filter(is_like);
        like.next().filter(|_| like.next().is_none())
    }

    /// At which image: the same to the letter, else the one of the same digest, else the latest.
    fn revision(&self, run: &RunKey) -> Option<Revision> {
        let workload = self.workload(&run.workload)?;
        let (images, latest) = self.images.get(workload)?;
        let digest = run.image.rsplit_once('@').map(|(_, digest)| digest);
        let same = images.get(run.image.as_str()).or_else(|| {
            let is_same = |image: &&String| image.rsplit_once('@').map(|(_, of)| of) == digest;
            images.iter().filter(|_| digest.is_some()).find(is_same)
        });
        Some(Revision {
            workload: workload.clone(),
            image: same.unwrap_or(latest).clone(),
        })
    }
}

/// What is to be kept of a namespace's revisions: alerts and gaps. Alerts never teach: what was done counts
/// from the freeze of a revision on alone, since then it is judged by that. The second is what is known of
/// nobody: how many runs of each workload that no node has told of.
pub(super) fn attributed(
    namespace: &str,
    heard: &Hearsay,
    known: &Known,
    ledger: &Ledger,
) -> (Evidence, BTreeMap<Workload, usize>) {
    let mut kept = Evidence::default();
    let mut strangers: BTreeMap<Workload, usize> = BTreeMap::new();
    let ours = heard.evidence.runs().iter();
    for (key, run) in ours.filter(|(key, _)| key.workload.namespace == namespace) {
        let Some(revision) = known.revision(key) else {
            *strangers.entry(key.workload.clone()).or_default() += 1;
            continue;
        };
        let profile = judged(run, &revision, ledger);
        let key = RunKey {
            workload: revision.workload,
            image: revision.image,
            run: key.run.clone(),
        };
        kept.insert(key, profile);
    }
    let unheard: Vec<(Option<Workload>, Interruption)> = heard
        .unheard
        .iter()
        .filter(|(whose, _)| whose.as_ref().is_none_or(|of| of.namespace == namespace))
        // What cannot be told whose it is may be anybody's.
        .map(|(whose, one)| {
            let whose = whose.as_ref().and_then(|told| known.workload(told));
            (whose.cloned(), one.clone())
        })
        .collect();
    let revisions = ledger.iter().map(|(revision, _)| revision);
    let judged = revisions.filter(|revision| ledger.frozen(revision).is_some());
    keep_gaps(&mut kept, &unheard, judged);
    (kept, strangers)
}

/// A run without what was done and is not judged.
fn judged(run: &RunProfile, revision: &Revision, ledger: &Ledger) -> RunProfile {
    let freeze = ledger.frozen(revision).map(|frozen| frozen.freeze());
    let mut profile = run.clone();
    let mut unjudged = 0;
    profile.seen.retain(|behavior, seen| {
        if !behavior.is_learnable() {
            return true;
        }
        let is_judged = freeze.is_some_and(|freeze| freeze.judges(seen.last));
        if is_judged {
            let from = freeze.and_then(|freeze| freeze.judged_from);
            seen.first = seen.first.max(from.unwrap_or(Moment(i64::MIN)));
        } else {
            unjudged += 1;
        }
        is_judged
    });
    if unjudged > 0 {
        profile.lose(Loss::from("kubearmor-audited"), unjudged);
    }
    profile
}

/// The parts that are told, by revision.
pub(super) fn parts(evidence: &Evidence) -> BTreeMap<Revision, Part> {
    let mut runs: BTreeMap<Revision, Vec<(&RunKey, &RunProfile)>> = BTreeMap::new();
    for (key, run) in evidence.runs() {
        runs.entry(Revision::of(key)).or_default().push((key, run));
    }
    let parts = runs.into_iter();
    parts.map(|(of, runs)| (of, Part::of(runs))).collect()
}

/// Adds what was heard to what the nodes have told; gives what is to be written of it: of each revision of
/// which there is anything new, all.
pub(super) fn join(
    joint: &mut Joint,
    namespace: &str,
    heard: &Hearsay,
    ledger: &Ledger,
) -> BTreeMap<Revision, Part> {
    if heard.evidence.runs().is_empty() && heard.unheard.is_empty() {
        return BTreeMap::new();
    }
    let (kept, strangers) = attributed(namespace, heard, &Known::of(joint), ledger);
    for (workload, runs) in strangers {
        tracing::warn!(
            "{}: KubeArmor tells of {runs} runs of it, and no node does: its alerts count for nothing",
            visible(&workload.to_string())
        );
    }
    let mut new = BTreeMap::new();
    for (revision, part) in parts(&kept) {
        let before = joint.part(&revision, TELLER);
        joint.add(&revision, TELLER, &part);
        let all = joint.part(&revision, TELLER);
        if let Some(all) = all.filter(|all| before.as_ref() != Some(all)) {
            new.insert(revision, all);
        }
    }
    new
}

/// What there is by [`TELLER`], of every revision.
pub(super) fn all_told(joint: &Joint) -> BTreeMap<Revision, Part> {
    let parts = joint.parts_of(TELLER);
    parts.map(|(of, part)| (of.clone(), part)).collect()
}

impl World {
    /// Where KubeArmor is told not to tell of programs or files, its silence says nothing: no time since the
    /// window of a revision under audit began counts, now and later.
    pub(super) fn note_blindness(&mut self, strategy: Strategy, now: Moment) {
        let near = self.neighbours(strategy);
        let mut blind: Vec<(Revision, Interruption)> = Vec::new();
        for (revision, standing) in self.ledger.iter() {
            let (Standing::Audit { freeze, .. }, Some(frozen)) =
                (standing, self.ledger.frozen(revision))
            else {
                continue;
            };
            let around = self.around(revision, frozen, &near);
            let told = around.iter().find_map(|reason| match reason {
                Reason::Visibility { told } => Some(told.to_string()),
                _ => None,
            });
            if let Some(told) = told {
                let one = Interruption {
                    from: freeze.window_from,
                    to: now,
                    why: Missed::Blind(format!("all programs and files {told}")),
                };
                blind.push((revision.clone(), one));
            }
        }
        let mut gaps = Evidence::default();
        for (revision, one) in &blind {
            keep_gaps(&mut gaps, &[(None, one.clone())], [revision]);
        }
        for (revision, part) in parts(&gaps) {
            let told = self.told_by_enforcer.get(&revision);
            let heard = self.heard.entry(revision);
            heard
                .or_insert_with(|| told.cloned().unwrap_or_default())
                .join(&part);
        }
        self.blind = blind;
    }

    /// Writes down what was heard, so that the next pass has it.
    pub(super) async fn keep_heard(&self, client: &Client) -> Result<(), JobError> {
        let writer = Writer::new(client.clone(), TELLER);
        for (revision, part) in &self.heard {
            let runs = part.runs.values();
            let ended = runs.filter_map(|run| run.stop.max(run.first)).max();
            let seen = part.acts.values().map(|facts| facts.seen.last).max();
            let Some(last) = ended.max(seen) else {
                continue;
            };
            match writer.write(revision, last, part).await {
                // Pieces that are left over when there are more do no harm: they are read as well.
                Err(ClusterError::Forbidden { doing, .. }) if doing.verb == "delete" => {}
                written => _ = written?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behavior::{Access, Behavior, Op, Outcome};
    use crate::candidate::Candidate;
    use crate::generalize::Dialect;
    use crate::path::AbsPath;
    use crate::posture::Freeze;
    use crate::profile::Sighting;

    const DIGEST: &str = "web:1@sha256:1f2e";

    fn key(workload: &str, image: &str, run: &str) -> RunKey {
        RunKey {
            workload: workload.parse().expect("a workload"),
            image: image.to_owned(),
            run: run.to_owned(),
        }
    }

    fn seen(path: &str, result: Outcome, first: i64, last: i64) -> (Behavior, Sighting) {
        let behavior = Behavior {
            source: Some(AbsPath::new("/usr/bin/web").expect("a path")),
            op: Op::Open(Access::Read),
            path: AbsPath::new(path).expect("a path"),
            uid: None,
            owner: None,
            upper: None,
            tty: None,
            result,
        };
        let seen = Sighting {
            count: 2,
            first: Moment(first),
            last: Moment(last),
        };
        (behavior, seen)
    }

    fn run(seen: impl IntoIterator<Item = (Behavior, Sighting)>) -> RunProfile {
        RunProfile {
            seen: seen.into_iter().collect(),
            ..RunProfile::default()
        }
    }

    /// A node has told of two images, the second the later.
    fn joint() -> Joint {
        let mut joint = Joint::default();
        for (image, at) in [(DIGEST, 1), ("web:2", 2)] {
            let key = key("shop/Deployment/web", image, "a");
            let run = run([seen("/etc/x", Outcome::Ok, at, at)]);
            joint.add(&Revision::of(&key), "node", &Part::of([(&key, &run)]));
        }
        joint
    }

    fn known() -> Known {
        Known::of(&joint())
    }

    fn frozen(image: &str, from: i64) -> Ledger {
        let candidate = Candidate::reads_etc(Dialect::Bpf);
        let mut ledger = Ledger::default();
        let freeze = Freeze {
            candidate: candidate.digest(),
            judged_from: Some(Moment(from)),
            window_from: Moment(from),
            blocked: None,
        };
        let revision = Revision::of(&key("shop/Deployment/web", image, ""));
        let since = Moment(from);
        ledger
            .follow(revision, Standing::Audit { since, freeze }, Some(candidate))
            .expect("followed");
        ledger
    }

    #[test]
    fn an_alert_is_of_the_image_of_its_digest_else_of_the_latest() {
        let known = known();
        let image = |told: &str| {
            let revision = known.revision(&key("shop/Deployment/web", told, "r"));
            revision.expect("known").image
        };
        assert_eq!(image(DIGEST), DIGEST);
        assert_eq!(image("registry/web:other@sha256:1f2e"), DIGEST);
        assert_eq!(image("web:2"), "web:2");
        assert_eq!(image("web:odd@sha256:99"), "web:2");
        assert_eq!(image(""), "web:2");
    }

    #[test]
    fn an_owner_by_another_kind_is_the_same_container_and_a_stranger_is_nobody() {
        let known = known();
        let whose = |told: &str| {
            let told = told.parse().expect("a workload");
            known.workload(&told).map(ToString::to_string)
        };
        let web = Some("shop/Deployment/web/web".to_owned());
        assert_eq!(whose("shop/Deployment/web"), web);
        assert_eq!(whose("shop/Pod/web/web"), web);
        assert_eq!(whose("shop/Deployment/web/proxy"), None);
        assert_eq!(whose("other/Deployment/web"), None);
    }

    #[test]
    fn what_was_done_counts_from_the_freeze_on_and_what_was_refused_always() {
        let mut heard = Hearsay::default();
        heard.evidence.insert(
            key("shop/Deployment/web", "web:2", "web-1/web/5d1f"),
            run([
                seen("/before", Outcome::Ok, 10, 20),
                seen("/both", Outcome::Ok, 10, 120),
                seen("/refused", Outcome::Failed("EACCES".to_owned()), 10, 20),
            ]),
        );
        let ledger = frozen("web:2", 100);
        let (kept, strangers) = attributed("shop", &heard, &known(), &ledger);
        assert!(strangers.is_empty());
        let (key, run) = kept.runs().first_key_value().expect("a run");
        assert_eq!(key.run, "web-1/web/5d1f");
        let seen: Vec<_> = run
            .seen
            .iter()
            .map(|(behavior, seen)| (behavior.path.to_string(), seen.first.0))
            .collect();
        assert_eq!(
            seen,
            [("/both".to_owned(), 100), ("/refused".to_owned(), 10)]
        );
        assert_eq!(run.lost[&Loss::from("kubearmor-audited")], 1);

        // Of what is learned, nothing that was done.
        let (kept, _) = attributed("shop", &heard, &known(), &Ledger::default());
        let (_, run) = kept.runs().first_key_value().expect("a run");
        assert!(run.seen.keys().all(|behavior| !behavior.is_learnable()));
    }

    #[test]
    fn what_was_not_heard_is_kept_of_what_is_judged_and_once() {
        let ledger = frozen("web:2", 100);
        let joint = joint();
        let gap = |whose: Option<&str>| {
            let whose = whose.map(|whose| whose.parse().expect("a workload"));
            let (from, to, why) = (Moment(200), Moment(300), Missed::Ended);
            (whose, Interruption { from, to, why })
        };
        let heard = |whose| Hearsay {
            unheard: vec![gap(whose)],
            ..Hearsay::default()
        };
        for whose in [
            None,
            Some("shop/Deployment/web"),
            Some("shop/Deployment/odd"),
        ] {
            let mut joint = joint.clone();
            let new = join(&mut joint, "shop", &heard(whose), &ledger);
            let images: Vec<&str> = new.keys().map(|of| of.image.as_str()).collect();
            assert_eq!(images, ["web:2"], "{whose:?}");
            let again = join(&mut joint, "shop", &heard(whose), &ledger);
            assert!(again.is_empty(), "{whose:?}");
        }
        let mut joint = joint;
        let new = join(
            &mut joint,
            "shop",
            &heard(Some("other/Deployment/web")),
            &ledger,
        );
        assert!(new.is_empty());
    }
}

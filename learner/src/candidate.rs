//! A frozen policy: the very document that was decided upon, and what it was made by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::act::Act;
use crate::behavior::{Behavior, Op};
use crate::digest::Digest;
use crate::generalize::{Dialect, Tightness};
use crate::mention::Mention;
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::policy::meaning::{
    Enforced, FileHook, Hook, HookCall, Operation, Posture, Postures, Program, Tree, Verdict, Why,
};
use crate::policy::{BadPolicy, Policy, from_yaml, to_yaml};
use crate::posture::{Freeze, Revision, Standing};
use crate::profile::Sighting;
use crate::quarantine::Include;
use crate::workload::Workload;

/// A policy document with its name, and what it was made by. Serialized it is its [`Paper`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Paper", into = "Paper")]
pub struct Candidate {
    paper: Paper,
    policy: Policy,
    digest: Digest,
}

/// What is kept of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paper {
    /// The policy, to the byte.
    pub yaml: String,
    /// Who is to enforce it: its meaning is theirs. What an older version kept is KubeArmor's BPF-LSM.
    #[serde(default)]
    pub enforcer: Dialect,
    /// How far it was allowed to go beyond what was seen.
    pub tightness: Tightness,
    /// What was learned by a person's word, as it was named.
    pub include: Vec<Mention>,
    /// What was accepted, one by one.
    pub accepted: BTreeSet<Act>,
}

/// What is kept is not a candidate.
#[derive(Debug, thiserror::Error)]
pub enum BadCandidate {
    /// No policy, or a field that is not known.
    #[error(transparent)]
    Policy(#[from] BadPolicy),
    /// None or several.
    #[error("{0} policies where one was frozen")]
    Count(usize),
}

impl TryFrom<Paper> for Candidate {
    type Error = BadCandidate;
    fn try_from(paper: Paper) -> Result<Self, BadCandidate> {
        Self::read(paper)
    }
}

impl From<Candidate> for Paper {
    fn from(candidate: Candidate) -> Self {
        candidate.paper
    }
}

impl Candidate {
    /// Freezes a policy: its document is [`to_yaml`]'s.
    ///
    /// # Errors
    /// As [`Candidate::read`].
    pub fn freeze(
        policy: &Policy,
        enforcer: Dialect,
        tightness: Tightness,
        include: Vec<Mention>,
        accepted: BTreeSet<Act>,
    ) -> Result<Self, BadCandidate> {
        Self::read(Paper {
            yaml: to_yaml(policy),
            enforcer,
            tightness,
            include,
            accepted,
        })
    }

    /// Reads what was kept.
    ///
    /// # Errors
    /// [`BadCandidate`] if that is not one policy.
    pub fn read(paper: Paper) -> Result<Self, BadCandidate> {
        let mut policies = from_yaml(&paper.yaml)?;
        let policy = match (policies.pop(), policies.len()) {
            (Some(policy), 0) => policy,
            (last, more) => return Err(BadCandidate::Count(more + usize::from(last.is_some()))),
        };
        Ok(Self {
            digest: Digest::of(paper.yaml.as_bytes()),
            policy,
            paper,
        })
    }

    /// What is kept of it.
    pub fn paper(&self) -> &Paper {
        &self.paper
    }

    /// The policy, as it is read back from its document.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The SHA-256 of the document.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The programs that rules are bound to; and `None`, for those that are not.
    pub fn programs(&self) -> BTreeSet<Option<AbsPath>> {
        let (process, file) = (&self.policy.spec.process, &self.policy.spec.file);
        let paths = process.match_paths.iter().chain(&file.match_paths);
        let dirs = process
            .match_directories
            .iter()
            .chain(&file.match_directories);
        let sources = paths
            .flat_map(|rule| &rule.from_source)
            .chain(dirs.flat_map(|rule| &rule.from_source));
        let named = sources.filter_map(|source| AbsPath::try_from(source.path.as_str()).ok());
        named.map(Some).chain([None]).collect()
    }

    /// Whether a person has accepted it.
    pub fn accepts(&self, behavior: &Behavior) -> bool {
        let accepted = &self.paper.accepted;
        !accepted.is_empty() && accepted.contains(&Act::of(behavior))
    }

    /// What was learned by a person's word.
    pub fn include(&self) -> Include {
        Include {
            mentions: self.paper.include.clone(),
            acts: self.paper.accepted.clone(),
        }
    }
}

/// What the enforcers make of a candidate, under block: what is to be done all of them have to allow.
pub struct Judge(Vec<Enforced>);

/// What becomes of a behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Allowed,
    /// It is refused, and why.
    Denied(String),
    /// It cannot be told, and why; to be safe it counts as refused.
    Unknown(String),
}

impl Judge {
    /// As the enforcers hold the policy.
    pub fn of(policy: &Policy, enforcer: Dialect) -> Self {
        let postures = Postures::all(Posture::Block);
        let held = |enforcer: &_| Enforced::new(*enforcer, &[policy], postures);
        Self(enforcer.enforcers().iter().map(held).collect())
    }

    /// The rules as Learner's own programs hold them; `None` if others enforce it.
    pub fn tree(&self) -> Option<Tree> {
        self.0.iter().find_map(Enforced::tree)
    }

    /// Whether any of these programs may execute it.
    pub fn may_run(&self, program: &AbsPath, by: &BTreeSet<Option<AbsPath>>) -> bool {
        by.iter().any(|source| {
            let act = Act {
                op: Op::Exec,
                path: program.clone(),
                source: source.clone(),
            };
            let exec = Behavior {
                tty: Some(false),
                ..act.done()
            };
            self.judge(&exec) == Fate::Allowed
        })
    }

    /// What becomes of it: of several enforcers the first decides that does not allow it.
    pub fn judge(&self, behavior: &Behavior) -> Fate {
        let operation = Operation::from(behavior);
        let refuses = |enforced: &Enforced| {
            let judgement = enforced.judge(&operation);
            match judgement.verdict {
                Verdict::Allowed => None,
                Verdict::Denied => Some(Fate::Denied(judgement.why.to_string())),
                Verdict::Unknown => Some(Fate::Unknown(judgement.why.to_string())),
            }
        };
        self.0.iter().find_map(refuses).unwrap_or(Fate::Allowed)
    }

    /// The fields of the rules that let it through: one for each thing that is asked.
    pub fn rules_for(&self, behavior: &Behavior) -> BTreeSet<String> {
        let fields = self.0.iter().flat_map(|enforced| used(enforced, behavior));
        fields.collect()
    }
}

fn used(enforced: &Enforced, behavior: &Behavior) -> Vec<String> {
    let ask = |hook: Hook<'_>| {
        let source = behavior.source.as_ref();
        enforced.hook(&HookCall {
            hook,
            source: source.map_or(Program::Unknown, |path| Program::Path(path.as_bytes())),
            tty: behavior.tty,
        })
    };
    let named = |hook, to: &AbsPath| {
        ask(Hook::File {
            hook,
            path: to.as_bytes(),
            owner: behavior.owner,
        })
    };
    let mut judgements = vec![enforced.judge(&Operation::from(behavior))];
    match &behavior.op {
        Op::Exec => judgements.push(ask(Hook::Exec {
            path: behavior.path.as_bytes(),
            owner: behavior.owner,
            arguments: None,
        })),
        Op::Rename { to } => judgements.push(named(FileHook::Rename, to)),
        Op::Link { to } => judgements.push(named(FileHook::Link, to)),
        _ => {}
    }
    let fields = judgements.into_iter().filter_map(|judgement| {
        let allowed = judgement.verdict == Verdict::Allowed;
        match judgement.why {
            Why::Rule { rule, .. } if allowed => Some(rule.field.clone()),
            _ => None,
        }
    });
    fields.collect()
}

/// Rules of a policy about programs and files, by field, with what each is about.
pub fn rules(policy: &Policy) -> BTreeMap<String, String> {
    let (process, file) = (&policy.spec.process, &policy.spec.file);
    let mut rules = BTreeMap::new();
    let mut add = |section: &str, list: &str, class: &str, about: Vec<&String>| {
        for (index, about) in about.into_iter().enumerate() {
            let field = format!("spec.{section}.{list}[{index}]");
            rules.insert(field, format!("{class} {about}"));
        }
    };
    let paths = |paths: &'_ [crate::policy::PathRule]| -> Vec<String> {
        paths.iter().map(|rule| rule.path.clone()).collect()
    };
    let dirs = |dirs: &'_ [crate::policy::Directory]| -> Vec<String> {
        dirs.iter().map(|rule| rule.dir.clone()).collect()
    };
    for (section, class, paths, dirs) in [
        (
            "process",
            "exec",
            paths(&process.match_paths),
            dirs(&process.match_directories),
        ),
        (
            "file",
            "file",
            paths(&file.match_paths),
            dirs(&file.match_directories),
        ),
    ] {
        add(section, "matchPaths", class, paths.iter().collect());
        add(section, "matchDirectories", class, dirs.iter().collect());
    }
    rules
}

/// A candidate in force for a revision.
pub struct Frozen {
    candidate: Arc<Candidate>,
    freeze: Freeze,
    judge: Judge,
}

#[cfg(test)]
impl Candidate {
    /// What tests of others judge by: pods of `shop` with `app: web` may read what is in `/etc/`, and nothing else.
    pub(crate) fn reads_etc(enforcer: Dialect) -> Self {
        let text = "kind: KubeArmorPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n  selector: \
                    {matchLabels: {app: web}}\n  file: {matchDirectories: [{dir: /etc/}]}\n  action: Allow\n";
        let policy = from_yaml(text).expect("a policy").remove(0);
        let (tightness, none) = (Tightness::default(), BTreeSet::new());
        Self::freeze(&policy, enforcer, tightness, Vec::new(), none).expect("a candidate")
    }
}

impl Frozen {
    /// From what is decided and what is kept.
    pub fn new(candidate: Arc<Candidate>, freeze: Freeze) -> Self {
        Self {
            judge: Judge::of(candidate.policy(), candidate.paper().enforcer),
            candidate,
            freeze,
        }
    }

    /// The candidate.
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// The candidate, for another revision.
    pub fn share(&self) -> Arc<Candidate> {
        self.candidate.clone()
    }

    /// From when on what counts.
    pub fn freeze(&self) -> &Freeze {
        &self.freeze
    }

    /// What the enforcer makes of the candidate.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Whether it must not be learned: it was done at or after the freeze, and is not allowed.
    pub fn holds(&self, behavior: &Behavior, seen: Sighting) -> bool {
        self.freeze.judges(seen.last) && self.denies(behavior)
    }

    /// Whether it is not allowed, whenever it is done.
    pub(crate) fn denies(&self, behavior: &Behavior) -> bool {
        self.judge.judge(behavior) != Fate::Allowed
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen")
            .field("candidate", &self.candidate.digest)
            .field("freeze", &self.freeze)
            .finish()
    }
}

/// A freeze names a candidate that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the candidate {0} is not there")]
pub struct NoCandidate(pub Digest);

/// Where all revisions stand, with the candidates that are in force.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    standings: BTreeMap<Revision, Standing>,
    frozen: BTreeMap<Revision, Arc<Frozen>>,
}

impl Ledger {
    /// Notes where a revision stands; `candidates` has the one that its freeze names.
    ///
    /// # Errors
    /// [`NoCandidate`] if it has not; then nothing is noted.
    pub fn insert(
        &mut self,
        revision: Revision,
        standing: Standing,
        candidates: &BTreeMap<Digest, Arc<Candidate>>,
    ) -> Result<(), NoCandidate> {
        let frozen = match standing.freeze() {
            None => None,
            Some(freeze) => {
                let candidate = candidates.get(&freeze.candidate);
                let candidate = candidate.ok_or(NoCandidate(freeze.candidate))?;
                Some(Arc::new(Frozen::new(candidate.clone(), freeze.clone())))
            }
        };
        match frozen {
            Some(frozen) => self.frozen.insert(revision.clone(), frozen),
            None => self.frozen.remove(&revision),
        };
        self.standings.insert(revision, standing);
        Ok(())
    }

    /// Notes a decision: `new` is its candidate, if that is a new one; else it is one that is in force.
    ///
    /// # Errors
    /// [`NoCandidate`] if it is neither; then nothing is noted.
    pub fn follow(
        &mut self,
        revision: Revision,
        standing: Standing,
        new: Option<Candidate>,
    ) -> Result<(), NoCandidate> {
        let of_others = self.frozen.values().map(|frozen| frozen.share());
        let known = of_others.chain(new.map(Arc::new));
        let known = known.map(|candidate| (candidate.digest(), candidate));
        let known = known.collect();
        self.insert(revision, standing, &known)
    }

    /// As [`Ledger::insert`], with what it is judged by at hand.
    pub(crate) fn note(&mut self, revision: Revision, standing: Standing, frozen: Arc<Frozen>) {
        self.frozen.insert(revision.clone(), frozen);
        self.standings.insert(revision, standing);
    }

    /// Notes what another has; of what both have the other's word counts.
    pub fn extend(&mut self, other: Self) {
        self.standings.extend(other.standings);
        self.frozen.extend(other.frozen);
    }

    /// Where a revision stands; nothing for one that nothing was ever decided of.
    pub fn standing(&self, revision: &Revision) -> Option<&Standing> {
        self.standings.get(revision)
    }

    /// What a revision is judged by; nothing while it is learning.
    pub fn frozen(&self, revision: &Revision) -> Option<&Arc<Frozen>> {
        self.frozen.get(revision)
    }

    /// Whether a candidate is frozen for any image of the workload.
    pub fn is_judged(&self, workload: &Workload) -> bool {
        let mut frozen = self.frozen.keys();
        frozen.any(|revision| revision.workload == *workload)
    }

    /// What Learner's own programs are to hold a revision to: its candidate, if it stands under block
    /// and was made for them.
    pub fn to_enforce(&self, revision: &Revision) -> Option<&Arc<Frozen>> {
        let is_blocked = matches!(self.standing(revision), Some(Standing::Block { .. }));
        let frozen = self.frozen(revision).filter(|_| is_blocked)?;
        (frozen.candidate().paper().enforcer == Dialect::Learner).then_some(frozen)
    }

    /// What they are to hold a container of a revision to that is of the pod of this uid, at that time: as
    /// [`Ledger::to_enforce`], but while a canary lasts only the pods that are chosen for it. What is of no
    /// pod is held.
    pub fn to_hold(
        &self,
        revision: &Revision,
        pod: Option<&str>,
        now: Moment,
    ) -> Option<&Arc<Frozen>> {
        let frozen = self.to_enforce(revision)?;
        let slice = self.standing(revision).and_then(Standing::slice);
        let is_left_out = slice
            .is_some_and(|(slice, until)| now < until && pod.is_some_and(|uid| !slice.has(uid)));
        (!is_left_out).then_some(frozen)
    }

    /// When the first canary ends of those that leave pods out at that time.
    pub fn next_whole(&self, now: Moment) -> Option<Moment> {
        let slices = self.standings.values().filter_map(Standing::slice);
        slices
            .map(|(_, until)| until)
            .filter(|until| now < *until)
            .min()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Revision, &Standing)> {
        self.standings.iter()
    }

    /// Notes all that another one has.
    pub fn absorb(&mut self, other: &Self) {
        let standings = other.standings.iter();
        self.standings
            .extend(standings.map(|(of, standing)| (of.clone(), standing.clone())));
        let frozen = other.frozen.iter();
        self.frozen
            .extend(frozen.map(|(of, frozen)| (of.clone(), Arc::clone(frozen))));
    }

    /// The same, but of the workloads that `other` knows anything of what that knows, and nothing else.
    #[must_use]
    pub fn overruled_by(&self, other: &Self) -> Self {
        let known: BTreeSet<&Workload> = other.standings.keys().map(|of| &of.workload).collect();
        let mut both = other.clone();
        let rest = |revision: &&Revision| !known.contains(&revision.workload);
        let mine = self.standings.iter().filter(|(of, _)| rest(of));
        let frozen = self.frozen.iter().filter(|(of, _)| rest(of));
        both.standings
            .extend(mine.map(|(of, standing)| (of.clone(), standing.clone())));
        both.frozen
            .extend(frozen.map(|(of, frozen)| (of.clone(), Arc::clone(frozen))));
        both
    }
}

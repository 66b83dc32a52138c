//! One line of the table: a workload, so many runs to learn from, and for whom.

use std::collections::BTreeMap;

use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::generalize::{Dialect, Tightness};
use learner::mention::Tombstones;
use learner::path::AbsPath;
use learner::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures, Verdict};
use learner::policy::{Policy, from_yaml};
use learner::profile::{Evidence, RunProfile};
use learner::quarantine::{Include, sort};
use learner::recommend::{Criteria, Recommendation, recommend};
use learner::workload::{RunKey, Workload};

pub(crate) type Run<'a> = (&'a RunKey, &'a RunProfile);

pub(crate) struct Trial<'a> {
    pub(crate) workload: &'a Workload,
    /// Whole runs, in the order of their keys.
    pub(crate) runs: &'a [Run<'a>],
    pub(crate) k: usize,
    pub(crate) enforcer: Dialect,
    pub(crate) tightness: Tightness,
}

impl Trial<'_> {
    /// Says what was denied in a draw of the run that was left out.
    pub(crate) fn tell(&self, draw: usize, drawn: &[usize], left_out: usize, denied: &[String]) {
        let Self {
            k,
            enforcer,
            tightness,
            ..
        } = self;
        let run = &self.runs[left_out].0.run;
        let line = format!("k={k} {enforcer} {tightness:?}, draw {draw}, {run}");
        let names: Vec<&str> = drawn.iter().map(|run| &*self.runs[*run].0.run).collect();
        eprintln!(
            "{line}: {} denied, learned from {}",
            denied.len(),
            names.join(" ")
        );
        for what in denied {
            eprintln!("{line}: {what}");
        }
    }

    fn enforcer(&self) -> Enforcer {
        match self.enforcer {
            Dialect::AppArmor => Enforcer::AppArmor,
            Dialect::Bpf | Dialect::Both => Enforcer::Bpf,
            Dialect::Learner => Enforcer::Learner,
        }
    }

    /// What is recommended from these runs; one that is named twice counts as two. `None` where the
    /// rules do not fit.
    pub(crate) fn learn(&self, from: &[usize]) -> Option<Recommendation> {
        let mut evidence = Evidence::default();
        for (number, index) in from.iter().enumerate() {
            let (key, run) = self.runs[*index];
            let mut key = key.clone();
            key.run = format!("{}.{number}", key.run);
            evidence.insert(key, run.clone());
        }
        let criteria = Criteria {
            tightness: self.tightness,
            enforcer: self.enforcer,
            leave_out: 0,
            ..Criteria::default()
        };
        recommend(self.workload, &evidence, &criteria).ok()
    }

    /// The policies under block posture.
    pub(crate) fn enforced(&self, policies: &[&Policy]) -> Enforced {
        Enforced::new(self.enforcer(), policies, Postures::all(Posture::Block))
    }

    /// What the enforcer does where a policy allows nothing that anybody uses.
    pub(crate) fn with_nothing(&self) -> Enforced {
        self.enforced(&[&only("/no/such/file", false)])
    }

    /// What the enforcer does where a policy allows everything: what it denies then is not the
    /// policy's doing.
    pub(crate) fn with_everything(&self) -> Enforced {
        self.enforced(&[&only("/", true)])
    }
}

/// Of each run what may be learned of it alone, but for what no policy allows.
pub(crate) struct Asked<'a>(Vec<Vec<Operation<'a>>>);

impl<'a> Asked<'a> {
    pub(crate) fn of(trial: &Trial<'a>) -> Self {
        let everything = trial.with_everything();
        let of_run = |run: &Run<'a>| {
            let sorted = sort(&[*run], &Include::default(), &Tombstones::default());
            let learned = sorted.learned.into_values();
            learned
                .flat_map(BTreeMap::into_keys)
                .map(Operation::from)
                .filter(|operation| everything.judge(operation).verdict != Verdict::Denied)
                .collect()
        };
        Self(trial.runs.iter().map(of_run).collect())
    }

    /// The share of the run's distinct operations that is denied.
    pub(crate) fn denied(&self, run: usize, held: &Enforced) -> f64 {
        let asked = &self.0[run];
        let is_denied = |asked: &&Operation<'_>| held.judge(asked).verdict != Verdict::Allowed;
        asked.iter().filter(is_denied).count() as f64 / asked.len().max(1) as f64
    }

    pub(crate) fn runs(&self) -> usize {
        self.0.len()
    }
}

/// A policy that allows one path or directory to all, and every program there.
fn only(dir: &str, recursive: bool) -> Policy {
    let rule = if recursive {
        format!("matchDirectories: [{{dir: {dir}, recursive: true}}]")
    } else {
        format!("matchPaths: [{{path: {dir}}}]")
    };
    let text = format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {{name: a, namespace: b}}\n\
         spec: {{selector: {{matchLabels: {{a: b}}}}, process: {{{rule}}}, file: {{{rule}}}, action: Allow}}\n"
    );
    from_yaml(&text).expect("a policy").remove(0)
}

pub(crate) fn allowed(held: &Enforced, op: &Op, path: &AbsPath, source: &Option<AbsPath>) -> bool {
    let behavior = Behavior {
        op: op.clone(),
        path: path.clone(),
        source: source.clone(),
        uid: Some(0),
        owner: Some(true),
        upper: None,
        tty: Some(false),
        result: Outcome::Ok,
    };
    held.judge(&Operation::from(&behavior)).verdict == Verdict::Allowed
}

pub(crate) const READ: Op = Op::Open(Access::Read);

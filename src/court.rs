//! What the verbs about postures share: the store, what was decided so far, one review a workload.

use std::collections::BTreeSet;

use learner::candidate::Ledger;
use learner::generalize::{Dialect, Tightness};
use learner::journal::Actor;
use learner::kernel::enforcer;
use learner::mention::Tombstones;
use learner::observation::Moment;
use learner::profile::Evidence;
use learner::promotion::{self, Criteria, Docket, Hearing, Interruption, Review, Rollback};
use learner::quarantine::Include;
use learner::store::Summary;
use learner::workload::{RunKey, Workload};

use crate::args::{Gate, Global, RollbackName, Which};
use crate::failure::Failure;
use crate::selection::Stored;

/// The store, with what was decided when it was opened.
pub(crate) struct Court {
    pub(crate) stored: Stored,
    pub(crate) ledger: Ledger,
    pub(crate) forgotten: Tombstones,
    /// Who is to enforce a candidate that is frozen now.
    pub(crate) enforcer: Dialect,
    /// Why this machine cannot enforce one.
    unenforceable: Option<String>,
    /// How far a candidate that is frozen now may go.
    pub(crate) tightness: Tightness,
    /// What it learns although it is held.
    pub(crate) include: Include,
    /// Whether the bound on the risk is wanted where no criterion asks for it.
    pub(crate) risk: bool,
    /// When KubeArmor's alerts may have been missed: of a workload, or of every one.
    pub(crate) interruptions: Vec<(Option<Workload>, Interruption)>,
    /// What was heard and is not in the store.
    pub(crate) heard: Evidence,
    runs: Vec<Summary>,
}

impl Court {
    /// Waits a while if another process has the store open.
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        let stored = Stored::open_patiently(global)?;
        Ok(Self {
            ledger: stored.ledger()?,
            forgotten: stored.tombstones()?,
            runs: stored.summaries(&Which::default())?,
            stored,
            enforcer: Dialect::Learner,
            unenforceable: enforcer::is_active().err().map(|error| error.to_string()),
            tightness: Tightness::default(),
            include: Include::default(),
            risk: true,
            interruptions: Vec::new(),
            heard: Evidence::default(),
        })
    }

    /// The workloads that are meant, in order.
    pub(crate) fn workloads(&self, which: &Which) -> BTreeSet<Workload> {
        let meant = self
            .runs
            .iter()
            .filter(|run| which.takes(&run.key, &run.labels));
        meant.map(|run| run.key.workload.clone()).collect()
    }

    /// All runs of a workload and of the other containers of its owner.
    pub(crate) fn evidence(&self, workload: &Workload) -> Result<Evidence, Failure> {
        let keys = self.runs.iter().map(|run| &run.key);
        let of_owner: BTreeSet<&RunKey> = keys
            .filter(|key| key.workload.is_beside(workload))
            .collect();
        let mut evidence = self.stored.load(&of_owner)?;
        let heard = self.heard.runs().iter();
        for (key, run) in heard.filter(|(key, _)| key.workload.is_beside(workload)) {
            evidence.insert(key.clone(), run.clone());
        }
        Ok(evidence)
    }

    /// All runs of a workload, without those of the other containers of its owner.
    pub(crate) fn own_evidence(&self, workload: &Workload) -> Result<Evidence, Failure> {
        let keys = self.runs_of(workload).map(|run| &run.key);
        self.stored.load(&keys.collect())
    }

    /// The runs of a workload, without what they did.
    pub(crate) fn runs_of(&self, workload: &Workload) -> impl Iterator<Item = &Summary> {
        self.runs
            .iter()
            .filter(move |run| run.key.workload == *workload)
    }

    /// The alerts of a workload by its [`Court::own_evidence`]; `None` if its latest image is not
    /// judged.
    pub(crate) fn hear(&self, workload: &Workload, evidence: &Evidence) -> Option<Hearing<'_>> {
        promotion::hear(workload, evidence, &self.ledger, &self.forgotten)
    }

    /// Reviews a workload by its [`Court::evidence`]; `None` if nothing of it has succeeded.
    pub(crate) fn review(
        &self,
        workload: &Workload,
        evidence: &Evidence,
        criteria: &Criteria,
    ) -> Option<Review> {
        let all = self.interruptions.iter();
        let of_it = all.filter(|(whose, _)| whose.as_ref().is_none_or(|whose| whose == workload));
        let interruptions: Vec<Interruption> = of_it.map(|(_, one)| one.clone()).collect();
        let docket = Docket {
            interruptions: &interruptions,
            ..self.docket(evidence)
        };
        promotion::review(workload, &docket, criteria, Actor::Job, now())
    }

    /// What a decision about these runs is made of.
    pub(crate) fn docket<'a>(&'a self, evidence: &'a Evidence) -> Docket<'a> {
        Docket {
            evidence,
            ledger: &self.ledger,
            forgotten: &self.forgotten,
            enforcer: self.enforcer,
            unenforceable: self.unenforceable.as_deref(),
            tightness: self.tightness,
            include: &self.include,
            interruptions: &[],
            risk: self.risk,
        }
    }
}

impl Gate {
    /// What is wanted, as typed.
    pub(crate) fn criteria(&self) -> Criteria {
        let Self {
            window,
            min_runs,
            min_exercise,
            max_risk,
            canary,
            rollback,
        } = self;
        let micros = |span: &std::time::Duration| u64::try_from(span.as_micros());
        Criteria {
            window: micros(window).unwrap_or(u64::MAX),
            min_runs: *min_runs,
            min_exercise: *min_exercise,
            max_risk: *max_risk,
            canary: micros(canary).unwrap_or(u64::MAX),
            rollback: match rollback {
                RollbackName::Always => Rollback::Always,
                RollbackName::Canary => Rollback::Canary,
                RollbackName::Never => Rollback::Never,
            },
            share: None,
        }
    }
}

/// The wall clock.
pub(crate) fn now() -> Moment {
    Moment(jiff::Timestamp::now().as_microsecond())
}

/// Who is at the keyboard: who logged in, as the kernel keeps it through `su` and `sudo`; else the
/// user of this process.
pub(crate) fn person() -> Actor {
    let login = std::fs::read_to_string("/proc/self/loginuid");
    let login = login.ok().and_then(|text| text.trim().parse::<u32>().ok());
    let uid = login
        .filter(|uid| *uid != u32::MAX)
        .unwrap_or_else(|| rustix::process::getuid().as_raw());
    Actor::Person { uid }
}

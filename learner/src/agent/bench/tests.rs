use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::mention::Mention;
use crate::observation::Moment;
use crate::path::AbsPath;
use crate::profile::{RunProfile, Sighting};
use crate::promotion::{accept, demote};
use crate::store::Options;

const WEB: &str = "/usr/sbin/nginx";
const SECOND: i64 = 1_000_000;

/// A store and a bench, and an hour until now.
struct Story {
    _dir: TempDir,
    shelf: Arc<Shelf>,
    bench: Bench,
    terms: Terms,
    began: Moment,
}

fn workload() -> Workload {
    "shop/Deployment/web/web".parse().expect("a workload")
}

fn path(text: &str) -> AbsPath {
    AbsPath::try_from(text).expect("absolute")
}

fn opened(at: &str, result: Outcome) -> Behavior {
    Behavior {
        op: Op::Open(Access::Read),
        path: path(at),
        source: Some(path(WEB)),
        uid: Some(0),
        owner: Some(true),
        upper: Some(false),
        tty: Some(false),
        result,
    }
}

fn denied() -> Outcome {
    Outcome::Failed("EACCES".to_owned())
}

fn key(run: &str, image: &str) -> RunKey {
    RunKey {
        workload: workload(),
        image: image.to_owned(),
        run: run.to_owned(),
    }
}

impl Story {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let shelf = Shelf::open(&dir.path().join("store"), Options::default()).expect("a store");
        let shelf = Arc::new(shelf);
        let clock = Clock::now();
        let criteria = Criteria {
            window: 0,
            min_runs: 1,
            ..Criteria::default()
        };
        Self {
            bench: Bench::new(Arc::clone(&shelf), clock, Arc::default()),
            _dir: dir,
            shelf,
            terms: Terms {
                criteria,
                enforcer: Dialect::Bpf,
                unenforceable: None,
                tightness: Tightness::default(),
                include: Include::default(),
            },
            began: Moment(clock.moment().0 - 3_600 * SECOND),
        }
    }

    /// A whole run of a second at `at` seconds of the hour; what is negative is before it.
    fn run(&self, name: &str, image: &str, at: i64, more: &[Behavior]) {
        let moment = |at: i64| Moment(self.began.0 + at * SECOND);
        let exec = Behavior {
            op: Op::Exec,
            source: Some(path("/usr/bin/runc")),
            ..opened(WEB, Outcome::Ok)
        };
        let seen = Sighting {
            count: 1,
            first: moment(at),
            last: moment(at + 1),
        };
        let all = [exec, opened("/etc/nginx.conf", Outcome::Ok)];
        let run = RunProfile {
            labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            start: Some(moment(at)),
            stop: Some(moment(at + 1)),
            late: false,
            lost: BTreeMap::new(),
            seen: all.iter().chain(more).map(|b| (b.clone(), seen)).collect(),
        };
        self.shelf.fold(&key(name, image), &run).expect("folded");
    }

    fn sit(&mut self, pass: Pass) {
        let news = self.shelf.news();
        self.bench.sit(Docketed { news, pass }, &self.terms);
    }

    /// Turns until there is no news of the bench's own.
    fn settle(&mut self) {
        for _ in 0..5 {
            self.sit(Pass::None);
        }
        let news = self.shelf.news();
        assert!(
            news.runs.is_empty() && news.workloads.is_empty(),
            "{news:?}"
        );
    }

    /// Whether the standings of the story are moved back: as if the decisions had been made at `at`.
    fn decide(&self, image: &str, at: i64, posture: Posture) {
        let evidence = self
            .shelf
            .with(|store| store.load(|_| true))
            .expect("evidence");
        let ledger = self.shelf.ledger();
        let forgotten = self.shelf.with(|s| s.tombstones()).expect("tombstones");
        let docket = Docket {
            evidence: &evidence,
            ledger: &ledger,
            forgotten: &forgotten,
            enforcer: Dialect::Bpf,
            unenforceable: None,
            tightness: Tightness::default(),
            include: &Include::default(),
            interruptions: &[],
            risk: false,
        };
        let now = Moment(self.began.0 + at * SECOND);
        let review = review(&workload(), &docket, &self.terms.criteria, Actor::Job, now);
        let review = review.expect("something was seen");
        assert_eq!(review.revision.image, image);
        let decided = review
            .decision
            .unwrap_or_else(|| panic!("{:?}", review.verdict));
        assert_eq!(decided.standing.posture(), posture);
        self.shelf.decide(&decided).expect("decided");
    }

    /// A run at 0, frozen at 10.
    fn frozen() -> Self {
        let mut story = Self::new();
        story.run("first", "1", 0, &[opened("/etc/shadow", denied())]);
        story.decide("1", 10, Posture::Audit);
        story.sit(Pass::Judged);
        story
    }

    /// As [`Story::frozen`], a run at 20, promoted at 30.
    fn blocked() -> Self {
        let mut story = Self::frozen();
        story.run("quiet", "1", 20, &[]);
        story.decide("1", 30, Posture::Block);
        story.settle();
        story
    }

    fn posture(&self, image: &str) -> Option<Posture> {
        let revision = Revision::of(&key("", image));
        self.shelf
            .ledger()
            .standing(&revision)
            .map(Standing::posture)
    }

    /// Open alerts, and those found so far.
    fn alerts(&self) -> (u64, u64) {
        let stands = self.bench.stands();
        let [stand] = &stands[..] else {
            panic!("{stands:?}");
        };
        (stand.open, stand.found)
    }

    fn entries(&self) -> Vec<(&'static str, &'static str)> {
        let journal = self.shelf.with(|store| store.journal()).expect("a journal");
        assert_eq!(journal.faults(), []);
        let entries = journal.entries();
        entries
            .map(|e| (e.draft.actor.word(), e.draft.cause.word()))
            .collect()
    }
}

#[test]
fn a_new_image_is_put_under_audit_as_its_first_run_is_stored_and_an_old_one_changes_nothing() {
    let mut story = Story::blocked();
    story.run("second", "2", 100, &[opened("/etc/new", Outcome::Ok)]);
    story.settle();
    assert_eq!(story.posture("2"), Some(Posture::Audit));
    assert_eq!(story.posture("1"), Some(Posture::Block));
    assert_eq!(story.entries().last(), Some(&("agent", "new-image")));
    // What is new to it is an alert, also what it did before the decision.
    assert_eq!(story.alerts(), (1, 1));
    // A run of an image from before anything was decided is not the latest.
    story.run("older", "0", -100, &[]);
    story.settle();
    assert_eq!(story.posture("0"), None);
    assert_eq!(story.entries().len(), 3);
}

#[test]
fn a_denial_in_the_canary_is_taken_back_and_a_later_one_is_not_and_none_if_never() {
    let canary = 3_600;
    for (at, rollback, wanted) in [
        (100, Rollback::Canary, Posture::Audit),
        (30 + canary, Rollback::Canary, Posture::Block),
        (30 + canary, Rollback::Always, Posture::Audit),
        (100, Rollback::Never, Posture::Block),
    ] {
        let mut story = Story::blocked();
        story.terms.criteria.rollback = rollback;
        story.run("denied", "1", at, &[opened("/etc/new", Outcome::Ok)]);
        story.settle();
        assert_eq!(story.posture("1"), Some(wanted), "{at} {rollback:?}");
        assert_eq!(story.alerts(), (1, 1));
        let taken_back = story.entries().contains(&("agent", "rolled-back"));
        assert_eq!(taken_back, wanted == Posture::Audit);
    }
}

#[test]
fn what_is_refused_now_and_was_refused_before_the_promotion_is_no_alert_and_takes_nothing_back() {
    let mut story = Story::blocked();
    story.run("again", "1", 100, &[opened("/etc/shadow", denied())]);
    story.settle();
    assert_eq!(story.posture("1"), Some(Posture::Block));
    assert_eq!(story.alerts(), (0, 0));
    // The same is done: that is an alert all the same.
    let both = [
        opened("/etc/shadow", denied()),
        opened("/etc/shadow", Outcome::Ok),
    ];
    story.terms.criteria.rollback = Rollback::Never;
    story.run("both", "1", 200, &both);
    story.settle();
    assert_eq!(story.alerts(), (1, 1));
    // What was never refused before is one, and takes it back.
    story.terms.criteria.rollback = Rollback::Canary;
    story.run("other", "1", 300, &[opened("/etc/other", denied())]);
    story.settle();
    assert_eq!(story.posture("1"), Some(Posture::Audit));
    assert_eq!(story.alerts(), (2, 2));
}

#[test]
fn only_a_pass_that_promotes_does_and_it_makes_one_step_at_a_time() {
    let mut story = Story::new();
    story.run("first", "1", 0, &[]);
    story.sit(Pass::Judged);
    story.settle();
    assert_eq!(story.posture("1"), None);
    story.sit(Pass::Promote);
    story.settle();
    assert_eq!(story.posture("1"), Some(Posture::Audit));
    // Held: nothing was seen of it since.
    story.sit(Pass::Promote);
    assert_eq!(story.posture("1"), Some(Posture::Audit));
    story.run("quiet", "1", 3_601, &[]);
    story.settle();
    assert_eq!(story.posture("1"), Some(Posture::Audit));
    assert_eq!(story.entries(), [("agent", "promoted")]);
    assert_eq!(
        story.shelf.decisions().get(&("agent", "promoted")),
        Some(&1)
    );
}

#[test]
fn an_alert_is_found_once_and_again_by_another_freeze_and_closed_by_a_person() {
    let mut story = Story::frozen();
    let new = [
        opened("/etc/new", Outcome::Ok),
        opened("/etc/newer", Outcome::Ok),
    ];
    for (n, name) in (1..).zip(["a", "b"]) {
        story.run(name, "1", 100 * n, &new);
        story.settle();
        assert_eq!(story.alerts(), (2, 2));
    }
    // One is accepted, the other forgotten.
    let evidence = story
        .shelf
        .with(|store| store.load(|_| true))
        .expect("evidence");
    let ledger = story.shelf.ledger();
    let docket = Docket {
        evidence: &evidence,
        ledger: &ledger,
        forgotten: &Default::default(),
        enforcer: Dialect::Bpf,
        unenforceable: None,
        tightness: Tightness::default(),
        include: &Include::default(),
        interruptions: &[],
        risk: false,
    };
    let revision = Revision::of(&key("", "1"));
    let acts = BTreeSet::from([crate::act::Act::of(&new[0])]);
    let now = Moment(story.began.0 + 300 * SECOND);
    let person = Actor::Person { uid: 0 };
    let accepted = accept(&revision, &acts, &docket, person, now).expect("accepted");
    story.shelf.decide(&accepted).expect("decided");
    story.settle();
    assert_eq!(story.alerts(), (1, 2));
    let mention = Mention::parse(b"/etc/newer").expect("a mention");
    story
        .shelf
        .bury(&[(workload(), mention.clone())], false)
        .expect("buried");
    story.settle();
    assert_eq!(story.alerts(), (0, 2));
    story.run("c", "1", 400, &new);
    story.settle();
    assert_eq!(story.alerts(), (0, 2));
    story
        .shelf
        .bury(&[(workload(), mention)], true)
        .expect("dug up");
    story.settle();
    assert_eq!(story.alerts(), (1, 2));

    // Back in learning there are none; what another candidate denies is said anew.
    let ledger = story.shelf.ledger();
    let standing = ledger.standing(&revision).expect("a standing");
    let at = Moment(story.began.0 + 500 * SECOND);
    let back = demote(
        &revision,
        standing,
        Posture::Learning,
        "so".to_owned(),
        person,
        at,
    );
    story
        .shelf
        .decide(&back.expect("above it"))
        .expect("decided");
    story.settle();
    assert!(story.bench.stands().is_empty());
    story.run("whole", "1", 600, &[]);
    story.decide("1", 700, Posture::Audit);
    story.settle();
    story.run("d", "1", 800, &[opened("/etc/newest", Outcome::Ok)]);
    story.settle();
    assert_eq!(story.alerts(), (1, 3));
}

#[test]
fn an_agent_that_ends_judges_nothing_more() {
    let mut story = Story::frozen();
    story.bench.ending.store(true, Ordering::Relaxed);
    story.run("new", "2", 100, &[]);
    story.sit(Pass::None);
    assert_eq!(story.posture("2"), None);
}

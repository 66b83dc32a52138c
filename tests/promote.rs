//! From learning to block and back, from the command line.
//!
//! The clock of the command line is the real one. So a story begins forty hours ago: what happened
//! before the present is decided through the library, which is told the time.

mod world;

use jiff::Timestamp;
use learner::generalize::{Dialect, Tightness};
use learner::journal::Actor;
use learner::observation::Moment;
use learner::promotion::{Criteria, Docket, Review, review};
use learner::quarantine::Include;
use learner::store::Store;
use learner::workload::Workload;
use serde_json::{Value, json};
use world::{Said, World};

const WEB: &str = "/usr/sbin/nginx";
const NAME: &str = "shop/Deployment/web/web";

/// A store, and forty hours until now.
struct Story {
    world: World,
    began: i64,
}

/// A run of the web server from one hour of the story to another.
struct Run {
    name: &'static str,
    hours: (f64, f64),
    image: &'static str,
    more: Vec<Value>,
}

impl Run {
    fn new(name: &'static str, from: f64, to: f64) -> Self {
        Self {
            name,
            hours: (from, to),
            image: "web@sha256:1",
            more: Vec::new(),
        }
    }

    fn of(mut self, image: &'static str) -> Self {
        self.image = image;
        self
    }

    fn with(mut self, line: Value) -> Self {
        self.more.push(line);
        self
    }
}

fn opened(hour: f64, path: &str) -> Value {
    json!({"hour": hour, "op": "open", "source": WEB, "path": path, "access": "r"})
}

fn refused(hour: f64, path: &str) -> Value {
    let mut line = opened(hour, path);
    line["result"] = "EACCES".into();
    line
}

impl Story {
    fn new() -> Self {
        Self {
            world: World::new(),
            began: Timestamp::now().as_microsecond() - 40 * 3_600_000_000,
        }
    }

    /// Three whole runs, and the freeze at hour 4.
    fn frozen() -> Self {
        let story = Self::new();
        for (name, hour) in [("a", 0.0), ("b", 1.0), ("c", 2.0)] {
            story.import(&Run::new(name, hour, hour + 0.5));
        }
        story.decide(4.0);
        story
    }

    /// As [`Story::frozen`], with 25 quiet hours, and promoted to block at hour 31.
    fn blocked() -> Self {
        let story = Self::frozen();
        story.import(&Run::new("quiet", 5.0, 30.0));
        let review = story.decide(31.0);
        assert_eq!(review.verdict, learner::promotion::Verdict::Promote);
        story
    }

    fn at(&self, hour: f64) -> Moment {
        Moment(self.began + (hour * 3_600e6) as i64)
    }

    fn time(&self, hour: f64) -> String {
        let Moment(micros) = self.at(hour);
        Timestamp::from_microsecond(micros)
            .expect("a time")
            .to_string()
    }

    /// To the second, as it is said.
    fn said_time(&self, hour: f64) -> String {
        let Moment(micros) = self.at(hour);
        let time = Timestamp::from_microsecond(micros).expect("a time");
        time.strftime("%FT%TZ").to_string()
    }

    fn import(&self, run: &Run) {
        let file = self.recorded(run);
        let said = self.world.learner(&["import", &file]);
        assert_eq!(said.code, 0, "{}", said.err);
    }

    /// As a file that can be imported.
    fn recorded(&self, run: &Run) -> String {
        let (from, to) = run.hours;
        let mut lines = vec![
            json!({"hour": from, "op": "start"}),
            json!({"hour": from, "op": "exec", "source": "/usr/bin/runc", "path": WEB}),
            opened(from, "/etc/nginx/nginx.conf"),
            opened((from + to) / 2.0, "/srv/shop/index.html"),
        ];
        lines.extend(run.more.iter().cloned());
        if !lines.iter().any(|line| line["op"] == "stop") {
            lines.push(json!({"hour": to, "op": "stop"}));
        }
        let text = lines.into_iter().map(|mut line| {
            let hour = line["hour"].as_f64().expect("an hour");
            let fields = line.as_object_mut().expect("an object");
            fields.remove("hour");
            let mut put = |key: &str, value: Value| {
                fields.entry(key).or_insert(value);
            };
            put("at", self.time(hour).into());
            for (key, value) in [
                ("run", run.name),
                ("namespace", "shop"),
                ("kind", "Deployment"),
                ("workload", "web"),
                ("container", "web"),
                ("image", run.image),
            ] {
                put(key, value.into());
            }
            put("labels", json!({"app": "web"}));
            if !matches!(
                fields["op"].as_str(),
                Some("start" | "stop" | "lost" | "late")
            ) {
                for (key, value) in [
                    ("result", json!("ok")),
                    ("count", json!(1)),
                    ("uid", json!(101)),
                    ("owner", json!(false)),
                    ("tty", json!(false)),
                ] {
                    fields.entry(key).or_insert(value);
                }
            }
            format!("{line}\n")
        });
        let file = format!("{}.jsonl", run.name);
        self.world.write(&file, &text.collect::<String>());
        file
    }

    /// What the job would have decided at that hour, written down.
    fn decide(&self, hour: f64) -> Review {
        let store = Store::open(&self.world.path().join("store")).expect("a store");
        let evidence = store.load(|_| true).expect("evidence");
        let docket = Docket {
            evidence: &evidence,
            ledger: &store.ledger().expect("a ledger"),
            forgotten: &store.tombstones().expect("tombstones"),
            enforcer: Dialect::Bpf,
            unenforceable: None,
            tightness: Tightness::default(),
            include: &Include::default(),
            interruptions: &[],
            risk: false,
        };
        let workload: Workload = NAME.parse().expect("a workload");
        let now = self.at(hour);
        let mut review = review(&workload, &docket, &Criteria::default(), Actor::Job, now)
            .expect("something was seen");
        let decided = review
            .decision
            .take()
            .unwrap_or_else(|| panic!("{:?}", review.verdict));
        store.decide(decided).expect("written");
        review
    }

    fn learner(&self, args: &[&str]) -> Said {
        self.world.learner(args)
    }

    fn promote(&self, more: &[&str]) -> Said {
        self.learner(&[&["promote", "--enforcer", "bpf"], more].concat())
    }

    fn posture(&self) -> String {
        let said = self.learner(&["status", "-f", "json"]);
        said.json()[0]["posture"]
            .as_str()
            .expect("a posture")
            .to_owned()
    }

    fn policy(&self) -> Said {
        self.learner(&["recommend", "-o", "-"])
    }

    /// The ids of the open alerts.
    fn open(&self) -> Vec<String> {
        let all = self.learner(&["alerts", "-f", "json"]).json();
        let all = all.as_array().expect("an array").iter();
        let open = all.filter(|alert| alert["decision"].is_null());
        open.map(|alert| alert["id"].as_str().expect("an id").to_owned())
            .collect()
    }

    fn whole_journal(&self, entries: u64) {
        let said = self.learner(&["journal", "--verify", "-f", "json"]);
        assert_eq!(said.code, 0, "{}", said.out);
        assert_eq!(said.json()["entries"], entries);
    }
}

/// Holds for exactly these reasons.
#[track_caller]
fn held(story: &Story, more: &[&str], words: &[&str]) -> Said {
    let said = story.promote(&[&["-f", "json"], more].concat());
    assert_eq!(said.code, 1, "{said:?}");
    let row = &said.json()[0];
    assert_eq!(row["verdict"], "held", "{row:#}");
    let reasons = row["reasons"].as_array().expect("reasons").iter();
    let found: Vec<&str> = reasons
        .filter_map(|reason| reason["reason"].as_str())
        .collect();
    assert_eq!(found, words, "{row:#}");
    let text = story.promote(more);
    assert_eq!(text.code, 1);
    text
}

#[test]
fn a_quiet_and_exercised_workload_goes_from_learning_to_block() {
    let story = Story::new();
    story.import(&Run::new("a", 0.0, 0.5));
    let dry = story.promote(&["--dry-run"]);
    assert_eq!(dry.code, 0);
    assert!(
        dry.out.contains("would be promoted: learning -> audit"),
        "{}",
        dry.out
    );
    assert_eq!(story.posture(), "learning");
    story.import(&Run::new("b", 1.0, 1.5));
    story.import(&Run::new("c", 2.0, 2.5));
    story.decide(4.0);
    assert_eq!(story.posture(), "audit");
    story.import(&Run::new("quiet", 5.0, 30.0));

    let dry = story.promote(&["--dry-run"]);
    assert!(
        dry.out
            .contains("would be promoted: audit -> block after 25h quiet"),
        "{}",
        dry.out
    );
    assert_eq!(story.posture(), "audit");
    let said = story.promote(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.starts_with(&format!(
            "{NAME}: promoted: audit -> block after 25h quiet; canary until "
        )),
        "{}",
        said.out
    );
    assert_eq!(story.posture(), "block");
    let again = story.promote(&[]);
    assert_eq!(again.code, 0);
    assert!(
        again.out.starts_with(&format!("{NAME}: in block since ")),
        "{}",
        again.out
    );
    story.whole_journal(2);
    let journal = story.learner(&["journal", "-f", "json"]).json();
    assert_eq!(journal[1]["actor"]["by"], "job");
    assert_eq!(journal[1]["from"], "audit");
    assert_eq!(journal[1]["to"], "block");
    assert_eq!(journal[1]["figures"]["quiet"], 25 * 3_600_000_000u64);
    assert_eq!(journal[1]["criteria"]["window"], 24 * 3_600_000_000u64);
    assert_eq!(journal[0]["candidate"], journal[1]["candidate"]);
}

#[test]
fn the_candidate_is_the_policy_that_was_recommended_to_the_byte() {
    let story = Story::frozen();
    let policy = story.policy().out;
    let digest = learner::digest::Digest::of(policy.as_bytes()).to_string();
    assert_eq!(
        story.learner(&["status", "-f", "json"]).json()[0]["candidate"],
        digest
    );
}

#[test]
fn an_alert_holds_and_is_shown_with_its_id_run_and_reason() {
    let story = Story::frozen();
    story.import(&Run::new("quiet", 5.0, 38.0).with(opened(30.0, "/etc/shadow")));
    let text = held(&story, &["--window", "9h"], &["alerts", "not-quiet"]);
    assert_eq!(
        text.out,
        format!(
            "{NAME}: held in audit: 1 alert since {} (open /etc/shadow by {WEB}); 8h of 9h quiet\n",
            story.said_time(30.0)
        )
    );
    // It does not age: a person decides.
    held(&story, &["--window", "1h"], &["alerts"]);
    let said = story.learner(&["alerts", "-f", "json"]);
    assert_eq!(said.code, 1);
    let alert = &said.json()[0];
    assert_eq!(alert["path"], "/etc/shadow");
    assert_eq!(alert["source"], WEB);
    assert_eq!(alert["by"], "workload");
    assert_eq!(alert["result"], "done");
    assert_eq!(alert["runs"], json!(["quiet"]));
    assert_eq!(alert["count"], 1);
    assert_eq!(alert["first"], story.said_time(30.0));
    let table = story.learner(&["alerts"]);
    assert!(
        table.out.contains(alert["id"].as_str().expect("an id")),
        "{}",
        table.out
    );
    assert!(table.out.contains("no rule allows it"), "{}", table.out);
}

#[test]
fn an_alert_is_printed_as_kubearmor_prints_it() {
    let story = Story::frozen();
    let ran = json!({"hour": 6.0, "op": "exec", "source": WEB, "path": "/usr/bin/dash"});
    story.import(
        &Run::new("quiet", 5.0, 30.0)
            .with(opened(6.0, "/etc/shadow"))
            .with(ran),
    );
    let said = story.learner(&["alerts", "-f", "kubearmor"]);
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    let of = |operation: &str| {
        let found = lines.iter().find(|line| line["Operation"] == operation);
        found.unwrap_or_else(|| panic!("{lines:?}"))
    };
    let (exec, file) = (of("Process"), of("File"));
    for (line, field, value) in [
        (exec, "ProcessName", json!("/usr/bin/dash")),
        (exec, "ParentProcessName", json!(WEB)),
        (exec, "Source", json!(WEB)),
        (exec, "Data", json!("lsm=SECURITY_BPRM_CHECK")),
        (file, "ProcessName", json!(WEB)),
        (file, "Resource", json!("/etc/shadow")),
        (file, "Data", json!("lsm=FILE_OPEN")),
        (file, "NamespaceName", json!("shop")),
        (
            file,
            "Owner",
            json!({"Ref": "Deployment", "Name": "web", "Namespace": "shop"}),
        ),
        (file, "Labels", json!("app=web")),
        (file, "ContainerImage", json!("web@sha256:1")),
        (file, "PolicyName", json!("web-deployment-learned")),
        (file, "Type", json!("MatchedPolicy")),
        (file, "Action", json!("Audit")),
        (file, "Result", json!("Passed")),
        (file, "Severity", json!("1")),
        (file, "UID", json!(101)),
        (file, "PPID", json!(0)),
        (file, "Timestamp", json!(story.at(6.0).0 / 1_000_000)),
    ] {
        assert_eq!(line[field], value, "{field}: {line:#}");
    }
    assert!(
        file.get("ParentProcessName").is_none(),
        "empty fields are left out"
    );
}

#[test]
fn a_run_with_loss_is_no_quiet_time_whatever_else_was_watched_then() {
    let story = Story::frozen();
    story.import(&Run::new("quiet", 5.0, 30.0));
    let lost = json!({"hour": 12.0, "op": "lost", "reason": "ring-full", "count": 7});
    story.import(&Run::new("lossy", 10.0, 20.0).with(lost));
    let text = held(&story, &[], &["not-quiet"]);
    assert_eq!(
        text.out,
        format!(
            "{NAME}: held in audit: 15h of 24h quiet, 1 run does not count (lossy lost 7 events)\n"
        )
    );
    // The window extends: nine hours more are enough.
    story.import(&Run::new("more", 30.0, 39.0));
    assert_eq!(story.promote(&[]).code, 0);
}

#[test]
fn time_between_runs_does_not_count_and_time_twice_watched_counts_once() {
    let story = Story::frozen();
    story.import(&Run::new("d", 5.0, 10.0));
    story.import(&Run::new("e", 5.0, 10.0));
    story.import(&Run::new("f", 20.0, 25.0));
    let text = held(&story, &[], &["not-quiet"]);
    assert!(text.out.contains("10h of 24h quiet"), "{}", text.out);
}

#[test]
fn an_idle_workload_is_held() {
    let story = Story::frozen();
    let text = held(&story, &[], &["not-quiet", "idle", "no-start"]);
    assert!(
        text.out.contains("idle: nothing was seen since"),
        "{}",
        text.out
    );
    // A run that goes on is watched, but its start was before the freeze.
    let story = Story::new();
    for (name, hour) in [("a", 0.0), ("b", 1.0)] {
        story.import(&Run::new(name, hour, hour + 0.5));
    }
    story.import(&Run::new("c", 2.0, 39.0));
    story.decide(4.0);
    held(&story, &[], &["no-start"]);
}

#[test]
fn too_few_runs_unused_rules_and_risk_hold_where_they_are_wanted() {
    let story = Story::new();
    story.import(&Run::new("a", 0.0, 0.5).with(opened(0.2, "/srv/shop/rare.html")));
    story.decide(4.0);
    story.import(&Run::new("quiet", 5.0, 30.0));
    let strict = ["--min-exercise", "90", "--max-risk", "30"];
    let text = held(&story, &strict, &["too-few-runs", "unexercised", "risk"]);
    assert!(
        text.out.contains("2 of 3 whole runs; 4 of 5 rules used again, 90 % wanted; risk at most 100 %, 30 % wanted"),
        "{}",
        text.out
    );
    assert_eq!(
        story
            .promote(&["--min-runs", "2", "--min-exercise", "80"])
            .code,
        0
    );
}

#[test]
fn what_is_held_in_quarantine_holds_until_it_is_forgotten() {
    let story = Story::new();
    let entered =
        json!({"hour": 0.3, "op": "exec", "source": "/usr/bin/runc", "path": "/usr/bin/dash"});
    for (name, hour) in [("a", 0.0), ("b", 1.0)] {
        story.import(&Run::new(name, hour, hour + 0.5));
    }
    story.import(&Run::new("c", 0.0, 0.5).with(entered));
    story.decide(4.0);
    story.import(&Run::new("quiet", 5.0, 30.0));
    let text = held(&story, &[], &["undecided"]);
    assert!(
        text.out.contains("1 undecided in quarantine (exec /usr/bin/dash by /usr/bin/runc: the program was not started by the workload)"),
        "{}",
        text.out
    );
    assert_eq!(
        story
            .learner(&["forget", "--op", "exec", "/usr/bin/dash"])
            .code,
        0
    );
    assert_eq!(story.promote(&[]).code, 0);
}

#[test]
fn a_clock_that_was_set_promotes_nothing() {
    // Set back while it ran: it ended before it began.
    let story = Story::frozen();
    let stop = json!({"hour": 4.5, "op": "stop"});
    story.import(&Run::new("back", 5.0, 5.0).with(stop));
    let text = held(&story, &[], &["not-quiet"]);
    assert!(
        text.out
            .contains("0s of 24h quiet, 1 run does not count (back ended 30m before it began)"),
        "{}",
        text.out
    );
    // Set forward while it ran: it was active long after its end.
    let story = Story::frozen();
    story.import(&Run::new("out", 5.0, 30.0).with(opened(38.0, "/srv/shop/index.html")));
    let text = held(&story, &[], &["not-quiet"]);
    assert!(
        text.out.contains("out was active 8h outside of its bounds"),
        "{}",
        text.out
    );
    // Set back since: it ends in the future.
    let story = Story::frozen();
    story.import(&Run::new("ahead", 5.0, 64.0));
    let text = held(&story, &[], &["not-quiet"]);
    assert!(
        text.out.contains("ahead ends 23h 59m in the future")
            || text.out.contains("ahead ends 24h in the future"),
        "{}",
        text.out
    );
    // Set back since the posture began.
    let story = Story::new();
    story.import(&Run::new("a", 0.0, 0.5));
    story.decide(60.0);
    story.import(&Run::new("quiet", 5.0, 30.0));
    let text = held(
        &story,
        &["--min-runs", "1", "--window", "0s"],
        &["clock-behind", "idle", "no-start"],
    );
    assert!(
        text.out.contains("before the posture began at"),
        "{}",
        text.out
    );
}

#[test]
fn a_candidate_that_denies_what_the_workload_did_at_its_start_is_held() {
    // Names that differ from run to run in a place of others have no rule.
    let story = Story::new();
    for (run, hour, path) in [
        ("a", 0.0, "/etc/tmp.Xk29sLq1"),
        ("b", 1.0, "/etc/tmp.9sKq2LmZ"),
        ("c", 2.0, "/etc/tmp.Qw83nVb5"),
    ] {
        story.import(&Run::new(run, hour, hour + 0.5).with(opened(hour, path)));
    }
    let review = story.decide(4.0);
    assert_eq!(review.figures.whole, 3);
    story.import(&Run::new("quiet", 5.0, 30.0));
    let said = story.promote(&[]);
    if said.code == 1 {
        assert!(said.out.contains("the candidate denies"), "{}", said.out);
        assert!(said.out.contains("/etc/tmp."), "{}", said.out);
    } else {
        panic!("{said:?}");
    }
}

#[test]
fn a_new_image_goes_back_to_audit_with_the_old_candidate_and_says_what_differs() {
    let story = Story::blocked();
    let new = Run::new("v2", 33.0, 38.0).of("web@sha256:2");
    story.import(&new.with(opened(34.0, "/etc/passwd")));
    let said = story.promote(&["-f", "json"]);
    assert_eq!(said.code, 1);
    let row = &said.json()[0];
    assert_eq!(row["verdict"], "new-image");
    assert_eq!(row["to"], "audit");
    assert_eq!(row["before"], "web@sha256:1");
    assert_eq!(row["new"], json!([format!("open /etc/passwd by {WEB}")]));
    assert_eq!(row["removed"], json!([]));
    let journal = story.learner(&["journal", "-f", "json"]).json();
    assert_eq!(journal[2]["cause"]["cause"], "new-image");
    assert_eq!(journal[2]["revision"]["image"], "web@sha256:2");
    assert_eq!(journal[2]["candidate"], journal[1]["candidate"]);
    // What is new is an alert, although it was seen before the new image was known.
    held(
        &story,
        &["--window", "0s"],
        &["alerts", "idle", "too-few-runs"],
    );
    assert!(!story.policy().out.contains("/etc/passwd"));
}

#[test]
fn a_new_image_that_leaves_out_something_says_so() {
    let story = Story::new();
    for (name, hour) in [("a", 0.0), ("b", 1.0), ("c", 2.0)] {
        story.import(&Run::new(name, hour, hour + 0.5).with(opened(hour, "/srv/shop/old.html")));
    }
    story.decide(4.0);
    story.import(&Run::new("v2", 33.0, 38.0).of("web@sha256:2"));
    let said = story.promote(&[]);
    assert_eq!(said.code, 1);
    assert_eq!(
        said.out,
        format!(
            "{NAME}: put to audit with a new image (before: 'web@sha256:1' in audit); 0 new to the old candidate; 1 rules of it not used (file /srv/shop/old.html)\n"
        )
    );
    // The old image again: it is judged by what was decided of it.
    story.import(&Run::new("v1", 38.0, 39.0));
    assert_eq!(
        story.learner(&["status", "-f", "json"]).json()[0]["image"],
        "web@sha256:1"
    );
    story.whole_journal(2);
}

#[test]
fn a_denial_within_the_canary_takes_it_back_to_audit() {
    let story = Story::blocked();
    story.import(&Run::new("broken", 31.2, 31.4).with(refused(31.3, "/srv/shop/upload.tmp")));
    let said = story.promote(&[]);
    assert_eq!(said.code, 1);
    assert!(
        said.out.starts_with(&format!(
            "{NAME}: rolled back: block -> audit: denied at {}, canary until {}: open /srv/shop/upload.tmp by {WEB}: no rule allows it",
            story.said_time(31.3),
            story.said_time(32.0)
        )),
        "{}",
        said.out
    );
    assert_eq!(story.posture(), "audit");
    let journal = story.learner(&["journal", "-f", "json"]).json();
    assert_eq!(journal[2]["cause"]["cause"], "rolled-back");
    assert_eq!(journal[2]["cause"]["reason"]["reason"], "denial");
    // The denial is an alert that a person can accept, though the kernel refused it.
    let open = story.open();
    assert_eq!(open.len(), 1);
    assert_eq!(story.learner(&["accept", &open[0]]).code, 0);
    assert!(story.policy().out.contains("/srv/shop/upload.tmp"));
    assert_eq!(story.open(), Vec::<String>::new());
}

#[test]
fn after_the_canary_a_denial_alerts_and_takes_nothing_back() {
    let story = Story::blocked();
    story.import(&Run::new("late", 33.0, 34.0).with(refused(33.5, "/etc/shadow")));
    let said = story.promote(&[]);
    assert_eq!(said.code, 0);
    assert!(said.out.contains("in block since"), "{}", said.out);
    assert!(said.out.contains("1 alert since"), "{}", said.out);
    assert_eq!(story.posture(), "block");
    let alert = &story.learner(&["alerts", "-f", "kubearmor"]).json();
    assert_eq!(alert["Action"], "Block");
    assert_eq!(alert["Result"], "Permission denied");
    let said = story.promote(&["--rollback", "always"]);
    assert_eq!(said.code, 1);
    assert_eq!(story.posture(), "audit");
}

#[test]
fn with_rollback_never_a_denial_takes_nothing_back() {
    let story = Story::blocked();
    story.import(&Run::new("broken", 31.2, 31.4).with(refused(31.3, "/etc/shadow")));
    assert_eq!(story.promote(&["--rollback", "never"]).code, 0);
    assert_eq!(story.posture(), "block");
}

#[test]
fn who_enters_the_container_cannot_switch_enforcement_off() {
    let story = Story::blocked();
    let shell = "/usr/bin/dash";
    let run = Run::new("entered", 31.1, 31.5)
        .with(json!({"hour": 31.2, "op": "exec", "source": "/usr/bin/runc", "path": shell}))
        .with(
            json!({"hour": 31.3, "op": "open", "source": shell, "path": "/etc/shadow",
                     "access": "r", "result": "EACCES"}),
        )
        .with(
            json!({"hour": 31.3, "op": "open", "source": WEB, "path": "/etc/gshadow",
                     "access": "r", "result": "EACCES", "tty": true}),
        );
    story.import(&run);
    assert_eq!(story.promote(&[]).code, 0);
    assert_eq!(story.posture(), "block");
    assert_eq!(story.open().len(), 3);
}

/// The agent was restarted: of the run that goes on it does not know which programs are the workload's.
#[test]
fn in_a_late_run_only_a_program_that_the_candidate_lets_run_can_be_denied_for_the_workload() {
    for (source, posture) in [("/usr/bin/dash", "block"), (WEB, "audit")] {
        let story = Story::blocked();
        let mut denied = refused(31.3, "/etc/shadow");
        denied["source"] = source.into();
        let late = json!({"hour": 31.1, "op": "late"});
        story.import(&Run::new("late", 31.1, 31.5).with(late).with(denied));
        story.promote(&[]);
        assert_eq!(story.posture(), posture, "{source}");
        assert_eq!(story.open().len(), 1, "{source}");
    }
}

/// A runtime that joins a container executes itself from memory.
#[test]
fn a_program_without_a_path_is_not_the_workloads_under_block() {
    let story = Story::blocked();
    let mut denied = refused(31.3, "/proc/filesystems");
    let fields = denied.as_object_mut().expect("an object");
    fields.remove("source");
    story.import(&Run::new("entered", 31.1, 31.5).with(denied));
    assert_eq!(story.promote(&[]).code, 0);
    assert_eq!(story.posture(), "block");
    assert_eq!(story.open().len(), 1);
}

#[test]
fn what_the_kernel_always_refused_is_no_denial_of_the_candidate() {
    let story = Story::new();
    for (name, hour) in [("a", 0.0), ("b", 1.0), ("c", 2.0)] {
        story.import(&Run::new(name, hour, hour + 0.5).with(refused(hour + 0.1, "/root/.nginx")));
    }
    story.decide(4.0);
    story.import(&Run::new("quiet", 5.0, 30.0).with(refused(6.0, "/root/.nginx")));
    story.decide(31.0);
    story.import(&Run::new("again", 31.1, 31.5).with(refused(31.2, "/root/.nginx")));
    assert_eq!(story.promote(&[]).code, 0);
    assert_eq!(story.posture(), "block");
}

#[test]
fn alerts_never_teach() {
    let story = Story::frozen();
    let before = story.policy().out;
    for (name, hour) in [("d", 5.0), ("e", 12.0), ("f", 20.0)] {
        story.import(&Run::new(name, hour, hour + 1.0).with(opened(hour + 0.5, "/etc/shadow")));
    }
    let after = story.policy();
    assert_eq!(after.out, before);
    assert!(
        after.err.contains(&format!(
            "held back: open /etc/shadow by {WEB}: the frozen candidate denies it"
        )),
        "{}",
        after.err
    );
    // Nor by a word that is not for the journal.
    let named = story.learner(&["recommend", "-o", "-", "--include", "/etc/shadow"]);
    assert_eq!(named.out, before);
    // The recordings by themselves know of no posture.
    let apart = ["recommend", "-o", "-", "--from", "d.jsonl"];
    assert!(story.learner(&apart).out.contains("/etc/shadow"));
}

#[test]
fn accepting_makes_a_new_candidate_and_begins_the_window_anew() {
    let story = Story::frozen();
    story.import(
        &Run::new("quiet", 5.0, 38.0)
            .with(opened(6.0, "/etc/hosts"))
            .with(opened(7.0, "/etc/shadow")),
    );
    let open = story.open();
    assert_eq!(open.len(), 2);
    let alerts = story.learner(&["alerts", "-f", "json"]).json();
    let of = |path: &str| {
        let all = alerts.as_array().expect("an array");
        let found = all
            .iter()
            .find(|alert| alert["path"] == path)
            .expect("an alert");
        found["id"].as_str().expect("an id").to_owned()
    };
    let said = story.learner(&["accept", &of("/etc/hosts")]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
    let policy = story.policy().out;
    assert!(
        policy.contains("/etc/hosts") && !policy.contains("/etc/shadow"),
        "{policy}"
    );
    assert_eq!(
        story.open(),
        [of("/etc/shadow")],
        "what was not accepted stays open"
    );
    // All that was quiet was before.
    held(&story, &[], &["alerts", "not-quiet", "idle"]);
    let journal = story.learner(&["journal", "-f", "json"]).json();
    assert_eq!(journal[1]["cause"]["cause"], "accepted");
    assert_eq!(journal[1]["cause"]["ids"], json!([of("/etc/hosts")]));
    assert!(journal[1]["actor"]["uid"].is_u64());
    assert_ne!(journal[0]["candidate"], journal[1]["candidate"]);
    story.whole_journal(2);
    // The opposite: it stays denied, and holds nothing up.
    assert_eq!(story.learner(&["forget", "/etc/shadow"]).code, 0);
    held(&story, &[], &["not-quiet", "idle"]);
    let alerts = story.learner(&["alerts", "-f", "json"]);
    assert_eq!(alerts.code, 0);
    assert_eq!(alerts.json()[0]["decision"], "forgotten");
    // And cannot be accepted any more.
    assert_eq!(story.learner(&["accept", &of("/etc/shadow")]).code, 1);
}

#[test]
fn what_is_held_in_quarantine_is_accepted_by_name() {
    let story = Story::new();
    let probe =
        json!({"hour": 1.2, "op": "exec", "source": "/usr/bin/runc", "path": "/usr/bin/probe"});
    for (name, hour) in [("a", 0.0), ("c", 2.0)] {
        story.import(&Run::new(name, hour, hour + 0.5));
    }
    story.import(&Run::new("b", 1.0, 1.5).with(probe));
    story.decide(4.0);
    assert_eq!(
        story
            .learner(&["accept", "-n", "other", "exec:/usr/bin/probe"])
            .code,
        1
    );
    assert_eq!(story.learner(&["accept", "exec:/usr/bin/probe"]).code, 0);
    assert!(story.policy().out.contains("/usr/bin/probe"));
    let said = story.learner(&["accept", "exec:/usr/bin/probe", "123456789abc"]);
    assert_eq!(said.code, 1);
    assert_eq!(said.err.lines().count(), 2, "{}", said.err);
}

#[test]
fn what_no_policy_can_say_is_not_accepted_and_nothing_is_changed() {
    let story = Story::frozen();
    let long = format!("/{}", "x".repeat(220));
    story.import(&Run::new("quiet", 5.0, 30.0).with(opened(6.0, &long)));
    let said = story.learner(&["accept", &long]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("nothing was accepted"), "{}", said.err);
    story.whole_journal(1);
}

#[test]
fn a_person_takes_a_workload_back_with_a_reason() {
    let story = Story::blocked();
    let said = story.learner(&["demote", "shop/Deployment/web", "--reason", "uploads\nfail"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(story.posture(), "audit");
    held(&story, &[], &["not-quiet", "idle"]);
    let journal = story.learner(&["journal"]);
    assert!(
        journal.out.contains("demoted: uploads\\nfail"),
        "{}",
        journal.out
    );
    assert_eq!(journal.out.lines().count(), 4, "{}", journal.out);
    let again = story.learner(&["demote", "shop/Deployment/web", "--reason", "x"]);
    assert_eq!(again.code, 1);

    story.import(&Run::new("more", 32.0, 33.0).with(opened(32.5, "/etc/hosts")));
    let said = story.learner(&[
        "demote",
        "shop/Deployment/web",
        "--to",
        "learning",
        "--reason",
        "x",
    ]);
    assert_eq!(said.code, 0);
    assert!(
        said.err
            .contains("no alert any more, and learned unless it is forgotten: open /etc/hosts"),
        "{}",
        said.err
    );
    // The job does not freeze a candidate again of what was there already.
    let text = held(&story, &[], &["no-whole-run"]);
    assert!(
        text.out.contains("none of 5 runs was watched whole since"),
        "{}",
        text.out
    );
}

#[test]
fn two_jobs_at_once_promote_once() {
    let story = Story::frozen();
    story.import(&Run::new("quiet", 5.0, 30.0));
    let outs: Vec<Said> = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..3).map(|_| scope.spawn(|| story.promote(&[]))).collect();
        jobs.into_iter()
            .map(|job| job.join().expect("a job"))
            .collect()
    });
    let promoted = outs
        .iter()
        .filter(|said| said.out.contains("promoted: audit -> block"));
    assert_eq!(promoted.count(), 1, "{outs:?}");
    story.whole_journal(2);
}

#[test]
fn a_journal_that_was_tampered_with_is_told() {
    let story = Story::blocked();
    story.whole_journal(2);
    let dir = story.world.path().join("store/sled");
    {
        let db = sled::Config::new()
            .path(&dir)
            .segment_size(1024 * 1024)
            .open()
            .expect("sled");
        let last = db
            .scan_prefix([6u8])
            .last()
            .expect("entries")
            .expect("read");
        db.remove(last.0).expect("removed");
        db.flush().expect("flushed");
    }
    let said = story.learner(&["journal", "--verify"]);
    assert_eq!((said.code, said.out.as_str()), (1, "entry 2 was removed\n"));
    let said = story.learner(&["journal"]);
    assert!(said.err.contains("not as it was written"), "{}", said.err);
    // It goes on, and says so from then on.
    assert_eq!(
        story
            .learner(&["demote", "shop/Deployment/web", "--reason", "x"])
            .code,
        0
    );
    assert_eq!(
        story.learner(&["journal", "--verify"]).out,
        "entry 2 was removed\n"
    );
}

#[test]
fn without_a_store_there_is_nothing_to_do_and_none_is_made() {
    let world = World::new();
    for (args, code) in [
        (&["promote"][..], 0),
        (&["alerts"], 0),
        (&["status"], 1),
        (&["journal"], 1),
        (&["journal", "--verify"], 0),
        (&["accept", "/etc/passwd"], 1),
        (&["demote", "a/b/c", "--reason", "x"], 1),
    ] {
        let said = world.learner(args);
        assert_eq!(said.code, code, "{args:?}: {said:?}");
    }
    assert!(!world.path().join("store").exists());
    for args in [
        &["promote", "--min-exercise", "101"][..],
        &["promote", "--window", "-1h"],
        &["promote", "--rollback", "sometimes"],
        &["accept", "etc"],
        &["demote", "web", "--reason", "x"],
        &["demote", "a/b/c"],
    ] {
        assert_eq!(world.learner(args).code, 2, "{args:?}");
    }
}

#[test]
fn hostile_names_stay_on_their_line() {
    let story = Story::frozen();
    let name = "/tmp/a\nb\u{1b}[31m: [x]";
    story.import(&Run::new("evil\nrun", 5.0, 30.0).with(opened(6.0, name)));
    for (args, lines) in [
        (&["promote"][..], 1),
        (&["alerts"], 2),
        (&["status"], 2),
        (&["alerts", "-f", "kubearmor"], 1),
    ] {
        let said = story.learner(args);
        assert_eq!(said.out.lines().count(), lines, "{args:?}: {}", said.out);
        assert!(!said.out.contains('\u{1b}'), "{args:?}: {}", said.out);
    }
    assert_eq!(story.open().len(), 1);
}

#[test]
fn what_is_forgotten_and_still_allowed_holds_the_promotion_until_another_candidate_is_frozen() {
    let story = Story::frozen();
    story.import(&Run::new("quiet", 5.0, 38.0));
    let said = story.learner(&["forget", "/srv/shop/index.html"]);
    assert_eq!(said.code, 0, "{said:?}");
    let warned = said
        .err
        .lines()
        .find(|line| line.contains("goes on allowing"));
    let warned = warned.expect("a warning");
    assert!(
        warned.starts_with(&format!("warning: {NAME}: its candidate ")),
        "{warned}"
    );
    assert!(
        warned.contains("under audit, goes on allowing /srv/shop/index.html"),
        "{warned}"
    );
    assert!(
        warned.contains(&format!("learner demote '{NAME}' --to learning")),
        "{warned}"
    );
    let text = held(&story, &[], &["allows-forgotten"]);
    assert!(
        text.out
            .contains("the candidate allows what is forgotten (/srv/shop/index.html)"),
        "{}",
        text.out
    );
    // What it denies anyway holds nothing.
    let said = story.learner(&["forget", "--undo", "/srv/shop/index.html"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = story.learner(&["forget", "--op", "unlink", "/srv/shop/"]);
    assert!(!said.err.contains("goes on allowing"), "{}", said.err);
    let said = story.learner(&["forget", "--op", "open", "/srv/shop/"]);
    assert!(
        said.err.contains("goes on allowing open /srv/shop/"),
        "{}",
        said.err
    );
    held(&story, &[], &["allows-forgotten"]);

    // As it is said: another candidate, which has nothing of it.
    let back = ["demote", NAME, "--to", "learning", "--reason", "forgotten"];
    assert_eq!(story.learner(&back).code, 0);
    story.import(&Run::new("whole", 40.1, 40.2));
    let said = story.promote(&[]);
    assert!(said.out.contains("promoted: learning -> audit"), "{said:?}");
    let said = story.promote(&["-f", "json"]);
    let row = &said.json()[0];
    assert_eq!(row["figures"]["allows_forgotten"]["count"], 0, "{row:#}");
}

#[test]
fn who_follows_is_told_each_alert_once_as_it_comes_and_ctrl_c_ends_it() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    for (format, key) in [("json", "id"), ("kubearmor", "EventData"), ("table", "")] {
        let story = Story::frozen();
        story.import(&Run::new("one", 5.0, 30.0).with(opened(20.0, "/etc/one")));
        let mut child = Command::new(env!("CARGO_BIN_EXE_learner"))
            .args(["alerts", "--follow", "-f", format])
            .env_clear()
            .env("LEARNER_STORE", story.world.path().join("store"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("learner runs");
        let mut lines = BufReader::new(child.stdout.take().expect("an answer")).lines();
        let mut next = || lines.next().expect("a line").expect("text");
        if format == "table" {
            assert!(next().starts_with("ALERT "));
        }
        let first = next();
        assert!(first.contains("/etc/one"), "{first}");
        if !key.is_empty() {
            let first: Value = serde_json::from_str(&first).expect("an object on a line");
            assert!(!first[key].is_null(), "{first}");
        }
        // The same again, and a new one with a name that is hostile.
        let again = Run::new("two", 31.0, 35.0)
            .with(opened(32.0, "/etc/one"))
            .with(opened(33.0, "/etc/two\n\u{1b}[2J"));
        let file = story.recorded(&again);
        // Who follows has the store open now and then.
        while story.learner(&["import", &file]).code != 0 {}
        let second = next();
        assert!(second.contains("/etc/two"), "{second}");
        assert!(!second.contains('\u{1b}'), "{second:?}");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
        assert_eq!(child.wait().expect("ends").code(), Some(0));
        assert!(lines.next().is_none());
    }
}

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::observation::{Loss, Moment};
use crate::path::AbsPath;
use crate::posture::Revision;
use crate::profile::{RunProfile, Sighting};
use crate::quarantine::Whose;
use crate::recommend::{Criteria, latest_image, recommend_merged};
use crate::workload::{RunKey, Workload};

fn workload() -> Workload {
    "shop/Deployment/web".parse().expect("a workload")
}

fn revision(image: &str) -> Revision {
    Revision {
        workload: workload(),
        image: image.to_owned(),
    }
}

fn path(text: &str) -> AbsPath {
    AbsPath::new(text).expect("absolute")
}

const APP: &str = "/usr/bin/app";

fn done(op: Op, source: &str, what: &str) -> Behavior {
    Behavior {
        op,
        path: path(what),
        source: Some(path(source)),
        uid: None,
        owner: None,
        upper: Some(false),
        tty: None,
        result: Outcome::Ok,
    }
}

fn read(what: &str) -> Behavior {
    done(Op::Open(Access::Read), APP, what)
}

fn key(run: &str) -> RunKey {
    RunKey {
        workload: workload(),
        image: "web@1".to_owned(),
        run: run.to_owned(),
    }
}

fn at(moment: i64) -> Sighting {
    Sighting {
        count: 1,
        first: Moment(moment),
        last: Moment(moment),
    }
}

/// A run that was watched whole, began then, and read these.
fn whole(began: i64, reads: &[&str]) -> RunProfile {
    let mut run = RunProfile {
        labels: [("app".to_owned(), "web".to_owned())].into(),
        start: Some(Moment(began)),
        stop: Some(Moment(began + 100)),
        ..RunProfile::default()
    };
    let exec = done(Op::Exec, "/usr/bin/shim", APP);
    run.seen.insert(exec, at(began));
    for what in reads {
        run.seen.insert(read(what), at(began + 10));
    }
    run
}

fn part(runs: &[(&str, RunProfile)]) -> Part {
    let keys: Vec<RunKey> = runs.iter().map(|(name, _)| key(name)).collect();
    Part::of(keys.iter().zip(runs.iter().map(|(_, run)| run)))
}

fn told(part: &Part) -> Vec<String> {
    let files = part.acts.keys().filter(|act| act.op.as_str() == "open");
    files.map(|act| act.path.text()).collect()
}

/// The rules for files of the policy from these nodes' parts.
fn rules(nodes: &[&[(&str, RunProfile)]]) -> Vec<String> {
    let mut joint = Joint::default();
    for (runs, number) in nodes.iter().zip(0..) {
        joint.add(&revision("web@1"), &format!("node-{number}"), &part(runs));
    }
    let merged = Merged::of(&joint).expect("acts");
    let made = recommend_merged(&workload(), &merged, &Criteria::default()).expect("a policy");
    let mut rules: Vec<String> = made
        .rules
        .iter()
        .filter(|rule| rule.class == crate::generalize::RuleClass::File)
        .map(|rule| rule.target.to_string())
        .collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn a_node_tells_classes_and_no_names_of_what_varies() {
    let runs = [
        (
            "a",
            whole(
                0,
                &["/proc/77/stat", "/data/20250101T101010.log", "/data/config"],
            ),
        ),
        (
            "b",
            whole(
                1,
                &["/proc/78/stat", "/data/20250102T101010.log", "/data/config"],
            ),
        ),
    ];
    let told = told(&part(&runs));
    assert_eq!(
        told,
        ["/data/config", "/data/{time}.log", "/proc/{pid}/stat"]
    );
}

#[test]
fn a_name_that_may_be_the_same_in_every_run_is_told_until_two_runs_differ() {
    const UUID: &str = "/data/0d6f1e2a-7b1d-4a7e-9c55-2f3a1c9e3b4c";
    const OTHER: &str = "/data/1d6f1e2a-7b1d-4a7e-9c55-2f3a1c9e3b4c";
    let alone = [("a", whole(0, &[UUID]))];
    assert_eq!(told(&part(&alone)), [UUID]);
    let same = [("b", whole(1, &[UUID]))];
    assert!(rules(&[&alone, &same]).contains(&UUID.to_owned()));
    let other = [("b", whole(1, &[OTHER]))];
    assert!(rules(&[&alone, &other]).contains(&"/data/*".to_owned()));
}

#[test]
fn names_that_no_node_could_settle_are_settled_over_all_of_them() {
    let names = ["/srv/q/alpha", "/srv/q/beta", "/srv/q/gamma"];
    let nodes = names.map(|name| [("a", whole(0, &[name]))]);
    let nodes: Vec<&[(&str, RunProfile)]> = nodes.iter().map(|node| &node[..]).collect();
    assert!(rules(&nodes).contains(&"/srv/q/*".to_owned()));
    assert!(rules(&nodes[..2]).contains(&"/srv/q/alpha".to_owned()));
}

#[test]
fn what_was_held_on_one_node_is_learned_if_another_saw_it_done_by_the_workload() {
    let planted = "/srv/secret";
    let mut entered = whole(0, &[]);
    entered.seen.insert(
        Behavior {
            tty: Some(true),
            ..read(planted)
        },
        at(50),
    );
    let entered = [("a", entered)];
    let clean = [("b", whole(1, &["/srv/other"]))];
    assert!(!rules(&[&entered, &clean]).contains(&planted.to_owned()));
    let shows = [("b", whole(1, &[planted]))];
    assert!(rules(&[&entered, &shows]).contains(&planted.to_owned()));
}

#[test]
fn a_program_from_outside_is_not_spoken_for_by_one_whose_name_is_of_the_same_class() {
    let mut own = whole(0, &[]);
    own.seen
        .insert(done(Op::Exec, APP, "/srv/tmp.AAAAA1"), at(5));
    let foreign = done(Op::Exec, "/usr/bin/nsenter", "/srv/tmp.BBBBB2");
    own.seen.insert(foreign, at(2_000_000));
    let by_it = done(Op::Open(Access::Read), "/srv/tmp.BBBBB2", "/srv/secret");
    own.seen.insert(by_it, at(2_000_001));
    let part = part(&[("a", own)]);
    let shown: Vec<(String, bool)> = part
        .acts
        .keys()
        .filter(|act| act.path.text().starts_with("/srv/"))
        .map(|act| (act.path.text(), act.learned))
        .collect();
    assert_eq!(
        shown,
        [
            ("/srv/tmp.BBBBB2".to_owned(), false),
            ("/srv/tmp.{temporary}".to_owned(), true),
            ("/srv/secret".to_owned(), false),
        ]
    );
}

#[test]
fn what_is_too_much_to_tell_makes_its_runs_partial() {
    let names: Vec<String> = (0..MAX_ACTS + 50)
        .map(|n| format!("/srv/{}", "x".repeat(n % 90 + 1) + &"y".repeat(n / 90 + 1)))
        .collect();
    let reads: Vec<&str> = names.iter().map(String::as_str).collect();
    let part = part(&[("a", whole(0, &reads))]);
    assert_eq!(part.acts.len(), MAX_ACTS);
    // The exec is one more.
    assert_eq!(part.runs["a"].lost, [(Loss::Store, 51)].into());
}

#[test]
fn runs_that_are_too_many_are_one_that_is_partial() {
    let names: Vec<String> = (0..MAX_RUNS + 10).map(|n| format!("run-{n:04}")).collect();
    let runs: Vec<(&str, RunProfile)> = names
        .iter()
        .zip(0..)
        .map(|(name, began)| (name.as_str(), whole(began, &["/srv/a"])))
        .collect();
    let part = part(&runs);
    assert_eq!(part.runs.len(), MAX_RUNS);
    assert!(part.runs[OLDER].late);
    assert!(!part.runs.contains_key("run-0010") && part.runs.contains_key("run-0011"));
    let facts = part.acts.values().map(|facts| facts.seen.count);
    assert_eq!(facts.sum::<u64>(), 2 * (MAX_RUNS as u64 + 10));
}

#[test]
fn a_revision_that_rests_is_superseded_only_by_a_later_one() {
    const DAY: i64 = 86_400_000_000;
    let kept = |image: &str, alive: i64| Kept {
        revision: revision(image),
        alive: Moment(alive * DAY),
    };
    let old = |parts: &[Kept], now: i64| {
        superseded(parts, Moment(now * DAY), Duration::from_secs(30 * 86_400))
    };
    let parts = [kept("1", 1), kept("1", 5), kept("2", 9)];
    assert!(old(&parts, 35).is_empty());
    assert_eq!(old(&parts, 36), [revision("1")].into());
    assert_eq!(old(&parts, 400), [revision("1")].into());
    assert!(old(&parts[..2], 400).is_empty());
    assert!(old(&[], 400).is_empty());
}

fn fits(piece: &[(u64, usize)]) -> bool {
    piece.iter().map(|row| row.1).sum::<usize>() <= 400
}

proptest! {
    #[test]
    fn no_piece_is_larger_than_the_limit_and_no_row_is_lost(
        sizes in prop::collection::vec(1usize..100, 0..200),
    ) {
        let rows: Vec<(u64, usize)> = sizes
            .iter()
            .zip(1u64..)
            .map(|(size, n)| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16, *size))
            .collect();
        let pieces = split(rows.clone(), |row| row.0, fits);
        for piece in &pieces {
            prop_assert!(piece.iter().map(|row| row.1).sum::<usize>() <= 400);
        }
        let mut all: Vec<_> = pieces.concat();
        all.sort_unstable();
        let mut rows = rows;
        rows.sort_unstable();
        prop_assert_eq!(all, rows);
    }
}

#[test]
fn rows_that_cannot_be_cut_apart_end_the_splitting() {
    let pieces = split(vec![(7, 900), (7, 900)], |row| row.0, fits);
    assert_eq!(pieces.concat().len(), 2);
}

fn any_run() -> impl Strategy<Value = RunProfile> {
    let names = prop::sample::select(vec![
        "/proc/12/stat",
        "/proc/13/stat",
        "/data/a.log",
        "/data/b.log",
        "/data/20250101T101010",
        "/data/20250102T101010",
        "/srv/x-1",
        "/srv/x-2",
        "/etc/app.conf",
    ]);
    let reads = prop::collection::vec(names, 0..6);
    (reads, 0i64..5, any::<bool>()).prop_map(|(reads, began, late)| RunProfile {
        late,
        ..whole(began, &reads)
    })
}

/// A run of which the beginning may not be known, in which nothing may have succeeded, or of which an enforcer tells.
fn any_odd_run() -> impl Strategy<Value = RunProfile> {
    let odd = (any::<bool>(), any::<bool>(), any::<bool>());
    (any_run(), odd).prop_map(|(mut run, (is_begun, is_refused, is_heard))| {
        run.start = run.start.filter(|_| is_begun);
        if is_refused {
            let seen = run.seen.iter().map(|(behavior, seen)| {
                let result = Outcome::Failed("EACCES".to_owned());
                let behavior = Behavior {
                    result,
                    ..behavior.clone()
                };
                (behavior, *seen)
            });
            run.seen = seen.collect();
        }
        if is_heard {
            run.lose(Loss::from(crate::profile::HEARSAY), 1);
        }
        run
    })
}

/// What some nodes have told, each of some runs.
fn any_joint() -> impl Strategy<Value = Joint> {
    let runs = prop::collection::btree_map("[a-d]", any_run(), 1..4);
    prop::collection::btree_map("[x-z]", runs, 0..4).prop_map(|nodes| {
        let mut joint = Joint::default();
        for (node, runs) in &nodes {
            let runs: Vec<(&str, RunProfile)> = runs
                .iter()
                .map(|(name, run)| (name.as_str(), run.clone()))
                .collect();
            joint.add(&revision("web@1"), node, &part(&runs));
        }
        joint
    })
}

fn joined(a: &Joint, b: &Joint) -> Joint {
    let mut both = a.clone();
    both.join(b);
    both
}

proptest! {
    #[test]
    fn joining_does_not_depend_on_order_grouping_or_repetition(
        a in any_joint(),
        b in any_joint(),
        c in any_joint(),
    ) {
        prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(joined(&a, &a), a.clone());
        prop_assert_eq!(joined(&joined(&a, &b), &a), joined(&a, &b));
    }

    #[test]
    fn a_part_comes_back_as_it_was_told(run in any_run(), other in any_run()) {
        let part = part(&[("a", run), ("b", other)]);
        let mut joint = Joint::default();
        joint.add(&revision("web@1"), "n", &part);
        prop_assert_eq!(joint.part(&revision("web@1"), "n"), Some(part.clone()));
        joint.add(&revision("web@1"), "n", &part);
        prop_assert_eq!(joint.parts().map(|(.., part)| part).collect::<Vec<_>>(), [part]);
    }

    #[test]
    fn of_one_workload_it_is_the_same_as_of_all(joint in any_joint(), others in any_joint()) {
        let mut all = joint.clone();
        for (node, part) in others.parts().map(|(_, node, part)| (node.to_owned(), part)) {
            let beside = Workload { container: "proxy".to_owned(), ..workload() };
            for workload in [beside, "shop/Deployment/db".parse().expect("a workload")] {
                let revision = Revision { workload, ..revision("web@1") };
                all.add(&revision, &node, &part);
            }
        }
        let whole = Merged::of(&all).expect("acts");
        let one = Merged::of_workload(&all, &workload()).expect("acts");
        let of_it = |merged: &Merged| -> Vec<_> {
            let runs = merged.evidence().runs().iter();
            let runs = runs.filter(|(key, _)| key.workload == workload());
            runs.map(|(key, run)| (key.clone(), run.clone())).collect()
        };
        prop_assert_eq!(of_it(&one), of_it(&whole));
        let policy = |merged: &Merged| {
            let made = recommend_merged(&workload(), merged, &Criteria::default());
            made.map(|made| (made.policy, made.notes)).map_err(|error| error.to_string())
        };
        prop_assert_eq!(policy(&one), policy(&whole));
    }

    #[test]
    fn the_latest_image_is_that_of_the_evidence(
        runs in prop::collection::vec(("[1-3]", "[x-z]", any_odd_run()), 0..8),
    ) {
        let mut joint = Joint::default();
        for ((image, node, run), number) in runs.into_iter().zip(0..) {
            joint.add(&revision(&image), &node, &part(&[(&format!("run-{number}"), run)]));
        }
        let merged = Merged::of(&joint).expect("acts");
        let workload = workload();
        let latest = joint.latest_image(&workload);
        prop_assert_eq!(latest, latest_image(&workload, merged.evidence()));
    }

    #[test]
    fn an_act_is_told_again_as_it_was(joint in any_joint()) {
        for (_, _, part) in joint.parts() {
            for act in part.acts.keys() {
                prop_assert_eq!(act.path.text().parse(), Ok(act.path.clone()));
                prop_assert!(act.example().is_ok());
            }
        }
        let merged = Merged::of(&joint).expect("acts");
        let runs: BTreeMap<_, _> = merged.evidence().runs().iter().collect();
        let of_parts: usize = joint.parts().map(|(_, _, part)| part.runs.len()).sum();
        prop_assert_eq!(runs.len(), of_parts);
    }
}

#[test]
fn who_entered_the_container_is_told_from_the_workload_and_a_run_ends_when_it_ends() {
    let mut first = whole(1_000, &["/etc/app.conf"]);
    // Ten minutes later somebody comes in.
    let later = 600_000_000;
    let enters = done(Op::Exec, "/usr/bin/runc", "/bin/sh");
    let looks = done(Op::Open(Access::Read), "/bin/sh", "/etc/shadow");
    first.stop = Some(Moment(later * 2));
    first.seen.insert(enters, at(later));
    first.seen.insert(looks, at(later + 1));
    let second = whole(later * 3, &["/etc/app.conf"]);
    let (one, two) = (key("a"), key("b"));
    let mut joint = Joint::default();
    let part = Part::of([(&one, &first), (&two, &second)]);
    joint.add(&revision("web@1"), "node-1", &part);
    let merged = Merged::of(&joint).expect("acts");
    let revision = revision("web@1");
    let of = |what: &str| -> Vec<_> {
        let all = merged.sightings(&revision);
        all.filter(|(_, _, behavior, ..)| behavior.path == path(what))
            .map(|(key, _, _, seen, whose)| (key.run.as_str(), seen.last.0, whose))
            .collect()
    };
    assert_eq!(of("/etc/shadow"), [("node-1/a", later + 1, Whose::Outside)]);
    assert_eq!(
        of("/etc/app.conf"),
        [
            ("node-1/a", later * 2, Whose::Own),
            ("node-1/b", later * 3 + 10, Whose::Own),
        ]
    );
    let (include, none) = Default::default();
    let sifted = merged.sifted(&revision, &include, &none, &Default::default());
    let runs: Vec<_> = sifted.entered.iter().map(|key| key.run.as_str()).collect();
    assert_eq!(runs, ["node-1/a", "node-1/b"]);
    let held: Vec<_> = sifted
        .quarantine
        .held
        .iter()
        .map(|held| held.path.to_string())
        .collect();
    assert_eq!(held, ["/bin/sh", "/etc/shadow"]);
}

/// What an enforcer's alerts tell of these reads.
fn hearsay(reads: &[&str]) -> RunProfile {
    let mut run = RunProfile::default();
    run.lose(Loss::from(crate::profile::HEARSAY), 1);
    for what in reads {
        run.seen.insert(read(what), at(20));
    }
    run
}

#[test]
fn what_an_enforcer_tells_settles_no_names_and_teaches_nothing() {
    let own = whole(0, &["/data/app-1.log"]);
    let alone = rules(&[&[("a", own.clone())]]);
    let many: Vec<String> = (2..60).map(|n| format!("/data/app-{n}.log")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let with = [("a", own), ("kubearmor-1", hearsay(&many))];
    assert_eq!(rules(&[&with]), alone);
    assert!(told(&part(&with)).contains(&"/data/app-1.log".to_owned()));
}

#[test]
fn whose_doing_it_was_is_told_by_who_has_seen_it() {
    let mut own = whole(0, &["/etc/app.conf"]);
    let by_hand = Behavior {
        tty: Some(true),
        ..read("/etc/shadow")
    };
    own.seen.insert(by_hand, at(30));
    let heard = hearsay(&["/etc/other", "/etc/shadow"]);
    let orders = [
        [("a", own.clone()), ("z", heard.clone())],
        [("z", own), ("a", heard)],
    ];
    for order in orders {
        let mut joint = Joint::default();
        joint.add(&revision("web@1"), "node", &part(&order));
        let merged = Merged::of(&joint).expect("acts");
        let revision = revision("web@1");
        let whose = |what: &str| -> Vec<Whose> {
            let all = merged.sightings(&revision);
            let of_it = all.filter(|(_, _, behavior, ..)| behavior.path == path(what));
            of_it.map(|(.., whose)| whose).collect()
        };
        assert_eq!(whose("/etc/shadow"), [Whose::Outside, Whose::Outside]);
        assert_eq!(whose("/etc/other"), [Whose::Unknown]);
    }
}

#[test]
fn of_too_many_gaps_and_alerts_the_older_are_told_as_one_and_runs_are_not_among_them() {
    let gap = |at: i64| RunProfile {
        start: Some(Moment(at)),
        stop: Some(Moment(at + 1)),
        late: true,
        lost: [(Loss::from(crate::profile::unheard::THROTTLED), 1)].into(),
        ..RunProfile::default()
    };
    let mut runs = vec![("whole".to_owned(), whole(0, &["/etc/app.conf"]))];
    for number in 0..MAX_RUNS as i64 + 5 {
        runs.push((format!("gap-{number:04}"), gap(number)));
        runs.push((format!("heard-{number:04}"), hearsay(&["/etc/other"])));
    }
    let runs: Vec<(&str, RunProfile)> = runs
        .iter()
        .map(|(name, run)| (name.as_str(), run.clone()))
        .collect();
    let part = part(&runs);
    assert_eq!(part.runs.len(), 2 * MAX_RUNS + 1);
    let mut joint = Joint::default();
    joint.add(&revision("web@1"), "node", &part);
    let merged = Merged::of(&joint).expect("acts");
    let runs = merged.evidence().runs();
    let kinds = |is: fn(&RunProfile) -> bool| runs.values().filter(|run| is(run)).count();
    assert_eq!(kinds(RunProfile::is_gap), MAX_RUNS);
    assert_eq!(kinds(RunProfile::is_hearsay), MAX_RUNS);
    let whole: Vec<_> = runs.values().filter(|run| !run.is_partial()).collect();
    assert_eq!(whole.len(), 1);
    let old = &runs[&key("node/kubearmor-older-gaps")];
    assert_eq!((old.start, old.stop), (Some(Moment(0)), Some(Moment(6))));
}

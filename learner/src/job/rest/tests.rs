use super::*;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::candidate::Candidate;
use crate::cluster::{EnforcedBy, Enforcement, pieces};
use crate::generalize::Dialect;
use crate::path::AbsPath;
use crate::posture::Freeze;
use crate::profile::{RunProfile, Sighting};
use crate::shared::{Joint, Part};
use crate::workload::RunKey;

const HOUR: i64 = 3_600_000_000;
const NOW: Moment = Moment(1_000 * HOUR);

fn revision(image: &str) -> Revision {
    Revision {
        workload: "shop/Deployment/web".parse().expect("a workload"),
        image: image.to_owned(),
    }
}

fn did(op: Op, path: &str, result: Outcome) -> Behavior {
    Behavior {
        op,
        path: AbsPath::new(path).expect("a path"),
        source: Some(AbsPath::new("/usr/bin/web").expect("a path")),
        uid: None,
        owner: None,
        upper: None,
        tty: None,
        result,
    }
}

fn reads(path: &str) -> Behavior {
    did(Op::Open(Access::Read), path, Outcome::Ok)
}

/// What a node tells of a run of an image that began then and did these.
fn part(image: &str, began: i64, all: &[Behavior]) -> Part {
    let mut run = RunProfile {
        start: Some(Moment(began)),
        stop: Some(Moment(began + 9)),
        ..RunProfile::default()
    };
    for behavior in all {
        let seen = Sighting {
            count: 1,
            first: Moment(began + 1),
            last: Moment(began + 2),
        };
        run.seen.insert(behavior.clone(), seen);
    }
    let Revision { workload, image } = revision(image);
    let key = RunKey {
        workload,
        image,
        run: format!("run-{began}"),
    };
    Part::of([(&key, &run)])
}

fn object(image: &str, node: &str, part: &Part) -> WorkloadEvidence {
    let pieces = pieces(&revision(image), node, NOW, part);
    pieces.expect("pieces").remove(0)
}

/// It is under block with a candidate that allows to read in `/etc/`.
fn frozen() -> Frozen {
    let candidate = Candidate::reads_etc(Dialect::Bpf);
    let freeze = Freeze {
        candidate: candidate.digest(),
        judged_from: Some(Moment(0)),
        window_from: Moment(0),
        blocked: Some(Moment(0)),
    };
    Frozen::new(std::sync::Arc::new(candidate), freeze)
}

fn state(name: u64, state: u64) -> State {
    State { name, state }
}

fn resting(others: Option<i64>, states: &[State]) -> Resting {
    let calm = Calm {
        others: others.map(Moment),
    };
    let states: Vec<_> = states.iter().copied().map(Some).collect();
    let resting = Resting::of(
        &revision("web:1"),
        "as it was".to_owned(),
        calm,
        &states,
        NOW,
    );
    resting.expect("states")
}

fn look(rest: Rest, there: &[(&str, State)], standing: &str, now: Moment) -> (usize, Vec<String>) {
    let there = there
        .iter()
        .map(|(name, state)| ((*name).to_owned(), *state));
    let there: BTreeMap<String, State> = there.collect();
    let standing_of = |of: &Revision| (*of == revision("web:1")).then(|| standing.to_owned());
    let look = rest.look(&there, standing_of, now);
    (look.at_rest.len(), look.fresh.into_iter().collect())
}

#[test]
fn what_is_new_is_read_and_all_where_anything_went_or_stands_elsewhere() {
    let rest = || Rest::of(vec![resting(None, &[state(1, 10), state(2, 20)])]);
    let (a, b, odd) = (
        ("a", state(1, 10)),
        ("b", state(2, 20)),
        ("odd", state(9, 90)),
    );
    let same = "as it was";
    let none: [String; 0] = [];
    assert_eq!(look(rest(), &[a, b], same, NOW), (1, none.to_vec()));
    let b2 = ("b", state(2, 21));
    assert_eq!(
        look(rest(), &[a, b2, odd], same, NOW),
        (1, vec!["b".to_owned(), "odd".to_owned()])
    );
    let all = (0, vec!["a".to_owned()]);
    assert_eq!(look(rest(), &[a], same, NOW), all);
    let all = (0, vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(look(rest(), &[a, b], "another", NOW), all);
    // Once a week, and where the clock went back.
    let week = Moment(NOW.0 + 7 * 24 * HOUR);
    assert_eq!(look(rest(), &[a, b], same, week), all);
    assert_eq!(look(rest(), &[a, b], same, Moment(NOW.0 - 1)), all);
    assert_eq!(look(rest(), &[a, b], same, Moment(week.0 - 1)).0, 1);
    // Names of one hash.
    let twin = ("c", state(2, 20));
    assert_eq!(look(rest(), &[a, b, twin], same, NOW).0, 0);
}

#[test]
fn a_note_that_is_not_as_it_was_written_says_nothing() {
    let rest = Rest::of(vec![resting(Some(5), &[state(1, 10), state(2, 20)])]);
    let note = rest.clone().note().expect("a note");
    assert_eq!(Rest::read(&note), Some(rest.clone()));
    assert_eq!(Rest::of(Vec::new()).note(), None);
    for odd in [
        "",
        "{}",
        "null",
        &note[1..],
        &note.replace("\"by\":\"1 ", "\"by\":\"2 "),
    ] {
        assert_eq!(Rest::read(odd), None, "{odd}");
    }
    // What is no list of states is of no workload.
    let (a, b) = (("a", state(1, 10)), ("b", state(2, 20)));
    for text in [
        "",
        "!",
        "AAAA",
        &format!("{}AAAA", rest.workloads[0].states),
    ] {
        let mut odd = rest.clone();
        text.clone_into(&mut odd.workloads[0].states);
        assert_eq!(look(odd, &[a, b], "as it was", NOW).0, 0, "{text}");
    }
}

#[test]
fn a_note_has_as_many_workloads_as_there_is_room_for() {
    let many = |count: u64| -> Vec<State> { (0..count).map(|at| state(at, at)).collect() };
    let large = resting(None, &many(12_000));
    let small = resting(None, &many(2));
    let note = Rest::of(vec![small.clone(), large]).note().expect("a note");
    assert!(note.len() <= MAX_NOTE);
    assert_eq!(Rest::read(&note), Some(Rest::of(vec![small])));
}

#[test]
fn what_is_new_is_at_rest_if_it_is_allowed_and_of_the_latest_image() {
    let frozen = frozen();
    let resting = resting(Some(5 * HOUR), &[state(1, 1)]);
    let looked_at = |object: &WorkloadEvidence| resting.looked_at(object, &frozen);
    let calm = [reads("/etc/a"), reads("/etc/b")];
    let of = |began, all: &[Behavior]| object("web:1", "n", &part("web:1", began, all));
    assert_eq!(looked_at(&of(6 * HOUR, &calm)), Some(true));
    // It began before the last run of another image: others have to show that this is the latest.
    assert_eq!(looked_at(&of(5 * HOUR, &calm)), Some(false));
    assert_eq!(looked_at(&of(6 * HOUR, &[])), Some(false));

    let refused = did(
        Op::Open(Access::Read),
        "/etc/a",
        Outcome::Failed("EACCES".to_owned()),
    );
    for odd in [
        reads("/srv/a"),
        refused,
        did(Op::Exec, "/bin/sh", Outcome::Ok),
    ] {
        let all = [reads("/etc/a"), odd.clone()];
        assert_eq!(looked_at(&of(6 * HOUR, &all)), None, "{odd}");
    }
    let new = object("web:2", "n", &part("web:2", 6 * HOUR, &calm));
    assert_eq!(looked_at(&new), None);
    let changed = |change: fn(&mut WorkloadEvidence)| {
        let mut object = of(6 * HOUR, &calm);
        change(&mut object);
        looked_at(&object)
    };
    assert_eq!(changed(|_| {}), Some(true));
    assert_eq!(changed(|object| object.spec.pieces = 2), None);
    assert_eq!(
        changed(|object| object.spec.acts[0].path = "etc".to_owned()),
        None
    );
    assert_eq!(changed(|object| object.spec.acts[0].denied = true), None);
    assert_eq!(
        changed(|object| object.spec.workload.name = "db".to_owned()),
        None
    );
    let enforced = |object: &mut WorkloadEvidence| {
        object.spec.enforcement = Some(Enforcement {
            by: EnforcedBy::Nobody,
            why: None,
        });
    };
    assert_eq!(changed(enforced), None);
}

#[test]
fn the_latest_run_of_another_image_is_known() {
    let mut joint = Joint::default();
    let told = [("web:1", "a", 7), ("web:2", "a", 5), ("web:2", "b", 6)];
    for (image, node, began) in told {
        joint.add(
            &revision(image),
            node,
            &part(image, began, &[reads("/etc/a")]),
        );
    }
    // Of what did nothing it is not told when it ran.
    joint.add(&revision("web:3"), "a", &part("web:3", 9, &[]));
    let of = |joint: &Joint| {
        let others = Calm::of(&revision("web:1"), joint).others;
        others.map(|at| at.0)
    };
    assert_eq!(of(&joint), Some(6));
    let mut one = Joint::default();
    one.add(
        &revision("web:1"),
        "a",
        &part("web:1", 7, &[reads("/etc/a")]),
    );
    assert_eq!(of(&one), None);
}

#[test]
fn another_standing_or_what_is_forgotten_is_no_more_the_same() {
    let at = |since| Standing::Learning {
        since: Moment(since),
    };
    let forget = Mention {
        op: None,
        path: AbsPath::new("/etc/shadow").expect("a path"),
        source: None,
    };
    let one = standing(&at(1), [].iter());
    assert_eq!(one, standing(&at(1), [].iter()));
    assert_ne!(one, standing(&at(2), [].iter()));
    assert_ne!(one, standing(&at(1), [forget].iter()));
}

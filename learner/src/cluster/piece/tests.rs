use super::*;
use crate::behavior::{Behavior, Op, Outcome};
use crate::path::AbsPath;
use crate::profile::RunProfile;
use crate::workload::RunKey;

const AT: i64 = 1_700_000_000_000_001;

fn revision() -> Revision {
    Revision {
        workload: "shop/Deployment/web".parse().expect("a workload"),
        image: "web@sha256:1".to_owned(),
    }
}

fn behavior(op: Op, path: &[u8]) -> Behavior {
    Behavior {
        op,
        path: AbsPath::new(path).expect("absolute"),
        source: AbsPath::try_from("/usr/bin/app").ok(),
        uid: None,
        owner: Some(true),
        upper: Some(false),
        tty: None,
        result: Outcome::Ok,
    }
}

/// Runs that did everything there is, each with so many files of its own.
fn part(runs: usize, files: usize) -> Part {
    let to = AbsPath::new(&b"/srv/\xff\n{pid}"[..]).expect("absolute");
    let all: BTreeMap<RunKey, RunProfile> = (0..runs)
        .map(|number| {
            let mut run = RunProfile {
                labels: [("app".to_owned(), "web".to_owned())].into(),
                start: Some(Moment(AT)),
                stop: Some(Moment(AT + 5)),
                late: number == 1,
                ..RunProfile::default()
            };
            run.lose(Loss::RingFull, 7);
            let mut did = vec![
                behavior(Op::Exec, b"/usr/bin/app"),
                behavior(Op::Open(Access::ReadWrite), b"/proc/77/stat"),
                behavior(Op::Rename { to: to.clone() }, b"/srv/a"),
                behavior(Op::Mkdir, b"/srv/d"),
            ];
            did.push(Behavior {
                result: Outcome::Failed("EACCES".to_owned()),
                ..behavior(Op::Open(Access::Read), b"/etc/shadow")
            });
            for file in 0..files {
                let name = format!("/srv/{}{file}", "long-".repeat(20));
                did.push(behavior(Op::Open(Access::Read), name.as_bytes()));
            }
            for (did, at) in did.into_iter().zip(AT..) {
                let seen = Sighting {
                    count: 3,
                    first: Moment(at),
                    last: Moment(at + 1),
                };
                run.seen.insert(did, seen);
            }
            let key = RunKey {
                workload: revision().workload,
                image: revision().image,
                run: format!("run-{number}"),
            };
            (key, run)
        })
        .collect();
    Part::of(&all)
}

fn read_back(pieces: &[WorkloadEvidence]) -> Part {
    let mut whole = Part::default();
    for piece in pieces {
        let json = serde_json::to_string(piece).expect("JSON");
        let piece: WorkloadEvidence = serde_json::from_str(&json).expect("an object");
        let (of, part) = part_of(&piece).expect("a piece");
        assert_eq!(of, revision());
        whole.join(&part);
    }
    whole
}

#[test]
fn what_a_node_has_seen_is_read_back_from_its_objects() {
    let part = part(3, 2);
    let pieces = pieces(&revision(), "node-1", Moment(AT), &part).expect("pieces");
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].spec.alive, "2023-11-14T22:13:20.000001Z");
    assert_eq!(read_back(&pieces), part);
}

#[test]
fn what_is_too_large_is_several_objects_which_are_read_as_one() {
    let part = part(2, 3_000);
    let pieces = pieces(&revision(), "node-1", Moment(AT), &part).expect("pieces");
    assert!(pieces.len() > 1, "{}", pieces.len());
    let mut names = BTreeSet::new();
    for piece in &pieces {
        let bytes = serde_json::to_vec(piece).expect("JSON").len();
        assert!(bytes <= MAX_OBJECT, "{bytes}");
        let name = piece.metadata.name.clone().expect("a name");
        assert!(names::is_dns_subdomain(&name), "{name}");
        assert!(names.insert(name));
    }
    let mut reversed = pieces.clone();
    reversed.reverse();
    assert_eq!(read_back(&reversed), part);
    // A reader that misses some knows less, and nothing else.
    let some = read_back(&pieces[1..]);
    assert!(
        some.acts
            .iter()
            .all(|(act, facts)| part.acts[act] == *facts)
    );
}

#[test]
fn a_row_that_no_object_can_hold_is_refused_with_its_size() {
    let mut part = part(1, 0);
    let run = part.runs.values_mut().next().expect("a run");
    run.labels.insert("app".to_owned(), "x".repeat(MAX_OBJECT));
    let refused = pieces(&revision(), "node-1", Moment(AT), &part).expect_err("too large");
    assert!(matches!(refused, BadPiece::TooLarge { .. }), "{refused}");
}

#[test]
fn what_no_node_would_write_is_refused_with_what_it_is() {
    let part = part(2, 0);
    let whole = pieces(&revision(), "node-1", Moment(AT), &part).expect("pieces");
    let broken = |change: fn(&mut WorkloadEvidence)| {
        let mut object = whole[0].clone();
        change(&mut object);
        part_of(&object).expect_err("refused").to_string()
    };
    for (found, has) in [
        (broken(|o| o.metadata.namespace = None), "no namespace"),
        (
            broken(|o| o.spec.acts[0].path = "/{x}".into()),
            "'/{x}': 'x' is no class",
        ),
        (
            broken(|o| o.spec.acts[0].runs = "0-9".into()),
            "'0-9' names no runs",
        ),
        (
            broken(|o| o.spec.acts[0].runs = "1,0".into()),
            "'1,0' names no runs",
        ),
        (
            broken(|o| o.spec.acts[0].runs = "0-99999999999999999999".into()),
            "names no runs",
        ),
        (
            broken(|o| o.spec.acts[0].times = vec![1, 2, 3]),
            "3 numbers for",
        ),
        (
            broken(|o| o.spec.acts[0].first = "yesterday\n".into()),
            "'yesterday\\n' is no time",
        ),
        (
            broken(|o| o.spec.acts[0].access = Some("x".into())),
            "'x' is no access",
        ),
        (
            broken(|o| o.spec.acts[0].to = Some("/b".into())),
            "has not a second path",
        ),
    ] {
        assert!(found.contains(has), "{found}");
    }
}

#[test]
fn operations_have_the_same_names_on_both_sides() {
    for kind in OpKind::ALL {
        assert_eq!(op_kind(op_name(kind)), kind);
        let json = serde_json::to_value(op_name(kind)).expect("JSON");
        assert_eq!(json, kind.as_str());
    }
}

#[test]
fn places_are_written_as_ranges() {
    for (places_of, text) in [
        (&[0][..], "0"),
        (&[0, 1, 2, 3, 7], "0-3,7"),
        (&[1, 3, 4], "1,3-4"),
    ] {
        assert_eq!(ranges(places_of.iter().copied()), text);
        assert_eq!(places(text, 8).as_deref(), Some(places_of));
    }
    for bad in ["", ",", "0,0", "3-1", "8", "-1", "1-", "a"] {
        assert_eq!(places(bad, 8), None, "{bad}");
    }
}

//! Decisions: standing, candidate and journal, together or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use learner::candidate::Candidate;
use learner::digest::Digest;
use learner::generalize::{Dialect, Tightness};
use learner::journal::{Actor, Cause, Draft, Fault};
use learner::mention::Mention;
use learner::observation::Moment;
use learner::policy::from_yaml;
use learner::posture::{Freeze, Posture, Revision, Standing};
use learner::promotion::Move;
use learner::store::{Store, StoreError};

use crate::world::*;

fn revision(name: &str) -> Revision {
    let mut workload = run("").workload;
    workload.name = name.to_owned();
    Revision {
        workload,
        image: "img@sha256:1".to_owned(),
    }
}

/// A candidate of many rules: longer than a record.
fn candidate(number: u64) -> Candidate {
    let mut yaml = format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata:\n  name: n{number}\n  \
         namespace: default\nspec:\n  selector:\n    matchLabels:\n      app: sh\n  file:\n    matchPaths:\n"
    );
    for n in 0..400 {
        yaml.push_str(&format!(
            "    - path: /srv/data/{number}/some/longer/name/of/a/file/{n:06}\n"
        ));
    }
    yaml.push_str("  action: Allow\n");
    let policy = from_yaml(&yaml).expect("a policy").remove(0);
    let include = vec![Mention::parse(b"/a\n\xff/").expect("a mention")];
    Candidate::freeze(
        &policy,
        Dialect::Bpf,
        Tightness::Balanced,
        include,
        BTreeSet::new(),
    )
    .expect("a candidate")
}

/// The decision with this number: audit and block in turn, each with another candidate.
fn decision(of: &Revision, number: u64) -> Move {
    let candidate = candidate(number);
    let now = Moment(1_000 * number as i64);
    let freeze = Freeze {
        candidate: candidate.digest(),
        judged_from: Some(now),
        window_from: now,
        blocked: None,
    };
    let standing = if number.is_multiple_of(2) {
        Standing::Block {
            since: now,
            freeze,
            canary_until: Moment(now.0 + 1),
            slice: None,
        }
    } else {
        Standing::Audit { since: now, freeze }
    };
    Move {
        before: None,
        draft: Draft {
            at: now,
            actor: Actor::Person { uid: 1_000 },
            revision: of.clone(),
            from: Posture::Learning,
            to: standing.posture(),
            cause: Cause::Demoted {
                reason: "a\nb".repeat(10_000),
            },
            candidate: Some(candidate.digest()),
            criteria: None,
            figures: None,
        },
        standing,
        candidate: Some(candidate),
    }
}

fn format_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("FORMAT")).expect("FORMAT")
}

/// Each standing is that of the last entry of its revision, and its candidate is there.
fn holds_together(store: &Store) -> u64 {
    let journal = store.journal().expect("journal");
    assert_eq!(journal.faults(), []);
    let ledger = store.ledger().expect("ledger");
    for (revision, standing) in ledger.iter() {
        let of_it = journal
            .entries()
            .filter(|entry| entry.draft.revision == *revision);
        let last = of_it.last().expect("an entry");
        assert_eq!(last.draft.to, standing.posture());
        assert_eq!(last.draft.at, standing.since());
        let frozen = ledger.frozen(revision).expect("a candidate");
        assert_eq!(Some(frozen.candidate().digest()), last.draft.candidate);
    }
    let named: BTreeSet<&Revision> = journal
        .entries()
        .map(|entry| &entry.draft.revision)
        .collect();
    assert_eq!(named.len(), ledger.iter().count());
    journal.end.entries
}

#[test]
fn a_decision_is_there_after_opening_again_with_its_candidate_to_the_byte() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let (a, b) = (revision("a"), revision("b\n\u{1b}"));
    {
        let store = Store::open(&dir).expect("open");
        store.fold(&run("x"), &profile(4, 1)).expect("fold");
        assert_eq!(format_of(&dir), "learner store, format 1\n");
        for (number, of) in [(1, &a), (2, &b), (3, &a)] {
            let entry = store.decide(decision(of, number)).expect("decide");
            assert_eq!(entry.number, number);
            assert_eq!(holds_together(&store), number);
        }
        assert_eq!(format_of(&dir), "learner store, format 3\n");
    }
    let store = Store::open(&dir).expect("open");
    assert_eq!(holds_together(&store), 3);
    let ledger = store.ledger().expect("ledger");
    assert_eq!(ledger.standing(&a), Some(&decision(&a, 3).standing));
    let kept = ledger.frozen(&a).expect("a candidate").candidate().clone();
    assert_eq!(kept, candidate(3));
    assert_eq!(kept.digest(), Digest::of(kept.paper().yaml.as_bytes()));
    assert_eq!(ledger.standing(&revision("c")), None);
    assert_eq!(everything(&store).len(), 1);
}

#[test]
fn folds_and_tombstones_leave_decisions_as_they_are() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    {
        let store = Store::open(&dir).expect("open");
        store.decide(decision(&revision("a"), 1)).expect("decide");
        store.fold(&run("x"), &profile(4, 1)).expect("fold");
        let mention = Mention::parse(b"/x").expect("a mention");
        store
            .forget([(run("").workload, mention.clone())])
            .expect("forget");
        store
            .unforget([(run("").workload, mention)])
            .expect("unforget");
        assert_eq!(format_of(&dir), "learner store, format 3\n");
    }
    let store = Store::open(&dir).expect("open");
    assert_eq!(holds_together(&store), 1);
}

#[test]
fn the_same_candidate_is_kept_once() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let store = Store::open(&dir).expect("open");
    for _ in 0..3 {
        store.decide(decision(&revision("a"), 1)).expect("decide");
    }
    store.decide(decision(&revision("b"), 1)).expect("decide");
    drop(store);
    let kept = raw(&dir, |db| {
        db.scan_prefix([5u8])
            .keys()
            .map(|key| key.expect("read")[1..5].to_vec())
            .collect::<BTreeSet<_>>()
    });
    assert_eq!(kept.len(), 1);
}

#[test]
fn a_decision_about_names_that_do_not_fit_is_refused_and_nothing_is_changed() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let store = Store::open(&dir).expect("open");
    let error = store
        .decide(decision(&revision(&"x".repeat(20_000)), 1))
        .expect_err("refused");
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert_eq!(format_of(&dir), "learner store, format 1\n");
    store.decide(decision(&revision("a"), 1)).expect("decide");
    assert_eq!(holds_together(&store), 1);
}

#[test]
#[ignore = "the child of another test"]
fn child_decides_until_it_is_killed() {
    let Some((dir, before)) = task() else { return };
    let store = Store::open(&dir).expect("open");
    for number in before as u64 + 1.. {
        let of = revision(&format!("w{}", number % 3));
        let entry = store.decide(decision(&of, number)).expect("decide");
        if !say(&entry.number.to_string()) {
            return;
        }
    }
}

#[test]
fn killed_at_any_moment_a_standing_and_its_entry_are_both_there_or_neither() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let dir = tmp.path().join("store");
    let mut dice = Dice(3);
    let mut last = 0;
    for round in 0..10 {
        let mut child = child(
            "decided::child_decides_until_it_is_killed",
            &dir,
            last as usize,
        );
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        let mut lines = out.lines().map_while(Result::ok);
        let mut confirmed = last;
        let wanted = 1 + dice.below(6);
        let mut hear = |line: String| {
            if let Some(number) = said(&line) {
                confirmed = number.parse().expect("a number");
            }
        };
        for line in lines
            .by_ref()
            .filter(|line| said(line).is_some())
            .take(wanted)
        {
            hear(line);
        }
        std::thread::sleep(Duration::from_micros(dice.roll() % 30_000));
        child.kill().expect("kill");
        child.wait().expect("wait");
        lines.for_each(hear);
        let store = Store::open(&dir).expect("the store opens after a kill");
        let found = holds_together(&store);
        assert!(found >= confirmed, "round {round}: {found} < {confirmed}");
        last = found;
    }
    assert!(last >= 10, "hardly any decision was reached");
}

/// Works on sled's records behind the store's back.
fn raw<T>(dir: &Path, work: impl FnOnce(&sled::Db) -> T) -> T {
    let db = sled::Config::new()
        .path(dir.join("sled"))
        .segment_size(1024 * 1024)
        .open()
        .expect("sled");
    let done = work(&db);
    db.flush().expect("flush");
    done
}

fn entry_key(number: u32, page: u32) -> Vec<u8> {
    let mut key = vec![6];
    key.extend(number.to_be_bytes());
    key.extend(page.to_be_bytes());
    key
}

/// Rewrites a page with a checksum that is right: by someone who knows how.
fn forge(db: &sled::Db, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    let mut value = db.get(key).expect("read").expect("there").to_vec();
    value.truncate(value.len() - 8);
    change(&mut value);
    let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
    hash.update(key);
    hash.update(&value);
    value.extend(hash.digest().to_le_bytes());
    db.insert(key, value).expect("written");
}

fn four_decisions(dir: &Path) {
    let store = Store::open(dir).expect("open");
    for number in 1..=4 {
        let mut decided = decision(&revision("a"), number);
        decided.draft.cause = Cause::Promoted;
        store.decide(decided).expect("decide");
    }
}

fn faults(dir: &Path) -> Vec<Fault> {
    let store = Store::open(dir).expect("a store with another journal opens");
    store.journal().expect("journal").faults()
}

#[test]
fn a_changed_removed_moved_or_cut_journal_is_found() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let whole = tmp.path().join("whole");
    four_decisions(&whole);
    assert_eq!(faults(&whole), []);
    let mut trials = 0;
    let mut tampered = |work: &dyn Fn(&sled::Db)| {
        trials += 1;
        let dir = tmp.path().join(format!("trial-{trials}"));
        copy(&whole, &dir);
        raw(&dir, work);
        faults(&dir)
    };
    let key = |number| entry_key(number, 0);
    let remove = |db: &sled::Db, number| {
        db.remove(key(number)).expect("removed");
    };
    assert_eq!(
        tampered(&|db| remove(db, 2)),
        [Fault::Missing { first: 2, last: 2 }]
    );
    assert_eq!(
        tampered(&|db| remove(db, 4)),
        [Fault::Missing { first: 4, last: 4 }]
    );
    assert_eq!(
        tampered(&|db| (1..=4).for_each(|number| remove(db, number))),
        [Fault::Missing { first: 1, last: 4 }]
    );
    let uid = |value: &mut Vec<u8>| {
        let at = value.windows(4).position(|w| w == b"1000").expect("a uid");
        value[at] = b'2';
    };
    assert_eq!(
        tampered(&|db| forge(db, &key(2), uid)),
        [Fault::Broken { number: 3 }]
    );
    assert_eq!(
        tampered(&|db| forge(db, &key(4), uid)),
        [Fault::WrongEnd { number: 4 }]
    );
    let rotted = tampered(&|db| {
        let mut value = db.get(key(1)).expect("read").expect("there").to_vec();
        value[20] ^= 1;
        db.insert(key(1), value).expect("written");
    });
    assert!(
        matches!(rotted[..], [Fault::Unreadable { number: 1, .. }]),
        "{rotted:?}"
    );
    let swapped = tampered(&|db| {
        let body = |number| {
            let value = db.get(key(number)).expect("read").expect("there").to_vec();
            value[..value.len() - 8].to_vec()
        };
        let (two, three) = (body(2), body(3));
        forge(db, &key(2), |value| value.clone_from(&three));
        forge(db, &key(3), |value| value.clone_from(&two));
    });
    assert_eq!(
        swapped,
        [
            Fault::Moved {
                place: 2,
                number: 3
            },
            Fault::Moved {
                place: 3,
                number: 2
            },
        ]
    );
    let added = tampered(&|db| {
        let four = db.get(key(4)).expect("read").expect("there").to_vec();
        db.insert(key(5), four).expect("written");
        forge(db, &key(5), |_| {});
    });
    assert_eq!(added, [Fault::Added { first: 5 }]);
}

#[test]
fn a_standing_or_candidate_that_is_not_as_written_is_damage() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let whole = tmp.path().join("whole");
    four_decisions(&whole);
    let standing = tmp.path().join("standing");
    copy(&whole, &standing);
    raw(&standing, |db| db.remove([4, 0, 0, 0, 0]).expect("removed"));
    let error = Store::open(&standing).expect_err("damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let candidate = tmp.path().join("candidate");
    copy(&whole, &candidate);
    raw(&candidate, |db| {
        db.remove([5, 0, 0, 0, 3, 0, 0, 0, 1]).expect("removed")
    });
    let store = Store::open(&candidate).expect("runs can still be read");
    let error = store.ledger().expect_err("damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn of_two_who_decide_at_once_the_first_is_heard_though_the_posture_is_the_same() {
    let tmp = tempfile::tempdir().expect("tempdir");
    let store = Store::open(&tmp.path().join("store")).expect("open");
    let of = revision("a");
    let first = store.decide_in_turn(decision(&of, 1)).expect("decided");
    assert_eq!(first.number, 1);
    let audit = decision(&of, 1).standing;
    // Another candidate, accepted meanwhile, under the same posture.
    let accepted = Move {
        before: Some(audit.clone()),
        ..decision(&of, 3)
    };
    let promoted = Move {
        before: Some(audit),
        ..decision(&of, 2)
    };
    store.decide_in_turn(accepted).expect("decided");
    let late = store.decide_in_turn(promoted);
    assert!(
        matches!(late, Err(StoreError::Overtaken { .. })),
        "{late:?}"
    );
    let ledger = store.ledger().expect("ledger");
    assert_eq!(ledger.standing(&of), Some(&decision(&of, 3).standing));
    assert_eq!(holds_together(&store), 2);
}

use super::*;
use proptest::prelude::*;

fn draft(number: u64) -> Draft {
    Draft {
        at: Moment(number as i64),
        actor: Actor::Job,
        revision: Revision {
            workload: "shop/Deployment/web".parse().expect("a workload"),
            image: String::new(),
        },
        from: Posture::Learning,
        to: Posture::Audit,
        cause: Cause::Promoted,
        candidate: Some(Digest::of(&number.to_le_bytes())),
        criteria: Some(Criteria::default()),
        figures: Some(Figures {
            risk: Some(0.1 + 0.2),
            ..Figures::default()
        }),
    }
}

fn written(entries: u64) -> Journal {
    let mut journal = Journal::default();
    for number in 1..=entries {
        let entry = Entry::after(journal.end.entries, journal.end.last, draft(number));
        journal.end = End {
            entries: entry.number,
            last: entry.hash(),
        };
        journal.places.push((number, Ok(entry)));
    }
    journal
}

#[test]
fn an_entry_is_read_as_it_was_written() {
    let journal = written(3);
    assert_eq!(journal.faults(), []);
    for entry in journal.entries() {
        assert_eq!(Entry::read(entry.line()).expect("an entry"), *entry);
        // Anyone can check it: a hash of the line as it is printed.
        assert_eq!(entry.hash(), Digest::of(entry.line().as_bytes()));
    }
    assert_eq!(written(0).faults(), []);
}

#[test]
fn an_entry_is_said_in_one_line() {
    let mut named = draft(1);
    named.revision.workload.name = "a\nb".to_owned();
    named.cause = Cause::Demoted {
        reason: "x\ny".to_owned(),
    };
    let text = Entry::after(0, Digest::NONE, named).to_string();
    assert_eq!(
        text,
        "1 1970-01-01T00:00:00Z job shop/Deployment/a\\nb/web: learning -> audit: demoted: x\\ny"
    );
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_journal_is_found(
        entries in 1u64..8,
        at in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        what in 0..5,
    ) {
        let whole = written(entries);
        let mut journal = whole.clone();
        let (at, to) = (at.index(entries as usize), to.index(entries as usize));
        match what {
            0 => {
                drop(journal.places.remove(at));
            }
            1 => journal.places.truncate(at),
            2 => {
                let mut changed = draft(99);
                changed.actor = Actor::Agent;
                let entry = journal.places[at].1.clone().expect("an entry");
                let entry = Entry::after(entry.number - 1, entry.before, changed);
                journal.places[at].1 = Ok(entry);
            }
            3 => {
                let (a, b) = (journal.places[at].1.clone(), journal.places[to].1.clone());
                journal.places[at].1 = b;
                journal.places[to].1 = a;
                prop_assume!(at != to);
            }
            _ => journal.places[at].1 = Err("torn".to_owned()),
        }
        prop_assert!(!journal.faults().is_empty());
    }

    /// Removed, and the rest numbered and chained anew, but for the end.
    #[test]
    fn a_journal_that_is_written_anew_is_found_by_its_end(entries in 2u64..8, kept in 1u64..8) {
        let whole = written(entries);
        let mut other = written(kept.min(entries));
        prop_assume!(kept != entries);
        other.end = whole.end;
        prop_assert_eq!(other.faults().is_empty(), kept >= entries);
    }
}

//! A decision as one batch: standing, candidate, entry of the journal, root.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::candidate::{Candidate, Paper};
use crate::digest::Digest;
use crate::journal::{End, Entry, Journal};
use crate::promotion::Move;

use super::engine::{Batch, Engine};
use super::error::StoreError;
use super::format;
use super::key;
use super::page::{self, Document};
use super::record::{self, Sum};
use super::run::{Decided, Root};
use super::standing::{self, Placed};

/// A decision in the making. Nothing is changed before it is committed.
pub(super) struct Decision {
    pub(super) batch: Batch,
    pub(super) root: Root,
    /// Checksum of the root.
    pub(super) sum: Sum,
    pub(super) placed: Placed,
    pub(super) entry: Entry,
}

impl Decision {
    pub(super) fn of(
        decided: Move,
        before: Option<&Placed>,
        known: &BTreeMap<Digest, Arc<Candidate>>,
        mut root: Root,
        dir: &Path,
    ) -> Result<Self, StoreError> {
        let Move {
            standing,
            candidate,
            draft,
        } = decided;
        let mut batch = Batch::default();
        let mut now = root.decided;

        let number = before.map_or(now.standings, |placed| placed.number);
        let at = key::standing(number);
        let (value, standing_sum) = record::seal(&at, &standing::write(&draft.revision, &standing));
        if value.len() > record::MAX_LEN {
            return Err(StoreError::TooLarge {
                path: dir.to_owned(),
                what: "the names of a workload and its image".to_owned(),
                size: value.len(),
                limit: record::MAX_LEN,
            });
        }
        match before {
            Some(placed) => now.standing_sum.remove(placed.sum),
            None => now.standings += 1,
        }
        now.standing_sum.add(standing_sum);
        batch.insert(&at, value);

        let is_new = |candidate: &&Candidate| {
            known
                .get(&candidate.digest())
                .is_none_or(|known| known.paper() != candidate.paper())
        };
        if let Some(candidate) = candidate.as_ref().filter(is_new) {
            let document = serde_json::to_vec(candidate.paper()).unwrap_or_default();
            let sum = page::write(&mut batch, &document, |page| {
                key::candidate(now.candidates, page)
            });
            now.candidates += 1;
            now.candidate_sum.add(sum);
        }

        let entry = Entry::after(u64::from(now.entries), now.last, draft);
        now.entries += 1;
        now.last = entry.hash();
        page::write(&mut batch, entry.line().as_bytes(), |page| {
            key::entry(now.entries, page)
        });

        root.decided = now;
        root.format = root.format.max(format::POSTURES);
        root.fold += 1;
        let (value, sum) = record::seal(&key::ROOT, &root.write());
        batch.insert(&key::ROOT, value);
        Ok(Self {
            batch,
            root,
            sum,
            placed: Placed {
                number,
                standing,
                sum: standing_sum,
            },
            entry,
        })
    }
}

/// All candidates, as written; of two with the same document the later one.
pub(super) fn candidates(
    dir: &Path,
    engine: &Engine,
    decided: Decided,
) -> Result<BTreeMap<Digest, Arc<Candidate>>, StoreError> {
    let mut documents: BTreeMap<u32, Document> = BTreeMap::new();
    let mut total = Sum::default();
    engine.scan(&key::CANDIDATES, |at, value| {
        let number = key::of(at).ok_or("a candidate's key has a wrong length")?;
        let document = documents.entry(number).or_default();
        total.add(document.add(at, value)?);
        Ok(())
    })?;
    if total != decided.candidate_sum || documents.len() != decided.candidates as usize {
        return Err(StoreError::damaged(
            dir,
            format!(
                "its candidates are not as they were written ({} of {} are there)",
                documents.len(),
                decided.candidates
            ),
        ));
    }
    let mut candidates = BTreeMap::new();
    for (number, document) in documents {
        let candidate = read(document)
            .map_err(|what| StoreError::damaged(dir, format!("candidate {number}: {what}")))?;
        candidates.insert(candidate.digest(), Arc::new(candidate));
    }
    Ok(candidates)
}

fn read(document: Document) -> Result<Candidate, String> {
    let paper: Paper = serde_json::from_str(&document.text()?).map_err(|e| e.to_string())?;
    Candidate::read(paper).map_err(|e| e.to_string())
}

/// The journal, whatever has become of it.
pub(super) fn journal(engine: &Engine, decided: Decided) -> Result<Journal, StoreError> {
    let mut documents: BTreeMap<u32, Result<Document, String>> = BTreeMap::new();
    engine.scan(&key::ENTRIES, |at, value| {
        let Some(number) = key::of(at) else {
            return Ok(());
        };
        let document = documents
            .entry(number)
            .or_insert_with(|| Ok(Document::default()));
        if let Ok(pages) = document
            && let Err(what) = pages.add(at, value)
        {
            *document = Err(what);
        }
        Ok(())
    })?;
    let read = |document: Document| -> Result<Entry, String> {
        Entry::read(&document.text()?).map_err(|e| e.to_string())
    };
    Ok(Journal {
        places: documents
            .into_iter()
            .map(|(number, document)| (u64::from(number), document.and_then(read)))
            .collect(),
        end: End {
            entries: u64::from(decided.entries),
            last: decided.last,
        },
    })
}

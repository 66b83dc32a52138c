//! Where a revision stands, as a record.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::posture::{Revision, Standing};

use super::codec::{Reader, Writer};
use super::engine::Engine;
use super::error::StoreError;
use super::key;
use super::record::{self, Sum};
use super::run::Decided;

/// A standing, as it is on disk.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) number: u32,
    pub(super) standing: Standing,
    /// Checksum of its record.
    pub(super) sum: Sum,
}

#[derive(Serialize, Deserialize)]
struct Stands {
    revision: Revision,
    standing: Standing,
}

pub(super) fn write(revision: &Revision, standing: &Standing) -> Writer {
    let stands = Stands {
        revision: revision.clone(),
        standing: standing.clone(),
    };
    let mut w = Writer::default();
    // Numbers, text and names: there is nothing in it that JSON cannot hold.
    w.bytes(&serde_json::to_vec(&stands).unwrap_or_default());
    w
}

fn read(r: &mut Reader<'_>) -> Option<Stands> {
    serde_json::from_slice(r.bytes()?).ok()
}

/// All standings, as written.
pub(super) fn read_all(
    dir: &Path,
    engine: &Engine,
    decided: Decided,
) -> Result<BTreeMap<Revision, Placed>, StoreError> {
    let mut standings = BTreeMap::new();
    let mut total = Sum::default();
    engine.scan(&key::STANDINGS, |at, value| {
        let number = key::number(at).ok_or("a standing's key has a wrong length")?;
        let (Stands { revision, standing }, sum) = record::decode(at, value, read)?;
        total.add(sum);
        let placed = Placed {
            number,
            standing,
            sum,
        };
        standings.insert(revision, placed);
        Ok(())
    })?;
    if total != decided.standing_sum || standings.len() != decided.standings as usize {
        return Err(StoreError::damaged(
            dir,
            format!(
                "its postures are not as they were written ({} of {} are there)",
                standings.len(),
                decided.standings
            ),
        ));
    }
    Ok(standings)
}

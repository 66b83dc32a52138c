//! Objects as they are kept: what many of them say alike is understood once.

use std::collections::HashMap;
use std::sync::Arc;

use super::evidence::{ActRow, WorkloadEvidence};
use super::piece::{BadPiece, act_of, part_of, run_facts, seen_of, showed_by};
use crate::posture::Revision;
use crate::shared::{Deed, Joint, Packed, PackedRow, Pool};

/// So many acts are remembered: a list comes in the order of names, so one workload after another.
const REMEMBERED: usize = 16_384;

/// Acts that were read, by how they are written.
#[derive(Debug, Default)]
pub(super) struct Packing {
    deeds: HashMap<String, Arc<Deed>>,
    text: String,
}

impl Packing {
    /// Adds what an object tells; gives the revision.
    ///
    /// # Errors
    /// As [`part_of`].
    pub(super) fn add(
        &mut self,
        object: &WorkloadEvidence,
        joint: &mut Joint,
    ) -> Result<Revision, BadPiece> {
        match self.pack(object, joint.pool()) {
            Some((revision, packed)) => {
                joint.add_packed(&revision, &object.spec.node, packed);
                Ok(revision)
            }
            // It is not as nodes write it. What is wrong with it, if anything is, is said there.
            None => {
                let (revision, part) = part_of(object)?;
                joint.add(&revision, &object.spec.node, &part);
                Ok(revision)
            }
        }
    }

    fn pack(&mut self, object: &WorkloadEvidence, pool: &mut Pool) -> Option<(Revision, Packed)> {
        let spec = &object.spec;
        let revision = Revision {
            workload: spec.workload.within(object.metadata.namespace.as_deref()?),
            image: spec.image.clone(),
        };
        let mut runs = Vec::with_capacity(spec.runs.len());
        for row in &spec.runs {
            runs.push(pool.run(&row.name, Some(run_facts(row).ok()?)));
        }
        let mut rows = Vec::with_capacity(spec.acts.len());
        for row in &spec.acts {
            let (seen, opinion) = seen_of(row).ok()?;
            let showed = showed_by(row, spec.runs.len()).ok()?;
            rows.push(PackedRow {
                deed: self.deed(row)?,
                seen,
                opinion: pool.opinion(&opinion),
                runs: pool.showed(showed),
            });
        }
        Some((revision, Packed::new(runs, rows)?))
    }

    fn deed(&mut self, row: &ActRow) -> Option<Arc<Deed>> {
        let flags = [row.denied, row.entry, row.learned].map(Some);
        let flags = flags.iter().chain([&row.owner, &row.upper]);
        let texts = [&row.access, &row.to, &row.from_source];
        let texts = texts.map(Option::as_deref);
        self.text.clear();
        self.text.push(char::from(row.op as u8));
        self.text.extend(flags.map(|flag| match flag {
            None => '-',
            Some(false) => 'n',
            Some(true) => 'y',
        }));
        for text in [Some(&*row.path)].into_iter().chain(texts) {
            // So that no text goes on in the next one.
            if text.is_some_and(|text| text.contains('\0')) {
                return None;
            }
            self.text.push(if text.is_some() { '=' } else { '-' });
            self.text.push_str(text.unwrap_or_default());
            self.text.push('\0');
        }
        if let Some(known) = self.deeds.get(&self.text) {
            return Some(known.clone());
        }
        let deed = Arc::new(Deed::of(act_of(row).ok()?));
        deed.example().ok()?;
        if self.deeds.len() >= REMEMBERED {
            self.deeds.clear();
        }
        self.deeds.insert(self.text.clone(), deed.clone());
        Some(deed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::behavior::{Access, Behavior, Op, Outcome};
    use crate::cluster::pieces;
    use crate::observation::Moment;
    use crate::path::AbsPath;
    use crate::profile::{RunProfile, Sighting};
    use crate::shared::Part;
    use crate::workload::RunKey;

    fn read(path: &str) -> (Behavior, Sighting) {
        let behavior = Behavior {
            op: Op::Open(Access::Read),
            path: AbsPath::try_from(path).expect("absolute"),
            source: AbsPath::try_from("/usr/bin/web").ok(),
            uid: None,
            owner: Some(true),
            upper: None,
            tty: None,
            result: Outcome::Ok,
        };
        let seen = Sighting {
            count: 2,
            first: Moment(3),
            last: Moment(4),
        };
        (behavior, seen)
    }

    /// What a node tells of two runs, of which the second did more.
    fn object(node: &str) -> WorkloadEvidence {
        let revision = Revision {
            workload: "shop/Deployment/web".parse().expect("a workload"),
            image: "web:1".to_owned(),
        };
        let paths = ["/etc/a", "/proc/77/stat", "/srv/b", "/usr/bin/web"];
        let run = |name: &str, count: usize| {
            let mut run = RunProfile {
                labels: [("app".to_owned(), "web".to_owned())].into(),
                start: Some(Moment(1)),
                ..RunProfile::default()
            };
            run.seen
                .extend(paths[..count].iter().map(|path| read(path)));
            let key = RunKey {
                workload: revision.workload.clone(),
                image: revision.image.clone(),
                run: name.to_owned(),
            };
            (key, run)
        };
        let part = Part::of(&BTreeMap::from([run("a", 2), run("b", 4)]));
        let pieces = pieces(&revision, node, Moment(9), &part);
        pieces.expect("pieces").remove(0)
    }

    /// What is packed of it, and what is read of it row by row; each with what is wrong with it.
    fn both(object: &WorkloadEvidence) -> [Result<Joint, String>; 2] {
        let mut packed = Joint::default();
        let mut packing = Packing::default();
        // As if others had told the same before.
        let mut others = Joint::default();
        packing
            .add(&self::object("other"), &mut others)
            .expect("as a node writes it");
        let added = packing.add(object, &mut packed);
        let read = part_of(object).map(|(revision, part)| {
            let mut joint = Joint::default();
            joint.add(&revision, &object.spec.node, &part);
            joint
        });
        let added = added.map(|_| packed);
        [added, read].map(|of| of.map_err(|error| error.to_string()))
    }

    #[test]
    fn what_nodes_tell_alike_is_understood_once() {
        let mut packing = Packing::default();
        let mut joint = Joint::default();
        for node in ["a", "b", "c"] {
            assert!(packing.pack(&object(node), joint.pool()).is_some());
            packing.add(&object(node), &mut joint).expect("added");
        }
        assert_eq!(packing.deeds.len(), object("a").spec.acts.len());
        assert_eq!(joint.parts().count(), 3);
    }

    #[test]
    fn however_it_is_written_the_same_is_read_of_it() {
        type Change = fn(&mut WorkloadEvidence);
        let changes: [Change; 14] = [
            |_| {},
            |o| o.spec.acts.reverse(),
            |o| o.spec.runs.reverse(),
            |o| o.spec.acts.push(o.spec.acts[0].clone()),
            |o| o.spec.runs.push(o.spec.runs[0].clone()),
            |o| o.spec.acts[0].owner = Some(false),
            |o| o.spec.acts[0].learned = !o.spec.acts[0].learned,
            |o| o.spec.acts[1].times = vec![3, 4],
            |o| o.spec.acts[0].from_source = None,
            |o| o.spec.acts[0].path = "/a\\x00b".to_owned(),
            |o| o.spec.acts[0].path = "/a\0b".to_owned(),
            |o| o.spec.acts[0].access = None,
            |o| o.spec.acts[0].runs = "7".to_owned(),
            |o| o.spec.runs[0].start = Some("soon".to_owned()),
        ];
        let mut told = BTreeSet::new();
        for (number, change) in changes.iter().enumerate() {
            let mut object = object("n");
            change(&mut object);
            let [packed, read] = both(&object);
            assert_eq!(packed, read, "{number}");
            told.insert(format!("{read:?}"));
        }
        assert!(told.len() > 8, "{}", told.len());
    }
}

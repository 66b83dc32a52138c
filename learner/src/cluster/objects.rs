//! What a node writes of a revision, whole, and what tells whether it is there already. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::evidence::{Enforcement, Unenforced, WorkloadEvidence};
use super::pace::jitter;
use super::piece::{BadPiece, pieces, revision_label};
use crate::digest::Digest;
use crate::observation::Moment;
use crate::posture::Revision;
use crate::shared::Part;

/// Annotation with the content of all pieces together, and their number.
pub(super) const CONTENT: &str = "learner.dev/content";

/// While a run is alive it is told so at least so often: with twice the longest interval between two writes
/// that is within a day.
pub const ALIVE: Duration = Duration::from_secs(22 * 3_600);

/// The objects that tell what a node has seen of a revision.
#[derive(Clone, Debug)]
pub struct Objects {
    pub(super) revision: Revision,
    pub(super) objects: Vec<WorkloadEvidence>,
    content: String,
}

/// Who holds the containers of a revision on a node, as far as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Why KubeArmor does not.
    pub unenforced: BTreeSet<Unenforced>,
    /// Who does, where the node's agent is to do it if KubeArmor does not.
    pub enforcement: Option<Enforcement>,
    /// Why it does not hold all of them, where it holds those of others. What is too long is cut.
    pub unheld: Option<String>,
}

impl Objects {
    /// Those of a node, which saw a run of the revision alive last at `alive`.
    ///
    /// # Errors
    /// [`BadPiece::TooLarge`].
    pub fn of(
        revision: &Revision,
        node: &str,
        alive: Moment,
        part: &Part,
        holding: &Holding,
    ) -> Result<Self, BadPiece> {
        let mut objects = pieces(revision, node, alive, part)?;
        for object in &mut objects {
            object.spec.unenforced.clone_from(&holding.unenforced);
            object.spec.enforcement.clone_from(&holding.enforcement);
            let unheld = holding.unheld.as_ref();
            object.spec.unheld = unheld.map(|why| why.chars().take(512).collect());
        }
        let period = period(node, revision, alive);
        let content = format!("{}/{}", digest(&objects, period), objects.len());
        for object in &mut objects {
            let notes = BTreeMap::from([(CONTENT.to_owned(), content.clone())]);
            object.metadata.annotations = Some(notes);
        }
        Ok(Self {
            revision: revision.clone(),
            objects,
            content,
        })
    }

    /// What tells it from others: the same for what was done in the same runs, however often and when
    /// last, and for times of being alive within one [`ALIVE`].
    pub fn content(&self) -> &str {
        &self.content
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Never: there is one piece at least.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Where it is kept: its namespace, and the label of the revision.
    pub fn place(&self) -> Place {
        place(&self.revision)
    }
}

/// Namespace and label of a revision.
pub type Place = (String, String);

/// Where what is told of a revision is kept.
pub fn place(revision: &Revision) -> Place {
    let namespace = revision.workload.namespace.clone();
    (namespace, revision_label(revision))
}

/// What is there of a place, by the annotations of its pieces: the content, if all of it is there and
/// nothing else.
pub(super) fn whole(pieces: &[Option<String>]) -> Option<String> {
    let content = pieces.first()?.as_ref()?;
    let (_, count) = content.rsplit_once('/')?;
    let is_same = pieces.iter().all(|of| of.as_ref() == Some(content));
    (is_same && count == pieces.len().to_string()).then(|| content.clone())
}

/// In which [`ALIVE`] it is, of those that follow one another; they begin at another time for each node
/// and revision.
pub(super) fn period(node: &str, revision: &Revision, alive: Moment) -> i64 {
    let length = i64::try_from(ALIVE.as_micros()).unwrap_or(i64::MAX);
    let phase = jitter(node, revision, ALIVE);
    let phase = i64::try_from(phase.as_micros()).unwrap_or(0);
    alive.0.saturating_add(phase).div_euclid(length)
}

/// Without what changes with every event.
fn digest(objects: &[WorkloadEvidence], period: i64) -> String {
    let mut text = Vec::new();
    for object in objects {
        let mut spec = object.spec.clone();
        spec.alive = period.to_string();
        // It is known of what runs alone, and goes with what is new of that.
        spec.unenforced.clear();
        for act in &mut spec.acts {
            act.count = 1;
            act.last.clone_from(&act.first);
        }
        for lost in spec.runs.iter_mut().flat_map(|run| run.lost.values_mut()) {
            // Twice as much is another thing.
            *lost = i64::from(lost.max(&mut 1).ilog2());
        }
        if let Ok(json) = serde_json::to_vec(&spec) {
            text.extend(json);
            text.push(0);
        }
    }
    let mut digest = Digest::of(&text).to_string();
    digest.truncate(32);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behavior::{Access, Behavior, Op, Outcome};
    use crate::path::AbsPath;
    use crate::profile::{RunProfile, Sighting};
    use crate::workload::{RunKey, Workload};

    const HOUR: i64 = 3_600_000_000;

    fn revision() -> Revision {
        let workload: Workload = "shop/Deployment/web/web".parse().expect("a workload");
        let image = "web:1".to_owned();
        Revision { workload, image }
    }

    fn content(paths: &[&str], count: u64, last: i64, alive: i64) -> String {
        let revision = revision();
        let mut run = RunProfile::default();
        for path in paths {
            let behavior = Behavior {
                op: Op::Open(Access::Read),
                path: AbsPath::try_from(*path).expect("absolute"),
                source: None,
                uid: None,
                owner: None,
                upper: None,
                tty: None,
                result: Outcome::Ok,
            };
            let seen = Sighting {
                count,
                first: Moment(0),
                last: Moment(last),
            };
            run.seen.insert(behavior, seen);
        }
        let key = RunKey {
            workload: revision.workload.clone(),
            image: revision.image.clone(),
            run: "a".to_owned(),
        };
        let part = Part::of([(&key, &run)]);
        let holding = Holding::default();
        let objects = Objects::of(&revision, "n", Moment(alive), &part, &holding);
        objects.expect("objects").content().to_owned()
    }

    #[test]
    fn the_same_again_is_nothing_new_and_another_act_is() {
        let one = content(&["/a"], 1, 5, 10);
        assert_eq!(one, content(&["/a"], 900, 7_000, 11));
        assert_ne!(one, content(&["/a", "/b"], 1, 5, 10));
        assert!(one.ends_with("/1"), "{one}");
    }

    #[test]
    fn what_is_not_held_is_told_and_cut_where_it_is_too_long() {
        let of = |unheld: Option<&str>| {
            let holding = Holding {
                unheld: unheld.map(str::to_owned),
                ..Holding::default()
            };
            let revision = revision();
            let part = Part::default();
            Objects::of(&revision, "n", Moment(0), &part, &holding).expect("objects")
        };
        let (held, unheld) = (of(None), of(Some("no room")));
        assert_ne!(held.content(), unheld.content());
        let told = |objects: &Objects| objects.objects[0].spec.unheld.clone();
        assert_eq!(told(&held), None);
        assert_eq!(told(&unheld).as_deref(), Some("no room"));
        let long = told(&of(Some(&"ä".repeat(2_000)))).expect("told");
        assert_eq!(long, "ä".repeat(512));
    }

    #[test]
    fn what_is_alive_is_told_within_a_day() {
        let changes = (0..24).filter(|hour| {
            let at = |hour: i64| content(&["/a"], 1, 5, hour * HOUR);
            at(*hour) != at(*hour + 1)
        });
        assert!((1..=2).contains(&changes.count()));
    }

    #[test]
    fn what_is_there_in_part_is_not_there() {
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(whole(&[of("x/2"), of("x/2")]), of("x/2"));
        assert_eq!(whole(&[of("x/1")]), of("x/1"));
        for lacking in [
            &[][..],
            &[None],
            &[of("x/2")],
            &[of("x/2"), of("y/2")],
            &[of("x/1"), of("x/1")],
            &[of("x")],
        ] {
            assert_eq!(whole(lacking), None, "{lacking:?}");
        }
    }
}

//! What was done, with the names that vary replaced by their classes.

use crate::behavior::{Access, Behavior, Op, OpKind, Outcome};
use crate::generalize::{Known, Settled, Shape};

/// A behaviour by the shapes of its paths, whoever did it in whichever run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Act {
    /// The operation.
    pub op: OpKind,
    /// The access of an open.
    pub access: Option<Access>,
    /// The path.
    pub path: Shape,
    /// The second path of a rename or link.
    pub to: Option<Shape>,
    /// The acting program; for an exec its parent.
    pub source: Option<Shape>,
    /// As [`Behavior::owner`].
    pub owner: Option<bool>,
    /// As [`Behavior::upper`].
    pub upper: Option<bool>,
    /// The kernel refused it, by EACCES or EPERM. Otherwise it was done.
    pub denied: bool,
    /// It started its run.
    pub entry: bool,
    /// The node would learn it, by its own runs.
    pub learned: bool,
}

/// An act that stands for no behaviour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAct {
    /// Access belongs to an open, and to nothing else.
    #[error("an {op} {} an access", if *op == "open" { "needs" } else { "has not" })]
    Access {
        /// The operation.
        op: &'static str,
    },
    /// A second path belongs to a rename or link, and to nothing else.
    #[error("a {op} {} a second path", if matches!(*op, "rename" | "link") { "needs" } else { "has not" })]
    To {
        /// The operation.
        op: &'static str,
    },
    /// No path can have such a name.
    #[error("a name in it holds a NUL byte")]
    Name,
}

impl Act {
    /// That of a behaviour.
    pub(super) fn of(behavior: &Behavior, settled: &Settled, entry: bool, learned: bool) -> Self {
        Self {
            op: behavior.op.kind(),
            access: behavior.op.access(),
            path: settled.shape(&behavior.path),
            to: behavior.op.to().map(|to| settled.shape(to)),
            source: behavior.source.as_ref().map(|source| settled.shape(source)),
            owner: behavior.owner,
            upper: behavior.upper,
            denied: behavior.result != Outcome::Ok,
            entry,
            learned,
        }
    }

    /// Whether any of its names varies.
    pub fn varies(&self) -> bool {
        let shapes = [Some(&self.path), self.to.as_ref(), self.source.as_ref()];
        shapes.into_iter().flatten().any(Shape::varies)
    }

    /// A behaviour that it stands for, and what is known of its paths.
    ///
    /// # Errors
    /// [`BadAct`], if there is none.
    pub fn example(&self) -> Result<(Behavior, Known), BadAct> {
        let op = self.op.as_str();
        let path = self.path.example().ok_or(BadAct::Name)?;
        let to = match &self.to {
            Some(to) => Some(to.example().ok_or(BadAct::Name)?),
            None => None,
        };
        let source = match &self.source {
            Some(source) => Some(source.example().ok_or(BadAct::Name)?),
            None => None,
        };
        if (op == "open") != self.access.is_some() {
            return Err(BadAct::Access { op });
        }
        let is_two = matches!(op, "rename" | "link");
        if is_two != to.is_some() {
            return Err(BadAct::To { op });
        }
        let op = match (op, self.access, to) {
            ("open", Some(access), _) => Op::Open(access),
            ("rename", _, Some(to)) => Op::Rename { to },
            ("link", _, Some(to)) => Op::Link { to },
            ("create", ..) => Op::Create,
            ("mkdir", ..) => Op::Mkdir,
            ("unlink", ..) => Op::Unlink,
            ("rmdir", ..) => Op::Rmdir,
            ("symlink", ..) => Op::Symlink,
            ("chmod", ..) => Op::Chmod,
            ("truncate", ..) => Op::Truncate,
            _ => Op::Exec,
        };
        let behavior = Behavior {
            op,
            path,
            source,
            uid: None,
            owner: self.owner,
            upper: self.upper,
            tty: None,
            result: if self.denied {
                Outcome::Failed("EACCES".to_owned())
            } else {
                Outcome::Ok
            },
        };
        let known = Known {
            path: self.path.clone(),
            to: self.to.clone(),
            source_varies: self.source.as_ref().is_some_and(Shape::varies),
        };
        Ok((behavior, known))
    }
}

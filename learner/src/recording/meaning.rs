//! What a line says: from its fields to an observation, with every check there is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::error::Problem;
use super::line::{Kind, Line, Text, When};
use super::minute::Minute;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::observation::{Fact, Loss, Moment, Observation};
use crate::path::AbsPath;
use crate::profile::Sighting;
use crate::workload::{Labels, RunKey, Workload};

/// What a line states, apart from how often and when.
#[derive(Debug)]
enum What {
    Start,
    Stop,
    Late,
    Lost(Loss),
    Seen(Behavior),
}

/// A line without how often and when.
#[derive(Debug)]
pub(super) struct Statement {
    run: Arc<RunKey>,
    labels: Arc<Labels>,
    what: What,
}

impl Statement {
    /// The observation of all the events together.
    pub(super) fn at(self, sighting: Sighting) -> Observation {
        let Self { run, labels, what } = self;
        let Sighting { count, first, last } = sighting;
        let (at, fact) = match what {
            What::Start => (first, Fact::Start),
            What::Stop => (last, Fact::Stop),
            What::Late => (first, Fact::Late),
            What::Lost(reason) => (first, Fact::Lost { reason, count }),
            What::Seen(behavior) => {
                let fact = Fact::Seen {
                    behavior,
                    count,
                    last,
                };
                (first, fact)
            }
        };
        Observation {
            run,
            labels,
            at,
            fact,
        }
    }
}

/// Turns lines into observations. Successive lines of one run share its name and labels.
#[derive(Default)]
pub(super) struct Meaning {
    run: Option<Arc<RunKey>>,
    labels: Option<(Box<str>, Arc<Labels>)>,
    none: Arc<Labels>,
    minute: Minute,
}

impl Meaning {
    pub(super) fn of(&mut self, line: &Line<'_>) -> Result<Observation, Problem> {
        let statement = self.statement(line)?;
        Ok(statement.at(self.sighting(line.when())?))
    }

    /// What depends on neither `at` nor `last` nor `count`.
    pub(super) fn statement(&mut self, line: &Line<'_>) -> Result<Statement, Problem> {
        let labels = self.labels(line)?;
        let run = self.run(line)?;
        let what = match &*line.op.0 {
            "start" => What::Start,
            "stop" => What::Stop,
            "late" => What::Late,
            "lost" => What::Lost(lost(line)?),
            op => What::Seen(seen(line, op)?),
        };
        Ok(Statement { run, labels, what })
    }

    /// How often and when, of a line.
    pub(super) fn sighting(&mut self, when: When<'_>) -> Result<Sighting, Problem> {
        let When {
            kind,
            at,
            last,
            count,
        } = when;
        let minute = &mut self.minute;
        let at = moment(minute, "at", at)?;
        let (count, last) = match kind {
            Kind::Marker => (1, at),
            Kind::Lost => {
                let count = count.ok_or(Problem::Missing {
                    field: "count",
                    op: "lost",
                })?;
                (at_least_one(count)?, at)
            }
            Kind::Seen => {
                let last = last.map(|last| moment(minute, "last", last)).transpose()?;
                (at_least_one(count.unwrap_or(1))?, last.unwrap_or(at))
            }
        };
        Ok(Sighting {
            count,
            first: at,
            last,
        })
    }

    fn run(&mut self, line: &Line<'_>) -> Result<Arc<RunKey>, Problem> {
        let image = line.image.as_ref().map_or("", |image| &*image.0);
        if let Some(known) = &self.run {
            let RunKey {
                workload,
                image: known_image,
                run,
            } = &**known;
            if *run == line.run.0
                && *known_image == *image
                && workload.namespace == line.namespace.0
                && workload.kind == line.kind.0
                && workload.name == line.workload.0
                && workload.container == line.container.0
            {
                return Ok(known.clone());
            }
        }
        let name = |field: &'static str, text: &Text<'_>| {
            if text.0.is_empty() {
                Err(field_is(field, "it is empty"))
            } else {
                Ok(text.0.clone().into_owned())
            }
        };
        let key = Arc::new(RunKey {
            workload: Workload {
                namespace: name("namespace", &line.namespace)?,
                kind: name("kind", &line.kind)?,
                name: name("workload", &line.workload)?,
                container: name("container", &line.container)?,
            },
            image: image.to_owned(),
            run: name("run", &line.run)?,
        });
        self.run = Some(key.clone());
        Ok(key)
    }

    fn labels(&mut self, line: &Line<'_>) -> Result<Arc<Labels>, Problem> {
        let Some(raw) = &line.labels else {
            return Ok(self.none.clone());
        };
        if let Some((text, labels)) = &self.labels
            && **text == *raw.get()
        {
            return Ok(labels.clone());
        }
        let labels: Arc<Labels> = serde_json::from_str(raw.get())
            .map(Arc::new)
            .map_err(|_| field_is("labels", "it is not an object of strings"))?;
        self.labels = Some((raw.get().into(), labels.clone()));
        Ok(labels)
    }
}

fn field_is(field: &'static str, cause: impl Into<String>) -> Problem {
    Problem::Field {
        field,
        cause: cause.into(),
    }
}

fn moment(minute: &mut Minute, field: &'static str, text: &str) -> Result<Moment, Problem> {
    if let Some(moment) = minute.moment(text) {
        return Ok(moment);
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| field_is(field, format!("{text:?} is not a time as RFC 3339 has it")))?;
    Ok(Moment(time.as_microsecond()))
}

fn lost(line: &Line<'_>) -> Result<Loss, Problem> {
    let reason = needed(line.reason.as_ref(), "reason", "lost")?;
    if reason.is_empty() {
        return Err(field_is("reason", "it is empty"));
    }
    Ok(Loss::from(reason))
}

fn at_least_one(count: u64) -> Result<u64, Problem> {
    if count == 0 {
        return Err(field_is("count", "a line stands for at least 1 event"));
    }
    Ok(count)
}

fn needed<'l>(
    field: Option<&'l Text<'_>>,
    name: &'static str,
    op: &'static str,
) -> Result<&'l str, Problem> {
    field
        .map(|text| &*text.0)
        .ok_or(Problem::Missing { field: name, op })
}

fn seen(line: &Line<'_>, op: &str) -> Result<Behavior, Problem> {
    let to = |op| {
        let path = path("to", line.to.as_ref(), line.to_bytes.as_ref())?;
        without_slash("to", path.ok_or(Problem::Missing { field: "to", op })?)
    };
    let op =
        match op {
            "exec" => Op::Exec,
            "open" => {
                let access = needed(line.access.as_ref(), "access", "open")?;
                Op::Open(Access::parse(access).ok_or_else(|| {
                    field_is("access", format!("{access:?} is none of r, w and rw"))
                })?)
            }
            "create" => Op::Create,
            "mkdir" => Op::Mkdir,
            "unlink" => Op::Unlink,
            "rmdir" => Op::Rmdir,
            "rename" => Op::Rename { to: to("rename")? },
            "link" => Op::Link { to: to("link")? },
            "symlink" => Op::Symlink,
            "chmod" => Op::Chmod,
            "truncate" => Op::Truncate,
            other => return Err(Problem::Op(other.to_owned())),
        };
    let missing = |field| Problem::Missing {
        field,
        op: op.name(),
    };
    let target = path("path", line.path.as_ref(), line.path_bytes.as_ref())?
        .ok_or_else(|| missing("path"))?;
    let target = match op {
        Op::Open(_) => target,
        _ => without_slash("path", target)?,
    };
    let source = path(
        "source",
        line.source.as_ref().and_then(Option::as_ref),
        line.source_bytes.as_ref(),
    )?;
    let source = source
        .map(|source| without_slash("source", source))
        .transpose()?;
    let result = match &*line.result.as_ref().ok_or_else(|| missing("result"))?.0 {
        "" => return Err(field_is("result", "it is empty")),
        "ok" => Outcome::Ok,
        errno => Outcome::Failed(errno.to_owned()),
    };
    Ok(Behavior {
        op,
        path: target,
        source,
        uid: line.uid,
        owner: line.owner,
        upper: line.upper,
        tty: line.tty,
        result,
    })
}

/// The path that a field and its `_bytes` companion hold together.
fn path(
    field: &'static str,
    text: Option<&Text<'_>>,
    bytes: Option<&Text<'_>>,
) -> Result<Option<AbsPath>, Problem> {
    let Some(Text(text)) = text else {
        return match bytes {
            None => Ok(None),
            Some(_) => Err(field_is(field, "it has bytes and no text")),
        };
    };
    let bytes = match bytes {
        None => text.as_bytes().to_vec(),
        Some(Text(encoded)) => {
            let bytes = BASE64
                .decode(encoded.as_bytes())
                .map_err(|_| field_is(field, "its bytes are not base64"))?;
            // Whoever reads the text must not be told another path than the one that counts.
            if String::from_utf8_lossy(&bytes) != *text {
                return Err(field_is(
                    field,
                    "its bytes and its text are not the same path",
                ));
            }
            bytes
        }
    };
    let path = AbsPath::new(bytes).map_err(|cause| field_is(field, cause.to_string()))?;
    if !is_resolved(path.as_bytes()) {
        return Err(field_is(field, format!("{path} is not a resolved path")));
    }
    Ok(Some(path))
}

/// No empty component but the last, no `.` and no `..`.
fn is_resolved(path: &[u8]) -> bool {
    let within = path.strip_prefix(b"/").unwrap_or(path);
    let within = within.strip_suffix(b"/").unwrap_or(within);
    path == b"/"
        || within
            .split(|byte| *byte == b'/')
            .all(|component| !matches!(component, b"" | b"." | b".."))
}

fn without_slash(field: &'static str, path: AbsPath) -> Result<AbsPath, Problem> {
    match path.as_bytes() {
        [_, .., b'/'] => Err(field_is(
            field,
            format!("{path} ends in a slash, which only an opened directory does"),
        )),
        _ => Ok(path),
    }
}

//! The columns of a recording in Parquet: those of a line, `labels` as the text of its JSON object
//! and times as the text of RFC 3339.

use polars::prelude::{
    BooleanChunked, BooleanChunkedBuilder, ChunkedArray, ChunkedBuilder, Column, DataFrame,
    DataType, Field, IntoColumn, PlHashMap, PolarsDataType, PolarsResult, PrimitiveChunkedBuilder,
    Schema, StringChunked, StringChunkedBuilder, UInt32Chunked, UInt32Type, UInt64Chunked,
    UInt64Type,
};
use serde_json::value::RawValue;

use super::error::Problem;
use super::line::{Deed, Kind, Line, Text, When, Whose};

/// Text columns without which there is no recording.
const NEEDED: [&str; 7] = [
    "run",
    "namespace",
    "kind",
    "workload",
    "container",
    "at",
    "op",
];
/// Text columns that may be missing or null.
const TEXTS: [&str; 12] = [
    "labels",
    "image",
    "last",
    "source",
    "source_bytes",
    "path",
    "path_bytes",
    "to",
    "to_bytes",
    "access",
    "result",
    "reason",
];
const FLAGS: [&str; 3] = ["owner", "upper", "tty"];

fn text_of<'l>(line: &'l Line<'_>, name: &str) -> Option<&'l str> {
    let text = match name {
        "run" => Some(&line.run),
        "namespace" => Some(&line.namespace),
        "kind" => Some(&line.kind),
        "workload" => Some(&line.workload),
        "container" => Some(&line.container),
        "at" => Some(&line.at),
        "op" => Some(&line.op),
        "labels" => return line.labels.map(RawValue::get),
        "image" => line.image.as_ref(),
        "last" => line.last.as_ref(),
        "source" => line.source.as_ref().and_then(Option::as_ref),
        "source_bytes" => line.source_bytes.as_ref(),
        "path" => line.path.as_ref(),
        "path_bytes" => line.path_bytes.as_ref(),
        "to" => line.to.as_ref(),
        "to_bytes" => line.to_bytes.as_ref(),
        "access" => line.access.as_ref(),
        "result" => line.result.as_ref(),
        "reason" => line.reason.as_ref(),
        _ => None,
    };
    text.map(|Text(text)| &**text)
}

/// Rows on their way into a file.
pub(super) struct Columns {
    texts: Vec<(&'static str, StringChunkedBuilder)>,
    flags: Vec<(&'static str, BooleanChunkedBuilder)>,
    uid: PrimitiveChunkedBuilder<UInt32Type>,
    count: PrimitiveChunkedBuilder<UInt64Type>,
    rows: usize,
}

impl Columns {
    pub(super) fn with_capacity(rows: usize) -> Self {
        let text = |name: &'static str| (name, StringChunkedBuilder::new(name.into(), rows));
        let flag = |name: &'static str| (name, BooleanChunkedBuilder::new(name.into(), rows));
        Self {
            texts: NEEDED.into_iter().chain(TEXTS).map(text).collect(),
            flags: FLAGS.into_iter().map(flag).collect(),
            uid: PrimitiveChunkedBuilder::new("uid".into(), rows),
            count: PrimitiveChunkedBuilder::new("count".into(), rows),
            rows: 0,
        }
    }

    pub(super) fn schema() -> Schema {
        let text = |name: &'static str| Field::new(name.into(), DataType::String);
        let flag = |name: &'static str| Field::new(name.into(), DataType::Boolean);
        NEEDED
            .into_iter()
            .chain(TEXTS)
            .map(text)
            .chain(FLAGS.into_iter().map(flag))
            .chain([
                Field::new("uid".into(), DataType::UInt32),
                Field::new("count".into(), DataType::UInt64),
            ])
            .collect()
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn push(&mut self, line: &Line<'_>) {
        for (name, builder) in &mut self.texts {
            builder.append_option(text_of(line, name));
        }
        for (name, builder) in &mut self.flags {
            builder.append_option(match *name {
                "owner" => line.owner,
                "upper" => line.upper,
                _ => line.tty,
            });
        }
        self.uid.append_option(line.uid);
        self.count.append_option(line.count);
        self.rows += 1;
    }

    pub(super) fn finish(self) -> PolarsResult<DataFrame> {
        let texts = self.texts.into_iter();
        let texts = texts.map(|(_, builder)| builder.finish().into_column());
        let flags = self.flags.into_iter();
        let flags = flags.map(|(_, builder)| builder.finish().into_column());
        let columns: Vec<Column> = texts
            .chain(flags)
            .chain([
                self.uid.finish().into_column(),
                self.count.finish().into_column(),
            ])
            .collect();
        DataFrame::new(self.rows, columns)
    }
}

/// Rows on their way out of a file.
pub(super) struct Rows {
    run: StringChunked,
    namespace: StringChunked,
    kind: StringChunked,
    workload: StringChunked,
    container: StringChunked,
    labels: Option<StringChunked>,
    image: Option<StringChunked>,
    at: StringChunked,
    last: Option<StringChunked>,
    op: StringChunked,
    source: Option<StringChunked>,
    source_bytes: Option<StringChunked>,
    path: Option<StringChunked>,
    path_bytes: Option<StringChunked>,
    to: Option<StringChunked>,
    to_bytes: Option<StringChunked>,
    access: Option<StringChunked>,
    uid: Option<UInt32Chunked>,
    owner: Option<BooleanChunked>,
    upper: Option<BooleanChunked>,
    tty: Option<BooleanChunked>,
    result: Option<StringChunked>,
    count: Option<UInt64Chunked>,
    reason: Option<StringChunked>,
}

impl Rows {
    /// Takes the columns of a recording, whatever others there are.
    ///
    /// # Errors
    /// In words: a column is missing, or has a type that cannot be read as its own.
    pub(super) fn new(frame: &DataFrame) -> Result<Self, String> {
        let text = |name| match typed(frame, name, &DataType::String)? {
            Some(column) => column.str().cloned().map(Some).map_err(in_words),
            None => Ok(None),
        };
        let needed = |name| text(name)?.ok_or_else(|| format!("it has no column {name}"));
        let flag = |name| match typed(frame, name, &DataType::Boolean)? {
            Some(column) => column.bool().cloned().map(Some).map_err(in_words),
            None => Ok(None),
        };
        Ok(Self {
            run: needed("run")?,
            namespace: needed("namespace")?,
            kind: needed("kind")?,
            workload: needed("workload")?,
            container: needed("container")?,
            labels: text("labels")?,
            image: text("image")?,
            at: needed("at")?,
            last: text("last")?,
            op: needed("op")?,
            source: text("source")?,
            source_bytes: text("source_bytes")?,
            path: text("path")?,
            path_bytes: text("path_bytes")?,
            to: text("to")?,
            to_bytes: text("to_bytes")?,
            access: text("access")?,
            uid: match typed(frame, "uid", &DataType::UInt32)? {
                Some(column) => Some(column.u32().map_err(in_words)?.clone()),
                None => None,
            },
            owner: flag("owner")?,
            upper: flag("upper")?,
            tty: flag("tty")?,
            result: text("result")?,
            count: match typed(frame, "count", &DataType::UInt64)? {
                Some(column) => Some(column.u64().map_err(in_words)?.clone()),
                None => None,
            },
            reason: text("reason")?,
        })
    }

    /// Tells apart rows that do not state the same, without a look at the texts: only at where they
    /// are, since those of a dictionary are in one place.
    pub(super) fn numbered(&self) -> Numbered {
        let mut numbers = Numbers {
            numbers: vec![0; self.run.len()],
            known: PlHashMap::default(),
        };
        for column in [&self.run, &self.namespace, &self.kind, &self.workload] {
            numbers.tell_apart(|| places(column));
        }
        numbers.tell_apart(|| places(&self.container));
        for column in [&self.labels, &self.image].into_iter().flatten() {
            numbers.tell_apart(|| places(column));
        }
        let whose = numbers.numbers.clone();
        for column in [&self.owner, &self.upper, &self.tty].into_iter().flatten() {
            numbers.tell_apart(|| column.iter().map(|value| value.map_or(NULL, u128::from)));
        }
        if let Some(column) = &self.uid {
            numbers.tell_apart(|| column.iter().map(|value| value.map_or(NULL, u128::from)));
        }
        numbers.tell_apart(|| places(&self.op));
        // What there are most of comes last.
        for column in [
            &self.access,
            &self.result,
            &self.reason,
            &self.source,
            &self.source_bytes,
            &self.to,
            &self.to_bytes,
            &self.path,
            &self.path_bytes,
        ]
        .into_iter()
        .flatten()
        {
            numbers.tell_apart(|| places(column));
        }
        Numbered {
            whose,
            statements: numbers.numbers,
        }
    }

    /// Whose the row is.
    pub(super) fn whose(&self, row: usize) -> Result<Whose<'_>, Problem> {
        Ok(Whose {
            run: needed(&self.run, row)?,
            namespace: needed(&self.namespace, row)?,
            kind: needed(&self.kind, row)?,
            workload: needed(&self.workload, row)?,
            container: needed(&self.container, row)?,
            labels: of(&self.labels, row),
            image: of(&self.image, row),
        })
    }

    /// How often and when.
    pub(super) fn when(&self, row: usize) -> Result<When<'_>, Problem> {
        Ok(When {
            kind: Kind::of(needed(&self.op, row)?),
            at: needed(&self.at, row)?,
            last: of(&self.last, row),
            count: of(&self.count, row),
        })
    }

    /// What was done.
    pub(super) fn deed(&self, row: usize) -> Result<Deed<'_>, Problem> {
        Ok(Deed {
            op: needed(&self.op, row)?,
            source: of(&self.source, row),
            source_bytes: of(&self.source_bytes, row),
            path: of(&self.path, row),
            path_bytes: of(&self.path_bytes, row),
            to: of(&self.to, row),
            to_bytes: of(&self.to_bytes, row),
            access: of(&self.access, row),
            uid: of(&self.uid, row),
            owner: of(&self.owner, row),
            upper: of(&self.upper, row),
            tty: of(&self.tty, row),
            result: of(&self.result, row),
            reason: of(&self.reason, row),
        })
    }

    /// The row as a line.
    pub(super) fn line(&self, row: usize) -> Result<Line<'_>, Problem> {
        let labels = of(&self.labels, row).map(serde_json::from_str).transpose();
        Ok(Line {
            run: needed(&self.run, row)?.into(),
            namespace: needed(&self.namespace, row)?.into(),
            kind: needed(&self.kind, row)?.into(),
            workload: needed(&self.workload, row)?.into(),
            container: needed(&self.container, row)?.into(),
            labels: labels.map_err(|_| Problem::Field {
                field: "labels",
                cause: "it is not the text of a JSON object".into(),
            })?,
            image: text(&self.image, row),
            at: needed(&self.at, row)?.into(),
            last: text(&self.last, row),
            op: needed(&self.op, row)?.into(),
            source: Some(text(&self.source, row)),
            source_bytes: text(&self.source_bytes, row),
            path: text(&self.path, row),
            path_bytes: text(&self.path_bytes, row),
            to: text(&self.to, row),
            to_bytes: text(&self.to_bytes, row),
            access: text(&self.access, row),
            uid: of(&self.uid, row),
            owner: of(&self.owner, row),
            upper: of(&self.upper, row),
            tty: of(&self.tty, row),
            result: text(&self.result, row),
            count: of(&self.count, row),
            reason: text(&self.reason, row),
        })
    }
}

/// For each row, a number of whose it is and one of what it states. The same number is the same
/// owner or statement; one may have several. A number that comes for the first time is greater by
/// one than all before it.
pub(super) struct Numbered {
    pub(super) whose: Vec<u32>,
    pub(super) statements: Vec<u32>,
}

struct Numbers {
    numbers: Vec<u32>,
    known: PlHashMap<(u128, u32), u32>,
}

/// Stands for null: no number is as great, and no place of a text has these bits, since a text that
/// long does not begin with bytes that are not UTF-8.
const NULL: u128 = u128::MAX;

impl Numbers {
    /// Gives rows that have the same number and different values different numbers.
    fn tell_apart<I: Iterator<Item = u128>>(&mut self, values: impl Fn() -> I) {
        let first = values().next();
        if values().all(|value| Some(value) == first) {
            return;
        }
        self.known.clear();
        let mut before = None;
        for (number, value) in self.numbers.iter_mut().zip(values()) {
            let now = (value, *number);
            *number = match before {
                Some((same, number)) if same == now => number,
                _ => {
                    let next = self.known.len() as u32;
                    *self.known.entry(now).or_insert(next)
                }
            };
            before = Some((now, *number));
        }
    }
}

/// Where the texts of a column in one piece are, or what they are if they are short.
fn places(column: &StringChunked) -> impl Iterator<Item = u128> {
    let array = column.downcast_as_array();
    let validity = column.chunks()[0].validity();
    let mut is_there = validity.into_iter().flat_map(|bits| bits.iter());
    let views = array.views().iter().map(|view| view.as_u128());
    views.map(move |view| {
        if is_there.next().unwrap_or(true) {
            view
        } else {
            NULL
        }
    })
}

/// The column of that name, in one piece, if there is one.
fn typed(frame: &DataFrame, name: &str, wanted: &DataType) -> Result<Option<Column>, String> {
    let Ok(column) = frame.column(name) else {
        return Ok(None);
    };
    // polars does not hold the columns of a file against one another.
    let (rows, height) = (column.len(), frame.height());
    if rows != height {
        return Err(format!(
            "column {name} has {rows} rows where {height} are announced"
        ));
    }
    let found = column.dtype();
    let converted = found.is_integer() && wanted.is_integer() || found.is_null();
    let column = match found {
        found if found == wanted => Ok(column.clone()),
        _ if converted => column.strict_cast(wanted),
        _ => return Err(format!("column {name} is {found}, not {wanted}")),
    };
    column
        .map(|column| Some(column.rechunk()))
        .map_err(|error| format!("column {name} is not {wanted}: {error}"))
}

fn of<T: PolarsDataType>(column: &Option<ChunkedArray<T>>, row: usize) -> Option<T::Physical<'_>> {
    column.as_ref()?.get(row)
}

fn needed(column: &StringChunked, row: usize) -> Result<&str, Problem> {
    match column.get(row) {
        Some(text) => Ok(text),
        None => Err(Problem::Json(format!("{} is null", column.name()))),
    }
}

fn text(column: &Option<StringChunked>, row: usize) -> Option<Text<'_>> {
    of(column, row).map(Text::from)
}

fn in_words(error: polars::error::PolarsError) -> String {
    error.to_string()
}

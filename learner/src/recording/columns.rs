//! The columns of a recording in Parquet: those of a line, `labels` as the text of its JSON object
//! and times as the text of RFC 3339.

use std::borrow::Cow;

use polars::prelude::{
    BooleanChunked, BooleanChunkedBuilder, ChunkedBuilder, Column, DataFrame, DataType, Field,
    IntoColumn, PolarsResult, PrimitiveChunkedBuilder, Schema, StringChunked, StringChunkedBuilder,
    UInt32Chunked, UInt32Type, UInt64Chunked, UInt64Type,
};
use serde_json::value::RawValue;

use super::error::Problem;
use super::line::{Line, Text};

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
    texts: Vec<(&'static str, StringChunked)>,
    flags: Vec<(&'static str, BooleanChunked)>,
    uid: Option<UInt32Chunked>,
    count: Option<UInt64Chunked>,
    height: usize,
}

impl Rows {
    /// Takes the columns of a recording, whatever others there are.
    ///
    /// # Errors
    /// In words: a column is missing, or has a type that cannot be read as its own.
    pub(super) fn new(frame: &DataFrame) -> Result<Self, String> {
        let typed = |name: &str, wanted: &DataType| -> Result<Option<Column>, String> {
            let Ok(column) = frame.column(name) else {
                return Ok(None);
            };
            let found = column.dtype();
            let converted = found.is_integer() && wanted.is_integer() || found.is_null();
            let column = match found {
                found if found == wanted => Ok(column.clone()),
                _ if converted => column.strict_cast(wanted),
                _ => return Err(format!("column {name} is {found}, not {wanted}")),
            };
            column
                .map(Some)
                .map_err(|error| format!("column {name} is not {wanted}: {error}"))
        };
        let mut texts = Vec::new();
        for name in NEEDED.into_iter().chain(TEXTS) {
            match typed(name, &DataType::String)? {
                Some(column) => texts.push((name, column.str().map_err(in_words)?.clone())),
                None if NEEDED.contains(&name) => return Err(format!("it has no column {name}")),
                None => {}
            }
        }
        let mut flags = Vec::new();
        for name in FLAGS {
            if let Some(column) = typed(name, &DataType::Boolean)? {
                flags.push((name, column.bool().map_err(in_words)?.clone()));
            }
        }
        let uid = match typed("uid", &DataType::UInt32)? {
            Some(column) => Some(column.u32().map_err(in_words)?.clone()),
            None => None,
        };
        let count = match typed("count", &DataType::UInt64)? {
            Some(column) => Some(column.u64().map_err(in_words)?.clone()),
            None => None,
        };
        Ok(Self {
            texts,
            flags,
            uid,
            count,
            height: frame.height(),
        })
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// The row as a line.
    pub(super) fn line(&self, row: usize) -> Result<Line<'_>, Problem> {
        let text = |wanted: &str| {
            let (_, column) = self.texts.iter().find(|(name, _)| *name == wanted)?;
            Some(Text(Cow::Borrowed(column.get(row)?)))
        };
        let needed =
            |name: &'static str| text(name).ok_or_else(|| Problem::Json(format!("{name} is null")));
        let flag = |wanted: &str| {
            let (_, column) = self.flags.iter().find(|(name, _)| *name == wanted)?;
            column.get(row)
        };
        let labels = match self.texts.iter().find(|(name, _)| *name == "labels") {
            Some((_, column)) => column.get(row),
            None => None,
        };
        let labels: Option<&RawValue> =
            labels
                .map(serde_json::from_str)
                .transpose()
                .map_err(|_| Problem::Field {
                    field: "labels",
                    cause: "it is not the text of a JSON object".into(),
                })?;
        Ok(Line {
            run: needed("run")?,
            namespace: needed("namespace")?,
            kind: needed("kind")?,
            workload: needed("workload")?,
            container: needed("container")?,
            labels,
            image: text("image"),
            at: needed("at")?,
            last: text("last"),
            op: needed("op")?,
            source: Some(text("source")),
            source_bytes: text("source_bytes"),
            path: text("path"),
            path_bytes: text("path_bytes"),
            to: text("to"),
            to_bytes: text("to_bytes"),
            access: text("access"),
            uid: self.uid.as_ref().and_then(|column| column.get(row)),
            owner: flag("owner"),
            upper: flag("upper"),
            tty: flag("tty"),
            result: text("result"),
            count: self.count.as_ref().and_then(|column| column.get(row)),
            reason: text("reason"),
        })
    }
}

fn in_words(error: polars::error::PolarsError) -> String {
    error.to_string()
}

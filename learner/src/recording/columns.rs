//! The columns of a recording in Parquet: those of a line, `labels` as the text of its JSON object
//! and times as the text of RFC 3339.

use polars::prelude::{
    BooleanChunkedBuilder, ChunkedBuilder, Column, DataFrame, DataType, Field, IntoColumn,
    PolarsResult, PrimitiveChunkedBuilder, Schema, StringChunkedBuilder, UInt32Type, UInt64Type,
};
use serde_json::value::RawValue;

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

//! The rows of a recording in Parquet, as they are read: `columns.rs` says which columns there are.

use polars::prelude::{
    BooleanChunked, ChunkedArray, Column, DataFrame, DataType, PolarsDataType, StaticArray as _,
    StringChunked, UInt32Chunked, UInt64Chunked,
};

use super::error::Problem;
use super::line::{Deed, Kind, Line, Text, When, Whose};
use super::numbered::Values;

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

    /// The columns that say whose a row is.
    pub(super) fn of_whom(&self) -> Vec<Values<'_>> {
        let needed = [
            &self.run,
            &self.namespace,
            &self.kind,
            &self.workload,
            &self.container,
        ];
        let optional = [&self.labels, &self.image].into_iter().flatten();
        needed
            .into_iter()
            .chain(optional)
            .map(Values::Texts)
            .collect()
    }

    /// The columns that say what was done.
    pub(super) fn of_what(&self) -> Vec<Values<'_>> {
        let texts = [
            &self.source,
            &self.source_bytes,
            &self.path,
            &self.path_bytes,
            &self.to,
            &self.to_bytes,
            &self.access,
            &self.result,
            &self.reason,
        ];
        let texts = texts.into_iter().flatten().map(Values::Texts);
        let flags = [&self.owner, &self.upper, &self.tty];
        let flags = flags.into_iter().flatten().map(Values::Flags);
        let numbers = self.uid.iter().map(Values::Numbers);
        [Values::Texts(&self.op)]
            .into_iter()
            .chain(texts)
            .chain(flags)
            .chain(numbers)
            .collect()
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

    /// How often and when, of a row of this kind.
    pub(super) fn when(&self, row: usize, kind: Kind) -> Result<When<'_>, Problem> {
        Ok(When {
            kind,
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
    column.as_ref()?.downcast_as_array().get(row)
}

fn needed(column: &StringChunked, row: usize) -> Result<&str, Problem> {
    match column.downcast_as_array().get(row) {
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

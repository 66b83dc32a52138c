//! One line of a recording, as it is written.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::Problem;

/// Text that is borrowed from the line where JSON has no escape in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

/// The fields of a line, in the order in which they are written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Line<'a> {
    pub(super) run: Text<'a>,
    pub(super) namespace: Text<'a>,
    pub(super) kind: Text<'a>,
    pub(super) workload: Text<'a>,
    pub(super) container: Text<'a>,
    /// Still text: parsed once for all the lines that have the same.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<Text<'a>>,
    pub(super) at: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<Text<'a>>,
    pub(super) op: Text<'a>,
    /// Written as null where it is not known; markers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<Option<Text<'a>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) source_bytes: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) path_bytes: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to_bytes: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upper: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tty: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<Text<'a>>,
}

impl<'a> Line<'a> {
    /// Parses one line of JSON Lines.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Problem> {
        // serde would take an array for the fields in their order.
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            _ => return Err(Problem::Json("it is no JSON object".into())),
        }
        // To look at all bytes once is faster than at each text alone. But texts that are not
        // UTF-8 may stand in fields that are not known.
        let parsed = match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(bytes),
        };
        parsed.map_err(|error| {
            if error.is_eof() {
                return Problem::CutOff;
            }
            let (text, column) = (error.to_string(), error.column());
            let what = text.split(" at line ").next().unwrap_or(&text);
            Problem::Json(format!("{what}, at column {column}"))
        })
    }

    /// The fields that say whose it is.
    pub(super) fn whose(&self) -> Whose<'_> {
        Whose {
            run: &self.run.0,
            namespace: &self.namespace.0,
            kind: &self.kind.0,
            workload: &self.workload.0,
            container: &self.container.0,
            labels: self.labels.map(RawValue::get),
            image: text(&self.image),
        }
    }

    /// The fields that say how often and when.
    pub(super) fn when(&self) -> When<'_> {
        When {
            kind: Kind::of(&self.op.0),
            at: &self.at.0,
            last: text(&self.last),
            count: self.count,
        }
    }

    /// The fields that say what was done.
    pub(super) fn deed(&self) -> Deed<'_> {
        Deed {
            op: &self.op.0,
            source: self.source.as_ref().and_then(text),
            source_bytes: text(&self.source_bytes),
            path: text(&self.path),
            path_bytes: text(&self.path_bytes),
            to: text(&self.to),
            to_bytes: text(&self.to_bytes),
            access: text(&self.access),
            uid: self.uid,
            owner: self.owner,
            upper: self.upper,
            tty: self.tty,
            result: text(&self.result),
            reason: text(&self.reason),
        }
    }
}

fn text<'l>(field: &'l Option<Text<'_>>) -> Option<&'l str> {
    field.as_ref().map(|text| &*text.0)
}

/// Whose a line is.
pub(super) struct Whose<'l> {
    pub(super) run: &'l str,
    pub(super) namespace: &'l str,
    pub(super) kind: &'l str,
    pub(super) workload: &'l str,
    pub(super) container: &'l str,
    pub(super) labels: Option<&'l str>,
    pub(super) image: Option<&'l str>,
}

impl Whose<'_> {
    /// Equal bytes are equal fields.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        let Self {
            run,
            namespace,
            kind,
            workload,
            container,
            labels,
            image,
        } = *self;
        for text in [run, namespace, kind, workload, container] {
            write(Some(text), into);
        }
        write(labels, into);
        write(image, into);
    }
}

/// What `last` and `count` mean in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Marker,
    /// How much was lost.
    Lost,
    /// How often and until when.
    Seen,
}

impl Kind {
    pub(super) fn of(op: &str) -> Self {
        match op {
            "start" | "stop" | "late" => Self::Marker,
            "lost" => Self::Lost,
            _ => Self::Seen,
        }
    }
}

/// How often and when, and the kind of line, which says what that means.
#[derive(Clone, Copy)]
pub(super) struct When<'l> {
    pub(super) kind: Kind,
    pub(super) at: &'l str,
    pub(super) last: Option<&'l str>,
    pub(super) count: Option<u64>,
}

/// What was done, or which marker it is.
pub(super) struct Deed<'l> {
    pub(super) op: &'l str,
    pub(super) source: Option<&'l str>,
    pub(super) source_bytes: Option<&'l str>,
    pub(super) path: Option<&'l str>,
    pub(super) path_bytes: Option<&'l str>,
    pub(super) to: Option<&'l str>,
    pub(super) to_bytes: Option<&'l str>,
    pub(super) access: Option<&'l str>,
    pub(super) uid: Option<u32>,
    pub(super) owner: Option<bool>,
    pub(super) upper: Option<bool>,
    pub(super) tty: Option<bool>,
    pub(super) result: Option<&'l str>,
    pub(super) reason: Option<&'l str>,
}

impl Deed<'_> {
    /// Equal bytes are equal fields.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        let Self {
            op,
            source,
            source_bytes,
            path,
            path_bytes,
            to,
            to_bytes,
            access,
            uid,
            owner,
            upper,
            tty,
            result,
            reason,
        } = *self;
        write(Some(op), into);
        for text in [
            source,
            source_bytes,
            path,
            path_bytes,
            to,
            to_bytes,
            access,
            result,
            reason,
        ] {
            write(text, into);
        }
        let flag = |flag: Option<bool>| flag.map_or(2, u8::from);
        into.extend_from_slice(&[flag(owner), flag(upper), flag(tty)]);
        into.extend_from_slice(&uid.map_or(u64::MAX, u64::from).to_le_bytes());
    }
}

/// The text behind its length; no text has the length of none.
fn write(text: Option<&str>, into: &mut Vec<u8>) {
    let len = text.map_or(usize::MAX, str::len);
    into.extend_from_slice(&len.to_le_bytes());
    into.extend_from_slice(text.unwrap_or_default().as_bytes());
}

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
        serde_json::from_slice(bytes).map_err(|error| {
            if error.is_eof() {
                return Problem::CutOff;
            }
            let (text, column) = (error.to_string(), error.column());
            let what = text.split(" at line ").next().unwrap_or(&text);
            Problem::Json(format!("{what}, at column {column}"))
        })
    }
}

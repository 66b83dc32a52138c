//! How an observation is said: from its parts to the fields of a line.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;

use super::error::RecordingError;
use super::line::{Line, Text};
use crate::behavior::Behavior;
use crate::observation::{Fact, Moment, Observation};
use crate::path::AbsPath;
use crate::workload::{Labels, RunKey, Workload};

/// A path as recordings have it: as text, and its bytes in base64 where the text cannot say them.
pub fn path_fields(path: &AbsPath) -> (Cow<'_, str>, Option<String>) {
    let text = String::from_utf8_lossy(path.as_bytes());
    let bytes = match text {
        Cow::Borrowed(_) => None,
        Cow::Owned(_) => Some(BASE64.encode(path.as_bytes())),
    };
    (text, bytes)
}

/// A path that may be missing, as fields of a line.
struct Written<'a> {
    text: Option<Text<'a>>,
    bytes: Option<Text<'a>>,
}

impl<'a> From<Option<&'a AbsPath>> for Written<'a> {
    fn from(path: Option<&'a AbsPath>) -> Self {
        let Some(path) = path else {
            return Self {
                text: None,
                bytes: None,
            };
        };
        let (text, bytes) = path_fields(path);
        Self {
            text: Some(Text(text)),
            bytes: bytes.map(|bytes| Text(Cow::Owned(bytes))),
        }
    }
}

/// Turns observations into lines. What successive observations share is written out once.
#[derive(Default)]
pub(super) struct Wording {
    labels: Option<(Arc<Labels>, Box<RawValue>)>,
}

impl Wording {
    /// The line that states an observation.
    pub(super) fn of<'a>(
        &'a mut self,
        observation: &'a Observation,
    ) -> Result<Line<'a>, RecordingError> {
        let Observation {
            run,
            labels,
            at,
            fact,
        } = observation;
        let RunKey {
            workload:
                Workload {
                    namespace,
                    kind,
                    name,
                    container,
                },
            image,
            run,
        } = &**run;
        let mut line = Line {
            run: run.as_str().into(),
            namespace: namespace.as_str().into(),
            kind: kind.as_str().into(),
            workload: name.as_str().into(),
            container: container.as_str().into(),
            labels: Some(self.labels(labels)?),
            image: Some(image.as_str().into()),
            at: time(*at)?,
            last: None,
            op: "".into(),
            source: None,
            source_bytes: None,
            path: None,
            path_bytes: None,
            to: None,
            to_bytes: None,
            access: None,
            uid: None,
            owner: None,
            upper: None,
            tty: None,
            result: None,
            count: None,
            reason: None,
        };
        match fact {
            Fact::Start => line.op = "start".into(),
            Fact::Stop => line.op = "stop".into(),
            Fact::Late => line.op = "late".into(),
            Fact::Lost { reason, count } => {
                line.op = "lost".into();
                line.reason = Some(reason.as_str().into());
                line.count = Some(*count);
            }
            Fact::Seen {
                behavior,
                count,
                last,
            } => {
                if last != at {
                    line.last = Some(time(*last)?);
                }
                line.count = Some(*count);
                line.describe(behavior);
            }
        }
        Ok(line)
    }

    fn labels(&mut self, labels: &Arc<Labels>) -> Result<&RawValue, RecordingError> {
        if self
            .labels
            .as_ref()
            .is_none_or(|(known, _)| !Arc::ptr_eq(known, labels))
        {
            let raw = serde_json::value::to_raw_value(&**labels)
                .map_err(|error| RecordingError::Write(error.into()))?;
            self.labels = Some((labels.clone(), raw));
        }
        Ok(match &self.labels {
            Some((_, raw)) => raw,
            None => RawValue::NULL,
        })
    }
}

impl<'a> Line<'a> {
    fn describe(&mut self, behavior: &'a Behavior) {
        let Behavior {
            op,
            path,
            source,
            uid,
            owner,
            upper,
            tty,
            result,
        } = behavior;
        self.op = op.name().into();
        let Written { text, bytes } = source.as_ref().into();
        (self.source, self.source_bytes) = (Some(text), bytes);
        let Written { text, bytes } = Some(path).into();
        (self.path, self.path_bytes) = (text, bytes);
        let Written { text, bytes } = op.to().into();
        (self.to, self.to_bytes) = (text, bytes);
        self.access = op.access().map(|access| access.as_str().into());
        self.uid = *uid;
        self.owner = *owner;
        self.upper = *upper;
        self.tty = *tty;
        self.result = Some(result.as_str().into());
    }
}

fn time(Moment(at): Moment) -> Result<Text<'static>, RecordingError> {
    let time = jiff::Timestamp::from_microsecond(at).map_err(|_| RecordingError::NoSuchTime(at))?;
    Ok(Text(Cow::Owned(time.to_string())))
}

//! Why a message of KubeArmor says nothing.

/// What is wrong with a message. Text that stood in it is cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The stream ends within the line.
    #[error("the line is cut off")]
    CutOff,
    /// More than [`MAX_LINE`](super::MAX_LINE) bytes.
    #[error("the line is longer than {} bytes", super::MAX_LINE)]
    TooLong,
    /// Not a JSON object, or a field has another type.
    #[error("not a message of KubeArmor as `karmor logs --json` prints it: {0}")]
    Json(String),
    /// A field that every message has.
    #[error("the field {0:?} is missing")]
    Missing(&'static str),
    /// A field whose value means nothing.
    #[error("the field {field:?}: {cause}")]
    Field {
        /// The field, by its name in the protobuf.
        field: &'static str,
        /// What is wrong with it.
        cause: String,
    },
}

impl Unreadable {
    /// A field that holds this text, of which the first bytes are shown.
    pub(super) fn field(field: &'static str, text: &str, cause: &str) -> Self {
        let shown = &text[..text.floor_char_boundary(60)];
        let more = if shown.len() < text.len() { "…" } else { "" };
        Self::Field {
            field,
            cause: format!("{shown:?}{more} {cause}"),
        }
    }
}

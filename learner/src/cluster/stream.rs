//! Lists as the API server has them in its memory: all at once, so each object is taken as it comes.

use futures_util::AsyncReadExt as _;
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::de::DeserializeOwned;

use super::error::{ClusterError, Doing};

/// So much is read at a time, bytes.
const CHUNK: usize = 64 << 10;

/// What of each object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// All.
    Whole,
    /// Names, labels, annotations, and who has written it when.
    Metadata,
}

/// Takes each object of a list that the server answers from its memory, which may be some moments old.
///
/// # Errors
/// [`ClusterError`] about `doing`, where the list cannot be had whole.
pub(super) async fn each_in_memory<K: DeserializeOwned>(
    client: &Client,
    path: String,
    page: ListParams,
    of: Of,
    doing: &Doing,
    mut take: impl FnMut(K),
) -> Result<(), ClusterError> {
    let failed = |error| ClusterError::of(doing.clone(), error);
    let page = page.match_any();
    let request = Request::new(path);
    let request = match of {
        Of::Whole => request.list(&page),
        Of::Metadata => request.list_metadata(&page),
    };
    let request = request.map_err(kube::Error::BuildRequest).map_err(failed)?;
    let body = client.request_stream(request).await.map_err(failed)?;
    futures_util::pin_mut!(body);
    let mut chunk = vec![0; CHUNK];
    let mut items = Items::default();
    loop {
        let read = body.read(&mut chunk).await;
        let count = read.map_err(|error| failed(kube::Error::Service(error.into())))?;
        if count == 0 {
            break;
        }
        for item in items.push(&chunk[..count]) {
            take(
                serde_json::from_slice(&item)
                    .map_err(|error| failed(kube::Error::SerdeError(error)))?,
            );
        }
    }
    items
        .end()
        .map_err(|error| failed(kube::Error::SerdeError(error)))
}

/// Cuts a list into its items: the objects in an array that is a field of the list itself.
#[derive(Debug, Default)]
struct Items {
    /// The brackets that are open.
    open: Vec<u8>,
    in_text: bool,
    is_escaped: bool,
    item: Vec<u8>,
    /// The list, without its items.
    rest: Vec<u8>,
}

/// What is open where an item begins and ends.
const AROUND: &[u8] = b"{[";

impl Items {
    /// The items that end in these bytes, which go on where those before them ended.
    fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut ended = Vec::new();
        for byte in bytes.iter().copied() {
            let is_between = self.open == AROUND && !self.in_text;
            let is_within = self.open.len() > AROUND.len() && self.open.starts_with(AROUND);
            if self.in_text {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_text = true,
                    b'{' | b'[' => self.open.push(byte),
                    b'}' | b']' => _ = self.open.pop(),
                    _ => {}
                }
            }
            if is_within || (is_between && byte == b'{') {
                self.item.push(byte);
                if self.open == AROUND && !self.in_text {
                    ended.push(std::mem::take(&mut self.item));
                }
            } else if !(is_between && byte == b',') {
                self.rest.push(byte);
            }
        }
        ended
    }

    /// Nothing more comes.
    fn end(self) -> Result<(), serde_json::Error> {
        // A list that breaks off is no JSON.
        let rest: serde_json::Value = serde_json::from_slice(&self.rest)?;
        match rest.get("items").is_some_and(serde_json::Value::is_array) {
            true => Ok(()),
            false => Err(serde::de::Error::custom("it is no list")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The items of a text that comes in pieces of so many bytes.
    fn cut(text: &str, by: usize) -> Result<Vec<String>, String> {
        let mut items = Items::default();
        let mut found = Vec::new();
        for chunk in text.as_bytes().chunks(by) {
            found.extend(items.push(chunk));
        }
        items.end().map_err(|error| error.to_string())?;
        let text = |item| String::from_utf8(item).expect("text");
        Ok(found.into_iter().map(text).collect())
    }

    #[test]
    fn items_are_cut_wherever_the_chunks_end() {
        let one = r#"{"a":"}],{\"\\","b":[{"c":[]}, {}]}"#;
        let two = r#"{"é":"\\"}"#;
        let list = format!(
            r#"{{"kind":"List","metadata":{{"x":[1],"continue":"["}},"items":[{one}, {two} ,{{}}]}}"#
        );
        for by in 1..=list.len() {
            let found = cut(&list, by).expect("a list");
            assert_eq!(found, [one, two, "{}"], "{by}");
        }
        assert_eq!(cut(r#"{"items":[]}"#, 3), Ok(Vec::new()));
    }

    #[test]
    fn what_breaks_off_or_is_no_list_is_no_list() {
        let list = r#"{"metadata":{},"items":[{"a":1},{"b":2}]}"#;
        for end in 0..list.len() {
            assert!(cut(&list[..end], 7).is_err(), "{end}");
        }
        for text in ["{}", "[]", r#"{"items":null}"#, r#"{"kind":"Status"}"#] {
            assert!(cut(text, 7).is_err(), "{text}");
        }
    }
}

//! Lists as the API server has them in its memory: all at once, so each object is taken as it comes.

use futures_util::{AsyncRead, AsyncReadExt as _};
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::error::{ClusterError, Doing};

/// So much is read at a time, bytes.
const CHUNK: u64 = 64 << 10;

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
    each_item(body, CHUNK, &mut take).await.map_err(failed)
}

/// Takes each item of a list that is read so much at a time.
async fn each_item<K: DeserializeOwned>(
    body: impl AsyncRead + Unpin,
    chunk: u64,
    take: &mut impl FnMut(K),
) -> kube::Result<()> {
    let mut text = Text {
        body,
        chunk,
        read: Vec::new(),
        at: 0,
    };
    let mut is_list = false;
    text.expect(b'{').await?;
    loop {
        let field: String = text.value().await?;
        text.expect(b':').await?;
        if field == "items" {
            is_list = true;
            text.expect(b'[').await?;
            let mut is_over = text.next_is(b']').await?;
            while !is_over {
                take(text.value().await?);
                is_over = !text.next_is(b',').await?;
                if is_over {
                    text.expect(b']').await?;
                }
            }
        } else {
            text.value::<IgnoredAny>().await?;
        }
        if !text.next_is(b',').await? {
            break;
        }
    }
    text.expect(b'}').await?;
    match is_list {
        true => Ok(()),
        false => Err(bad("it is no list")),
    }
}

/// JSON as it comes. No more of it is kept than a value and what came together with its end.
struct Text<R> {
    body: R,
    chunk: u64,
    /// What was read and is not taken yet begins at `at`.
    read: Vec<u8>,
    at: usize,
}

impl<R: AsyncRead + Unpin> Text<R> {
    /// The value that begins here. It has to be one that says itself where it ends, and so no number.
    async fn value<T: DeserializeOwned>(&mut self) -> kube::Result<T> {
        loop {
            let rest = &self.read[self.at..];
            let mut values = serde_json::Deserializer::from_slice(rest).into_iter();
            match values.next() {
                Some(Ok(value)) => {
                    self.at += values.byte_offset();
                    return Ok(value);
                }
                Some(Err(error)) if !error.is_eof() => return Err(kube::Error::SerdeError(error)),
                Some(Err(_)) | None => self.read_on().await?,
            }
        }
    }

    /// Whether this byte comes next; then it is taken.
    async fn next_is(&mut self, wanted: u8) -> kube::Result<bool> {
        loop {
            let mut rest = self.read[self.at..].iter();
            match rest.position(|byte| !byte.is_ascii_whitespace()) {
                Some(after) => {
                    self.at += after;
                    let is_it = self.read[self.at] == wanted;
                    self.at += usize::from(is_it);
                    return Ok(is_it);
                }
                None => self.read_on().await?,
            }
        }
    }

    async fn expect(&mut self, wanted: u8) -> kube::Result<()> {
        match self.next_is(wanted).await? {
            true => Ok(()),
            false => Err(bad("it is no list")),
        }
    }

    /// What breaks off is no JSON.
    async fn read_on(&mut self) -> kube::Result<()> {
        self.read.drain(..self.at);
        self.at = 0;
        let before = self.read.len();
        let mut chunk = (&mut self.body).take(self.chunk);
        let read = chunk.read_to_end(&mut self.read).await;
        read.map_err(|error| kube::Error::Service(error.into()))?;
        match self.read.len() == before {
            true => Err(bad("it breaks off")),
            false => Ok(()),
        }
    }
}

fn bad(why: &str) -> kube::Error {
    kube::Error::SerdeError(serde::de::Error::custom(why))
}

#[cfg(test)]
mod tests {
    use futures_util::io::Cursor;
    use serde_json::{Value, json};

    use super::*;

    /// The items of a text that is read so many bytes at a time.
    async fn cut(text: &str, by: usize) -> Result<Vec<Value>, String> {
        let mut found = Vec::new();
        let body = Cursor::new(text);
        let all = each_item(body, by as u64, &mut |item| found.push(item)).await;
        all.map_err(|error| error.to_string())?;
        Ok(found)
    }

    #[tokio::test]
    async fn items_are_cut_wherever_the_chunks_end() {
        let one = r#"{"a":"}],{\"\\","b":[{"c":[]}, {}]}"#;
        let two = r#"{"é":"\\"}"#;
        let list = format!(
            r#"{{"kind":"List","metadata":{{"x":[1],"continue":"["}},"items":[{one}, {two} ,{{}}], "z": {{}} }}"#
        );
        let all = [
            json!({"a": "}],{\"\\", "b": [{"c": []}, {}]}),
            json!({"é": "\\"}),
            json!({}),
        ];
        for by in 1..=list.len() {
            let found = cut(&list, by).await.expect("a list");
            assert_eq!(found, all, "{by}");
        }
        assert_eq!(cut(r#"{"items":[]}"#, 3).await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn what_breaks_off_or_is_no_list_is_no_list() {
        let list = r#"{"metadata":{},"items":[{"a":1},{"b":2}]}"#;
        for end in 0..list.len() {
            assert!(cut(&list[..end], 7).await.is_err(), "{end}");
        }
        for text in [
            "{}",
            "[]",
            r#"{"items":null}"#,
            r#"{"kind":"Status"}"#,
            r#"{"items":[{}{}]}"#,
            r#"{"items":[{},]}"#,
            r#"{"items":[{}]]"#,
        ] {
            assert!(cut(text, 7).await.is_err(), "{text}");
        }
    }
}

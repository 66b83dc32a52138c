//! A document that is too long for one record, as pages.

use super::codec::Reader;
use super::codec::Writer;
use super::engine::Batch;
use super::record::{self, Sum};

/// Bytes of a document on one page.
const PAGE: usize = 8 * 1024;

const _: () = assert!(PAGE + 64 < record::MAX_LEN);

/// Writes a document, one page a key; gives the sum of the pages' checksums.
pub(super) fn write(batch: &mut Batch, document: &[u8], key: impl Fn(u32) -> [u8; 9]) -> Sum {
    let mut total = Sum::default();
    let pages = document.len().div_ceil(PAGE).max(1);
    for (number, index) in (0..).zip(0..pages) {
        let from = index * PAGE;
        let page = &document[from..document.len().min(from + PAGE)];
        let mut w = Writer::default();
        w.byte(u8::from(index + 1 < pages));
        w.bytes(page);
        let at = key(number);
        let (value, sum) = record::seal(&at, &w);
        batch.insert(&at, value);
        total.add(sum);
    }
    total
}

/// A document in the making, from its pages in order.
#[derive(Default)]
pub(super) struct Document {
    bytes: Vec<u8>,
    next: u32,
    is_whole: bool,
}

impl Document {
    /// Adds the next page.
    pub(super) fn add(&mut self, at: &[u8], value: &[u8]) -> Result<Sum, String> {
        let read = |r: &mut Reader<'_>| Some((r.flag()?, r.bytes()?.to_vec()));
        let ((more, page), sum) = record::decode(at, value, read)?;
        if super::key::number(at) != Some(self.next) || self.is_whole {
            return Err("a page is missing or stands in another place".to_owned());
        }
        self.bytes.extend(page);
        self.next += 1;
        self.is_whole = !more;
        Ok(sum)
    }

    /// The document as text, if all its pages were there.
    pub(super) fn text(self) -> Result<String, String> {
        if !self.is_whole {
            return Err("its last page is missing".to_owned());
        }
        String::from_utf8(self.bytes).map_err(|e| e.to_string())
    }
}

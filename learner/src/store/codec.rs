//! Bytes of a record: variable-length integers, and byte strings with their length before them.

/// Appends fields.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits a byte, lowest first.
    pub(super) fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    /// Small for small magnitudes of either sign.
    pub(super) fn signed(&mut self, n: i64) {
        self.number(((n << 1) ^ (n >> 63)) as u64);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn optional(&mut self, n: Option<i64>) {
        self.byte(u8::from(n.is_some()));
        if let Some(n) = n {
            self.signed(n);
        }
    }
}

/// Takes fields off the front. `None` means that the bytes were not written by [`Writer`].
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let n = self.number()?;
        Some((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    #[expect(clippy::option_option, reason = "outer: readable; inner: present")]
    pub(super) fn optional(&mut self) -> Option<Option<i64>> {
        if self.flag()? {
            Some(Some(self.signed()?))
        } else {
            Some(None)
        }
    }

    /// Nothing is left over.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            n in any::<u64>(),
            i in any::<i64>(),
            o in any::<Option<i64>>(),
            b in any::<Vec<u8>>(),
        ) {
            let mut w = Writer::default();
            w.number(n);
            w.signed(i);
            w.optional(o);
            w.bytes(&b);
            let mut r = Reader(&w.0);
            prop_assert_eq!(r.number(), Some(n));
            prop_assert_eq!(r.signed(), Some(i));
            prop_assert_eq!(r.optional(), Some(o));
            prop_assert_eq!(r.bytes(), Some(&b[..]));
            prop_assert_eq!(r.end(), Some(()));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(b in any::<Vec<u8>>()) {
            let mut r = Reader(&b);
            while r.number().is_some() && r.bytes().is_some() && r.text().is_some() {}
        }
    }
}

//! Messages as JSON, one a line, from a file or a pipe.

use std::io::{self, BufRead};

use super::error::Unreadable;
use super::message::Message;

/// The longest line that is read, in bytes. KubeArmor's probe tells 32 KiB of arguments at most.
pub const MAX_LINE: usize = 1 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Hands over every line that is not empty with its number, from 1: a message, or why it is none. A line
/// that is too long is passed over without being kept.
///
/// # Errors
/// What reading fails with; what was handed over before holds.
pub fn messages(
    mut reader: impl BufRead,
    sink: &mut dyn FnMut(u64, Result<Message, Unreadable>),
) -> io::Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let is_whole = match next(&mut reader, &mut line)? {
            Next::Line => true,
            Next::End if line.is_empty() => return Ok(()),
            Next::End => false,
            Next::TooLong => {
                sink(number, Err(Unreadable::TooLong));
                continue;
            }
        };
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        let text = match text.strip_prefix(BOM) {
            Some(rest) if number == 1 => rest,
            _ => text,
        };
        if !text.is_empty() {
            sink(number, Message::parse(text));
        }
        if !is_whole {
            break;
        }
    }
    Ok(())
}

enum Next {
    /// A line that ends in a line feed, which is left out.
    Line,
    /// What there is, up to the end.
    End,
    /// Read to its end, and not kept.
    TooLong,
}

fn next(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Next> {
    let mut is_too_long = false;
    loop {
        let chunk = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if chunk.is_empty() {
            return Ok(if is_too_long {
                Next::TooLong
            } else {
                Next::End
            });
        }
        let end = memchr::memchr(b'\n', chunk);
        let part = &chunk[..end.unwrap_or(chunk.len())];
        is_too_long |= line.len() + part.len() > MAX_LINE;
        if is_too_long {
            line.clear();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        match (end, is_too_long) {
            (Some(_), false) => return Ok(Next::Line),
            (Some(_), true) => return Ok(Next::TooLong),
            (None, _) => {}
        }
    }
}

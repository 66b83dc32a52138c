//! Names by who makes them: templates of temporary names, and what `mkstemp` puts at the end of any.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{Class, Form, Found, Piece, Place, is_delimiter, regex, token, tokens};

/// Whole segments that say by themselves what they are. Where a group is, that alone varies: the rest is its
/// maker's text.
static WHOLE: LazyLock<Vec<(Class, Regex)>> = LazyLock::new(|| {
    [
        (
            Class::AtomicWriter,
            r"\.\.\d{4}_\d{2}_\d{2}_\d{2}_\d{2}_\d{2}\.\d+$",
        ),
        // Python's tempfile: eight of [a-z0-9_].
        (Class::Temporary, r"tmp([a-z0-9_]{8})$"),
        // mktemp(1) and mkstemp with the usual templates.
        (Class::Temporary, r"tmp\.([A-Za-z0-9]{6,12})$"),
        (Class::Temporary, r"tmp-?([A-Za-z0-9]{6})$"),
        // SQLite's temporary files.
        (Class::Temporary, r"etilqs_([0-9A-Za-z]{8,})$"),
        // glib's g_file_set_contents and GIO.
        (Class::Temporary, r"\.goutputstream-([A-Z0-9]{6})$"),
        (Class::Temporary, r"\.nfs([0-9a-f]{16,})$"),
        (Class::Temporary, r"\.fuse_hidden([0-9a-f]{16,})$"),
        // systemd's PrivateTmp.
        (
            Class::Temporary,
            r"systemd-private-([0-9a-f]{32}-[^/]+-[A-Za-z0-9]{6})$",
        ),
        // Java's HotSpot and temp files, Go's build directory.
        (
            Class::Temporary,
            r"(?:jna|jffi|hsperfdata|go-build|go-link-)-?(\d{5,})(?:\.tmp)?$",
        ),
    ]
    .into_iter()
    .map(|(class, pattern)| (class, regex(pattern)))
    .collect()
});

/// sed -i, ln -sf and gcc name their temporary files so, beside the file or in `/tmp`.
static MKSTEMP: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?:sed|Cu|cc|mc|krb5cc_|ansible_|pip-|npm-|vim|ssh-)([A-Za-z0-9]{6,10})$")
});

/// A name that says by itself who has made it.
pub(super) fn known(segment: &[u8], place: Place<'_>) -> Option<Found> {
    let is_one =
        |(class, regex): &&(Class, Regex)| regex.is_match(segment) && !is_word(segment, *class);
    if let Some((class, regex)) = WHOLE.iter().find(is_one) {
        return Some(made(segment, *class, regex));
    }
    let is_temporary = is_random(segment) && MKSTEMP.is_match(segment) && !place.in_image();
    is_temporary.then(|| made(segment, Class::Temporary, &MKSTEMP))
}

/// What follows `tmp` is random, not a word: `tmpfiles` is no temporary name.
fn is_word(segment: &[u8], class: Class) -> bool {
    class == Class::Temporary
        && segment
            .strip_prefix(b"tmp")
            .is_some_and(|rest| rest.iter().all(u8::is_ascii_lowercase))
}

/// At least two of upper case, lower case and digits, the way random names have them.
fn is_random(segment: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| segment.iter().any(kind);
    has(u8::is_ascii_uppercase) || has(u8::is_ascii_digit)
}

/// Its text, and what varies.
fn made(segment: &[u8], class: Class, regex: &Regex) -> Found {
    let varies = regex.captures(segment).and_then(|found| found.get(1));
    let range = varies.map_or(0..segment.len(), |group| group.range());
    let text = |text: &[u8]| (!text.is_empty()).then(|| Piece::Text(text.into()));
    let pieces = [
        text(&segment[..range.start]),
        Some(Piece::Token(class)),
        text(&segment[range.end..]),
    ];
    Found {
        form: Form(pieces.into_iter().flatten().collect()),
        strength: class.strength(),
    }
}

/// The name as `mkstemp` makes one, if it may be: six letters and digits after a text that no class is in.
///
/// A word with a number is written so too (`build2`), and so may any other name be: it takes a run that makes
/// the name and takes it away again.
pub(in super::super) fn random(segment: &[u8]) -> Option<Found> {
    let (text, six) = segment.split_at_checked(segment.len().checked_sub(SUFFIX)?)?;
    let nowhere = Place { before: &[] };
    let is_after_a_text = text.last().is_some_and(|byte| is_delimiter(*byte))
        && tokens(text, nowhere).is_none()
        && !WORD_AND_NUMBER.is_match(six);
    let is_mixed = matches!(token(six, nowhere, SUFFIX), Some((Class::Mixed, SUFFIX)));
    (is_after_a_text && is_mixed).then(|| Found {
        form: Form(vec![Piece::Text(text.into()), Piece::Token(Class::Random)]),
        strength: Class::Random.strength(),
    })
}

/// So many letters and digits `mkstemp` puts at the end of a name.
const SUFFIX: usize = 6;

/// `build2`, `Phase3`, `10days`.
static WORD_AND_NUMBER: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?:[A-Za-z]?(?:[a-z]+|[A-Z]+)[0-9]+|[0-9]+(?:[a-z]+|[A-Z]+))$"));

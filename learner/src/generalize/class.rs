//! Classes of names that machines make: process ids, digests, times, temporary names.
//!
//! A class takes whole tokens, bounded by delimiters, never a piece of one: what is left of a token
//! cut in two would still be another one in every run.

mod makers;

use std::fmt;
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde::Serialize;

pub(super) use makers::random;

/// What kind of name a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A process in `/proc`. Never process 1, which is the same one in every run.
    Pid,
    /// A thread, below `task`.
    Tid,
    /// An open file, below `fd` or `fdinfo`.
    Fd,
    /// A range of addresses, below `map_files`.
    Range,
    /// A directory of Kubernetes' atomic writer: `..2025_06_01_12_00_00.123456789`.
    AtomicWriter,
    /// `pod` and the UID of a pod, as in names of cgroups.
    PodUid,
    /// A name below `/sys/fs/cgroup`: any number of segments.
    Cgroup,
    /// A UUID.
    Uuid,
    /// A date, or a date and a time of day.
    Time,
    /// What is random in a temporary name of a known maker: `mktemp`, Python's `tempfile`, SQLite.
    Temporary,
    /// Six letters and digits at the end of a name that a run makes and takes away again, as `mkstemp`
    /// makes them: `refs_bApZt7`.
    Random,
    /// All below a directory of a temporary name that the run itself has made: any number of segments.
    Within,
    /// A digest in hexadecimal digits.
    Hex,
    /// A hexadecimal digit of the name of a directory over which a store spreads digests.
    HexDigit,
    /// A digest in letters and digits.
    Base,
    /// A number.
    Number,
    /// Letters and digits without order.
    Mixed,
    /// No class knows it, and it is another one in every run.
    Changing,
}

/// How much it takes to call a name of a class varying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// Only if it was seen to be another one in other runs.
    Weak,
    /// Unless it was the same one in every run.
    Strong,
    /// In any case.
    Always,
}

impl Class {
    /// All there are.
    pub(super) const ALL: [Self; 18] = [
        Self::Pid,
        Self::Tid,
        Self::Fd,
        Self::Range,
        Self::AtomicWriter,
        Self::PodUid,
        Self::Cgroup,
        Self::Uuid,
        Self::Time,
        Self::Temporary,
        Self::Random,
        Self::Within,
        Self::Hex,
        Self::HexDigit,
        Self::Base,
        Self::Number,
        Self::Mixed,
        Self::Changing,
    ];

    /// The inverse of [`Class::as_str`].
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }

    pub(super) fn strength(self) -> Strength {
        match self {
            Self::Pid
            | Self::Tid
            | Self::Fd
            | Self::Range
            | Self::AtomicWriter
            | Self::PodUid
            | Self::Cgroup
            | Self::Temporary
            | Self::Within => Strength::Always,
            Self::Uuid | Self::Time | Self::Random | Self::Hex | Self::Base => Strength::Strong,
            Self::HexDigit | Self::Number | Self::Mixed | Self::Changing => Strength::Weak,
        }
    }

    /// What stands for it in an AppArmor pattern. `*` there is anything within a segment.
    ///
    /// Pid never matches 1: `/proc/1` is the workload's first process, or the host's.
    pub(super) fn glob(self) -> &'static str {
        match self {
            Self::Pid => "{[2-9],[1-9][0-9]*}",
            Self::Tid | Self::Fd | Self::Number => "[0-9]*",
            Self::Range => "[0-9a-f]*-[0-9a-f]*",
            Self::AtomicWriter => {
                "..[0-9][0-9][0-9][0-9]_[0-9][0-9]_[0-9][0-9]_[0-9][0-9]_[0-9][0-9]_[0-9][0-9].[0-9]*"
            }
            Self::PodUid => "pod[0-9a-f]*",
            Self::Cgroup => {
                "{,**/}{*.slice,*.scope,*.service,*.mount,*.automount,*.socket,*.swap,*.timer,*.path,*.target,*.device,kubepods,burstable,besteffort,docker,kubelet,libpod*,pod[0-9a-f]*,cri-containerd-*,crio-*,docker-*,[0-9a-f][0-9a-f][0-9a-f][0-9a-f]*[0-9a-f]}"
            }
            Self::Uuid => "[0-9a-fA-F]*[-_]*[-_]*[-_]*[-_][0-9a-fA-F]*",
            Self::Time => "[0-9]*",
            Self::Hex => "[0-9a-fA-F]*",
            Self::HexDigit => "[0-9a-fA-F]",
            Self::Base | Self::Mixed => "[0-9A-Za-z]*",
            Self::Temporary => "*",
            Self::Random => "[0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z]",
            Self::Within => "**",
            Self::Changing => "?*",
        }
    }

    /// A name of the class, or a piece of one.
    pub(super) fn example(self) -> &'static [u8] {
        match self {
            Self::Pid => b"22",
            Self::Tid | Self::Fd | Self::Number | Self::HexDigit => b"0",
            Self::Range => b"0-0",
            Self::AtomicWriter => b"..2000_01_01_00_00_00.0",
            Self::PodUid => b"pod00000000-0000-0000-0000-000000000000",
            Self::Cgroup => b"kubepods",
            Self::Uuid => b"00000000-0000-0000-0000-000000000000",
            Self::Time => b"2000-01-01",
            Self::Temporary | Self::Random => b"0a0A0b",
            Self::Within => b"within",
            Self::Hex => b"0000000000000000a",
            Self::Base => b"0a0a0a0a0a0a0a0a0a0g",
            Self::Mixed => b"0a0g0",
            Self::Changing => b"changing",
        }
    }

    /// One word, as it stands in a shape.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Tid => "tid",
            Self::Fd => "fd",
            Self::Range => "range",
            Self::AtomicWriter => "atomic-writer",
            Self::PodUid => "pod-uid",
            Self::Cgroup => "cgroup",
            Self::Uuid => "uuid",
            Self::Time => "time",
            Self::Temporary => "temporary",
            Self::Random => "random",
            Self::Within => "within",
            Self::Hex => "hex",
            Self::HexDigit => "hex-digit",
            Self::Base => "base",
            Self::Number => "number",
            Self::Mixed => "mixed",
            Self::Changing => "changing",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a segment stands, as far as its meaning depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The segments before it, as they are.
    pub(super) before: &'a [&'a [u8]],
}

impl Place<'_> {
    fn parent(&self) -> &[u8] {
        self.before.last().copied().unwrap_or_default()
    }

    fn starts(&self, names: &[&[u8]]) -> bool {
        self.before.len() >= names.len() && self.before.iter().zip(names).all(|(a, b)| *a == *b)
    }

    pub(super) fn is_cgroup_root(&self) -> bool {
        self.before.len() == 3 && self.starts(&[b"sys", b"fs", b"cgroup"])
    }

    /// What a package or an image brings: names there are made once, not in every run.
    pub(super) fn in_image(&self) -> bool {
        matches!(
            self.before.first().copied(),
            Some(b"usr" | b"bin" | b"sbin" | b"lib" | b"lib32" | b"lib64" | b"libx32" | b"boot")
        )
    }
}

/// A piece of a segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Piece {
    Text(Box<[u8]>),
    Token(Class),
}

/// A segment by its pieces: `temp-{number}.rdb`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Form(pub(super) Vec<Piece>);

impl Form {
    pub(super) fn whole(class: Class) -> Self {
        Self(vec![Piece::Token(class)])
    }

    /// Whether it is a text with one number in it, as that of an instance: `failed-{number}.txt`.
    /// What may be a version is none: that of a library, or with a dot and another digit beside it.
    pub(super) fn is_numbered(&self) -> bool {
        let is_version = |text: &[u8]| {
            text.windows(3).any(|window| window == b".so")
                || matches!(text, [.., digit, b'.'] if digit.is_ascii_digit())
                || matches!(text, [b'.', digit, ..] if digit.is_ascii_digit())
        };
        let texts = || {
            self.0.iter().filter_map(|piece| match piece {
                Piece::Text(text) => Some(&**text),
                Piece::Token(_) => None,
            })
        };
        self.classes().eq([Class::Number]) && texts().count() > 0 && !texts().any(is_version)
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = Class> + '_ {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Token(class) => Some(*class),
            Piece::Text(_) => None,
        })
    }
}

/// The form of a segment, and how much it takes to call it varying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) form: Form,
    pub(super) strength: Strength,
}

impl Found {
    fn whole(class: Class) -> Self {
        Self {
            form: Form::whole(class),
            strength: class.strength(),
        }
    }
}

/// A number of so many digits is no version, port or index.
const LONG_NUMBER: usize = 6;

fn regex(pattern: &str) -> Regex {
    // The patterns are constants of this file and are compiled by its tests.
    #[expect(clippy::expect_used, reason = "a constant")]
    Regex::new(&format!("(?-u)^(?:{pattern})")).expect("a pattern")
}

/// Tokens, the longest kind first. A token ends before a byte that is neither letter nor digit.
static TOKENS: LazyLock<Vec<(Class, Regex)>> = LazyLock::new(|| {
    const HEX: &str = "[0-9a-fA-F]";
    let uuid = format!("{HEX}{{8}}[-_]{HEX}{{4}}[-_]{HEX}{{4}}[-_]{HEX}{{4}}[-_]{HEX}{{12}}");
    [
        (Class::PodUid, format!("pod(?:{uuid}|{HEX}{{32}})")),
        (Class::Uuid, uuid.clone()),
        (
            Class::Time,
            r"(?:19|20)\d{2}[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])[T_ .-]?(?:[01]\d|2[0-3])[-_:.]?[0-5]\d(?:[-_:.]?[0-5]\d(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?".to_owned(),
        ),
        (
            Class::Time,
            r"(?:19|20)\d{2}(?:-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])|_(?:0[1-9]|1[0-2])_(?:0[1-9]|[12]\d|3[01])|\.(?:0[1-9]|1[0-2])\.(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))".to_owned(),
        ),
        (Class::Hex, format!("(?:{HEX}{{16,}})")),
        (Class::Number, r"\d+".to_owned()),
        (Class::Mixed, format!("[0-9A-Za-z]{{{SHORT_MIXTURE},}}")),
    ]
    .into_iter()
    .map(|(class, pattern)| (class, regex(&pattern)))
    .collect()
});

/// The segment by its pieces, if it holds a token of any class.
pub(super) fn form(segment: &[u8], place: Place<'_>) -> Option<Found> {
    if let Some(class) = by_place(segment, place) {
        return Some(Found::whole(class));
    }
    makers::known(segment, place).or_else(|| tokens(segment, place))
}

fn by_place(segment: &[u8], place: Place<'_>) -> Option<Class> {
    let number = !segment.is_empty() && segment.iter().all(u8::is_ascii_digit);
    let in_proc = place.starts(&[b"proc"]);
    if number && place.before.len() == 1 && in_proc {
        return (segment != b"1").then_some(Class::Pid);
    }
    if number && place.parent() == b"task" && place.before.len() >= 2 {
        return Some(Class::Tid);
    }
    if number && matches!(place.parent(), b"fd" | b"fdinfo") && place.before.len() >= 2 {
        return Some(Class::Fd);
    }
    if in_proc && place.parent() == b"map_files" {
        return Some(Class::Range);
    }
    None
}

/// The segment with a number after a few letters, if that is all there is of any class in it: `v21.lock`
/// is `v{number}.lock`. Longer ones are mixtures.
///
/// Many such names are a person's (`utf8`, `x86`), so they vary only where names of the same letters
/// are in different runs ([`Form::is_numbered`]).
pub(super) fn numbered(segment: &[u8]) -> Option<Found> {
    let found = NUMBERED.captures(segment)?;
    let (before, after) = (found.get(1)?, found.get(3)?);
    let form = Form(
        [
            Some(Piece::Text(before.as_bytes().into())),
            Some(Piece::Token(Class::Number)),
            (!after.is_empty()).then(|| Piece::Text(after.as_bytes().into())),
        ]
        .into_iter()
        .flatten()
        .collect(),
    );
    form.is_numbered().then_some(Found {
        form,
        strength: Class::Number.strength(),
    })
}

/// Letters and digits, three of each at most, and no other digit in the segment.
static NUMBERED: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"((?:[^0-9]*[^0-9A-Za-z])?[A-Za-z]{1,3})([0-9]{1,3})((?:[^0-9A-Za-z][^0-9]*)?)$")
});

/// Letters and digits mixed are without order from so many on.
const MIXTURE: usize = 5;

/// Beside such a token shorter ones are, too: the last part of a message id.
const SHORT_MIXTURE: usize = 2;

fn tokens(segment: &[u8], place: Place<'_>) -> Option<Found> {
    let found = tokens_from(segment, place, MIXTURE)?;
    if found.form.classes().any(|class| class == Class::Mixed) {
        return tokens_from(segment, place, SHORT_MIXTURE);
    }
    Some(found)
}

fn tokens_from(segment: &[u8], place: Place<'_>, mixture: usize) -> Option<Found> {
    let mut strength = None;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut text: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < segment.len() {
        let bounded = at == 0 || is_delimiter(segment[at - 1]);
        if bounded && let Some((class, len)) = token(&segment[at..], place, mixture) {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text).into()));
            }
            pieces.push(Piece::Token(class));
            let long = class == Class::Number && len >= LONG_NUMBER;
            let this = if long {
                Strength::Strong
            } else {
                class.strength()
            };
            strength = strength.max(Some(this));
            at += len;
        } else {
            text.push(segment[at]);
            at += 1;
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    Some(Found {
        form: Form(pieces),
        strength: strength?,
    })
}

fn token(rest: &[u8], place: Place<'_>, mixture: usize) -> Option<(Class, usize)> {
    TOKENS.iter().find_map(|(class, regex)| {
        let len = regex.find(rest)?.end();
        if rest.get(len).is_some_and(|next| !is_delimiter(*next)) {
            return None;
        }
        let class = refined(*class, &rest[..len], place)?;
        (class != Class::Mixed || len >= mixture).then_some((class, len))
    })
}

/// A token that may be of the class, looked at again.
fn refined(class: Class, token: &[u8], place: Place<'_>) -> Option<Class> {
    let count = |kind: fn(&u8) -> bool| token.iter().filter(|byte| kind(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let letters = token.len() - digits;
    match class {
        Class::Hex if letters == 0 => Some(Class::Number),
        // A word of sixteen letters from a to f is unlikely, and a number is one already.
        Class::Hex if digits == 0 => None,
        Class::Mixed => {
            let upper = count(u8::is_ascii_uppercase);
            let lower = letters - upper;
            let hex = token.iter().all(u8::is_ascii_hexdigit);
            let random_case =
                upper > 0 && lower > 0 && token.iter().skip(1).any(u8::is_ascii_uppercase);
            if hex && digits >= 2 && letters >= 2 && token.len() >= 8 {
                let digest = token.len() >= 12
                    || matches!(place.parent(), b"overlay" | b"overlay2" | b"containers");
                return Some(if digest { Class::Hex } else { Class::Mixed });
            }
            if token.len() >= 20 && digits >= 3 && letters >= 3 {
                return Some(Class::Base);
            }
            (random_case || (digits >= 1 && letters >= 1)).then_some(Class::Mixed)
        }
        _ => Some(class),
    }
}

fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric()
}

/// Names of systemd units and of what container runtimes make below `/sys/fs/cgroup`.
pub(super) fn is_cgroup(segment: &[u8]) -> bool {
    static UNIT: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?:.+\.(?:slice|scope|service|mount|automount|socket|swap|timer|path|target|device)|kubepods|burstable|besteffort|docker|kubelet|libpod.*|pod[0-9a-f_-]{32,36}|[0-9a-f]{64}|(?:cri-containerd|crio|docker)-[0-9a-f]{64})$",
        )
    });
    UNIT.is_match(segment)
}

#[cfg(test)]
mod tests;

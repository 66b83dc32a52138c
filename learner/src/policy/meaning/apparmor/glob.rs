//! AppArmor's patterns, and lines that are found by them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use regex::bytes::Regex;

use super::baseline;
use crate::policy::meaning::judgement::Rule;

/// Permissions of a line.
pub(super) mod bit {
    pub(in super::super) const READ: u8 = 1 << 0;
    pub(in super::super) const WRITE: u8 = 1 << 1;
    pub(in super::super) const LOCK: u8 = 1 << 2;
    pub(in super::super) const LINK: u8 = 1 << 3;
    pub(in super::super) const MAP: u8 = 1 << 4;
    pub(in super::super) const EXEC: u8 = 1 << 5;
}

/// The letters of a line, as bits.
pub(super) fn permissions(letters: &str) -> u8 {
    letters.bytes().fold(0, |bits, letter| {
        bits | match letter {
            b'r' => bit::READ,
            b'w' => bit::WRITE,
            b'k' => bit::LOCK,
            b'l' => bit::LINK,
            b'm' => bit::MAP,
            b'x' => bit::EXEC,
            _ => 0,
        }
    })
}

/// For whom a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Anyone,
    Owner,
    Other,
}

/// One line of a profile.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) deny: bool,
    pub(super) who: Who,
    pub(super) permissions: u8,
    /// The rule it comes from; none for the lines of every profile.
    pub(super) rule: Option<Arc<Rule>>,
}

/// The lines of a profile, by what they match.
#[derive(Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// Paths as they are.
    paths: HashMap<Box<[u8]>, Vec<usize>>,
    /// What begins so; whether anything may follow, or only what has no slash.
    beginnings: HashMap<Box<[u8]>, Vec<(usize, bool)>>,
    /// How long the beginnings are.
    lengths: BTreeSet<usize>,
    patterns: Vec<(Arc<Pattern>, usize)>,
}

/// A pattern that can be matched.
#[derive(Debug)]
struct Pattern {
    /// What every match begins with. Few patterns are left to be tried once it is compared.
    beginning: Box<[u8]>,
    regex: Regex,
}

impl Pattern {
    /// None if AppArmor would refuse it.
    fn new(text: &str) -> Option<Self> {
        let beginning = text.split(SYNTAX).next().unwrap_or_default();
        Some(Self {
            beginning: beginning.as_bytes().into(),
            regex: compile(text)?,
        })
    }

    fn is_match(&self, path: &[u8]) -> bool {
        path.starts_with(&self.beginning) && self.regex.is_match(path)
    }
}

/// Patterns by their text, each compiled once: the profiles of a container have most of them in common,
/// and all profiles have those of [`baseline`].
#[derive(Default)]
pub(super) struct Patterns(HashMap<String, Option<Arc<Pattern>>>);

impl Patterns {
    fn get(&mut self, text: String) -> Option<Arc<Pattern>> {
        static BASELINE: LazyLock<HashMap<&str, Arc<Pattern>>> = LazyLock::new(|| {
            let lines = baseline::ALLOWED.iter().chain(baseline::DENIED);
            lines
                .filter_map(|(text, _)| Some((*text, Arc::new(Pattern::new(text)?))))
                .collect()
        });
        if let Some(pattern) = BASELINE.get(&*text) {
            return Some(pattern.clone());
        }
        let compiled = self.0.entry(text);
        let compiled = compiled.or_insert_with_key(|text| Pattern::new(text).map(Arc::new));
        compiled.clone()
    }
}

/// What comes after the text of a rule for a directory (appArmorTemplate.go, `$suffix`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    None,
    /// `{,*}`
    Children,
    /// `{,**}`
    All,
}

impl Suffix {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Children => "{,*}",
            Self::All => "{,**}",
        }
    }
}

impl Lines {
    /// False if AppArmor would refuse the profile for it.
    pub(super) fn add(
        &mut self,
        text: &str,
        suffix: Suffix,
        line: Line,
        patterns: &mut Patterns,
    ) -> bool {
        let index = self.lines.len();
        if !is_literal(text) {
            let Some(pattern) = patterns.get(format!("{text}{}", suffix.as_str())) else {
                return false;
            };
            self.patterns.push((pattern, index));
        } else if suffix == Suffix::None {
            let path = text.as_bytes().into();
            self.paths.entry(path).or_default().push(index);
        } else {
            let all = suffix == Suffix::All;
            let beginning = text.as_bytes().into();
            self.beginnings
                .entry(beginning)
                .or_default()
                .push((index, all));
            self.lengths.insert(text.len());
        }
        self.lines.push(line);
        true
    }

    /// Calls for every line that matches.
    pub(super) fn each<'l>(&'l self, path: &[u8], mut found: impl FnMut(&'l Line)) {
        for index in self.paths.get(path).into_iter().flatten() {
            found(&self.lines[*index]);
        }
        // Rules for directories end in a slash; one without begins longer names too.
        for end in self.lengths.range(..=path.len()).copied() {
            for (index, all) in self.beginnings.get(&path[..end]).into_iter().flatten() {
                if *all || !path[end..].contains(&b'/') {
                    found(&self.lines[*index]);
                }
            }
        }
        for (pattern, index) in &self.patterns {
            if pattern.is_match(path) {
                found(&self.lines[*index]);
            }
        }
    }
}

/// The characters that patterns are made of.
const SYNTAX: [char; 8] = ['*', '?', '[', ']', '{', '}', '\\', '^'];

/// Has none of [`SYNTAX`].
pub(super) fn is_literal(text: &str) -> bool {
    !text.contains(SYNTAX)
}

/// `?` and `*` within a component, `**` across them, `[…]`, `{a,b}` and `\` (apparmor.d(5)). A
/// `*` or `**` that is a component of its own at the end of one matches at least one character, as
/// the parser has it. None if it is not a pattern.
pub(super) fn compile(pattern: &str) -> Option<Regex> {
    let mut regex = String::from("(?s-u)^(?:");
    let mut chars = pattern.chars().peekable();
    let (mut before, mut depth) = (None, 0_usize);
    while let Some(c) = chars.next() {
        match c {
            '*' => {
                let mut across = false;
                while chars.next_if_eq(&'*').is_some() {
                    across = true;
                }
                let alone = before == Some('/') && matches!(chars.peek(), None | Some('/'));
                if alone {
                    regex.push_str("[^/]");
                }
                regex.push_str(if across { ".*" } else { "[^/]*" });
            }
            '?' => regex.push_str("[^/]"),
            '[' => class(&mut chars, &mut regex)?,
            '{' => {
                depth += 1;
                regex.push_str("(?:");
            }
            '}' => {
                depth = depth.checked_sub(1)?;
                regex.push(')');
            }
            ',' if depth > 0 => regex.push('|'),
            '\\' => literal(&mut regex, chars.next()?),
            _ => literal(&mut regex, c),
        }
        before = Some(c);
    }
    if depth > 0 {
        return None;
    }
    regex.push_str(")$");
    Regex::new(&regex).ok()
}

/// The rest of `[…]`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, regex: &mut String) -> Option<()> {
    regex.push('[');
    if chars.next_if_eq(&'^').is_some() {
        regex.push('^');
    }
    let mut empty = true;
    loop {
        let c = chars.next()?;
        match c {
            ']' if !empty => break,
            '-' => regex.push('-'),
            _ => literal(regex, c),
        }
        empty = false;
    }
    regex.push(']');
    Some(())
}

/// A character as it is, byte for byte.
fn literal(regex: &mut String, c: char) {
    let mut bytes = [0; 4];
    for byte in c.encode_utf8(&mut bytes).bytes() {
        regex.push_str(&format!("\\x{byte:02x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern)
            .expect("a pattern")
            .is_match(path.as_bytes())
    }

    #[test]
    fn patterns_mean_what_apparmor_says() {
        for (pattern, path, expected) in [
            ("/etc/*", "/etc/passwd", true),
            ("/etc/*", "/etc/", false),
            ("/etc/*", "/etc/ssl/cert", false),
            ("/etc/**", "/etc/ssl/cert", true),
            ("/etc/**", "/etc/", false),
            ("/etc/{,*}", "/etc/", true),
            ("/etc/{,**}", "/etc/ssl/cert", true),
            ("/etc/pass?d", "/etc/passwd", true),
            ("/etc/pass?d", "/etc/pass/d", false),
            ("/etc/[a-p]*", "/etc/passwd", true),
            ("/etc/[^a-p]*", "/etc/passwd", false),
            ("/{usr/,}lib{,32,64}/**.so*", "/usr/lib/a/b.so.6", true),
            ("/{usr/,}lib{,32,64}/**.so*", "/lib64/b.so", true),
            ("/{usr/,}lib{,32,64}/**.so*", "/lib128/b.so", false),
            ("/a\\*b", "/a*b", true),
            ("/a\\*b", "/axb", false),
            ("/**/ls", "/usr/bin/ls", true),
            ("/a.b", "/axb", false),
            ("/é?", "/éx", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        for broken in ["/a{b", "/a}b", "/[ab", "/a\\"] {
            assert!(compile(broken).is_none(), "{broken}");
        }
    }
}

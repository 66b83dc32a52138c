//! AppArmor's patterns, and lines that are found by them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use regex::bytes::Regex;

use super::baseline;
use crate::policy::meaning::judgement::Rule;
use crate::policy::meaning::names::{ByKey, Directories};

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
    paths: ByKey<Vec<usize>>,
    /// By the directory that all matches are in, which leaves few to be tried.
    patterns: Directories<Vec<Placed>>,
}

/// A pattern, as it goes on in a directory.
struct Placed {
    /// What comes before all that varies.
    name: Box<[u8]>,
    pattern: Arc<Pattern>,
    line: usize,
}

/// A pattern that can be matched.
#[derive(Debug)]
struct Pattern {
    /// Every match begins with one of these.
    beginnings: Vec<String>,
    rest: Rest,
}

/// How a pattern goes on.
#[derive(Debug)]
enum Rest {
    /// It does not.
    End,
    /// By anything at all.
    Any {
        /// Also further down.
        across: bool,
        /// But not by nothing.
        some: bool,
    },
    Regex(Regex),
}

impl Rest {
    /// `before`: what is before it in the pattern. None if AppArmor would refuse it.
    fn new(before: Option<char>, text: &str) -> Option<Self> {
        let some = before == Some('/');
        Some(match text {
            "" => Self::End,
            "*" | "**" => Self::Any {
                across: text == "**",
                some,
            },
            "{,*}" | "{,**}" => Self::Any {
                across: text == "{,**}",
                some: false,
            },
            _ => Self::Regex(compile(before, text)?),
        })
    }

    fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Self::End => text.is_empty(),
            Self::Any { across, some } => {
                (!some || text.first().is_some_and(|first| *first != b'/'))
                    && (*across || !text.contains(&b'/'))
            }
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// How many beginnings a pattern may have; with more of them it begins before its choices.
const MOST: usize = 64;

impl Pattern {
    /// None if AppArmor would refuse it.
    fn new(text: &str) -> Option<Self> {
        let mut beginnings = vec![String::new()];
        let mut rest = text;
        loop {
            let end = rest.find(SYNTAX).unwrap_or(rest.len());
            for beginning in &mut beginnings {
                beginning.push_str(&rest[..end]);
            }
            rest = &rest[end..];
            let choices = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let Some((choices, after)) = choices.filter(|(choices, _)| is_literal(choices)) else {
                break;
            };
            let of = |beginning: &String| {
                let beginning = beginning.clone();
                choices.split(',').map(move |one| beginning.clone() + one)
            };
            let more: Vec<String> = beginnings.iter().flat_map(of).collect();
            if more.len() > MOST {
                break;
            }
            (beginnings, rest) = (more, after);
        }
        let before = text[..text.len() - rest.len()].chars().next_back();
        let is_path = beginnings
            .iter()
            .all(|beginning| beginning.starts_with('/'));
        Some(Self {
            rest: Rest::new(before, rest)?,
            beginnings,
        })
        .filter(|_| is_path)
    }

    #[cfg(test)]
    fn is_match(&self, path: &[u8]) -> bool {
        let rests = self.beginnings.iter();
        let mut rests = rests.filter_map(|beginning| path.strip_prefix(beginning.as_bytes()));
        rests.any(|rest| self.rest.is_match(rest))
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
        if suffix == Suffix::None && is_literal(text) {
            self.paths
                .entry(text.as_bytes().into())
                .or_default()
                .push(index);
        } else {
            let Some(pattern) = patterns.get(format!("{text}{}", suffix.as_str())) else {
                return false;
            };
            for beginning in &pattern.beginnings {
                let Some((directory, name)) = beginning.rsplit_once('/') else {
                    continue;
                };
                let placed = self.patterns.at(directory.as_bytes());
                placed.get_or_insert_default().push(Placed {
                    name: name.as_bytes().into(),
                    pattern: pattern.clone(),
                    line: index,
                });
            }
        }
        self.lines.push(line);
        true
    }

    /// What the lines that match a path say of it.
    pub(super) fn about(&self, path: &[u8], who: Who, wanted: u8) -> Said<'_> {
        let mut said = Said {
            who,
            wanted,
            granted: 0,
            allowing: None,
            denying: None,
        };
        for index in self.paths.get(path).into_iter().flatten() {
            let line = &self.lines[*index];
            if said.needs(line) {
                said.take(line);
            }
        }
        for (placed, names) in self.patterns.above(path) {
            for placed in placed.into_iter().flatten() {
                let line = &self.lines[placed.line];
                if said.needs(line)
                    && let Some(rest) = names.strip_prefix(&*placed.name)
                    && placed.pattern.rest.is_match(rest)
                {
                    said.take(line);
                }
            }
        }
        said
    }
}

/// What lines say of one path, for one who wants something of it.
pub(super) struct Said<'l> {
    who: Who,
    wanted: u8,
    /// What of it is allowed.
    granted: u8,
    /// Of the lines that allow something of it, the first one that is of a rule, else the first one.
    pub(super) allowing: Option<&'l Line>,
    /// The first line that denies something of it.
    pub(super) denying: Option<&'l Line>,
}

impl<'l> Said<'l> {
    /// Whether a line would add to it, if it matches: to match is what takes long.
    fn needs(&self, line: &Line) -> bool {
        let of = line.permissions & self.wanted;
        if of == 0 || line.who != Who::Anyone && line.who != self.who {
            return false;
        }
        if line.deny {
            return self.denying.is_none();
        }
        of & !self.granted != 0 || self.is_better(line)
    }

    /// A rule says more than a line of every profile.
    fn is_better(&self, line: &Line) -> bool {
        match self.allowing {
            Some(allowing) => allowing.rule.is_none() && line.rule.is_some(),
            None => true,
        }
    }

    fn take(&mut self, line: &'l Line) {
        if line.deny {
            self.denying.get_or_insert(line);
            return;
        }
        self.granted |= line.permissions & self.wanted;
        if self.is_better(line) {
            self.allowing = Some(line);
        }
    }

    /// Whether all that is wanted is allowed by some line.
    pub(super) fn is_granted(&self) -> bool {
        self.granted == self.wanted
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
/// the parser has it. `before`: what is before it in the pattern. None if it is not a pattern.
fn compile(mut before: Option<char>, pattern: &str) -> Option<Regex> {
    let mut regex = String::from("(?s-u)^(?:");
    let mut chars = pattern.chars().peekable();
    let mut depth = 0_usize;
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
    use proptest::prelude::*;

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
            ("/{a,b}*", "/a", true),
            ("/{a/,b}*", "/a/", true),
            ("/{a/,b}*", "/a/c/d", false),
            ("/{a/,b}**", "/a/c/d", true),
            ("/a/{b,{c,d}}/*", "/a/d/e", true),
            ("/a/{b,c*}/{,**}", "/a/c1/", true),
            ("/a/{b,c}", "/a/c", true),
            ("/a/{b,c}", "/a/cd", false),
            ("/{usr/,}lib**", "/lib", true),
            ("/{usr/,}lib**", "/usr/library/a", true),
            ("/a/*/*", "/a/b/", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        for broken in [
            "/a{b", "/a}b", "/{a,b}}", "/{a,{b}", "/[ab", "/a\\", "{/,}a", "*",
        ] {
            assert!(Pattern::new(broken).is_none(), "{broken}");
        }
    }

    proptest! {
        /// What a pattern begins with is looked up, and only the rest is matched.
        #[test]
        fn a_pattern_in_parts_means_what_it_means_as_a_whole(
            pattern in r"/([ab/*?]|\{[ab/,*]{0,4}\}){0,6}",
            path in "/[ab/]{0,8}",
        ) {
            let whole = compile(None, &pattern).map(|regex| regex.is_match(path.as_bytes()));
            let parts = Pattern::new(&pattern).map(|parts| parts.is_match(path.as_bytes()));
            prop_assert_eq!(whole, parts);
        }
    }
}

//! The operations by which policies are told apart: what was seen, and for each rule of either
//! side the operations at its boundary.
//!
//! Rules speak of single paths and of directories, so what lies between two boundaries is judged
//! like any other there: the path itself, the directory, something in it, something deeper,
//! something beside it; under each program that is named for that place and under one that is
//! not; where a rule asks for it, by the owner and by another, with a terminal and without.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{Key, Line, Target};
use crate::behavior::{Access, Behavior, Op};
use crate::path::AbsPath;
use crate::policy::crd::MAX_KEY_BYTES;
use crate::policy::meaning::{
    CAPABILITIES, Class, Enforced, Enforcer, Hook, HookCall, Judgement, Operation, Program,
};

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Probe {
    pub(super) deed: Deed,
    /// `None` if it is not known, which is so only of what was seen.
    pub(super) source: Option<AbsPath>,
    pub(super) uid: Option<u32>,
    pub(super) owner: Option<bool>,
    pub(super) upper: Option<bool>,
    pub(super) tty: Option<bool>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// Something to a path.
    Path(AbsPath, Op),
    /// A socket is made, with this type and protocol.
    Socket(u32, u32),
    /// The capability of this number is used.
    Capability(u8),
}

impl Probe {
    pub(super) fn of(behavior: &Behavior) -> Self {
        Self {
            deed: Deed::Path(behavior.path.clone(), behavior.op.clone()),
            source: behavior.source.clone(),
            uid: behavior.uid,
            owner: behavior.owner,
            upper: behavior.upper,
            tty: behavior.tty,
        }
    }

    pub(super) fn judge(&self, enforced: &Enforced) -> Judgement {
        let source = match &self.source {
            Some(path) => Program::Path(path.as_bytes()),
            None => Program::Unknown,
        };
        let hook = |hook| {
            enforced.hook(&HookCall {
                hook,
                source,
                tty: self.tty,
            })
        };
        match &self.deed {
            Deed::Path(path, op) => enforced.judge(&Operation {
                op,
                path,
                source: self.source.as_ref(),
                uid: self.uid,
                owner: self.owner,
                upper: self.upper,
                tty: self.tty,
            }),
            Deed::Socket(kind, protocol) => hook(Hook::Socket {
                kind: *kind,
                protocol: *protocol,
            }),
            Deed::Capability(capability) => hook(Hook::Capable {
                capability: *capability,
            }),
        }
    }
}

/// All probes for the rules of both sides.
pub(super) struct Probes {
    pub(super) all: BTreeSet<Probe>,
    /// What each rule reaches.
    pub(super) territories: BTreeMap<Key, BTreeSet<Probe>>,
    /// The program that stands for all that no rule names.
    pub(super) other: Option<AbsPath>,
    /// Whether any rule names a program.
    pub(super) by_source: bool,
    /// Whether any rule asks who owns the file.
    pub(super) by_owner: bool,
    /// Whether any rule asks for a terminal.
    pub(super) by_terminal: bool,
}

/// The types of sockets with their protocols that KubeArmor's rules can tell apart.
pub(super) const SOCKETS: [(u32, u32, &str); 13] = [
    (1, 0, "stream"),
    (1, 6, "stream, tcp"),
    (1, 132, "stream, sctp"),
    (2, 0, "dgram"),
    (2, 17, "dgram, udp"),
    (2, 1, "dgram, icmp"),
    (3, 0, "raw"),
    (3, 1, "raw, icmp"),
    (3, 58, "raw, icmpv6"),
    (4, 0, "rdm"),
    (5, 0, "seqpacket"),
    (6, 0, "dccp"),
    (10, 0, "packet"),
];

/// The probes for these rules.
pub(super) fn probes(lines: &[&Line], enforcer: Enforcer) -> Probes {
    let any = fresh(lines);
    let maker = Maker {
        lines,
        enforcer,
        other: AbsPath::from_components([any.as_bytes()]).ok(),
        by_owner: lines.iter().any(|line| {
            // KubeArmor's posture keys have these names, and the owner may run them.
            line.owner_only
                || matches!(line.key.target.as_str().rsplit('/').next(), Some("e" | "f"))
        }),
        by_terminal: lines.iter().any(|line| line.terminal),
        any,
    };
    let mut all = BTreeSet::new();
    let mut territories: BTreeMap<Key, BTreeSet<Probe>> = BTreeMap::new();
    for line in lines {
        let inside = maker.inside(line);
        all.extend(inside.iter().cloned());
        all.extend(maker.beside(line));
        territories
            .entry(line.key.clone())
            .or_default()
            .extend(inside);
    }
    if enforcer == Enforcer::AppArmor {
        // A program that rules name may start itself, whatever they say.
        for source in lines.iter().flat_map(|line| &line.key.sources) {
            maker.at(&mut all, Class::File, source);
        }
    }
    let classes: BTreeSet<Class> = lines.iter().map(|line| line.key.class).collect();
    for class in classes {
        all.extend(maker.anything(class));
    }
    Probes {
        all,
        territories,
        by_source: lines.iter().any(|line| !line.key.sources.is_empty()),
        by_owner: maker.by_owner,
        by_terminal: maker.by_terminal,
        other: maker.other,
    }
}

/// A name that no rule holds: `*`, or stars enough.
fn fresh(lines: &[&Line]) -> String {
    let mut name = "*".to_owned();
    let held = |name: &str| {
        let has = |text: &str| text.split('/').any(|component| component == name);
        lines.iter().any(|line| {
            has(line.key.target.as_str()) || line.key.sources.iter().any(|source| has(source))
        })
    };
    while held(&name) {
        name.push('*');
    }
    name
}

struct Maker<'a> {
    lines: &'a [&'a Line],
    enforcer: Enforcer,
    any: String,
    other: Option<AbsPath>,
    by_owner: bool,
    by_terminal: bool,
}

impl Maker<'_> {
    /// What the rule reaches.
    fn inside(&self, line: &Line) -> BTreeSet<Probe> {
        let mut out = BTreeSet::new();
        let any = &self.any;
        let class = line.key.class;
        match &line.key.target {
            Target::Path(text) => {
                self.at(&mut out, class, text);
                // All that KubeArmor compares: longer paths match as well.
                if text.len() >= MAX_KEY_BYTES {
                    self.at(&mut out, class, &format!("{text}{any}"));
                }
            }
            Target::Directory(text) => {
                let dir = text.trim_end_matches('/');
                if class == Class::File {
                    self.directory(&mut out, dir);
                }
                self.at(&mut out, class, &format!("{dir}/{any}"));
                self.at(&mut out, class, &format!("{dir}/{any}/{any}"));
            }
            Target::Name(name) => self.at(&mut out, class, &format!("/{any}/{name}")),
            Target::Pattern(pattern) => self.at(&mut out, class, &instance(pattern, any)),
            Target::Protocol(_) | Target::Capability(_) => out.extend(self.anything(class)),
        }
        out
    }

    /// What is next to what the rule reaches.
    fn beside(&self, line: &Line) -> BTreeSet<Probe> {
        let mut out = BTreeSet::new();
        if let Target::Path(text) | Target::Directory(text) = &line.key.target {
            let parent = text.trim_end_matches('/').rsplit_once('/');
            let parent = parent.map_or("", |(parent, _)| parent);
            self.at(&mut out, line.key.class, &format!("{parent}/{}", self.any));
            // A directory without its slash acts on the one above it.
            if line.key.class == Class::File && !text.ends_with('/') {
                self.directory(&mut out, parent);
            }
        }
        out
    }

    /// What no rule of the class names.
    fn anything(&self, class: Class) -> BTreeSet<Probe> {
        let mut out = BTreeSet::new();
        let any = &self.any;
        let sources = || {
            let all = self
                .lines
                .iter()
                .filter(move |line| line.key.class == class);
            all.flat_map(|line| &line.key.sources)
        };
        match class {
            Class::Process | Class::File => self.at(&mut out, class, &format!("/{any}/{any}")),
            Class::Network => {
                for (kind, protocol, _) in SOCKETS {
                    self.by(&mut out, Deed::Socket(kind, protocol), sources());
                }
            }
            Class::Capabilities => {
                for number in 0..CAPABILITIES.len() {
                    // There are 41.
                    let number = u8::try_from(number).unwrap_or_default();
                    self.by(&mut out, Deed::Capability(number), sources());
                }
            }
        }
        out
    }

    /// Everything that can be done to a path, as far as rules of the class tell it apart.
    fn at(&self, out: &mut BTreeSet<Probe>, class: Class, text: &str) {
        let Ok(path) = AbsPath::try_from(text) else {
            return;
        };
        let ops: &[Op] = match class {
            Class::Process => &[Op::Exec],
            _ => &[
                Op::Exec,
                Op::Open(Access::Read),
                Op::Open(Access::Write),
                Op::Unlink,
            ],
        };
        for op in ops {
            self.by(
                out,
                Deed::Path(path.clone(), op.clone()),
                self.sources(text),
            );
        }
    }

    /// The directory itself. Nothing is enforced about `/`.
    fn directory(&self, out: &mut BTreeSet<Probe>, dir: &str) {
        if dir.is_empty() {
            return;
        }
        for (path, op) in [
            (format!("{dir}/"), Op::Open(Access::Read)),
            (dir.to_owned(), Op::Rmdir),
        ] {
            if let Ok(path) = AbsPath::try_from(path.as_str()) {
                self.by(out, Deed::Path(path, op), self.sources(dir));
            }
        }
    }

    /// The programs that rules name for a place: those of all rules that may reach it. AppArmor
    /// has a profile of its own for every program that a rule names anywhere.
    fn sources<'a>(&'a self, at: &'a str) -> impl Iterator<Item = &'a String> {
        let by_profile = self.enforcer == Enforcer::AppArmor;
        let reach = move |line: &&&Line| match &line.key.target {
            _ if by_profile => true,
            Target::Path(text) => at.starts_with(text.as_str()),
            Target::Directory(text) => at.starts_with(text.trim_end_matches('/')),
            Target::Name(name) => at.ends_with(name.as_str()),
            Target::Pattern(_) => true,
            Target::Protocol(_) | Target::Capability(_) => false,
        };
        let lines = self.lines.iter().filter(reach);
        lines.flat_map(|line| &line.key.sources)
    }

    /// The deed by each of the programs, and by one that no rule names.
    fn by<'a>(
        &self,
        out: &mut BTreeSet<Probe>,
        deed: Deed,
        sources: impl Iterator<Item = &'a String>,
    ) {
        let named = sources.filter_map(|source| AbsPath::try_from(source.as_str()).ok());
        let sources: BTreeSet<AbsPath> = named.chain(self.other.clone()).collect();
        let owners: &[bool] = if self.by_owner {
            &[true, false]
        } else {
            &[true]
        };
        let terminals: &[bool] = if self.by_terminal {
            &[false, true]
        } else {
            &[false]
        };
        for source in &sources {
            for owner in owners {
                for tty in terminals {
                    out.insert(Probe {
                        deed: deed.clone(),
                        source: Some(source.clone()),
                        uid: None,
                        owner: Some(*owner),
                        upper: None,
                        tty: Some(*tty),
                    });
                }
            }
        }
    }
}

/// A path that the pattern matches: each wildcard stands for the name, each alternative for its
/// first.
fn instance(pattern: &str, any: &str) -> String {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                out.push_str(any);
            }
            '?' => out.push('x'),
            '[' => {
                out.extend(chars.next());
                while chars.next().is_some_and(|c| c != ']') {}
            }
            '{' => {
                while let Some(c) = chars.next_if(|c| !matches!(c, ',' | '}')) {
                    out.push(c);
                }
                while chars.next().is_some_and(|c| c != '}') {}
            }
            '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_an_instance() {
        assert_eq!(instance("/etc/*.conf", "*"), "/etc/*.conf");
        assert_eq!(instance("/a/**/[bc]{d,e}?\\*", "N"), "/a/N/bdx*");
    }
}

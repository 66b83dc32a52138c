//! What the programs answer once an entry is found, hook by hook.

use std::sync::Arc;

use super::find::{Half, Source};
use super::map::Entry;
use super::seen;
use super::{
    BLOCK_POSTURE, Bounds, CAPABILITY, Container, SOCKET_PROTOCOL, SOCKET_TYPE, bit, posture_of,
};
use crate::behavior::Access;
use crate::policy::meaning::enforcer::{Class, Posture};
use crate::policy::meaning::hook::{FileHook, Program};
use crate::policy::meaning::judgement::{Because, Fact, Judgement, Rule, Why};

/// What `bprm_check_security` is asked about.
pub(super) struct Exec<'a> {
    pub(super) path: &'a [u8],
    pub(super) owner: Option<bool>,
    pub(super) arguments: Option<&'a [&'a [u8]]>,
    pub(super) tty: Option<bool>,
}

/// What a hook about a file is asked about.
pub(super) struct File<'a> {
    pub(super) hook: FileHook,
    pub(super) path: &'a [u8],
    pub(super) owner: Option<bool>,
    pub(super) tty: Option<bool>,
}

/// More arguments than this are not compared.
const MAX_ARGUMENTS: usize = 20;
/// What is kept of an argument, its end included.
const ARGUMENT_BYTES: usize = 104;

const TERMINAL_AND_OWNER: &str = "pts together with ownerOnly";

fn because(rule: Option<&Arc<Rule>>, because: Because) -> Why {
    rule.map_or(Why::PostureKey, |rule| Why::Rule {
        rule: rule.clone(),
        because,
    })
}

impl Container {
    /// No entry was found: the posture of the class, if an Allow rule put its key.
    fn unmatched(&self, class: Class) -> Judgement {
        let Some(mask) = self.posture(class) else {
            return Judgement::allowed(Why::NotRestricted(class));
        };
        let posture = posture_of(mask);
        let why = Why::Posture { class, posture };
        match posture {
            Posture::Block => Judgement::denied(why),
            Posture::Audit => Judgement::reported(why),
        }
    }

    /// KubeArmor/BPF/enforcer.bpf.c, enforce_proc.
    pub(super) fn exec(&self, exec: &Exec<'_>, source: Source<'_>) -> Judgement {
        let Some(path) = self.seen(exec.path) else {
            return Judgement::allowed(Why::Nameless);
        };
        let name = seen::name(exec.path, self.map.bounds);
        let Some(entry) = self.map.find(Half::PROCESS, path, Some(name), source) else {
            return self.unmatched(Class::Process);
        };
        let mask = entry.process;
        let why = |what| because(entry.process_rule.as_ref(), what);
        let mut arguments_unknown = false;
        if mask & bit::ARGUMENTS != 0 {
            match exec.arguments {
                Some(arguments) if self.arguments_match(path, entry, arguments) => {
                    return Judgement::allowed(why(Because::Allows));
                }
                Some(_) => {}
                None => arguments_unknown = self.arguments_could_match(path, entry),
            }
        }
        let judgement = if let Some(judgement) =
            terminal(mask, exec.tty, exec.owner, &why).or_else(|| owner(mask, exec.owner, &why))
        {
            judgement
        } else if mask & bit::DENY != 0 {
            // Block with allowedArgs refuses whatever has other arguments; Allow with allowedArgs
            // lets them pass (verdicts allowedargs-001 to -003).
            Judgement::denied(why(if mask & bit::ARGUMENTS != 0 {
                Because::Arguments
            } else {
                Because::Blocks
            }))
        } else {
            Judgement::allowed(why(Because::Allows))
        };
        if arguments_unknown {
            let matching = Judgement::allowed(why(Because::Allows));
            judgement.or(matching, Fact::Arguments)
        } else {
            judgement
        }
    }

    /// KubeArmor/BPF/shared.h, matchArguments: the key is that of the path without a source, so
    /// arguments of rules for a source or for a name are never found (verdicts allowedargs-004,
    /// -006).
    fn listed(&self, path: &[u8], entry: &Entry) -> Option<&[Box<[u8]>]> {
        let rule = entry.process_rule.as_ref()?;
        if rule.source.is_some() {
            return None;
        }
        let key = (Box::from(path), Box::default());
        self.map.arguments.get(&key).map(Vec::as_slice)
    }

    fn arguments_could_match(&self, path: &[u8], entry: &Entry) -> bool {
        self.listed(path, entry).is_some()
    }

    /// Every argument after the program's own name is in the list; without any, the name is.
    fn arguments_match(&self, path: &[u8], entry: &Entry, arguments: &[&[u8]]) -> bool {
        let Some(listed) = self.listed(path, entry) else {
            return false;
        };
        if arguments.len() > MAX_ARGUMENTS {
            return false;
        }
        let mut matches = false;
        for (index, argument) in arguments.iter().enumerate() {
            let argument = &argument[..argument.len().min(ARGUMENT_BYTES - 1)];
            matches = listed.iter().any(|one| **one == *argument);
            if !matches && index != 0 {
                break;
            }
        }
        matches
    }

    /// KubeArmor/BPF/shared.h, match_and_enforce_path_hooks.
    pub(super) fn file(&self, file: &File<'_>, source: Source<'_>) -> Judgement {
        let Some(path) = self.seen(file.path) else {
            return Judgement::allowed(Why::Nameless);
        };
        let Some(entry) = self.map.find(Half::FILE, path, None, source) else {
            return self.unmatched(Class::File);
        };
        self.file_entry(file, entry, source)
    }

    fn file_entry(&self, file: &File<'_>, entry: &Entry, source: Source<'_>) -> Judgement {
        let mask = entry.file;
        let why = |what| because(entry.file_rule.as_ref(), what);
        let restricted = self.posture(Class::File).is_some();
        // Block rules without a source do not hold for a program without a path, where the class
        // has an Allow rule (verdicts memfd-source-001 to -003).
        let lame = restricted
            && matches!(source, Source::Nameless)
            && self.map.bounds == Bounds::KubeArmor;
        let read_only = mask & bit::READ != 0 && mask & bit::WRITE == 0;
        if let Some(judgement) = terminal(mask, file.tty, file.owner, &why) {
            return judgement;
        }
        match (file.hook, owner(mask, file.owner, &why)) {
            // Writing: the owner may still be held to reading.
            (FileHook::Write, Some(judgement)) if file.owner != Some(true) => return judgement,
            (FileHook::Write, _) if read_only => {
                return Judgement::denied(why(Because::ReadOnly));
            }
            (FileHook::Write, _) => {}
            (FileHook::Open(_), Some(judgement)) => return judgement,
            // readOnly is left to the write, whether the rule allows or blocks; the path hooks do
            // not know it (verdicts readonly-001 to -004).
            (FileHook::Open(_), None) if read_only => {
                return Judgement::allowed(why(Because::Allows));
            }
            (_, Some(_)) if lame && file.owner == Some(false) => {
                return Judgement::allowed(why(Because::SourceNameless));
            }
            (_, Some(judgement)) => return judgement,
            (_, None) => {}
        }
        if mask & bit::DENY != 0 && file.hook != FileHook::Write {
            return if lame {
                Judgement::allowed(why(Because::SourceNameless))
            } else {
                Judgement::denied(why(Because::Blocks))
            };
        }
        if mask & bit::TERMINAL != 0 {
            let why = why(Because::NoTerminal);
            return if restricted {
                // Let through, and reported each time (verdicts pts-007, -008).
                Judgement::reported(why)
            } else {
                Judgement::allowed(why)
            };
        }
        Judgement::allowed(why(Because::Allows))
    }

    /// KubeArmor/BPF/enforcer.bpf.c, match_net_rules: with source before without, type before
    /// protocol (verdicts network-017 to -020).
    pub(super) fn socket(
        &self,
        kind: u32,
        protocol: u32,
        tty: Option<bool>,
        source: Source<'_>,
    ) -> Judgement {
        let of_type = numbered(SOCKET_TYPE, kind);
        let of_protocol = numbered(SOCKET_PROTOCOL, protocol_of(kind, protocol));
        let Some(entry) = self.numbered_entry(&[of_type, of_protocol], source) else {
            return self.unmatched(Class::Network);
        };
        let why = |what| because(entry.process_rule.as_ref(), what);
        if entry.process & bit::TERMINAL != 0 && tty != Some(false) {
            return Judgement::unknown(Why::NotMeasured("pts of a rule for sockets"));
        }
        if entry.process & bit::DENY != 0 {
            return Judgement::denied(why(Because::Blocks));
        }
        // What is allowed is reported too, under block (verdicts network-007).
        if self.posture(Class::Network) == Some(BLOCK_POSTURE) {
            Judgement::reported(why(Because::Allows))
        } else {
            Judgement::allowed(why(Because::Allows))
        }
    }

    /// KubeArmor/BPF/enforcer.bpf.c, enforce_cap.
    pub(super) fn capable(&self, capability: u8, source: Source<'_>) -> Judgement {
        let key = numbered(CAPABILITY, u32::from(capability));
        let Some(entry) = self.numbered_entry(&[key], source) else {
            return self.unmatched(Class::Capabilities);
        };
        let why = |what| because(entry.process_rule.as_ref(), what);
        if entry.process & bit::DENY != 0 {
            Judgement::denied(why(Because::Blocks))
        } else {
            Judgement::allowed(why(Because::Allows))
        }
    }

    fn numbered_entry<'m>(&'m self, keys: &[Numbered], source: Source<'m>) -> Option<&'m Entry> {
        let named = match source {
            Source::Named(table) => Some(table),
            Source::Other | Source::Nameless => None,
        };
        named
            .into_iter()
            .chain([&self.map.global])
            .find_map(|table| keys.iter().find_map(|key| table.get(key.bytes())))
    }

    /// What the open of a file below a directory that is not known comes to, if that does not
    /// depend on the directory.
    pub(in crate::policy::meaning) fn anywhere(
        &self,
        source: Program<'_>,
        tty: Option<bool>,
    ) -> Option<Judgement> {
        let source = self.source(source)?;
        // Only a recursive rule for the root is met whatever follows, if nothing below it is.
        let root = |table: &'_ super::map::Table| {
            let entry = table.get(&b"/"[..])?;
            let mask = entry.file;
            let all = bit::DIR | bit::READ | bit::RECURSIVE;
            (mask & (all | bit::HINT) == all).then(|| entry.clone())
        };
        let entry = match source {
            Source::Named(table) => root(table),
            Source::Other | Source::Nameless => root(&self.map.global),
        };
        let file = File {
            hook: FileHook::Open(Access::ReadWrite),
            path: b"/",
            owner: Some(true),
            tty,
        };
        match entry {
            Some(entry) => {
                let opened = self.file_entry(&file, &entry, source);
                let write = File {
                    hook: FileHook::Write,
                    ..file
                };
                Some(opened.then(|| self.file_entry(&write, &entry, source)))
            }
            // Nothing restricts files: only a Block rule that reaches the host's path would.
            None if !self.map.has(Class::File) => {
                Some(Judgement::allowed(Why::NotRestricted(Class::File)))
            }
            None => None,
        }
    }
}

/// The `pts` of a rule: it is not about who has no terminal, and who has one is refused, by Allow
/// rules too and under any posture (verdicts pts-002 to -010).
fn terminal(
    mask: u16,
    tty: Option<bool>,
    owner: Option<bool>,
    why: &impl Fn(Because) -> Why,
) -> Option<Judgement> {
    if mask & bit::TERMINAL == 0 {
        return None;
    }
    let for_owner = mask & bit::OWNER != 0;
    match tty {
        Some(false) => None,
        _ if for_owner && owner == Some(false) => None,
        Some(true) if for_owner => Some(Judgement::unknown(Why::NotMeasured(TERMINAL_AND_OWNER))),
        Some(true) => Some(Judgement::denied(why(Because::Terminal))),
        None => Some(Judgement::unknown(Why::Missing(Fact::Terminal))),
    }
}

/// ownerOnly, of Allow and Block rules alike: the owner may, others may not, under any posture
/// (verdicts owneronly-*).
fn owner(mask: u16, owner: Option<bool>, why: &impl Fn(Because) -> Why) -> Option<Judgement> {
    if mask & bit::OWNER == 0 {
        return None;
    }
    Some(match owner {
        Some(true) => Judgement::allowed(why(Because::Owner)),
        Some(false) => Judgement::denied(why(Because::NotOwner)),
        None => Judgement::unknown(Why::Missing(Fact::Owner)),
    })
}

const STREAM: u32 = 1;
const DGRAM: u32 = 2;
const RAW: u32 = 3;
const SEQPACKET: u32 = 5;
const ICMP: u32 = 1;
const TCP: u32 = 6;
const UDP: u32 = 17;
const SCTP: u32 = 132;

/// The protocol that a socket is taken for: 0 is the usual one of the type, Unix sockets included.
fn protocol_of(kind: u32, protocol: u32) -> u32 {
    match (kind, protocol) {
        (STREAM, 0 | TCP) => TCP,
        (DGRAM, 0 | UDP) => UDP,
        (DGRAM | RAW, ICMP) => ICMP,
        (SEQPACKET, 0) => SCTP,
        _ => protocol,
    }
}

/// A key of two numbers. Keys are compared up to the zeros at their end.
#[derive(Clone, Copy)]
struct Numbered {
    bytes: [u8; 2],
}

impl Numbered {
    fn bytes(&self) -> &[u8] {
        match self.bytes {
            [_, 0] => &self.bytes[..1],
            _ => &self.bytes,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the key has a byte for it, as in KubeArmor"
)]
fn numbered(first: u8, second: u32) -> Numbered {
    Numbered {
        bytes: [first, second as u8],
    }
}

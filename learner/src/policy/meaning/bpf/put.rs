//! From policies to the rule map, as the daemon puts it (KubeArmor/enforcer/bpflsm/
//! rulesHandling.go, UpdateContainerRules): every class is a list first, in which the last rule
//! that writes a key wins; then the lists are put one after the other, each after its posture.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::map::{Entry, RuleMap};
use super::{
    AUDIT_POSTURE, BLOCK_POSTURE, CAPABILITY, SOCKET_PROTOCOL, SOCKET_TYPE, bit, posture_key,
};
use crate::policy::crd::MAX_ENTRIES;
use crate::policy::document::{Capability, Directory, Effect, Kind, PathRule, Policy, Source};
use crate::policy::meaning::budget::{Budget, Dropped};
use crate::policy::meaning::enforcer::{Class, Posture, Postures};
use crate::policy::meaning::judgement::Rule;

/// The bytes of a key, for its path as for its source. What is longer is cut here, and then has no
/// end by which the kernel's strings could equal it.
const KEY_BYTES: usize = 200;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: Box<[u8]>,
    source: Box<[u8]>,
}

impl Key {
    fn new(path: &[u8], source: &str) -> Self {
        Self {
            path: padded(path),
            source: padded(source.as_bytes()),
        }
    }
}

/// Without the zeros that fill a key up.
fn padded(bytes: &[u8]) -> Box<[u8]> {
    let bytes = &bytes[..bytes.len().min(KEY_BYTES)];
    let end = bytes.iter().rposition(|byte| *byte != 0);
    bytes[..end.map_or(0, |end| end + 1)].into()
}

/// A mask and the rule it comes from.
type Value = (u16, Arc<Rule>);

/// The rules of a class before they are put.
#[derive(Default)]
struct List {
    rules: IndexMap<Key, Value>,
    allows: bool,
}

#[derive(Default)]
struct Lists {
    process: List,
    file: List,
    network: List,
    capabilities: List,
    map: RuleMap,
}

/// What a rule says, apart from its key.
struct Saying<'a> {
    policy: &'a str,
    field: String,
    effect: Effect,
    sources: &'a [Source],
}

impl Saying<'_> {
    /// Calls for every source of the rule, or once with none.
    fn for_each_source(&self, mut put: impl FnMut(&str, &Arc<Rule>)) {
        let rule = |source: Option<&Source>| {
            Arc::new(Rule {
                policy: self.policy.to_owned(),
                field: self.field.clone(),
                source: source.map(|source| source.path.clone()),
                effect: self.effect,
            })
        };
        if self.sources.is_empty() {
            put("", &rule(None));
        }
        for source in self.sources {
            put(&source.path, &rule(Some(source)));
        }
    }
}

/// The mask that the effect adds; none for rules that are not enforced.
fn deny(effect: Effect, terminal: bool) -> Option<u16> {
    match effect {
        Effect::Allow => Some(0),
        // With pts it is the terminal that is refused, and nothing else.
        Effect::Block if terminal => Some(0),
        Effect::Block => Some(bit::DENY),
        // Audit is matched against telemetry, not here (verdicts action-011, merge-012).
        Effect::Audit | Effect::Nothing => None,
    }
}

fn flag(is: Option<bool>, bit: u16) -> u16 {
    if is == Some(true) { bit } else { 0 }
}

/// `pts: false`. `true` says nothing (verdicts pts-005, -011).
fn terminal(pts: Option<bool>) -> u16 {
    if pts == Some(false) { bit::TERMINAL } else { 0 }
}

/// Builds the map; what it has no room for is in the budget.
pub(super) fn put(policies: &[&Policy], postures: Postures) -> (RuleMap, Budget) {
    let mut lists = Lists::default();
    for policy in policies {
        lists.add(policy);
    }
    lists.put(postures)
}

impl Lists {
    /// The order within a policy is that of the daemon, whatever that of the document.
    fn add(&mut self, policy: &Policy) {
        let spec = &policy.spec;
        let name = policy.metadata.name.as_str();
        let section = spec.process.action.as_ref();
        for (index, rule) in spec.process.match_paths.iter().enumerate() {
            let saying = Saying {
                policy: name,
                field: format!("spec.process.matchPaths[{index}]"),
                effect: spec.effect(section, rule.action.as_ref()),
                sources: &rule.from_source,
            };
            self.program(rule, &saying);
        }
        for (index, rule) in spec.process.match_directories.iter().enumerate() {
            let saying = Saying {
                policy: name,
                field: format!("spec.process.matchDirectories[{index}]"),
                effect: spec.effect(section, rule.action.as_ref()),
                sources: &rule.from_source,
            };
            let mask = bit::EXEC | flag(rule.recursive, bit::RECURSIVE);
            self.directory(Class::Process, rule, &saying, mask);
        }
        let section = spec.file.action.as_ref();
        for (index, rule) in spec.file.match_paths.iter().enumerate() {
            let saying = Saying {
                policy: name,
                field: format!("spec.file.matchPaths[{index}]"),
                effect: spec.effect(section, rule.action.as_ref()),
                sources: &rule.from_source,
            };
            self.file(rule, &saying);
        }
        for (index, rule) in spec.file.match_directories.iter().enumerate() {
            let saying = Saying {
                policy: name,
                field: format!("spec.file.matchDirectories[{index}]"),
                effect: spec.effect(section, rule.action.as_ref()),
                sources: &rule.from_source,
            };
            let mask = bit::READ
                | flag(rule.recursive, bit::RECURSIVE)
                | if rule.read_only == Some(true) {
                    0
                } else {
                    bit::WRITE
                };
            self.directory(Class::File, rule, &saying, mask);
        }
        self.protocols(policy);
        // A host's rules for capabilities are not put (bpflsm/hostRulesHandling.go).
        if policy.kind != Kind::HostPolicy {
            self.capabilities(policy);
        }
    }

    fn list(&mut self, class: Class) -> &mut List {
        match class {
            Class::Process => &mut self.process,
            Class::File => &mut self.file,
            Class::Network => &mut self.network,
            Class::Capabilities => &mut self.capabilities,
        }
    }

    /// Every source of a rule has its own key.
    fn each(
        &mut self,
        class: Class,
        saying: &Saying<'_>,
        mut write: impl FnMut(&mut List, &str, &Arc<Rule>),
    ) {
        saying.for_each_source(|source, rule| {
            self.map.note(class, &padded(source.as_bytes()));
            let list = match class {
                Class::Process => &mut self.process,
                Class::File => &mut self.file,
                Class::Network => &mut self.network,
                Class::Capabilities => &mut self.capabilities,
            };
            list.allows |= saying.effect == Effect::Allow;
            write(list, source, rule);
        });
    }

    fn program(&mut self, rule: &PathRule, saying: &Saying<'_>) {
        let pts = terminal(rule.pts);
        let Some(deny) = deny(saying.effect, pts != 0) else {
            return;
        };
        let key = rule.execname.as_deref().unwrap_or_default();
        let key = if key.is_empty() { &rule.path } else { key };
        let mut mask = bit::EXEC | flag(rule.owner_only, bit::OWNER) | pts | deny;
        if !rule.allowed_args.is_empty() {
            mask |= bit::ARGUMENTS;
        }
        self.each(Class::Process, saying, |list, source, rule| {
            let key = Key::new(key.as_bytes(), source);
            list.rules.insert(key, (mask, rule.clone()));
        });
        for source in saying
            .sources
            .iter()
            .map(|source| source.path.as_str())
            .chain(
                // As above: without sources there is one key.
                saying.sources.is_empty().then_some(""),
            )
        {
            let Key { path, source } = Key::new(key.as_bytes(), source);
            let listed = self.map.arguments.entry((path, source)).or_default();
            let arguments = rule.allowed_args.iter();
            listed.extend(arguments.map(|argument| argument.as_bytes().into()));
        }
    }

    fn file(&mut self, rule: &PathRule, saying: &Saying<'_>) {
        let pts = terminal(rule.pts);
        let Some(deny) = deny(saying.effect, pts != 0) else {
            return;
        };
        let mut mask = bit::READ | flag(rule.owner_only, bit::OWNER) | pts | deny;
        if rule.read_only != Some(true) {
            mask |= bit::WRITE;
        }
        self.each(Class::File, saying, |list, source, cited| {
            let key = Key::new(rule.path.as_bytes(), source);
            list.rules.insert(key, (mask, cited.clone()));
        });
    }

    fn directory(&mut self, class: Class, rule: &Directory, saying: &Saying<'_>, mask: u16) {
        let pts = terminal(rule.pts);
        let Some(deny) = deny(saying.effect, pts != 0) else {
            return;
        };
        let mask = mask | flag(rule.owner_only, bit::OWNER) | pts | deny;
        self.each(class, saying, |list, source, cited| {
            directory_keys(&mut list.rules, &rule.dir, source, &(mask, cited.clone()));
        });
    }

    fn protocols(&mut self, policy: &Policy) {
        let spec = &policy.spec;
        let section = spec.network.action.as_ref();
        let mut all = Vec::new();
        for (index, rule, protocol) in expanded(&spec.network.match_protocols, |p| &p.protocol) {
            let saying = Saying {
                policy: &policy.metadata.name,
                field: format!("spec.network.matchProtocols[{index}]"),
                effect: spec.effect(section, rule.action.as_ref()),
                sources: &rule.from_source,
            };
            self.numbered(Class::Network, &saying, &protocol_key(&protocol), rule.pts);
            if protocol.eq_ignore_ascii_case("all") {
                all.push((saying, rule));
            }
        }
        // `all` is every socket type, after the policy's other rules; those with a source come
        // after those without, and Allow before Block (bpflsm/rulesHelper.go).
        all.sort_by_key(|(saying, _)| match (saying.sources, saying.effect) {
            ([], _) => 0,
            (_, Effect::Allow) => 1,
            _ => 2,
        });
        for (saying, _) in &all {
            for kind in SOCKET_TYPES {
                self.numbered(Class::Network, saying, &[SOCKET_TYPE, kind.1], None);
            }
        }
    }

    fn capabilities(&mut self, policy: &Policy) {
        let spec = &policy.spec;
        let section = spec.capabilities.action.as_ref();
        let rules = &spec.capabilities.match_capabilities;
        for (index, rule, name) in expanded(rules, |rule: &Capability| &rule.capability) {
            let saying = Saying {
                policy: &policy.metadata.name,
                field: format!("spec.capabilities.matchCapabilities[{index}]"),
                effect: spec.effect(section, rule.action.as_ref()),
                sources: &rule.from_source,
            };
            let key = [CAPABILITY, capability_number(&name)];
            self.numbered(Class::Capabilities, &saying, &key, None);
        }
    }

    fn numbered(&mut self, class: Class, saying: &Saying<'_>, key: &[u8], pts: Option<bool>) {
        let pts = terminal(pts);
        let Some(deny) = deny(saying.effect, pts != 0) else {
            return;
        };
        self.each(class, saying, |list, source, rule| {
            let key = Key::new(key, source);
            list.rules.insert(key, (deny | pts, rule.clone()));
        });
    }

    fn put(mut self, postures: Postures) -> (RuleMap, Budget) {
        // The file list is put after that of programs, and takes its masks along.
        let process: IndexMap<Key, Value> = self.process.rules.clone();
        let classes = [
            Class::Process,
            Class::File,
            Class::Network,
            Class::Capabilities,
        ];
        let mut room = Room::default();
        let nothing = classes
            .iter()
            .all(|class| self.list(*class).rules.is_empty());
        if nothing {
            // Without rules the container is not registered at all (verdicts chars-018).
            return (self.map, room.budget());
        }
        for class in classes {
            let List { rules, allows } = std::mem::take(self.list(class));
            let posture = Key::new(&[posture_key(class)], "");
            if allows {
                let process = match postures.of(class) {
                    Posture::Audit => AUDIT_POSTURE,
                    Posture::Block => BLOCK_POSTURE,
                };
                let entry = Entry {
                    process,
                    ..Entry::default()
                };
                if !room.put(posture, entry) {
                    room.unrestricted.push(class);
                }
            } else {
                room.entries.shift_remove(&posture);
            }
            for (key, (mask, rule)) in rules {
                let entry = match class {
                    Class::File => {
                        let fused = process.get(&key);
                        Entry {
                            process: fused.map_or(0, |(mask, _)| *mask),
                            process_rule: fused.map(|(_, rule)| rule.clone()),
                            file: mask,
                            file_rule: Some(rule),
                        }
                    }
                    _ => Entry {
                        process: mask,
                        process_rule: Some(rule),
                        ..Entry::default()
                    },
                };
                room.put(key, entry);
            }
        }
        let budget = room.budget();
        for (Key { path, source }, entry) in room.entries {
            self.map.insert(path, source, entry);
        }
        (self.map, budget)
    }
}

/// KubeArmor/enforcer/bpflsm/rulesHandling.go, dirtoMap: the directory as an object, the directory
/// as a prefix, and every prefix of it as a hint that something is below. A prefix that is a rule
/// already keeps its mask.
fn directory_keys(list: &mut IndexMap<Key, Value>, dir: &str, source: &str, value: &Value) {
    let (mask, rule) = value;
    let parts: Vec<&str> = dir.split('/').collect();
    let object = parts[..parts.len() - 1].join("/");
    list.insert(Key::new(object.as_bytes(), source), value.clone());

    let prefix = Key::new(dir.as_bytes(), source);
    let mut mask = mask | bit::DIR;
    if list
        .get(&prefix)
        .is_some_and(|(old, _)| old & bit::HINT != 0)
    {
        mask |= bit::HINT;
    }
    list.insert(prefix, (mask, rule.clone()));

    for end in 1..parts.len() - 1 {
        let hint = Key::new((parts[..end].join("/") + "/").as_bytes(), source);
        mask = mask & !bit::DIR | bit::HINT;
        let mut cited = rule.clone();
        if let Some((old, of)) = list.get(&hint)
            && old & bit::DIR != 0
        {
            mask = old | bit::HINT;
            cited = of.clone();
        }
        list.insert(hint, (mask, cited));
    }
}

/// The map while it is filled.
#[derive(Default)]
struct Room {
    entries: IndexMap<Key, Entry>,
    dropped: IndexMap<Key, Option<Arc<Rule>>>,
    unrestricted: Vec<Class>,
}

impl Room {
    /// A new key is refused by a full map; one that is there is written over.
    fn put(&mut self, key: Key, entry: Entry) -> bool {
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key) {
            let rule = entry.file_rule.or(entry.process_rule);
            self.dropped.entry(key).or_insert(rule);
            return false;
        }
        self.entries.insert(key, entry);
        true
    }

    fn budget(&self) -> Budget {
        let there: HashSet<&Key> = self.entries.keys().collect();
        let dropped: Vec<Dropped> = self
            .dropped
            .iter()
            .filter(|(key, _)| !there.contains(key))
            .map(|(key, rule)| Dropped {
                key: String::from_utf8_lossy(&key.path).into_owned(),
                rule: rule.clone(),
            })
            .collect();
        Budget {
            wanted: self.entries.len() + dropped.len(),
            limit: Some(MAX_ENTRIES),
            dropped,
            unrestricted: self.unrestricted.clone(),
        }
    }
}

/// KubeArmor/common, ObjCommaExpandFirstDupOthers: where the first rule has a comma, all of them
/// are split at commas and lose their blanks.
fn expanded<'r, R>(
    rules: &'r [R],
    word: impl Fn(&'r R) -> &'r String,
) -> impl Iterator<Item = (usize, &'r R, String)> {
    let split = rules.first().is_some_and(|rule| word(rule).contains(','));
    rules.iter().enumerate().flat_map(move |(index, rule)| {
        let words: Vec<String> = if split {
            let words = word(rule).split(',');
            words.map(|word| word.replace(' ', "")).collect()
        } else {
            vec![word(rule).clone()]
        };
        words.into_iter().map(move |word| (index, rule, word))
    })
}

const SOCKET_TYPES: [(&str, u8); 7] = [
    ("STREAM", 1),
    ("DGRAM", 2),
    ("RAW", 3),
    ("RDM", 4),
    ("SEQPACKET", 5),
    ("DCCP", 6),
    ("PACKET", 10),
];

/// As KubeArmor has them: `ICMPv6` is looked up in capital letters there, and not found.
const PROTOCOLS: [(&str, u8); 4] = [("ICMP", 1), ("TCP", 6), ("UDP", 17), ("SCTP", 132)];

/// An unknown word, `all` among them, is the key of zeros, which nothing asks for.
fn protocol_key(protocol: &str) -> [u8; 2] {
    let protocol = protocol.to_uppercase();
    let number = |words: &[(&str, u8)]| {
        let found = words.iter().find(|(word, _)| *word == protocol);
        found.map(|(_, number)| *number)
    };
    match (number(&PROTOCOLS), number(&SOCKET_TYPES)) {
        (Some(number), _) => [SOCKET_PROTOCOL, number],
        (None, Some(number)) => [SOCKET_TYPE, number],
        (None, None) => [0, 0],
    }
}

/// By number, as in `capabilities(7)`.
pub(in crate::policy::meaning) const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// An unknown name has the number 0, that of chown: the daemon reads a Go map.
fn capability_number(name: &str) -> u8 {
    let name = name.to_lowercase();
    let name = name.strip_prefix("cap_").unwrap_or(&name);
    let found = CAPABILITIES.iter().position(|known| *known == name);
    found
        .and_then(|number| u8::try_from(number).ok())
        .unwrap_or(0)
}

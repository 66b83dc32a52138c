//! From policies to the rule map, as the daemon puts it (KubeArmor/enforcer/bpflsm/
//! rulesHandling.go, UpdateContainerRules): every class is a list first, in which the last rule
//! that writes a key wins; then the lists are put one after the other, each after its posture.

use std::sync::Arc;

use indexmap::IndexMap;

use super::map::{Entry, RuleMap};
use super::number::{SOCKET_TYPES, capability_number, expanded, protocol_key};
use super::room::{Key, Room};
use super::{AUDIT_POSTURE, BLOCK_POSTURE, Bounds, CAPABILITY, SOCKET_TYPE, bit, posture_key};
use crate::policy::document::{Capability, Directory, Effect, Kind, PathRule, Policy, Source};
use crate::policy::meaning::budget::Budget;
use crate::policy::meaning::enforcer::{Class, Posture, Postures};
use crate::policy::meaning::judgement::Rule;

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
pub(super) fn put(policies: &[&Policy], postures: Postures, bounds: Bounds) -> (RuleMap, Budget) {
    let mut lists = Lists::default();
    lists.map.bounds = bounds;
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
            let bounds = self.map.bounds;
            self.map.note(class, &bounds.key(source.as_bytes()));
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
        let bounds = self.map.bounds;
        // Learner's programs do not compare arguments.
        if !rule.allowed_args.is_empty() && bounds == Bounds::KubeArmor {
            mask |= bit::ARGUMENTS;
        }
        self.each(Class::Process, saying, |list, source, rule| {
            let key = Key::new(key.as_bytes(), source, bounds);
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
            let Key { path, source } = Key::new(key.as_bytes(), source, bounds);
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
        let bounds = self.map.bounds;
        self.each(Class::File, saying, |list, source, cited| {
            let key = Key::new(rule.path.as_bytes(), source, bounds);
            list.rules.insert(key, (mask, cited.clone()));
        });
    }

    fn directory(&mut self, class: Class, rule: &Directory, saying: &Saying<'_>, mask: u16) {
        let pts = terminal(rule.pts);
        let Some(deny) = deny(saying.effect, pts != 0) else {
            return;
        };
        let mask = mask | flag(rule.owner_only, bit::OWNER) | pts | deny;
        let bounds = self.map.bounds;
        self.each(class, saying, |list, source, cited| {
            let value = (mask, cited.clone());
            directory_keys(&mut list.rules, &rule.dir, source, &value, bounds);
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
        let bounds = self.map.bounds;
        self.each(class, saying, |list, source, rule| {
            let key = Key::new(key, source, bounds);
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
        let bounds = self.map.bounds;
        let mut room = Room {
            bounds,
            ..Room::default()
        };
        let nothing = classes
            .iter()
            .all(|class| self.list(*class).rules.is_empty());
        if nothing {
            // Without rules the container is not registered at all (verdicts chars-018).
            return (self.map, room.budget());
        }
        for class in classes {
            let List { rules, allows } = std::mem::take(self.list(class));
            let posture = Key::new(&[posture_key(class)], "", bounds);
            if bounds == Bounds::Unlimited {
                let mask = match postures.of(class) {
                    Posture::Audit => AUDIT_POSTURE,
                    Posture::Block => BLOCK_POSTURE,
                };
                self.map.postures[class as usize] = allows.then_some(mask);
            } else if allows {
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
fn directory_keys(
    list: &mut IndexMap<Key, Value>,
    dir: &str,
    source: &str,
    value: &Value,
    bounds: Bounds,
) {
    let (mask, rule) = value;
    let parts: Vec<&str> = dir.split('/').collect();
    let object = parts[..parts.len() - 1].join("/");
    list.insert(Key::new(object.as_bytes(), source, bounds), value.clone());

    let prefix = Key::new(dir.as_bytes(), source, bounds);
    let mut mask = mask | bit::DIR;
    if list
        .get(&prefix)
        .is_some_and(|(old, _)| old & bit::HINT != 0)
    {
        mask |= bit::HINT;
    }
    list.insert(prefix, (mask, rule.clone()));

    for end in 1..parts.len() - 1 {
        let hint = Key::new((parts[..end].join("/") + "/").as_bytes(), source, bounds);
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

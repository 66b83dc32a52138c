//! The profile that KubeArmor writes for a container (KubeArmor/enforcer/appArmorProfile.go,
//! GenerateProfileBody, and appArmorTemplate.go).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::baseline;
use super::glob::{Line, Lines, Patterns, Suffix, Who, permissions};
use crate::policy::document::{Effect, Kind, Policy, Source};
use crate::policy::meaning::enforcer::{Class, Posture, Postures};
use crate::policy::meaning::judgement::Rule;

/// What a rule comes to before lines are made of it.
#[derive(Clone)]
struct Config {
    suffix: Suffix,
    read_only: bool,
    owner_only: bool,
    deny: bool,
    allow: bool,
    rule: Arc<Rule>,
}

type Configs = BTreeMap<String, Config>;

/// The rules of the container, or those for one program.
#[derive(Clone)]
struct Section {
    /// The line `file,`: everything about files and programs is allowed that is not denied.
    file: bool,
    capability: bool,
    files: Configs,
    programs: Configs,
    capabilities: Configs,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            file: true,
            capability: true,
            files: Configs::new(),
            programs: Configs::new(),
            capabilities: Configs::new(),
        }
    }
}

/// One profile, as the kernel has it.
pub(in crate::policy::meaning) struct Profile {
    pub(super) file: bool,
    pub(super) capability: bool,
    pub(super) lines: Lines,
    capabilities: Configs,
}

/// All profiles of a container.
pub(super) struct Profiles {
    pub(super) container: Profile,
    /// Those that a program changes to when it starts.
    pub(super) programs: BTreeMap<Box<[u8]>, Profile>,
    /// Classes with an Allow rule.
    pub(super) restricted: [bool; 4],
    pub(super) has_sockets: bool,
    /// Why nothing can be said of the whole.
    pub(super) unreadable: Option<&'static str>,
}

/// Characters that make the template write a comment in place of a line that allows a program.
const COMMENTED: [char; 6] = ['[', '*', '+', '?', '$', '|'];

struct Builder<'p> {
    container: Section,
    programs: BTreeMap<String, Section>,
    restricted: [bool; 4],
    postures: Postures,
    policy: &'p str,
    unreadable: Option<&'static str>,
}

/// A rule on its way into the sections.
struct Saying<'a> {
    class: Class,
    field: String,
    effect: Effect,
    sources: &'a [Source],
    text: String,
    suffix: Suffix,
    read_only: Option<bool>,
    owner_only: Option<bool>,
    /// Patterns never write over another rule.
    pattern: bool,
}

impl Profiles {
    pub(super) fn new(policies: &[&Policy], postures: Postures) -> Self {
        let mut builder = Builder {
            container: Section::default(),
            programs: BTreeMap::new(),
            restricted: [false; 4],
            postures,
            policy: "",
            unreadable: None,
        };
        let mut has_sockets = false;
        for policy in policies {
            builder.policy = &policy.metadata.name;
            builder.add_all(policy);
            has_sockets |= !policy.spec.network.match_protocols.is_empty();
            if policy.spec.apparmor.is_some() {
                builder.unreadable = Some("a policy's own AppArmor lines");
            }
        }
        builder.finish(has_sockets)
    }
}

fn suffix(recursive: Option<bool>) -> Suffix {
    if recursive == Some(true) {
        Suffix::All
    } else {
        Suffix::Children
    }
}

impl<'p> Builder<'p> {
    fn add_all(&mut self, policy: &'p Policy) {
        let spec = &policy.spec;
        let rule = |class, field, effect, sources, text: &str, suffix| Saying {
            class,
            field,
            effect,
            sources,
            text: text.to_owned(),
            suffix,
            read_only: None,
            owner_only: None,
            pattern: false,
        };
        let section = spec.process.action.as_ref();
        for (index, one) in spec.process.match_paths.iter().enumerate() {
            let field = format!("spec.process.matchPaths[{index}]");
            let effect = spec.effect(section, one.action.as_ref());
            let text = match one.execname.as_deref() {
                Some(name) if !name.is_empty() => format!("/**/{name}"),
                _ => one.path.clone(),
            };
            self.add(Saying {
                owner_only: one.owner_only,
                ..rule(
                    Class::Process,
                    field,
                    effect,
                    &one.from_source,
                    &text,
                    Suffix::None,
                )
            });
        }
        for (index, one) in spec.process.match_directories.iter().enumerate() {
            let field = format!("spec.process.matchDirectories[{index}]");
            let effect = spec.effect(section, one.action.as_ref());
            let suffix = suffix(one.recursive);
            self.add(Saying {
                owner_only: one.owner_only,
                ..rule(
                    Class::Process,
                    field,
                    effect,
                    &one.from_source,
                    &one.dir,
                    suffix,
                )
            });
        }
        for (index, one) in spec.process.match_patterns.iter().enumerate() {
            let field = format!("spec.process.matchPatterns[{index}]");
            let effect = spec.effect(section, one.action.as_ref());
            self.add(Saying {
                owner_only: one.owner_only,
                pattern: true,
                ..rule(
                    Class::Process,
                    field,
                    effect,
                    &[],
                    &one.pattern,
                    Suffix::None,
                )
            });
        }
        let section = spec.file.action.as_ref();
        for (index, one) in spec.file.match_paths.iter().enumerate() {
            let field = format!("spec.file.matchPaths[{index}]");
            let effect = spec.effect(section, one.action.as_ref());
            self.add(Saying {
                owner_only: one.owner_only,
                read_only: one.read_only,
                ..rule(
                    Class::File,
                    field,
                    effect,
                    &one.from_source,
                    &one.path,
                    Suffix::None,
                )
            });
        }
        for (index, one) in spec.file.match_directories.iter().enumerate() {
            let field = format!("spec.file.matchDirectories[{index}]");
            let effect = spec.effect(section, one.action.as_ref());
            let suffix = suffix(one.recursive);
            self.add(Saying {
                owner_only: one.owner_only,
                read_only: one.read_only,
                ..rule(
                    Class::File,
                    field,
                    effect,
                    &one.from_source,
                    &one.dir,
                    suffix,
                )
            });
        }
        for (index, one) in spec.file.match_patterns.iter().enumerate() {
            let field = format!("spec.file.matchPatterns[{index}]");
            let effect = spec.effect(section, one.action.as_ref());
            self.add(Saying {
                owner_only: one.owner_only,
                read_only: one.read_only,
                pattern: true,
                ..rule(Class::File, field, effect, &[], &one.pattern, Suffix::None)
            });
        }
        let section = spec.capabilities.action.as_ref();
        let capabilities = spec.capabilities.match_capabilities.iter().enumerate();
        for (index, one) in capabilities.filter(|_| policy.kind != Kind::HostPolicy) {
            let field = format!("spec.capabilities.matchCapabilities[{index}]");
            let effect = spec.effect(section, one.action.as_ref());
            let sources = &one.from_source;
            let name = &one.capability;
            self.add(rule(
                Class::Capabilities,
                field,
                effect,
                sources,
                name,
                Suffix::None,
            ));
        }
    }

    fn add(&mut self, saying: Saying<'_>) {
        let deny = match saying.effect {
            Effect::Allow => false,
            Effect::Block => true,
            Effect::Audit | Effect::Nothing => return,
        };
        if saying.class != Class::Capabilities && !is_readable(&saying.text) {
            self.unreadable = Some("a profile with a path that AppArmor cannot read");
        }
        self.restricted[saying.class as usize] |= !deny;
        let keeps = self.postures.of(saying.class) == Posture::Audit;
        let config = |source: Option<&str>| Config {
            suffix: saying.suffix,
            read_only: saying.read_only == Some(true),
            owner_only: saying.owner_only == Some(true),
            deny,
            allow: !deny,
            rule: Arc::new(Rule {
                policy: self.policy.to_owned(),
                field: saying.field.clone(),
                source: source.map(str::to_owned),
                effect: saying.effect,
            }),
        };
        if saying.sources.is_empty() {
            let config = config(None);
            put(&mut self.container, &saying, config, deny, keeps);
            return;
        }
        let sources = saying.sources.iter().map(|source| source.path.as_str());
        for source in sources.filter(|source| !source.is_empty()) {
            let config = config(Some(source));
            let section = self.programs.entry(source.to_owned()).or_default();
            put(section, &saying, config, deny, keeps);
        }
    }

    fn finish(mut self, has_sockets: bool) -> Profiles {
        // A program with a profile of its own is started by it (ResolvedProcessWhiteListConflicts).
        for source in self.programs.keys() {
            self.container.programs.remove(source);
        }
        for section in self.programs.values_mut() {
            let own = section.clone();
            inherit(
                &mut section.programs,
                &self.container.programs,
                &own.programs,
            );
            inherit(&mut section.files, &self.container.files, &own.files);
            for (name, config) in &self.container.capabilities {
                let config = config.clone();
                section.capabilities.entry(name.clone()).or_insert(config);
            }
        }
        let sources: Vec<&String> = self.programs.keys().collect();
        let mut readable = true;
        let mut patterns = Patterns::default();
        let container = self
            .container
            .profile(None, &sources, &mut patterns, &mut readable);
        let programs = self
            .programs
            .iter()
            .map(|(source, section)| {
                let profile = section.profile(Some(source), &[], &mut patterns, &mut readable);
                (source.as_bytes().into(), profile)
            })
            .collect();
        let broken = (!readable).then_some("a profile with a pattern that AppArmor cannot read");
        Profiles {
            container,
            programs,
            restricted: self.restricted,
            has_sockets,
            unreadable: self.unreadable.or(broken),
        }
    }
}

/// Neither quoted nor escaped by the template: these end the path, or the line.
fn is_readable(text: &str) -> bool {
    text.starts_with('/') && !text.contains([' ', '\t', '\n', '\r', '"', '#', '(', ')', '='])
}

/// The first rule for a text stays, unless one allows what the other blocks: then both lines are
/// written, and deny wins (addRuletoMap).
fn put(section: &mut Section, saying: &Saying<'_>, mut config: Config, deny: bool, keeps: bool) {
    if !deny {
        match saying.class {
            Class::Process | Class::File => section.file = keeps,
            Class::Capabilities => section.capability = keeps,
            Class::Network => {}
        }
    }
    let configs = match saying.class {
        Class::Process => &mut section.programs,
        Class::Capabilities => &mut section.capabilities,
        Class::File | Class::Network => &mut section.files,
    };
    if let Some(known) = configs.get(&saying.text) {
        if saying.pattern || known.deny == config.deny {
            return;
        }
        config.deny = true;
        config.allow = true;
    }
    configs.insert(saying.text.clone(), config);
}

/// Global rules hold for the program too, but for those that its own directories cover
/// (checkIfGlobalRuleToBeAdded).
fn inherit(into: &mut Configs, global: &Configs, own: &Configs) {
    for (text, config) in global {
        if own.contains_key(text) {
            continue;
        }
        let parts: Vec<&str> = text.split('/').collect();
        let covered = (1..parts.len()).any(|end| {
            let dir = parts[..end].join("/") + "/";
            own.get(&dir).is_some_and(|config| match config.suffix {
                Suffix::None => false,
                Suffix::Children => parts.len() - end <= 1,
                Suffix::All => true,
            })
        });
        if !covered {
            into.insert(text.clone(), config.clone());
        }
    }
}

impl Section {
    /// `source`: the program whose profile it is; `sources`: those that have one, for the
    /// container's own.
    fn profile(
        &self,
        source: Option<&str>,
        sources: &[&String],
        patterns: &mut Patterns,
        readable: &mut bool,
    ) -> Profile {
        let mut lines = Lines::default();
        let mut add = |text: &str, suffix, deny, who, letters: &str, rule: Option<&Arc<Rule>>| {
            let line = Line {
                deny,
                who,
                permissions: permissions(letters),
                rule: rule.cloned(),
            };
            *readable &= lines.add(text, suffix, line, patterns);
        };
        if let Some(source) = source {
            add(source, Suffix::None, false, Who::Anyone, "rx", None);
        }
        for source in sources {
            add(source, Suffix::None, false, Who::Anyone, "x", None);
        }
        for (text, config) in &self.files {
            let rule = Some(&config.rule);
            let mut add = |deny, who, letters| add(text, config.suffix, deny, who, letters, rule);
            if config.deny {
                match (config.read_only, config.owner_only) {
                    (true, true) => {
                        add(true, Who::Owner, "klw");
                        add(true, Who::Other, "klmrw");
                    }
                    (false, true) => {
                        add(false, Who::Owner, "klmrw");
                        add(true, Who::Other, "klmrw");
                    }
                    (true, false) => add(true, Who::Anyone, "klw"),
                    (false, false) => add(true, Who::Anyone, "klmrw"),
                }
            }
            if config.allow {
                let who = if config.owner_only {
                    Who::Owner
                } else {
                    Who::Anyone
                };
                add(false, who, if config.read_only { "klr" } else { "klmrw" });
            }
        }
        for (text, config) in &self.programs {
            let rule = Some(&config.rule);
            let mut add = |deny, who| add(text, config.suffix, deny, who, "x", rule);
            if config.deny && config.owner_only {
                add(false, Who::Owner);
                add(true, Who::Other);
            } else if config.deny {
                add(true, Who::Anyone);
            }
            if config.allow {
                let single = config.suffix == Suffix::None;
                // A program's own profile allows no directories; the container's comments out what
                // looks like a pattern, and forgets the owner of a directory.
                let written = match source {
                    Some(_) => single,
                    None => !text.contains(COMMENTED),
                };
                if written {
                    add(
                        false,
                        if config.owner_only && single {
                            Who::Owner
                        } else {
                            Who::Anyone
                        },
                    );
                }
            }
        }
        for (text, letters) in baseline::ALLOWED {
            add(text, Suffix::None, false, Who::Anyone, letters, None);
        }
        if source.is_none() {
            for (text, letters) in baseline::DENIED {
                add(text, Suffix::None, true, Who::Anyone, letters, None);
            }
        }
        Profile {
            file: self.file,
            capability: self.capability,
            lines,
            capabilities: self.capabilities.clone(),
        }
    }
}

impl Profile {
    /// Whether the capability is denied or allowed by a rule.
    pub(super) fn capability(&self, name: &str) -> Option<(bool, &Arc<Rule>)> {
        let config = self.capabilities.get(name)?;
        Some((config.deny, &config.rule))
    }
}

//! The rules of policies, one by one, with what they are about.

use std::collections::BTreeSet;

use crate::policy::meaning::Class;
use crate::policy::{Action, Directory, Effect, PathRule, Pattern, Policy, Source, Spec};

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// One path.
    Path(String),
    /// A directory, with a slash at the end.
    Directory(String),
    /// Programs of this name.
    Name(String),
    /// Paths by pattern.
    Pattern(String),
    /// A protocol or a type of socket.
    Protocol(String),
    /// A capability.
    Capability(String),
}

impl Target {
    /// As it is written in the policy.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Path(text)
            | Self::Directory(text)
            | Self::Name(text)
            | Self::Pattern(text)
            | Self::Protocol(text)
            | Self::Capability(text) => text,
        }
    }
}

/// What a rule is known by on both sides: two rules of one key may still say different things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) class: Class,
    pub(super) target: Target,
    pub(super) sources: BTreeSet<String>,
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) key: Key,
    /// `spec.file.matchPaths[3] of nginx`.
    pub(super) field: String,
    pub(super) owner_only: bool,
    /// It asks for a terminal.
    pub(super) terminal: bool,
    pub(super) arguments: Vec<String>,
    pub(super) effect: Effect,
}

/// All rules of the policies that an operation can be judged by, in the order of the documents.
pub(super) fn lines(policies: &[&Policy]) -> Vec<Line> {
    let mut lines = Vec::new();
    for policy in policies {
        Lines {
            policy: &policy.metadata.name,
            spec: &policy.spec,
            out: &mut lines,
        }
        .collect();
    }
    lines
}

struct Lines<'a> {
    policy: &'a str,
    spec: &'a Spec,
    out: &'a mut Vec<Line>,
}

/// What rules of all kinds have.
#[derive(Default)]
struct Traits<'a> {
    sources: &'a [Source],
    owner_only: Option<bool>,
    pts: Option<bool>,
    arguments: &'a [String],
    action: Option<&'a Action>,
}

impl<'a> From<&'a PathRule> for Traits<'a> {
    fn from(rule: &'a PathRule) -> Self {
        Self {
            sources: &rule.from_source,
            owner_only: rule.owner_only,
            pts: rule.pts,
            arguments: &rule.allowed_args,
            action: rule.action.as_ref(),
        }
    }
}

impl<'a> From<&'a Directory> for Traits<'a> {
    fn from(rule: &'a Directory) -> Self {
        Self {
            sources: &rule.from_source,
            owner_only: rule.owner_only,
            pts: rule.pts,
            arguments: &[],
            action: rule.action.as_ref(),
        }
    }
}

impl<'a> From<&'a Pattern> for Traits<'a> {
    fn from(rule: &'a Pattern) -> Self {
        Self {
            owner_only: rule.owner_only,
            action: rule.action.as_ref(),
            ..Self::default()
        }
    }
}

impl<'a> Lines<'a> {
    fn collect(mut self) {
        let spec = self.spec;
        let process = &spec.process;
        let mut add = |class, section, list: &str, index, target, traits| {
            self.add(class, section, &format!("{list}[{index}]"), target, traits);
        };
        for (index, rule) in process.match_paths.iter().enumerate() {
            let target = match &rule.execname {
                // KubeArmor takes the name where both are written.
                Some(name) if !name.is_empty() => Target::Name(name.clone()),
                _ => Target::Path(rule.path.clone()),
            };
            let list = "process.matchPaths";
            add(
                Class::Process,
                process.action.as_ref(),
                list,
                index,
                target,
                rule.into(),
            );
        }
        for (index, rule) in process.match_directories.iter().enumerate() {
            let target = Target::Directory(rule.dir.clone());
            let list = "process.matchDirectories";
            add(
                Class::Process,
                process.action.as_ref(),
                list,
                index,
                target,
                rule.into(),
            );
        }
        for (index, rule) in process.match_patterns.iter().enumerate() {
            let target = Target::Pattern(rule.pattern.clone());
            let list = "process.matchPatterns";
            add(
                Class::Process,
                process.action.as_ref(),
                list,
                index,
                target,
                rule.into(),
            );
        }
        let file = &spec.file;
        for (index, rule) in file.match_paths.iter().enumerate() {
            let target = Target::Path(rule.path.clone());
            let list = "file.matchPaths";
            add(
                Class::File,
                file.action.as_ref(),
                list,
                index,
                target,
                rule.into(),
            );
        }
        for (index, rule) in file.match_directories.iter().enumerate() {
            let target = Target::Directory(rule.dir.clone());
            let list = "file.matchDirectories";
            add(
                Class::File,
                file.action.as_ref(),
                list,
                index,
                target,
                rule.into(),
            );
        }
        for (index, rule) in file.match_patterns.iter().enumerate() {
            let target = Target::Pattern(rule.pattern.clone());
            let list = "file.matchPatterns";
            add(
                Class::File,
                file.action.as_ref(),
                list,
                index,
                target,
                rule.into(),
            );
        }
        let network = &spec.network;
        for (index, rule) in network.match_protocols.iter().enumerate() {
            let target = Target::Protocol(rule.protocol.clone());
            let traits = Traits {
                sources: &rule.from_source,
                pts: rule.pts,
                action: rule.action.as_ref(),
                ..Traits::default()
            };
            let list = "network.matchProtocols";
            add(
                Class::Network,
                network.action.as_ref(),
                list,
                index,
                target,
                traits,
            );
        }
        let capabilities = &spec.capabilities;
        for (index, rule) in capabilities.match_capabilities.iter().enumerate() {
            let target = Target::Capability(rule.capability.clone());
            let traits = Traits {
                sources: &rule.from_source,
                action: rule.action.as_ref(),
                ..Traits::default()
            };
            let list = "capabilities.matchCapabilities";
            let section = capabilities.action.as_ref();
            add(Class::Capabilities, section, list, index, target, traits);
        }
    }

    fn add(
        &mut self,
        class: Class,
        section: Option<&Action>,
        field: &str,
        target: Target,
        traits: Traits<'_>,
    ) {
        let Traits {
            sources,
            owner_only,
            pts,
            arguments,
            action,
        } = traits;
        let sources = sources.iter().map(|source| source.path.clone());
        self.out.push(Line {
            key: Key {
                class,
                target,
                sources: sources.filter(|path| !path.is_empty()).collect(),
            },
            field: format!("spec.{field} of {}", self.policy.escape_debug()),
            owner_only: owner_only == Some(true),
            terminal: pts == Some(false),
            arguments: arguments.to_vec(),
            effect: self.spec.effect(section, action),
        });
    }
}

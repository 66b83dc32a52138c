//! What a rule needs that others have to say: programs of the rules for files, and names of those for
//! the directories above them. Asked of the evaluator, under block and with all policies together.

use std::collections::BTreeSet;

use super::{LintKind, Lints};
use crate::behavior::Access;
use crate::policy::document::{Action, Directory, Effect, PathRule, Pattern, Policy, Source};
use crate::policy::meaning::{
    Enforced, Enforcer, FileHook, Hook, HookCall, Posture, Postures, Program, Verdict,
};

/// A program that no rule names.
const STRANGER: &str = "/no/such/program";

/// The policies as they are enforced, and whoever may act by them.
struct Ground<'p> {
    held: Enforced,
    sources: BTreeSet<&'p str>,
    /// What rules for files name, directories with a slash at the end.
    files: BTreeSet<&'p str>,
}

pub(super) fn lint<'p>(policies: &[&'p Policy], enforcer: Enforcer, lints: &mut Lints<'p>) {
    if enforcer == Enforcer::AppArmor {
        of_both_lists(policies, lints);
        return;
    }
    let specs = || policies.iter().map(|policy| &policy.spec);
    let paths = || specs().flat_map(|spec| &spec.file.match_paths);
    let directories = || specs().flat_map(|spec| &spec.file.match_directories);
    let sources = paths()
        .flat_map(|rule| &rule.from_source)
        .chain(directories().flat_map(|rule| &rule.from_source));
    let ground = Ground {
        held: Enforced::new(enforcer, policies, Postures::all(Posture::Block)),
        sources: sources
            .map(|source| source.path.as_str())
            .chain([STRANGER])
            .collect(),
        files: paths()
            .map(|rule| rule.path.as_str())
            .chain(directories().map(|rule| rule.dir.as_str()))
            .collect(),
    };
    for policy in policies {
        lints.policy = &policy.metadata.name;
        ground.of_programs(policy, lints);
        if enforcer == Enforcer::Bpf {
            ground.of_names_above(policy, lints);
        }
    }
}

impl<'p> Ground<'p> {
    /// Whether the source may; of nobody in particular, whether anybody may.
    fn may(&self, hook: FileHook, path: &str, source: Option<&str>) -> bool {
        let may = |source: &str| {
            let call = HookCall {
                hook: Hook::File {
                    hook,
                    path: path.as_bytes(),
                    owner: Some(true),
                },
                source: Program::Path(source.as_bytes()),
                tty: Some(false),
            };
            self.held.hook(&call).verdict == Verdict::Allowed
        };
        match source {
            Some(source) => may(source),
            None => self.sources.iter().any(|source| may(source)),
        }
    }

    /// The kernel opens a program to execute it, and the rules for files are asked (class-003 to -005).
    fn of_programs(&self, policy: &'p Policy, lints: &mut Lints<'p>) {
        let open = FileHook::Open(Access::Read);
        let spec = &policy.spec;
        let section = spec.process.action.as_ref();
        for (index, rule) in spec.process.match_paths.iter().enumerate() {
            let named = rule
                .execname
                .as_deref()
                .is_some_and(|name| !name.is_empty());
            if named || spec.effect(section, rule.action.as_ref()) != Effect::Allow {
                continue;
            }
            let at = format!("spec.process.matchPaths[{index}]");
            if rule.from_source.is_empty() {
                if !self.may(open, &rule.path, None) {
                    let text = "no rule for files allows the program, and to execute it is to open it: under block it does not start";
                    lints.add(&at, LintKind::Lacks, text);
                }
                continue;
            }
            let refused: Vec<String> = rule
                .from_source
                .iter()
                .filter(|source| !self.may(open, &rule.path, Some(&source.path)))
                .map(|source| source.path.escape_debug().to_string())
                .collect();
            if !refused.is_empty() {
                let text = format!(
                    "no rule for files allows the program to {}, and to execute it is to open it: under block it does not start",
                    refused.join(", ")
                );
                lints.add(&at, LintKind::Lacks, text);
            }
        }
        for (index, rule) in spec.process.match_directories.iter().enumerate() {
            if spec.effect(section, rule.action.as_ref()) != Effect::Allow {
                continue;
            }
            let names_some = self.files.iter().any(|file| file.starts_with(&rule.dir));
            if !names_some && !self.may(open, &format!("{}a", rule.dir), None) {
                let at = format!("spec.process.matchDirectories[{index}]");
                let text = "no rule for files allows any program in it, and to execute one is to open it: under block none starts";
                lints.add(&at, LintKind::Lacks, text);
            }
        }
        for (at, source) in sources(policy) {
            if !self.may(open, &source.path, None) {
                let text = "no rule for files allows this program itself, and to execute it is to open it: under block it does not start";
                lints.add(&at, LintKind::Lacks, text);
            }
        }
    }

    /// Renaming a directory above a file that is blocked is another name's business (rename-005).
    fn of_names_above(&self, policy: &'p Policy, lints: &mut Lints<'p>) {
        let spec = &policy.spec;
        let section = spec.file.action.as_ref();
        let paths = spec.file.match_paths.iter();
        let paths = paths.map(|rule| (rule.path.as_str(), rule.action.as_ref()));
        let directories = spec.file.match_directories.iter();
        let directories = directories.map(|rule| (rule.dir.as_str(), rule.action.as_ref()));
        let escapes = paths.chain(directories).any(|(path, action)| {
            let path = path.strip_suffix('/').unwrap_or(path);
            let above = path.rsplit_once('/').map_or("", |(above, _)| above);
            spec.effect(section, action) == Effect::Block
                && !above.is_empty()
                && self.may(FileHook::Rename, above, None)
        });
        if escapes {
            let text = "renaming a directory above what is blocked is not stopped, and no rule knows the new name";
            lints.add("spec.file", LintKind::NeverMatches, text);
        }
    }
}

/// The programs that rules which allow files are for, each once, and where.
fn sources(policy: &Policy) -> Vec<(String, &Source)> {
    let files = Section::files(policy);
    let mut told = BTreeSet::new();
    let mut all = Vec::new();
    for (at, action, sources) in files.sourced() {
        if policy.spec.effect(files.action, action) != Effect::Allow {
            continue;
        }
        for (index, source) in sources.iter().enumerate() {
            if told.insert(&source.path) {
                all.push((format!("{at}.fromSource[{index}]"), source));
            }
        }
    }
    all
}

/// The rules for programs, or those for files.
struct Section<'p> {
    name: &'static str,
    action: Option<&'p Action>,
    paths: &'p [PathRule],
    directories: &'p [Directory],
    patterns: &'p [Pattern],
}

type Sourced<'p> = (String, Option<&'p Action>, &'p [Source]);

impl<'p> Section<'p> {
    fn programs(policy: &'p Policy) -> Self {
        let section = &policy.spec.process;
        Self {
            name: "spec.process",
            action: section.action.as_ref(),
            paths: &section.match_paths,
            directories: &section.match_directories,
            patterns: &section.match_patterns,
        }
    }

    fn files(policy: &'p Policy) -> Self {
        let section = &policy.spec.file;
        Self {
            name: "spec.file",
            action: section.action.as_ref(),
            paths: &section.match_paths,
            directories: &section.match_directories,
            patterns: &section.match_patterns,
        }
    }

    /// Rules that may be for some programs alone, with their field and action.
    fn sourced(&self) -> impl Iterator<Item = Sourced<'p>> + use<'p> {
        let name = self.name;
        let paths = self.paths.iter().enumerate().map(move |(index, rule)| {
            let at = format!("{name}.matchPaths[{index}]");
            (at, rule.action.as_ref(), &rule.from_source[..])
        });
        let directories = self.directories.iter().enumerate();
        let directories = directories.map(move |(index, rule)| {
            let at = format!("{name}.matchDirectories[{index}]");
            (at, rule.action.as_ref(), &rule.from_source[..])
        });
        paths.chain(directories)
    }

    fn allows(&self, policy: &Policy) -> bool {
        let patterns = self.patterns.iter().map(|rule| rule.action.as_ref());
        self.sourced()
            .map(|(_, action, _)| action)
            .chain(patterns)
            .any(|action| policy.spec.effect(self.action, action) == Effect::Allow)
    }
}

/// Under AppArmor a list of the one class refuses all of the other (appArmorProfile.go).
fn of_both_lists<'p>(policies: &[&'p Policy], lints: &mut Lints<'p>) {
    let any = |section: fn(&'p Policy) -> Section<'p>| {
        policies.iter().any(|policy| section(policy).allows(policy))
    };
    let (section, text): (fn(&'p Policy) -> Section<'p>, _) = match (
        any(Section::programs),
        any(Section::files),
    ) {
        (true, false) => (
            Section::programs,
            "where programs alone are allowed, AppArmor's enforcer refuses all files under block",
        ),
        (false, true) => (
            Section::files,
            "where files alone are allowed, AppArmor's enforcer refuses all programs under block",
        ),
        _ => return,
    };
    for policy in policies {
        let section = section(policy);
        if section.allows(policy) {
            lints.policy = &policy.metadata.name;
            lints.add(section.name, LintKind::Lacks, text);
        }
    }
}

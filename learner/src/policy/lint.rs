//! What in policies does not do what it says, though the CRD accepts it.
//!
//! Pure: told the policies that select one container, and what will enforce them. The rules of
//! meaning behind each are in [`super::meaning`] and `docs/policy-meaning.md`.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::crd::{MAX_DEPTH, MAX_DIR_BYTES, MAX_KEY_BYTES};
use super::document::{Directory, Effect, PathRule, Policy, Source};
use super::meaning::{Enforced, Enforcer, Posture, Postures};

mod across;
mod pairs;
mod traps;

/// One thing to know about a rule, or about a policy as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lint {
    /// The name of the policy.
    pub policy: String,
    /// The field: `spec.file.matchPaths[3]`, or `spec`.
    pub field: String,
    /// What is wrong with it.
    pub kind: LintKind,
    /// One plain sentence.
    pub text: String,
}

/// Kinds of [`Lint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LintKind {
    /// The rule matches nothing.
    NeverMatches,
    /// The rule matches more than it says.
    MatchesMore,
    /// Another rule decides wherever this one matches.
    Shadowed,
    /// Another policy has another rule of the same key, and the later one wins.
    Conflict,
    /// More keys than a container's rule map has room for.
    OverBudget,
    /// It is enforced under the audit posture too.
    EnforcedUnderAudit,
    /// Something that is needed is not in the list.
    Lacks,
    /// It is refused on an overlay though it is allowed.
    CopyUp,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy,
            field,
            text,
            ..
        } = self;
        write!(f, "{}: {field}: {text}", policy.escape_debug())
    }
}

/// All that is to be known, policy by policy in the order of the document.
pub fn lint<P: Borrow<Policy>>(policies: &[P], enforcer: Enforcer) -> Vec<Lint> {
    let policies: Vec<&Policy> = policies.iter().map(Borrow::borrow).collect();
    let mut lints = Lints::default();
    for policy in &policies {
        lints.policy = &policy.metadata.name;
        lints.of_rules(policy, enforcer);
        lints.of_file_list(policy, enforcer);
        if enforcer == Enforcer::Bpf {
            traps::lint(policy, &mut lints);
        }
    }
    across::lint(&policies, enforcer, &mut lints);
    if enforcer == Enforcer::Bpf {
        pairs::lint(&policies, &mut lints);
        lints.of_budget(&policies);
    }
    lints.list
}

#[derive(Default)]
struct Lints<'p> {
    policy: &'p str,
    list: Vec<Lint>,
}

/// A loader or a library: what a program needs to start.
const LIBRARIES: [&str; 4] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];

impl<'p> Lints<'p> {
    fn add(&mut self, field: &str, kind: LintKind, text: impl Into<String>) {
        self.list.push(Lint {
            policy: self.policy.to_owned(),
            field: field.to_owned(),
            kind,
            text: text.into(),
        });
    }

    fn of_rules(&mut self, policy: &Policy, enforcer: Enforcer) {
        let spec = &policy.spec;
        for (section, paths, directories, patterns, action) in [
            (
                "spec.process",
                &spec.process.match_paths,
                &spec.process.match_directories,
                &spec.process.match_patterns,
                spec.process.action.as_ref(),
            ),
            (
                "spec.file",
                &spec.file.match_paths,
                &spec.file.match_directories,
                &spec.file.match_patterns,
                spec.file.action.as_ref(),
            ),
        ] {
            for (index, rule) in paths.iter().enumerate() {
                let at = format!("{section}.matchPaths[{index}]");
                let effect = spec.effect(action, rule.action.as_ref());
                match enforcer {
                    Enforcer::Bpf => self.of_path(&at, rule),
                    Enforcer::AppArmor => self.of_apparmor_path(&at, section, rule, effect),
                    Enforcer::Learner => self.of_learner_path(&at, rule),
                }
                if enforcer != Enforcer::AppArmor && effect == Effect::Allow {
                    self.of_flags(&at, rule.read_only, rule.owner_only);
                }
            }
            for (index, rule) in directories.iter().enumerate() {
                let at = format!("{section}.matchDirectories[{index}]");
                let effect = spec.effect(action, rule.action.as_ref());
                self.of_directory(&at, rule, enforcer);
                if enforcer != Enforcer::AppArmor && effect == Effect::Allow {
                    self.of_flags(&at, rule.read_only, rule.owner_only);
                }
                if enforcer == Enforcer::AppArmor {
                    self.of_apparmor_directory(&at, section, rule, effect);
                }
            }
            let ignored = match enforcer {
                Enforcer::Bpf => "the BPF-LSM enforcer ignores patterns",
                Enforcer::Learner => "Learner's own programs ignore patterns",
                Enforcer::AppArmor => continue,
            };
            for index in 0..patterns.len() {
                let at = format!("{section}.matchPatterns[{index}]");
                self.add(&at, LintKind::NeverMatches, ignored);
            }
        }
    }

    fn of_path(&mut self, at: &str, rule: &PathRule) {
        use LintKind::{MatchesMore, NeverMatches};
        match rule.execname.as_deref() {
            Some(name) if !name.is_empty() => {
                if !rule.from_source.is_empty() {
                    self.add(at, NeverMatches, "execname with fromSource never matches");
                }
                if !rule.allowed_args.is_empty() {
                    let text = "allowedArgs of an execname are never found, so no argument matches";
                    self.add(at, NeverMatches, text);
                }
                if ["e", "f"].contains(&name) {
                    let text = format!(
                        "'{name}' is the name of KubeArmor's own posture key: the rule and the posture write over one another"
                    );
                    self.add(at, LintKind::Conflict, text);
                }
                if !rule.path.is_empty() {
                    self.add(
                        at,
                        NeverMatches,
                        "execname goes before path, which is left out",
                    );
                }
            }
            _ => {
                self.of_key(at, "path", &rule.path);
                if !rule.allowed_args.is_empty() && !rule.from_source.is_empty() {
                    let text = "allowedArgs of a rule with fromSource are never found, so no argument matches";
                    self.add(at, NeverMatches, text);
                }
                if rule.path.len() == MAX_KEY_BYTES {
                    let text = format!(
                        "{MAX_KEY_BYTES} bytes are all that is compared, so every longer path that begins so matches too"
                    );
                    self.add(at, MatchesMore, text);
                }
            }
        }
        self.of_sources(at, &rule.from_source);
    }

    fn of_learner_path(&mut self, at: &str, rule: &PathRule) {
        if !rule.allowed_args.is_empty() {
            let text = "Learner's own programs do not compare arguments, so any will do";
            self.add(at, LintKind::MatchesMore, text);
        }
        if rule.execname.as_deref().is_none_or(str::is_empty) {
            self.of_resolved(at, "path", &rule.path);
        }
        for (index, source) in rule.from_source.iter().enumerate() {
            let at = format!("{at}.fromSource[{index}]");
            self.of_resolved(&at, "source", &source.path);
        }
    }

    /// False, and said: no path of the kernel's can equal it.
    fn of_resolved(&mut self, at: &str, what: &str, path: &str) -> bool {
        let is_odd = |part| ["", ".", ".."].contains(&part);
        let resolved = path.starts_with('/') && !path.split('/').skip(1).any(is_odd);
        if !resolved {
            let text = format!(
                "the {what} is not a resolved path, and resolved paths are compared, so it never matches"
            );
            self.add(at, LintKind::NeverMatches, text);
        }
        resolved
    }

    fn of_sources(&mut self, at: &str, sources: &[Source]) {
        for (index, source) in sources.iter().enumerate() {
            self.of_key(&format!("{at}.fromSource[{index}]"), "source", &source.path);
        }
    }

    /// A path that no path of the kernel's equals.
    fn of_key(&mut self, at: &str, what: &str, path: &str) {
        if path.len() > MAX_KEY_BYTES {
            let text = format!(
                "the {what} is {} bytes long, and {MAX_KEY_BYTES} are compared, so it never matches",
                path.len()
            );
            self.add(at, LintKind::NeverMatches, text);
        }
        let depth = path.split('/').skip(1).count();
        if self.of_resolved(at, what, path) && depth > MAX_DEPTH {
            let text = format!(
                "the {what} is {depth} components deep, and {MAX_DEPTH} are followed, so it never matches"
            );
            self.add(at, LintKind::NeverMatches, text);
        }
    }

    fn of_directory(&mut self, at: &str, rule: &Directory, enforcer: Enforcer) {
        let dir = rule.dir.as_str();
        let Some(object) = dir.strip_suffix('/') else {
            let text = match enforcer {
                Enforcer::Bpf | Enforcer::Learner => {
                    "without a slash at its end it acts on the parent directory alone, and on nothing below"
                }
                Enforcer::AppArmor => {
                    "without a slash at its end it acts on everything whose name begins so"
                }
            };
            let kind = match enforcer {
                Enforcer::Bpf | Enforcer::Learner => LintKind::NeverMatches,
                Enforcer::AppArmor => LintKind::MatchesMore,
            };
            self.add(at, kind, text);
            return;
        };
        if enforcer == Enforcer::AppArmor {
            return;
        }
        if enforcer == Enforcer::Learner {
            if !object.is_empty() {
                self.of_resolved(at, "dir", object);
            }
            return;
        }
        if !object.is_empty() {
            self.of_key(at, "dir", object);
        }
        if dir.len() > MAX_DIR_BYTES {
            let text = format!(
                "the dir is {} bytes long, and its children are found up to {MAX_DIR_BYTES}: it acts on the directory alone",
                dir.len()
            );
            self.add(at, LintKind::NeverMatches, text);
        }
        self.of_sources(at, &rule.from_source);
    }

    fn of_flags(&mut self, at: &str, read_only: Option<bool>, owner_only: Option<bool>) {
        let flags: Vec<&str> = [("readOnly", read_only), ("ownerOnly", owner_only)]
            .into_iter()
            .filter(|(_, flag)| *flag == Some(true))
            .map(|(name, _)| name)
            .collect();
        if !flags.is_empty() {
            let text = format!(
                "{} is enforced under the audit posture too: it refuses, and does not only report",
                flags.join(" and ")
            );
            self.add(at, LintKind::EnforcedUnderAudit, text);
        }
    }

    fn of_apparmor_path(&mut self, at: &str, section: &str, rule: &PathRule, effect: Effect) {
        use LintKind::NeverMatches;
        let program = section == "spec.process";
        let allows = effect == Effect::Allow;
        let named = rule
            .execname
            .as_deref()
            .is_some_and(|name| !name.is_empty());
        if program && allows && rule.from_source.is_empty() {
            if named {
                let text = "an execname that allows becomes a comment in the profile";
                self.add(at, NeverMatches, text);
            } else if rule.path.contains(['[', '*', '+', '?', '$', '|']) {
                let text =
                    "a path with one of [ * + ? $ | that allows becomes a comment in the profile";
                self.add(at, NeverMatches, text);
            }
        }
        if !rule.allowed_args.is_empty() {
            self.add(at, NeverMatches, "AppArmor's enforcer ignores allowedArgs");
        }
        if rule.pts.is_some() {
            self.add(at, NeverMatches, "AppArmor's enforcer ignores pts");
        }
        self.of_apparmor_text(at, &rule.path);
    }

    fn of_apparmor_directory(&mut self, at: &str, section: &str, rule: &Directory, effect: Effect) {
        use LintKind::{MatchesMore, NeverMatches};
        let allows = section == "spec.process" && effect == Effect::Allow;
        if allows && !rule.from_source.is_empty() {
            let text = "a directory that allows programs of a source has no line in the profile";
            self.add(at, NeverMatches, text);
        } else if allows && rule.owner_only == Some(true) {
            let text = "the line that allows a directory's programs is not for the owner alone";
            self.add(at, MatchesMore, text);
        }
        if rule.pts.is_some() {
            self.add(at, NeverMatches, "AppArmor's enforcer ignores pts");
        }
        self.of_apparmor_text(at, &rule.dir);
    }

    fn of_apparmor_text(&mut self, at: &str, text: &str) {
        if text.contains([' ', '\t', '\n', '\r', '"', '#', '(', ')', '=']) {
            let text =
                "the path is not quoted in the profile, so AppArmor cannot read the whole profile";
            self.add(at, LintKind::NeverMatches, text);
        }
    }

    /// A list of what files may be used.
    fn of_file_list(&mut self, policy: &Policy, enforcer: Enforcer) {
        let spec = &policy.spec;
        let section = spec.file.action.as_ref();
        let allowed_paths: Vec<&PathRule> = spec
            .file
            .match_paths
            .iter()
            .filter(|rule| spec.effect(section, rule.action.as_ref()) == Effect::Allow)
            .collect();
        let allowed_dirs: Vec<&Directory> = spec
            .file
            .match_directories
            .iter()
            .filter(|rule| spec.effect(section, rule.action.as_ref()) == Effect::Allow)
            .collect();
        if enforcer == Enforcer::AppArmor || allowed_paths.is_empty() && allowed_dirs.is_empty() {
            return;
        }
        let everything = |dir: &&&Directory| dir.dir == "/" && dir.recursive == Some(true);
        let everything = allowed_dirs.iter().any(|dir| everything(&dir));
        let is_library = |path: &str| {
            LIBRARIES.iter().any(|dir| {
                path.strip_prefix(dir)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let holds_library = |dir: &Directory| {
            is_library(&dir.dir) || dir.recursive == Some(true) && dir.dir == "/usr/"
        };
        if !everything
            && !allowed_paths.iter().any(|rule| is_library(&rule.path))
            && !allowed_dirs.iter().any(|rule| holds_library(rule))
        {
            let text = "the files that are allowed name no loader and no library, and under block a program that needs one does not start";
            self.add("spec.file", LintKind::Lacks, text);
        }
        let writes = |read_only: Option<bool>| read_only != Some(true);
        let writes = allowed_paths.iter().any(|rule| writes(rule.read_only))
            || allowed_dirs.iter().any(|rule| writes(rule.read_only));
        let reaches_host = everything
            || allowed_dirs.iter().any(|rule| {
                rule.recursive == Some(true) && "/var/lib/containerd/".starts_with(&rule.dir)
            });
        if enforcer == Enforcer::Bpf && writes && !reaches_host {
            let text = "on an overlay root under block, the first change of a file of the image is refused: it is copied up below the host's /var/lib/containerd/, which no rule allows";
            self.add("spec.file", LintKind::CopyUp, text);
        }
    }

    fn of_budget(&mut self, policies: &[&'p Policy]) {
        let postures = Postures::all(Posture::Block);
        let budget = Enforced::new(Enforcer::Bpf, policies, postures).budget();
        if budget.fits() {
            return;
        }
        let mut text = format!(
            "the policies want {} keys, and a container's rule map has room for {}: {} are lost",
            budget.wanted,
            budget.limit.unwrap_or_default(),
            budget.dropped.len()
        );
        for class in &budget.unrestricted {
            text.push_str(&format!(
                "; the posture of {class} is among them, so {class} are not restricted at all"
            ));
        }
        let names: BTreeSet<&str> = policies
            .iter()
            .map(|policy| policy.metadata.name.as_str())
            .collect();
        for name in names {
            self.policy = name;
            self.add("spec", LintKind::OverBudget, text.clone());
        }
    }
}

/// Rules by the key that they write.
type Keyed<T> = BTreeMap<(bool, String, String), T>;

#[cfg(test)]
mod tests;

//! What KubeArmor's own BPF-LSM programs answered, and a reader of the policy would not expect.
//!
//! Each names the verdicts that show it (learner/tests/meaning/verdicts.jsonl.gz).

use super::{LintKind, Lints};
use crate::policy::Policy;
use crate::policy::crd::MAX_DEPTH;
use crate::policy::document::{Capability, Effect};

/// A rule, as far as the traps are about it.
struct Rule<'p> {
    at: String,
    class: &'static str,
    path: &'p str,
    effect: Effect,
    scoped: bool,
    read_only: bool,
    owner_only: bool,
    terminal: bool,
}

fn rules(policy: &Policy) -> Vec<Rule<'_>> {
    let spec = &policy.spec;
    let (process, file) = (&spec.process, &spec.file);
    let mut rules = Vec::new();
    for (class, paths, directories, action) in [
        (
            "process",
            &process.match_paths,
            &process.match_directories,
            process.action.as_ref(),
        ),
        (
            "file",
            &file.match_paths,
            &file.match_directories,
            file.action.as_ref(),
        ),
    ] {
        let paths = paths.iter().enumerate().map(|(index, rule)| Rule {
            at: format!("spec.{class}.matchPaths[{index}]"),
            class,
            path: &rule.path,
            effect: spec.effect(action, rule.action.as_ref()),
            scoped: !rule.from_source.is_empty(),
            read_only: rule.read_only == Some(true),
            owner_only: rule.owner_only == Some(true),
            terminal: rule.pts == Some(false),
        });
        let directories = directories.iter().enumerate().map(|(index, rule)| Rule {
            at: format!("spec.{class}.matchDirectories[{index}]"),
            class,
            path: "",
            effect: spec.effect(action, rule.action.as_ref()),
            scoped: !rule.from_source.is_empty(),
            read_only: rule.read_only == Some(true),
            owner_only: rule.owner_only == Some(true),
            terminal: rule.pts == Some(false),
        });
        rules.extend(paths.chain(directories));
    }
    rules
}

pub(super) fn lint(policy: &Policy, lints: &mut Lints<'_>) {
    use LintKind::{CopyUp, EnforcedUnderAudit, MatchesMore, NeverMatches};
    let rules = rules(policy);
    let has = |class, effect| {
        let mut of_class = rules.iter().filter(move |rule| rule.class == class);
        of_class.any(|rule| rule.effect == effect)
    };
    for rule in &rules {
        // exact-005, -006
        if rule.effect == Effect::Audit && has(rule.class, Effect::Allow) {
            let text = "rules that audit are not in the kernel: beside rules that allow, what it names is refused under block";
            lints.add(&rule.at, NeverMatches, text);
        }
        // pts-*
        if rule.terminal && rule.effect == Effect::Allow {
            let text = "pts: false refuses from a terminal under the audit posture too, and does not only report";
            lints.add(&rule.at, EnforcedUnderAudit, text);
        }
        // depth-016, -017
        if rule.path.split('/').skip(1).count() == MAX_DEPTH {
            let text = format!(
                "the last {MAX_DEPTH} components are all that is compared, so every deeper path that ends so matches too"
            );
            lints.add(&rule.at, MatchesMore, text);
        }
        // posture-key-collision-001, -003
        let name = rule.path.rsplit('/').next();
        if rule.class == "process" && matches!(name, Some("e" | "f")) {
            let text = "a program of this name is found under KubeArmor's own posture key, whatever the rules say";
            lints.add(&rule.at, MatchesMore, text);
        }
    }
    for class in ["process", "file"] {
        let section = format!("spec.{class}");
        let mut of_class = rules.iter().filter(|rule| rule.class == class);
        // memfd-source-002
        let blocks = |rule: &Rule<'_>| rule.effect == Effect::Block && !rule.scoped;
        if of_class.clone().any(blocks) && has(class, Effect::Allow) {
            let text = "a program that runs from no file (memfd) is not held to the rules that block for all, since others allow";
            lints.add(&section, NeverMatches, text);
        }
        // owneronly-*, on an overlay
        let allowed = |rule: &Rule<'_>| rule.effect == Effect::Allow;
        if of_class
            .clone()
            .any(|rule| allowed(rule) && rule.owner_only)
        {
            let text = "on an overlay root ownerOnly refuses owners other than root";
            lints.add(&section, CopyUp, text);
        }
        // readonly-001 to -004
        if class == "file" && of_class.any(|rule| allowed(rule) && rule.read_only) {
            let text = "readOnly stops writing and appending; it lets files be removed, renamed, linked, truncated, mapped for writing and their modes be changed";
            lints.add(&section, MatchesMore, text);
        }
    }
    // capabilities-005 and -007, on an overlay
    let capabilities = &policy.spec.capabilities;
    let allows = |rule: &Capability| {
        policy
            .spec
            .effect(capabilities.action.as_ref(), rule.action.as_ref())
            == Effect::Allow
    };
    if capabilities.match_capabilities.iter().any(allows) {
        let text = "an overlay root asks for capabilities in the program's name: reading and executing are reported under audit, and what is allowed may be refused under block";
        lints.add("spec.capabilities", CopyUp, text);
    }
    // network-*
    for (index, rule) in policy.spec.network.match_protocols.iter().enumerate() {
        let kind = match rule.protocol.to_ascii_lowercase().as_str() {
            "tcp" => "stream",
            "udp" => "datagram",
            _ => continue,
        };
        let text = format!(
            "{} is every {kind} socket without a protocol of its own, unix sockets too",
            rule.protocol.escape_debug()
        );
        let at = format!("spec.network.matchProtocols[{index}]");
        lints.add(&at, MatchesMore, text);
    }
}

//! Rules as the document that KubeArmor reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::generalize::{Chosen, RuleClass, Target};
use crate::path::AbsPath;
use crate::policy::{
    Action, Directory, FileRules, PathRule, Pattern, ProcessRules, Selector, Source, Spec,
};
use crate::workload::Workload;

/// The rules in the order of their paths; those that differ only by program are one.
pub(super) fn spec(workload: &Workload, selector: Selector, rules: &[Chosen]) -> Spec {
    let mut same: BTreeMap<(RuleClass, &Target, bool, bool), BTreeSet<&AbsPath>> = BTreeMap::new();
    for chosen in rules {
        let rule = &chosen.rule;
        let key = (
            rule.class,
            &rule.target,
            rule.source.is_some(),
            chosen.read_only,
        );
        same.entry(key).or_default().extend(&rule.source);
    }
    let mut process = ProcessRules::default();
    let mut file = FileRules::default();
    for ((class, target, _, read_only), sources) in same {
        let from_source: Vec<Source> = sources
            .into_iter()
            .map(|path| Source { path: text(path) })
            .collect();
        let read_only = read_only.then_some(true);
        match target {
            Target::Path(path) => {
                let rule = PathRule {
                    path: text(path),
                    read_only,
                    from_source,
                    ..PathRule::default()
                };
                match class {
                    RuleClass::Process => process.match_paths.push(rule),
                    RuleClass::File => file.match_paths.push(rule),
                }
            }
            Target::Directory { dir, recursive } => {
                let rule = Directory {
                    dir: text(dir),
                    recursive: recursive.then_some(true),
                    read_only,
                    from_source,
                    ..Directory::default()
                };
                match class {
                    RuleClass::Process => process.match_directories.push(rule),
                    RuleClass::File => file.match_directories.push(rule),
                }
            }
            Target::Pattern(shape) => {
                let rule = Pattern {
                    pattern: shape.glob(),
                    read_only,
                    ..Pattern::default()
                };
                match class {
                    RuleClass::Process => process.match_patterns.push(rule),
                    RuleClass::File => file.match_patterns.push(rule),
                }
            }
        }
    }
    Spec {
        severity: Some(1),
        tags: vec!["learner".to_owned(), "allowlist".to_owned()],
        message: Some(format!("{workload} did what it was not seen to do")),
        selector,
        process,
        file,
        action: Some(Action::Allow),
        ..Spec::default()
    }
}

/// Rules are only made of paths that are text.
fn text(path: &AbsPath) -> String {
    path.as_str().unwrap_or_default().to_owned()
}

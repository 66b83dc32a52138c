//! The evaluator against a plain reading of the rules: no keys, no maps, no masks; every rule is
//! looked at for every operation.
//!
//! What depends on how KubeArmor keeps its rules is left out of the random policies: names of
//! programs, arguments, terminals, full maps, and directories within directories of other flags.

use learner::behavior::{Access, Op};
use learner::path::AbsPath;
use learner::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures, Verdict};
use learner::policy::{
    Action, Directory, FileRules, Metadata, PathRule, Policy, ProcessRules, Source, Spec,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Rule {
    program: bool,
    /// A directory ends in a slash.
    at: String,
    recursive: bool,
    read_only: bool,
    owner_only: bool,
    source: Option<String>,
    allow: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    op: Op,
    path: String,
    source: String,
    owner: bool,
}

/// A few components, so that rules and operations meet.
fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]",
        1 => "[ab]{28}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(component(), 1..5)
        .prop_map(|parts| parts.iter().map(|part| format!("/{part}")).collect())
}

fn source() -> impl Strategy<Value = String> {
    prop_oneof![Just("/bin/x".to_owned()), Just("/bin/y".to_owned())]
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        any::<bool>(),
        (path(), any::<bool>()),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, source()),
        any::<bool>(),
    )
        .prop_map(
            |(program, (path, directory), recursive, read_only, owner_only, source, allow)| Rule {
                program,
                at: if directory { path + "/" } else { path },
                recursive,
                read_only: read_only && !program,
                owner_only,
                source,
                allow,
            },
        )
}

fn asked() -> impl Strategy<Value = Asked> {
    let op = prop_oneof![
        Just(Op::Exec),
        Just(Op::Open(Access::Read)),
        Just(Op::Open(Access::Write)),
        Just(Op::Unlink),
    ];
    (op, path(), source(), any::<bool>()).prop_map(|(op, path, source, owner)| Asked {
        op,
        path,
        source,
        owner,
    })
}

fn policy(rules: &[Rule]) -> Policy {
    let mut spec = Spec::default();
    for rule in rules {
        let from_source: Vec<Source> = rule
            .source
            .iter()
            .map(|path| Source { path: path.clone() })
            .collect();
        let action = Some(if rule.allow {
            Action::Allow
        } else {
            Action::Block
        });
        let flags = (
            rule.read_only.then_some(true),
            rule.owner_only.then_some(true),
        );
        let ProcessRules {
            match_paths: program_paths,
            match_directories: program_directories,
            ..
        } = &mut spec.process;
        let FileRules {
            match_paths,
            match_directories,
            ..
        } = &mut spec.file;
        let (paths, directories) = if rule.program {
            (program_paths, program_directories)
        } else {
            (match_paths, match_directories)
        };
        if rule.at.ends_with('/') {
            directories.push(Directory {
                dir: rule.at.clone(),
                recursive: Some(rule.recursive),
                read_only: flags.0,
                owner_only: flags.1,
                from_source,
                action,
                ..Directory::default()
            });
        } else {
            paths.push(PathRule {
                path: rule.at.clone(),
                read_only: flags.0,
                owner_only: flags.1,
                from_source,
                action,
                ..PathRule::default()
            });
        }
    }
    Policy::new(Metadata::default(), spec)
}

/// The rule that decides: those for the source before those for all, a path before a directory,
/// and of directories the deepest recursive one, or else that of the path's own parent.
fn deciding<'r>(rules: &'r [Rule], program: bool, asked: &Asked) -> Option<&'r Rule> {
    for source in [Some(&asked.source), None] {
        let mine: Vec<&Rule> = rules
            .iter()
            .filter(|rule| rule.program == program && rule.source.as_ref() == source)
            .collect();
        // The last rule for a path wins, and rules for directories come after those for paths; a
        // directory is a path too.
        let (directories, paths): (Vec<&Rule>, Vec<&Rule>) =
            mine.iter().partition(|rule| rule.at.ends_with('/'));
        let named = |rule: &&&Rule| rule.at.trim_end_matches('/') == asked.path;
        let exact = directories
            .iter()
            .rfind(named)
            .or_else(|| paths.iter().rfind(named));
        if let Some(rule) = exact {
            return Some(rule);
        }
        // Only slashes among the first 64 bytes are looked at.
        let seen = |rule: &&&Rule| rule.at.len() <= 64 && asked.path.starts_with(&rule.at);
        let above: Vec<&Rule> = directories.iter().filter(seen).copied().collect();
        let last = |dir: &str| above.iter().rfind(|rule| rule.at == dir).copied();
        let recursive = above
            .iter()
            .filter(|rule| last(&rule.at).is_some_and(|last| last.recursive))
            .max_by_key(|rule| rule.at.len());
        if let Some(rule) = recursive {
            return last(&rule.at);
        }
        let within = &asked.path[..asked.path.len().min(64)];
        let parent = within.rfind('/')?;
        if let Some(rule) = last(&asked.path[..=parent]) {
            return Some(rule);
        }
    }
    None
}

/// Denied, and reported.
fn class(rules: &[Rule], program: bool, block: bool, asked: &Asked) -> (bool, bool) {
    let restricted = rules
        .iter()
        .any(|rule| rule.program == program && rule.allow);
    let Some(rule) = deciding(rules, program, asked) else {
        return (restricted && block, restricted);
    };
    let writes = asked.op == Op::Open(Access::Write);
    let opens = matches!(asked.op, Op::Open(_) | Op::Exec);
    if rule.owner_only {
        let denied = !asked.owner || !program && rule.read_only && writes;
        return (denied, denied);
    }
    let denied = if !program && rule.read_only && opens {
        writes
    } else {
        !rule.allow
    };
    (denied, denied)
}

fn naive(rules: &[Rule], block: bool, asked: &Asked) -> (bool, bool) {
    let (denied, reported) = class(rules, false, block, asked);
    if denied || asked.op != Op::Exec {
        return (denied, reported);
    }
    let (denied, also) = class(rules, true, block, asked);
    (denied, reported || also)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(4_000)
    })]
    #[test]
    fn the_evaluator_agrees_with_a_plain_reading(
        rules in prop::collection::vec(rule(), 1..8),
        asked in prop::collection::vec(asked(), 1..12),
        block in any::<bool>(),
    ) {
        let postures = Postures::all(if block { Posture::Block } else { Posture::Audit });
        let enforced = Enforced::new(Enforcer::Bpf, &[policy(&rules)], postures);
        prop_assert!(enforced.budget().fits());
        for asked in &asked {
            let path = AbsPath::try_from(asked.path.as_str()).expect("absolute");
            let source = AbsPath::try_from(asked.source.as_str()).expect("absolute");
            let judgement = enforced.judge(&Operation {
                source: Some(&source),
                owner: Some(asked.owner),
                tty: Some(false),
                ..Operation::new(&asked.op, &path)
            });
            let (denied, reported) = naive(&rules, block, asked);
            let expected = if denied { Verdict::Denied } else { Verdict::Allowed };
            prop_assert_eq!(
                (judgement.verdict, judgement.alert),
                (expected, reported),
                "{:?}: {}", asked, judgement
            );
        }
    }
}

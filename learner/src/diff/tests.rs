use proptest::prelude::*;

use super::*;
use crate::behavior::Op;
use crate::policy::meaning::{Enforced, Operation, Posture, Postures};
use crate::policy::{
    Action, Capability, Directory, FileRules, PathRule, ProcessRules, Protocol, Source, from_yaml,
};

fn policies(text: &str) -> Vec<Policy> {
    from_yaml(text).expect("policies")
}

fn policy(name: &str, tags: &str, spec: &str) -> String {
    format!(
        "---\nkind: KubeArmorPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{tags: [{tags}], selector: {{matchLabels: {{app: web}}}}, {spec}}}\n"
    )
}

fn between(applied: &str, suggested: &str) -> Diff {
    let (applied, suggested) = (policies(applied), policies(suggested));
    diff(&applied, &suggested, &Evidence::default(), Enforcer::Bpf)
}

fn only(diff: &Diff) -> &Container {
    assert_eq!(diff.containers.len(), 1, "{diff:?}");
    &diff.containers[0]
}

fn said(changes: &[Deeds], wanted: Change) -> Vec<String> {
    let groups = changes.iter().filter(|deeds| deeds.change == wanted);
    groups
        .flat_map(|deeds| &deeds.deeds)
        .map(|(done, _)| {
            let access = done.access.map_or("", Access::as_str);
            let object = done.object.as_ref().map(ToString::to_string);
            format!("{} {access} {}", done.op, object.unwrap_or_default())
        })
        .collect()
}

fn meanings(container: &Container) -> Vec<(String, Meaning)> {
    let rules = container.comparison.rules.iter();
    rules
        .map(|rule| (rule.target.clone(), rule.meaning))
        .collect()
}

#[test]
fn a_directory_that_becomes_recursive_is_wider_and_shows_where() {
    let narrow = policy(
        "p",
        "",
        "file: {matchDirectories: [{dir: /etc/}]}, action: Allow",
    );
    let wide = narrow.replace("/etc/}", "/etc/, recursive: true}");
    let diff = between(&narrow, &wide);
    let container = only(&diff);
    assert_eq!(container.name, "shop: app=web");
    assert_eq!(meanings(container), [("/etc/".to_owned(), Meaning::Wider)]);
    assert_eq!(
        said(&container.comparison.changes, Change::Allowed),
        [
            "exec  /etc/*/*",
            "open r /etc/*/*",
            "open w /etc/*/*",
            "unlink  /etc/*/*"
        ]
    );
    assert_eq!(container.comparison.changes.len(), 1);
}

#[test]
fn the_same_said_otherwise_is_the_same() {
    let one = policy(
        "p",
        "",
        "file: {matchPaths: [{path: /etc/a}, {path: /etc/b}]}, action: Allow",
    );
    let other = policy(
        "p",
        "x",
        "severity: 3, message: hello, \
         file: {action: Allow, matchPaths: [{path: /etc/b}, {path: /etc/a, action: Allow}]}",
    );
    let diff = between(&one, &other);
    assert!(diff.is_same(), "{diff:?}");
    assert!(
        meanings(only(&diff))
            .iter()
            .all(|(_, meaning)| *meaning == Meaning::Equal)
    );
}

#[test]
fn a_rule_that_another_covers_is_equal() {
    let spec = "file: {matchDirectories: [{dir: /etc/, recursive: true}]}, action: Allow";
    let more = "file: {matchPaths: [{path: /etc/ssl/key}], \
                matchDirectories: [{dir: /etc/, recursive: true}]}, action: Allow";
    let diff = between(&policy("p", "", spec), &policy("p", "", more));
    assert!(diff.is_same(), "{diff:?}");
    let rules = &only(&diff).comparison.rules;
    let rule = rules
        .iter()
        .find(|rule| rule.target == "/etc/ssl/key")
        .expect("the rule");
    assert!(rule.before.is_empty() && rule.meaning == Meaning::Equal);
}

#[test]
fn what_one_side_allows_and_the_other_blocks_is_in_conflict() {
    let allow = policy(
        "p",
        "",
        "file: {matchPaths: [{path: /etc/a}]}, action: Allow",
    );
    let block = allow.replace("Allow", "Block");
    assert_eq!(
        meanings(only(&between(&allow, &block))),
        [("/etc/a".to_owned(), Meaning::Conflicting)]
    );
}

#[test]
fn an_allow_from_elsewhere_that_opens_again_is_named_and_stays() {
    let ours = policy(
        "web-learned",
        "learner",
        "file: {matchPaths: [{path: /etc/a}]}, action: Allow",
    );
    let foreign = policy(
        "hardening",
        "",
        "file: {matchDirectories: [{dir: /etc/, recursive: true}]}, action: Allow",
    );
    let diff = between(&format!("{ours}{foreign}"), &ours);
    let container = only(&diff);
    assert!(container.comparison.is_same(), "{container:?}");
    assert!(!diff.is_same());
    let [elsewhere] = &container.elsewhere[..] else {
        panic!("{container:?}");
    };
    assert_eq!(elsewhere.policy.to_string(), "shop/hardening");
    let opened = said(&elsewhere.changes, Change::Allowed);
    assert!(opened.contains(&"open r /etc/*".to_owned()), "{opened:?}");
    assert!(elsewhere.changes[0].after.contains("of hardening"));
    assert_eq!(container.replaced, [policies(&ours)[0].identity()]);
}

#[test]
fn what_learner_recommended_before_under_another_name_is_replaced() {
    let old = policy(
        "old-learned",
        "learner",
        "file: {matchPaths: [{path: /etc/a}]}, action: Allow",
    );
    let new = policy(
        "new-learned",
        "learner",
        "file: {matchPaths: [{path: /etc/b}]}, action: Allow",
    );
    let diff = between(&old, &new);
    let container = only(&diff);
    assert!(container.elsewhere.is_empty());
    assert_eq!(said(&container.comparison.changes, Change::Denied).len(), 4);
    assert_eq!(
        said(&container.comparison.changes, Change::Allowed).len(),
        4
    );
}

#[test]
fn where_nothing_is_suggested_what_is_applied_stays() {
    let ours = policy(
        "web-learned",
        "learner",
        "file: {matchPaths: [{path: /etc/a}]}, action: Allow",
    );
    let other = ours.replace("web", "db");
    let diff = between(&format!("{ours}{other}"), &ours);
    assert!(diff.is_same() && diff.containers.len() == 2, "{diff:?}");
}

#[test]
fn what_no_operation_shows_is_still_different() {
    let block = policy(
        "p",
        "",
        "process: {matchPaths: [{path: /bin/a, allowedArgs: [-a]}]}",
    );
    let diff = between(&block, &block.replace("-a", "-b"));
    assert_eq!(
        only(&diff).comparison.unjudged,
        ["the arguments of programs: /bin/a"]
    );
    let audit = policy(
        "p",
        "",
        "file: {matchPaths: [{path: /bin/a}]}, action: Audit",
    );
    let diff = between(&audit, &audit.replace("/bin/a", "/bin/b"));
    assert_eq!(only(&diff).comparison.unjudged.len(), 2);
    assert!(!diff.is_same());
}

#[test]
fn host_policies_are_named_and_not_compared() {
    let host = "kind: KubeArmorHostPolicy\nmetadata: {name: h}\n\
                spec: {nodeSelector: {matchLabels: {a: b}}, file: {matchPaths: [{path: /etc/a}]}}\n";
    let diff = between(host, host);
    assert!(diff.containers.is_empty());
    assert_eq!(diff.for_hosts.len(), 1);
}

fn action() -> impl Strategy<Value = Option<Action>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some(Action::Allow)),
        1 => Just(Some(Action::Block)),
        1 => Just(Some(Action::Audit)),
    ]
}

fn flag() -> impl Strategy<Value = Option<bool>> {
    prop_oneof![4 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))]
}

fn sources() -> impl Strategy<Value = Vec<Source>> {
    let source = prop_oneof![Just("/a/b"), Just("/s")];
    prop::collection::vec(
        source.prop_map(|path| Source {
            path: path.to_owned(),
        }),
        0..2,
    )
}

fn path_rule() -> impl Strategy<Value = PathRule> {
    let path = prop_oneof!["(/[ab]){1,3}", Just(format!("/{}", "l".repeat(198)))];
    (path, sources(), flag(), flag(), action()).prop_map(
        |(path, from_source, flag, pts, action)| PathRule {
            path,
            from_source,
            owner_only: flag,
            pts,
            action,
            ..PathRule::default()
        },
    )
}

fn directory() -> impl Strategy<Value = Directory> {
    let dir = "(/[ab]){0,3}/";
    (dir, sources(), flag(), flag(), flag(), action()).prop_map(
        |(dir, from_source, recursive, owner_only, read_only, action)| Directory {
            dir,
            from_source,
            recursive,
            owner_only,
            read_only,
            action,
            ..Directory::default()
        },
    )
}

prop_compose! {
    fn any_policy()(
        programs in prop::collection::vec(path_rule(), 0..3),
        files in prop::collection::vec(path_rule(), 0..4),
        read_only in flag(),
        directories in prop::collection::vec(directory(), 0..4),
        folders in prop::collection::vec(directory(), 0..2),
        protocol in prop::option::of(("tcp|udp|icmp|all", sources(), action())),
        capability in prop::option::of(("chown|kill", sources(), action())),
        action in action(),
    ) -> Policy {
        let mut policy = policies(&policy("p", "", "severity: 1")).remove(0);
        let mut files = files;
        for rule in &mut files {
            rule.read_only = read_only;
        }
        let mut folders = folders;
        for rule in &mut folders {
            rule.read_only = None;
        }
        policy.spec.process = ProcessRules {
            match_paths: programs,
            match_directories: folders,
            ..ProcessRules::default()
        };
        policy.spec.file = FileRules {
            match_paths: files,
            match_directories: directories,
            ..FileRules::default()
        };
        policy.spec.network.match_protocols = protocol
            .map(|(protocol, from_source, action)| Protocol {
                protocol,
                from_source,
                action,
                ..Protocol::default()
            })
            .into_iter()
            .collect();
        policy.spec.capabilities.match_capabilities = capability
            .map(|(capability, from_source, action)| Capability {
                capability,
                from_source,
                action,
                ..Capability::default()
            })
            .into_iter()
            .collect();
        policy.spec.action = action;
        policy
    }
}

fn enforcer() -> impl Strategy<Value = Enforcer> {
    prop_oneof![3 => Just(Enforcer::Bpf), 1 => Just(Enforcer::AppArmor)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_policy_means_what_it_means(policy in any_policy(), enforcer in enforcer()) {
        let all = [policy];
        let diff = diff(&all, &all, &Evidence::default(), enforcer);
        prop_assert!(diff.is_same(), "{:?}", diff);
    }

    #[test]
    fn swapped_sides_give_the_inverse(
        a in any_policy(),
        b in any_policy(),
        enforcer in enforcer(),
    ) {
        let seen = Seen::new();
        let there = compare(&[&a], &[&b], &seen, enforcer);
        let back = compare(&[&b], &[&a], &seen, enforcer);
        prop_assert_eq!(back, there.inverse());
    }

    /// The probes are enough: where no difference is found between a policy and one that is changed
    /// at a single place, no operation has another verdict.
    #[test]
    fn whatever_differs_is_found(
        a in any_policy(),
        edit in any_edit(),
        enforcer in enforcer(),
    ) {
        let mut b = a.clone();
        edit.make(&mut b);
        let same = compare(&[&a], &[&b], &Seen::new(), enforcer).changes.is_empty();
        if same {
            let enforced = |policy: &Policy| {
                Enforced::new(enforcer, &[policy], Postures::all(Posture::Block))
            };
            let sides = (enforced(&a), enforced(&b));
            let is_directory = |path: &AbsPath| {
                let programs = [&a, &b].map(|policy| &policy.spec.process.match_directories);
                let files = [&a, &b].map(|policy| &policy.spec.file.match_directories);
                let mut rules = programs.into_iter().chain(files).flatten();
                rules.any(|rule| rule.dir.trim_end_matches('/').as_bytes() == path.as_bytes())
            };
            for_each_operation(|operation| {
                // The rule for a directory names it too, and no directory is executed.
                if *operation.op == Op::Exec && is_directory(operation.path) {
                    return Ok(());
                }
                let verdicts = (sides.0.judge(operation).verdict, sides.1.judge(operation).verdict);
                prop_assert_eq!(verdicts.0, verdicts.1, "{:?}", operation);
                Ok(())
            })?;
        }
    }
}

/// One change of one rule.
#[derive(Clone, Debug)]
struct Edit {
    rule: usize,
    change: usize,
}

fn any_edit() -> impl Strategy<Value = Edit> {
    (0..8usize, 0..7usize).prop_map(|(rule, change)| Edit { rule, change })
}

impl Edit {
    fn make(&self, policy: &mut Policy) {
        let flip = |flag: &mut Option<bool>| {
            *flag = if *flag == Some(true) {
                None
            } else {
                Some(true)
            };
        };
        let turn = |action: &mut Option<Action>| {
            *action = match action {
                Some(Action::Allow) => Some(Action::Block),
                _ => Some(Action::Allow),
            };
        };
        let source = |list: &mut Vec<Source>| {
            if list.pop().is_none() {
                list.push(Source {
                    path: "/s".to_owned(),
                });
            }
        };
        let spec = &mut policy.spec;
        let paths = spec.file.match_paths.len() + spec.process.match_paths.len();
        if self.rule.is_multiple_of(2) && paths > 0 {
            let files = spec.file.match_paths.len();
            let index = self.rule % paths;
            let (list, index) = match index.checked_sub(files) {
                None => (&mut spec.file.match_paths, index),
                Some(index) => (&mut spec.process.match_paths, index),
            };
            let rule = &mut list[index];
            match self.change {
                0 => flip(&mut rule.owner_only),
                1 if index < files => flip(&mut rule.read_only),
                1 | 2 => turn(&mut rule.action),
                3 => source(&mut rule.from_source),
                4 => rule.path.push_str("/x"),
                5 => {
                    rule.pts = if rule.pts == Some(false) {
                        None
                    } else {
                        Some(false)
                    }
                }
                _ => {
                    list.remove(index);
                }
            }
            return;
        }
        let list = if spec.file.match_directories.is_empty() || self.rule == 7 {
            &mut spec.process.match_directories
        } else {
            &mut spec.file.match_directories
        };
        if list.is_empty() {
            return turn(&mut spec.action);
        }
        let index = self.rule % list.len();
        let rule = &mut list[index];
        match self.change {
            0 => flip(&mut rule.owner_only),
            1 | 5 => flip(&mut rule.recursive),
            2 => turn(&mut rule.action),
            3 => source(&mut rule.from_source),
            4 => rule.dir.push_str("x/"),
            _ => {
                list.remove(index);
            }
        }
    }
}

/// Whatever can be done to paths of up to four components, by named programs and by another.
fn for_each_operation(
    mut see: impl FnMut(&Operation<'_>) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let mut paths: Vec<String> = vec![
        format!("/{}", "l".repeat(198)),
        format!("/{}", "l".repeat(199)),
    ];
    let mut level = vec![String::new()];
    for _ in 0..4 {
        level = level
            .iter()
            .flat_map(|parent| ["a", "b", "x"].map(|name| format!("{parent}/{name}")))
            .collect();
        paths.extend(level.iter().cloned());
    }
    let ops = [
        Op::Exec,
        Op::Open(Access::Read),
        Op::Open(Access::ReadWrite),
        Op::Mkdir,
        Op::Truncate,
    ];
    let sources = ["/a/b", "/s", "/other"].map(|path| AbsPath::try_from(path).expect("a path"));
    for path in &paths {
        let directory = AbsPath::try_from(format!("{path}/").as_str()).expect("a path");
        let path = AbsPath::try_from(path.as_str()).expect("a path");
        for source in &sources {
            for (owner, tty) in [(true, true), (true, false), (false, true), (false, false)] {
                let at = |op, path| Operation {
                    source: Some(source),
                    owner: Some(owner),
                    tty: Some(tty),
                    ..Operation::new(op, path)
                };
                for op in &ops {
                    see(&at(op, &path))?;
                }
                see(&at(&Op::Open(Access::Read), &directory))?;
            }
        }
    }
    Ok(())
}

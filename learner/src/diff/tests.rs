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

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Exec),
        Just(Op::Open(Access::Read)),
        Just(Op::Open(Access::Write)),
        Just(Op::Open(Access::ReadWrite)),
        Just(Op::Create),
        Just(Op::Mkdir),
        Just(Op::Unlink),
        Just(Op::Chmod),
        Just(Op::Truncate),
    ]
}

proptest! {
    #[test]
    fn a_policy_means_what_it_means(policy in any_policy()) {
        let all = [policy];
        let diff = diff(&all, &all, &Evidence::default(), Enforcer::Bpf);
        prop_assert!(diff.is_same(), "{:?}", diff);
    }

    #[test]
    fn swapped_sides_give_the_inverse(a in any_policy(), b in any_policy()) {
        let seen = Seen::new();
        let there = compare(&[&a], &[&b], &seen, Enforcer::Bpf);
        let back = compare(&[&b], &[&a], &seen, Enforcer::Bpf);
        prop_assert_eq!(back, there.inverse());
    }

    /// The probes are enough: no operation has another verdict without a difference being found.
    #[test]
    fn whatever_differs_is_found(
        a in any_policy(),
        b in any_policy(),
        path in "(/[abx]){1,5}|/l{198}|/l{199}",
        op in any_op(),
        source in prop_oneof![Just("/a/b"), Just("/s"), Just("/other")],
        owner in any::<bool>(),
        tty in any::<bool>(),
    ) {
        let path = AbsPath::try_from(path.as_str()).expect("a path");
        let source = AbsPath::try_from(source).expect("a path");
        let operation = Operation {
            source: Some(&source),
            owner: Some(owner),
            tty: Some(tty),
            ..Operation::new(&op, &path)
        };
        let verdict = |policy: &Policy| {
            let postures = Postures::all(Posture::Block);
            Enforced::new(Enforcer::Bpf, &[policy], postures).judge(&operation).verdict
        };
        if verdict(&a) != verdict(&b) {
            let comparison = compare(&[&a], &[&b], &Seen::new(), Enforcer::Bpf);
            prop_assert!(!comparison.is_same(), "{:?}", operation);
        }
    }
}

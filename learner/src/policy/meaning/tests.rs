use super::*;
use crate::behavior::{Access, Op};
use crate::policy::from_yaml;

fn enforced(spec: &str, posture: Posture) -> Enforced {
    let text = format!("kind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec:\n{spec}");
    let policies = from_yaml(&text).expect("a policy");
    Enforced::new(Enforcer::Bpf, &policies, Postures::all(posture))
}

fn path(text: &str) -> AbsPath {
    AbsPath::try_from(text).expect("absolute")
}

/// What is said of an operation by `/bin/app` without a terminal, by user 33, who owns the file.
fn said(enforced: &Enforced, op: &Op, at: &str) -> String {
    let (at, source) = (path(at), path("/bin/app"));
    let operation = Operation {
        source: Some(&source),
        uid: Some(33),
        owner: Some(true),
        tty: Some(false),
        ..Operation::new(op, &at)
    };
    enforced.judge(&operation).to_string()
}

/// What is said of an operation of which nothing else is known.
fn said_blind(enforced: &Enforced, op: &Op, at: &str) -> String {
    enforced.judge(&Operation::new(op, &path(at))).to_string()
}

const READ: Op = Op::Open(Access::Read);
const WRITE: Op = Op::Open(Access::Write);

#[test]
fn the_words_are_read_and_written() {
    for word in ["bpf", "apparmor", "learner"] {
        let enforcer: Enforcer = word.parse().expect("an enforcer");
        assert_eq!(enforcer.to_string(), word);
    }
    for word in ["audit", "block"] {
        let posture: Posture = word.parse().expect("a posture");
        assert_eq!(posture.to_string(), word);
    }
    let error = "selinux".parse::<Enforcer>().expect_err("no enforcer");
    assert_eq!(
        error.to_string(),
        "'selinux' is not one of: bpf, apparmor, learner"
    );
}

#[test]
fn every_judgement_says_what_decided() {
    let block = enforced(
        "  file:\n    matchPaths: [{path: /data/a}, {path: /data/r, readOnly: true}]\n    matchDirectories: [{dir: /srv/, fromSource: [{path: /bin/app}], action: Block}]\n  action: Allow\n",
        Posture::Block,
    );
    for (op, at, expected) in [
        (
            READ,
            "/data/a",
            "allowed: spec.file.matchPaths[0] of p allows it",
        ),
        (
            WRITE,
            "/data/r",
            "denied: spec.file.matchPaths[1] of p allows reading only",
        ),
        (
            READ,
            "/srv/x",
            "denied: spec.file.matchDirectories[0] of p for /bin/app blocks it",
        ),
        (
            READ,
            "/etc/x",
            "denied: no rule allows it, and the posture of files is block",
        ),
        (
            READ,
            "/",
            "allowed: KubeArmor cannot name the file and does nothing",
        ),
    ] {
        assert_eq!(said(&block, &op, at), expected);
    }
    let audit = enforced(
        "  process: {matchPaths: [{path: /bin/a}]}\n  action: Allow\n",
        Posture::Audit,
    );
    assert_eq!(
        said(&audit, &Op::Exec, "/bin/b"),
        "allowed and reported: no rule allows it, and the posture of programs is audit"
    );
    assert_eq!(
        said(&audit, &READ, "/bin/b"),
        "allowed: no policy restricts files"
    );
}

#[test]
fn what_is_not_known_matters_only_where_it_decides() {
    let spec = "  file:\n    matchPaths:\n    - {path: /data/a, fromSource: [{path: /bin/app}]}\n    - {path: /data/own, ownerOnly: true}\n    - {path: /data/tty, pts: false}\n    - {path: /data/all}\n  action: Allow\n";
    let block = enforced(spec, Posture::Block);
    let blind = |at| said_blind(&block, &READ, at);
    assert_eq!(
        blind("/data/a"),
        "unknown: which program acts decides and is not known"
    );
    assert_eq!(
        blind("/data/own"),
        "unknown: whether the actor owns the file decides and is not known"
    );
    assert_eq!(
        blind("/data/tty"),
        "unknown: whether the process has a terminal decides and is not known"
    );
    assert!(blind("/data/all").starts_with("allowed"));
    assert!(blind("/data/none").starts_with("denied"));
    // Under audit it is let through whoever acts.
    let audit = enforced(spec, Posture::Audit);
    assert!(said_blind(&audit, &READ, "/data/a").starts_with("allowed and reported"));
    // Arguments decide only where a rule blocks.
    let arguments = "  process: {matchPaths: [{path: /bin/t, allowedArgs: [x]}]}\n";
    let exec = |spec: &str| said(&enforced(spec, Posture::Block), &Op::Exec, "/bin/t");
    assert_eq!(
        exec(&format!("{arguments}  action: Block\n")),
        "unknown: with which arguments the program starts decides and is not known"
    );
    assert!(exec(&format!("{arguments}  action: Allow\n")).starts_with("allowed"));
}

#[test]
fn on_an_overlay_an_allowed_write_is_refused_with_the_copy_up_as_the_reason() {
    let spec = "  file: {matchPaths: [{path: /data/a}]}\n  action: Allow\n";
    let block = || enforced(spec, Posture::Block);
    assert!(said(&block(), &WRITE, "/data/a").starts_with("allowed"));
    let (at, source) = (path("/data/a"), path("/bin/app"));
    let on = |root, upper| {
        let operation = Operation {
            source: Some(&source),
            owner: Some(true),
            uid: Some(0),
            upper,
            ..Operation::new(&WRITE, &at)
        };
        block().on(root).judge(&operation).to_string()
    };
    let somewhere = || Root::Overlay {
        workdir: Some(path("/var/lib/containerd/42/work")),
    };
    assert_eq!(
        on(somewhere(), Some(false)),
        "denied: the file is copied up from the image under a path of the host, and no rule allows it, and the posture of files is block"
    );
    assert!(on(somewhere(), Some(true)).starts_with("allowed"));
    assert_eq!(
        on(somewhere(), None),
        "unknown: whether the file is from the image decides and is not known"
    );
    assert_eq!(
        on(Root::Overlay { workdir: None }, Some(false)),
        "unknown: where the overlay keeps its work directory decides and is not known"
    );
}

#[test]
fn the_same_policies_in_another_order_may_mean_something_else() {
    let parse = |spec: &str| {
        let text = format!("kind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec:\n{spec}");
        from_yaml(&text).expect("a policy").remove(0)
    };
    let allow = parse("  file: {matchPaths: [{path: /data/a}]}\n  action: Allow\n");
    let block = parse("  file: {matchPaths: [{path: /data/a}]}\n  action: Block\n");
    let read = |policies: [&Policy; 2]| {
        let postures = Postures::all(Posture::Block);
        let enforced = Enforced::new(Enforcer::Bpf, &policies, postures);
        said(&enforced, &READ, "/data/a")
    };
    assert!(read([&allow, &block]).starts_with("denied"));
    assert!(read([&block, &allow]).starts_with("allowed"));
}

fn learner(spec: &str) -> Enforced {
    let text = format!("kind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec:\n{spec}");
    let policies = from_yaml(&text).expect("a policy");
    Enforced::new(Enforcer::Learner, &policies, Postures::all(Posture::Block))
}

#[test]
fn learners_own_programs_have_none_of_kubearmors_limits() {
    let long = format!("/{}", "l".repeat(200));
    let deep: String = (1..=30).map(|n| format!("/{n}")).collect();
    let wide: String = format!("/{}/", "d".repeat(100));
    let many: String = (0..400).map(|n| format!("{{path: /many/{n}}}, ")).collect();
    let spec = format!(
        "  process: {{matchPaths: [{{path: /bin/app}}]}}\n  file: {{matchPaths: [{many}{{path: {long}}}, {{path: {deep}}}], matchDirectories: [{{dir: {wide}}}]}}\n  action: Allow\n"
    );
    let (ours, theirs) = (learner(&spec), enforced(&spec, Posture::Block));
    for at in [&long, &deep, &format!("{wide}file"), "/many/399"] {
        assert_eq!(
            ours.judge(&Operation::new(&READ, &path(at))).verdict,
            Verdict::Allowed,
            "{at}"
        );
        assert_eq!(
            theirs.judge(&Operation::new(&READ, &path(at))).verdict,
            Verdict::Denied,
            "{at}"
        );
    }
    // What KubeArmor cuts off or takes for its own key is nothing to ours.
    for (op, at) in [
        (READ, format!("{long}more")),
        (READ, format!("/0{deep}")),
        (Op::Exec, "/tmp/e".to_owned()),
    ] {
        let judgement = ours.judge(&Operation::new(&op, &path(&at)));
        assert_eq!(judgement.verdict, Verdict::Denied, "{at}: {judgement}");
    }
    assert!(ours.budget().fits());
    assert!(theirs.tree().is_none());
}

#[test]
fn rules_become_a_tree_of_names() {
    let ours = learner(
        "  process: {matchPaths: [{execname: tool}]}\n  file: {matchPaths: [{path: /a/b, readOnly: true}, {path: /c, fromSource: [{path: /bin/app}]}], matchDirectories: [{dir: /a/d/, recursive: true}]}\n  action: Allow\n",
    );
    let tree = ours.tree().expect("a tree");
    assert_eq!(
        (tree.process, tree.file),
        (Some(Posture::Block), Some(Posture::Block))
    );
    let branch =
        |node: NodeId, name: &str| tree.branches.get(&(node, name.as_bytes().into())).copied();
    let a = branch(NodeId::GLOBAL, "a").expect("/a");
    assert_eq!(a.own, TreeRule::default());
    assert_eq!(a.below, TreeRule::default(), "only on the way to /a/d/");
    let below = a.child.expect("names below it");
    assert!(branch(below, "b").is_some_and(|b| b.own.file != 0 && b.below.file == 0));
    assert!(branch(below, "d").is_some_and(|d| d.own.file != 0 && d.below.file != 0));
    assert!(branch(NodeId::NAMES, "tool").is_some_and(|tool| tool.own.process != 0));
    let bin = branch(NodeId::SOURCES, "bin")
        .and_then(|bin| bin.child)
        .expect("/bin");
    let start = branch(bin, "app")
        .and_then(|app| app.source)
        .expect("rules of its own");
    assert!(branch(start, "c").is_some_and(|c| c.own.file != 0));
    assert_eq!(branch(NodeId::GLOBAL, "c"), None);
    assert!(tree.has_sources());
    assert_eq!(ours.tree(), Some(tree), "the same rules give the same tree");
}

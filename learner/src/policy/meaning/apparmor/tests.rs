use crate::behavior::{Access, Op};
use crate::path::AbsPath;
use crate::policy::from_yaml;
use crate::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures};

fn enforced(spec: &str, posture: Posture) -> Enforced {
    let text = format!("kind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec:\n{spec}");
    let policies = from_yaml(&text).expect("a policy");
    Enforced::new(Enforcer::AppArmor, &policies, Postures::all(posture))
}

fn said(enforced: &Enforced, op: Op, at: &str, source: &str, owner: Option<bool>) -> String {
    let path = AbsPath::try_from(at).expect("absolute");
    let source = AbsPath::try_from(source).expect("absolute");
    let operation = Operation {
        source: Some(&source),
        owner,
        ..Operation::new(&op, &path)
    };
    enforced.judge(&operation).to_string()
}

fn open(enforced: &Enforced, access: Access, at: &str) -> String {
    said(enforced, Op::Open(access), at, "/bin/app", Some(true))
}

const NOT_LISTED: &str = "denied: no rule allows it, and the posture of files is block";

#[test]
fn an_allow_rule_for_programs_alone_takes_the_files_away_under_block() {
    let block = enforced(
        "  process: {matchPaths: [{path: /bin/a}]}\n  action: Allow\n",
        Posture::Block,
    );
    let exec = |at| said(&block, Op::Exec, at, "/bin/app", Some(true));
    assert_eq!(
        exec("/bin/a"),
        "allowed: spec.process.matchPaths[0] of p allows it"
    );
    assert!(exec("/bin/b").starts_with("denied: no rule allows it, and the posture of programs"));
    assert_eq!(open(&block, Access::Read, "/etc/passwd"), NOT_LISTED);
    // What is in every profile stays.
    let libc = "/lib/x86_64-linux-gnu/libc.so.6";
    assert_eq!(
        open(&block, Access::Read, libc),
        "allowed: it is in every AppArmor profile of KubeArmor"
    );
    assert_eq!(open(&block, Access::Write, libc), NOT_LISTED);

    let audit = enforced(
        "  process: {matchPaths: [{path: /bin/a}]}\n  action: Allow\n",
        Posture::Audit,
    );
    assert_eq!(
        open(&audit, Access::Read, "/etc/passwd"),
        "allowed: no policy restricts files"
    );
    assert_eq!(
        said(&audit, Op::Exec, "/bin/b", "/bin/app", Some(true)),
        "allowed and reported: no rule allows it, and the posture of programs is audit"
    );
}

#[test]
fn patterns_are_honoured_and_directories_have_their_slash() {
    let block = enforced(
        "  file:\n    matchPatterns: [{pattern: \"/var/log/*.log\"}]\n    matchDirectories: [{dir: /etc/}]\n  action: Allow\n",
        Posture::Block,
    );
    assert!(
        open(&block, Access::Write, "/var/log/a.log")
            .starts_with("allowed: spec.file.matchPatterns[0]")
    );
    assert_eq!(open(&block, Access::Write, "/var/log/a/b.log"), NOT_LISTED);
    assert!(
        open(&block, Access::Read, "/etc/").starts_with("allowed: spec.file.matchDirectories[0]")
    );
    assert!(open(&block, Access::Read, "/etc/passwd").starts_with("allowed"));
    assert_eq!(open(&block, Access::Read, "/etc/ssl/"), NOT_LISTED);
    assert_eq!(open(&block, Access::Read, "/etc"), NOT_LISTED);
}

#[test]
fn read_only_holds_under_block_and_not_under_audit() {
    let spec = "  file: {matchPaths: [{path: /data/a, readOnly: true}]}\n  action: Allow\n";
    let (block, audit) = (
        enforced(spec, Posture::Block),
        enforced(spec, Posture::Audit),
    );
    assert!(open(&block, Access::Read, "/data/a").starts_with("allowed"));
    assert_eq!(open(&block, Access::Write, "/data/a"), NOT_LISTED);
    assert!(open(&audit, Access::Write, "/data/a").starts_with("allowed and reported"));
}

#[test]
fn owner_only_is_for_the_owner() {
    let block = enforced(
        "  file: {matchPaths: [{path: /data/a, ownerOnly: true}]}\n  action: Block\n",
        Posture::Audit,
    );
    let read = |owner| said(&block, Op::Open(Access::Read), "/data/a", "/bin/app", owner);
    assert!(read(Some(true)).starts_with("allowed"));
    assert!(read(Some(false)).starts_with("denied"));
    assert_eq!(
        read(None),
        "unknown: whether the actor owns the file decides and is not known"
    );
}

#[test]
fn a_program_that_looks_like_a_pattern_becomes_a_comment() {
    let block = enforced(
        "  process: {matchPaths: [{path: \"/usr/bin/[\"}, {path: /usr/bin/g++}, {execname: ls}]}\n  action: Allow\n",
        Posture::Block,
    );
    for program in ["/usr/bin/g++", "/usr/bin/ls"] {
        assert!(said(&block, Op::Exec, program, "/bin/app", Some(true)).starts_with("denied"));
    }
}

#[test]
fn a_source_has_a_profile_of_its_own() {
    let block = enforced(
        "  file:\n    matchPaths:\n    - {path: /data/a, fromSource: [{path: /bin/app}]}\n    - {path: /data/b}\n  action: Allow\n",
        Posture::Block,
    );
    let read = |at, source| said(&block, Op::Open(Access::Read), at, source, Some(true));
    assert!(read("/data/a", "/bin/app").starts_with("allowed"));
    assert!(read("/data/b", "/bin/app").starts_with("allowed"));
    assert_eq!(read("/data/a", "/bin/other"), NOT_LISTED);
    let path = AbsPath::try_from("/data/a").expect("absolute");
    let op = Op::Open(Access::Read);
    let unknown = block.judge(&Operation::new(&op, &path));
    assert_eq!(
        unknown.to_string(),
        "unknown: which program acts decides and is not known"
    );
}

#[test]
fn allow_and_block_of_the_same_path_is_block() {
    let block = enforced(
        "  file: {matchPaths: [{path: /data/a, action: Block}, {path: /data/a}]}\n  action: Allow\n",
        Posture::Block,
    );
    assert!(open(&block, Access::Read, "/data/a").starts_with("denied: spec.file.matchPaths[1]"));
}

#[test]
fn what_apparmor_cannot_read_is_not_guessed() {
    let broken = enforced(
        "  file: {matchPaths: [{path: \"/a b\"}]}\n  action: Allow\n",
        Posture::Block,
    );
    assert_eq!(
        open(&broken, Access::Read, "/a b"),
        "unknown: a profile with a path that AppArmor cannot read was not measured"
    );
}

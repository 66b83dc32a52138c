use super::*;
use crate::policy::from_yaml;

fn said(spec: &str, enforcer: Enforcer) -> Vec<String> {
    said_of(&[spec], enforcer)
}

fn said_of(specs: &[&str], enforcer: Enforcer) -> Vec<String> {
    let policies: Vec<Policy> = specs
        .iter()
        .enumerate()
        .flat_map(|(index, spec)| {
            let text =
                format!("kind: KubeArmorPolicy\nmetadata: {{name: p{index}}}\nspec:\n{spec}");
            from_yaml(&text).expect("a policy")
        })
        .collect();
    let lints = lint(&policies, enforcer);
    lints.iter().map(ToString::to_string).collect()
}

#[test]
fn rules_that_never_match_under_bpf_are_named() {
    let long = "x".repeat(199);
    let deep = "/d".repeat(21);
    let dir = "y".repeat(63);
    let spec = format!(
        "  process:
    matchPatterns: [{{pattern: \"/bin/*\"}}]
    matchPaths:
    - {{execname: a, fromSource: [{{path: /bin/b}}], allowedArgs: [x]}}
    - {{execname: e}}
    - {{path: /bin//a}}
    - {{path: /bin/a, fromSource: [{{path: /bin/../b}}], allowedArgs: [x]}}
  file:
    matchPaths: [{{path: /{long}}}, {{path: {deep}}}]
    matchDirectories: [{{dir: /{dir}/}}, {{dir: /usr/bin}}]
  action: Block
"
    );
    assert_eq!(
        said(&spec, Enforcer::Bpf),
        [
            "p0: spec.process.matchPaths[0]: execname with fromSource never matches",
            "p0: spec.process.matchPaths[0]: allowedArgs of an execname are never found, so no argument matches",
            "p0: spec.process.matchPaths[1]: 'e' is the name of KubeArmor's own posture key: the rule and the posture write over one another",
            "p0: spec.process.matchPaths[2]: the path is not a resolved path, and resolved paths are compared, so it never matches",
            "p0: spec.process.matchPaths[3]: allowedArgs of a rule with fromSource are never found, so no argument matches",
            "p0: spec.process.matchPaths[3].fromSource[0]: the source is not a resolved path, and resolved paths are compared, so it never matches",
            "p0: spec.process.matchPatterns[0]: the BPF-LSM enforcer ignores patterns",
            "p0: spec.file.matchPaths[0]: the path is 200 bytes long, and 199 are compared, so it never matches",
            "p0: spec.file.matchPaths[1]: the path is 21 components deep, and 20 are followed, so it never matches",
            "p0: spec.file.matchDirectories[0]: the dir is 65 bytes long, and its children are found up to 64: it acts on the directory alone",
            "p0: spec.file.matchDirectories[1]: without a slash at its end it acts on the parent directory alone, and on nothing below",
            "p0: spec.file: renaming a directory above what is blocked is not stopped, and no rule knows the new name",
        ]
    );
}

#[test]
fn a_list_of_files_is_looked_over_as_a_whole() {
    let spec = "  file: {matchPaths: [{path: /data/a, readOnly: true}, {path: /data/b}]}\n  action: Allow\n";
    assert_eq!(
        said(spec, Enforcer::Bpf),
        [
            "p0: spec.file.matchPaths[0]: readOnly is enforced under the audit posture too: it refuses, and does not only report",
            "p0: spec.file: the files that are allowed name no loader and no library, and under block a program that needs one does not start",
            "p0: spec.file: on an overlay root under block, the first change of a file of the image is refused: it is copied up below the host's /var/lib/containerd/, which no rule allows",
            "p0: spec.file: readOnly stops writing and appending; it lets files be removed, renamed, linked, truncated, mapped for writing and their modes be changed",
        ]
    );
    let all = "  file: {matchDirectories: [{dir: /, recursive: true}]}\n  action: Allow\n";
    assert_eq!(said(all, Enforcer::Bpf), [""; 0]);
    assert_eq!(
        said(spec, Enforcer::AppArmor),
        [
            "p0: spec.file: where files alone are allowed, AppArmor's enforcer refuses all programs under block"
        ]
    );
}

#[test]
fn rules_of_one_key_and_rules_with_nothing_left_are_named() {
    let one = "  file: {matchPaths: [{path: /lib/a}, {path: /lib/b}]}\n  action: Block\n";
    let other = "  file:\n    matchPaths: [{path: /lib/a, readOnly: true}, {path: /lib/b}]\n    matchDirectories: [{dir: /lib/, recursive: true}, {dir: /lib/c/, action: Audit}, {dir: /lib/d/, readOnly: true}]\n  action: Block\n";
    assert_eq!(
        said_of(&[one, other], Enforcer::Bpf),
        [
            "p1: spec.file.matchPaths[0]: it writes over spec.file.matchPaths[0] of p0, which says something else of the same path",
            "p1: spec.file.matchPaths[1]: spec.file.matchPaths[1] of p0 says the same",
            "p0: spec.file.matchPaths[0]: spec.file.matchDirectories[0] of p1 says the same of all of it",
            "p0: spec.file.matchPaths[1]: spec.file.matchDirectories[0] of p1 says the same of all of it",
            "p1: spec.file.matchPaths[1]: spec.file.matchDirectories[0] says the same of all of it",
            "p1: spec.file.matchDirectories[2]: spec.file.matchDirectories[0] decides about what is in it: a directory that is not recursive never overrides one above it that is",
        ]
    );
}

#[test]
fn a_directory_and_the_same_path_write_one_key() {
    let spec = "  file:\n    matchPaths: [{path: /usr/lib, readOnly: true}, {path: /usr/b}]\n    matchDirectories: [{dir: /usr/lib/}, {dir: /usr/b/}]\n  action: Block\n";
    assert_eq!(
        said(spec, Enforcer::Bpf),
        [
            "p0: spec.file: renaming a directory above what is blocked is not stopped, and no rule knows the new name",
            "p0: spec.file.matchDirectories[0]: it writes over spec.file.matchPaths[0], which says something else of the same path",
        ]
    );
}

#[test]
fn policies_that_want_too_many_keys_are_named_and_what_it_switches_off() {
    let programs: Vec<String> = (0..256).map(|n| format!("{{path: /bin/p{n}}}")).collect();
    let spec = format!(
        "  process: {{matchPaths: [{}]}}\n  file: {{matchDirectories: [{{dir: /, recursive: true, action: Allow}}]}}\n  action: Block\n",
        programs.join(", ")
    );
    assert_eq!(
        said(&spec, Enforcer::Bpf),
        [
            "p0: spec: the policies want 259 keys, and a container's rule map has room for 256: 3 are lost; the posture of files is among them, so files are not restricted at all"
        ]
    );
}

#[test]
fn what_apparmor_leaves_out_is_named() {
    let spec = "  process:
    matchPaths: [{path: /usr/bin/g++}, {execname: ls}, {path: /bin/a, allowedArgs: [x], pts: false}]
    matchDirectories: [{dir: /bin/, ownerOnly: true}, {dir: /sbin/, fromSource: [{path: /bin/b}]}]
  file: {matchPaths: [{path: \"/a b\"}], matchDirectories: [{dir: /usr/bin}]}
  action: Allow
";
    assert_eq!(
        said(spec, Enforcer::AppArmor),
        [
            "p0: spec.process.matchPaths[0]: a path with one of [ * + ? $ | that allows becomes a comment in the profile",
            "p0: spec.process.matchPaths[1]: an execname that allows becomes a comment in the profile",
            "p0: spec.process.matchPaths[2]: AppArmor's enforcer ignores allowedArgs",
            "p0: spec.process.matchPaths[2]: AppArmor's enforcer ignores pts",
            "p0: spec.process.matchDirectories[0]: the line that allows a directory's programs is not for the owner alone",
            "p0: spec.process.matchDirectories[1]: a directory that allows programs of a source has no line in the profile",
            "p0: spec.file.matchPaths[0]: the path is not quoted in the profile, so AppArmor cannot read the whole profile",
            "p0: spec.file.matchDirectories[0]: without a slash at its end it acts on everything whose name begins so",
        ]
    );
}

#[test]
fn what_kubearmors_programs_do_unexpectedly_is_named() {
    let deep = "/d".repeat(20);
    let spec = format!(
        "  process:
    matchPaths:
    - {{path: /bin/a}}
    - {{path: /bin/e}}
    - {{path: /bin/b, action: Audit}}
    - {{path: /bin/c, action: Block}}
  file:
    matchPaths: [{{path: {deep}}}]
    matchDirectories: [{{dir: /, recursive: true}}, {{dir: /srv/, ownerOnly: true, pts: false}}]
  network:
    matchProtocols: [{{protocol: tcp}}, {{protocol: icmp}}, {{protocol: UDP}}]
  action: Allow
"
    );
    let all = said(&spec, Enforcer::Bpf);
    for wanted in [
        "p0: spec.process.matchPaths[1]: a program of this name is found under KubeArmor's own posture key, whatever the rules say",
        "p0: spec.process.matchPaths[2]: rules that audit are not in the kernel: beside rules that allow, what it names is refused under block",
        "p0: spec.process: a program that runs from no file (memfd) is not held to the rules that block for all, since others allow",
        "p0: spec.file.matchPaths[0]: the last 20 components are all that is compared, so every deeper path that ends so matches too",
        "p0: spec.file.matchDirectories[1]: pts: false refuses from a terminal under the audit posture too, and does not only report",
        "p0: spec.file: on an overlay root ownerOnly refuses owners other than root",
        "p0: spec.network.matchProtocols[0]: tcp is every stream socket without a protocol of its own, unix sockets too",
        "p0: spec.network.matchProtocols[2]: UDP is every datagram socket without a protocol of its own, unix sockets too",
    ] {
        assert!(all.iter().any(|text| text == wanted), "{wanted}: {all:#?}");
    }
    let of_traps = all
        .iter()
        .filter(|text| text.contains("matchPaths[0]") && text.contains("process"));
    assert_eq!(of_traps.count(), 0, "{all:#?}");
    // Without a list that allows, nothing of it is so.
    let blocks = "  process: {matchPaths: [{path: /bin/a, action: Audit}, {path: /bin/c}]}\n  action: Block\n";
    assert_eq!(said(blocks, Enforcer::Bpf), [""; 0]);
}

#[test]
fn a_program_whose_file_no_rule_allows_is_named() {
    let spec = "  process:
    matchPaths:
    - {path: /bin/a}
    - {path: /bin/b, fromSource: [{path: /bin/a}, {path: /bin/c}]}
    - {path: /bin/d}
    - {path: /bin/e2, action: Block}
    - {execname: x}
    matchDirectories: [{dir: /opt/, recursive: true}, {dir: /srv/}, {dir: /usr/bin/}]
  file:
    matchPaths:
    - {path: /bin/b, fromSource: [{path: /bin/a}]}
    - {path: /srv/tool}
    - {path: /data, fromSource: [{path: /bin/z}, {path: /bin/b}]}
    matchDirectories: [{dir: /usr/, recursive: true}]
  action: Allow
";
    let lacks = |specs: &[&str], enforcer| -> Vec<String> {
        let all = said_of(specs, enforcer).into_iter();
        all.filter(|text| text.contains("is to open it"))
            .map(|text| text[..text.find(" program").expect("of programs")].to_owned())
            .collect()
    };
    for enforcer in [Enforcer::Bpf, Enforcer::Learner] {
        let found = lacks(&[spec], enforcer);
        assert_eq!(
            found,
            [
                "p0: spec.process.matchPaths[0]: no rule for files allows the",
                "p0: spec.process.matchPaths[1]: no rule for files allows the",
                "p0: spec.process.matchPaths[2]: no rule for files allows the",
                "p0: spec.process.matchDirectories[0]: no rule for files allows any",
                "p0: spec.file.matchPaths[0].fromSource[0]: no rule for files allows this",
                "p0: spec.file.matchPaths[2].fromSource[0]: no rule for files allows this",
            ]
        );
    }
    let all = said(spec, Enforcer::Bpf);
    assert!(
        all.iter()
            .any(|text| text.contains("to /bin/c, and to execute")),
        "{all:#?}"
    );
    // Another policy of the same container may name them, or allow files nothing at all.
    let files = "  file: {matchDirectories: [{dir: /bin/, recursive: true}, {dir: /opt/, recursive: true}]}\n  action: Allow\n";
    assert_eq!(lacks(&[spec, files], Enforcer::Bpf), [""; 0]);
    let programs = "  process: {matchPaths: [{path: /bin/a}]}\n  action: Allow\n";
    assert_eq!(lacks(&[programs], Enforcer::Bpf), [""; 0]);
}

#[test]
fn what_is_blocked_below_a_directory_that_may_be_renamed_is_named() {
    let text = "p0: spec.file: renaming a directory above what is blocked is not stopped, and no rule knows the new name";
    let has = |spec: &str| said(spec, Enforcer::Bpf).iter().any(|found| found == text);
    assert!(has(
        "  file: {matchPaths: [{path: /data/keys/a}]}\n  action: Block\n"
    ));
    // Of the root nothing is renamed; what is blocked with all above it is held; so is a list's.
    assert!(!has(
        "  file: {matchPaths: [{path: /a}]}\n  action: Block\n"
    ));
    assert!(!has(
        "  file: {matchDirectories: [{dir: /data/, recursive: true}]}\n  action: Block\n"
    ));
    assert!(!has(
        "  file: {matchPaths: [{path: /data/keys/a}, {path: /data/b, action: Allow}]}\n  action: Block\n"
    ));
}

#[test]
fn under_apparmor_one_list_without_the_other_is_named() {
    let programs = "  process: {matchPatterns: [{pattern: \"/bin/*\"}]}\n  action: Allow\n";
    let files = "  file: {matchDirectories: [{dir: /srv/}]}\n  action: Allow\n";
    assert_eq!(
        said(programs, Enforcer::AppArmor),
        [
            "p0: spec.process: where programs alone are allowed, AppArmor's enforcer refuses all files under block"
        ]
    );
    assert_eq!(
        said(files, Enforcer::AppArmor),
        [
            "p0: spec.file: where files alone are allowed, AppArmor's enforcer refuses all programs under block"
        ]
    );
    assert_eq!(said_of(&[programs, files], Enforcer::AppArmor), [""; 0]);
}

#[test]
fn a_list_of_capabilities_on_an_overlay_is_named() {
    let spec = "  capabilities: {matchCapabilities: [{capability: chown}]}\n";
    let has = |spec: &str| {
        said(spec, Enforcer::Bpf)
            .iter()
            .any(|text| text.starts_with("p0: spec.capabilities: an overlay root asks"))
    };
    assert!(has(&format!("{spec}  action: Allow\n")));
    assert!(!has(&format!("{spec}  action: Block\n")));
}

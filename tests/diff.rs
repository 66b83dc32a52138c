//! `learner diff`: exit code, answer and talk.

use serde_json::{Value, json};

#[path = "world/shop.rs"]
mod shop;
mod world;

use shop::{open, policy, recording};
use world::{Said, World};

fn files(rules: &str) -> String {
    format!("file: {{matchDirectories: [{rules}]}}\n  action: Allow")
}

fn learned(text: &str) -> String {
    text.replace("spec:\n", "spec:\n  tags: [learner, allowlist]\n")
}

/// A narrow policy, a wide one, and one from elsewhere.
fn world() -> World {
    let world = World::new();
    let narrow = policy("web-p", "web", &files("{dir: /etc/}"));
    let wide = policy("web-p", "web", &files("{dir: /etc/, recursive: true}"));
    world.write("narrow.yaml", &narrow);
    world.write("wide.yaml", &wide);
    world.write("applied/ours.yaml", &learned(&narrow));
    world.write("ours.yaml", &learned(&narrow));
    world.write(
        "applied/foreign.yaml",
        &policy("hardening", "web", &files("{dir: /, recursive: true}")),
    );
    world
}

fn squeezed(answer: &Said) -> Vec<String> {
    let lines = answer.out.lines();
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

fn paths(groups: &Value) -> Vec<String> {
    let groups = groups.as_array().expect("groups").iter();
    groups
        .flat_map(|group| group["operations"].as_array().expect("operations"))
        .map(|operation| format!("{} {}", operation["op"], operation["path"]).replace('"', ""))
        .collect()
}

#[test]
fn the_same_meaning_is_no_difference() {
    let world = world();
    let otherwise = learned(&policy(
        "web-p",
        "web",
        "message: hello\n  file: {action: Allow, matchDirectories: [{dir: /etc/, recursive: false}]}",
    ));
    world.write("otherwise.yaml", &otherwise);
    for (suggested, applied) in [
        ("narrow.yaml", "narrow.yaml"),
        ("otherwise.yaml", "ours.yaml"),
    ] {
        let answer = world.learner(&["diff", suggested, "--applied", applied]);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""));
        assert_eq!(
            answer.out,
            "shop: app=web: same; 4 keys before, 4 after, room for 256\n"
        );
    }
}

#[test]
fn what_becomes_allowed_is_summarised_by_rule() {
    let world = world();
    let answer = world.learner(&["diff", "wide.yaml", "--applied", "narrow.yaml"]);
    assert_eq!((answer.code, answer.err.as_str()), (1, ""));
    let lines = squeezed(&answer);
    assert!(
        lines[0].starts_with("shop: app=web: different; "),
        "{lines:#?}"
    );
    assert_eq!(
        lines[2],
        "BECOMES ALLOWED exec, open r, open w, unlink /etc/*/* 0 \
         no rule allows it, and the posture of files is block \
         spec.file.matchDirectories[0] of web-p allows it"
    );
    assert_eq!(
        lines[4],
        "WIDER files /etc/ - spec.file.matchDirectories[0] of web-p spec.file.matchDirectories[0] of web-p"
    );
    assert_eq!(lines.len(), 5);
}

#[test]
fn swapped_sides_swap_what_becomes_allowed_and_denied() {
    let world = world();
    let of = |suggested: &str, applied: &str| {
        let args = ["diff", suggested, "--applied", applied, "-f", "json"];
        let answer = world.learner(&args);
        assert_eq!(answer.code, 1, "{answer:?}");
        answer.json()["workloads"][0].clone()
    };
    let (there, back) = (
        of("wide.yaml", "narrow.yaml"),
        of("narrow.yaml", "wide.yaml"),
    );
    assert_eq!(
        paths(&there["becomes_allowed"]),
        paths(&back["becomes_denied"])
    );
    assert_eq!(
        paths(&there["becomes_denied"]),
        paths(&back["becomes_allowed"])
    );
    assert_eq!(
        paths(&there["becomes_allowed"]),
        [
            "exec /etc/*/*",
            "open /etc/*/*",
            "open /etc/*/*",
            "unlink /etc/*/*"
        ]
    );
    assert_eq!(
        [&there["rules"][0]["meaning"], &back["rules"][0]["meaning"]],
        ["wider", "narrower"]
    );
}

#[test]
fn an_allow_from_elsewhere_that_opens_again_is_the_first_line() {
    let answer = world().learner(&["diff", "ours.yaml", "--applied", "applied"]);
    assert_eq!((answer.code, answer.err.as_str()), (1, ""));
    let first = answer.out.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("RE-OPENED by shop/hardening, which is from elsewhere: shop: app=web: "),
        "{answer:?}"
    );
    assert!(
        first.ends_with("(spec.file.matchDirectories[0] of hardening allows it)"),
        "{first}"
    );
    assert!(answer.out.contains("shop: app=web: same; "), "{answer:?}");
}

#[test]
fn yaml_is_the_same_value_as_json() {
    let world = world();
    let of = |format: &str| {
        let args = ["diff", "wide.yaml", "--applied", "applied", "-f", format];
        world.learner(&args)
    };
    let yaml: Value = serde_yaml::from_str(&of("yaml").out).expect("YAML");
    assert_eq!(yaml, of("json").json());
    assert_eq!(yaml["same"], false);
}

#[test]
fn without_a_suggestion_it_is_what_is_recommended_now() {
    let world = World::new();
    world.write(
        "in.jsonl",
        &recording("web", "1", &[open("/bin/web", "/etc/a", "r")]),
    );
    world.learner(&["recommend", "--from", "in.jsonl", "-o", "applied"]);
    let answer = world.learner(&["diff", "--from", "in.jsonl", "--applied", "applied"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    world.learner(&["import", "in.jsonl"]);
    world.write(
        "more.jsonl",
        &recording("web", "2", &[open("/bin/web", "/etc/b", "r")]),
    );
    world.learner(&["import", "more.jsonl"]);
    let answer = world.learner(&["diff", "--applied", "applied", "-f", "json"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let workload = &answer.json()["workloads"][0];
    assert_eq!(workload["workload"], "shop/Deployment/web/web");
    let seen: Vec<&Value> = workload["becomes_allowed"][0]["operations"]
        .as_array()
        .expect("operations")
        .iter()
        .filter(|operation| operation["seen"] != 0)
        .collect();
    assert_eq!(seen.len(), 1, "{workload:#}");
    assert_eq!(
        [&seen[0]["path"], &seen[0]["seen"]],
        [&json!("/etc/b"), &json!(3)]
    );
    assert_eq!(workload["keys"]["limit"], 256);
}

#[test]
fn nothing_applied_yet_is_a_side_too() {
    let world = world();
    std::fs::create_dir(world.path().join("none")).expect("a folder");
    let answer = world.learner(&["diff", "narrow.yaml", "--applied", "none"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(
        answer.err,
        "warning: none: no .yaml or .yml file is in it\n"
    );
    assert!(answer.out.contains("BECOMES DENIED"), "{answer:?}");
    assert!(
        answer.out.contains("no policy restricts files"),
        "{answer:?}"
    );
}

#[test]
fn applied_policies_come_as_kubectl_prints_them() {
    let world = world();
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: security.kubearmor.com/v1\n  \
                kind: KubeArmorPolicy\n  metadata: {name: web-p, namespace: shop, uid: a}\n  \
                spec: {selector: {matchLabels: {app: web}}, \
                file: {matchDirectories: [{dir: /etc/}]}, action: Allow}\n";
    let answer = world.learner_reads(&["diff", "narrow.yaml", "--applied", "-"], list);
    assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{answer:?}");
}

#[test]
fn hostile_names_break_neither_tables_nor_yaml() {
    let world = World::new();
    let rule =
        |name: &str| format!("file: {{matchPaths: [{{path: \"/etc/{name}\"}}]}}\n  action: Allow");
    world.write("a.yaml", &policy("p", "web", &rule("a")));
    world.write(
        "b.yaml",
        &policy("p", "web", &rule("b: \\u001b[31m\\t'\\\"yes")),
    );
    let of = |format: &str| world.learner(&["diff", "b.yaml", "--applied", "a.yaml", "-f", format]);
    let table = of("table");
    assert_eq!(table.code, 1);
    assert!(
        !table.out.contains(|c: char| c.is_control() && c != '\n'),
        "{table:?}"
    );
    let yaml: Value = serde_yaml::from_str(&of("yaml").out).expect("YAML");
    assert_eq!(yaml, of("json").json());
}

#[test]
fn what_is_missing_is_named() {
    let world = world();
    for (args, wanted) in [
        (
            &["diff"][..],
            "error: which policies are applied is not known: name their files with --applied FILE|DIR\n",
        ),
        (
            &["diff", "--applied", "narrow.yaml"],
            "error: nothing to compare: nothing has been recorded in [DIR]/store\n",
        ),
        (
            &["diff", "none.yaml", "--applied", "narrow.yaml"],
            "error: none.yaml: reading failed: No such file or directory (os error 2)\n",
        ),
        (
            &["diff", "-", "--applied", "-"],
            "error: '-' is named twice, and standard input can be read only once\n",
        ),
        (
            &[
                "diff",
                "narrow.yaml",
                "--applied",
                "narrow.yaml",
                "-n",
                "other",
            ],
            "error: nothing to compare: no policy of the namespace other is suggested\n",
        ),
    ] {
        let answer = world.learner(args);
        assert_eq!(
            (answer.code, answer.out.as_str(), answer.err.as_str()),
            (2, "", wanted)
        );
    }
}

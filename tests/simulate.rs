//! `learner simulate`: exit code, answer and talk.

use serde_json::json;

#[path = "world/shop.rs"]
mod shop;
mod world;

use shop::{open, policy, recording};
use world::{Said, World};

const LIST: &str = "file: {matchPaths: [{path: /etc/hosts}], matchDirectories: [{dir: /srv/}]}\n  \
                    action: Allow";

/// Three operations of two runs, one of them refused, and one that the kernel refused.
fn world() -> World {
    let world = World::new();
    let failed = json!({
        "op": "open", "source": "/bin/web", "path": "/etc/gshadow", "access": "r",
        "result": "EACCES", "count": 1,
    });
    let one = [
        open("/bin/web", "/etc/hosts", "r"),
        open("/bin/web", "/etc/shadow", "r"),
        failed,
    ];
    let two = [
        open("/bin/web", "/etc/shadow", "r"),
        open("/bin/web", "/srv/a", "rw"),
    ];
    world.write(
        "in.jsonl",
        &format!(
            "{}{}",
            recording("web", "1", &one),
            recording("web", "2", &two)
        ),
    );
    world.write("web.yaml", &policy("web-p", "web", LIST));
    world
}

fn simulate(world: &World, args: &[&str]) -> Said {
    let all: Vec<&str> = ["simulate", "--from", "in.jsonl"]
        .iter()
        .chain(args)
        .copied()
        .collect();
    world.learner(&all)
}

#[test]
fn what_would_have_been_denied_is_said_with_the_reason() {
    let answer = simulate(&world(), &["web.yaml"]);
    assert_eq!((answer.code, answer.err.as_str()), (1, ""));
    let lines: Vec<Vec<&str>> = answer
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[1].join(" "),
        "WOULD DENY shop/Deployment/web/web open r /etc/shadow /bin/web 6 2 \
         no rule allows it, and the posture of files is block"
    );
    assert_eq!(
        lines[2].join(" "),
        "3 operations of 2 runs: 2 allowed, 0 of these reported; 1 denied; 0 unknown"
    );
    assert!(
        lines[3..].iter().all(|line| line[0] == "LINT"),
        "{}",
        answer.out
    );
}

#[test]
fn the_same_as_json_from_the_store() {
    let world = world();
    assert_eq!(world.learner(&["import", "in.jsonl"]).code, 0);
    let answer = world.learner(&[
        "simulate", "web.yaml", "-f", "json", "-n", "shop", "-l", "app=web",
    ]);
    assert_eq!((answer.code, answer.err.as_str()), (1, ""));
    let value = answer.json();
    assert_eq!(
        [
            &value["operations"],
            &value["allowed"],
            &value["denied"],
            &value["unknown"]
        ],
        [&json!(3), &json!(2), &json!(1), &json!(0)]
    );
    assert_eq!(
        value["denials"],
        json!([{
            "workload": "shop/Deployment/web/web", "op": "open", "source": "/bin/web",
            "path": "/etc/shadow", "access": "r", "runs": ["1", "2"], "count": 6,
            "why": "no rule allows it, and the posture of files is block",
        }])
    );
    assert!(value["lints"].is_array() && value["alerts"] == json!([]));
}

#[test]
fn under_audit_nothing_is_denied_but_what_is_read_only() {
    let world = world();
    let answer = simulate(&world, &["web.yaml", "--posture", "audit"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.out.contains("WOULD ALERT"), "{answer:?}");
    world.write(
        "web.yaml",
        &policy(
            "web-p",
            "web",
            &LIST.replace("/srv/}", "/srv/, readOnly: true}"),
        ),
    );
    let answer = simulate(&world, &["web.yaml", "--posture", "audit"]);
    assert_eq!(answer.code, 1);
    let denied = answer
        .out
        .lines()
        .find(|line| line.starts_with("WOULD DENY"));
    let denied = denied.unwrap_or_else(|| panic!("{answer:?}"));
    assert!(
        denied.contains("open rw /srv/a") && denied.contains("reading only"),
        "{denied}"
    );
}

#[test]
fn what_is_recommended_denies_nothing() {
    let world = world();
    let recommended = world.learner(&["recommend", "--from", "in.jsonl", "-o", "-"]);
    let answer = world.learner_reads(&["simulate", "-", "--from", "in.jsonl"], &recommended.out);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(
        answer.out.contains("3 operations of 2 runs: 3 allowed"),
        "{answer:?}"
    );
}

#[test]
fn a_directory_is_read_whole_and_other_documents_are_left_out() {
    let world = world();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: pod}\n";
    let policies = format!("{pod}---\n{}", policy("web-p", "web", LIST));
    world.write("policies/shop/a.yml", &policies);
    world.write("policies/b.yaml", &policy("db-p", "db", LIST));
    world.write("policies/.git/c.yaml", "{{");
    world.write("policies/d.txt", "{{");
    let answer = simulate(&world, &["policies"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(
        answer
            .err
            .starts_with("warning: policies/shop/a.yml: left out: document 1: "),
        "{answer:?}"
    );
    assert!(
        answer
            .err
            .ends_with("warning: shop/db-p was not tested: it selects none of the runs\n"),
        "{answer:?}"
    );
    // Named itself, it must hold nothing else.
    let answer = simulate(&world, &["policies/shop/a.yml"]);
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert!(
        answer
            .err
            .starts_with("error: policies/shop/a.yml: document 1: "),
        "{answer:?}"
    );
}

#[test]
fn a_container_selector_loses_its_first_and_last_character() {
    let world = world();
    let with = |container: &str| {
        policy("web-p", "web", LIST).replace(
            "{app: web}",
            &format!("{{app: web, kubearmor.io/container.name: \"{container}\"}}"),
        )
    };
    world.write("p.yaml", &with("[web]"));
    assert_eq!(simulate(&world, &["p.yaml"]).code, 1);
    world.write("p.yaml", &with("web"));
    let answer = simulate(&world, &["p.yaml"]);
    assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{answer:?}");
}

#[test]
fn what_selects_nothing_is_no_test() {
    let world = world();
    world.write("db.yaml", &policy("db-p", "db", LIST));
    let answer = simulate(&world, &["db.yaml"]);
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert_eq!(
        answer.err,
        "warning: shop/db-p was not tested: it selects none of the runs\n\
         workloads that none of the policies selects, and that were left out: 1\n\
         error: nothing was tested: none of the policies selects a run in these recordings; \
         `learner runs -f json` shows what was recorded\n"
    );
    world.write(
        "host.yaml",
        "kind: KubeArmorHostPolicy\nmetadata: {name: h}\n\
         spec: {nodeSelector: {matchLabels: {a: b}}, file: {matchPaths: [{path: /etc/shadow}]}}\n",
    );
    let answer = simulate(&world, &["host.yaml", "web.yaml"]);
    assert_eq!(answer.code, 1);
    assert_eq!(
        answer.err,
        "warning: h was not tested: a KubeArmorHostPolicy selects hosts, never containers\n"
    );
}

#[test]
fn what_is_wrong_with_the_policy_is_listed() {
    let world = world();
    let rules = "severity: 11\n  file: {matchPaths: [{path: /etc/hosts}, {path: /etc//a}]}\n  \
                 action: Allow";
    world.write("p.yaml", &policy("web-p", "web", rules));
    let answer = simulate(&world, &["p.yaml", "-f", "json"]);
    let value = answer.json();
    let lints = value["lints"].as_array().expect("lints");
    let field = |lint: &&serde_json::Value| lint["field"] == "spec.file.matchPaths[1]";
    let never = lints
        .iter()
        .find(field)
        .unwrap_or_else(|| panic!("{lints:?}"));
    assert!(
        never["text"]
            .as_str()
            .is_some_and(|text| text.contains("never matches")),
        "{never}"
    );
    assert!(
        lints.iter().any(|lint| lint["field"] == "spec.severity"),
        "{lints:?}"
    );
}

#[test]
fn an_unknown_source_is_unknown_and_counted() {
    let world = World::new();
    let mut nobody = open("/bin/web", "/etc/hosts", "r");
    nobody["source"] = serde_json::Value::Null;
    world.write("in.jsonl", &recording("web", "1", &[nobody]));
    let rules = "file: {matchPaths: [{path: /etc/hosts, fromSource: [{path: /bin/web}]}]}\n  \
                 action: Allow";
    world.write("p.yaml", &policy("web-p", "web", rules));
    let answer = simulate(&world, &["p.yaml"]);
    assert_eq!(answer.code, 0);
    assert!(answer.out.contains("UNKNOWN  "), "{answer:?}");
    assert!(
        answer
            .out
            .contains("which program acts decides and is not known"),
        "{answer:?}"
    );
    assert!(answer.out.contains("0 denied; 1 unknown"), "{answer:?}");
}

#[test]
fn hostile_names_stay_on_their_line() {
    let world = World::new();
    let mut evil = open(
        "/bin/web\n\u{1b}[31mWOULD",
        "/tmp/a\nb\"\t\u{1b}[0m\u{fffd}",
        "w",
    );
    evil["path_bytes"] = json!("L3RtcC9hCmIiCRtbMG3/");
    world.write("in.jsonl", &recording("web", "1\n", &[evil]));
    world.write("p.yaml", &policy("web-p", "web", LIST));
    let answer = simulate(&world, &["p.yaml"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!answer.out.contains(control), "{answer:?}");
    let lines = answer.out.lines().filter(|line| line.starts_with("WOULD"));
    assert_eq!(lines.count(), 1, "{answer:?}");
    let denial = simulate(&world, &["p.yaml", "-f", "json"]).json()["denials"][0].clone();
    assert_eq!(denial["path_bytes"], "L3RtcC9hCmIiCRtbMG3/");
    assert_eq!(denial["runs"], json!(["1\n"]));
}

#[test]
fn what_cannot_be_read_is_named() {
    let world = world();
    for (file, text, wanted) in [
        ("a.yaml", "{{", "error: a.yaml: document 1: "),
        (
            "b.yaml",
            "kind: KubeArmorPolicy\nmetadata: {name: a}\nspec: {fil: {}}\n",
            "error: b.yaml: document 1: spec: unknown field `fil`",
        ),
        (
            "c.yaml",
            "",
            "warning: c.yaml holds no policy\nerror: nothing to simulate: ",
        ),
    ] {
        world.write(file, text);
        let answer = simulate(&world, &[file]);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{answer:?}");
        assert!(answer.err.starts_with(wanted), "{answer:?}");
    }
    let answer = simulate(&world, &["none.yaml"]);
    assert!(
        answer.code == 2 && answer.err.starts_with("error: none.yaml: reading failed: "),
        "{answer:?}"
    );
    let answer = world.learner(&["simulate", "-", "--from", "-"]);
    assert_eq!(answer.code, 2);
    let answer = world.learner(&["simulate", "web.yaml"]);
    assert_eq!(
        answer.err,
        "error: nothing to simulate with: nothing has been recorded in [DIR]/store\n"
    );
    assert_eq!(answer.code, 2);
    assert!(!world.path().join("store").exists());
}

#[test]
fn of_two_policies_of_one_name_the_later_counts() {
    let world = world();
    world.write(
        "other.yaml",
        &policy("web-p", "web", &LIST.replace("hosts", "shadow")),
    );
    let answer = simulate(&world, &["web.yaml", "other.yaml"]);
    assert_eq!(
        answer.err,
        "warning: shop/web-p stands in web.yaml and, with other rules, in other.yaml: the latter counts\n"
    );
    assert!(answer.out.contains("open r /etc/hosts"), "{answer:?}");
    assert_eq!(simulate(&world, &["web.yaml", "web.yaml"]).err, "");
}

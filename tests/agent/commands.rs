//! The command line with an agent and without.

use std::fs;
use std::process::Output;

use crate::world::{World, inside, wait_for, world};

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A recording with a path that is not text, a name with a newline, and more behaviours than go in
/// one message.
fn recording(app: &str, behaviors: usize) -> String {
    let line = |fields: &str| {
        format!(
            "{{\"run\":\"{app}-1\",\"namespace\":\"shop\",\"kind\":\"Deployment\",\"workload\":\"{app}\",\
             \"container\":\"{app}\",\"labels\":{{\"app\":\"{app}\"}},\"image\":\"\",\
             \"at\":\"2026-11-23T01:02:03Z\",{fields}}}\n"
        )
    };
    let mut text = line("\"op\":\"start\"");
    text.push_str(&line(&format!(
        "\"op\":\"exec\",\"path\":\"/usr/bin/{app}\",\"result\":\"ok\",\"count\":1"
    )));
    text.push_str(&line(
        "\"op\":\"lost\",\"reason\":\"ring-full\",\"count\":3,\"result\":\"ok\"",
    ));
    let open = |path: &str| {
        line(&format!(
            "\"op\":\"open\",\"source\":\"/usr/bin/{app}\",{path},\"access\":\"r\",\"uid\":0,\
             \"result\":\"ok\",\"count\":2"
        ))
    };
    text.push_str(&open("\"path\":\"/odd\\nname\""));
    text.push_str(&open(
        "\"path\":\"/odd\\ufffd\",\"path_bytes\":\"L29kZP8=\"",
    ));
    for n in 0..behaviors {
        text.push_str(&open(&format!("\"path\":\"/srv/{app}/{n:05}\"")));
    }
    text
}

const QUESTIONS: &[&[&str]] = &[
    &["runs"],
    &["runs", "-f", "json"],
    &["runs", "-n", "nowhere"],
    &["recommend", "-n", "shop", "-o", "-"],
    &["readiness", "-f", "json"],
    &["export"],
    &["export", "-n", "shop", "-l", "app=b"],
    &["forget", "--list"],
    &["forget", "--list", "-f", "json"],
    &["forget", "/no/such/path"],
    &["simulate", "policy.yaml"],
    &["diff", "--applied", "policy.yaml"],
];

fn answers(world: &World) -> Vec<(Option<i32>, String, String)> {
    QUESTIONS
        .iter()
        .map(|question| told(&world.says(question)))
        .collect()
}

#[test]
fn a_command_says_the_same_with_an_agent_and_without() {
    let Some(world) = world("same") else { return };
    fs::write(world.join("a.jsonl"), recording("a", 12_000)).expect("a recording");
    fs::write(world.join("b.jsonl"), recording("b", 5)).expect("a recording");
    let first = told(&world.says(&["import", "a.jsonl"]));
    assert_eq!(first.0, Some(0), "{first:?}");
    let forgotten = told(&world.says(&["forget", "-n", "shop", "/srv/a/00007"]));
    assert_eq!(forgotten.0, Some(0), "{forgotten:?}");
    let policy = world.says(&["recommend", "-n", "shop", "-o", "-"]);
    fs::write(world.join("policy.yaml"), policy.stdout).expect("a policy");
    let without = answers(&world);
    assert!(without[5].1.lines().count() > 12_000);

    let agent = world.agent("");
    for (question, (with, without)) in QUESTIONS.iter().zip(answers(&world).iter().zip(&without)) {
        assert_eq!(with, without, "{question:?}");
    }
    // What changes the store, by the agent: the same as it would be without.
    let by_agent = [
        &["import", "b.jsonl"][..],
        &["import", "b.jsonl"],
        &["forget", "-n", "shop", "/srv/b/", "/odd\nname"],
        &["forget", "--undo", "/srv/a/00007"],
        &["forget", "--undo", "/srv/a/00007"],
    ];
    let said: Vec<_> = by_agent
        .iter()
        .map(|args| told(&world.says(args)))
        .collect();
    let with = answers(&world);
    assert!(agent.stop().success());
    assert!(!world.socket().exists());
    assert_eq!(answers(&world), with);

    fs::remove_dir_all(world.join("store")).expect("removed");
    assert_eq!(told(&world.says(&["import", "a.jsonl"])), first);
    assert_eq!(
        told(&world.says(&["forget", "-n", "shop", "/srv/a/00007"])),
        forgotten
    );
    for (args, said) in by_agent.iter().zip(said) {
        assert_eq!(told(&world.says(args)), said, "{args:?}");
    }
    assert_eq!(answers(&world), with);
}

#[test]
fn a_run_of_observe_joins_the_store_of_the_agent() {
    let Some(world) = world("joins") else { return };
    let agent = world.agent("");
    let file = world.file("read");
    let path = file.to_str().expect("text");
    let (code, _, err) = told(&world.says(&["observe", "-o", "-", "--", "cat", path]));
    assert_eq!(code, Some(0), "{err}");
    let (_, exported, _) = told(&world.says(&["export"]));
    assert!(exported.contains(path), "{exported}");
    assert!(agent.stop().success());
    assert_eq!(world.stored().len(), 1);
}

#[test]
fn an_agent_of_another_store_is_not_asked() {
    let Some(world) = world("other") else { return };
    let agent = world.agent("");
    let group = world.group();
    assert!(
        inside(group.path(), "true")
            .status()
            .expect("a workload")
            .success()
    );
    wait_for("the run to end", || agent.log().contains("a run has ended"));
    let (code, out, err) = told(&world.says(&["--store", "elsewhere", "runs"]));
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    wait_for("the run to be stored", || {
        told(&world.says(&["runs"])).0 == Some(0)
    });
}

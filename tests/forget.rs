//! What is forgotten and what is held back, from the command line.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use assert_cmd::Command;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

const LEARNER: &str = env!("CARGO_BIN_EXE_learner");

/// A newline, YAML, and a byte that is not UTF-8.
const HOSTILE: &[u8] = b"/tmp/a\nb: [x]\xff";

/// What nginx did, one thing a second; the last from outside of it, by `kubectl exec`.
fn did(app: &str) -> Vec<Value> {
    let web = "/usr/sbin/nginx";
    vec![
        json!({"op": "start"}),
        json!({"op": "exec", "source": "/usr/bin/runc", "path": web}),
        json!({"op": "open", "source": web, "path": "/etc/nginx/nginx.conf", "access": "r"}),
        json!({"op": "open", "source": web, "path": "/srv/shop/a", "access": "r"}),
        json!({"op": "open", "source": web, "path": "/srv/shop/b", "access": "r"}),
        json!({"op": "rename", "source": web, "path": "/srv/shop/c", "to": "/srv/old/c"}),
        json!({"op": "open", "source": web, "path": String::from_utf8_lossy(HOSTILE),
               "path_bytes": BASE64.encode(HOSTILE), "access": "r"}),
        json!({"op": "exec", "source": "/usr/bin/runc", "path": "/usr/bin/dash"}),
        json!({"op": "open", "source": "/usr/bin/dash", "path": "/etc/profile", "access": "r"}),
        json!({"op": "stop"}),
    ]
    .into_iter()
    .zip(10..)
    .map(|(mut line, second)| {
        for (field, value) in [
            ("run", json!("1")),
            ("namespace", json!("default")),
            ("kind", json!("Deployment")),
            ("workload", json!(app)),
            ("container", json!(app)),
            ("labels", json!({"app": app})),
            ("at", json!(format!("2026-11-23T01:02:{second}Z"))),
        ] {
            line[field] = value;
        }
        if !matches!(line["op"].as_str(), Some("start" | "stop")) {
            line["result"] = json!("ok");
            line["count"] = json!(1);
        }
        line
    })
    .collect()
}

struct World {
    dir: TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl World {
    /// Two workloads that did the same, in a store.
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let lines: String = ["web", "other"]
            .iter()
            .flat_map(|app| did(app))
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(dir.path().join("in.jsonl"), lines).expect("a recording");
        let world = Self { dir };
        world.import();
        world
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn import(&self) {
        assert_eq!(self.learner(&["import", "in.jsonl"]).code, 0);
    }

    fn learner_takes<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Said {
        let output = Command::new(LEARNER)
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("LEARNER_STORE", self.path().join("store"))
            .output()
            .expect("learner runs");
        let dir = self.path().to_str().expect("text");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(dir, "[DIR]");
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    fn learner(&self, args: &[&str]) -> Said {
        self.learner_takes(args)
    }

    fn policy(&self, app: &str, more: &[&str]) -> Said {
        let label = format!("app={app}");
        let args = ["recommend", "-o", "-", "-l", &label];
        self.learner(&[&args, more].concat())
    }
}

fn hostile() -> OsString {
    OsStr::from_bytes(HOSTILE).to_owned()
}

#[test]
fn what_is_forgotten_is_in_no_policy_any_more_even_if_it_is_imported_again() {
    let world = World::new();
    assert!(world.policy("web", &[]).out.contains("/srv/shop/a"));
    let said = world.learner(&["forget", "-l", "app=web", "/srv/shop/a"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert_eq!(
        said.err,
        "default/Deployment/web/web: forgotten: /srv/shop/a (behaviours: 1; the evidence is kept)\n"
    );
    for _ in 0..2 {
        let policy = world.policy("web", &[]).out;
        assert!(!policy.contains("/srv/shop/a"), "{policy}");
        assert!(policy.contains("/srv/shop/b"), "{policy}");
        world.import();
    }
    assert!(world.policy("other", &[]).out.contains("/srv/shop/a"));
    assert!(world.learner(&["export"]).out.contains("/srv/shop/a"));
}

#[test]
fn what_is_forgotten_can_be_seen_and_learned_again() {
    let world = World::new();
    assert_eq!(world.learner(&["forget", "--list"]).code, 1);
    let said = world.learner(&[
        "forget",
        "-l",
        "app=web",
        "--op",
        "open",
        "--source",
        "/usr/sbin/nginx",
        "/srv/shop/",
        "/etc/nginx/nginx.conf",
    ]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(
        world.learner(&["forget", "--list"]).out,
        "\
NAMESPACE  WORKLOAD        CONTAINER  OP    PATH                   SOURCE
default    Deployment/web  web        open  /etc/nginx/nginx.conf  /usr/sbin/nginx
default    Deployment/web  web        open  /srv/shop/             /usr/sbin/nginx
"
    );
    let policy = world.policy("web", &[]).out;
    assert!(
        !policy.contains("/srv/shop/a") && policy.contains("/srv/shop/c"),
        "{policy}"
    );

    let undone = world.learner(&["forget", "--undo", "/srv/shop/"]);
    assert_eq!(undone.code, 0, "{}", undone.err);
    assert!(world.policy("web", &[]).out.contains("/srv/shop/a"));
    let list = world.learner(&["forget", "--list", "-f", "json"]).out;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(list[0]["path"], "/etc/nginx/nginx.conf");
    assert_eq!(list[0]["op"], "open");
    let filtered = world.learner(&["forget", "--list", "-l", "app=other"]);
    assert_eq!((filtered.code, filtered.out.as_str()), (1, ""));
}

#[test]
fn a_rename_is_forgotten_with_either_name() {
    let world = World::new();
    assert_eq!(world.learner(&["forget", "/srv/old/c"]).code, 0);
    let policy = world.policy("web", &[]).out;
    assert!(!policy.contains("/c\n"), "{policy}");
}

#[test]
fn a_path_that_matches_nothing_is_named_and_what_matches_is_done() {
    let world = World::new();
    let said = world.learner(&["forget", "/srv/shop/a", "/srv/shop/nothing"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains(
            "warning: /srv/shop/nothing: nothing that was recorded in [DIR]/store matches"
        ),
        "{}",
        said.err
    );
    assert!(!world.policy("web", &[]).out.contains("/srv/shop/a"));
    assert_eq!(world.learner(&["forget", "--undo", "/srv/shop/b"]).code, 1);
    let list = world.learner(&["forget", "--list"]).out;
    assert_eq!(list.lines().count(), 3, "one for each workload: {list}");
}

#[test]
fn without_a_store_nothing_is_forgotten_and_none_is_made() {
    let dir = TempDir::new().expect("a directory");
    let world = World { dir };
    assert_eq!(world.learner(&["forget", "/srv/shop/a"]).code, 1);
    assert_eq!(world.learner(&["forget", "--list"]).code, 1);
    assert!(!world.path().join("store").exists());
}

#[test]
fn what_is_not_a_path_or_an_operation_is_an_error() {
    let world = World::new();
    for args in [
        &["forget"][..],
        &["forget", "relative"],
        &["forget", "--op", "start", "/a"],
        &["forget", "--source", "nginx", "/a"],
        &["forget", "--list", "/a"],
        &["recommend", "--include", "run:/a"],
    ] {
        let said = world.learner(args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args:?}");
        assert!(said.err.starts_with("error: "), "{args:?}: {}", said.err);
    }
}

#[test]
fn a_name_of_any_bytes_is_forgotten_listed_on_one_line_and_learned_again() {
    let world = World::new();
    let forget = [OsString::from("forget"), hostile()];
    let said = world.learner_takes(forget);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.err.lines().count(), 2, "{}", said.err);
    let list = world.learner(&["forget", "--list"]).out;
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("/tmp/a\\nb: [x]\\xff"), "{list}");
    let json = world.learner(&["forget", "--list", "-f", "json"]).out;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[0]["path_bytes"], BASE64.encode(HOSTILE));
    let policy = world.policy("web", &[]);
    assert!(!policy.err.contains("/tmp/a"), "{}", policy.err);

    let undo = [OsString::from("forget"), "--undo".into(), hostile()];
    assert_eq!(world.learner_takes(undo).code, 0);
    let policy = world.policy("web", &[]);
    assert!(
        policy.err.contains("/tmp/a\\nb: [x]\\xff"),
        "{}",
        policy.err
    );
}

#[test]
fn what_came_from_outside_is_held_back_until_a_person_names_it() {
    let world = World::new();
    let held = world.policy("web", &[]);
    assert!(
        !held.out.contains("dash") && !held.out.contains("/etc/profile"),
        "{}",
        held.out
    );
    assert_eq!(
        held.err
            .lines()
            .filter(|line| line.contains("held back"))
            .collect::<Vec<_>>(),
        [
            "warning: default/Deployment/web/web: held back: exec /usr/bin/dash by /usr/bin/runc: the program was not started by the workload",
            "warning: default/Deployment/web/web: held back: open /etc/profile by /usr/bin/dash: the program was not started by the workload",
            "warning: default/Deployment/web/web: what is held back is learned if you name it: learner recommend --include OP:PATH",
        ]
    );
    let named = world.policy("web", &["--include", "exec:/usr/bin/dash"]);
    assert!(
        named.out.contains("dash") && named.out.contains("/etc/profile"),
        "{}",
        named.out
    );
    assert!(!named.err.contains("held back"), "{}", named.err);
}

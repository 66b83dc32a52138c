//! A directory of its own for a test, and what the command line answers there.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory, and where its store will be.
pub(crate) struct World {
    dir: TempDir,
}

/// How it ended and what was said, with the directory written as `[DIR]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().expect("a directory"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        let folder = path.parent().expect("a folder");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn learner_reads(&self, args: &[&str], stdin: &str) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_learner"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("LEARNER_STORE", self.path().join("store"))
            .write_stdin(stdin)
            .output()
            .expect("learner runs");
        let dir = self.path().to_str().expect("text");
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .expect("UTF-8")
                .replace(dir, "[DIR]")
        };
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    pub(crate) fn learner(&self, args: &[&str]) -> Said {
        self.learner_reads(args, "")
    }
}

/// A recording of a run of `shop/Deployment/<app>`, watched whole; each line as its own fields.
pub(crate) fn recording(app: &str, run: &str, lines: &[Value]) -> String {
    let start = json!({"op": "start"});
    let lines = [start].into_iter().chain(lines.iter().cloned());
    let text = lines.map(|fields| {
        let mut line = json!({
            "run": run, "namespace": "shop", "kind": "Deployment", "workload": app,
            "container": app, "labels": {"app": app}, "image": "", "at": "2026-11-23T01:02:03Z",
        });
        let all = line.as_object_mut().expect("an object");
        all.extend(fields.as_object().expect("an object").clone());
        format!("{line}\n")
    });
    text.collect()
}

pub(crate) fn open(source: &str, path: &str, access: &str) -> Value {
    json!({
        "op": "open", "source": source, "path": path, "access": access, "uid": 0, "owner": true,
        "tty": false, "result": "ok", "count": 3,
    })
}

/// A policy for the pods of `app` in the namespace `shop`.
pub(crate) fn policy(name: &str, app: &str, rules: &str) -> String {
    format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\n\
         metadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  selector: {{matchLabels: {{app: {app}}}}}\n  {rules}\n"
    )
}

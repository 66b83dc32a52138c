//! A directory of its own for a test, and what the command line answers there.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
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

//! What a user types, and what the command line answers: exit code, answer and talk.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use learner::store::Store;
use tempfile::TempDir;

const LEARNER: &str = env!("CARGO_BIN_EXE_learner");

/// One watched run of nginx, and one of a program that was watched late and with loss.
const RECORDING: &str = r#"{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:03Z","op":"start"}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:03.1Z","op":"exec","path":"/usr/sbin/nginx","result":"ok","count":1}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:04Z","last":"2026-11-23T01:12:04Z","op":"open","source":"/usr/sbin/nginx","path":"/etc/nginx/nginx.conf","access":"r","uid":0,"owner":true,"result":"ok","count":4}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:05Z","op":"open","source":"/usr/sbin/nginx","path":"/etc/shadow","access":"r","uid":33,"owner":false,"result":"EACCES","count":1}
{"run":"job-1","namespace":"batch","kind":"Command","workload":"report","container":"report","labels":{"app":"report"},"image":"","at":"2026-11-23T02:00:00Z","op":"late"}
{"run":"job-1","namespace":"batch","kind":"Command","workload":"report","container":"report","labels":{"app":"report"},"image":"","at":"2026-11-23T02:00:00Z","op":"lost","reason":"ring-full","count":3,"result":"ok"}
{"run":"job-1","namespace":"batch","kind":"Command","workload":"report","container":"report","labels":{"app":"report"},"image":"","at":"2026-11-23T02:00:01Z","op":"open","source":null,"path":"/var/spool/","access":"r","result":"ok","count":1}
"#;

const NGINX: &str = "\
apiVersion: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata:
  name: nginx-deployment-learned
  namespace: default
spec:
  severity: 1
  tags:
  - learner
  - allowlist
  message: \"default/Deployment/nginx/nginx did what it was not seen to do\"
  selector:
    matchLabels:
      app: nginx
  process:
    matchPaths:
    - path: /usr/sbin/nginx
  file:
    matchPaths:
    - path: /etc/nginx/nginx.conf
      fromSource:
      - path: /usr/sbin/nginx
    - path: /usr/sbin/nginx
  action: Allow
";

const REPORT: &str = "\
apiVersion: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata:
  name: report-command-learned
  namespace: batch
spec:
  severity: 1
  tags:
  - learner
  - allowlist
  message: \"batch/Command/report/report did what it was not seen to do\"
  selector:
    matchLabels:
      app: report
  file:
    matchPaths:
    - path: /var/spool
  action: Allow
";

const REPORT_WARNINGS: &str = "\
warning: batch/Command/report/report: partial evidence: 1 of 1 runs were not watched whole, so the policy may lack what they did unseen
warning: batch/Command/report/report: lost 3 events (ring-full): the policy may lack what they did
warning: batch/Command/report/report: no program was seen to start, so the policy does not restrict programs
warning: batch/Command/report/report: 1 of 1 runs could not be judged whole: the first program was not seen, so programs that were started from outside cannot be told from the workload's own
";

const REPORT_SUMMARY: &str = "\
batch/Command/report/report: 1 rule from 1 run, 3 of 256 entries of the rule map
batch/Command/report/report: no run was watched whole, so nothing can be said of the next one
batch/Command/report/report: 1 partial runs
";

const NGINX_SUMMARY: &str = "\
default/Deployment/nginx/nginx: 3 rules from 1 run, 4 of 256 entries of the rule map
default/Deployment/nginx/nginx: of the next run's behaviours 100 % are expected to be new, 100 % at most; the chance that any is: 100 %, 100 % at most (95 % sure, from 1 complete run)
default/Deployment/nginx/nginx: 1 held in quarantine
";

/// A directory of its own, with a recording in it, and where its store will be.
struct World {
    dir: TempDir,
}

/// How it ended and what was said, with the directory written as `[DIR]`.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn said(code: i32, out: &str, err: &str) -> Said {
    Said {
        code,
        out: out.into(),
        err: err.into(),
    }
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        fs::write(dir.path().join("in.jsonl"), RECORDING).expect("a recording");
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(LEARNER);
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("LEARNER_STORE", self.path().join("store"));
        command
    }

    fn learner_reads(&self, args: &[&str], stdin: &[u8]) -> Said {
        let output = self
            .command(args)
            .write_stdin(stdin)
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
        self.learner_reads(args, b"")
    }

    fn has_no_store(&self) -> bool {
        !self.path().join("store").exists()
    }
}

#[test]
fn a_recommendation_from_a_recording_is_laid_out_as_karmor_does() {
    let world = World::new();
    assert_eq!(
        world.learner(&["recommend", "--from", "in.jsonl"]),
        said(
            0,
            "",
            &format!(
                "{REPORT_WARNINGS}{REPORT_SUMMARY}\
                 created policy out/batch-report/report-command-learned.yaml ...\n\
                 {NGINX_SUMMARY}created policy out/default-nginx/nginx-deployment-learned.yaml ...\n"
            )
        )
    );
    let read = |path: &str| fs::read_to_string(world.path().join(path)).expect("written");
    assert_eq!(
        read("out/default-nginx/nginx-deployment-learned.yaml"),
        NGINX
    );
    assert_eq!(read("out/batch-report/report-command-learned.yaml"), REPORT);
    assert!(world.has_no_store());
}

#[test]
fn a_dash_puts_the_policies_on_standard_output() {
    let world = World::new();
    assert_eq!(
        world.learner(&["recommend", "--from", "in.jsonl", "-o", "-"]),
        said(
            0,
            &format!("{REPORT}---\n{NGINX}"),
            &format!("{REPORT_WARNINGS}{REPORT_SUMMARY}{NGINX_SUMMARY}")
        )
    );
    assert_eq!(
        world.learner_reads(
            &["-q", "recommend", "--from", "-", "-o", "-", "-n", "default"],
            RECORDING.as_bytes()
        ),
        said(0, NGINX, "")
    );
    assert!(!world.path().join("out").exists());
}

#[test]
fn a_policy_in_json_is_the_same_policy() {
    let world = World::new();
    let json = world.learner(&[
        "recommend",
        "--from",
        "in.jsonl",
        "-o",
        "-",
        "-f",
        "json",
        "-l",
        "app=nginx",
    ]);
    assert_eq!((json.code, json.err.as_str()), (0, NGINX_SUMMARY));
    let value: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(
        value["spec"]["file"]["matchPaths"][0]["path"],
        "/etc/nginx/nginx.conf"
    );
    assert_eq!(value["spec"]["action"], "Allow");
}

#[test]
fn with_nothing_recorded_there_is_nothing_to_recommend() {
    let world = World::new();
    assert_eq!(
        world.learner(&["recommend"]),
        said(
            1,
            "",
            "warning: nothing to recommend: nothing has been recorded in [DIR]/store\n"
        )
    );
    assert_eq!(
        world.learner(&["recommend", "--from", "in.jsonl", "-n", "other"]),
        said(
            1,
            "",
            "warning: nothing to recommend: nothing that was recorded in these recordings has this namespace and these labels\n"
        )
    );
    assert_eq!(
        world.learner(&["runs", "-f", "json"]),
        said(
            1,
            "[]\n",
            "warning: nothing has been recorded in [DIR]/store\n"
        )
    );
    assert_eq!(
        world.learner(&["export"]),
        said(1, "", "warning: nothing has been recorded in [DIR]/store\n")
    );
    assert!(world.has_no_store());
}

#[test]
fn a_workload_without_labels_gets_no_policy() {
    let world = World::new();
    let bare = RECORDING.replace(r#"{"app":"report"}"#, "{}");
    fs::write(world.path().join("bare.jsonl"), bare).expect("a recording");
    let answer = world.learner(&["recommend", "--from", "bare.jsonl", "-o", "-"]);
    assert_eq!(
        answer,
        said(
            1,
            NGINX,
            &format!(
                "warning: no policy for batch/Command/report/report: its runs carry no labels, and a policy without labels would select the whole namespace\n{NGINX_SUMMARY}"
            )
        )
    );
}

#[test]
fn a_line_that_does_not_parse_is_named_and_nothing_is_imported() {
    let world = World::new();
    let bad = format!("{RECORDING}{{\"run\":\n");
    fs::write(world.path().join("bad.jsonl"), bad).expect("a recording");
    for args in [
        &["import", "in.jsonl", "bad.jsonl"][..],
        &["recommend", "--from", "bad.jsonl"],
    ] {
        let answer = world.learner(args);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{answer:?}");
        assert!(answer.err.starts_with("error: bad.jsonl:8"), "{answer:?}");
    }
    assert!(world.has_no_store());
    let missing = world.learner(&["import", "none.jsonl"]);
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("none.jsonl"), "{missing:?}");
}

#[test]
fn what_is_imported_twice_counts_once() {
    let world = World::new();
    assert_eq!(
        world.learner(&["import", "in.jsonl"]),
        said(0, "", "2 runs read and stored in [DIR]/store\n")
    );
    let once = world.learner(&["export"]);
    assert_eq!(
        world.learner(&["import", "in.jsonl", "in.jsonl"]),
        said(
            0,
            "",
            "2 runs read, all of them known to [DIR]/store already\n"
        )
    );
    assert_eq!(world.learner(&["export"]), once);
    assert_eq!(
        world.learner(&["recommend", "-n", "default", "-o", "-"]),
        said(0, NGINX, NGINX_SUMMARY)
    );
}

#[test]
fn runs_tells_of_each_workload_what_was_recorded() {
    let world = World::new();
    world.learner(&["-q", "import", "in.jsonl"]);
    assert_eq!(
        world.learner(&["runs"]),
        said(
            0,
            "\
NAMESPACE  WORKLOAD          CONTAINER  IMAGES  RUNS  PARTIAL  LOST  BEHAVIORS  FIRST SEEN            LAST SEEN
batch      Command/report    report     1       1     1        3     1          2026-11-23T02:00:01Z  2026-11-23T02:00:01Z
default    Deployment/nginx  nginx      1       1     0        0     3          2026-11-23T01:02:03Z  2026-11-23T01:12:04Z
",
            ""
        )
    );
    let json = world.learner(&["runs", "-f", "json", "-l", "app=report"]);
    assert_eq!((json.code, json.err.as_str()), (0, ""));
    let rows: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert_eq!(rows[0]["partial"], 1);
    assert_eq!(rows[0]["lost"]["ring-full"], 3);
}

#[test]
fn what_is_exported_and_imported_elsewhere_is_the_same() {
    let (here, there) = (World::new(), World::new());
    here.learner(&["import", "in.jsonl"]);
    let parquet = there.path().join("all.parquet");
    let parquet = parquet.to_str().expect("text");
    let exported = here.learner(&["export", "-f", "parquet", "-o", parquet]);
    assert_eq!((exported.code, exported.out.as_str()), (0, ""));
    assert!(
        exported.err.starts_with("created recording "),
        "{exported:?}"
    );
    assert_eq!(there.learner(&["import", "all.parquet"]).code, 0);
    let jsonl = here.learner(&["export"]);
    assert_eq!(there.learner(&["export"]), jsonl);

    let third = World::new();
    assert_eq!(
        third
            .learner_reads(&["import", "-"], jsonl.out.as_bytes())
            .code,
        0
    );
    assert_eq!(third.learner(&["export", "-o", "-"]), jsonl);
    let selected = third.learner(&["export", "-n", "batch"]);
    assert_eq!(selected.out.lines().count(), 3, "{selected:?}");
}

#[test]
fn a_recording_is_readable_by_its_owner_alone() {
    let world = World::new();
    world.learner(&["import", "in.jsonl"]);
    let old = world.path().join("old.jsonl");
    fs::write(&old, "what was there").expect("a file");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).expect("a mode");
    for (format, name) in [
        ("jsonl", "new.jsonl"),
        ("parquet", "new.parquet"),
        ("jsonl", "old.jsonl"),
    ] {
        assert_eq!(world.learner(&["export", "-f", format, "-o", name]).code, 0);
        let found = world.path().join(name).metadata().expect("a recording");
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_store_that_another_process_has_open_is_said_with_what_to_do() {
    let world = World::new();
    let store = Store::open(&world.path().join("store")).expect("a store");
    for args in [
        &["import", "in.jsonl"][..],
        &["recommend"],
        &["runs"],
        &["export"],
    ] {
        let answer = world.learner(args);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{args:?}");
        assert!(
            answer
                .err
                .starts_with("error: [DIR]/store: another process has the store open"),
            "{answer:?}"
        );
    }
    drop(store);
    assert_eq!(world.learner(&["import", "in.jsonl"]).code, 0);
}

#[test]
fn a_flag_that_is_not_known_is_an_error() {
    let world = World::new();
    for args in [
        &["recommend", "--form", "x"][..],
        &["recommend", "-l", "app"],
        &["import"],
        &["completions", "tcl"],
        &["-q", "-v", "runs"],
    ] {
        let answer = world.learner(args);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{args:?}");
        assert!(answer.err.starts_with("error: "), "{answer:?}");
    }
}

#[test]
fn every_verb_has_a_worked_example_in_its_help() {
    let world = World::new();
    let help = world.learner(&["--help"]);
    assert!(help.out.contains("Example:"), "{help:?}");
    let verbs = help
        .out
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|verb| *verb != "help");
    let mut count = 0;
    for verb in verbs {
        let answer = world.learner(&[verb, "--help"]);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{verb}");
        assert!(
            answer.out.contains("Example") && answer.out.contains(&format!("learner {verb} ")),
            "{answer:?}"
        );
        count += 1;
    }
    assert!(count >= 5, "{help:?}");
    assert!(world.learner(&["--version"]).out.starts_with("learner "));
}

#[test]
fn there_are_completions_for_every_shell() {
    let world = World::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let answer = world.learner(&["completions", shell]);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{shell}");
        assert!(answer.out.contains("recommend"), "{shell}");
    }
}

#[test]
fn as_a_plugin_of_kubectl_it_goes_by_the_name_that_is_typed() {
    let world = World::new();
    let plugin = world.path().join("kubectl-learner");
    std::os::unix::fs::symlink(LEARNER, &plugin).expect("a link");
    let says = |args: &[&str]| {
        let output = Command::new(&plugin).args(args).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(says(&["--help"]).contains("Usage: kubectl learner "));
    assert!(says(&["promote", "--help"]).contains("Usage: kubectl learner promote "));
    assert!(says(&["--version"]).starts_with("learner "));
    let script = says(&["completions", "bash"]);
    assert!(
        script.contains(" kubectl-learner\n") && !script.contains(" learner\n"),
        "{script}"
    );
    let world = world.learner(&["promote", "--help"]);
    assert!(world.out.contains("Usage: learner promote "), "{world:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::new();
    world.learner(&["import", "in.jsonl"]);
    for args in [
        &["completions", "bash"][..],
        &["export"],
        &["runs"],
        &["recommend", "-o", "-", "-n", "default"],
    ] {
        let mut child = std::process::Command::new(LEARNER)
            .args(args)
            .env("LEARNER_STORE", world.path().join("store"))
            .stdout(pipe_without_reader())
            .stderr(Stdio::piped())
            .spawn()
            .expect("learner runs");
        let mut err = String::new();
        let stderr = child.stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut err).expect("text");
        let status = child.wait().expect("it ends");
        let talk = if args[0] == "recommend" {
            NGINX_SUMMARY
        } else {
            ""
        };
        assert_eq!((status.code(), err.as_str()), (Some(0), talk), "{args:?}");
    }
}

fn pipe_without_reader() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

#[test]
fn a_recording_goes_to_its_file_whole_or_not_at_all() {
    let world = World::new();
    world.learner(&["import", "in.jsonl"]);
    fs::write(world.path().join("all.jsonl"), "old").expect("a file");
    let answer = world.learner(&["export", "-o", "all.jsonl"]);
    assert_eq!(answer, said(0, "", "created recording all.jsonl ...\n"));
    let written = fs::read_to_string(world.path().join("all.jsonl")).expect("written");
    assert_eq!(written, world.learner(&["export"]).out);
    let nowhere = world.learner(&["export", "-o", "none/all.jsonl"]);
    assert_eq!(nowhere.code, 2);
    assert!(
        nowhere.err.starts_with("error: none/all.jsonl: "),
        "{nowhere:?}"
    );
    assert_eq!(world.learner(&["export", "-o", "/dev/null"]).code, 0);
}

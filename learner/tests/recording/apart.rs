//! What becomes of a process that decodes Parquet is said, whatever it is.

use std::cell::Cell;
use std::io::Cursor;
use std::process::Command;

use learner::profile::Evidence;
use learner::recording::{self, Decoder, RecordingError};

use crate::world::{Form, SAMPLE, folded, sample, written};

fn decoded_by(script: &str) -> Result<Evidence, RecordingError> {
    let parquet = written(Form::Parquet, &sample());
    let command = |name: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", name]);
        command
    };
    let decoder = Decoder::Apart(&command);
    let evidence = Evidence::default();
    recording::fold_from(Cursor::new(parquet), "in", decoder, evidence, &mut |_| {})
}

#[test]
fn what_the_process_answers_is_what_the_file_holds() {
    let script = format!("cat <<'END'\n{SAMPLE}END\n");
    let evidence = decoded_by(&script).expect("decoded");
    assert_eq!(evidence.runs(), folded(sample()).runs());
}

#[test]
fn the_process_is_given_the_file_and_its_name() {
    let script = r#"head -c 4 >&2; printf ': %s' "$1" >&2; exit 2"#;
    let error = decoded_by(script).expect_err("refused").to_string();
    assert_eq!(error, "PAR1: in");
}

#[test]
fn an_answer_before_the_end_of_a_process_that_breaks_down_counts_for_nothing() {
    let script =
        format!("cat <<'END'\n{SAMPLE}END\necho 'memory allocation failed' >&2\nkill -ABRT $$\n");
    let error = decoded_by(&script).expect_err("broken down").to_string();
    assert!(
        error.starts_with("in: not a recording in Parquet: it is not a whole Parquet file"),
        "{error}"
    );
    assert!(
        error.contains("signal: 6") && error.ends_with("(memory allocation failed)"),
        "{error}"
    );
}

#[test]
fn every_end_but_a_good_one_is_an_error() {
    for script in ["exit 1", "exit 101", "kill -KILL $$", "exit 2", "echo '{'"] {
        assert!(decoded_by(script).is_err(), "{script}");
    }
}

#[test]
fn a_process_that_says_much_is_heard_out() {
    let script = "head -c 10000000 /dev/zero | tr '\\0' x >&2; exit 2";
    let error = decoded_by(script).expect_err("refused").to_string();
    assert_eq!(error.len(), 64 << 10);
}

#[test]
fn a_process_that_cannot_be_started_is_said_so() {
    let parquet = written(Form::Parquet, &sample());
    let command = |_: &str| Command::new("/nonexistent/learner");
    let decoder = Decoder::Apart(&command);
    let evidence = Evidence::default();
    let error = recording::fold_from(Cursor::new(parquet), "in", decoder, evidence, &mut |_| {})
        .expect_err("not started")
        .to_string();
    assert!(
        error.starts_with("in: a process to decode Parquet could not be started: "),
        "{error}"
    );
}

#[test]
fn other_forms_are_read_without_a_process() {
    for form in [Form::Jsonl, Form::Gzip] {
        let asked = Cell::new(false);
        let command = |_: &str| {
            asked.set(true);
            Command::new("false")
        };
        let bytes = written(form, &sample());
        let decoder = Decoder::Apart(&command);
        let evidence = Evidence::default();
        recording::fold_from(Cursor::new(bytes), "in", decoder, evidence, &mut |_| {})
            .expect("folded");
        assert!(!asked.get(), "{form:?}");
    }
}

#[test]
fn what_is_relayed_folds_to_what_the_file_holds() {
    let lines: Vec<_> = crate::synthetic::lines(20_000).collect();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("in");
    std::fs::write(&path, written(Form::Parquet, &lines)).expect("a file");
    let file = std::fs::File::open(path).expect("a file");
    let mut out = Vec::new();
    recording::relay(file, "in", Evidence::default(), &mut out).expect("relayed");
    let again = crate::world::read(&out);
    assert_eq!(folded(again).runs(), folded(lines).runs());
}

//! Parquet that somebody damaged, or made to do damage.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn learner(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_learner"))
        .args(args)
        .current_dir(dir)
        .env("LEARNER_STORE", dir.join("store"))
        .output()
        .expect("learner")
}

/// The recording of a short run of cron, and a directory to damage it in.
fn recording() -> (TempDir, Vec<u8>) {
    let dir = TempDir::new().expect("a directory");
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/cron-report.parquet");
    (dir, fs::read(whole).expect("a recording"))
}

/// Bits all over the file, and the lowest bit of each byte of the first pages: among these are some
/// for which polars 0.55 asks for 2^61 bytes.
fn flips(len: usize) -> impl Iterator<Item = usize> {
    (0..len * 8)
        .step_by(1_511)
        .chain((0..250).map(|byte| byte * 8))
}

#[test]
fn a_flipped_bit_in_parquet_ends_in_an_answer_or_in_an_error_that_names_the_file() {
    let (dir, whole) = recording();
    let file = dir.path().join("flipped.parquet");
    let mut refused = 0;
    for bit in flips(whole.len()) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, flipped).expect("a file");
        let output = learner(
            dir.path(),
            &["recommend", "-q", "-o-", "--from", "flipped.parquet"],
        );
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0 | 1) => assert!(said.is_empty(), "bit {bit}: {said}"),
            Some(2) => {
                refused += 1;
                assert!(
                    said.starts_with("error: flipped.parquet:"),
                    "bit {bit}: {said}"
                );
                assert_eq!(said.lines().count(), 1, "bit {bit}: {said}");
                assert!(output.stdout.is_empty(), "bit {bit}");
            }
            _ => panic!("bit {bit}: {}: {said}", output.status),
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn nothing_is_imported_of_files_of_which_one_is_damaged() {
    let (dir, whole) = recording();
    fs::write(dir.path().join("whole.parquet"), &whole).expect("a file");
    let mut damaged = whole;
    damaged[200] ^= 0xff;
    fs::write(dir.path().join("damaged.parquet"), &damaged).expect("a file");
    let output = learner(dir.path(), &["import", "whole.parquet", "damaged.parquet"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.starts_with("error: damaged.parquet: not a recording in Parquet: "),
        "{said}"
    );
    assert!(!dir.path().join("store").exists());
}

#[test]
fn a_file_with_a_hostile_name_is_named() {
    let (dir, _) = recording();
    for name in ["--help", "-", "a\nb", "$(true)"] {
        fs::write(dir.path().join(name), "PAR1 and no more PAR1").expect("a file");
        let path = format!("./{name}");
        let output = learner(dir.path(), &["recommend", "-o-", "--from", &path]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("not a recording in Parquet"), "{said}");
    }
}

#[test]
fn parquet_is_read_from_a_pipe() {
    let (dir, whole) = recording();
    let file = dir.path().join("whole.parquet");
    fs::write(&file, whole).expect("a file");
    let from_file = learner(
        dir.path(),
        &["recommend", "-q", "-o-", "--from", "whole.parquet"],
    );
    let piped = Command::new("sh")
        .args([
            "-c",
            r#"cat whole.parquet | "$0" recommend -q -o- --from -"#,
        ])
        .arg(env!("CARGO_BIN_EXE_learner"))
        .current_dir(dir.path())
        .output()
        .expect("a shell");
    assert_eq!(piped.status.code(), Some(0));
    assert!(!piped.stdout.is_empty());
    assert_eq!(piped.stdout, from_file.stdout);
}

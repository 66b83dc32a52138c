//! Recordings that were cut off, overwritten, or never were any.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};

use learner::recording::{self, JsonlWriter, MAX_LINE, ParquetWriter, Problem, RecordingError};
use polars::prelude::{
    DataFrame, IntoColumn as _, NamedFrom as _, ParquetWriter as AnyParquet, Series,
};

use crate::world::{Form, SAMPLE, read, said, sample, written};

#[test]
fn json_lines_cut_anywhere_give_the_whole_lines_before_and_name_the_cut_one() {
    for cut in 0..SAMPLE.len() {
        let (lines, done) = said(&SAMPLE.as_bytes()[..cut]);
        let whole = SAMPLE[..SAMPLE.floor_char_boundary(cut)]
            .matches('\n')
            .count();
        let rest = &SAMPLE.as_bytes()[..cut];
        let rest = &rest[rest
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1)..];
        match done {
            // The cut is at the end of a line, before or after its line feed.
            Ok(()) => assert!(rest.is_empty() || rest.ends_with(b"}"), "cut at {cut}"),
            Err(RecordingError::Line { line, problem, .. }) => {
                assert_eq!(
                    (line, lines.len()),
                    (whole as u64 + 1, whole),
                    "cut at {cut}"
                );
                assert!(
                    matches!(problem, Problem::CutOff | Problem::Json(_)),
                    "{problem}"
                );
            }
            Err(other) => panic!("cut at {cut}: {other}"),
        }
        assert_eq!(lines, sample()[..lines.len()]);
    }
}

#[test]
fn gzip_and_parquet_cut_anywhere_are_an_error_that_names_the_file() {
    for form in [Form::Gzip, Form::Parquet] {
        let bytes = written(form, &sample());
        for cut in 1..bytes.len() {
            let (_, done) = said(&bytes[..cut]);
            let error = done.expect_err("a file that is cut off").to_string();
            assert!(error.starts_with("in:"), "{form:?} cut at {cut}: {error}");
        }
    }
}

#[test]
fn a_flipped_byte_never_ends_in_a_panic() {
    for form in [Form::Jsonl, Form::Gzip] {
        let bytes = written(form, &sample());
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                if let (_, Err(error)) = said(&damaged) {
                    assert!(error.to_string().starts_with("in:"), "{form:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_recording_is_said_so() {
    let random: Vec<u8> = (0..100_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for bytes in [
        &b"\0"[..],
        b"\x7fELF\x02\x01\x01",
        b"PAR1",
        b"PAR1PAR1",
        b"PAR1\0\0\0\0PAR1",
        b"\x1f\x8b",
        b"{",
        b"null",
        &random,
    ] {
        let (lines, done) = said(bytes);
        let error = done.expect_err("no recording").to_string();
        assert!(lines.is_empty() && error.starts_with("in:"), "{error}");
    }
}

#[test]
fn a_line_of_100_mib_is_refused_before_it_is_read() {
    struct Counted<'a>(io::Take<io::Repeat>, &'a Cell<u64>);
    impl Read for Counted<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(into)?;
            self.1.set(self.1.get() + read as u64);
            Ok(read)
        }
    }
    let taken = Cell::new(0);
    let long = Counted(io::repeat(b' ').take(100 << 20), &taken);
    let reader = BufReader::new(SAMPLE.as_bytes().chain(long));
    let mut lines = 0;
    let error = recording::read_from(reader, "in", &mut |_| lines += 1).expect_err("too long");
    assert!(
        matches!(
            error,
            RecordingError::Line {
                line: 9,
                problem: Problem::TooLong,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(lines, 8);
    assert!(
        taken.get() < MAX_LINE as u64 + (64 << 10),
        "{}",
        taken.get()
    );
}

#[test]
fn the_longest_line_is_read() {
    let line = SAMPLE.lines().next().expect("a line");
    let padded = format!("{line}{}", " ".repeat(MAX_LINE - line.len()));
    assert_eq!(read(padded.as_bytes()).len(), 1);
    let (_, done) = said(format!("{padded} ").as_bytes());
    assert!(done.is_err());
}

#[test]
fn a_full_disk_is_an_error_of_writing() {
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device")
    };
    let mut jsonl = JsonlWriter::new(full());
    assert!(matches!(
        jsonl.write(&sample()[0]),
        Err(RecordingError::Write(_))
    ));
    let parquet = ParquetWriter::new(full()).and_then(|mut writer| {
        writer.write(&sample()[0])?;
        writer.finish()
    });
    let error = parquet.expect_err("a full disk");
    assert!(
        matches!(&error, RecordingError::Write(cause) if cause.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
}

fn parquet_of(columns: &[(&str, Series)]) -> Vec<u8> {
    let height = columns[0].1.len();
    let columns = columns
        .iter()
        .map(|(name, series)| series.clone().with_name((*name).into()).into_column())
        .collect();
    let mut frame = DataFrame::new(height, columns).expect("a frame");
    let mut bytes = Vec::new();
    AnyParquet::new(&mut bytes)
        .finish(&mut frame)
        .expect("written");
    bytes
}

fn text(value: &str) -> Series {
    Series::new("".into(), [value])
}

/// A recording with an exec in it, as another tool may write it: 64-bit numbers, other columns.
fn foreign() -> Vec<(&'static str, Series)> {
    vec![
        ("run", text("r")),
        ("namespace", text("n")),
        ("kind", text("k")),
        ("workload", text("w")),
        ("container", text("c")),
        ("at", text("2026-11-23T01:02:03Z")),
        ("op", text("exec")),
        ("path", text("/bin/a")),
        ("result", text("ok")),
        ("uid", Series::new("".into(), [7_i64])),
        ("count", Series::new("".into(), [2_i32])),
        ("pid", Series::new("".into(), [1.5_f64])),
    ]
}

#[test]
fn parquet_of_another_tool_is_read_if_the_columns_are_there() {
    let lines = read(&parquet_of(&foreign()));
    assert_eq!(lines.len(), 1);
    let again = written(Form::Jsonl, &lines);
    let again = String::from_utf8(again).expect("text");
    assert!(
        again.contains(r#""uid":7,"result":"ok","count":2"#),
        "{again}"
    );
}

#[test]
fn parquet_with_a_column_missing_or_of_another_type_is_said_so() {
    let with = |name: &str, series: Option<Series>| {
        let mut columns = foreign();
        let at = columns
            .iter()
            .position(|(n, _)| *n == name)
            .expect("a column");
        match series {
            Some(series) => columns[at].1 = series,
            None => drop(columns.remove(at)),
        }
        let (lines, done) = said(&parquet_of(&columns));
        assert!(lines.is_empty());
        done.expect_err(name).to_string()
    };
    let error = with("run", None);
    assert_eq!(
        error,
        "in: not a recording in Parquet: it has no column run"
    );
    let error = with("uid", Some(text("root")));
    assert_eq!(
        error,
        "in: not a recording in Parquet: column uid is str, not u32"
    );
    let error = with("uid", Some(Series::new("".into(), [-1_i64])));
    assert!(
        error.starts_with("in: not a recording in Parquet: column uid is not u32: "),
        "{error}"
    );
    let error = with("op", Some(text("exce")));
    assert!(
        error.starts_with("in:1: op \"exce\" is not known"),
        "{error}"
    );
    let error = with("at", Some(Series::new("".into(), [None::<&str>])));
    assert!(error.starts_with("in:1: "), "{error}");
}

#[test]
fn a_file_that_is_not_there_or_is_a_directory_is_named() {
    for (path, expected) in [
        (
            "/nonexistent/in.jsonl",
            "/nonexistent/in.jsonl: reading failed: ",
        ),
        ("/tmp", "/tmp: reading failed: "),
    ] {
        let error = recording::read(path.as_ref(), &mut |_| {})
            .expect_err(path)
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

//! Folding a recording at once gives what folding its lines one after another gives.

use std::cell::Cell;
use std::io::{BufReader, Cursor};

use learner::profile::Evidence;
use learner::recording::{self, Decoder, Problem, RecordingError};

use crate::synthetic;
use crate::world::{FORMS, Form, SAMPLE, said, sample, written};

fn at_once(bytes: &[u8], limit: usize) -> Result<Evidence, RecordingError> {
    let evidence = Evidence::with_limit(limit);
    recording::fold_from(
        Cursor::new(bytes),
        "in",
        Decoder::Within,
        evidence,
        &mut |_| {},
    )
}

fn one_by_one(bytes: &[u8], limit: usize) -> Evidence {
    let mut evidence = Evidence::with_limit(limit);
    let (lines, done) = said(bytes);
    done.expect("a whole recording");
    lines.into_iter().for_each(|line| evidence.fold(line));
    evidence
}

#[test]
fn a_long_recording_gives_the_same_at_once_and_line_by_line() {
    let lines: Vec<_> = synthetic::lines(40_000).collect();
    for form in FORMS {
        let bytes = written(form, &lines);
        // The second limit leaves most behaviours out: which, depends on the order.
        for limit in [100_000, 1_000] {
            let (one, two) = (at_once(&bytes, limit), one_by_one(&bytes, limit));
            assert_eq!(one.expect("folded").runs(), two.runs(), "{form:?} {limit}");
        }
    }
}

#[test]
fn every_kind_of_line_is_folded() {
    let lines: Vec<_> = (0..3).flat_map(|_| sample()).collect();
    for form in FORMS {
        let bytes = written(form, &lines);
        let one = at_once(&bytes, 100).expect("folded");
        assert_eq!(one.runs(), one_by_one(&bytes, 100).runs(), "{form:?}");
    }
}

#[test]
fn the_lines_are_counted() {
    let lines: Vec<_> = synthetic::lines(40_000).collect();
    for form in FORMS {
        let bytes = written(form, &lines);
        let counted = Cell::new(0);
        let mut count = |lines| counted.set(counted.get() + lines);
        recording::fold_from(
            Cursor::new(bytes),
            "in",
            Decoder::Within,
            Evidence::default(),
            &mut count,
        )
        .expect("folded");
        assert_eq!(counted.get(), 40_000, "{form:?}");
    }
}

#[test]
fn the_first_bad_line_is_named_wherever_others_are() {
    let lines: Vec<_> = synthetic::lines(40_000).collect();
    let bytes = written(Form::Jsonl, &lines);
    let text = String::from_utf8(bytes).expect("text");
    for bad in [0, 1, 20_000, 39_998] {
        let mut lines: Vec<&str> = text.lines().collect();
        lines[bad] = "{}";
        lines[bad + 1] = "[]";
        lines[39_999] = "{";
        let error = at_once(lines.join("\n").as_bytes(), 100).expect_err("a bad line");
        let expected = format!("in:{}: ", bad + 1);
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn a_count_that_is_wrong_only_when_repeated_is_an_error() {
    let line = SAMPLE.lines().nth(2).expect("a line");
    for (from, to) in [
        (r#""count":4"#, r#""count":0"#),
        (r#""at":"2026"#, r#""at":"0x"#),
        (r#""last":"2026"#, r#""last":"0x"#),
    ] {
        let text = format!("{line}\n{}\n", line.replace(from, to));
        let error = at_once(text.as_bytes(), 100).expect_err(to).to_string();
        assert!(error.starts_with("in:2: field"), "{error}");
    }
}

#[test]
fn a_line_longer_than_all_that_is_read_at_once_is_read() {
    let line = SAMPLE.lines().next().expect("a line");
    let long = format!("{line}{}", " ".repeat(5 << 20));
    let text = [line, &long, line, &long, &long].join("\n");
    assert_eq!(said(text.as_bytes()).0.len(), 5);
    at_once(text.as_bytes(), 100).expect("folded");
    let longer = format!("{line}\n{line}{}\n{{}}", " ".repeat(recording::MAX_LINE));
    let error = at_once(longer.as_bytes(), 100).expect_err("too long");
    assert!(
        matches!(
            error,
            RecordingError::Line {
                line: 2,
                problem: Problem::TooLong,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn what_comes_before_a_failure_of_reading_is_looked_at_first() {
    struct Failing;
    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("no more"))
        }
    }
    let read = |text: &'static str| {
        let reader = BufReader::new(std::io::Read::chain(text.as_bytes(), Failing));
        recording::fold_from(
            reader,
            "in",
            Decoder::Within,
            Evidence::default(),
            &mut |_| {},
        )
        .expect_err("a failure")
        .to_string()
    };
    assert_eq!(read(SAMPLE), "in: reading failed: no more");
    assert!(read("{}\n\n\n").starts_with("in:1: "));
}

/// A line as others may spell it: how it goes on after what says whose it is.
const SPELLINGS: [&str; 14] = [
    r#""at":"<at>","op":"open","path":"/a","access":"r","result":"ok","count":<n>"#,
    r#""at":"<at>","last":"<last>","op":"open","path":"/a","access":"r","result":"ok","count":<n>"#,
    r#""at" : "<at>", "op" : "open", "path" : "/a", "access" : "r", "result" : "ok", "count" : <n> "#,
    r#""count":<n>,"result":"ok","access":"r","path":"/a","op":"open","last":"<last>","at":"<at>""#,
    // The first name is that of another field.
    r#""labels":{"at":"x","last":"y"},"at":"<at>","last":"<last>","op":"exec","path":"/b","result":"ok","count":<n>"#,
    r#""x":{"count":<n>,"at":"<at>"},"at":"<at>","op":"exec","path":"/b","result":"ok","count":1<n>"#,
    r#""x":["at","last","count"],"at":"<at>","op":"exec","path":"/b","result":"ok","count":<n>"#,
    r#""path":"/\"at\":\"<at>\"","at":"<at>","op":"exec","result":"ok","count":<n>"#,
    // Names and values that are spelled otherwise.
    r#""\u0061t":"<at>","x":{"at":"<last>"},"op":"exec","path":"/b","result":"ok","count":<n>"#,
    r#""at":"<at>","last":null,"op":"exec","path":"/b","result":"ok","count":null"#,
    r#""at":"<at>","last":"2026-01-01T03:00:00+02:00","op":"exec","path":"/b","result":"ok","count":<n>"#,
    // Of these the count means nothing, or something else.
    r#""at":"<at>","op":"start","count":<n>"#,
    r#""at":"<at>","op":"lost","reason":"ring","count":<n>"#,
    r#""at":"<at>","op":"lost","reason":"\u0072ing","count":<n>,"x":<n>"#,
];

#[test]
fn however_a_line_is_spelled_each_counts_for_what_it_says() {
    let mut text = String::new();
    for n in 1..40 {
        for spelling in SPELLINGS {
            let spelled = spelling
                .replace("<at>", &format!("2026-01-01T00:{:02}:07.{n}Z", n % 3))
                .replace("<last>", &format!("2026-01-02T00:00:{:02}Z", n % 7))
                .replace("<n>", &(n * n).to_string());
            text += &format!(
                r#"{{"run":"r{}","namespace":"n","kind":"k","workload":"w","container":"c",{spelled}}}"#,
                n % 2
            );
            text.push('\n');
        }
    }
    let folded = at_once(text.as_bytes(), 100).expect("folded");
    assert_eq!(folded.runs(), one_by_one(text.as_bytes(), 100).runs());
}

#[test]
fn a_line_is_an_error_though_all_but_its_numbers_was_read_before() {
    let line = |at: &str, count: &str| {
        format!(
            r#"{{"run":"r","namespace":"n","kind":"k","workload":"w","container":"c","at":"{at}","op":"exec","path":"/a","result":"ok","count":{count}}}"#
        )
    };
    let good = line("2026-01-01T00:00:00Z", "1");
    for (at, count) in [
        ("2026-01-01T00:00:00Z", "0"),
        ("2026-01-01T00:00:00Z", "01"),
        ("2026-01-01T00:00:00Z", "-1"),
        ("2026-01-01T00:00:00Z", "1.0"),
        ("2026-01-01T00:00:00Z", "18446744073709551616"),
        ("2026-01-01T00:00:61Z", "1"),
        ("2026-02-30T00:00:00Z", "1"),
        ("2026-01-01T00:00:00", "1"),
        ("", "1"),
    ] {
        let bad = line(at, count);
        let text = format!("{good}\n{good}\n{good}\n{good}\n{bad}\n{good}\n");
        let error = at_once(text.as_bytes(), 100).expect_err(&bad);
        let (_, done) = said(text.as_bytes());
        assert_eq!(error.to_string(), done.expect_err(&bad).to_string());
        assert!(error.to_string().starts_with("in:5: "), "{error}");
    }
}

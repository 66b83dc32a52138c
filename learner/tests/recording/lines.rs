//! What a line may say, and what is said of one that says something else.

use learner::behavior::Behavior;
use learner::observation::{Fact, Observation};

use crate::world::{SAMPLE, read, said, sample};

const WHOSE: &str = r#""run":"r","namespace":"n","kind":"k","workload":"w","container":"c","at":"2026-11-23T01:02:03Z""#;

fn line(rest: &str) -> String {
    format!("{{{WHOSE},{rest}}}\n")
}

/// The complaint about a recording that has this line second.
fn complaint(second: &str) -> String {
    let text = format!("{}{second}", line(r#""op":"start""#));
    let (lines, done) = said(text.as_bytes());
    assert_eq!(lines.len(), 1, "nothing after the bad line is handed over");
    done.expect_err(second).to_string()
}

fn behavior(line: &Observation) -> &Behavior {
    match &line.fact {
        Fact::Seen { behavior, .. } => behavior,
        other => panic!("not a behaviour: {other:?}"),
    }
}

#[test]
fn fields_that_are_not_known_are_ignored() {
    let text = line(
        r#""op":"exec","path":"/bin/a","result":"ok","count":1,"pid":7,"args":["a",{"b":null}]"#,
    );
    assert_eq!(read(text.as_bytes()).len(), 1);
}

#[test]
fn optional_fields_may_be_absent_or_null() {
    let absent = line(r#""op":"exec","path":"/bin/a","result":"ok""#);
    let null = line(
        r#""op":"exec","path":"/bin/a","result":"ok","source":null,"uid":null,"owner":null,"upper":null,"tty":null,"last":null,"count":null,"to":null,"image":null"#,
    );
    assert_eq!(read(absent.as_bytes()), read(null.as_bytes()));
    let Fact::Seen { count, last, .. } = &read(absent.as_bytes())[0].fact else {
        panic!("a behaviour");
    };
    assert_eq!((*count, *last), (1, read(absent.as_bytes())[0].at));
}

#[test]
fn line_ends_of_windows_a_byte_order_mark_and_empty_lines_are_passed_over() {
    let text = SAMPLE.replace('\n', "\r\n\r\n");
    assert_eq!(read(format!("\u{feff}{text}").as_bytes()), sample());
    assert_eq!(read(SAMPLE.trim_end().as_bytes()), sample());
    let (_, done) = said(format!("{SAMPLE}\u{feff}{SAMPLE}").as_bytes());
    let error = done.expect_err("a mark in the middle").to_string();
    assert!(error.starts_with("in:9: "), "{error}");
}

#[test]
fn times_are_utc_whatever_their_offset() {
    let offset = line(r#""op":"start""#).replace("01:02:03Z", "03:32:03.5000009+02:30");
    let utc = line(r#""op":"start""#).replace("01:02:03Z", "01:02:03.5Z");
    assert_eq!(read(offset.as_bytes()), read(utc.as_bytes()));
}

#[test]
fn a_path_that_is_not_text_is_its_bytes() {
    let sample = sample();
    let path = &behavior(&sample[5]).path;
    assert_eq!(path.as_bytes(), b"/tmp/\xff");
}

#[test]
fn what_a_line_lacks_or_gets_wrong_is_said_with_file_and_line() {
    let exec = |rest: &str| line(&format!(r#""op":"exec","result":"ok",{rest}"#));
    let cases = [
        (
            line(r#""op":"exce","path":"/a","result":"ok""#),
            r#"op "exce" is not known; a newer learner may have written it"#,
        ),
        (
            line(r#""op":"lost","count":3"#),
            r#"a line with op lost needs the field "reason""#,
        ),
        (
            line(r#""op":"lost","reason":"ring-full""#),
            r#"a line with op lost needs the field "count""#,
        ),
        (
            line(r#""op":"lost","reason":"ring-full","count":0"#),
            r#"field "count": a line stands for at least 1 event"#,
        ),
        (
            line(r#""op":"exec","path":"/a""#),
            r#"a line with op exec needs the field "result""#,
        ),
        (
            line(r#""op":"exec","result":"ok""#),
            r#"a line with op exec needs the field "path""#,
        ),
        (
            line(r#""op":"open","path":"/a","result":"ok""#),
            r#"a line with op open needs the field "access""#,
        ),
        (
            line(r#""op":"open","path":"/a","result":"ok","access":"x""#),
            r#"field "access": "x" is none of r, w and rw"#,
        ),
        (
            line(r#""op":"rename","path":"/a","result":"ok""#),
            r#"a line with op rename needs the field "to""#,
        ),
        (
            exec(r#""path":"bin/a""#),
            r#"field "path": a path must begin with '/'"#,
        ),
        (
            exec(r#""path":"/bin/../etc/a""#),
            r#"field "path": /bin/../etc/a is not a resolved path"#,
        ),
        (
            exec(r#""path":"/bin//a""#),
            r#"field "path": /bin//a is not a resolved path"#,
        ),
        (
            exec(r#""path":"/bin/""#),
            r#"field "path": /bin/ ends in a slash, which only an opened directory does"#,
        ),
        (
            exec(r#""path":"/a\u0000b""#),
            r#"field "path": a path cannot hold a NUL byte"#,
        ),
        (
            exec(r#""path":"/a","path_bytes":"L2I=""#),
            r#"field "path": its bytes and its text are not the same path"#,
        ),
        (
            exec(r#""path":"/a","path_bytes":"!""#),
            r#"field "path": its bytes are not base64"#,
        ),
        (
            exec(r#""path":"/a","source_bytes":"L2I=""#),
            r#"field "source": it has bytes and no text"#,
        ),
        (
            exec(r#""path":"/a","count":-1"#),
            "not a line of a recording: invalid value: integer `-1`, expected u64",
        ),
        (
            exec(r#""path":"/a","uid":4294967296"#),
            "not a line of a recording: invalid value: integer `4294967296`, expected u32",
        ),
        (
            exec(r#""path":"/a","uid":"root""#),
            r#"not a line of a recording: invalid type: string "root", expected u32"#,
        ),
        (
            exec(r#""path":"/a","owner":1"#),
            "not a line of a recording: invalid type: integer `1`, expected a boolean",
        ),
        (
            exec(r#""path":["/a"]"#),
            "not a line of a recording: invalid type: sequence, expected a string",
        ),
        (
            exec(r#""path":"/a","path":"/b""#),
            "not a line of a recording: duplicate field `path`",
        ),
        (
            exec(r#""path":"/a","labels":{"app":1}"#),
            r#"field "labels": it is not an object of strings"#,
        ),
        (
            exec(r#""path":"/a","labels":[]"#),
            r#"field "labels": it is not an object of strings"#,
        ),
        (
            exec(r#""path":"/a","last":"yesterday""#),
            r#"field "last": "yesterday" is not a time as RFC 3339 has it"#,
        ),
        (
            line(r#""op":"start""#).replace(r#""run":"r""#, r#""run":"""#),
            r#"field "run": it is empty"#,
        ),
        (
            r#"{"run":"r"}"#.to_owned(),
            "not a line of a recording: missing field `namespace`",
        ),
        (
            "[1]\n".to_owned(),
            "not a line of a recording: it is no JSON object",
        ),
        (
            "nginx started\n".to_owned(),
            "not a line of a recording: it is no JSON object",
        ),
        (
            "{\"run\":\n".to_owned(),
            "the line is cut off; the recording was not written to its end",
        ),
    ];
    for (text, expected) in cases {
        let said = complaint(&text);
        assert!(
            said.starts_with(&format!("in:2: {expected}")),
            "{text}{said}"
        );
    }
}

//! Small recordings, and every way to write and read one.

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use learner::observation::Observation;
use learner::profile::Evidence;
use learner::recording::{self, JsonlWriter, ParquetWriter, RecordingError, observations};

/// One run with one of everything: markers, a file, a directory, a rename, a failure, a name that
/// is not UTF-8.
pub(crate) const SAMPLE: &str = r#"{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:03Z","op":"start"}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:03.1Z","op":"exec","source":null,"path":"/usr/sbin/nginx","uid":0,"owner":true,"upper":false,"tty":false,"result":"ok","count":1}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:04Z","last":"2026-11-23T01:12:04.000001Z","op":"open","source":"/usr/sbin/nginx","path":"/etc/nginx/","access":"r","result":"ok","count":4}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:05Z","op":"rename","source":"/usr/sbin/nginx","path":"/var/log/a","to":"/var/log/b\n\"'\\","result":"ok","count":1}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:06Z","op":"open","source":"/usr/sbin/nginx","path":"/etc/shadow","access":"rw","uid":33,"result":"EACCES","count":1}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:02:07Z","op":"unlink","source":"/usr/sbin/nginx","path":"/tmp/�","path_bytes":"L3RtcC//","result":"ok","count":2}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:12:05Z","op":"lost","count":3,"reason":"ring-full"}
{"run":"web-1","namespace":"default","kind":"Deployment","workload":"nginx","container":"nginx","labels":{"app":"nginx"},"image":"nginx@sha256:1f2e","at":"2026-11-23T01:12:05Z","op":"stop"}
"#;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Jsonl,
    Gzip,
    Parquet,
}

pub(crate) const FORMS: [Form; 3] = [Form::Jsonl, Form::Gzip, Form::Parquet];

pub(crate) fn written(form: Form, lines: &[Observation]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match form {
        Form::Jsonl => {
            let mut writer = JsonlWriter::new(&mut bytes);
            lines
                .iter()
                .for_each(|line| writer.write(line).expect("written"));
            writer.finish().expect("finished");
        }
        Form::Gzip => {
            let plain = written(Form::Jsonl, lines);
            let mut gzip = GzEncoder::new(&mut bytes, Compression::fast());
            gzip.write_all(&plain).expect("written");
            gzip.finish().expect("finished");
        }
        Form::Parquet => {
            let mut writer = ParquetWriter::new(&mut bytes).expect("begun");
            lines
                .iter()
                .for_each(|line| writer.write(line).expect("written"));
            writer.finish().expect("finished");
        }
    }
    bytes
}

/// What the bytes say, and how far it got if it did not get to the end.
pub(crate) fn said(bytes: &[u8]) -> (Vec<Observation>, Result<(), RecordingError>) {
    let mut lines = Vec::new();
    let done = recording::read_from(Cursor::new(bytes), "in", &mut |line| lines.push(line));
    (lines, done)
}

pub(crate) fn read(bytes: &[u8]) -> Vec<Observation> {
    let (lines, done) = said(bytes);
    done.expect("a whole recording");
    lines
}

pub(crate) fn sample() -> Vec<Observation> {
    read(SAMPLE.as_bytes())
}

pub(crate) fn folded(lines: impl IntoIterator<Item = Observation>) -> Evidence {
    let mut evidence = Evidence::default();
    lines.into_iter().for_each(|line| evidence.fold(line));
    evidence
}

pub(crate) fn unfolded(evidence: &Evidence) -> Vec<Observation> {
    evidence
        .runs()
        .iter()
        .flat_map(|(key, run)| observations(key, run))
        .collect()
}

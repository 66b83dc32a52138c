//! `learner export`, and the writing of recordings for other verbs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use learner::observation::Observation;
use learner::profile::Evidence;
use learner::recording::{JsonlWriter, ParquetWriter, RecordingError, observations};
use learner::store::Summary;
use tempfile::NamedTempFile;

use crate::Verdict;
use crate::answer::is_dash;
use crate::args::{Export, Global, RecordingFormat};
use crate::failure::Failure;
use crate::selection::Stored;
use crate::talk::made;

/// What takes the lines of a recording.
type Sink<'a> = &'a mut dyn FnMut(&Observation) -> Result<(), RecordingError>;

pub(crate) fn run(global: &Global, args: &Export) -> Result<Verdict, Failure> {
    let stored = Stored::open(global)?;
    let runs = stored.summaries(&args.which)?;
    let lines = |sink: Sink<'_>| each_stored(&stored, &runs, sink);
    to(args.format, &args.output, lines)?;
    if runs.is_empty() {
        let place = stored.dir.display().to_string();
        tracing::warn!("{}", args.which.nothing_in(&place));
        return Ok(Verdict::No);
    }
    Ok(Verdict::Done)
}

fn to(
    format: RecordingFormat,
    output: &Path,
    lines: impl FnOnce(Sink<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !is_dash(output) {
        return to_file(format, output, lines);
    }
    let out = io::stdout();
    if format == RecordingFormat::Parquet && out.is_terminal() {
        return Err(Failure::BinaryOnTerminal);
    }
    let mut out = BufWriter::new(out.lock());
    write(format, &mut out, lines)?;
    out.flush().map_err(Failure::Answer)
}

/// Writes evidence that is at hand to a file, or to standard output.
pub(crate) fn evidence_to(
    format: RecordingFormat,
    output: &Path,
    evidence: &Evidence,
) -> Result<(), Failure> {
    to(format, output, |sink| each(evidence, sink))
}

/// Writes evidence that is at hand to a file.
pub(crate) fn evidence_to_file(
    format: RecordingFormat,
    path: &Path,
    evidence: &Evidence,
) -> Result<(), Failure> {
    to_file(format, path, |sink| each(evidence, sink))
}

/// A file that is there whole or not at all, of mode 0600 whatever the umask: evidence tells where
/// secrets are. A device or a pipe is written to as it is.
fn to_file(
    format: RecordingFormat,
    path: &Path,
    lines: impl FnOnce(Sink<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |doing| move |e: io::Error| Failure::file(path, doing, e);
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let file = File::options()
            .write(true)
            .open(path)
            .map_err(failed("opening"))?;
        let mut out = BufWriter::new(file);
        write(format, &mut out, lines)?;
        return out.flush().map_err(failed("writing"));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let draft = NamedTempFile::new_in(folder).map_err(failed("making a file beside it"))?;
    let mut out = BufWriter::new(draft);
    write(format, &mut out, lines)?;
    let draft = out
        .into_inner()
        .map_err(|e| failed("writing")(e.into_error()))?;
    draft.as_file().sync_all().map_err(failed("writing"))?;
    draft
        .persist(path)
        .map_err(|e| failed("replacing")(e.error))?;
    made(format_args!("created recording {} ...", path.display()));
    Ok(())
}

fn write<W: Write>(
    format: RecordingFormat,
    out: W,
    lines: impl FnOnce(Sink<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match format {
        RecordingFormat::Jsonl => {
            let mut writer = JsonlWriter::new(out);
            lines(&mut |observation| writer.write(observation))?;
            writer.finish()?;
        }
        RecordingFormat::Parquet => {
            let mut writer = ParquetWriter::new(out)?;
            lines(&mut |observation| writer.write(observation))?;
            writer.finish()?;
        }
    }
    Ok(())
}

/// One run after another, so that memory does not grow with the store.
fn each_stored(stored: &Stored, runs: &[Summary], sink: Sink<'_>) -> Result<(), Failure> {
    for summary in runs {
        each(&stored.load(&BTreeSet::from([&summary.key]))?, sink)?;
    }
    Ok(())
}

fn each(evidence: &Evidence, sink: Sink<'_>) -> Result<(), Failure> {
    for (key, run) in evidence.runs() {
        for observation in observations(key, run) {
            sink(&observation)?;
        }
    }
    Ok(())
}

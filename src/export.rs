//! `learner export`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use learner::observation::Observation;
use learner::recording::{JsonlWriter, ParquetWriter, RecordingError, observations};
use learner::store::Summary;
use tempfile::NamedTempFile;

use crate::Verdict;
use crate::answer::is_dash;
use crate::args::{Export, Global, RecordingFormat};
use crate::failure::Failure;
use crate::selection::Stored;
use crate::talk::made;

pub(crate) fn run(global: &Global, args: &Export) -> Result<Verdict, Failure> {
    let stored = Stored::open(global)?;
    let runs = stored.summaries(&args.which)?;
    if is_dash(&args.output) {
        let out = io::stdout();
        if args.format == RecordingFormat::Parquet && out.is_terminal() {
            return Err(Failure::BinaryOnTerminal);
        }
        write(args.format, BufWriter::new(out.lock()), &stored, &runs)
            .map_err(answered)?
            .flush()
            .map_err(Failure::Answer)?;
    } else {
        to_file(args, &stored, &runs)?;
        made(format_args!(
            "created recording {} ...",
            args.output.display()
        ));
    }
    if runs.is_empty() {
        let place = stored.dir.display().to_string();
        tracing::warn!("{}", args.which.nothing_in(&place));
        return Ok(Verdict::No);
    }
    Ok(Verdict::Done)
}

/// A file that is there whole or not at all; a device or a pipe is written to as it is.
fn to_file(args: &Export, stored: &Stored, runs: &[Summary]) -> Result<(), Failure> {
    let path = &args.output;
    let failed = |doing| move |e: io::Error| Failure::file(path, doing, e);
    let is_special = path.metadata().is_ok_and(|found| !found.is_file());
    if is_special {
        let file = File::options().write(true).open(path);
        let out = BufWriter::new(file.map_err(failed("opening"))?);
        return write(args.format, out, stored, runs)?
            .flush()
            .map_err(failed("writing"));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let draft = NamedTempFile::new_in(folder).map_err(failed("making a file beside it"))?;
    let out = write(args.format, BufWriter::new(draft), stored, runs)?;
    let draft = out
        .into_inner()
        .map_err(|e| failed("writing")(e.into_error()))?;
    draft.as_file().sync_all().map_err(failed("writing"))?;
    draft
        .persist(path)
        .map_err(|e| failed("replacing")(e.error))?;
    Ok(())
}

/// One run after another, so that memory does not grow with the store.
fn write<W: Write>(
    format: RecordingFormat,
    out: W,
    stored: &Stored,
    runs: &[Summary],
) -> Result<W, Failure> {
    match format {
        RecordingFormat::Jsonl => {
            let mut writer = JsonlWriter::new(out);
            each(stored, runs, |observation| writer.write(observation))?;
            Ok(writer.finish()?)
        }
        RecordingFormat::Parquet => {
            let mut writer = ParquetWriter::new(out)?;
            each(stored, runs, |observation| writer.write(observation))?;
            Ok(writer.finish()?)
        }
    }
}

fn each(
    stored: &Stored,
    runs: &[Summary],
    mut write: impl FnMut(&Observation) -> Result<(), RecordingError>,
) -> Result<(), Failure> {
    for summary in runs {
        let evidence = stored.load(&BTreeSet::from([&summary.key]))?;
        for (key, run) in evidence.runs() {
            for observation in observations(key, run) {
                write(&observation)?;
            }
        }
    }
    Ok(())
}

/// An error of writing to standard output is one of the answer.
fn answered(failure: Failure) -> Failure {
    failure
}

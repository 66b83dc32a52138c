//! `learner journal`.

use comfy_table::{Table, presets};
use learner::journal::{Draft, Entry};
use learner::promotion::At;
use serde_json::{Value, json};

use crate::Verdict;
use crate::answer::{Answer, lines};
use crate::args::{Global, Journal, TableFormat};
use crate::failure::Failure;
use crate::selection::Stored;
use crate::talk::visible;

pub(crate) fn run(global: &Global, args: &Journal) -> Result<Verdict, Failure> {
    let stored = Stored::open_patiently(global)?;
    let journal = stored.journal()?;
    if args.verify {
        return verify(&journal, args.format);
    }
    let is_meant = |entry: &&Entry| {
        let namespace = &entry.draft.revision.workload.namespace;
        args.namespace.as_ref().is_none_or(|only| only == namespace)
    };
    let entries: Vec<&Entry> = journal.entries().filter(is_meant).collect();
    let mut answer = Answer::begin();
    match args.format {
        TableFormat::Table if entries.is_empty() => {}
        TableFormat::Table => answer.print(&table(&entries))?,
        // As they are kept, to the byte: the hash of a line is in the next.
        TableFormat::Json => {
            let kept: Vec<&str> = entries.iter().map(|entry| entry.line()).collect();
            answer.print(&match kept[..] {
                [] => "[]\n".to_owned(),
                _ => format!("[\n{}\n]\n", kept.join(",\n")),
            })?;
        }
    }
    answer.end()?;
    if !journal.faults().is_empty() {
        tracing::warn!("the journal is not as it was written: learner journal --verify");
    }
    if entries.is_empty() {
        tracing::warn!("nothing was decided in {}", stored.dir.display());
        return Ok(Verdict::No);
    }
    Ok(Verdict::Done)
}

fn verify(journal: &learner::journal::Journal, format: TableFormat) -> Result<Verdict, Failure> {
    let faults = journal.faults();
    let (entries, last) = (journal.end.entries, journal.end.last);
    let mut answer = Answer::begin();
    match format {
        TableFormat::Table if faults.is_empty() => {
            answer.print(&format!(
                "whole; entries: {entries}; hash of the last: {last}\n"
            ))?;
        }
        TableFormat::Table => {
            for fault in &faults {
                answer.print(&format!("{fault}\n"))?;
            }
        }
        TableFormat::Json => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let value: Value = json!({"entries": entries, "last": last, "faults": faults});
            answer.print(&format!("{value:#}\n"))?;
        }
    }
    answer.end()?;
    Ok(if faults.is_empty() {
        Verdict::Done
    } else {
        Verdict::No
    })
}

fn table(entries: &[&Entry]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "ENTRY",
        "TIME",
        "BY",
        "WORKLOAD",
        "IMAGE",
        "FROM",
        "TO",
        "CANDIDATE",
        "WHY",
    ]);
    for entry in entries {
        let Draft {
            at,
            actor,
            revision,
            from,
            to,
            cause,
            candidate,
            ..
        } = &entry.draft;
        let none = || "-".to_owned();
        let image = Some(visible(&revision.image)).filter(|image| !image.is_empty());
        table.add_row([
            entry.number.to_string(),
            At(*at).to_string(),
            actor.to_string(),
            visible(&revision.workload.to_string()),
            image.unwrap_or_else(none),
            from.to_string(),
            to.to_string(),
            candidate.map_or_else(none, |digest| digest.short()),
            visible(&cause.to_string()),
        ]);
    }
    lines(&table)
}

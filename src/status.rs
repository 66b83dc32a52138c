//! `learner status`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use comfy_table::{Table, presets};
use learner::posture::{Posture, Standing};
use learner::promotion::{At, Review, Verdict as Ruling, sentences};
use learner::span::Shown;
use serde_json::{Value, json};

use crate::Verdict;
use crate::answer::{Answer, lines};
use crate::args::{Global, Status, TableFormat};
use crate::court::Court;
use crate::failure::Failure;
use crate::promote::{Why, reasons, word};
use crate::talk::visible;

/// How often `--watch` shows it.
const EVERY: Duration = Duration::from_secs(2);

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(crate) fn run(global: &Global, args: &Status) -> Result<Verdict, Failure> {
    if !args.watch {
        return once(global, args, "");
    }
    let clear = if io::stdout().is_terminal() {
        CLEAR
    } else {
        ""
    };
    loop {
        // The store is not kept: others want it too.
        once(global, args, clear)?;
        std::thread::sleep(EVERY);
    }
}

fn once(global: &Global, args: &Status, before: &str) -> Result<Verdict, Failure> {
    let court = Court::open(global)?;
    let criteria = args.gate.criteria();
    let mut reviews = Vec::new();
    for workload in court.workloads(&args.which) {
        reviews.extend(court.review(&workload, &court.evidence(&workload)?, &criteria));
    }
    let place = court.stored.dir.display().to_string();
    drop(court);
    let mut answer = Answer::begin();
    answer.print(before)?;
    match args.format {
        TableFormat::Table if reviews.is_empty() => {}
        TableFormat::Table => answer.print(&table(&reviews, criteria.window))?,
        TableFormat::Json => {
            let rows = reviews.iter().map(|review| row(review, criteria.window));
            answer.print(&format!("{:#}\n", Value::Array(rows.collect())))?;
        }
    }
    answer.end()?;
    if reviews.is_empty() {
        tracing::warn!("{}", args.which.nothing_in(&place));
        return Ok(Verdict::No);
    }
    Ok(Verdict::Done)
}

/// What is next, or what holds it.
fn held(review: &Review) -> String {
    match &review.verdict {
        Ruling::Promote => format!("nothing: {} is next", review.posture().next()),
        Ruling::NewImage => "a new image: audit is next".to_owned(),
        Ruling::Stay => "-".to_owned(),
        Ruling::Hold(_) | Ruling::Demote(_) => sentences(reasons(&review.verdict)),
    }
}

fn table(reviews: &[Review], window: u64) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "WORKLOAD", "IMAGE", "POSTURE", "SINCE", "RUNS", "WHOLE", "RISK", "ALERTS", "QUIET",
        "HELD BY",
    ]);
    let shown = |micros| Shown(Duration::from_micros(micros));
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for review in reviews {
        let figures = &review.figures;
        let is_judged = figures.quiet_from.is_some();
        let open = figures.alerts.as_ref().map_or(0, |open| open.alerts.count);
        let image = Some(visible(&review.revision.image)).filter(|image| !image.is_empty());
        let risk = figures.risk.map(|risk| format!("{:.1} %", risk * 100.0));
        let quiet = format!("{} of {}", shown(figures.quiet), shown(window));
        table.add_row([
            visible(&review.revision.workload.to_string()),
            or_none(image),
            review.posture().to_string(),
            or_none(review.standing.as_ref().map(|s| At(s.since()).to_string())),
            figures.runs.to_string(),
            figures.whole.to_string(),
            or_none(risk),
            or_none(is_judged.then(|| open.to_string())),
            or_none(is_judged.then_some(quiet)),
            visible(&held(review)),
        ]);
    }
    lines(&table)
}

fn row(review: &Review, window: u64) -> Value {
    let standing = review.standing.as_ref();
    let freeze = standing.and_then(Standing::freeze);
    let held: Vec<Why> = reasons(&review.verdict).iter().map(Why::from).collect();
    let canary_until = match standing {
        Some(Standing::Block { canary_until, .. }) => Some(At(*canary_until).to_string()),
        _ => None,
    };
    json!({
        "workload": review.revision.workload.to_string(),
        "image": review.revision.image,
        "posture": review.posture(),
        "since": standing.map(|standing| At(standing.since()).to_string()),
        "candidate": freeze.map(|freeze| freeze.candidate),
        "canary_until": canary_until,
        "next": (review.posture() != Posture::Block).then(|| review.posture().next()),
        "verdict": word(&review.verdict),
        "held": held,
        "window": window,
        "figures": review.figures,
    })
}

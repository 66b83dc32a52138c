//! `learner status`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use comfy_table::{Table, presets};
use learner::kernel::enforcer;
use learner::percent;
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
    let held: Vec<Held> = held_by(&court, &reviews);
    drop(court);
    let mut answer = Answer::begin();
    answer.print(before)?;
    match args.format {
        TableFormat::Table if reviews.is_empty() => {}
        TableFormat::Table => answer.print(&table(&reviews, &held, criteria.window))?,
        TableFormat::Json => {
            let rows = reviews.iter().zip(&held);
            let rows = rows.map(|(review, held)| row(review, held, criteria.window));
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

/// Whether block is held to, and by whom.
enum Held {
    /// It does not stand under block.
    NotBlocked,
    /// By KubeArmor, which is not asked here.
    ByAnother,
    /// In so many cgroups at present.
    ByUs(usize),
    /// It cannot be told.
    Unknown,
}

impl Held {
    fn shown(&self) -> String {
        match self {
            Self::NotBlocked => "-".to_owned(),
            Self::ByAnother => "by KubeArmor".to_owned(),
            Self::ByUs(0) => "in none".to_owned(),
            Self::ByUs(1) => "in 1 cgroup".to_owned(),
            Self::ByUs(cgroups) => format!("in {cgroups} cgroups"),
            Self::Unknown => "?".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::NotBlocked => Value::Null,
            Self::ByAnother => json!({"by": "kubearmor"}),
            Self::ByUs(cgroups) => json!({"by": "learner", "cgroups": cgroups}),
            Self::Unknown => json!({"by": "learner", "cgroups": null}),
        }
    }
}

fn held_by(court: &Court, reviews: &[Review]) -> Vec<Held> {
    let mut asked = None;
    let mut held = |review: &Review| {
        let frozen = court.ledger.frozen(&review.revision);
        let (Posture::Block, Some(frozen)) = (review.posture(), frozen) else {
            return Held::NotBlocked;
        };
        if court.ledger.to_enforce(&review.revision).is_none() {
            return Held::ByAnother;
        }
        let in_force = asked.get_or_insert_with(|| {
            enforcer::in_force().inspect_err(|error| {
                tracing::warn!("whether block is enforced now cannot be told: {error}");
            })
        });
        let hash = frozen.candidate().digest().words();
        in_force.as_ref().map_or(Held::Unknown, |applied| {
            Held::ByUs(applied.iter().filter(|one| one.hash == hash).count())
        })
    };
    reviews.iter().map(&mut held).collect()
}

/// What is next, or what holds it.
fn next(review: &Review) -> String {
    match &review.verdict {
        Ruling::Promote => format!("nothing: {} is next", review.posture().next()),
        Ruling::NewImage => "a new image: audit is next".to_owned(),
        Ruling::Stay => "-".to_owned(),
        Ruling::Hold(_) | Ruling::Demote(_) => sentences(reasons(&review.verdict)),
    }
}

fn table(reviews: &[Review], held: &[Held], window: u64) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "WORKLOAD", "IMAGE", "POSTURE", "ENFORCED", "SINCE", "RUNS", "WHOLE", "RISK", "ALERTS",
        "QUIET", "HELD BY",
    ]);
    let shown = |micros| Shown(Duration::from_micros(micros));
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for (review, held) in reviews.iter().zip(held) {
        let figures = &review.figures;
        let is_judged = figures.quiet_from.is_some();
        let open = figures.alerts.as_ref().map_or(0, |open| open.alerts.count);
        let image = Some(visible(&review.revision.image)).filter(|image| !image.is_empty());
        let risk = figures.risk.map(percent::bound);
        let quiet = format!("{} of {}", shown(figures.quiet), shown(window));
        table.add_row([
            visible(&review.revision.workload.to_string()),
            or_none(image),
            review.posture().to_string(),
            held.shown(),
            or_none(review.standing.as_ref().map(|s| At(s.since()).to_string())),
            figures.runs.to_string(),
            figures.whole.to_string(),
            or_none(risk),
            or_none(is_judged.then(|| open.to_string())),
            or_none(is_judged.then_some(quiet)),
            visible(&next(review)),
        ]);
    }
    lines(&table)
}

fn row(review: &Review, held: &Held, window: u64) -> Value {
    let standing = review.standing.as_ref();
    let freeze = standing.and_then(Standing::freeze);
    let why: Vec<Why> = reasons(&review.verdict).iter().map(Why::from).collect();
    let canary_until = match standing {
        Some(Standing::Block { canary_until, .. }) => Some(At(*canary_until).to_string()),
        _ => None,
    };
    json!({
        "workload": review.revision.workload.to_string(),
        "image": review.revision.image,
        "posture": review.posture(),
        "enforced": held.json(),
        "since": standing.map(|standing| At(standing.since()).to_string()),
        "candidate": freeze.map(|freeze| freeze.candidate),
        "canary_until": canary_until,
        "next": (review.posture() != Posture::Block).then(|| review.posture().next()),
        "verdict": word(&review.verdict),
        "held": why,
        "window": window,
        "figures": review.figures,
    })
}

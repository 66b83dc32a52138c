//! `learner observe`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use learner::behavior::Behavior;
use learner::candidate::Ledger;
use learner::kernel::{Rung, Settings};
use learner::mention::Tombstones;
use learner::observation::Moment;
use learner::policy::names;
use learner::posture::{Posture, Revision};
use learner::profile::{DEFAULT_MAX_BEHAVIORS, Evidence, RunProfile};
use learner::recommend::Criteria;
use learner::session::{Plan, Subject, Watched};
use learner::workload::{Labels, RunKey, Workload};

use crate::answer::is_dash;
use crate::args::{Global, Observe, RecordingFormat, RungName};
use crate::export;
use crate::failure::Failure;
use crate::launch;
use crate::policies;
use crate::selection::{open_books, open_books_patiently, store_dir};
use crate::talk::visible;

impl From<RungName> for Rung {
    fn from(name: RungName) -> Self {
        match name {
            RungName::Lsm => Self::Lsm,
            RungName::Fentry => Self::Fentry,
            RungName::Tracepoint => Self::Tracepoint,
        }
    }
}

/// Watches, stores, recommends. The exit code is the command's.
pub(crate) fn run(global: &Global, args: &Observe) -> Result<ExitCode, Failure> {
    let dir = store_dir(global)?;
    // A store that cannot be opened is said before the run, not after it. It is not kept open:
    // several may be watched at once, and one store has one owner at a time.
    let workload = args.name.clone().unwrap_or_else(|| default_workload(args));
    let mut takes_state = true;
    match open_books(global, &dir) {
        Ok(books) => {
            let ledger = books.ledger()?;
            say_if_blocked(&workload, &ledger);
            takes_state = !ledger.is_judged(&workload);
        }
        Err(error) if !error.is_locked() => return Err(error.into()),
        Err(_) => {}
    }
    let plan = Plan {
        subject: subject(args)?,
        limit: args.limit,
        settings: Settings {
            rung: args.rung.map(Rung::from),
            ring: args.ring_buffer,
        },
        max_behaviors: DEFAULT_MAX_BEHAVIORS,
        takes_state,
        order: None,
    };
    let is_command = matches!(plan.subject, Subject::Command { .. });
    let Watched {
        mut profile,
        status,
        cut_short,
        ..
    } = launch::watched(plan)?;
    profile.labels = labels(args, &workload);
    let run = args
        .run
        .clone()
        .unwrap_or_else(|| run_name(&workload, &profile));
    let key = RunKey {
        workload,
        image: String::new(),
        run,
    };
    report(&key, &profile, cut_short);

    let mut evidence = Evidence::default();
    evidence.insert(key.clone(), profile);
    if let Some(file) = &args.recording {
        record(file, &evidence)?;
    }
    let decided = keep(global, &dir, &evidence, &key)?;
    let recommended = recommend(args, &key.workload, &evidence, decided)?;
    Ok(match status {
        Some(status) => passed_through(status),
        // As timeout(1) says it.
        None if is_command => ExitCode::from(124),
        None if recommended => ExitCode::SUCCESS,
        None => ExitCode::from(1),
    })
}

/// Whoever promoted it expects it to be held to its policy.
fn say_if_blocked(workload: &Workload, ledger: &Ledger) {
    let revision = Revision {
        workload: workload.clone(),
        image: String::new(),
    };
    if Posture::at(ledger.standing(&revision)) == Posture::Block {
        let name = visible(&workload.to_string());
        tracing::warn!(
            "{name} stands under block, and this only observes: to hold it to its candidate, learner run --name \
             {name} -- COMMAND"
        );
    }
}

fn subject(args: &Observe) -> Result<Subject, Failure> {
    if let Some(path) = &args.cgroup {
        return Ok(Subject::Group(path.clone()));
    }
    if let Some(pid) = args.pid {
        return Ok(Subject::Process(pid));
    }
    launch::subject(&args.command)
}

fn default_workload(args: &Observe) -> Workload {
    let base = |path: &OsStr| {
        Path::new(path)
            .file_name()
            .unwrap_or(path)
            .to_string_lossy()
            .into_owned()
    };
    let (kind, name) = match (&args.cgroup, args.pid) {
        (Some(path), _) => ("Cgroup", base(path.as_os_str())),
        (None, Some(pid)) => {
            let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            ("Process", base(exe.as_os_str()))
        }
        (None, None) => (
            "Command",
            args.command
                .first()
                .map(|name| base(name))
                .unwrap_or_default(),
        ),
    };
    let name = if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    };
    Workload {
        namespace: "default".into(),
        kind: kind.into(),
        container: name.clone(),
        name,
    }
}

fn labels(args: &Observe, workload: &Workload) -> Labels {
    if args.labels.is_empty() {
        return usual_labels(workload);
    }
    args.labels
        .iter()
        .map(|label| (label.key.clone(), label.value.clone()))
        .collect()
}

/// `app`, with the workload's name.
pub(crate) fn usual_labels(workload: &Workload) -> Labels {
    Labels::from([("app".to_owned(), names::label_value(&workload.name))])
}

/// Unique on this machine: the time to the microsecond and this process.
pub(crate) fn run_name(workload: &Workload, profile: &RunProfile) -> String {
    let Moment(at) = profile.start.or(profile.stop).unwrap_or(Moment(0));
    let time = jiff::Timestamp::from_microsecond(at).unwrap_or_default();
    format!("{}-{time}-{}", workload.name, std::process::id())
}

/// One line on what was seen, and a line for whatever makes it less than the whole.
pub(crate) fn report(key: &RunKey, profile: &RunProfile, cut_short: bool) {
    let events: u64 = profile.seen.values().map(|s| s.count).sum();
    let name = visible(&key.workload.to_string());
    let failed = profile.seen.keys().filter(|b| !b.is_learnable()).count();
    tracing::info!(
        "{name}: {events} events, {} distinct behaviours ({failed} of them failed and are not learned), lost {}",
        profile.seen.len(),
        profile.lost_total(),
    );
    for (reason, count) in &profile.lost {
        tracing::warn!("{name}: {count} events were lost: {reason}; the evidence is partial");
    }
    if profile.late {
        tracing::warn!("{name}: it ran before it was watched; the evidence is partial");
    }
    if cut_short {
        tracing::warn!("{name}: the watch was cut short; what came later was not seen");
    }
    let seen_with = |what: fn(&Behavior) -> bool| profile.seen.keys().filter(|b| what(b)).count();
    let on_terminal = seen_with(|b| b.tty == Some(true) && b.is_learnable());
    if on_terminal > 0 {
        tracing::info!("{name}: {on_terminal} behaviours were seen of processes with a terminal");
    }
    let made = seen_with(|b| b.upper == Some(true) && b.op == learner::behavior::Op::Exec);
    if made > 0 {
        tracing::warn!("{name}: {made} executed files were made at run time, not in the image");
    }
}

fn record(file: &Path, evidence: &Evidence) -> Result<(), Failure> {
    let format = if file.extension().is_some_and(|e| e == "parquet") {
        RecordingFormat::Parquet
    } else {
        RecordingFormat::Jsonl
    };
    export::evidence_to_file(format, file, evidence)
}

/// What persons have had forgotten, and where the revisions stand.
pub(crate) type Decided = (Tombstones, Ledger);

/// Folds the run into the store, and gives what must not be learned. If the store cannot take it, the
/// run goes to a file: it cannot be had again.
pub(crate) fn keep(
    global: &Global,
    dir: &Path,
    evidence: &Evidence,
    key: &RunKey,
) -> Result<Decided, Failure> {
    let stored = open_books_patiently(global, dir).and_then(|store| {
        let folded = store.fold_all(evidence)?;
        Ok((folded, (store.tombstones()?, store.ledger()?)))
    });
    match stored {
        Ok((folded, decided)) => {
            if folded.over > 0 {
                tracing::warn!(
                    "{} events are beyond the store's limit and count as lost",
                    folded.over
                );
            }
            Ok(decided)
        }
        Err(error) => {
            let file = PathBuf::from(format!("learner-{}.jsonl", std::process::id()));
            export::evidence_to_file(RecordingFormat::Jsonl, &file, evidence)?;
            tracing::warn!("{error}");
            tracing::warn!(
                "run {} is in {} instead; put it into the store with: learner import {}",
                visible(&key.run),
                file.display(),
                file.display()
            );
            Ok(Decided::default())
        }
    }
}

/// Writes the policy of this run; false if there is none.
fn recommend(
    args: &Observe,
    workload: &Workload,
    evidence: &Evidence,
    (forgotten, ledger): Decided,
) -> Result<bool, Failure> {
    let criteria = Criteria {
        forgotten,
        ledger,
        ..crate::recommend::criteria(&args.making)
    };
    let Some(recommendation) = crate::recommend::one(workload, evidence, &criteria) else {
        return Ok(false);
    };
    policies::explain(&recommendation);
    if is_dash(&args.output) {
        policies::to_answer(&[recommendation], args.format)?;
    } else if args.output.is_dir() || args.output.as_os_str().as_encoded_bytes().ends_with(b"/") {
        policies::to_file(&args.output, &recommendation, args.format)?;
    } else {
        policies::to_this_file(&args.output, &recommendation, args.format)?;
    }
    Ok(true)
}

/// As a shell does it: the command's status, or 128 and the number of the signal that ended it.
pub(crate) fn passed_through(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(2);
    ExitCode::from(code as u8)
}

//! KubeArmor's messages, read for the verbs that take them, and what is said of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use learner::candidate::Ledger;
use learner::host::is_runtime;
use learner::observation::Moment;
use learner::posture::Revision;
use learner::profile::Evidence;
use learner::promotion::{Interruption, Missed};
use learner::telemetry::{Account, Gathered, Gatherer, messages};
use learner::workload::{RunKey, Workload};

use crate::answer::is_dash;
use crate::args::Global;
use crate::failure::Failure;
use crate::talk::{progress, visible};

/// What KubeArmor tells in these files, together, and whether all of it could be read. A run that
/// stands in two of them counts once. What was audited of revisions that are judged is among it.
pub(crate) fn read_all(
    global: &Global,
    files: &[PathBuf],
    ledger: &Ledger,
) -> Result<(Evidence, bool), Failure> {
    let mut all = Evidence::default();
    let mut is_whole = true;
    for file in files {
        let name = name(file);
        let Gathered {
            evidence, account, ..
        } = read(global, file, &name, ledger)?;
        is_whole &= account.nobodys() == 0;
        say(&name, &account);
        for (key, run) in evidence.into_runs() {
            all.insert(key, run);
        }
    }
    if !all.runs().is_empty() {
        tracing::info!(
            "KubeArmor's telemetry does not show all that a policy governs: its runs are partial"
        );
    }
    Ok((all, is_whole))
}

/// When KubeArmor's alerts may have been missed, of a workload or of every one, as these files tell: it
/// dropped them, or a message could not be read.
pub(crate) fn interruptions(
    global: &Global,
    files: &[PathBuf],
    now: Moment,
) -> Result<Vec<(Option<Workload>, Interruption)>, Failure> {
    let mut all = Vec::new();
    for file in files {
        let name = name(file);
        let gathered = read(global, file, &name, &Ledger::default())?;
        say_refused(&name, &gathered.account);
        all.extend(gathered.interruptions);
        let unread = gathered.account.nobodys();
        if unread > 0 {
            // When that was is not known either.
            let interruption = Interruption {
                from: Moment(0),
                to: now,
                why: Missed::Broken(format!("{name}: {unread} messages say nothing")),
            };
            all.push((None, interruption));
        }
    }
    Ok(all)
}

fn name(file: &Path) -> String {
    match is_dash(file) {
        true => "standard input".to_owned(),
        false => visible(&file.display().to_string()),
    }
}

fn read(global: &Global, file: &Path, name: &str, ledger: &Ledger) -> Result<Gathered, Failure> {
    let failed = |doing| move |e: io::Error| Failure::file(file, doing, e);
    let reader: Box<dyn BufRead> = match is_dash(file) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(file).map_err(failed("opening"))?)),
    };
    let bar = progress(global, name);
    let is_judged = |run: &RunKey, at: Moment| {
        let frozen = ledger.frozen(&Revision::of(run));
        frozen.is_some_and(|frozen| frozen.freeze().judges(at))
    };
    let mut gatherer = Gatherer::new(is_runtime, &is_judged);
    let end = messages(reader, &mut |number, message| {
        bar.inc(1);
        gatherer.take(number, message);
    });
    bar.finish_and_clear();
    end.map_err(failed("reading"))?;
    Ok(gatherer.finish())
}

fn say_refused(name: &str, account: &Account) {
    for one in &account.refused {
        tracing::warn!("{name}:{}: not read: {}", one.number, one.cause);
    }
    let unnamed = account.unreadable - account.refused.len() as u64;
    if unnamed > 0 {
        tracing::warn!("{name}: {unnamed} more were not read");
    }
}

/// What became of the messages: nothing is passed over in silence.
fn say(name: &str, account: &Account) {
    say_refused(name, account);
    let Account {
        messages,
        done,
        failed,
        judged,
        audited,
        throttled,
        beside,
        gaps,
        unattributed,
        beyond,
        unreadable: _,
        refused: _,
    } = account;
    let recorded = done + failed + judged;
    let mut text = format!(
        "{name}: {messages} messages, {recorded} recorded ({failed} of them failed and are not learned)"
    );
    if !beside.is_empty() {
        let sum: u64 = beside.values().sum();
        let counts = beside
            .iter()
            .map(|(what, n)| format!("{n} {}", what.word()));
        let counts: Vec<String> = counts.collect();
        text.push_str(&format!(
            ", {sum} of what is not recorded ({})",
            counts.join(", ")
        ));
    }
    tracing::info!("{text}");
    if *judged > 0 {
        tracing::info!("{name}: {judged} were audited and done: see 'learner alerts'");
    }
    if *audited > 0 {
        tracing::warn!(
            "{name}: {audited} were audited and done, and teach nothing: they are left out"
        );
    }
    for (gap, count) in gaps {
        tracing::warn!("{name}: {count} not recorded, or not whole: {gap}");
    }
    if *throttled > 0 {
        tracing::warn!("{name}: KubeArmor dropped alerts {throttled} times, and not how many");
    }
    if *unattributed > 0 {
        tracing::warn!("{name}: {unattributed} of containers that nothing names");
    }
    if *beyond > 0 {
        tracing::warn!("{name}: {beyond} of more runs than are kept");
    }
}

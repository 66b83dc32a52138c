//! KubeArmor's messages, read for the verbs that take them, and what is said of them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use learner::candidate::Ledger;
use learner::host::is_runtime;
use learner::observation::Moment;
use learner::posture::Revision;
use learner::profile::Evidence;
use learner::promotion::{Interruption, Missed};
use learner::telemetry::{Account, Gathered, Gatherer, Heard, Relay, Tls, messages};
use learner::workload::{RunKey, Workload};
use tokio::signal::unix::{SignalKind, signal};

use crate::answer::is_dash;
use crate::args::{self, Global};
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
    say_partial(&all);
    Ok((all, is_whole))
}

fn say_partial(evidence: &Evidence) {
    if !evidence.runs().is_empty() {
        tracing::info!(
            "KubeArmor's telemetry does not show all that a policy governs: its runs are partial"
        );
    }
}

/// What KubeArmor's relay tells until Ctrl-C, SIGTERM or the limit, and whether all of it could be heard.
pub(crate) fn listen(
    address: &str,
    args: &args::Relay,
    ledger: &Ledger,
) -> Result<(Evidence, bool), Failure> {
    let address = address_of(address);
    let relay = Relay {
        address: address.clone(),
        tls: args.secure.then(|| tls(&args.tls_cert_path)).transpose()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let name = visible(&address);
    let is_judged = |run: &RunKey, at: Moment| is_judged(ledger, run, at);
    let mut gatherer = Gatherer::new(is_runtime, &is_judged);
    let mut number = 0;
    let mut is_whole = true;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
        let limit = async {
            match args.limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let until = async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
                () = limit => {}
            }
        };
        tracing::info!("{name}: listening");
        let mut sink = |heard| match heard {
            Heard::Message(message) => {
                number += 1;
                gatherer.take(number, Ok(*message));
            }
            Heard::Interrupted(interruption) => {
                is_whole = false;
                tracing::warn!("{name}: {interruption}");
                gatherer.interrupted(interruption);
            }
        };
        Ok::<(), Failure>(relay.listen(until, &mut sink).await?)
    })?;
    let Gathered {
        evidence, account, ..
    } = gatherer.finish();
    say(&name, &account);
    say_partial(&evidence);
    Ok((evidence, is_whole && account.nobodys() == 0))
}

/// As told, or where karmor and pods find the relay.
fn address_of(told: &str) -> String {
    let named = std::env::var("KUBEARMOR_SERVICE").ok();
    let is_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let told = Some(told.to_owned()).filter(|told| !told.is_empty());
    told.or(named.filter(|named| !named.is_empty()))
        .unwrap_or_else(|| match is_pod {
            true => "kubearmor.kubearmor:32767".to_owned(),
            false => "localhost:32767".to_owned(),
        })
}

/// The certificates in a directory, by the names that karmor has for them.
fn tls(directory: &Path) -> Result<Tls, Failure> {
    let read = |name| {
        let path = directory.join(name);
        fs::read(&path).map_err(|e| Failure::file(&path, "reading", e))
    };
    let certificate = directory.join("client.crt");
    let has_one = certificate
        .try_exists()
        .map_err(|e| Failure::file(&certificate, "looking for it", e))?;
    Ok(Tls {
        ca: read("ca.crt")?,
        identity: match has_one {
            true => Some((read("client.crt")?, read("client.key")?)),
            false => None,
        },
    })
}

fn is_judged(ledger: &Ledger, run: &RunKey, at: Moment) -> bool {
    let frozen = ledger.frozen(&Revision::of(run));
    frozen.is_some_and(|frozen| frozen.freeze().judges(at))
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
    let is_judged = |run: &RunKey, at: Moment| is_judged(ledger, run, at);
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

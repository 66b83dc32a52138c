//! KubeArmor's messages, read for the verbs that take them, and what is said of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use learner::candidate::Ledger;
use learner::cluster::authority;
use learner::host::is_runtime;
use learner::observation::Moment;
use learner::posture::Revision;
use learner::profile::Evidence;
use learner::promotion::{Interruption, Missed};
use learner::telemetry::{
    Account, CertProvider, Feed, Gathered, Gatherer, Heard, Identity, Relay, TLS_CERT_PATH, Tls,
    messages,
};
use learner::workload::{RunKey, Workload};
use tokio::signal::unix::{SignalKind, signal};

use crate::answer::is_dash;
use crate::args::{self, CertProviderName, Global};
use crate::cluster;
use crate::court::now;
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
        let is_judged = |run: &RunKey, at: Moment| is_judged(ledger, run, at);
        let gatherer = Gatherer::new(is_runtime, &is_judged);
        let Gathered {
            evidence, account, ..
        } = read(global, file, &name, gatherer)?;
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
    let is_judged = |run: &RunKey, at: Moment| is_judged(ledger, run, at);
    let gatherer = Gatherer::new(is_runtime, &is_judged);
    let (gathered, is_whole) = hear(address, args, gatherer, Feed::All)?;
    let Gathered {
        evidence, account, ..
    } = gathered;
    say_partial(&evidence);
    Ok((evidence, is_whole && account.nobodys() == 0))
}

/// KubeArmor's alerts, for who promotes.
#[derive(Default)]
pub(crate) struct Alerts {
    /// What they tell of.
    pub(crate) evidence: Evidence,
    /// When some may have been missed, of a workload or of every one: that was heard once, and is to be kept.
    pub(crate) unheard: Interruptions,
}

/// The alerts that the relay tells until Ctrl-C, SIGTERM or the limit.
pub(crate) fn alerts(
    address: &str,
    args: &args::Relay,
    is_judged: &dyn Fn(&RunKey, Moment) -> bool,
) -> Result<Alerts, Failure> {
    let begun = now();
    let gatherer = Gatherer::new(is_runtime, is_judged).of_alerts();
    let (gathered, _) = hear(address, args, gatherer, Feed::Alerts)?;
    let Gathered {
        evidence,
        account,
        interruptions: mut unheard,
    } = gathered;
    let unread = account.nobodys();
    if unread > 0 {
        // Whose they were, and when each came, is not known.
        let why = Missed::Broken(format!("{unread} messages say nothing"));
        let (from, to) = (begun, now());
        unheard.push((None, Interruption { from, to, why }));
    }
    Ok(Alerts { evidence, unheard })
}

fn hear(
    address: &str,
    args: &args::Relay,
    mut gatherer: Gatherer<'_>,
    feed: Feed,
) -> Result<(Gathered, bool), Failure> {
    let address = Relay::address(Some(address));
    let tls = args.secure.then(|| tls(args));
    let relay = Relay {
        address: address.clone(),
        tls: tls.transpose()?,
        feed,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let name = visible(&address);
    let mut number = 0;
    let mut is_whole = true;
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
        let limit = async {
            match args.limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let until = async {
            tokio::select! {
                _ = interrupted.recv() => {}
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
    let gathered = gatherer.finish();
    say(&name, &gathered.account);
    Ok((gathered, is_whole))
}

/// The certificates, as karmor would take them; but a directory that is named is the one that is read.
fn tls(args: &args::Relay) -> Result<Tls, Failure> {
    let provider = match args.tls_cert_provider {
        CertProviderName::Own => CertProvider::Own,
        CertProviderName::External => CertProvider::External,
    };
    let in_secret = args.read_ca_from_secret;
    let in_secret = in_secret.unwrap_or(args.tls_cert_path.is_none());
    if provider == CertProvider::Own && in_secret {
        let (ca, ca_key) = cluster::with(async |client| Ok(authority(&client).await?))?;
        let identity = Some(Identity::Own { ca_key });
        return Ok(Tls { ca, identity });
    }
    let directory = args.tls_cert_path.as_deref();
    let directory = directory.unwrap_or(Path::new(TLS_CERT_PATH));
    Ok(Tls::read(directory, provider)?)
}

/// Whether what a run does at a moment is judged by a frozen candidate.
pub(crate) fn is_judged(ledger: &Ledger, run: &RunKey, at: Moment) -> bool {
    let frozen = ledger.frozen(&Revision::of(run));
    frozen.is_some_and(|frozen| frozen.freeze().judges(at))
}

/// When alerts may have been missed, of a workload or of every one.
type Interruptions = Vec<(Option<Workload>, Interruption)>;

/// When KubeArmor's alerts may have been missed, as these files tell: it dropped them, or a message could not
/// be read.
pub(crate) fn interruptions(
    global: &Global,
    files: &[PathBuf],
    now: Moment,
) -> Result<Interruptions, Failure> {
    let mut all = Vec::new();
    for file in files {
        let name = name(file);
        let gatherer = Gatherer::new(is_runtime, &|_, _| false);
        let gathered = read(global, file, &name, gatherer)?;
        say_refused(&name, &gathered.account);
        all.extend(missed_in(
            &name,
            gathered.interruptions,
            &gathered.account,
            now,
        ));
    }
    Ok(all)
}

/// The same, and the alerts that are in these files, whatever is judged.
pub(crate) fn alerts_in(
    global: &Global,
    files: &[PathBuf],
    now: Moment,
) -> Result<(Evidence, Interruptions), Failure> {
    let (mut evidence, mut interruptions) = (Evidence::default(), Vec::new());
    for file in files {
        let name = name(file);
        let gatherer = Gatherer::new(is_runtime, &|_, _| true).of_alerts();
        let gathered = read(global, file, &name, gatherer)?;
        say(&name, &gathered.account);
        interruptions.extend(missed_in(
            &name,
            gathered.interruptions,
            &gathered.account,
            now,
        ));
        for (key, run) in gathered.evidence.into_runs() {
            evidence.insert(key, run);
        }
    }
    Ok((evidence, interruptions))
}

fn missed_in(
    name: &str,
    mut interruptions: Interruptions,
    account: &Account,
    now: Moment,
) -> Interruptions {
    let unread = account.nobodys();
    if unread > 0 {
        // When that was is not known either.
        let interruption = Interruption {
            from: Moment(0),
            to: now,
            why: Missed::Broken(format!("{name}: {unread} messages say nothing")),
        };
        interruptions.push((None, interruption));
    }
    interruptions
}

fn name(file: &Path) -> String {
    match is_dash(file) {
        true => "standard input".to_owned(),
        false => visible(&file.display().to_string()),
    }
}

fn read(
    global: &Global,
    file: &Path,
    name: &str,
    mut gatherer: Gatherer<'_>,
) -> Result<Gathered, Failure> {
    let failed = |doing| move |e: io::Error| Failure::file(file, doing, e);
    let reader: Box<dyn BufRead> = match is_dash(file) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(file).map_err(failed("opening"))?)),
    };
    let bar = progress(global, name);
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
        telemetry,
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
    if *telemetry > 0 {
        text.push_str(&format!(", {telemetry} of telemetry are left out"));
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

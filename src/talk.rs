//! Standard error: what is said besides the answer, to whom, and how loud.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use learner::agent::config::LogFormat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::args::Global;

pub(crate) use learner::visible::visible;

/// Target of what was made: green, as karmor says it.
const MADE: &str = "learner::made";

/// Says on standard error from now on what is traced, as loud as wanted.
pub(crate) fn begin(global: &Global) {
    tracing_subscriber::fmt()
        .with_env_filter(filter(global))
        .with_writer(io::stderr)
        .with_ansi(is_colourful())
        .event_format(Plain)
        .init();
}

/// As [`begin`], with the time and fields of each event: a log that is read later, and by programs.
pub(crate) fn log(global: &Global, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(global))
        .with_writer(io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(is_colourful()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

fn filter(global: &Global) -> EnvFilter {
    let filter = match (global.quiet, global.verbose) {
        // What the client of the API server says of each attempt is said by us, once.
        (true, _) => "error,kube_client=off,kube_runtime=off",
        (false, 0) => "warn,learner=info,kube_client=off,kube_runtime=off",
        (false, 1) => "info,learner=debug",
        (false, 2) => "debug,learner=trace",
        (false, _) => "trace",
    };
    EnvFilter::new(filter)
}

/// A terminal, and nobody said NO_COLOR.
fn is_colourful() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says that something now exists.
pub(crate) fn made(what: fmt::Arguments<'_>) {
    tracing::info!(target: MADE, "{what}");
}

/// A moving count for what may take long; nothing unless standard error is a terminal.
pub(crate) fn progress(global: &Global, what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if global.quiet {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {human_pos} lines, {elapsed}")
    {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// One line an event, `warning: ` or `error: ` in front, without time or place.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        let is_made = meta.target() == MADE;
        let (label, colour) = match *meta.level() {
            Level::ERROR => ("error: ", "\x1b[31m"),
            Level::WARN => ("warning: ", "\x1b[33m"),
            Level::INFO if is_made => ("", "\x1b[32m"),
            Level::INFO => ("", ""),
            Level::DEBUG => ("debug: ", "\x1b[2m"),
            Level::TRACE => ("trace: ", "\x1b[2m"),
        };
        let colour = if writer.has_ansi_escapes() {
            colour
        } else {
            ""
        };
        write!(writer, "{colour}{label}")?;
        if !colour.is_empty() && !is_made {
            writer.write_str("\x1b[0m")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        if !colour.is_empty() && is_made {
            writer.write_str("\x1b[0m")?;
        }
        writeln!(writer)
    }
}

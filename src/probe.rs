//! `learner probe`.

use comfy_table::{Table, presets};
use learner::kernel::probe::{Report, probe};
use learner::kernel::{Rung, Settings};

use crate::Verdict;
use crate::answer::Answer;
use crate::args::{Probe, TableFormat};
use crate::failure::Failure;

pub(crate) fn run(args: &Probe) -> Result<Verdict, Failure> {
    let settings = Settings {
        rung: args.rung.map(Rung::from),
        ..Settings::default()
    };
    let report = probe(settings);
    let mut answer = Answer::begin();
    match args.format {
        TableFormat::Table => answer.print(&table(&report))?,
        TableFormat::Json => {
            let value = serde_json::to_value(&report).unwrap_or(serde_json::Value::Null);
            answer.print(&format!("{value:#}\n"))?;
        }
    }
    answer.end()?;
    for reason in &report.obstacles {
        tracing::error!("observing is not possible: {reason}");
    }
    Ok(if report.can_observe {
        Verdict::Done
    } else {
        Verdict::No
    })
}

fn table(report: &Report) -> String {
    let Report {
        kernel,
        architecture,
        btf,
        lsms,
        cgroup,
        capabilities,
        can_observe,
        can_enforce,
        enforcement,
        obstacles: _,
        hooks,
    } = report;
    let mut facts = Table::new();
    facts.load_style(presets::NOTHING);
    let list = |names: &[String]| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    facts.add_row(["Kernel", &format!("{kernel} {architecture}")]);
    facts.add_row(["BTF", btf.as_deref().unwrap_or("missing")]);
    facts.add_row([
        "Active LSMs",
        &lsms
            .as_ref()
            .map_or("unknown: securityfs is not mounted".to_owned(), |l| list(l)),
    ]);
    facts.add_row(["cgroup", cgroup]);
    facts.add_row(["Capabilities held", &list(&capabilities.held)]);
    facts.add_row(["Capabilities lacking", &list(&capabilities.lacking)]);
    facts.add_row([
        "Observing",
        if *can_observe {
            "possible"
        } else {
            "not possible"
        },
    ]);
    let enforcing = if *can_enforce {
        "possible".to_owned()
    } else {
        format!("not possible: {enforcement}")
    };
    facts.add_row(["Enforcing", &enforcing]);
    let mut text = format!("{}\n", facts.trim_fmt());
    if !hooks.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["Hook", "Rung", "Misses"]);
        for hook in hooks {
            table.add_row([&hook.hook, &hook.rung, &hook.misses]);
        }
        text.push_str(&format!("\n{table}\n"));
    }
    text
}

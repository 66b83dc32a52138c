//! `learner probe`.

use comfy_table::{Table, presets};
use indexmap::IndexMap;
use learner::kernel::probe::{HookReport, Report, probe};
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

/// Why better rungs are not in use, and of which hooks: one reason mostly holds for many.
fn refusals(hooks: &[HookReport]) -> IndexMap<&str, Vec<&str>> {
    let mut refusals: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for hook in hooks {
        for reason in &hook.refused {
            refusals.entry(reason).or_default().push(&hook.hook);
        }
    }
    refusals
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
        let refusals = refusals(hooks);
        if !refusals.is_empty() {
            text.push_str("\nBetter rungs that were refused:\n");
        }
        for (reason, hooks) in refusals {
            text.push_str(&format!("- {reason}\n  for {}\n", hooks.join(", ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(name: &str, refused: &[&str]) -> HookReport {
        HookReport {
            hook: name.into(),
            rung: "tracepoint".into(),
            misses: String::new(),
            refused: refused.iter().map(|reason| (*reason).to_owned()).collect(),
        }
    }

    #[test]
    fn a_reason_is_said_once_with_the_hooks_it_holds_for() {
        let hooks = [
            hook("file_open", &["lsm: not active", "fentry: refused"]),
            hook("path_mkdir", &["lsm: not active"]),
            hook("path_chmod", &[]),
        ];
        let refusals: Vec<_> = refusals(&hooks).into_iter().collect();
        assert_eq!(
            refusals,
            [
                ("lsm: not active", vec!["file_open", "path_mkdir"]),
                ("fentry: refused", vec!["file_open"]),
            ]
        );
    }
}

//! `learner probe`.

use std::fmt;

use comfy_table::{Table, presets};
use indexmap::IndexMap;
use learner::cluster::nodes::{ENFORCER, kubearmor_on};
use learner::kernel::probe::{HookReport, Report, probe};
use learner::kernel::{Rung, Settings};
use serde::Serialize;

use crate::Verdict;
use crate::answer::Answer;
use crate::args::{Probe, TableFormat};
use crate::cluster;
use crate::failure::Failure;
use crate::talk::visible;

pub(crate) fn run(args: &Probe) -> Result<Verdict, Failure> {
    let settings = Settings {
        rung: args.rung.map(Rung::from),
        ..Settings::default()
    };
    let report = probe(settings);
    let here = args
        .cluster
        .then(|| Here::ask(args.node.as_deref(), &report));
    let mut answer = Answer::begin();
    match args.format {
        TableFormat::Table => answer.print(&table(&report, here.as_ref()))?,
        TableFormat::Json => {
            let mut value = serde_json::to_value(&report).unwrap_or(serde_json::Value::Null);
            if let Some(Ok(here)) = &here {
                value["cluster"] = serde_json::to_value(here).unwrap_or(serde_json::Value::Null);
            }
            answer.print(&format!("{value:#}\n"))?;
        }
    }
    answer.end()?;
    let _: Option<Here> = here.transpose()?;
    for reason in &report.obstacles {
        tracing::error!("observing is not possible: {reason}");
    }
    Ok(if report.can_observe {
        Verdict::Done
    } else {
        Verdict::No
    })
}

/// Who enforces on a node of a cluster.
#[derive(Debug, Serialize)]
struct Here {
    node: String,
    /// What the node's label says of KubeArmor; null where KubeArmor is not there.
    kubearmor: Option<String>,
    /// `kubearmor`, `learner`, or `nobody`.
    enforces: &'static str,
    /// Why the agent of the node could not do it.
    why: Option<String>,
}

impl Here {
    fn ask(node: Option<&str>, report: &Report) -> Result<Self, Failure> {
        let Some(node) = node else {
            return Err(Failure::Nothing(
                "which node this is is not told: --node NAME, or NODE_NAME".to_owned(),
            ));
        };
        let label = cluster::with(async |client| Ok(kubearmor_on(&client, node).await?))?;
        let why = (!report.can_enforce).then(|| report.enforcement.clone());
        Ok(Self::of(node, label, why))
    }

    fn of(node: &str, kubearmor: Option<String>, why: Option<String>) -> Self {
        let enforces = match (&kubearmor, &why) {
            (Some(_), _) => "kubearmor",
            (None, None) => "learner",
            (None, Some(_)) => "nobody",
        };
        Self {
            node: node.to_owned(),
            kubearmor,
            enforces,
            why,
        }
    }
}

impl fmt::Display for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        match (&self.kubearmor, &self.why) {
            (Some(label), _) => write!(
                f,
                "KubeArmor, which node {node} is labelled with ({ENFORCER}: {label}): Learner's agent observes"
            ),
            (None, None) => write!(
                f,
                "Learner's agent, where its configuration says so (cluster.enforce): KubeArmor is not on node \
                 {node}"
            ),
            (None, Some(why)) => write!(
                f,
                "nobody: KubeArmor is not on node {node}, and Learner's own programs cannot: {why}"
            ),
        }
    }
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

fn table(report: &Report, here: Option<&Result<Here, Failure>>) -> String {
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
    if let Some(here) = here {
        let who = here
            .as_ref()
            .map_or_else(|_| "unknown".to_owned(), |here| visible(&here.to_string()));
        facts.add_row(["Enforces on the cluster", &who]);
    }
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
    fn kubearmor_enforces_where_it_is_whatever_else_could() {
        let who = |label: Option<&str>, why: Option<&str>| {
            let here = Here::of("n", label.map(str::to_owned), why.map(str::to_owned));
            (here.enforces, here.to_string())
        };
        let (by, text) = who(Some("bpf"), None);
        assert_eq!(by, "kubearmor");
        assert!(text.contains("(kubearmor.io/enforcer: bpf)"), "{text}");
        assert_eq!(who(Some("bpf"), Some("no LSM")).0, "kubearmor");
        assert_eq!(who(None, None).0, "learner");
        let (by, text) = who(None, Some("no LSM"));
        assert_eq!(by, "nobody");
        assert!(text.ends_with("cannot: no LSM"), "{text}");
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

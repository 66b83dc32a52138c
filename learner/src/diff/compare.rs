//! Two sets of policies for one container, compared by what they do.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{Key, Line, lines};
use super::probe::{Deed, Probe, Probes, SOCKETS, probes};
use super::subject::Seen;
use super::{Change, Comparison, Deeds, Done, Keys, Meaning, Program, RuleChange};
use crate::policy::meaning::{
    CAPABILITIES, Enforced, Enforcer, Judgement, Posture, Postures, Verdict, Why,
};
use crate::policy::{Effect, Policy, Spec};

/// Compares what the policies do, each side applied alone, under a blocking posture: it shows all
/// that an Allow rule means.
pub(super) fn compare(
    before: &[&Policy],
    after: &[&Policy],
    seen: &Seen<'_>,
    enforcer: Enforcer,
) -> Comparison {
    let enforced =
        |policies: &[&Policy]| Enforced::new(enforcer, policies, Postures::all(Posture::Block));
    let sides = (enforced(before), enforced(after));
    let (lines_before, lines_after) = (lines(before), lines(after));
    let both: Vec<&Line> = lines_before.iter().chain(&lines_after).collect();
    let mut probes = probes(&both, enforcer);
    let mut counts: BTreeMap<Probe, u64> = BTreeMap::new();
    for (behavior, count) in seen {
        counts.insert(Probe::of(behavior), *count);
    }
    probes.all.extend(counts.keys().cloned());
    let judged: BTreeMap<&Probe, (Judgement, Judgement)> = probes
        .all
        .iter()
        .map(|probe| (probe, (probe.judge(&sides.0), probe.judge(&sides.1))))
        .collect();
    let words = Words { probes: &probes };
    let mut deeds: BTreeMap<(Change, String, String), BTreeMap<Done, u64>> = BTreeMap::new();
    for (probe, (before, after)) in &judged {
        let Some(change) = change(before, after) else {
            continue;
        };
        let group = deeds
            .entry((change, before.why.to_string(), after.why.to_string()))
            .or_default();
        let count = group.entry(words.done(probe)).or_default();
        *count = count.saturating_add(counts.get(probe).copied().unwrap_or_default());
    }
    let (budget_before, budget_after) = (sides.0.budget(), sides.1.budget());
    Comparison {
        changes: deeds
            .into_iter()
            .map(|((change, before, after), deeds)| Deeds {
                change,
                before,
                after,
                deeds: deeds.into_iter().collect(),
            })
            .collect(),
        rules: rules(&probes, &judged, &lines_before, &lines_after),
        unjudged: unjudged((before, &lines_before), (after, &lines_after)),
        keys: Keys {
            before: budget_before.wanted,
            after: budget_after.wanted,
            limit: budget_before.limit.or(budget_after.limit),
        },
    }
}

fn change(before: &Judgement, after: &Judgement) -> Option<Change> {
    match (before.verdict, after.verdict) {
        (Verdict::Denied, Verdict::Allowed) => Some(Change::Allowed),
        (Verdict::Allowed, Verdict::Denied) => Some(Change::Denied),
        (before, after) if before != after => Some(Change::Unclear),
        (Verdict::Allowed, _) if before.alert != after.alert => Some(if after.alert {
            Change::Reported
        } else {
            Change::Unreported
        }),
        _ => None,
    }
}

/// What every rule of either side comes to: what becomes of its territory.
fn rules(
    probes: &Probes,
    judged: &BTreeMap<&Probe, (Judgement, Judgement)>,
    before: &[Line],
    after: &[Line],
) -> Vec<RuleChange> {
    let fields = |lines: &[Line], key: &Key| {
        let own = lines.iter().filter(|line| line.key == *key);
        own.map(|line| line.field.clone()).collect::<BTreeSet<_>>()
    };
    probes
        .territories
        .iter()
        .map(|(key, territory)| RuleChange {
            class: key.class,
            target: key.target.as_str().to_owned(),
            sources: key.sources.clone(),
            before: fields(before, key),
            after: fields(after, key),
            meaning: meaning(territory.iter().filter_map(|probe| judged.get(probe))),
        })
        .collect()
}

fn meaning<'a>(pairs: impl Iterator<Item = &'a (Judgement, Judgement)>) -> Meaning {
    let (mut changes, mut opposed) = (BTreeSet::new(), false);
    for (before, after) in pairs {
        if let Some(change) = change(before, after) {
            changes.insert(change);
            opposed |= matches!(
                (effect(before), effect(after)),
                (Some(Effect::Allow), Some(Effect::Block))
                    | (Some(Effect::Block), Some(Effect::Allow))
            );
        }
    }
    let has = |change| changes.contains(&change);
    match (has(Change::Allowed), has(Change::Denied)) {
        (true, true) => Meaning::Conflicting,
        (true, false) | (false, true) if opposed => Meaning::Conflicting,
        (true, false) => Meaning::Wider,
        (false, true) => Meaning::Narrower,
        (false, false) if has(Change::Unclear) => Meaning::Unclear,
        (false, false) if !changes.is_empty() => Meaning::Reported,
        (false, false) => Meaning::Equal,
    }
}

/// Of the rule that decided, if one did.
fn effect(judgement: &Judgement) -> Option<Effect> {
    match &judgement.why {
        Why::Rule { rule, .. } => Some(rule.effect),
        _ => None,
    }
}

/// What the sides differ in and no operation shows: what is only reported, what is enforced by
/// other programs, and what depends on arguments.
fn unjudged(before: (&[&Policy], &[Line]), after: (&[&Policy], &[Line])) -> Vec<String> {
    let (before, after) = (hidden(before), hidden(after));
    before
        .symmetric_difference(&after)
        .map(|(what, _)| what.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// Each with its content, which is compared and not shown.
fn hidden((policies, lines): (&[&Policy], &[Line])) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for line in lines {
        let what = format!(
            "{}: {}",
            line.key.class,
            line.key.target.as_str().escape_debug()
        );
        if line.effect == Effect::Audit {
            found.insert((
                format!("what is only reported about {what}"),
                format!("{line:?}").replace(&line.field, ""),
            ));
        }
        if !line.arguments.is_empty() {
            let content = format!("{:?} {:?} {:?}", line.key, line.arguments, line.effect);
            found.insert((format!("the arguments of {what}"), content));
        }
    }
    for policy in policies {
        let Spec {
            network,
            syscalls,
            presets,
            device,
            apparmor,
            action,
            ..
        } = &policy.spec;
        let mut add = |section: &str, is_empty: bool, content: String| {
            if !is_empty {
                found.insert((section.to_owned(), content));
            }
        };
        let queries = &network.match_dns_queries;
        add(
            "spec.network.matchDNSQueries",
            queries.is_empty(),
            format!("{queries:?} {:?} {action:?}", network.action),
        );
        add(
            "spec.syscalls",
            syscalls.is_empty(),
            format!("{syscalls:?}"),
        );
        add(
            "spec.presets",
            presets.is_empty(),
            format!("{presets:?} {action:?}"),
        );
        add(
            "spec.device",
            device.is_empty(),
            format!("{device:?} {action:?}"),
        );
        add("spec.apparmor", apparmor.is_none(), format!("{apparmor:?}"));
    }
    found
}

/// How probes are said.
struct Words<'a> {
    probes: &'a Probes,
}

impl Words<'_> {
    fn done(&self, probe: &Probe) -> Done {
        let (op, access, object, to) = match &probe.deed {
            Deed::Path(path, op) => (
                op.name().to_owned(),
                op.access(),
                Some(path.clone()),
                op.to().cloned(),
            ),
            Deed::Socket(kind, protocol) => {
                let known = SOCKETS.iter().find(|(k, p, _)| (k, p) == (kind, protocol));
                let name = known.map_or("", |(_, _, name)| name);
                (format!("socket ({name})"), None, None, None)
            }
            Deed::Capability(number) => {
                let name = CAPABILITIES.get(usize::from(*number)).copied();
                (
                    format!("capability {}", name.unwrap_or_default()),
                    None,
                    None,
                    None,
                )
            }
        };
        let source = match &probe.source {
            None => Program::Unknown,
            Some(path) if self.probes.other.as_ref() != Some(path) => Program::Path(path.clone()),
            Some(_) if self.probes.by_source => Program::Other,
            Some(_) => Program::Any,
        };
        Done {
            object,
            op,
            access,
            to,
            source,
            owner: probe.owner.filter(|_| self.probes.by_owner),
            terminal: probe.tty.filter(|_| self.probes.by_terminal),
        }
    }
}

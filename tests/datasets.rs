//! The recordings of real programs in `datasets/`, replayed: each must lead to its policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use assert_cmd::Command;
use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::generalize::{Dialect, Target, Tightness};
use learner::mention::Tombstones;
use learner::path::AbsPath;
use learner::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures, Verdict};
use learner::policy::{LintKind, lint, to_yaml};
use learner::posture::Revision;
use learner::profile::Evidence;
use learner::quarantine::{Held, Include, Sorted, entries, sort};
use learner::readiness::Readiness;
use learner::recommend::{
    Criteria, Grant, Note, Recommendation, Refusal, recommend, recommend_merged,
};
use learner::shared::{Joint, Merged, Part};
use serde_json::Value;
use tempfile::TempDir;

const LEARNER: &str = env!("CARGO_BIN_EXE_learner");
const SMALL: u64 = 5 << 20;
const AGAIN: &str = "If this change is meant, write the policies again with \
    `for f in datasets/*.parquet; do learner -q recommend --from $f -o - > ${f%.parquet}.policy.yaml; done` \
    and review the diff; datasets/README.md says how to record again";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets")
}

/// The names in `datasets/` that end so, without that ending.
fn names(ending: &str) -> BTreeSet<String> {
    fs::read_dir(folder())
        .expect("datasets")
        .map(|entry| entry.expect("an entry").file_name())
        .filter_map(|name| Some(name.to_str()?.strip_suffix(ending)?.to_owned()))
        .collect()
}

fn recording(name: &str) -> PathBuf {
    folder().join(format!("{name}.parquet"))
}

fn policy(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.policy.yaml"))).expect("a policy")
}

/// What the command line answers; anything but exit code 0 fails the test.
fn learner(store: &Path, args: &[&str], stdin: &[u8]) -> String {
    let output = Command::new(LEARNER)
        .env_clear()
        .env("LEARNER_STORE", store)
        .arg("-q")
        .args(args)
        .write_stdin(stdin)
        .output()
        .expect("learner runs");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {talk}");
    String::from_utf8(output.stdout).expect("text")
}

/// The recording as JSON Lines, by way of a store.
fn lines(name: &str) -> Vec<String> {
    let dir = TempDir::new().expect("a directory");
    let store = dir.path().join("store");
    let file = recording(name);
    learner(&store, &["import", file.to_str().expect("text")], b"");
    let exported = learner(&store, &["export"], b"");
    exported.lines().map(str::to_owned).collect()
}

/// Fails with the first line that differs, rather than with two long texts.
fn assert_same(name: &str, what: &str, found: &str) {
    let wanted = policy(name);
    if found == wanted {
        return;
    }
    let differing = found.lines().zip(wanted.lines()).position(|(a, b)| a != b);
    let at = differing.unwrap_or(found.lines().count().min(wanted.lines().count()));
    panic!(
        "{name}: {what} leads to another policy than {name}.policy.yaml, from line {} on:\n\
         found  {:?}\nwanted {:?}\n{AGAIN}",
        at + 1,
        found.lines().nth(at),
        wanted.lines().nth(at),
    );
}

#[test]
fn every_dataset_leads_to_its_policy_byte_for_byte() {
    let nowhere = TempDir::new().expect("a directory");
    for name in names(".parquet") {
        let file = recording(&name);
        let args = [
            "recommend",
            "--from",
            file.to_str().expect("text"),
            "-o",
            "-",
        ];
        let store = nowhere.path().join("store");
        assert_same(&name, "the recording", &learner(&store, &args, b""));
        assert!(!store.exists(), "{name}: a replay has touched the store");
    }
}

#[test]
fn every_dataset_has_its_policy_and_every_policy_its_dataset() {
    assert_eq!(names(".parquet"), names(".policy.yaml"), "{AGAIN}");
    assert!(names(".parquet").len() >= 5, "datasets are missing");
}

#[test]
fn the_datasets_are_small_together() {
    let bytes: u64 = [".parquet", ".policy.yaml"]
        .iter()
        .flat_map(|ending| names(ending).into_iter().map(move |n| n + ending))
        .map(|file| folder().join(file).metadata().expect("a file").len())
        .sum();
    assert!(bytes < SMALL, "{bytes} bytes; record less of it");
}

#[test]
fn every_dataset_has_three_whole_runs_or_more_without_loss() {
    for name in names(".parquet") {
        let mut runs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in lines(&name) {
            let value: Value = serde_json::from_str(&line).expect("JSON");
            let text = |field: &str| value[field].as_str().expect("text").to_owned();
            runs.entry(text("run")).or_default().insert(text("op"));
        }
        assert!(
            runs.len() >= 3,
            "{name} has {} runs; record more",
            runs.len()
        );
        for (run, ops) in runs {
            let has = |op: &str| ops.contains(op);
            assert!(
                has("start") && has("stop") && has("exec") && !has("late") && !has("lost"),
                "{run} is partial evidence ({ops:?}); record it again with datasets/record/{name}"
            );
        }
    }
}

#[test]
fn a_dataset_in_another_order_leads_to_the_same_policy() {
    let nowhere = TempDir::new().expect("a directory");
    for name in names(".parquet") {
        let mut lines = lines(&name);
        lines.reverse();
        let check = |what: &str, lines: &[String]| {
            let text = lines.join("\n") + "\n";
            let args = ["recommend", "--from", "-", "-o", "-"];
            let found = learner(&nowhere.path().join("store"), &args, text.as_bytes());
            assert_same(&name, what, &found);
        };
        check("the reversed recording", &lines);
        shuffle(&mut lines);
        check("the shuffled recording", &lines);
    }
}

/// Fisher and Yates with a fixed xorshift: each test run shuffles alike.
fn shuffle(lines: &mut [String]) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for last in (1..lines.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        lines.swap(last, (state % (last as u64 + 1)) as usize);
    }
}

/// How a policy is made, of every kind.
fn every_way() -> impl Iterator<Item = Criteria> {
    let ways = [Tightness::Exact, Tightness::Balanced, Tightness::Durable];
    let for_whom = [
        Dialect::Bpf,
        Dialect::AppArmor,
        Dialect::Both,
        Dialect::Learner,
    ];
    ways.into_iter().flat_map(move |tightness| {
        for_whom.into_iter().map(move |enforcer| Criteria {
            tightness,
            enforcer,
            // That is about readiness, and takes as long as a recommendation for each run.
            leave_out: 0,
            ..Criteria::default()
        })
    })
}

type Made = Vec<(Criteria, Recommendation)>;

/// All recommendations for each dataset, made once for all tests.
static RECOMMENDED: LazyLock<BTreeMap<String, Made>> = LazyLock::new(|| {
    let all = names(".parquet").into_iter();
    all.map(|name| (name.clone(), all_recommended(&name)))
        .collect()
});

/// All recommendations for a dataset; a way in which the rules do not fit is left out.
fn all_recommended(name: &str) -> Made {
    let evidence = evidence(name);
    let key = evidence.runs().keys().next().expect("a run").clone();
    every_way()
        .filter_map(
            |criteria| match recommend(&key.workload, &evidence, &criteria) {
                Ok(made) => Some((criteria, made)),
                Err(Refusal::OverBudget(_)) => None,
                Err(other) => panic!("{name}: {other}"),
            },
        )
        .collect()
}

fn held(made: &Recommendation, enforcer: Enforcer) -> Enforced {
    Enforced::new(enforcer, &[&made.policy], Postures::all(Posture::Block))
}

#[test]
fn whatever_was_learned_is_allowed_or_listed_and_the_rules_fit() {
    for (name, found) in RECOMMENDED.iter() {
        assert!(found.len() >= 6, "{name}: {}", found.len());
        for (criteria, made) in found {
            let denied = made
                .notes
                .iter()
                .find(|note| matches!(note, Note::NotAllowed { .. }));
            assert!(denied.is_none(), "{name}: {criteria:?}: {denied:?}");
            let Some((entries, limit)) = made.budget else {
                continue;
            };
            assert!(entries <= limit, "{name}: {criteria:?}");
            let budget = held(made, Enforcer::Bpf).budget();
            assert_eq!(budget.wanted, entries, "{name}: {criteria:?}");
            assert!(budget.dropped.is_empty(), "{name}: {criteria:?}");
        }
    }
}

/// What is told of a policy that somebody wrote holds for those that are recommended.
#[test]
fn no_recommended_policy_lacks_what_its_own_rules_need() {
    for (name, found) in RECOMMENDED.iter() {
        for (criteria, made) in found {
            for enforcer in criteria.enforcer.enforcers() {
                let lints = lint(&[&made.policy], *enforcer).into_iter();
                let lacks: Vec<String> = lints
                    .filter(|lint| lint.kind == LintKind::Lacks)
                    .map(|lint| lint.to_string())
                    .collect();
                assert_eq!(lacks, [""; 0], "{name}: {criteria:?}");
            }
        }
    }
}

/// What half of the runs lead to, and what all of them do.
#[test]
fn more_runs_take_nothing_away_that_was_seen() {
    for (name, found) in RECOMMENDED.iter() {
        let all = evidence(name);
        let mut half = Evidence::default();
        for (key, run) in all.runs().iter().step_by(2) {
            half.insert(key.clone(), run.clone());
        }
        let runs: Vec<_> = all.runs().iter().collect();
        let sorted = sort(&runs, &Include::default(), &Tombstones::default());
        let learned: BTreeSet<&Behavior> = sorted
            .learned
            .values()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        let ways = found.iter().filter(|(criteria, _)| {
            matches!(criteria.enforcer, Dialect::Bpf | Dialect::AppArmor)
                && criteria.tightness != Tightness::Exact
        });
        for (criteria, by_all) in ways {
            let Ok(by_half) = recommend(&by_all.workload, &half, criteria) else {
                continue;
            };
            for enforcer in criteria.enforcer.enforcers() {
                let (before, after) = (held(&by_half, *enforcer), held(by_all, *enforcer));
                let allows = |held: &Enforced, behavior: &Behavior| {
                    held.judge(&Operation::from(behavior)).verdict == Verdict::Allowed
                };
                let lost = learned
                    .iter()
                    .filter(|behavior| allows(&before, behavior) && !allows(&after, behavior));
                let lost: Vec<String> = lost.map(ToString::to_string).collect();
                assert_eq!(lost, [""; 0], "{name}: {criteria:?}");
            }
        }
    }
}

/// Paths that an attacker looks for, and whether to execute them. None of the datasets used them.
const ATTACKS: &[(&str, bool)] = &[
    ("/etc/shadow", false),
    ("/etc/gshadow", false),
    ("/etc/sudoers", false),
    ("/etc/cron.d/planted", false),
    ("/etc/ssh/ssh_host_ed25519_key", false),
    ("/root/.ssh/id_rsa", false),
    ("/root/.bash_history", false),
    ("/home/user/.ssh/id_ed25519", false),
    ("/run/secrets/kubernetes.io/serviceaccount/token", false),
    ("/var/run/secrets/kubernetes.io/serviceaccount/token", false),
    ("/var/lib/kubelet/pki/kubelet-client-current.pem", false),
    ("/run/containerd/containerd.sock", false),
    ("/proc/1/mem", false),
    ("/proc/1/environ", false),
    ("/proc/1/root/etc/shadow", false),
    ("/proc/sys/kernel/core_pattern", false),
    ("/proc/kcore", false),
    ("/dev/mem", false),
    ("/dev/sda", false),
    ("/sys/kernel/uevent_helper", false),
    ("/sys/fs/cgroup/release_agent", false),
    ("/usr/lib/x86_64-linux-gnu/planted.so", false),
    ("/lib/planted.so", false),
    ("/tmp/dropped", true),
    ("/var/tmp/dropped", true),
    ("/dev/shm/dropped", true),
    ("/usr/bin/planted", true),
    ("/usr/local/bin/planted", true),
    ("/bin/nc", true),
];

#[test]
fn no_attack_path_is_opened_by_any_policy_but_where_the_policy_is_said_to_open_it() {
    for (name, found) in RECOMMENDED.iter() {
        for (criteria, made) in found {
            let enforcers = criteria.enforcer.enforcers();
            let sources: BTreeSet<Option<AbsPath>> = made
                .rules
                .iter()
                .flat_map(|rule| rule.source.iter().chain(&rule.sources))
                .cloned()
                .map(Some)
                .chain([AbsPath::try_from("/no/such/program").ok()])
                .collect();
            for (attack, exec) in ATTACKS {
                let named = made.rules.iter().flat_map(|rule| &rule.grants).any(|grant| {
                    matches!(grant, Grant::Directory { opens, .. } if opens.contains(attack))
                });
                let by_proc = attack.starts_with("/proc/") && opens_proc(made);
                for enforcer in enforcers {
                    let held = held(made, *enforcer);
                    // AppArmor's own base lets every program load libraries.
                    let base = *enforcer == Enforcer::AppArmor && attack.contains("/lib");
                    let opened = sources.iter().any(|source| {
                        let op = if *exec {
                            Op::Exec
                        } else {
                            Op::Open(Access::Read)
                        };
                        let attempt = attempt(op, attack, source.clone());
                        held.judge(&Operation::from(&attempt)).verdict == Verdict::Allowed
                    });
                    assert!(
                        !opened || named || by_proc || base,
                        "{name}: {criteria:?} opens {attack} under {enforcer}"
                    );
                    if criteria.enforcer == Dialect::AppArmor && !base {
                        assert!(!opened, "{name}: {criteria:?} opens {attack}");
                    }
                }
            }
        }
    }
}

/// The dialect of BPF-LSM has no tighter rule for other processes' files, and the policy says so.
fn opens_proc(made: &Recommendation) -> bool {
    made.rules.iter().any(|rule| {
        rule.is_wide()
            && matches!(&rule.target, Target::Directory { dir, .. } if dir.as_bytes() == b"/proc/")
    })
}

fn attempt(op: Op, path: &str, source: Option<AbsPath>) -> Behavior {
    Behavior {
        op,
        path: AbsPath::try_from(path).expect("absolute"),
        source,
        uid: Some(0),
        owner: Some(true),
        upper: None,
        tty: Some(false),
        result: Outcome::Ok,
    }
}

fn evidence(name: &str) -> Evidence {
    let mut evidence = Evidence::default();
    learner::recording::read(&recording(name), &mut |observation| {
        evidence.fold(observation)
    })
    .expect("a recording");
    evidence
}

/// They were recorded without a terminal, of programs from packages, and nobody entered. Each run is
/// also judged alone, since one run may speak for another.
#[test]
fn nothing_that_programs_from_packages_did_is_held() {
    for name in names(".parquet") {
        let evidence = evidence(&name);
        let all: Vec<_> = evidence.runs().iter().collect();
        for runs in std::iter::once(&all[..]).chain(all.chunks(1)) {
            let Sorted {
                learned,
                quarantine,
                ..
            } = sort(runs, &Include::default(), &Tombstones::default());
            let held: Vec<String> = quarantine
                .held
                .iter()
                .map(Held::to_string)
                .filter(|held| !is_of_a_built_program(held))
                .collect();
            assert_eq!(held, Vec::<String>::new(), "{name}");
            assert!(quarantine.unjudged.is_empty(), "{name}");
            for (key, run) in runs {
                let learnable = run.seen.keys().filter(|b| b.is_learnable());
                let learnable = learnable.filter(|b| !is_of_a_built_program(&b.to_string()));
                assert_eq!(learned[key].len(), learnable.count(), "{}", key.run);
            }
        }
    }
}

/// c-build tries what it has built.
fn is_of_a_built_program(what: &str) -> bool {
    what.starts_with("exec /srv/learner-datasets/c-build/builds/")
        || what.contains(" by /srv/learner-datasets/c-build/builds/")
}

#[test]
fn a_program_that_a_build_has_made_is_held_until_somebody_names_it() {
    let evidence = evidence("c-build");
    let runs: Vec<_> = evidence.runs().iter().collect();
    let sorted = sort(&runs, &Include::default(), &Tombstones::default());
    let held = sorted.quarantine.held.iter().map(Held::to_string);
    let (execs, rest): (Vec<_>, Vec<_>) = held.partition(|held| held.starts_with("exec "));
    assert!(!execs.is_empty() && !rest.is_empty());
    for held in execs.iter().chain(&rest) {
        assert!(held.ends_with("the program was made at run time"), "{held}");
    }
}

#[test]
fn who_has_started_a_run_is_the_parent_of_its_entries_alone() {
    for name in names(".parquet") {
        for (key, run) in evidence(&name).runs() {
            let entries = entries(run);
            for behavior in run
                .seen
                .keys()
                .filter(|b| b.op == Op::Exec && b.is_learnable())
            {
                // A parent without a readable executable is not known.
                let Some(source) = behavior.source.as_ref() else {
                    continue;
                };
                // Also where the machine's first process has adopted one of the workload's.
                assert_eq!(
                    source.as_bytes() == b"/srv/learner-datasets/bin/learner",
                    entries.contains(behavior),
                    "{}: {behavior}",
                    key.run
                );
            }
        }
    }
}

#[test]
fn what_an_adopted_process_executes_is_neither_held_nor_taken_for_the_start() {
    let evidence = evidence("exim");
    let runs: Vec<_> = evidence.runs().iter().collect();
    let sorted = sort(&runs, &Include::default(), &Tombstones::default());
    assert_eq!(sorted.quarantine.held, []);
    let is_adopted = |behavior: &&Behavior| {
        let source = behavior.source.as_ref().map(AbsPath::as_bytes);
        behavior.op == Op::Exec && source == Some(b"/process_api")
    };
    let learned = sorted.learned.values().flat_map(BTreeMap::keys);
    assert!(learned.copied().filter(is_adopted).count() > 0);
    let entries = sorted.entries.values().flatten();
    assert_eq!(entries.copied().filter(is_adopted).count(), 0);
}

#[test]
fn exims_message_ids_are_one_pattern_and_not_one_for_each() {
    let made = &RECOMMENDED["exim"];
    for (criteria, made) in made {
        if criteria.enforcer == Dialect::AppArmor && criteria.tightness != Tightness::Exact {
            assert!(made.rules.len() < 100, "{} rules", made.rules.len());
        }
    }
}

/// The runs of a dataset, dealt out to so many nodes, and each node's part of it.
fn dealt(evidence: &Evidence, nodes: usize) -> Joint {
    let mut joint = Joint::default();
    for node in 0..nodes {
        let runs = evidence.runs().iter().skip(node).step_by(nodes);
        let (key, _) = runs.clone().next().expect("a run");
        joint.add(&Revision::of(key), &format!("node-{node}"), &Part::of(runs));
    }
    joint
}

/// What one node that saw everything would say, and what several say that each saw some runs.
#[test]
fn a_dataset_over_several_nodes_leads_to_the_policies_of_one() {
    for (name, found) in RECOMMENDED.iter() {
        let evidence = evidence(name);
        let key = evidence.runs().keys().next().expect("a run").clone();
        for nodes in [1, 2, 5] {
            let nodes = nodes.min(evidence.runs().len());
            let merged = Merged::of(&dealt(&evidence, nodes)).expect("acts");
            for (criteria, made) in found {
                let of_all = recommend_merged(&key.workload, &merged, criteria).expect("a policy");
                let (found, wanted) = (to_yaml(&of_all.policy), to_yaml(&made.policy));
                let differs = |(found, wanted): (&str, &str)| {
                    (found != wanted).then(|| format!("found {found:?}, wanted {wanted:?}"))
                };
                let first = found.lines().zip(wanted.lines()).find_map(differs);
                assert!(
                    found == wanted,
                    "{name} over {nodes} nodes, {criteria:?}: {first:?}"
                );
                let strip = |readiness: &Readiness| Readiness {
                    left_one_out: Vec::new(),
                    left_out: Vec::new(),
                    ..readiness.clone()
                };
                assert_eq!(
                    strip(&of_all.readiness),
                    strip(&made.readiness),
                    "{name} over {nodes} nodes, {criteria:?}"
                );
            }
        }
    }
}

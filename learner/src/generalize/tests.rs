mod alike;
mod budget;
mod fan_out;
mod passing;

use proptest::prelude::*;

use super::*;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::observation::Moment;
use crate::profile::Sighting;

const ONCE: Sighting = Sighting {
    count: 1,
    first: Moment(0),
    last: Moment(0),
};

fn path(text: &str) -> AbsPath {
    AbsPath::new(text).expect("absolute")
}

fn done(op: Op, source: &str, what: &str) -> Behavior {
    Behavior {
        op,
        path: path(what),
        source: (!source.is_empty()).then(|| path(source)),
        uid: None,
        owner: None,
        upper: None,
        tty: None,
        result: Outcome::Ok,
    }
}

fn read(source: &str, what: &str) -> Behavior {
    done(Op::Open(Access::Read), source, what)
}

fn write(source: &str, what: &str) -> Behavior {
    done(Op::Open(Access::Write), source, what)
}

const APP: &str = "/usr/bin/app";

/// A run of the app: its start, and what else it did.
fn run(rest: impl IntoIterator<Item = Behavior>) -> Vec<Behavior> {
    let mut all = vec![done(Op::Exec, "", APP)];
    all.extend(rest);
    all
}

fn options(tightness: Tightness, enforcer: Dialect) -> Options {
    Options {
        tightness,
        enforcer,
        read_only: false,
        entries: 256,
    }
}

fn seen(run: u32, behavior: &Behavior) -> Seen<'_> {
    Seen {
        run,
        behavior,
        sighting: &ONCE,
        entry: false,
        known: None,
    }
}

fn try_rules(runs: &[Vec<Behavior>], options: Options) -> Result<Generalized, OverBudget> {
    let all: Vec<Seen<'_>> = runs
        .iter()
        .zip(0..)
        .flat_map(|(run, number)| run.iter().map(move |behavior| seen(number, behavior)))
        .collect();
    generalize(&all, &options)
}

fn rules(runs: &[Vec<Behavior>], tightness: Tightness, enforcer: Dialect) -> Generalized {
    try_rules(runs, options(tightness, enforcer)).expect("it fits")
}

fn shown(generalized: &Generalized) -> Vec<String> {
    let one = |chosen: &Chosen| {
        let Rule {
            class,
            target,
            source,
        } = &chosen.rule;
        let by = source
            .as_ref()
            .map(|s| format!(" by {s}"))
            .unwrap_or_default();
        let ro = if chosen.read_only { " ro" } else { "" };
        format!("{class:?} {target}{by}{ro}")
    };
    generalized.rules.iter().map(one).collect()
}

fn has(generalized: &Generalized, rule: &str) -> bool {
    shown(generalized).iter().any(|shown| shown == rule)
}

#[test]
fn a_name_that_is_in_every_run_stays_and_one_that_changes_is_of_its_class() {
    let runs: Vec<_> = (0..4)
        .map(|n| {
            run([
                read(APP, "/srv/0123456789abcdef/same"),
                write(APP, &format!("/srv/state/temp-{}.rdb", 4711 + n * 13)),
            ])
        })
        .collect();
    let found = rules(&runs, Tightness::Balanced, Dialect::Bpf);
    assert!(has(
        &found,
        "File /srv/0123456789abcdef/same by /usr/bin/app"
    ));
    assert!(
        has(&found, "File /srv/state/* by /usr/bin/app"),
        "{:?}",
        shown(&found)
    );
    let found = rules(&runs, Tightness::Balanced, Dialect::AppArmor);
    assert!(
        has(&found, "File /srv/state/temp-{number}.rdb"),
        "{:?}",
        shown(&found)
    );
}

/// Ten runs that read the same; those that are named also do something else.
fn few(of: &[(usize, Behavior)]) -> Vec<Vec<Behavior>> {
    let also = |n: usize| of.iter().filter(move |(run, _)| *run == n);
    (0..10)
        .map(|n| run(also(n).map(|(_, behavior)| behavior.clone())))
        .collect()
}

#[test]
fn a_number_varies_that_was_another_in_some_of_the_runs_that_have_one() {
    // One of two numbers is in many runs, the other one in few.
    let numbered = |name: &dyn Fn(u32) -> String| {
        few(&[
            (2, write(APP, &name(3))),
            (3, write(APP, &name(3))),
            (4, write(APP, &name(3))),
            (5, write(APP, &name(3))),
            (5, write(APP, &name(12))),
        ])
    };
    let rules_for = |name: &dyn Fn(u32) -> String| {
        rules(&numbered(name), Tightness::Durable, Dialect::AppArmor)
    };
    let found = rules_for(&|n| format!("/srv/app/failed-{n}.txt"));
    assert!(
        has(&found, "File /srv/app/failed-{number}.txt"),
        "{:?}",
        shown(&found)
    );
    for place in [
        "/etc/app/failed-",
        "/root/app/failed-",
        "/usr/lib/app/failed-",
        "/usr/share/app/failed-",
        "/lib/failed-",
        "/dev/tty-",
        "/srv/lib/libfoo.so.",
        "/srv/lib/python3.",
    ] {
        let found = rules_for(&|n| format!("{place}{n}"));
        let seen = format!("File {place}12 by {APP}");
        assert!(has(&found, &seen), "{:?}", shown(&found));
    }
}

#[test]
fn a_number_after_a_few_letters_varies_as_one_that_stands_apart_does_and_in_fewer_places() {
    let rules_for = |name: &dyn Fn(u32) -> String, enforcer| {
        let runs = few(&[
            (2, write(APP, &name(3))),
            (3, write(APP, &name(3))),
            (4, write(APP, &name(3))),
            (5, write(APP, &name(3))),
            (5, write(APP, &name(12))),
        ]);
        rules(&runs, Tightness::Balanced, enforcer)
    };
    let found = rules_for(&|n| format!("/srv/app/tags/v{n}.lock"), Dialect::AppArmor);
    assert!(
        has(&found, "File /srv/app/tags/v{number}.lock"),
        "{:?}",
        shown(&found)
    );
    let found = rules_for(&|n| format!("/srv/app/tags/v{n}"), Dialect::Bpf);
    assert!(
        has(&found, "File /srv/app/tags/* by /usr/bin/app"),
        "{:?}",
        shown(&found)
    );
    // Nor where the name may be a version, or has another number in it.
    for place in [
        "/etc/app/v",
        "/root/app/v",
        "/usr/lib/app/v",
        "/dev/tty",
        "/sys/devices/cpu",
        "/srv/lib/libz.so.a",
        "/srv/app/1.v",
        "/srv/app/v1.v",
    ] {
        let found = rules_for(&|n| format!("{place}{n}"), Dialect::AppArmor);
        let seen = format!("File {place}12 by {APP}");
        assert!(has(&found, &seen), "{:?}", shown(&found));
    }
    // A program that is numbered so is none of many.
    let program = |n| done(Op::Exec, APP, &format!("/srv/app/s{n}"));
    let runs = few(&[
        (2, program(3)),
        (3, program(3)),
        (5, program(3)),
        (5, program(12)),
    ]);
    let found = rules(&runs, Tightness::Durable, Dialect::Bpf);
    assert!(
        has(&found, "Process /srv/app/s12 by /usr/bin/app"),
        "{:?}",
        shown(&found)
    );
}

#[test]
fn numbers_that_always_come_together_do_not_vary() {
    let optional = |n| [2, 4, 7].map(|run| (run, read(APP, &format!("/srv/app/module-{n}.conf"))));
    let runs = few(&[optional(1), optional(2)].concat());
    let found = rules(&runs, Tightness::Durable, Dialect::AppArmor);
    assert!(
        has(&found, "File /srv/app/module-1.conf"),
        "{:?}",
        shown(&found)
    );
}

#[test]
fn a_numbered_program_is_only_widened_if_half_of_the_runs_have_their_own() {
    let program = |n| done(Op::Exec, APP, &format!("/srv/app/step-{n}"));
    let runs = few(&[
        (2, program(3)),
        (3, program(3)),
        (4, program(3)),
        (5, program(3)),
        (5, program(12)),
    ]);
    for enforcer in [Dialect::Bpf, Dialect::AppArmor] {
        let found = rules(&runs, Tightness::Durable, enforcer);
        assert!(
            has(&found, "Process /srv/app/step-12 by /usr/bin/app"),
            "{:?}",
            shown(&found)
        );
    }
}

#[test]
fn a_name_that_no_class_knows_changes_if_each_run_has_its_own() {
    let names = ["amber", "birch", "cedar", "delta"];
    let runs: Vec<_> = names
        .iter()
        .map(|name| run([read(APP, &format!("/srv/cells/{name}/cell.db"))]))
        .collect();
    let found = rules(&runs, Tightness::Balanced, Dialect::AppArmor);
    assert!(
        has(&found, "File /srv/cells/{changing}/cell.db"),
        "{:?}",
        shown(&found)
    );
    // In a place where names are chosen by others, the runs alone prove nothing.
    let runs: Vec<_> = names
        .iter()
        .map(|name| run([read(APP, &format!("/etc/{name}/cell.db"))]))
        .collect();
    let found = rules(&runs, Tightness::Durable, Dialect::Bpf);
    assert!(
        has(&found, "File /etc/amber/cell.db"),
        "{:?}",
        shown(&found)
    );
}

#[test]
fn what_opens_a_shared_place_is_decided_by_the_tightness() {
    let stat = |pid: u32| read(APP, &format!("/proc/{pid}/stat"));
    let runs = [run([stat(10)]), run([stat(11)])];
    let exact = rules(&runs, Tightness::Exact, Dialect::Bpf);
    assert_eq!(exact.left_out.len(), 1);
    assert_eq!(exact.left_out[0].why, Why::Varies);
    let balanced = rules(&runs, Tightness::Balanced, Dialect::Bpf);
    assert!(
        has(&balanced, "File /proc/** by /usr/bin/app ro"),
        "{:?}",
        shown(&balanced)
    );
    // Without a program to scope it to, balanced keeps it closed and says what it would open.
    let anonymous = [
        run([read("", "/proc/10/stat")]),
        run([read("", "/proc/11/stat")]),
    ];
    let balanced = rules(&anonymous, Tightness::Balanced, Dialect::Bpf);
    let why = balanced.left_out[0].why.to_string();
    assert!(
        why.contains("/proc/") && why.contains("/proc/1/environ"),
        "{why}"
    );
    let durable = rules(&anonymous, Tightness::Durable, Dialect::Bpf);
    assert!(has(&durable, "File /proc/**"), "{:?}", shown(&durable));
    // Something it writes there: not for reading only, so not balanced.
    let written = [
        run([write(APP, "/proc/10/oom_score_adj")]),
        run([write(APP, "/proc/11/oom_score_adj")]),
    ];
    let balanced = rules(&written, Tightness::Balanced, Dialect::Bpf);
    assert_eq!(balanced.left_out.len(), 1, "{:?}", shown(&balanced));
}

#[test]
fn a_program_of_another_name_in_each_run_never_opens_a_writable_place() {
    let runs: Vec<_> = (0..3)
        .map(|n| {
            run([done(
                Op::Exec,
                APP,
                &format!("/tmp/go-build{}", 100_000 + n),
            )])
        })
        .collect();
    for tightness in [Tightness::Balanced, Tightness::Durable] {
        let found = rules(&runs, tightness, Dialect::Bpf);
        assert!(
            !shown(&found)
                .iter()
                .any(|rule| rule.starts_with("Process /tmp")),
            "{:?}",
            shown(&found)
        );
        assert!(
            found
                .left_out
                .iter()
                .any(|left| left.need.class == RuleClass::Process)
        );
    }
}

#[test]
fn a_pattern_leaves_no_rule_for_the_names_that_it_matches() {
    // As exim's message ids: the last two characters are too short for a class.
    let runs: Vec<_> = (0..6)
        .map(|n| {
            run([
                write(APP, &format!("/srv/log/1xW{n}aB-00{n}BD-{n}{n}")),
                write(APP, &format!("/srv/log/1xW{n}cD-00{n}Ef-x{n}")),
                write(
                    APP,
                    &format!("/srv/log/{}", ["a", "b", "c", "d", "e", "f"][n]),
                ),
            ])
        })
        .collect();
    let found = rules(&runs, Tightness::Balanced, Dialect::AppArmor);
    let below: Vec<String> = shown(&found)
        .into_iter()
        .filter(|rule| rule.contains("/srv/log"))
        .collect();
    assert_eq!(below, ["File /srv/log/{changing}"]);
}

#[test]
fn a_pattern_that_is_only_read_stays_so_whatever_is_written_beside() {
    let runs: Vec<_> = ["amber", "birch", "cedar", "delta"]
        .iter()
        .map(|name| {
            run([
                read(APP, &format!("/srv/in/{name}")),
                write(APP, "/srv/in/lock"),
            ])
        })
        .collect();
    let reading = Options {
        read_only: true,
        ..options(Tightness::Balanced, Dialect::AppArmor)
    };
    let found = try_rules(&runs, reading).expect("it fits");
    assert!(
        has(&found, "File /srv/in/{changing} ro"),
        "{:?}",
        shown(&found)
    );
    assert!(
        has(&found, "File /srv/in/lock by /usr/bin/app"),
        "{:?}",
        shown(&found)
    );
}

#[test]
fn a_source_that_the_workload_never_executed_scopes_nothing() {
    let runs = [run([read("/usr/bin/runc", "/srv/config")])];
    let found = rules(&runs, Tightness::Balanced, Dialect::Bpf);
    assert!(has(&found, "File /srv/config"), "{:?}", shown(&found));
}

#[test]
fn a_directory_too_long_for_the_enforcer_is_opened_further_up_or_not_at_all() {
    let deep = "/srv/aaaaaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbb/cccccccccccccccccccccc";
    let runs: Vec<_> = (0..3)
        .map(|n| run([read(APP, &format!("{deep}/{}.cache", 1_000_000 + n))]))
        .collect();
    let found = rules(&runs, Tightness::Balanced, Dialect::Bpf);
    assert!(
        has(
            &found,
            "File /srv/aaaaaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbb/** by /usr/bin/app"
        ),
        "{:?}",
        shown(&found)
    );
}

/// Paths of a few places and names, so that they meet.
fn any_path() -> impl Strategy<Value = String> {
    let place = prop::sample::select(vec![
        "/srv/data",
        "/etc",
        "/etc/app.d",
        "/usr/lib/app",
        "/proc",
        "/tmp",
        "/var/lib/app",
        "/sys/fs/cgroup",
        "/",
    ]);
    let name = prop_oneof![
        Just("config".to_owned()),
        Just("lib.so.1".to_owned()),
        (2u32..3000).prop_map(|n| n.to_string()),
        (0u32..50).prop_map(|n| format!("temp-{n}.rdb")),
        (100_000u32..100_050).prop_map(|n| format!("{n}/stat")),
        (0u32..9).prop_map(|n| format!("..2025_06_01_12_00_0{n}.123/app.yaml")),
        (0u32..3).prop_map(|n| format!("tmp.Ab{n}Zx9")),
        (0u32..3, "(/[a-c]){1,2}").prop_map(|(n, inner)| format!("tmp.Ab{n}Zx9{inner}")),
        (0u32..9).prop_map(|n| format!("x_a{n}Zx9q")),
        "[a-c]{1,2}",
    ];
    (place, name).prop_map(|(place, name)| format!("{}/{name}", place.trim_end_matches('/')))
}

fn any_behavior() -> impl Strategy<Value = Behavior> {
    let source = prop::sample::select(vec!["", APP, "/usr/bin/other", "/bin/sh"]);
    let op = prop_oneof![
        4 => Just(Op::Open(Access::Read)),
        2 => Just(Op::Open(Access::Write)),
        1 => Just(Op::Unlink),
        1 => Just(Op::Mkdir),
        1 => Just(Op::Create),
        1 => Just(Op::Exec),
        1 => any_path().prop_map(|to| Op::Rename { to: path(&to) }),
    ];
    (op, source, any_path()).prop_map(|(op, source, what)| done(op, source, &what))
}

fn any_runs() -> impl Strategy<Value = Vec<Vec<Behavior>>> {
    prop::collection::vec(
        prop::collection::vec(any_behavior(), 0..25).prop_map(run),
        1..5,
    )
}

fn any_options() -> impl Strategy<Value = Options> {
    let tightness = prop::sample::select(vec![
        Tightness::Exact,
        Tightness::Balanced,
        Tightness::Durable,
    ]);
    let enforcer = prop::sample::select(vec![Dialect::Bpf, Dialect::AppArmor, Dialect::Both]);
    (
        tightness,
        enforcer,
        any::<bool>(),
        prop::sample::select(vec![40usize, 256]),
    )
        .prop_map(|(tightness, enforcer, read_only, entries)| Options {
            tightness,
            enforcer,
            read_only,
            entries,
        })
}

proptest! {
    #[test]
    fn no_witness_is_lost_and_no_rule_is_spare(runs in any_runs(), options in any_options()) {
        let Ok(found) = try_rules(&runs, options) else { return Ok(()); };
        let allowed = |chosen: &[Chosen], need: &Need, write: bool| {
            chosen.iter().any(|c| c.rule.covers(need) && !(write && c.read_only))
        };
        let mut used = BTreeSet::new();
        for behavior in runs.iter().flatten() {
            for (need, _, _) in found.needs.of_behavior(&seen(0, behavior)) {
                let write = found.needs.all[&need].writes;
                if !choose::is_asked(&need, options.enforcer) {
                    continue;
                }
                let listed = found.left_out.iter().any(|left| left.need == need);
                prop_assert!(listed != allowed(&found.rules, &need, write), "{need:?}");
                let by: Vec<&Rule> = found
                    .rules
                    .iter()
                    .filter(|chosen| !(write && chosen.read_only))
                    .map(|chosen| &chosen.rule)
                    .filter(|rule| rule.covers(&need))
                    .filter(|rule| {
                        choose::is_for_each(rule.class, options.enforcer) || rule.source == need.source
                    })
                    .filter(|rule| {
                        options.enforcer == Dialect::Bpf || !choose::is_object(rule, &need)
                    })
                    .collect();
                if by.len() == 1 || options.enforcer == Dialect::Both {
                    used.extend(by);
                }
            }
        }
        for chosen in &found.rules {
            prop_assert!(used.contains(&chosen.rule), "{:?} can be left out", chosen.rule);
        }
    }

    #[test]
    fn the_order_does_not_matter(runs in any_runs(), options in any_options(), seed in any::<u64>()) {
        let mut shuffled = runs.clone();
        for run in &mut shuffled {
            let turn = (seed as usize) % run.len();
            run.rotate_left(turn);
        }
        let a = try_rules(&runs, options).map(|g| (shown(&g), g.entries, g.left_out, g.losses));
        let b = try_rules(&shuffled, options).map(|g| (shown(&g), g.entries, g.left_out, g.losses));
        prop_assert_eq!(a, b);
    }

    #[test]
    fn what_attackers_look_for_is_never_opened_but_where_it_is_named(runs in any_runs(), options in any_options()) {
        let Ok(found) = try_rules(&runs, options) else { return Ok(()); };
        for (sensitive, _) in tier::SENSITIVE {
            let sensitive = path(sensitive);
            for chosen in &found.rules {
                let Target::Directory { dir, recursive } = &chosen.rule.target else {
                    // An AppArmor pattern for processes never matches the first.
                    prop_assert!(chosen.rule.target != Target::Path(sensitive.clone()));
                    continue;
                };
                if opened(dir, *recursive).iter().any(|opened| path(opened) == sensitive) {
                    prop_assert!(dir.as_bytes().starts_with(b"/proc/") || dir.as_bytes().starts_with(b"/sys/"), "{}", dir);
                    prop_assert!(options.tightness == Tightness::Durable
                        || (chosen.rule.source.is_some() && chosen.read_only));
                }
            }
        }
        for planted in ["/etc/shadow", "/root/.ssh/id_rsa", "/usr/lib/x86_64-linux-gnu/planted.so", "/bin/planted", "/lib/planted.so"] {
            let names = names::Names::default().settle(names::Until::Now);
            let shape = names.shape(names::seen(&path(planted)), false);
            let need = |class, source: Option<&str>| Need { class, shape: shape.clone(), source: source.map(path) };
            for source in [None, Some(APP)] {
                for class in [RuleClass::Process, RuleClass::File] {
                    prop_assert!(!found.rules.iter().any(|c| c.rule.covers(&need(class, source))), "{planted}");
                }
            }
        }
        let names = names::Names::default().settle(names::Until::Now);
        let dropped = names.shape(names::seen(&path("/tmp/dropped")), false);
        let exec = Need { class: RuleClass::Process, shape: dropped, source: Some(path(APP)) };
        prop_assert!(!found.rules.iter().any(|c| c.rule.covers(&exec)));
    }
}

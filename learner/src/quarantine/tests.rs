use super::*;
use crate::observation::Loss;
use proptest::prelude::*;

fn path(text: &str) -> AbsPath {
    AbsPath::try_from(text).expect("absolute")
}

fn key(run: &str) -> RunKey {
    RunKey {
        workload: Workload {
            namespace: "default".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            container: "web".into(),
        },
        image: String::new(),
        run: run.into(),
    }
}

/// By `source`; an empty one is not known.
fn did(op: Op, source: &str, at: &str) -> Behavior {
    Behavior {
        op,
        path: path(at),
        source: (!source.is_empty()).then(|| path(source)),
        uid: None,
        owner: None,
        upper: None,
        tty: Some(false),
        result: Outcome::Ok,
    }
}

fn exec(source: &str, at: &str) -> Behavior {
    did(Op::Exec, source, at)
}

fn read(source: &str, at: &str) -> Behavior {
    did(Op::Open(Access::Read), source, at)
}

fn at_a_terminal(behavior: Behavior) -> Behavior {
    Behavior {
        tty: Some(true),
        ..behavior
    }
}

fn failed(errno: &str, behavior: Behavior) -> Behavior {
    Behavior {
        result: Outcome::Failed(errno.into()),
        ..behavior
    }
}

fn once(at: i64) -> Sighting {
    Sighting {
        count: 1,
        first: Moment(at),
        last: Moment(at),
    }
}

/// A second apart, the first at 1 s.
fn whole(seen: &[Behavior]) -> RunProfile {
    RunProfile {
        start: Some(Moment(0)),
        seen: (1..)
            .map(|second| once(second * 1_100_000))
            .zip(seen)
            .map(|(sighting, behavior)| (behavior.clone(), sighting))
            .collect(),
        ..RunProfile::default()
    }
}

const RUNC: &str = "/usr/bin/runc";
const NGINX: &str = "/usr/sbin/nginx";
const SH: &str = "/usr/bin/dash";

/// What is learned, and what is held with its reasons, as text; over all runs.
fn sorted(runs: &[RunProfile], include: &[&str]) -> (BTreeSet<String>, Vec<String>) {
    let named = |text: &&str| Mention::parse(text.as_bytes()).expect("a mention");
    let include = Include::from(include.iter().map(named).collect::<Vec<_>>());
    let keys: Vec<RunKey> = (0..runs.len()).map(|n| key(&n.to_string())).collect();
    let pairs: Vec<_> = keys.iter().zip(runs).collect();
    let Sorted {
        learned,
        quarantine,
        entries: _,
    } = sort(&pairs, &include, &Tombstones::default());
    let learned = learned
        .values()
        .flat_map(|run| run.keys().map(|b| b.to_string()));
    let held = quarantine.held.iter().map(Held::to_string).collect();
    (learned.collect(), held)
}

fn texts(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_workload_at_its_own_work_is_learned_whole() {
    let run = whole(&[
        exec(RUNC, NGINX),
        read(NGINX, "/etc/nginx/nginx.conf"),
        exec(NGINX, SH),
        read(SH, "/etc/passwd"),
        read("", "/etc/group"),
    ]);
    let (learned, held) = sorted(&[run], &[]);
    assert_eq!((learned.len(), held), (5, vec![]));
}

#[test]
fn a_session_at_a_terminal_is_held_unless_the_same_was_seen_without_one() {
    let run = whole(&[
        exec(RUNC, NGINX),
        at_a_terminal(read(NGINX, "/etc/shadow")),
        at_a_terminal(read(NGINX, "/etc/passwd")),
    ]);
    let clean = whole(&[exec(RUNC, NGINX), read(NGINX, "/etc/passwd")]);
    let (learned, held) = sorted(&[run, clean], &[]);
    assert_eq!(
        learned,
        texts(&[
            "exec /usr/sbin/nginx by /usr/bin/runc",
            "open /etc/passwd by /usr/sbin/nginx"
        ])
    );
    assert_eq!(
        held,
        ["open /etc/shadow by /usr/sbin/nginx: it was done only at a terminal"]
    );
}

#[test]
fn a_run_that_was_started_at_a_terminal_is_learned_and_that_is_said() {
    let run = whole(&[
        at_a_terminal(exec(RUNC, NGINX)),
        at_a_terminal(read(NGINX, "/etc/passwd")),
    ]);
    let key = key("a");
    let sorted = sort(&[(&key, &run)], &Include::default(), &Tombstones::default());
    assert_eq!(sorted.learned[&key].len(), 2);
    assert_eq!(
        sorted.quarantine.unjudged,
        BTreeMap::from([(key.clone(), BTreeSet::from([Unjudged::Terminal]))])
    );
}

#[test]
fn a_program_that_is_not_from_the_image_is_held_with_what_it_does() {
    let dropped = Behavior {
        upper: Some(true),
        ..exec(NGINX, "/tmp/miner")
    };
    let run = whole(&[
        exec(RUNC, NGINX),
        dropped,
        read("/tmp/miner", "/etc/resolv.conf"),
    ]);
    let (learned, held) = sorted(std::slice::from_ref(&run), &[]);
    assert_eq!(learned, texts(&["exec /usr/sbin/nginx by /usr/bin/runc"]));
    assert_eq!(
        held,
        [
            "exec /tmp/miner by /usr/sbin/nginx: the program is not from the image",
            "open /etc/resolv.conf by /tmp/miner: the program is not from the image"
        ]
    );
    let (learned, held) = sorted(&[run], &["exec:/tmp/miner"]);
    assert_eq!((learned.len(), held), (3, vec![]));
}

#[test]
fn a_program_that_was_made_in_the_run_is_held_however_it_was_made() {
    let made = [
        did(Op::Create, NGINX, "/tmp/x"),
        did(Op::Open(Access::Write), NGINX, "/tmp/x"),
        did(Op::Open(Access::ReadWrite), NGINX, "/tmp/x"),
        did(Op::Truncate, NGINX, "/tmp/x"),
        did(Op::Rename { to: path("/tmp/x") }, NGINX, "/tmp/y"),
        did(Op::Link { to: path("/tmp/x") }, NGINX, "/tmp/y"),
        did(Op::Rename { to: path("/tmp") }, NGINX, "/var/new"),
    ];
    for made in made {
        let run = whole(&[exec(RUNC, NGINX), made.clone(), exec(NGINX, "/tmp/x")]);
        let (learned, held) = sorted(&[run], &[]);
        assert_eq!(
            held,
            ["exec /tmp/x by /usr/sbin/nginx: the program was made at run time"],
            "{made}"
        );
        assert_eq!(learned.len(), 2, "{made}");
    }
}

#[test]
fn a_file_that_is_read_or_was_written_only_after_it_was_executed_is_not_made() {
    let run = whole(&[
        exec(RUNC, NGINX),
        read(NGINX, "/tmp/x"),
        exec(NGINX, "/tmp/x"),
        did(Op::Open(Access::Write), NGINX, "/tmp/x"),
        did(Op::Rename { to: path("/tm") }, NGINX, "/a"),
    ]);
    assert_eq!(sorted(&[run], &[]).1, Vec::<String>::new());
}

#[test]
fn what_was_denied_is_listed_and_never_learned_and_other_failures_are_neither() {
    let run = whole(&[
        exec(RUNC, NGINX),
        failed("EACCES", read(NGINX, "/etc/shadow")),
        failed("EPERM", did(Op::Chmod, NGINX, "/etc/shadow")),
        failed("ENOENT", read(NGINX, "/etc/none")),
        failed("EACCES", read(NGINX, "/etc/sometimes")),
        read(NGINX, "/etc/sometimes"),
    ]);
    let (learned, held) = sorted(&[run], &["/etc/"]);
    assert_eq!(
        learned,
        texts(&[
            "exec /usr/sbin/nginx by /usr/bin/runc",
            "open /etc/sometimes by /usr/sbin/nginx"
        ])
    );
    assert_eq!(
        held,
        [
            "open /etc/shadow by /usr/sbin/nginx: it was denied",
            "chmod /etc/shadow by /usr/sbin/nginx: it was denied"
        ]
    );
}

/// `kubectl exec web -- sh -c 'cat /etc/shadow'`, without a terminal.
fn entered() -> RunProfile {
    whole(&[
        exec(RUNC, NGINX),
        read(NGINX, "/etc/passwd"),
        exec(RUNC, SH),
        exec(SH, "/usr/bin/cat"),
        read("/usr/bin/cat", "/etc/shadow"),
    ])
}

#[test]
fn who_enters_the_container_teaches_nothing() {
    let (learned, held) = sorted(&[entered()], &[]);
    assert_eq!(
        learned,
        texts(&[
            "exec /usr/sbin/nginx by /usr/bin/runc",
            "open /etc/passwd by /usr/sbin/nginx"
        ])
    );
    let from_outside = "the program was not started by the workload";
    assert_eq!(
        held,
        [
            format!("exec /usr/bin/cat by /usr/bin/dash: {from_outside}"),
            format!("exec /usr/bin/dash by /usr/bin/runc: {from_outside}"),
            format!("open /etc/shadow by /usr/bin/cat: {from_outside}"),
        ]
    );
}

#[test]
fn an_exec_that_a_person_named_brings_along_what_it_does_and_starts() {
    let (learned, held) = sorted(&[entered()], &["exec:/usr/bin/dash"]);
    assert_eq!((learned.len(), held), (5, vec![]));
    let (learned, held) = sorted(&[entered()], &["/etc/shadow"]);
    assert_eq!((learned.len(), held.len()), (3, 2));
}

#[test]
fn a_run_of_which_the_first_program_is_not_known_is_not_judged_by_ancestry_and_that_is_said() {
    let late = RunProfile {
        late: true,
        ..entered()
    };
    let startless = RunProfile {
        start: None,
        ..entered()
    };
    let idle = whole(&[read(NGINX, "/etc/passwd")]);
    for run in [late, startless, idle] {
        let key = key("a");
        let sorted = sort(&[(&key, &run)], &Include::default(), &Tombstones::default());
        assert_eq!(sorted.quarantine.held, []);
        assert_eq!(sorted.learned[&key].len(), run.seen.len());
        assert_eq!(
            sorted.quarantine.unjudged[&key],
            BTreeSet::from([Unjudged::Ancestry])
        );
        assert!(entries(&run).is_empty());
    }
}

#[test]
fn a_run_that_cannot_be_judged_does_not_speak_for_what_came_from_outside() {
    let late = RunProfile {
        late: true,
        ..entered()
    };
    assert_eq!(sorted(&[entered(), late], &[]).1.len(), 3);
}

#[test]
fn losses_do_not_switch_the_judgement_off() {
    let mut run = entered();
    run.lose(Loss::RingFull, 1_000);
    assert_eq!(sorted(&[run], &[]).1.len(), 3);
}

#[test]
fn a_script_and_its_interpreter_are_both_entries_and_what_their_parent_starts_later_is_not() {
    let script = exec(RUNC, "/entrypoint.sh");
    let interpreter = exec(RUNC, SH);
    let other = exec(SH, NGINX);
    let mut run = RunProfile {
        start: Some(Moment(0)),
        ..RunProfile::default()
    };
    run.seen.insert(script.clone(), once(10));
    run.seen.insert(interpreter.clone(), once(250));
    run.seen.insert(other.clone(), once(300));
    let probe = exec(RUNC, "/usr/bin/probe");
    run.seen.insert(probe.clone(), once(1_000_011));
    assert_eq!(entries(&run), BTreeSet::from([&script, &interpreter]));
    let (_, held) = sorted(std::slice::from_ref(&run), &[]);
    assert_eq!(held.len(), 1);

    run.seen.insert(probe.clone(), once(1_000_010));
    assert_eq!(
        entries(&run),
        BTreeSet::from([&script, &interpreter, &probe])
    );
}

/// A shim forks, a runtime sets the container up and becomes the entrypoint: the kernel opens that and its
/// loader in the runtime's name.
#[test]
fn what_systemd_starts_in_a_unit_is_the_units_whenever_it_does() {
    let systemd = "/usr/lib/systemd/systemd";
    let unit = |manager: &str, by: &str| {
        let mut run = whole(&[
            exec(manager, "/usr/sbin/nginx"),
            read("/usr/sbin/nginx", "/etc/nginx/nginx.conf"),
        ]);
        let much_later = once(3_600_000_000);
        run.seen.insert(exec(by, "/bin/kill"), much_later);
        run.seen
            .insert(read("/bin/kill", "/etc/locale"), much_later);
        run
    };
    let held = |run: RunProfile| sorted(&[run], &[]).1;
    assert!(held(unit(systemd, systemd)).is_empty());
    // Whoever else comes, and whatever else is called so.
    assert_eq!(held(unit(systemd, "/bin/bash")).len(), 2);
    assert_eq!(held(unit("/tmp/systemd", "/tmp/systemd")).len(), 2);
    assert_eq!(held(unit("/usr/bin/runc", "/usr/bin/runc")).len(), 2);
}

#[test]
fn what_a_runtime_opens_to_become_the_entrypoint_is_of_the_start_and_what_it_opens_later_is_not() {
    let (shim, loader) = ("/usr/bin/shim", "/lib64/ld-linux-x86-64.so.2");
    let mut run = RunProfile {
        start: Some(Moment(0)),
        ..RunProfile::default()
    };
    run.seen.insert(read(RUNC, NGINX), once(9));
    run.seen.insert(exec(shim, NGINX), once(10));
    run.seen.insert(read(RUNC, loader), once(11));
    assert_eq!(sorted(std::slice::from_ref(&run), &[]).1.len(), 0);
    run.seen.insert(read(RUNC, "/etc/shadow"), once(1_000_011));
    assert_eq!(sorted(&[run], &[]).1.len(), 1);
}

/// An entrypoint that prepares for a while and then becomes the service: the parent stays.
#[test]
fn a_program_that_replaces_one_of_the_workloads_is_its_own_and_its_parent_is_not() {
    let service = exec(RUNC, NGINX);
    let run = whole(&[
        exec(RUNC, SH),
        read(SH, "/etc/passwd"),
        read(SH, NGINX),
        service.clone(),
        read(NGINX, "/etc/nginx/nginx.conf"),
        exec(NGINX, "/usr/bin/gzip"),
    ]);
    let (learned, held) = sorted(std::slice::from_ref(&run), &[]);
    assert_eq!((learned.len(), held), (6, vec![]));
    assert_eq!(entries(&run), BTreeSet::from([&exec(RUNC, SH), &service]));
}

/// A delivery whose parent has ended is a child of the machine's first process when it executes.
#[test]
fn an_orphan_of_the_workload_is_its_own_and_no_entry_and_whoever_comes_from_outside_is_neither() {
    const INIT: &str = "/usr/lib/systemd/systemd";
    let orphan = exec(INIT, NGINX);
    let begun = whole(&[exec(RUNC, NGINX), read(NGINX, NGINX)]);
    let mut run = begun.clone();
    run.seen.insert(read(NGINX, NGINX), once(5_000_000));
    run.seen.insert(orphan.clone(), once(5_000_200));
    let (learned, held) = sorted(std::slice::from_ref(&run), &[]);
    assert_eq!((learned.len(), held), (3, vec![]));
    assert_eq!(entries(&run), BTreeSet::from([&exec(RUNC, NGINX)]));

    // Nobody of the workload has opened the program when that one executed it.
    let mut run = begun;
    run.seen.insert(orphan.clone(), once(60_000_000));
    let (learned, held) = sorted(&[run], &[]);
    assert_eq!(learned.len(), 2);
    assert_eq!(held.len(), 1);
    assert!(
        held[0].starts_with("exec /usr/sbin/nginx by /usr/lib/systemd/systemd:"),
        "{held:?}"
    );
}

/// The kernel opens the program and its loader before the process has become that program.
#[test]
fn what_is_opened_to_start_the_run_is_learned_and_what_is_opened_to_enter_it_is_not() {
    let mut run = entered();
    let (loader, shell) = (read(RUNC, "/lib64/ld.so"), read(RUNC, SH));
    run.seen.insert(loader.clone(), once(1_100_100));
    run.seen.insert(read(RUNC, NGINX), once(1_099_900));
    run.seen.insert(shell, once(3_299_900));
    let (learned, held) = sorted(&[run], &[]);
    assert!(learned.contains(&loader.to_string()), "{learned:?}");
    assert_eq!((learned.len(), held.len()), (4, 4));
    assert!(
        held.iter()
            .any(|held| held.starts_with("open /usr/bin/dash by /usr/bin/runc:"))
    );
}

/// A probe that is executed every ten seconds, and at one time somebody else comes in.
#[test]
fn what_is_opened_to_execute_a_program_that_a_person_named_is_learned_with_it_and_nothing_else_is()
{
    let (probe, loader) = ("/usr/bin/pg_isready", "/lib64/ld.so");
    let mut run = whole(&[exec(RUNC, NGINX)]);
    let mut saw = |behavior: Behavior, first: i64, last: i64| {
        let seen = Sighting {
            count: 2,
            first: Moment(first),
            last: Moment(last),
        };
        run.seen.insert(behavior, seen);
    };
    saw(read(RUNC, probe), 9_999_900, 99_999_900);
    saw(exec(RUNC, probe), 10_000_000, 100_000_000);
    saw(read(RUNC, loader), 10_000_100, 100_000_100);
    saw(read(RUNC, SH), 49_999_900, 49_999_900);
    saw(exec(RUNC, SH), 50_000_000, 50_000_000);
    let run = std::slice::from_ref(&run);
    assert_eq!(sorted(run, &[]).1.len(), 5);
    let (learned, held) = sorted(run, &["exec:/usr/bin/pg_isready"]);
    assert_eq!(learned.len(), 4, "{learned:?}");
    assert!(
        matches!(&held[..], [exec, open] if exec.starts_with("exec /usr/bin/dash by /usr/bin/runc")
            && open.starts_with("open /usr/bin/dash by /usr/bin/runc")),
        "{held:?}"
    );
}

#[test]
fn an_exec_that_a_person_named_is_an_entry() {
    let (key, run) = (key("a"), entered());
    let include = Include::from(vec![
        Mention::parse(b"exec:/usr/bin/dash").expect("a mention"),
    ]);
    let sorted = sort(&[(&key, &run)], &include, &Tombstones::default());
    let named = exec(RUNC, SH);
    assert!(sorted.entries[&key].contains(&named));
    assert!(!entries(&run).contains(&named));
}

#[test]
fn what_is_forgotten_is_neither_learned_nor_listed_even_if_it_is_named() {
    let run = entered();
    let key = key("a");
    let other = Workload {
        name: "other".into(),
        ..key.workload.clone()
    };
    let named = |text: &str| Mention::parse(text.as_bytes()).expect("a mention");
    let tombstones: Tombstones = [
        (key.workload.clone(), named("open:/etc/")),
        (other, named("/")),
    ]
    .into_iter()
    .collect();
    let include = Include::from(vec![named("/")]);
    let sorted = sort(&[(&key, &run)], &include, &tombstones);
    let learned: Vec<&str> = sorted.learned[&key].keys().map(|b| b.op.name()).collect();
    assert_eq!(learned, ["exec"; 3]);
    assert_eq!(sorted.quarantine.held, []);
}

#[test]
fn what_is_held_is_counted_over_the_runs() {
    let mut again = entered();
    for sighting in again.seen.values_mut() {
        sighting.count = 5;
        sighting.last = Moment(sighting.last.0 + 7);
    }
    let (a, b) = (key("a"), key("b"));
    let runs = [(&b, &again), (&a, &entered())];
    let held = sort(&runs, &Include::default(), &Tombstones::default())
        .quarantine
        .held;
    let Held {
        runs,
        count,
        first,
        last,
        ..
    } = held[0].clone();
    assert_eq!((runs, count, last.0 - first.0), (2, 6, 7));
}

fn any_run() -> impl Strategy<Value = RunProfile> {
    let program = prop_oneof![Just(""), Just(RUNC), Just(NGINX), Just(SH)];
    let op = prop_oneof![
        Just(Op::Exec),
        Just(Op::Open(Access::Read)),
        Just(Op::Open(Access::Write)),
    ];
    let result = prop_oneof![
        4 => Just(Outcome::Ok),
        1 => Just(Outcome::Failed("EACCES".into())),
        1 => Just(Outcome::Failed("ENOENT".into())),
    ];
    let flags = any::<(Option<bool>, Option<bool>)>();
    let behavior = (
        op,
        program,
        prop_oneof![Just(NGINX), Just(SH)],
        flags,
        result,
    )
        .prop_map(|(op, source, at, (upper, tty), result)| Behavior {
            upper,
            tty,
            result,
            ..did(op, source, at)
        });
    let seen = proptest::collection::btree_map(behavior, (0..3_000_000i64).prop_map(once), 0..8);
    (any::<bool>(), any::<bool>(), seen).prop_map(|(start, late, seen)| RunProfile {
        start: start.then_some(Moment(0)),
        late,
        seen: seen.into_iter().collect(),
        ..RunProfile::default()
    })
}

proptest! {
    #[test]
    fn the_order_of_the_runs_makes_no_difference_and_nothing_is_lost_in_silence(
        profiles in proptest::collection::vec(any_run(), 0..4),
    ) {
        let keys: Vec<RunKey> = (0..profiles.len()).map(|n| key(&n.to_string())).collect();
        let mut runs: Vec<_> = keys.iter().zip(&profiles).collect();
        let sorted = sort(&runs, &Include::default(), &Tombstones::default());
        for (key, run) in &runs {
            for behavior in run.seen.keys() {
                let is_learned = sorted.learned[*key].contains_key(behavior);
                let is_held = sorted.quarantine.held.iter().any(|held| {
                    (&held.op, &held.path, &held.source)
                        == (&behavior.op, &behavior.path, &behavior.source)
                });
                prop_assert!(!is_learned || behavior.is_learnable());
                prop_assert!(is_learned || is_held || !behavior.is_learnable());
                prop_assert!(!(is_learned && is_held));
            }
        }
        runs.reverse();
        prop_assert_eq!(sorted, sort(&runs, &Include::default(), &Tombstones::default()));
    }
}

//! The enforcing programs: their answers against the evaluator's, and what no one may get around.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use learner::kernel::enforcer::{self, EnforceError};
use learner::kernel::{Clock, Rung, cgroup};
use learner::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures, Tree, Verdict};
use libtest_mimic::Failed;

use crate::attempts::Attempts;
use crate::check;
use crate::enforce::enforces;
use crate::maze::{Maze, absolute};

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[
    ("enforced: the kernel takes the programs", loaded),
    (
        "enforced: the kernel answers as the evaluator does, whatever the policy",
        differential,
    ),
    (
        "enforced: what was is, when nobody is there, until it is released",
        abandoned,
    ),
    (
        "enforced: what another version left stays until it is retired",
        another_version,
    ),
    (
        "enforced: a policy is replaced a thousand times and never answers wrongly",
        replaced,
    ),
    ("enforced: no other name lets a file through", evasions),
];

const POLICIES: u64 = 120;
const ATTEMPTS: usize = 24;
const EACCES: i32 = 13;

pub(crate) fn under(text: &str, posture: Posture) -> (Enforced, Tree) {
    let policies = learner::policy::from_yaml(text).expect("a policy");
    let enforced = Enforced::new(Enforcer::Learner, &policies, Postures::all(posture));
    let tree = enforced.tree().expect("a tree");
    (enforced, tree)
}

/// A policy with this below `file`.
pub(crate) fn files(rules: &str) -> String {
    format!("kind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec: {{file: {rules}, action: Allow}}")
}

/// The enforcer of all tests that need none of their own: loading the programs takes long where
/// there is no hardware virtualisation.
pub(crate) fn kernel() -> Result<MutexGuard<'static, enforcer::Enforcer>, Failed> {
    static SHARED: OnceLock<Mutex<enforcer::Enforcer>> = OnceLock::new();
    let shared = match SHARED.get() {
        Some(shared) => shared,
        None => {
            let made = enforcer::Enforcer::open("tests")?;
            SHARED.get_or_init(|| Mutex::new(made))
        }
    };
    // A test that failed leaves its policy on a cgroup that is gone.
    Ok(shared.lock().unwrap_or_else(PoisonError::into_inner))
}

fn loaded(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    kernel().map(drop)
}

fn differential(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let maze = Maze::new()?;
    let mut attempts = Attempts::start()?;
    let mut kernel = kernel()?;
    let source = std::env::current_exe()?.canonicalize()?;
    let acting = absolute(&source);
    let group = attempts.group.id()?;
    let (mut allowed, mut denied, mut left) = (0, 0, 0);
    for seed in 0..POLICIES {
        let mut draw = fastrand::Rng::with_seed(seed);
        let text = maze.policy(&mut draw, &source);
        let (enforced, tree) = under(&text, Posture::Block);
        left = tree.branches.len();
        kernel.apply(group, 7, [seed, 0], &tree)?;
        for _ in 0..ATTEMPTS {
            maze.restore()?;
            let attempt = maze.attempt(&mut draw);
            let operation = Operation {
                source: Some(&acting),
                uid: Some(0),
                owner: Some(attempt.owned),
                tty: Some(false),
                ..Operation::new(&attempt.op, &attempt.path)
            };
            let judgement = enforced.judge(&operation);
            let answer = attempts.attempt(&attempt.line)?;
            match (judgement.verdict, answer) {
                (Verdict::Allowed, 0) => allowed += 1,
                (Verdict::Denied, EACCES) => denied += 1,
                // Who owns what has the new name already.
                (Verdict::Unknown, 0 | EACCES) => {}
                _ => {
                    let line = attempt.line;
                    return Err(format!(
                        "{line} gave {answer}, and the evaluator says {judgement}, under\n{text}"
                    )
                    .into());
                }
            }
        }
    }
    check(allowed > 300 && denied > 300, || {
        format!("{allowed} allowed, {denied} denied")
    })?;
    let alerts = kernel.alerts(Clock::now())?;
    check(alerts.iter().any(|alert| alert.denied), || {
        "no alert".into()
    })?;
    let losses = kernel.losses(7)?;
    check(losses.is_empty(), || format!("{losses:?}"))?;
    let edges = kernel.edges()?;
    check(edges == left, || {
        format!("{edges} edges, and the last policy has {left}")
    })?;

    let (_, audit) = under(&files("{matchPaths: [{path: /nothing}]}"), Posture::Audit);
    kernel.apply(group, 8, [0, 0], &audit)?;
    let answer = attempts.attempt(&format!("r {}", maze.at("a/f")))?;
    check(answer == 0, || format!("{answer} under audit"))?;
    let alerts = kernel.alerts(Clock::now())?;
    let is_it = |alert: &enforcer::Alert| {
        alert.scope == 8 && !alert.denied && alert.behavior.path.to_string() == maze.at("a/f")
    };
    check(alerts.iter().any(is_it), || format!("{alerts:?}"))?;
    for _ in 0..3 {
        attempts.attempt(&format!("r {}", maze.at("a/f")))?;
    }
    let alerts = kernel.alerts(Clock::now())?;
    let again: Vec<u64> = alerts
        .iter()
        .filter(|a| is_it(a))
        .map(|a| a.count)
        .collect();
    check(again == [3], || format!("repeated: {alerts:?}"))?;
    let own = cgroup::identify(&cgroup::of_process(std::process::id())?)?;
    let locked_out = kernel.apply(own, 9, [0, 0], &audit);
    check(matches!(locked_out, Err(EnforceError::Own)), || {
        format!("a policy for this process: {locked_out:?}")
    })?;

    check(kernel.lift(group.id)?, || "nothing lifted".into())?;
    check(kernel.edges()? == 0, || "edges are left".into())
}

fn abandoned(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let maze = Maze::new()?;
    let mut attempts = Attempts::start()?;
    let rules = files(&format!("{{matchPaths: [{{path: {}}}]}}", maze.at("a/f")));
    let (_, tree) = under(&rules, Posture::Block);
    let id = attempts.group.id()?;
    let mut first = enforcer::Enforcer::open("abandoned")?;
    first.apply(id, 1, [1, 2], &tree)?;
    // What a process that is killed does: it lets go of everything at once.
    drop(first);
    let mut is_enforced = |when: &str| -> Result<(), Failed> {
        let yes = attempts.attempt(&format!("r {}", maze.at("a/f")))?;
        let no = attempts.attempt(&format!("r {}", maze.at("a/g")))?;
        check((yes, no) == (0, EACCES), || {
            format!("{when}: {yes} and {no}")
        })
    };
    is_enforced("nobody is there")?;
    let mut second = enforcer::Enforcer::open("abandoned")?;
    check(second.was_at_work(), || "not taken over".into())?;
    let applied = second.applied()?;
    check(
        applied.len() == 1 && applied[0].group == id.id && applied[0].hash == [1, 2],
        || format!("{applied:?}"),
    )?;
    check(!second.alerts(Clock::now())?.is_empty(), || {
        "what was denied when nobody was there is not told".into()
    })?;
    second.apply(id, 1, [3, 4], &tree)?;
    drop(second);
    is_enforced("it was taken over and replaced")?;
    check(enforcer::release(Some("abandoned"))? == 1, || {
        "nothing released".into()
    })?;
    let answer = attempts.attempt(&format!("r {}", maze.at("a/g")))?;
    check(answer == 0, || format!("released, and {answer}"))
}

fn another_version(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let maze = Maze::new()?;
    let mut attempts = Attempts::start()?;
    let rules = files(&format!("{{matchPaths: [{{path: {}}}]}}", maze.at("a/f")));
    let (_, tree) = under(&rules, Posture::Block);
    let id = attempts.group.id()?;
    let mut first = enforcer::Enforcer::open("version")?;
    first.apply(id, 1, [1, 2], &tree)?;
    drop(first);
    // Another version is another object, whose hash is in the name.
    let pins = std::path::Path::new(enforcer::PINS);
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.map(|entry| entry.file_name());
    let names = pins.read_dir()?.map(name).collect::<Result<Vec<_>, _>>()?;
    let is_its = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("version@");
    let own = names.iter().find(is_its).ok_or("nothing pinned")?;
    std::fs::rename(pins.join(own), pins.join("version@0123456789ab"))?;
    let mut is_enforced = |when: &str| -> Result<(), Failed> {
        let yes = attempts.attempt(&format!("r {}", maze.at("a/f")))?;
        let no = attempts.attempt(&format!("r {}", maze.at("a/g")))?;
        check((yes, no) == (0, EACCES), || {
            format!("{when}: {yes} and {no}")
        })
    };
    let mut second = enforcer::Enforcer::open("version")?;
    check(!second.was_at_work() && second.older().len() == 1, || {
        format!("{:?}", second.older())
    })?;
    is_enforced("the new one knows nothing yet")?;
    second.apply(id, 1, [1, 2], &tree)?;
    is_enforced("both enforce it")?;
    check(second.retire_older()? == 1, || "none retired".into())?;
    is_enforced("the new one alone enforces it")?;
    check(enforcer::release(Some("version"))? == 1, || {
        "not one".into()
    })?;
    let answer = attempts.attempt(&format!("r {}", maze.at("a/g")))?;
    check(answer == 0, || format!("released, and {answer}"))
}

fn replaced(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let maze = Maze::new()?;
    let mut attempts = Attempts::start()?;
    let mut kernel = kernel()?;
    let (yes, no) = (maze.at("a/b/c/f"), maze.at("a/b/c/g"));
    // They say the same of both files, by different rules.
    let policies = [
        format!("{{matchPaths: [{{path: {yes}}}]}}"),
        format!(
            "{{matchPaths: [{{path: {no}, action: Block}}], matchDirectories: [{{dir: {}/, recursive: true}}]}}",
            maze.world.path().display()
        ),
    ]
    .map(|rules| under(&files(&rules), Posture::Block).1);
    let id = attempts.group.id()?;
    kernel.apply(id, 1, [0, 0], &policies[0])?;
    let done = AtomicBool::new(false);
    let tries = std::thread::scope(|scope| -> Result<u64, Failed> {
        let trying = scope.spawn(|| -> Result<u64, String> {
            let mut tries = 0;
            while !done.load(Ordering::Relaxed) {
                for (path, expected) in [(&yes, 0), (&no, EACCES)] {
                    let line = format!("r {path}");
                    let answer = attempts.attempt(&line).map_err(|e| format!("{e:?}"))?;
                    if answer != expected {
                        return Err(format!("{line} gave {answer} after {tries} tries"));
                    }
                    tries += 1;
                }
            }
            Ok(tries)
        });
        let replacing = (1..=1000u64).try_for_each(|turn| {
            let policy = &policies[usize::from(turn % 2 == 1)];
            kernel.apply(id, 1, [turn, 0], policy)
        });
        done.store(true, Ordering::Relaxed);
        let tries = trying.join().map_err(|_| "the trying thread panicked")?;
        replacing?;
        Ok(tries?)
    })?;
    kernel.lift(id.id)?;
    check(tries > 100, || format!("only {tries} tries meanwhile"))
}

/// Ways around a name, tried under a policy that allows one file, one program, and this one.
fn evasions(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung) {
        return Ok(());
    }
    let maze = Maze::new()?;
    let mut attempts = Attempts::start()?;
    let mut kernel = kernel()?;
    std::os::unix::fs::symlink(maze.at("a/g"), maze.at("d/link"))?;
    let (f, x, link) = (maze.at("a/f"), maze.at("a/x"), maze.at("d/link"));
    let (g, new, planted) = (maze.at("a/g"), maze.at("d/new"), maze.at("d/x"));
    let own = std::env::current_exe()?.canonicalize()?;
    let own = own.display();
    let loader = std::fs::canonicalize("/lib64/ld-linux-x86-64.so.2")?;
    let loader = loader.display();
    let rules = |own_rule: &str| {
        format!(
            "kind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec: {{process: {{matchPaths: [{{path: {x}}}{own_rule}]}}, file: {{matchPaths: [{{path: {f}}}, {{path: {x}, readOnly: true}}, {{path: {link}}}, {{path: {own}}}], matchDirectories: [{{dir: /proc/, recursive: true, readOnly: true}}, {{dir: /lib/, recursive: true, readOnly: true}}, {{dir: /lib64/, recursive: true, readOnly: true}}, {{dir: /usr/lib/, recursive: true, readOnly: true}}]}}, action: Allow}}"
        )
    };
    let id = attempts.group.id()?;
    kernel.apply(id, 1, [0, 0], &under(&rules(""), Posture::Block).1)?;
    let mut refused = |tries: &[(&str, String, i32)]| -> Result<(), Failed> {
        for (what, line, expected) in tries {
            let answer = attempts.attempt(line)?;
            check(answer == *expected, || {
                format!("{what}: {line} gave {answer}")
            })?;
        }
        Ok(())
    };
    refused(&[
        ("allowed", format!("r {f}"), 0),
        ("allowed", format!("exec {x}"), 0),
        ("a link is what it leads to", format!("r {link}"), EACCES),
        ("a second name", format!("link {g} {new}"), EACCES),
        (
            "renamed over what is allowed",
            format!("rename {g} {f}"),
            EACCES,
        ),
        (
            "what is allowed, renamed",
            format!("rename {f} {new}"),
            EACCES,
        ),
        ("a program in memory", format!("memfd {x}"), EACCES),
        (
            "a program without any name",
            format!("execveat {x}"),
            EACCES,
        ),
        ("opened by its descriptor", format!("again {g}"), EACCES),
        ("allowed, by its descriptor", format!("again {f}"), 0),
        ("a planted program", format!("exec {planted}"), EACCES),
        ("itself by another name", format!("self {f}"), EACCES),
        (
            "a program as the loader's argument",
            format!("loader {loader} {planted}"),
            EACCES,
        ),
        ("an allowed program written to", format!("w {x}"), EACCES),
        ("a new file", format!("create {new}"), EACCES),
        (
            "another root",
            format!("chroot {} /g", maze.at("a")),
            EACCES,
        ),
        (
            "allowed, from another root",
            format!("chroot {} /f", maze.at("a")),
            0,
        ),
        ("another mount namespace", format!("namespace {g}"), EACCES),
        // As docs/enforcement.md says: who may mount may name things as they like.
        ("mounted over what is allowed", format!("bind {g} {f}"), 0),
    ])?;
    if io_uring::IoUring::new(4).is_ok() {
        refused(&[
            ("by io_uring", format!("ring {g}"), EACCES),
            ("allowed, by io_uring", format!("ring {f}"), 0),
        ])?;
    }
    let with_own = rules(&format!(", {{path: {own}}}"));
    kernel.apply(id, 1, [0, 0], &under(&with_own, Posture::Block).1)?;
    refused(&[(
        "a library forced upon it",
        format!("preload {own} {g}"),
        EACCES,
    )])?;
    std::fs::remove_file(&link)?;
    kernel.lift(id.id)?;
    Ok(())
}

//! What a run makes for itself, and takes away again.

use super::*;

const TOOL: &str = "/usr/bin/tool";

/// A run that makes a directory and two files in it, by names that no other run has.
fn with_directory(directory: &str, inner: &str) -> Vec<Behavior> {
    run([
        done(Op::Exec, APP, TOOL),
        done(Op::Mkdir, TOOL, directory),
        done(Op::Mkdir, APP, &format!("{directory}/{inner}")),
        write(APP, &format!("{directory}/{inner}/table")),
        read(TOOL, &format!("{directory}/list")),
    ])
}

fn below(found: &Generalized, dir: &str) -> Vec<String> {
    let all = shown(found).into_iter();
    all.filter(|rule| rule.contains(dir)).collect()
}

#[test]
fn what_is_in_a_directory_that_a_run_makes_for_itself_is_the_runs_own() {
    let runs = [with_directory("/tmp/tmp.Ab3dEf9hIj", "one")];
    let found = rules(&runs, Tightness::Balanced, Dialect::AppArmor);
    assert_eq!(
        below(&found, "/tmp"),
        [
            "File /tmp/tmp.{temporary}/",
            "File /tmp/tmp.{temporary}/{within…}",
        ]
    );
    let pattern = |shape: &Shape| shape.glob();
    let globs: Vec<String> = found
        .rules
        .iter()
        .filter_map(|chosen| match &chosen.rule.target {
            Target::Pattern(shape) => Some(pattern(shape)),
            _ => None,
        })
        .collect();
    assert_eq!(globs, ["/tmp/tmp.*/", "/tmp/tmp.*/**"]);
    let found = rules(&runs, Tightness::Balanced, Dialect::Bpf);
    assert_eq!(
        below(&found, "/tmp"),
        [
            "File /tmp/** by /usr/bin/app",
            "File /tmp/** by /usr/bin/tool"
        ]
    );
    let found = rules(&runs, Tightness::Exact, Dialect::AppArmor);
    assert_eq!(below(&found, "/tmp"), Vec::<String>::new());
}

#[test]
fn it_is_not_where_others_may_have_put_something() {
    let directory = "/srv/work/tmp.Ab3dEf9hIj";
    let own = || with_directory(directory, "one");
    let found_there = run([
        done(Op::Exec, APP, TOOL),
        read(APP, "/srv/work/tmp.Zz3dEf9hIj/list"),
    ]);
    let executed = [
        own(),
        vec![done(Op::Exec, APP, &format!("{directory}/program"))],
    ];
    let secret = [own(), vec![read(APP, &format!("{directory}/.ssh/id"))]];
    for (what, runs) in [
        ("found", vec![own(), found_there]),
        ("executed", vec![executed.concat()]),
        ("secret", vec![secret.concat()]),
        ("etc", vec![with_directory("/etc/tmp.Ab3dEf9hIj", "one")]),
        (
            "package",
            vec![with_directory("/usr/lib/x/tmp.Ab3dEf9hIj", "one")],
        ),
        ("no class", vec![with_directory("/srv/work/plain", "one")]),
        (
            "only random",
            vec![with_directory("/srv/work/a-Ab3dEf", "one")],
        ),
    ] {
        let found = rules(&runs, Tightness::Durable, Dialect::AppArmor);
        let rules = shown(&found);
        let is_open = |rule: &String| rule.contains("within");
        assert!(!rules.iter().any(is_open), "{what}: {rules:?}");
    }
}

#[test]
fn a_node_tells_it_of_ten_runs_of_its_own_and_not_of_fewer() {
    let shape_by = |runs: usize| {
        let behaviors = with_directory("/tmp/tmp.Ab3dEf9hIj", "one");
        let numbers = 0..u32::try_from(runs).expect("few");
        let all: Vec<Seen<'_>> = numbers
            .flat_map(|number| behaviors.iter().map(move |behavior| seen(number, behavior)))
            .collect();
        let settled = Settled::until_joined(&all);
        settled.shape(&path("/tmp/tmp.Ab3dEf9hIj/list")).text()
    };
    assert_eq!(shape_by(9), "/tmp/tmp.{temporary}/list");
    assert_eq!(shape_by(10), "/tmp/tmp.{temporary}/{within*}");
}

#[test]
fn a_program_in_a_directory_of_a_runs_own_is_left_out_as_any_other_of_another_name() {
    let program = "/tmp/tmp.Ab3dEf9hIj/program";
    let runs = [[
        with_directory("/tmp/tmp.Ab3dEf9hIj", "one"),
        vec![done(Op::Exec, APP, program)],
    ]
    .concat()];
    let found = rules(&runs, Tightness::Durable, Dialect::AppArmor);
    assert!(found.left_out.iter().any(|left| {
        left.need.class == RuleClass::Process && left.support.samples.contains(&path(program))
    }));
}

/// A file that is made under another name, and put in its place.
fn replaced(name: &str, by: &str) -> Vec<Behavior> {
    run([
        done(Op::Create, APP, name),
        write(APP, name),
        done(Op::Rename { to: path(by) }, APP, name),
    ])
}

#[test]
fn a_random_end_varies_once_one_run_has_made_the_name_and_taken_it_away() {
    let once = [replaced("/srv/git/refs_bApZt7", "/srv/git/refs"), run([])];
    let found = rules(&once, Tightness::Balanced, Dialect::AppArmor);
    assert_eq!(
        below(&found, "/srv/git"),
        [
            "File /srv/git/refs by /usr/bin/app",
            "File /srv/git/refs_{random}",
        ]
    );
    let found = rules(&once, Tightness::Balanced, Dialect::Bpf);
    assert_eq!(
        below(&found, "/srv/git"),
        ["File /srv/git/* by /usr/bin/app"]
    );
}

#[test]
fn an_end_is_not_random_by_its_looks_or_by_its_making_alone() {
    for (what, runs) in [
        ("read", vec![run([read(APP, "/srv/git/refs_bApZt7")])]),
        ("kept", vec![run([write(APP, "/srv/git/refs_bApZt7")])]),
        ("word", vec![replaced("/srv/git/refs_backup", "/srv/x")]),
        ("word", vec![replaced("/srv/git/refs_build2", "/srv/x")]),
        ("word", vec![replaced("/srv/git/refs_10days", "/srv/x")]),
        ("seven", vec![replaced("/srv/git/refs_bApZt7q", "/srv/x")]),
        ("glued", vec![replaced("/srv/git/refsbApZt7", "/srv/x")]),
        ("etc", vec![replaced("/etc/git/refs_bApZt7", "/srv/x")]),
        (
            "apart",
            vec![
                run([done(Op::Create, APP, "/srv/git/refs_bApZt7")]),
                run([done(Op::Unlink, APP, "/srv/git/refs_bApZt7")]),
            ],
        ),
        (
            "the same in every run",
            vec![
                replaced("/srv/git/refs_bApZt7", "/srv/x"),
                replaced("/srv/git/refs_bApZt7", "/srv/x"),
            ],
        ),
    ] {
        let found = rules(&runs, Tightness::Durable, Dialect::AppArmor);
        let rules = shown(&found);
        let varies = |rule: &String| rule.contains("{random}");
        assert!(!rules.iter().any(varies), "{what}: {rules:?}");
    }
}

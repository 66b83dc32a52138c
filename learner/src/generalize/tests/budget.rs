//! Rules that have to be made wider to fit.

use super::*;

#[test]
fn a_library_never_opens_its_directory_however_tight_the_budget() {
    let libraries = (0..40).map(|n| read(APP, &format!("/usr/lib/x86_64-linux-gnu/lib{n}.so.1")));
    let runs = [run(libraries)];
    let error = try_rules(
        &runs,
        Options {
            entries: 20,
            ..options(Tightness::Durable, Dialect::Bpf)
        },
    )
    .expect_err("it cannot fit");
    assert_eq!(error.limit, 20);
    assert!(error.needed > 40);
}

#[test]
fn what_does_not_fit_is_collapsed_where_it_costs_least_and_that_is_said() {
    let pages = (0..60).map(|n| {
        read(
            APP,
            &format!(
                "/srv/www/page{}.html",
                char::from(b'a' + n % 26).to_string().repeat(1 + n as usize)
            ),
        )
    });
    let runs = [run(pages.chain([write(APP, "/srv/log")]))];
    let found = try_rules(
        &runs,
        Options {
            entries: 20,
            ..options(Tightness::Balanced, Dialect::Bpf)
        },
    )
    .expect("fits");
    assert!(
        has(&found, "File /srv/www/* by /usr/bin/app"),
        "{:?}",
        shown(&found)
    );
    assert!(has(&found, "File /srv/log by /usr/bin/app"));
    assert!(found.entries <= 20);
    assert!(
        matches!(&found.losses[..], [Loss::Collapsed { dir, paths: 60, .. }] if dir == "/srv/www/"),
        "{:?}",
        found.losses
    );
}

#[test]
fn what_is_collapsed_since_it_is_only_read_lets_nothing_be_written() {
    let page = |n: usize| format!("/srv/www/page-{}.html", "x".repeat(n + 1));
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let pages = (0..60).map(|n| read(APP, &page(n)));
            run(pages.chain([
                write(APP, "/srv/www/hits"),
                write(APP, "/srv/www/cache/state/last"),
            ]))
        })
        .collect();
    let found = try_rules(
        &runs,
        Options {
            entries: 20,
            read_only: true,
            ..options(Tightness::Balanced, Dialect::Bpf)
        },
    )
    .expect("it fits");
    for rule in [
        "File /srv/www/* by /usr/bin/app ro",
        "File /srv/www/hits by /usr/bin/app",
        "File /srv/www/cache/state/last by /usr/bin/app",
    ] {
        assert!(has(&found, rule), "{:?}", shown(&found));
    }
}

/// Files of three directories side by side, of which a few have to become one rule each.
fn sites() -> Vec<Vec<Behavior>> {
    let below = |site: &str| -> Vec<Behavior> {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let all = names
            .iter()
            .map(|name| format!("/srv/sites/{site}/{name}/{name}{name}"));
        all.map(|path| read(APP, &path)).collect()
    };
    (0..3)
        .map(|_| run(["one", "two", "three"].iter().flat_map(|site| below(site))))
        .collect()
}

#[test]
fn of_directories_with_all_below_them_the_deepest_come_first() {
    let fit = |entries| {
        let options = Options {
            entries,
            read_only: true,
            ..options(Tightness::Balanced, Dialect::Bpf)
        };
        try_rules(&sites(), options).map(|found| shown(&found))
    };
    let all = fit(256).expect("it fits");
    assert!(!all.iter().any(|rule| rule.contains('*')), "{all:?}");
    let some = fit(22).expect("it fits");
    assert!(
        some.iter().any(|rule| rule.contains("/srv/sites/one/**")),
        "{some:?}"
    );
    assert!(
        !some.iter().any(|rule| rule.contains("/srv/sites/**")),
        "{some:?}"
    );
}

#[test]
fn what_several_programs_write_is_written_still_once_it_is_for_all() {
    // Rules for what is written lose their programs; after that they are no names to collapse.
    let other = "/usr/bin/other";
    let paths: Vec<String> = ["a", "b", "c", "d", "e", "f", "g"]
        .iter()
        .map(|name| format!("/srv/state/{name}/{name}x"))
        .collect();
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let by = |program: &str| -> Vec<Behavior> {
                paths.iter().map(|path| write(program, path)).collect()
            };
            run([vec![done(Op::Exec, APP, other)], by(APP), by(other)].concat())
        })
        .collect();
    let tight = Options {
        entries: 12,
        read_only: true,
        ..options(Tightness::Balanced, Dialect::Bpf)
    };
    let found = try_rules(&runs, tight).expect("it fits");
    assert!(has(&found, "File /srv/state/a/ax"), "{:?}", shown(&found));
    assert!(!shown(&found).iter().any(|rule| rule.contains('*')));
    let error = try_rules(
        &runs,
        Options {
            entries: 9,
            ..tight
        },
    )
    .expect_err("no more may be given up");
    assert!(error.needed > 9);
}

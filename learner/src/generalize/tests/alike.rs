//! Numbered names in directories of one name.

use super::*;

/// In one repository two names that not all runs have, in another one alone.
fn mirrored(name: &dyn Fn(&str, u32) -> String) -> Vec<Vec<Behavior>> {
    // There is more in it than that.
    let beside = |name: String| {
        let (directory, _) = name.rsplit_once('/').expect("a directory");
        read(APP, &format!("{directory}/main"))
    };
    few(&[
        (2, read(APP, &name("a", 2))),
        (3, read(APP, &name("a", 2))),
        (3, read(APP, &name("a", 3))),
        (4, read(APP, &name("b", 4))),
        (5, read(APP, &name("b", 4))),
        (6, beside(name("b", 4))),
    ])
}

fn is_kept(name: &dyn Fn(&str, u32) -> String) -> bool {
    let found = rules(&mirrored(name), Tightness::Balanced, Dialect::AppArmor);
    has(&found, &format!("File {} by {APP}", name("b", 4)))
}

/// The name of a repository's file, by the repository and a number.
type Named<'a> = &'a dyn Fn(&str, u32) -> String;

#[test]
fn a_number_varies_where_it_does_in_another_directory_of_the_name() {
    let found = rules(
        &mirrored(&|repository, n| format!("/srv/{repository}.git/heads/topic-{n}")),
        Tightness::Balanced,
        Dialect::AppArmor,
    );
    for rule in [
        "File /srv/a.git/heads/topic-{number}",
        "File /srv/b.git/heads/topic-{number}",
    ] {
        assert!(has(&found, rule), "{:?}", shown(&found));
    }
}

#[test]
fn a_number_stays_where_the_directory_or_the_name_is_another_or_what_others_put_there() {
    let kept: [(&str, Named<'_>); 5] = [
        ("directory", &|repository, n| {
            format!("/srv/x/{repository}/topic-{n}")
        }),
        ("name", &|repository, n| {
            format!("/srv/{repository}/heads/{repository}-{n}")
        }),
        ("settings", &|repository, n| {
            format!("/etc/{repository}/heads/topic-{n}")
        }),
        ("package", &|repository, n| {
            format!("/usr/lib/{repository}/heads/topic-{n}")
        }),
        ("version", &|repository, n| {
            format!("/srv/{repository}/heads/lib.so-{n}")
        }),
    ];
    for (what, name) in kept {
        assert!(is_kept(name), "{what}");
    }
    // Where each run has it, it is the same one.
    let always: Vec<_> = mirrored(&|repository, n| format!("/srv/{repository}/heads/topic-{n}"))
        .into_iter()
        .map(|run| [run, vec![read(APP, "/srv/c/heads/topic-9")]].concat())
        .collect();
    let found = rules(&always, Tightness::Balanced, Dialect::AppArmor);
    let rule = format!("File /srv/c/heads/topic-9 by {APP}");
    assert!(has(&found, &rule), "{:?}", shown(&found));
}

//! Short names over which digests are spread.

use super::*;

fn digest(seed: u64) -> String {
    format!(
        "{:016x}{:016x}0123ab",
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        seed + 0xfeed
    )
}

/// Each run makes two objects of its own, and reads one of the run before.
fn mirrored(store: &str, directory: impl Fn(usize) -> String) -> Vec<Vec<Behavior>> {
    let object = |n: usize| format!("{store}/{}/{}", directory(n), digest(n as u64));
    (0..5)
        .map(|n| {
            run([
                write(APP, &object(2 * n)),
                write(APP, &object(2 * n + 1)),
                read(APP, &object(2 * n.saturating_sub(1))),
                read(APP, &format!("{store}/info/packs")),
            ])
        })
        .collect()
}

/// Of git, and of caches that nest them.
fn two_digits(n: usize) -> String {
    format!("{:02x}", (n * 47 + 10) % 256)
}

#[test]
fn short_names_that_digests_are_spread_over_vary() {
    let found = rules(
        &mirrored("/srv/app.git/objects", two_digits),
        Tightness::Balanced,
        Dialect::AppArmor,
    );
    let below: Vec<String> = shown(&found)
        .into_iter()
        .filter(|rule| rule.contains("objects"))
        .collect();
    assert_eq!(
        below,
        [
            "File /srv/app.git/objects/info/packs by /usr/bin/app",
            "File /srv/app.git/objects/{hex-digit}{hex-digit}/{hex}",
        ]
    );
    let nested = |n| format!("{:x}/{}", (n * 7 + 10) % 16, two_digits(n));
    let found = rules(
        &mirrored("/srv/cache", nested),
        Tightness::Balanced,
        Dialect::AppArmor,
    );
    assert!(
        has(
            &found,
            "File /srv/cache/{hex-digit}/{hex-digit}{hex-digit}/{hex}"
        ),
        "{:?}",
        shown(&found)
    );
    let found = rules(
        &mirrored("/srv/app.git/objects", two_digits),
        Tightness::Balanced,
        Dialect::Bpf,
    );
    assert!(
        has(&found, "File /srv/app.git/objects/** by /usr/bin/app"),
        "{:?}",
        shown(&found)
    );
}

#[test]
fn short_names_are_not_widened_where_one_sign_of_a_fan_out_is_missing() {
    let is_widened = |runs: &[Vec<Behavior>]| {
        let found = rules(runs, Tightness::Durable, Dialect::AppArmor);
        shown(&found)
            .iter()
            .any(|rule| rule.contains("{hex-digit}"))
    };
    assert!(is_widened(&mirrored("/srv/store", two_digits)));
    // A place of a package, of the system's settings, of secrets.
    for place in [
        "/usr/lib/debug/.build-id",
        "/usr/share/terminfo",
        "/etc/app",
        "/lib/store",
        "/proc/store",
        "/srv/private/store",
    ] {
        assert!(!is_widened(&mirrored(place, two_digits)), "{place}");
    }
    // Languages: letters alone, and some beside them are no hexadecimal digits.
    let languages = |n: usize| ["de", "ca", "be", "fa", "da"][n % 5].to_owned();
    assert!(!is_widened(&mirrored("/srv/locale", languages)));
    let languages = |n: usize| ["de", "ca", "b5", "en", "fr"][n % 5].to_owned();
    assert!(!is_widened(&mirrored("/srv/locale", languages)));
    // Counters, and names of four digits.
    assert!(!is_widened(&mirrored("/srv/months", |n| format!(
        "{:02}",
        n + 1
    ))));
    assert!(!is_widened(&mirrored("/srv/ports", |n| format!(
        "{:04x}",
        n * 4711
    ))));
    // The same directories in every run, though what is in them changes.
    let devices = |n: usize| ["a1", "b2"][n % 2].to_owned();
    let mut runs = mirrored("/srv/devices", devices);
    for run in &mut runs {
        run.push(read(APP, "/srv/devices/a1/state"));
        run.push(read(APP, "/srv/devices/b2/state"));
    }
    assert!(!is_widened(&runs));
    // One run says nothing about what changes.
    assert!(!is_widened(&mirrored("/srv/store", two_digits)[..1]));
    // What is below is no digest.
    let named: Vec<_> = (0..5)
        .map(|n| {
            run([read(
                APP,
                &format!("/srv/tiles/{}/index.html", two_digits(n)),
            )])
        })
        .collect();
    assert!(!is_widened(&named));
    // Something in it is executed.
    let mut runs = mirrored("/srv/store", two_digits);
    for (n, run) in runs.iter_mut().enumerate() {
        let object = format!("/srv/store/{}/{}", two_digits(2 * n), digest(2 * n as u64));
        run.push(done(Op::Exec, APP, &object));
    }
    assert!(!is_widened(&runs));
}

#[test]
fn a_short_name_beside_a_fan_out_that_holds_other_things_is_none_of_it() {
    let mut runs = mirrored("/srv/store", two_digits);
    for (n, run) in runs.iter_mut().enumerate() {
        run.push(write(
            APP,
            &format!("/srv/store/db/main.sqlite{}", ["", "-wal"][n % 2]),
        ));
        run.push(done(Op::Mkdir, APP, "/srv/store/0e/"));
    }
    let found = rules(&runs, Tightness::Balanced, Dialect::AppArmor);
    for rule in [
        "File /srv/store/db/main.sqlite by /usr/bin/app",
        "File /srv/store/db/main.sqlite-wal by /usr/bin/app",
        "File /srv/store/{hex-digit}{hex-digit}/",
        "File /srv/store/{hex-digit}{hex-digit}/{hex}",
    ] {
        assert!(has(&found, rule), "{:?}", shown(&found));
    }
}

#[test]
fn ordinary_short_names_stay_what_they_are() {
    let runs: Vec<_> = (0..6)
        .map(|n| {
            run([
                read(APP, "/usr/lib/x86_64-linux-gnu/libc.so.6"),
                read(APP, &format!("/etc/rc{n}.d/S0{n}app")),
                read(
                    APP,
                    &format!(
                        "/usr/share/locale/{}/app.mo",
                        ["de", "ca", "be", "fa", "ee", "af"][n]
                    ),
                ),
                read(
                    APP,
                    &format!(
                        "/usr/share/terminfo/{}/term",
                        ["a", "b", "c", "d", "e", "x"][n]
                    ),
                ),
                read(
                    APP,
                    &format!(
                        "/srv/app/locale/{}/app.mo",
                        ["de", "ca", "be", "fa", "ee", "af"][n % 3]
                    ),
                ),
            ])
        })
        .collect();
    for (tightness, enforcer) in [
        (Tightness::Balanced, Dialect::Bpf),
        (Tightness::Durable, Dialect::AppArmor),
    ] {
        let found = rules(&runs, tightness, enforcer);
        let wide: Vec<String> = shown(&found)
            .into_iter()
            .filter(|rule| rule.contains('{') || rule.contains('*'))
            .collect();
        assert_eq!(wide, Vec::<String>::new());
    }
}

#[test]
fn so_many_directories_of_digests_are_a_fan_out_that_the_runs_need_not_prove() {
    // Each run reads all that there is, and only the last one has added to it.
    let object = |n: usize| format!("/srv/store/{}/{}", two_digits(n), digest(n as u64));
    let grown = |objects: usize, runs: usize| -> Vec<Vec<Behavior>> {
        let all = |n: usize| (0..n).map(|n| read(APP, &object(n)));
        let mut runs = vec![run(all(objects - 1)); runs];
        runs.push(run(all(objects)));
        runs
    };
    let is_widened = |runs: &[Vec<Behavior>]| {
        let found = rules(runs, Tightness::Balanced, Dialect::AppArmor);
        has(&found, "File /srv/store/{hex-digit}{hex-digit}/{hex}")
    };
    assert!(is_widened(&grown(8, 3)));
    assert!(is_widened(&grown(8, 0)));
    assert!(!is_widened(&grown(7, 3)));
    // Programs are none of it, however many there are.
    let mut runs = grown(8, 3);
    runs[0].push(done(Op::Exec, APP, &object(2)));
    assert!(!is_widened(&runs));
}

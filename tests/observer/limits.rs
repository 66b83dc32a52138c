//! Many, long, deep, and more than fits.

use std::path::PathBuf;

use learner::kernel::{Rung, Settings};
use learner::observation::Loss;
use libtest_mimic::Failed;

use crate::check;
use crate::watched::{World, act, act_with};

use crate::scenarios::expect;

/// A file whose whole path is as deep, or as long, as given. Made from inside, since the path may
/// be longer than one system call takes.
pub(crate) fn file_at(world: &World, depth: usize, component: usize) -> PathBuf {
    let mut path = world.path();
    while path.components().count() - 1 < depth - 1 {
        path.push("d".repeat(component));
    }
    std::fs::create_dir_all(&path).expect("directories");
    path.push("f");
    std::fs::write(&path, "x").expect("file");
    path
}

pub(crate) fn limits(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let deep = file_at(&world, 64, 1);
    let seen = act(rung, "read", &[&deep])?;
    check(seen.find(&deep).len() == 1, || {
        "64 components: not seen".into()
    })?;
    check(seen.lost().is_empty(), || format!("lost {:?}", seen.lost()))?;

    let world = World::new();
    let mut long = world.path();
    while long.as_os_str().len() + 201 < 4090 {
        long.push("l".repeat(200));
    }
    let rest = 4095 - long.as_os_str().len() - 1;
    std::fs::create_dir_all(&long)?;
    long.push("f".repeat(rest.min(255)));
    std::fs::write(&long, "x")?;
    let seen = act(rung, "read", &[&long])?;
    check(seen.find(&long).len() == 1, || {
        format!("{} bytes: not seen", long.as_os_str().len())
    })?;
    check(seen.lost().is_empty(), || format!("lost {:?}", seen.lost()))
}

pub(crate) fn beyond_the_limits(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let seen = act(rung, "go-deep", &[&world.path()])?;
    let lost = seen.lost().get(&Loss::PathTooDeep).copied().unwrap_or(0);
    // The directories beyond the limit, and the file's creation and open, at the very least.
    check(lost > 30, || format!("lost {:?}", seen.lost()))?;
    let whole = seen.below(&world.path()).iter().all(|line| {
        line.strip_prefix("mkdir ")
            .is_some_and(|path| path.ends_with("/d"))
    });
    check(whole, || {
        format!("a path was cut: {:#?}", seen.below(&world.path()))
    })
}

pub(crate) fn flood(rung: Rung) -> Result<(), Failed> {
    const FILES: u64 = 3000;
    let world = World::new();
    for n in 0..FILES {
        world.file(&format!("f{n}"));
    }
    std::fs::write(world.join("count"), FILES.to_string())?;
    // One page of ring holds some 40 events.
    let small = Settings {
        rung: Some(rung),
        ring: 4096,
    };
    let seen = act_with(small, "read-all-unobserved", &[&world.path()])?;
    let (events, lost) = seen.totals();
    let quiet = Settings {
        rung: Some(rung),
        ..Settings::default()
    };
    std::fs::write(world.join("count"), "0")?;
    let (without, none) = act_with(quiet, "read-all", &[&world.path()])?.totals();
    check(none == 0, || format!("lost {none} of a few"))?;
    check(lost > 0, || {
        "the flood lost nothing: it is too small".into()
    })?;
    check(seen.lost().keys().all(|why| *why == Loss::RingFull), || {
        format!("{:?}", seen.lost())
    })?;
    check(events + lost == without + FILES, || {
        format!("{events} seen + {lost} lost, but {without} + {FILES} done")
    })
}

pub(crate) fn repeated(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("file");
    let seen = act(rung, "read-many-times", &[&file])?;
    expect(&seen, &world, &["open r %/file"])?;
    let count: u64 = seen.counted(&world.path()).values().sum();
    check(count == 1000, || format!("counted {count}"))
}

/// Nothing new happens meanwhile, so it is only told by the observer's looks.
pub(crate) fn repeated_later(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("file");
    let seen = act(rung, "read-again-later", &[&file])?;
    let sightings: Vec<_> = seen
        .profile
        .seen
        .iter()
        .filter(|(behavior, _)| behavior.path.as_path() == file)
        .map(|(_, sighting)| *sighting)
        .collect();
    let [sighting] = sightings[..] else {
        return Err(format!("seen as {}", sightings.len()).into());
    };
    let later = sighting.last.0 - sighting.first.0;
    check(
        sighting.count == 3 && (1_000_000..60_000_000).contains(&later),
        || format!("{sighting:?}"),
    )
}

pub(crate) fn crowd(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let lines: Vec<String> = (0..200).map(|n| format!("open r %/f{n}")).collect();
    for n in 0..200 {
        world.file(&format!("f{n}"));
    }
    let seen = act(rung, "crowd", &[&world.path()])?;
    expect(
        &seen,
        &world,
        &lines.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

//! Programs, scripts and interpreters.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use learner::behavior::Op;
use learner::kernel::{Rung, Settings};
use learner::policy::to_yaml;
use learner::profile::Evidence;
use learner::recommend::{Criteria, recommend};
use learner::workload::{Labels, RunKey};
use libtest_mimic::Failed;

use crate::check;
use crate::watched::{World, act, command};

use crate::scenarios::expect;

pub(crate) fn executable(world: &World, name: &str, content: &str) -> PathBuf {
    let path = world.join(name);
    std::fs::write(&path, content).expect("script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    path
}

pub(crate) fn shell() -> PathBuf {
    Path::new("/bin/sh").canonicalize().expect("a shell")
}

pub(crate) fn script(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let script = executable(&world, "script", "#!/bin/sh\nexit 0\n");
    std::os::unix::fs::symlink("script", world.join("alias"))?;
    let seen = act(rung, "execute", &[&world.join("alias")])?;
    expect(&seen, &world, &["exec %/script", "open r %/script"])?;
    let shell = shell();
    check(seen.find(&shell).iter().any(|b| b.op == Op::Exec), || {
        format!("{} was not seen as executed", shell.display())
    })?;
    check(script.exists(), || "the script is gone".into())
}

pub(crate) fn script_of_a_script(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let inner = executable(&world, "inner", "#!/bin/sh\nexit 0\n");
    let outer = executable(&world, "outer", &format!("#!{}\n", inner.display()));
    let seen = act(rung, "execute", &[&outer])?;
    expect(
        &seen,
        &world,
        &[
            "exec %/outer",
            "exec %/inner",
            "open r %/outer",
            "open r %/inner",
        ],
    )
}

pub(crate) fn sources(rung: Rung) -> Result<(), Failed> {
    let own = std::env::current_exe()?;
    let shell = shell();
    let world = World::new();
    world.file("file");
    // The shell becomes this binary: the exec's source is the image of the shell's parent, which is
    // this binary too, while the kernel opens the image in the name of the shell. The first exec
    // is by the test itself, and its open in the name of the launcher.
    let line = format!(
        "exec {} act read {}",
        own.display(),
        world.join("file").display()
    );
    let script = executable(&world, "script", &format!("#!/bin/sh\n{line}\n"));
    let seen = act(rung, "execute", &[&script])?;
    let of = |op: fn(&Op) -> bool, path: &Path| -> BTreeSet<PathBuf> {
        seen.find(path)
            .into_iter()
            .filter(|b| op(&b.op) && b.is_learnable())
            .filter_map(|b| b.source.as_ref().map(|s| s.as_path().to_owned()))
            .collect()
    };
    let is_exec = |op: &Op| *op == Op::Exec;
    let is_open = |op: &Op| matches!(op, Op::Open(_));
    let learner = crate::learner().canonicalize()?;
    let wanted = BTreeSet::from([own.clone()]);
    check(of(is_exec, &own) == wanted, || {
        format!("exec by {:?}", of(is_exec, &own))
    })?;
    let wanted = BTreeSet::from([shell.clone(), learner]);
    check(of(is_open, &own) == wanted, || {
        format!("opened by {:?}", of(is_open, &own))
    })?;
    let wanted = BTreeSet::from([own.clone()]);
    check(of(is_exec, &script) == wanted, || {
        format!("script by {:?}", of(is_exec, &script))
    })?;
    let file = world.join("file");
    check(of(is_open, &file) == wanted, || {
        format!("file by {:?}", of(is_open, &file))
    })
}

/// The policy of one program, by this rung and by the tracepoint rung.
pub(crate) fn same_policy(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let file = world.file("file");
    let script = executable(
        &world,
        "script",
        &format!(
            "#!/bin/sh\ncat {} >/dev/null; ls / >/dev/null; mkdir $0.d; rmdir $0.d\n",
            file.display()
        ),
    );
    let policy = |rung| -> Result<String, Failed> {
        let settings = Settings {
            rung: Some(rung),
            ..Settings::default()
        };
        let profile = command(settings, vec![script.clone().into()])?.profile;
        let key = RunKey {
            workload: "default/Command/script".parse()?,
            image: String::new(),
            run: "r".into(),
        };
        let mut evidence = Evidence::default();
        let labels = Labels::from([("app".to_owned(), "script".to_owned())]);
        evidence.insert(
            key.clone(),
            learner::profile::RunProfile { labels, ..profile },
        );
        Ok(to_yaml(
            &recommend(&key.workload, &evidence, &Criteria::default())?.policy,
        ))
    };
    let (this, floor) = (policy(rung)?, policy(Rung::Tracepoint)?);
    check(this == floor, || {
        format!("{rung}:\n{this}\ntracepoint:\n{floor}")
    })
}

//! Runs a scenario under the observer and says what was seen of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use learner::behavior::Behavior;
use learner::kernel::{DEFAULT_RING, Rung, Sensor, Settings};
use learner::observation::Loss;
use learner::path::AbsPath;
use learner::profile::{DEFAULT_MAX_BEHAVIORS, RunProfile};
use learner::session::{Plan, Subject, watch, watch_by};
use libtest_mimic::Failed;

/// What a scenario was seen to do.
pub(crate) struct Seen {
    pub(crate) profile: RunProfile,
}

impl Seen {
    /// What succeeded below `dir`, one line each: `open r /dir/file`, `rename /dir/a -> /dir/b`.
    pub(crate) fn below(&self, dir: &Path) -> BTreeSet<String> {
        self.counted(dir).into_keys().collect()
    }

    /// The same with counts.
    pub(crate) fn counted(&self, dir: &Path) -> BTreeMap<String, u64> {
        let mut counted = BTreeMap::new();
        for (behavior, sighting) in &self.profile.seen {
            if behavior.is_learnable() && behavior.path.as_path().starts_with(dir) {
                *counted.entry(line(behavior)).or_default() += sighting.count;
            }
        }
        counted
    }

    /// All events, and the lost ones.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (
            self.profile.seen.values().map(|s| s.count).sum(),
            self.profile.lost_total(),
        )
    }

    pub(crate) fn lost(&self) -> &BTreeMap<Loss, u64> {
        &self.profile.lost
    }

    pub(crate) fn find(&self, path: &Path) -> Vec<&Behavior> {
        self.profile
            .seen
            .keys()
            .filter(|b| b.path.as_path() == path)
            .collect()
    }
}

pub(crate) fn line(behavior: &Behavior) -> String {
    let access = behavior
        .op
        .access()
        .map(|a| format!("{} ", a.as_str()))
        .unwrap_or_default();
    let to = behavior
        .op
        .to()
        .map(|to: &AbsPath| format!(" -> {to}"))
        .unwrap_or_default();
    format!("{} {access}{}{to}", behavior.op.name(), behavior.path)
}

/// A fresh directory, by its real name.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("canonical")
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        std::fs::write(&path, "x").expect("file");
        path
    }

    /// Lines to expect, `%` standing for this directory.
    pub(crate) fn lines<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        let dir = self.path().display().to_string();
        lines
            .into_iter()
            .map(|line| line.replace('%', &dir))
            .collect()
    }
}

/// Has this binary act a scenario as a watched command.
pub(crate) fn act(rung: Rung, scenario: &str, arguments: &[&Path]) -> Result<Seen, Failed> {
    let settings = Settings {
        rung: Some(rung),
        ..Settings::default()
    };
    act_with(settings, scenario, arguments)
}

pub(crate) fn act_with(
    settings: Settings,
    scenario: &str,
    arguments: &[&Path],
) -> Result<Seen, Failed> {
    let own = std::env::current_exe()?;
    let mut argv: Vec<OsString> = vec![own.into(), "act".into(), scenario.into()];
    argv.extend(arguments.iter().map(|a| a.as_os_str().to_owned()));
    command(settings, argv)
}

pub(crate) fn command(settings: Settings, argv: Vec<OsString>) -> Result<Seen, Failed> {
    let launcher = vec![super::learner().into(), "__launch".into(), "--".into()];
    run(Plan {
        subject: Subject::Command { launcher, argv },
        limit: None,
        settings,
        max_behaviors: DEFAULT_MAX_BEHAVIORS,
        takes_state: true,
        order: None,
    })
}

/// The sensor of all tests that need none of their own: attaching one takes long where there is no hardware
/// virtualisation.
static SHARED: Mutex<Shared> = Mutex::new(Shared(None));

struct Shared(Option<(Rung, Sensor, u32)>);

impl Shared {
    /// A sensor on this rung, and a scope that it has not had.
    fn of(&mut self, rung: Rung) -> Result<(&mut Sensor, u32), Failed> {
        if self.0.as_ref().is_none_or(|(of, ..)| *of != rung) {
            self.0 = None;
            let settings = Settings {
                rung: Some(rung),
                ..Settings::default()
            };
            self.0 = Some((rung, Sensor::attach(settings)?, 0));
        }
        let (_, sensor, scope) = self.0.as_mut().ok_or("no sensor")?;
        *scope += 1;
        Ok((sensor, *scope))
    }
}

/// Attaches the sensor that all tests share, if it is not.
pub(crate) fn attach(rung: Rung) -> Result<(), Failed> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.of(rung).map(drop)
}

/// From now on no sensor is attached that nobody has asked for.
pub(crate) fn detach() {
    *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = Shared(None);
}

pub(crate) fn run(plan: Plan) -> Result<Seen, Failed> {
    let is_command = matches!(plan.subject, Subject::Command { .. });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let rung = plan
        .settings
        .rung
        .filter(|_| plan.settings.ring == DEFAULT_RING);
    let watched = match rung {
        Some(rung) => {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            let (sensor, scope) = shared.of(rung)?;
            let watched = runtime.block_on(watch_by(sensor, scope, plan));
            if watched.is_err() {
                *shared = Shared(None);
            }
            watched?
        }
        None => runtime.block_on(watch(plan))?,
    };
    if is_command && !watched.status.is_some_and(|status| status.success()) {
        return Err(format!("the scenario itself failed: {:?}", watched.status).into());
    }
    Ok(Seen {
        profile: watched.profile,
    })
}

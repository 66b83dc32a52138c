//! What it costs: the time of an open and of an exec, where the machine's time is a count of
//! instructions. Measured, not judged; see docs/enforcement.md for how to run it.

use learner::kernel::enforcer::Enforcer;
use learner::kernel::{Rung, Sensor, Settings, Target};
use learner::policy::meaning::{self, Enforced, Postures};
use libtest_mimic::Failed;

use crate::attempts::Attempts;
use crate::enforce::enforces;
use crate::watched::{World, detach};

type Test = fn(Rung) -> Result<(), Failed>;

pub(crate) const ALL: &[(&str, Test)] = &[("what enforcing costs", cost)];

const BARE: &str = "without us";

fn cost(rung: Rung) -> Result<(), Failed> {
    if !enforces(rung)
        || std::env::var("LEARNER_OVERHEAD")
            .unwrap_or_default()
            .is_empty()
    {
        return Ok(());
    }
    let world = World::new();
    let file = world.file("a/b/file").display().to_string();
    let mut attempts = Attempts::start()?;
    let group = attempts.group.id()?;
    let mut bare = (0, 0);
    let mut measure = |what: &str| -> Result<(), Failed> {
        let open = attempts.attempt(&format!("opens {file}"))?;
        let exec = attempts.attempt("execs /bin/true")?;
        if what == BARE {
            // The least, which makes the most of the difference.
            let least = |now: i32, then: i32| if then == 0 { now } else { then.min(now) };
            bare = (least(open, bare.0), least(exec, bare.1));
        }
        let more = |now: i32, then: i32| (f64::from(now) / f64::from(then) - 1.0) * 100.0;
        println!(
            "overhead: {what}: open+close {open} ns ({:+.1} %), fork+exec {exec} ns ({:+.1} %)",
            more(open, bare.0),
            more(exec, bare.1)
        );
        Ok(())
    };
    detach();
    let attach = || {
        Sensor::attach(Settings {
            rung: Some(rung),
            ..Settings::default()
        })
    };
    measure("at first")?;
    // The machine gets faster for some time after its start, whatever is attached.
    drop(attach()?);
    for _ in 0..3 {
        measure(BARE)?;
    }
    let mut sensor = attach()?;
    measure("another workload is observed")?;
    sensor.watch(1, Target::Group(group))?;
    measure("observed")?;
    drop(sensor);
    measure(BARE)?;
    let mut enforcer = Enforcer::open("overhead")?;
    measure("another workload is under block")?;
    for posture in [meaning::Posture::Audit, meaning::Posture::Block] {
        for rules in [10, 250, 2_000] {
            let others: String = (0..rules)
                .map(|n| format!("{{path: /srv/d{}/f{n}}}, ", n % 50))
                .collect();
            let text = format!(
                "kind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec: {{process: {{matchDirectories: [{{dir: /, recursive: true}}]}}, file: {{matchPaths: [{others}{{path: {file}}}], matchDirectories: [{{dir: /, recursive: true}}]}}, action: Allow}}"
            );
            let policies = learner::policy::from_yaml(&text)?;
            let enforced = Enforced::new(
                meaning::Enforcer::Learner,
                &policies,
                Postures::all(posture),
            );
            let tree = enforced.tree().ok_or("a tree")?;
            let begun = std::time::Instant::now();
            enforcer.apply(group, 1, [0, 0], &tree)?;
            println!("overhead: {rules} rules applied in {:?}", begun.elapsed());
            measure(&format!("under {posture} with {rules} rules"))?;
        }
    }
    learner::kernel::enforcer::release(Some("overhead"))?;
    measure(BARE)
}

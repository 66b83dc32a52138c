//! A recording as a stream of events gives it, made up: for the benches and the example
//! `synthetic`. The same numbers give the same lines.

use std::sync::Arc;

use learner::behavior::{Access, Behavior, Op, Outcome};
use learner::observation::{Fact, Moment, Observation};
use learner::path::AbsPath;
use learner::workload::{Labels, RunKey, Workload};

/// Runs that are in the stream, four of each of five workloads.
const RUNS: usize = 20;
/// Behaviours a run can have. Few of them make up most of the lines.
const DISTINCT: usize = 3_000;
const WORKLOADS: [&str; 5] = ["cart", "checkout", "nginx", "postgresql", "report"];
const DIRECTORIES: [&str; 8] = [
    "/etc",
    "/etc/ssl/certs",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/share/zoneinfo/Europe",
    "/usr/local/lib/python3.12/site-packages/werkzeug/middleware",
    "/var/lib/shop/sessions",
    "/opt/app/node_modules/express/lib/router",
    "/proc/self/fd",
];

/// xorshift: the stream must be the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    /// Small numbers far more often than great ones.
    fn skewed(&mut self, end: usize) -> usize {
        let of_a_million = self.below(1_000_000) as f64 / 1_000_000.0;
        (of_a_million.powi(3) * end as f64) as usize
    }
}

struct Run {
    key: Arc<RunKey>,
    labels: Arc<Labels>,
    behaviors: Vec<Behavior>,
}

/// The lines of `len` events, in bursts of one run after another; every run begins first.
pub(crate) fn lines(len: u64) -> impl Iterator<Item = Observation> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let runs: Vec<Run> = (0..RUNS).map(run).collect();
    let (mut burst, mut current) = (0, 0);
    (0..len).map(move |n| {
        if burst == 0 {
            (burst, current) = (1 + dice.below(40), dice.below(RUNS));
        }
        burst -= 1;
        let begins = (n as usize) < RUNS;
        let run = &runs[if begins { n as usize } else { current }];
        let at = Moment(1_780_000_000_000_000 + n as i64 * 731);
        let fact = if begins {
            Fact::Start
        } else {
            Fact::Seen {
                behavior: run.behaviors[dice.skewed(DISTINCT)].clone(),
                count: 1,
                last: at,
            }
        };
        Observation {
            run: run.key.clone(),
            labels: run.labels.clone(),
            at,
            fact,
        }
    })
}

fn run(number: usize) -> Run {
    let name = WORKLOADS[number % WORKLOADS.len()];
    let workload = Workload {
        namespace: "shop".into(),
        kind: "Deployment".into(),
        name: name.into(),
        container: name.into(),
    };
    let labels = [("app", name), ("tier", "backend")];
    Run {
        key: Arc::new(RunKey {
            workload,
            image: format!("registry.example/{name}@sha256:{:064x}", number % 5 + 7),
            run: format!("{name}-5d8f7c9b6-x{number:02}/{name}/0"),
        }),
        labels: Arc::new(Labels::from(
            labels.map(|(key, value)| (key.to_owned(), value.to_owned())),
        )),
        behaviors: (0..DISTINCT).map(behavior).collect(),
    }
}

fn behavior(number: usize) -> Behavior {
    let path = |text: String| AbsPath::new(text.into_bytes()).expect("absolute");
    let named = |name: &str| {
        let directory = DIRECTORIES[number % DIRECTORIES.len()];
        path(format!("{directory}/{name}-{number}"))
    };
    let op = match number % 20 {
        0 => Op::Exec,
        1 => Op::Create,
        2 => Op::Unlink,
        3 => Op::Rename {
            to: named("renamed"),
        },
        4 | 5 => Op::Open(Access::Write),
        _ => Op::Open(Access::Read),
    };
    Behavior {
        op,
        path: named("file"),
        source: Some(path(format!("/usr/local/bin/worker-{}", number % 7))),
        uid: Some(if number.is_multiple_of(3) { 0 } else { 1000 }),
        owner: Some(number.is_multiple_of(3)),
        upper: Some(number % 20 == 1),
        tty: Some(false),
        result: match number % 11 {
            10 => Outcome::Failed("ENOENT".into()),
            _ => Outcome::Ok,
        },
    }
}

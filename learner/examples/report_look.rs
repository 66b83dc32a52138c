//! throw-away
use learner::{
    profile::Evidence,
    recommend::{Criteria, recommend},
    recording, report,
};
fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let out = args.remove(0);
    let mut evidence = Evidence::default();
    for f in &args {
        recording::read(f.as_ref(), &mut |o| evidence.fold(o)).unwrap();
    }
    let workloads: std::collections::BTreeSet<_> =
        evidence.runs().keys().map(|k| k.workload.clone()).collect();
    let mut all = Vec::new();
    for w in &workloads {
        match recommend(w, &evidence, &Criteria::default()) {
            Ok(r) => all.push(r),
            Err(e) => eprintln!("{w}: {e}"),
        }
    }
    for r in &all {
        for l in report::summary(r) {
            println!("{l}");
        }
    }
    std::fs::write(format!("{out}.txt"), report::text(&all)).unwrap();
    std::fs::write(format!("{out}.html"), report::html(&all)).unwrap();
    std::fs::write(format!("{out}.json"), report::json(&all)).unwrap();
}

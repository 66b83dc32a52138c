//! Any bytes are a recording or an error, and what is recorded can be recommended from.
#![no_main]

use learner::profile::Evidence;
use learner::recommend::{Criteria, recommend};
use learner::recording::read_from;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Parquet is decoded by a process of its own, since polars ends the process on some of it.
    if bytes.starts_with(b"PAR1") {
        return;
    }
    let mut evidence = Evidence::default();
    let read = read_from(bytes, "fuzz", &mut |observation| evidence.fold(observation));
    if read.is_err() {
        return;
    }
    let workloads: Vec<_> = evidence.runs().keys().map(|key| key.workload.clone()).collect();
    for workload in workloads {
        let _ = recommend(&workload, &evidence, &Criteria::default());
    }
});

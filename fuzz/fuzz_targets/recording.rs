//! Any bytes are a recording or an error; what is recorded is the same when it is folded in parts
//! or written and read again, and can be recommended from.
#![no_main]

use learner::generalize::{Dialect, Tightness};
use learner::policy::{from_yaml, to_yaml, violations};
use learner::profile::Evidence;
use learner::recommend::{Criteria, recommend};
use learner::recording::{Decoder, JsonlWriter, fold_from, observations, read_from};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let read = |bytes: &[u8]| {
        let mut evidence = Evidence::default();
        let end = read_from(bytes, "fuzz", &mut |observation| evidence.fold(observation));
        end.map(|()| evidence)
    };
    let folded = fold_from(
        bytes,
        "fuzz",
        Decoder::Within,
        Evidence::default(),
        &mut |_| {},
    );
    let evidence = match (read(bytes), folded) {
        (Ok(evidence), Ok(folded)) => {
            assert_eq!(evidence.runs(), folded.runs());
            evidence
        }
        (Err(error), Err(folded)) => {
            assert_eq!(error.to_string(), folded.to_string());
            return;
        }
        (read, folded) => panic!("{:?}, in parts {:?}", read.err(), folded.err()),
    };
    let mut writer = JsonlWriter::new(Vec::new());
    for observation in evidence
        .runs()
        .iter()
        .flat_map(|(key, run)| observations(key, run))
    {
        writer.write(&observation).expect("what was read");
    }
    let written = writer.finish().expect("memory");
    let again = read(&written).expect("what was written");
    assert_eq!(again.runs(), evidence.runs());

    let mut workloads: Vec<_> = evidence.runs().keys().map(|key| &key.workload).collect();
    workloads.dedup();
    for workload in workloads {
        for (enforcer, tightness) in [
            (Dialect::Bpf, Tightness::Durable),
            (Dialect::AppArmor, Tightness::Balanced),
            (Dialect::Both, Tightness::Exact),
        ] {
            let criteria = Criteria {
                enforcer,
                tightness,
                ..Criteria::default()
            };
            let Ok(made) = recommend(workload, &evidence, &criteria) else {
                continue;
            };
            let text = to_yaml(&made.policy);
            let again = from_yaml(&text).expect("what was printed is a policy");
            assert_eq!(violations(&made.policy), [], "{text}");
            assert_eq!(again, [made.policy], "{text}");
        }
    }
});

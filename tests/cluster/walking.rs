use std::path::Path;
use std::process::Command;

use crate::node::alone;
use crate::world::{LEARNER, world};

#[test]
fn the_walk_from_an_empty_cluster_to_a_promoted_workload_and_back_to_audit() {
    let (Some(_world), Some(_alone)) = (world(), alone()) else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/walk");
    let walked = Command::new(script).arg(LEARNER).output();
    let walked = walked.expect("the script runs");
    let (out, talk) = (
        String::from_utf8_lossy(&walked.stdout),
        String::from_utf8_lossy(&walked.stderr),
    );
    assert!(walked.status.success(), "{out}\n{talk}");
    let mut rest = &*out;
    for said in [
        ": 3 runs, ",
        "- path: /etc/hosts\n",
        "shop/Deployment/web/web: promoted: learning -> audit",
        "shop/Deployment/web/web: promoted: audit -> block",
        r#"{"kubearmor-file-posture":"block"}"#,
        "web-deployment-learned",
        "Deployment/web: Promoted: ",
        "shop/Deployment/web/web: same; ",
        "shop/Deployment/web/web: put to audit with a new image",
        "1 new to the old candidate (open /etc/group by ",
        "policies: 0",
    ] {
        let Some(at) = rest.find(said) else {
            panic!("'{said}' was not said, or not then:\n{out}\n{talk}");
        };
        rest = &rest[at + said.len()..];
    }
}

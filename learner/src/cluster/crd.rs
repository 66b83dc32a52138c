//! The definitions of Learner's resources, as they are given to an API server.

use kube::CustomResourceExt as _;

use super::evidence::WorkloadEvidence;
use super::posture::WorkloadPosture;
use crate::policy::to_yaml;

/// Their API group.
pub const GROUP: &str = "learner.dev";

/// Their version.
pub const VERSION: &str = "v1alpha1";

/// As it stands in an object.
pub const API_VERSION: &str = "learner.dev/v1alpha1";

/// Each definition as YAML, by the name of its resource. The same types give the same bytes.
pub fn crds() -> Vec<(&'static str, String)> {
    vec![
        ("workloadevidences", to_yaml(&WorkloadEvidence::crd())),
        ("workloadpostures", to_yaml(&WorkloadPosture::crd())),
    ]
}

//! A real API server, as the nodes of a cluster and the job that reads them use it.
//!
//! `tests/cluster/apiserver` starts etcd and kube-apiserver, from `KUBEBUILDER_ASSETS` or from what
//! `tests/cluster/apiserver build` has made. Without them the tests are left out, aloud; with `CI` set they
//! fail instead.

mod agent;
mod agents;
mod applying;
#[path = "../../learner/tests/relay/authority.rs"]
mod authority;
mod deciding;
mod definitions;
mod deploying;
mod drift;
mod enforcing;
mod fake;
mod hearing;
mod in_force;
mod inventory;
mod node;
mod pods;
mod promoting;
mod recommending;
mod refusals;
mod refusing;
mod resting;
#[path = "../../learner/tests/relay/server.rs"]
#[expect(
    dead_code,
    reason = "how else a server can behave is for the library's own test"
)]
mod server;
mod sharing;
mod walking;
mod world;

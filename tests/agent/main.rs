//! `learner agent` as a real process: real cgroups, real programs, the real socket.
//!
//! Needs root and BPF. Without them the tests are left out, aloud; with `CI` set they fail instead.

mod commands;
mod containers;
mod decides;
mod hearing;
mod peers;
mod process;
#[path = "../../learner/tests/relay/server.rs"]
#[expect(
    dead_code,
    reason = "how else a server can behave is for the library's own test"
)]
mod server;
mod workloads;
mod world;

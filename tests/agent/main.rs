//! `learner agent` as a real process: real cgroups, real programs, the real socket.
//!
//! Needs root and BPF. Without them the tests are left out, aloud; with `CI` set they fail instead.

mod commands;
mod containers;
mod peers;
mod process;
mod workloads;
mod world;

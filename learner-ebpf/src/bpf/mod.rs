//! Hook → record → ring buffer. A hook watches and never judges; what it cannot say it counts.

mod atomic;
mod hooks;
mod maps;
mod read;
mod record;
mod repeat;
mod scope;
mod syscalls;
mod walk;

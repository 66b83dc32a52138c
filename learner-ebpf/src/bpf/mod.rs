//! Hook → record → ring buffer. A hook watches and never judges, unless it is an enforcing one; what
//! it cannot say it counts.

mod atomic;
mod enforce;
mod hooks;
mod maps;
mod read;
mod record;
mod route;
mod rule;
mod scope;
mod sip;
mod syscalls;
mod walk;

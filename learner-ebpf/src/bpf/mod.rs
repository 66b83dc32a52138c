//! Hook → record → ring buffer. A hook watches and never judges, unless it is an enforcing one; what
//! it cannot say it counts.

mod alert;
mod atomic;
mod case;
mod enforce;
mod follow;
mod group;
mod hooks;
mod maps;
mod newcomer;
mod outcome;
mod read;
mod record;
mod repeat;
mod rule;
mod scope;
mod sip;
mod syscalls;
mod trace;
mod walk;

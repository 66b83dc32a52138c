//! Recordings in and out: what is written is what is read, and what is damaged is said.

mod apart;
mod damaged;
mod folded;
mod identity;
mod lines;
mod world;

#[path = "../../benches/synthetic/mod.rs"]
mod synthetic;

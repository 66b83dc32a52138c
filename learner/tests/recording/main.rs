//! Recordings in and out: what is written is what is read, and what is damaged is said.

mod damaged;
mod identity;
mod lines;
mod world;

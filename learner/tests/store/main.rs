//! The store on real files, with real processes killed in the middle.

mod bounds;
mod damaged;
mod decided;
mod forgotten;
mod full;
mod killed;
mod order;
mod world;

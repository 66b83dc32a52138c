//! The Unix socket by which commands use the agent's store.

mod client;
mod server;
mod wire;

pub use client::{Client, ClientError};
pub use server::{Socket, SocketError};
pub use wire::BadFrame;

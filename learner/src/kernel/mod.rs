//! The kernel edge: aya, the wire, cgroups, and what is known of the running kernel.

pub mod btf;
pub mod cgroup;
mod collect;
mod decode;
pub mod enforcer;
mod hook;
mod image;
pub mod live;
pub mod probe;
mod resolve;
mod sensor;
mod syscalls;

pub use collect::{Clock, Collector};
pub use hook::{Hook, Rung};
pub use sensor::{DEFAULT_RING, Sensor, SensorError, Served, Settings, Target, active_lsms};

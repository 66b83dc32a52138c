//! The kernel edge: aya, the wire, cgroups, and what is known of the running kernel.

mod attach;
pub mod btf;
pub mod cgroup;
mod clock;
mod collect;
mod decode;
pub mod enforcer;
mod hook;
mod image;
pub mod live;
mod meaning;
mod newcomers;
mod object;
mod outcomes;
pub mod probe;
mod process;
mod repeats;
mod resolve;
mod sensor;
mod syscalls;

pub use clock::Clock;
pub use collect::{Beginning, Begun, Collector};
pub use hook::{Hook, Rung};
pub use sensor::{
    DEFAULT_RING, Sensor, SensorError, Served, Settings, Target, active_lsms, settle,
};

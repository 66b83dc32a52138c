//! The kernel's clock in terms of the wall clock.

use crate::observation::Moment;

/// The kernel's monotonic clock in terms of the wall clock, fixed when the run began: a wall clock
/// that is set while the run goes on moves none of its times.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall clock minus `CLOCK_BOOTTIME`, microseconds.
    offset: i64,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> Self {
        use rustix::time::{ClockId, clock_gettime};
        let micros = |id| {
            let time = clock_gettime(id);
            time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
        };
        Self {
            offset: micros(ClockId::Realtime) - micros(ClockId::Boottime),
        }
    }

    /// The wall clock now, by this clock.
    pub fn moment(self) -> Moment {
        self.at(boottime())
    }

    /// A time of `CLOCK_BOOTTIME` in nanoseconds, as an event has it.
    pub(super) fn at(self, boottime: u64) -> Moment {
        Moment((boottime / 1_000) as i64 + self.offset)
    }
}

/// `CLOCK_BOOTTIME` now, nanoseconds.
pub(super) fn boottime() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

//! sled and polars panic on some damaged files. Here a panic becomes a value.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic in it is given back as its message and is not printed.
///
/// The first call wraps the process's panic hook in one that is silent for contained panics and for
/// sled's and polars' own threads, whose failures come back to the caller, and passes on all others. After a panic,
/// what `work` was changing must not be used again.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    install();
    let before = CONTAINED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(before);
    outcome.map_err(|payload| {
        payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_else(|| "panic without a message".to_owned())
    })
}

fn install() {
    static ONCE: Once = Once::new();
    // Changing the hook from a panicking thread would abort.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let contained = CONTAINED.try_with(Cell::get).unwrap_or(false);
            let thread = std::thread::current();
            let of_theirs = thread.name().is_some_and(|name| {
                name.starts_with("sled-io-") || name == "log flusher" || name.starts_with("polars-")
            });
            if contained || of_theirs {
                tracing::debug!("contained panic: {info}");
            } else {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_becomes_its_message() {
        assert_eq!(contain(|| 3), Ok(3));
        assert_eq!(contain(|| panic!("torn")), Err::<(), _>("torn".to_owned()));
        let n = 7;
        assert_eq!(
            contain(|| panic!("page {n}")),
            Err::<(), _>("page 7".to_owned())
        );
    }
}

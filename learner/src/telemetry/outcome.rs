//! KubeArmor's word for what the kernel answered.

use nix::errno::Errno;

use crate::behavior::Outcome;

/// Errnos are below this.
const MAX_ERRNO: i32 = 134;

/// `Passed`, the text of an errno as `strerror` has it, or `Unknown (-N)`. Any other text is a failure
/// too.
pub(super) fn outcome(result: &str) -> Outcome {
    if result == "Passed" {
        return Outcome::Ok;
    }
    let number = result
        .strip_prefix("Unknown (")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|number| number.parse::<i32>().ok())
        .and_then(i32::checked_abs);
    let errno = match number {
        Some(number) => Errno::from_raw(number),
        None => (1..MAX_ERRNO)
            .map(Errno::from_raw)
            .find(|errno| errno.desc().eq_ignore_ascii_case(result))
            .unwrap_or(Errno::UnknownErrno),
    };
    Outcome::Failed(format!("{errno:?}"))
}

//! What a rule comes to, as `learner/src/policy/meaning/bpf/decide.rs` has it.

use learner_ebpf::enforce::{mask, posture};

/// What becomes of an operation.
pub(crate) mod verdict {
    pub(crate) const ALLOWED: u32 = 0;
    /// Let be and reported.
    pub(crate) const ALERT: u32 = 1;
    /// Refused and reported.
    pub(crate) const DENIED: u32 = 2;
    /// Let be for who does it: it says nothing of others.
    pub(crate) const PASSED: u32 = 3;
}

/// Who acts on what.
#[derive(Clone, Copy)]
pub(crate) struct Actor {
    pub owner: bool,
    pub tty: bool,
}

/// How a rule for files is met.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Meeting {
    Open,
    /// An open for writing stands for the writes.
    OpenToWrite,
    /// A change of names or of attributes.
    Change,
}

/// No rule is about it.
#[inline(always)]
pub(crate) fn unmatched(posture: u32) -> u32 {
    match posture {
        posture::BLOCK => verdict::DENIED,
        posture::AUDIT => verdict::ALERT,
        _ => verdict::ALLOWED,
    }
}

#[inline(always)]
fn has(rule: u64, bit: u16) -> bool {
    rule & u64::from(bit) != 0
}

/// `pts` of the rule refuses the actor.
#[inline(always)]
fn refuses_terminal(rule: u64, actor: Actor) -> bool {
    has(rule, mask::TERMINAL) && actor.tty && (!has(rule, mask::OWNER) || actor.owner)
}

/// A rule for programs.
#[inline(always)]
pub(crate) fn process(rule: u64, actor: Actor) -> u32 {
    let refused = if has(rule, mask::OWNER) {
        !actor.owner
    } else {
        has(rule, mask::DENY)
    };
    if refused || refuses_terminal(rule, actor) {
        verdict::DENIED
    } else {
        verdict::ALLOWED
    }
}

/// A rule for files. `restricted`: some rule for files allows something.
#[inline(always)]
pub(crate) fn file(rule: u64, meeting: Meeting, actor: Actor, restricted: bool) -> u32 {
    if refuses_terminal(rule, actor) {
        return verdict::DENIED;
    }
    let owned = has(rule, mask::OWNER);
    if owned && !actor.owner {
        return verdict::DENIED;
    }
    let read_only = has(rule, mask::READ) && !has(rule, mask::WRITE);
    if meeting == Meeting::OpenToWrite && read_only {
        return verdict::DENIED;
    }
    if owned || (read_only && meeting != Meeting::Change) {
        return verdict::ALLOWED;
    }
    if has(rule, mask::DENY) {
        return verdict::DENIED;
    }
    if has(rule, mask::TERMINAL) && restricted {
        return verdict::ALERT;
    }
    verdict::ALLOWED
}

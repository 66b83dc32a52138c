//! The kernel programs of Learner. Built only for the bpf target (`learner-ebpf/build`); on any
//! other it is an empty program, so that plain `cargo build --workspace` needs nothing special.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "see bpf/atomic.rs")
)]

#[cfg(target_arch = "bpf")]
mod bpf;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel refuses helpers such as probe reads to programs whose licence is not GPL-compatible.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}

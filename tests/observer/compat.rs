//! 32-bit system calls, which have numbers of their own.

use std::path::Path;

use learner::kernel::Rung;
use learner::observation::Loss;
use libtest_mimic::Failed;

use crate::check;
use crate::scenarios::expect;
use crate::watched::{World, act};

type Test = fn(Rung) -> Result<(), Failed>;

#[cfg(target_arch = "x86_64")]
pub(crate) const ALL: &[(&str, Test)] = &[("a 32-bit call is seen or counted", seen_or_counted)];
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const ALL: &[(&str, Test)] = &[];

/// What mkdir answers where the kernel has no 32-bit calls.
const NOT_HERE: i32 = 38;

/// Makes a directory by i386's mkdir, which a 64-bit process may call as well.
#[cfg(target_arch = "x86_64")]
pub(crate) fn mkdir(path: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let name = path.as_os_str().as_bytes();
    // SAFETY: a fresh mapping below 4 GiB, large enough for the name and a NUL, which it begins as.
    let answer = unsafe {
        let low = libc::mmap(
            std::ptr::null_mut(),
            8192,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        );
        assert_ne!(low, libc::MAP_FAILED, "a page below 4 GiB");
        std::ptr::copy_nonoverlapping(name.as_ptr(), low.cast(), name.len());
        let answer: i64;
        // rbx belongs to the compiler.
        std::arch::asm!(
            "xchg {name}, rbx",
            "int 0x80",
            "xchg {name}, rbx",
            name = inout(reg) low as u64 => _,
            inlateout("rax") 39_i64 => answer,
            in("rcx") 0o755_u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
        answer as i32
    };
    assert!(
        answer == 0 || answer == -NOT_HERE,
        "mkdir by int 0x80: {answer}"
    );
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn mkdir(_: &Path) {}

#[cfg(target_arch = "x86_64")]
fn seen_or_counted(rung: Rung) -> Result<(), Failed> {
    let world = World::new();
    let made = world.join("made");
    let seen = act(rung, "mkdir-as-32-bit", &[&made])?;
    if !made.exists() {
        eprintln!("skipped: this kernel has no 32-bit system calls");
        return Ok(());
    }
    if rung == Rung::Tracepoint {
        let lost = seen.lost().get(&Loss::from("compat")).copied();
        return check(lost == Some(1), || format!("lost {:?}", seen.lost()));
    }
    expect(&seen, &world, &["mkdir %/made"])
}

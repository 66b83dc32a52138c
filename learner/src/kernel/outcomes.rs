//! The programs that tell what came of an operation: see `learner-ebpf/src/bpf/outcome.rs`.

use std::collections::BTreeSet;

use aya::{Btf, Ebpf};
use aya_obj::btf::BtfKind;
use learner_ebpf::doer;

use super::attach::{reason, returning, traced};
use super::hook::Hook;

/// The programs on the tracepoints of a process's exec and end.
const EXECUTED: (&str, &str) = ("done_exec", "sched_process_exec");
const ENDED: (&str, &str) = ("done_all", "sched_process_exit");

/// An exec that fails returns from one of these. Not every kernel has those of 32-bit processes.
#[cfg(target_arch = "x86_64")]
const EXECS: [(&str, &str); 4] = [
    ("failed_execve", "__x64_sys_execve"),
    ("failed_execveat", "__x64_sys_execveat"),
    ("failed_compat_execve", "__ia32_compat_sys_execve"),
    ("failed_compat_execveat", "__ia32_compat_sys_execveat"),
];
#[cfg(not(target_arch = "x86_64"))]
const EXECS: [(&str, &str); 4] = [
    ("failed_execve", "__arm64_sys_execve"),
    ("failed_execveat", "__arm64_sys_execveat"),
    ("failed_compat_execve", "__arm64_compat_sys_execve"),
    ("failed_compat_execveat", "__arm64_compat_sys_execveat"),
];

/// What is attached. Several hooks share a program.
#[derive(Default)]
pub(super) struct Outcomes {
    attached: BTreeSet<&'static str>,
}

impl Outcomes {
    /// Attaches what tells the results of a hook, unless it is attached already.
    ///
    /// # Errors
    /// Which one is refused, and why: what came of the hook's operations cannot be told then.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        btf: &Btf,
        hook: Hook,
        doers: &[u32; doer::COUNT],
    ) -> Result<(), String> {
        if hook == Hook::Open {
            return Ok(());
        }
        self.trace(ebpf, btf, ENDED)?;
        if hook == Hook::Exec {
            self.trace(ebpf, btf, EXECUTED)?;
            for (program, function) in EXECS {
                if btf.id_by_type_name_kind(function, BtfKind::Func).is_ok() {
                    self.on_return(ebpf, btf, (program, function))?;
                }
            }
        }
        for doer in of(hook) {
            let (program, function) = (doer::PROGRAMS[*doer], doer::FUNCTIONS[*doer]);
            if doers[*doer] == 0 {
                return Err(format!(
                    "the kernel's type information does not tell {function}"
                ));
            }
            self.on_return(ebpf, btf, (program, function))?;
        }
        Ok(())
    }

    fn trace(
        &mut self,
        ebpf: &mut Ebpf,
        btf: &Btf,
        (name, on): (&'static str, &str),
    ) -> Result<(), String> {
        if self.attached.contains(name) {
            return Ok(());
        }
        let told = |cause: String| format!("{name}: {cause}");
        let program = traced(ebpf, btf, name, on).map_err(told)?;
        program.attach().map_err(|e| told(reason(&e)))?;
        self.attached.insert(name);
        Ok(())
    }

    fn on_return(
        &mut self,
        ebpf: &mut Ebpf,
        btf: &Btf,
        (name, function): (&'static str, &str),
    ) -> Result<(), String> {
        if self.attached.contains(name) {
            return Ok(());
        }
        let told = |cause: String| format!("its result, by {function}: {cause}");
        let program = returning(ebpf, btf, name, function).map_err(told)?;
        program.attach().map_err(|e| told(reason(&e)))?;
        self.attached.insert(name);
        Ok(())
    }
}

/// The functions that do what a hook is asked about, as indices of [`doer`].
fn of(hook: Hook) -> &'static [usize] {
    match hook {
        Hook::Exec | Hook::Open => &[],
        Hook::Create => &[doer::CREATE, doer::MKNOD],
        Hook::Mkdir => &[doer::MKDIR],
        Hook::Unlink => &[doer::UNLINK],
        Hook::Rmdir => &[doer::RMDIR],
        Hook::Rename => &[doer::RENAME],
        Hook::Link => &[doer::LINK],
        Hook::Symlink => &[doer::SYMLINK],
        Hook::Chmod | Hook::Truncate | Hook::FileTruncate => &[doer::CHANGE],
    }
}

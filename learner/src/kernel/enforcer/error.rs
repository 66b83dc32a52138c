//! Why enforcing is not possible.

use std::io;
use std::path::{Path, PathBuf};

use learner_ebpf::CGROUP_LEVELS;

use crate::kernel::btf::OffsetError;

/// Enforcing is not possible.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The kernel does not ask BPF programs.
    #[error(
        "the kernel does not ask BPF programs before an operation: {0}. Boot with 'bpf' in the list of the kernel parameter lsm=, as in lsm={1}bpf, on a kernel with CONFIG_BPF_LSM"
    )]
    NotActive(String, String),
    /// The kernel's types do not hold what the programs need.
    #[error(transparent)]
    Offsets(#[from] OffsetError),
    /// The kernel refused a map or a program.
    #[error("the kernel refused {what}: {cause}. Enforcing needs root, and Linux 5.17 or newer")]
    Refused {
        /// What it refused.
        what: String,
        /// Why.
        cause: String,
    },
    /// The pinned state cannot be read or written.
    #[error("{}: {cause}; is a bpf file system mounted on /sys/fs/bpf?", path.display())]
    Pins {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A map has no room or cannot be read.
    #[error("a map of the enforcer failed: {0}")]
    Map(#[from] aya::maps::MapError),
    /// No random key could be had.
    #[error("no random numbers from the kernel: {0}")]
    Random(rustix::io::Errno),
    /// The cgroup is too deep.
    #[error("the cgroup is {0} levels deep; at most {max} are supported", max = CGROUP_LEVELS - 1)]
    TooDeep(u32),
    /// The policy would hold for this process, which could then not end it.
    #[error("this process is in the cgroup that the policy is for; start it outside of it")]
    Own,
    /// The kernel cannot be asked to wait for running programs.
    #[error("the old rules cannot be removed safely: membarrier: {0}")]
    Barrier(rustix::io::Errno),
}

pub(super) fn pins_error(path: &Path, error: &io::Error) -> EnforceError {
    EnforceError::Pins {
        path: path.into(),
        cause: error.to_string(),
    }
}

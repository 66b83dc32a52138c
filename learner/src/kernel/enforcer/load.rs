//! The programs: loaded, attached and pinned.

use std::path::Path;

use aya::EbpfLoader;
use aya::maps::Array;
use aya::programs::Lsm;
use aya::programs::links::FdLink;
use learner_ebpf::enforce::kept;
use learner_ebpf::{cell, setting};

use super::error::EnforceError;
use crate::kernel::attach::{chain, find, note, patiently, reason};
use crate::kernel::btf::{Layout, layout};
use crate::kernel::object::of_this_kernel;
use crate::kernel::sensor::{active_lsms, types};
use crate::kernel::{newcomers, repeats};

/// Enough for alerts, which are sent once each.
const RING: u32 = 1 << 20;
/// Distinct alerts that are counted in the kernel; of others each is sent.
const ALERTS: u32 = 16_384;

/// The programs and the hooks that they are on.
const PROGRAMS: [(&str, &str); 11] = [
    ("enforce_exec", "bprm_check_security"),
    ("enforce_open", "file_open"),
    ("enforce_create", "path_mknod"),
    ("enforce_mkdir", "path_mkdir"),
    ("enforce_unlink", "path_unlink"),
    ("enforce_rmdir", "path_rmdir"),
    ("enforce_rename", "path_rename"),
    ("enforce_link", "path_link"),
    ("enforce_symlink", "path_symlink"),
    ("enforce_chmod", "path_chmod"),
    ("enforce_truncate", "path_truncate"),
];

/// The maps that are pinned, and under which names: bpffs takes none with a dot in it.
const MAPS: [(&str, &str); 8] = [
    ("POLICIES", "POLICIES"),
    ("EDGES", "EDGES"),
    ("LONG_EDGES", "LONG_EDGES"),
    ("KEPT", "KEPT"),
    (cell::EPOCH, "EPOCH"),
    ("EVENTS", "EVENTS"),
    ("SEEN", "SEEN"),
    ("LOST", "LOST"),
];

/// Whether programs on LSM hooks are asked at all.
///
/// # Errors
/// [`EnforceError::NotActive`] with the kernel parameter to set.
pub fn is_active() -> Result<(), EnforceError> {
    match active_lsms() {
        Some(list) if list.iter().any(|lsm| lsm == "bpf") => Ok(()),
        Some(list) => {
            let known: String = list.iter().map(|lsm| format!("{lsm},")).collect();
            let why = format!("the active LSMs are {}", list.join(", "));
            Err(EnforceError::NotActive(why, known))
        }
        None => {
            let why = "securityfs is not mounted on /sys/kernel/security, so the active LSMs cannot be told";
            Err(EnforceError::NotActive(why.into(), "…,".into()))
        }
    }
}

/// Loads, attaches and pins.
pub(super) fn load(directory: &Path) -> Result<(), EnforceError> {
    let refused = |what: &str, cause: String| EnforceError::Refused {
        what: what.to_owned(),
        cause,
    };
    let Layout { offsets, .. } = layout()?;
    // Repeated alerts are told by a keyed hash: see `learner-ebpf/src/bpf/record.rs`.
    let mut key = [0u8; 16];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
        .map_err(EnforceError::Random)?;
    let btf = types().map_err(|e| refused("its own types", e))?;
    let object = of_this_kernel(&offsets).map_err(|e| refused("the object", e))?;
    let mut ebpf = EbpfLoader::new()
        .btf(Some(btf))
        .override_global("OFFSETS", &offsets[..], true)
        .override_global("SIP_KEY", &key[..], true)
        .override_global("SETTINGS", &[0u32; setting::COUNT][..], true)
        .map_max_entries("EVENTS", RING)
        .map_max_entries("SEEN", ALERTS)
        .map_max_entries("IMAGES", 1)
        .map_max_entries("PENDING", 1)
        .map_max_entries("CALLS", 1)
        .map_max_entries("AWAITED", 1)
        .override_global("SEQUENCES", &repeats::sequences()[..], true)
        .load(object.bytes())
        .map_err(|e| refused("the maps", chain(&e)))?;
    let map = ebpf.map_mut("KEPT");
    let map = map.ok_or_else(|| refused("KEPT", "the kernel object lacks the map".into()))?;
    let mut kept: Array<_, u64> = Array::try_from(map)?;
    kept.set(kept::GENERATION, 1, 0)?;
    for (name, pinned) in MAPS {
        let map = ebpf.map(name);
        let map = map.ok_or_else(|| refused(name, "the kernel object lacks the map".into()))?;
        let path = directory.join(pinned);
        map.pin(&path).map_err(|e| EnforceError::Pins {
            path,
            cause: chain(&e),
        })?;
    }
    match newcomers::attach(&mut ebpf, btf) {
        Ok(links) => {
            for (name, link) in links {
                pin(link, directory, name)?;
            }
        }
        Err(cause) => tracing::warn!(
            "a runtime that joins a container under block is held to the policy too: {cause}"
        ),
    }
    for (name, hook) in PROGRAMS {
        let program: &mut Lsm = find(&mut ebpf, name).map_err(|e| refused(name, e))?;
        patiently(|| program.load(hook, btf)).map_err(|e| refused(name, e))?;
        note(name, program.info());
        let link = program.attach().map_err(|e| refused(name, reason(&e)))?;
        let link = program
            .take_link(link)
            .map_err(|e| refused(name, reason(&e)))?;
        pin(FdLink::from(link), directory, name)?;
    }
    match repeats::count_changes(&mut ebpf, btf, &offsets) {
        Ok(links) => {
            for (name, link) in links {
                pin(link, directory, name)?;
            }
        }
        Err(cause) => tracing::debug!("every open is looked up anew: {cause}"),
    }
    Ok(())
}

fn pin(link: FdLink, directory: &Path, name: &str) -> Result<(), EnforceError> {
    let path = directory.join(name);
    match link.pin(&path) {
        Ok(_) => Ok(()),
        Err(error) => Err(EnforceError::Pins {
            path,
            cause: chain(&error),
        }),
    }
}

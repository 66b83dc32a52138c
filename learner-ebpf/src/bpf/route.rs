//! A path as hashes of its components, and its way through the rules of a policy.
//!
//! What is found is what `RuleMap::find` of `learner/src/policy/meaning/bpf` finds without
//! KubeArmor's limits: `learner/src/policy/meaning/table.rs` makes the edges.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use learner_ebpf::enforce::{Edge, EdgeKey, mask, node};
use learner_ebpf::field;

use super::atomic::swap;
use super::maps::{EDGES, ROUTES, Route, SLOTS, STEPS, offset, sip_key};
use super::read::{Location, pointer};
use super::sip::{self, round, word};
use super::walk::end;

/// Which half of an edge is asked for.
pub(crate) mod half {
    pub(crate) const PROCESS: u32 = 0;
    pub(crate) const FILE: u32 = 1;
    /// The node at which the rules for this program start.
    pub(crate) const SOURCE: u32 = 2;
}

/// In what [`follow`] gives: the rule is about the file itself, not its directory.
pub(crate) const OBJECT: u64 = 1 << 32;

/// Takes a free buffer.
#[inline(always)]
pub(crate) fn take() -> Option<*mut Route> {
    for slot in 0..SLOTS {
        let route = ROUTES.get_ptr_mut(slot)?;
        // SAFETY: `busy` is an aligned u64 in a map value that lives as long as the program.
        if unsafe { swap(&raw mut (*route).busy, 1) } == 0 {
            return Some(route);
        }
    }
    None
}

#[inline(always)]
pub(crate) fn release(route: *mut Route) {
    // SAFETY: the caller holds it.
    unsafe { core::ptr::write_volatile(&raw mut (*route).busy, 0) };
}

#[inline(always)]
pub(crate) fn count(route: *mut Route) -> u64 {
    // SAFETY: the caller holds it.
    unsafe { core::ptr::read_volatile(&raw const (*route).count) }
}

#[inline(always)]
fn set_count(route: *mut Route, count: u64) {
    // SAFETY: the caller holds it.
    unsafe { core::ptr::write_volatile(&raw mut (*route).count, count) };
}

#[inline(always)]
fn name(route: *mut Route, index: u64) -> u64 {
    // SAFETY: the index is below 128, and the caller holds the route.
    unsafe {
        core::ptr::read_volatile(
            (&raw const (*route).names)
                .cast::<u64>()
                .add(index as usize & 127),
        )
    }
}

/// Hashes the components of a path, leaf first, as `walk` goes; says how that ended.
#[inline(always)]
pub(crate) fn trace(route: *mut Route, at: Location) -> u64 {
    steps(route, at.dentry, at.mnt)
}

#[inline(never)]
fn steps(route: *mut Route, dentry: u64, vfsmount: u64) -> u64 {
    set_count(route, 0);
    if dentry == 0 || vfsmount == 0 {
        return end::NO_PATH;
    }
    let mut dentry = dentry;
    let mut mount = vfsmount.wrapping_sub(offset(field::MOUNT_MNT));
    for _ in 0..STEPS {
        let root = pointer(
            mount.wrapping_add(offset(field::MOUNT_MNT)),
            field::VFSMOUNT_ROOT,
        );
        if dentry == root {
            let parent = pointer(mount, field::MOUNT_PARENT);
            if parent == mount {
                return end::WHOLE;
            }
            dentry = pointer(mount, field::MOUNT_MOUNTPOINT);
            mount = parent;
            continue;
        }
        let parent = pointer(dentry, field::DENTRY_PARENT);
        if parent == dentry {
            return end::NO_PATH;
        }
        let name = pointer(dentry, field::DENTRY_NAME);
        // SAFETY: `name` has room for 256 bytes and a word of zeros; probe_read checks the source.
        let written = unsafe {
            bpf_probe_read_kernel_str((&raw mut (*route).name).cast(), 256, name as *const _)
        };
        if written <= 1 {
            return end::UNREADABLE;
        }
        let hash = digest(route, (written as u64).wrapping_sub(1));
        let count = count(route);
        // SAFETY: masked to the bounds of `names`.
        unsafe {
            core::ptr::write_volatile(
                (&raw mut (*route).names)
                    .cast::<u64>()
                    .add(count as usize & 127),
                hash,
            );
        }
        set_count(route, count.wrapping_add(1));
        dentry = parent;
    }
    end::TOO_DEEP
}

/// SipHash-1-3 of the first `len` bytes of the component, at most 255.
#[inline(never)]
fn digest(route: *mut Route, len: u64) -> u64 {
    let len = len & 0xff;
    let text = (route as u64).wrapping_add(core::mem::offset_of!(Route, name) as u64) as *mut u8;
    // SAFETY: 255 and a word of zeros are within `name`.
    unsafe { core::ptr::write_unaligned(text.add(len as usize).cast::<u64>(), 0) };
    let mut v = sip::begin(sip_key());
    for i in 0..31u64 {
        if i * 8 + 8 > len {
            break;
        }
        // SAFETY: inside of `name`, which is aligned.
        word!(v, unsafe {
            core::ptr::read(text.cast::<u64>().add(i as usize))
        });
    }
    // SAFETY: as above.
    let rest = unsafe { core::ptr::read(text.add(len as usize & 0xf8).cast::<u64>()) };
    word!(v, rest | len << 56);
    v[2] ^= 0xff;
    round!(v);
    round!(v);
    round!(v);
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// What an edge says of a half: of the name itself, and of what is below it.
#[inline(always)]
fn says(edge: &Edge, half: u32) -> (u64, u64) {
    if half == half::PROCESS {
        (u64::from(edge.process), u64::from(edge.process_below))
    } else {
        (u64::from(edge.file), u64::from(edge.file_below))
    }
}

/// Follows the path from `root`. Gives the mask of the rule that is found, with [`OBJECT`] if it is
/// about the file itself; 0 if there is none. For [`half::SOURCE`]: a node.
#[inline(never)]
pub(crate) fn follow(route: *mut Route, generation: u32, root: u32, half: u32) -> u64 {
    let count = count(route);
    let applies = if half == half::PROCESS {
        u64::from(mask::EXEC)
    } else {
        u64::from(mask::READ)
    };
    let mut key = EdgeKey {
        generation,
        node: root,
        name: 0,
    };
    let mut recursive = 0;
    let mut last = 0;
    // SAFETY: values are replaced whole.
    if let Some(edge) = unsafe { EDGES.get(key) } {
        let (_, below) = says(edge, half);
        if below & applies != 0 {
            if below & u64::from(mask::RECURSIVE) != 0 {
                recursive = below;
            } else {
                last = below;
            }
        }
    }
    for i in 0..STEPS as u64 {
        if i >= count {
            break;
        }
        let left = count.wrapping_sub(i).wrapping_sub(1);
        key.name = name(route, left);
        // SAFETY: as above.
        let edge = unsafe { EDGES.get(key) };
        if left == 0 {
            if let Some(edge) = edge {
                if half == half::SOURCE {
                    return u64::from(edge.source);
                }
                let (object, _) = says(edge, half);
                if object & applies != 0 {
                    return object | OBJECT;
                }
            }
            break;
        }
        last = 0;
        let Some(edge) = edge else {
            break;
        };
        let (_, below) = says(edge, half);
        if below & applies != 0 {
            if below & u64::from(mask::RECURSIVE) != 0 {
                recursive = below;
            } else {
                last = below;
            }
        }
        key.node = edge.child;
    }
    if half == half::SOURCE {
        return 0;
    }
    if recursive != 0 { recursive } else { last }
}

/// The rule for a program by its name alone, 0 if there is none.
#[inline(always)]
pub(crate) fn by_name(route: *mut Route, generation: u32) -> u64 {
    let key = EdgeKey {
        generation,
        node: node::NAMES,
        name: name(route, 0),
    };
    // SAFETY: as above.
    match unsafe { EDGES.get(key) } {
        Some(edge) if edge.process & mask::EXEC != 0 => u64::from(edge.process),
        _ => 0,
    }
}

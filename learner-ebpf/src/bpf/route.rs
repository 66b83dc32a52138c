//! A path as the dentries of its components, and its way through the rules of a policy.
//!
//! What is found is what `RuleMap::find` of `learner/src/policy/meaning/bpf` finds without
//! KubeArmor's limits: `learner/src/policy/meaning/table.rs` makes the edges.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use learner_ebpf::enforce::{Edge, EdgeKey, LONG_WORDS, SHORT_NAME, SHORT_WORDS, mask, node};
use learner_ebpf::field;

use super::atomic::swap;
use super::maps::{EDGES, LONG_EDGES, ROUTES, Route, SLOTS, STEPS, offset};
use super::read::{Location, pointer};
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
fn dentry(route: *mut Route, index: u64) -> u64 {
    // SAFETY: the index is below 128, and the caller holds the route.
    unsafe {
        core::ptr::read_volatile(
            (&raw const (*route).dentries)
                .cast::<u64>()
                .add(index as usize & 127),
        )
    }
}

/// Gathers the components of a path, leaf first, as `walk` goes; says how that ended.
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
        let count = count(route);
        // SAFETY: masked to the bounds of `dentries`.
        unsafe {
            core::ptr::write_volatile(
                (&raw mut (*route).dentries)
                    .cast::<u64>()
                    .add(count as usize & 127),
                dentry,
            );
        }
        set_count(route, count.wrapping_add(1));
        dentry = parent;
    }
    end::TOO_DEEP
}

/// The edge for a component.
#[inline(always)]
fn edge(route: *mut Route, key: &mut EdgeKey<SHORT_WORDS>, dentry: u64) -> Option<&'static Edge> {
    let name = pointer(dentry, field::DENTRY_NAME);
    key.name = [0; SHORT_WORDS];
    // SAFETY: the name has room for as many bytes; probe_read checks the source.
    let written = unsafe {
        bpf_probe_read_kernel_str(
            (&raw mut key.name).cast(),
            SHORT_NAME as u32 + 2,
            name as *const _,
        )
    };
    // Of what fills it there may be more.
    if written > SHORT_NAME as i64 + 1 {
        return long_edge(route, key.generation, key.node, name);
    }
    // SAFETY: values are replaced whole.
    unsafe { EDGES.get(&*key) }
}

#[inline(never)]
fn long_edge(route: *mut Route, generation: u32, node: u32, name: u64) -> Option<&'static Edge> {
    // SAFETY: the caller holds the route; the name has room for 256 bytes.
    unsafe {
        let key = &mut (*route).long;
        key.generation = generation;
        key.node = node;
        for word in 0..LONG_WORDS {
            core::ptr::write_volatile(key.name.as_mut_ptr().add(word), 0);
        }
        bpf_probe_read_kernel_str((&raw mut key.name).cast(), 256, name as *const _);
        LONG_EDGES.get(&*key)
    }
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
        name: [0; SHORT_WORDS],
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
        let edge = edge(route, &mut key, dentry(route, left));
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
    let mut key = EdgeKey {
        generation,
        node: node::NAMES,
        name: [0; SHORT_WORDS],
    };
    match edge(route, &mut key, dentry(route, 0)) {
        Some(edge) if edge.process & mask::EXEC != 0 => u64::from(edge.process),
        _ => 0,
    }
}

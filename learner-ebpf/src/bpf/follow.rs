//! A trail's way through the rules of a policy.
//!
//! What is found is what `RuleMap::find` of `learner/src/policy/meaning/bpf` finds without
//! KubeArmor's limits: `learner/src/policy/meaning/tree.rs` makes the edges.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use learner_ebpf::enforce::{Edge, EdgeKey, LONG_WORDS, SHORT_NAME, SHORT_WORDS, mask, node};
use learner_ebpf::field;

use super::case::{Case, STEPS, Trail, dentry, get, put, repeat};
use super::maps::{EDGES, LONG_EDGES};
use super::read::pointer;

/// Which half of an edge is asked for.
pub(crate) mod half {
    pub(crate) const PROCESS: u64 = 0;
    pub(crate) const FILE: u64 = 1;
    /// The node at which the rules for this program start.
    pub(crate) const SOURCE: u64 = 2;
}

/// In what [`follow`] gives: the rule is about the file itself, not its directory.
pub(crate) const OBJECT: u64 = 1 << 32;

struct Following {
    case: *mut Case,
    trail: *const Trail,
}

/// Follows a trail from a node. Gives the mask of the rule that is found, with [`OBJECT`] if it is
/// about the file itself; 0 if there is none. For [`half::SOURCE`]: a node.
#[inline(never)]
pub(crate) fn follow(case: *mut Case, trail: *const Trail, root: u64, half: u64) -> u64 {
    put!(case, node, root);
    put!(case, half, half);
    put!(case, left, get!(trail, count));
    put!(case, recursive, 0);
    put!(case, nearest, 0);
    put!(case, found, 0);
    // What is said of the directory that the node itself stands for.
    let key = key(case, root as u32);
    // SAFETY: values are replaced whole.
    if let Some(edge) = unsafe { EDGES.get(key) } {
        enter(case, edge);
    }
    let mut state = Following { case, trail };
    repeat(STEPS, component, &raw mut state);
    let found = get!(case, found);
    if found != 0 || half == half::SOURCE {
        return found;
    }
    match get!(case, recursive) {
        0 => get!(case, nearest),
        recursive => recursive,
    }
}

unsafe extern "C" fn component(_: u64, state: *mut Following) -> i64 {
    // SAFETY: as `follow` passes it.
    let Following { case, trail } = unsafe { core::ptr::read(state) };
    let left = get!(case, left).wrapping_sub(1);
    if left >= u64::from(STEPS) {
        // There was none left.
        return 1;
    }
    put!(case, left, left);
    let mut key = key(case, get!(case, node) as u32);
    let edge = edge(case, &mut key, dentry(trail, left));
    if left == 0 {
        if let Some(edge) = edge {
            arrive(case, edge);
        }
        return 1;
    }
    put!(case, nearest, 0);
    let Some(edge) = edge else { return 1 };
    enter(case, edge);
    put!(case, node, u64::from(edge.child));
    0
}

/// The bit that makes a mask a rule of the half.
#[inline(always)]
fn is_rule(half: u64) -> u64 {
    if half == half::PROCESS {
        u64::from(mask::EXEC)
    } else {
        u64::from(mask::READ)
    }
}

/// Notes what is said of what is in a directory.
#[inline(always)]
fn enter(case: *mut Case, edge: &Edge) {
    let half = get!(case, half);
    let below = u64::from(if half == half::PROCESS {
        edge.process_below
    } else {
        edge.file_below
    });
    if below & is_rule(half) == 0 {
        return;
    }
    if below & u64::from(mask::RECURSIVE) != 0 {
        put!(case, recursive, below);
    } else {
        put!(case, nearest, below);
    }
}

/// Notes what is said of the leaf.
#[inline(always)]
fn arrive(case: *mut Case, edge: &Edge) {
    let half = get!(case, half);
    if half == half::SOURCE {
        return put!(case, found, u64::from(edge.source));
    }
    let object = u64::from(if half == half::PROCESS {
        edge.process
    } else {
        edge.file
    });
    if object & is_rule(half) != 0 {
        put!(case, found, object | OBJECT);
    }
}

/// The key of what starts from a node, without a name yet.
#[inline(always)]
fn key(case: *const Case, node: u32) -> EdgeKey<SHORT_WORDS> {
    let mut key = MaybeUninit::<EdgeKey<SHORT_WORDS>>::uninit();
    let at = key.as_mut_ptr();
    let generation = get!(case, policy.generation);
    // SAFETY: every field is written; word by word, since the compiler makes a loop over bytes of it
    // otherwise.
    unsafe {
        (*at).generation = generation;
        (*at).node = node;
        for word in 0..SHORT_WORDS {
            core::ptr::write_volatile((&raw mut (*at).name).cast::<u64>().add(word), 0);
        }
        key.assume_init()
    }
}

/// The edge for a component.
#[inline(always)]
fn edge(case: *mut Case, key: &mut EdgeKey<SHORT_WORDS>, dentry: u64) -> Option<&'static Edge> {
    let name = pointer(dentry, field::DENTRY_NAME);
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
        // SAFETY: a map value or null.
        return unsafe { long_edge(case, key.node, name).as_ref() };
    }
    // SAFETY: values are replaced whole.
    unsafe { EDGES.get(&*key) }
}

#[inline(never)]
fn long_edge(case: *mut Case, node: u32, name: u64) -> *const Edge {
    put!(case, long.generation, get!(case, policy.generation));
    put!(case, long.node, node);
    // SAFETY: the caller holds the case; the name has room for 256 bytes.
    unsafe {
        let key = &raw mut (*case).long;
        for word in 0..LONG_WORDS {
            core::ptr::write_volatile((&raw mut (*key).name).cast::<u64>().add(word), 0);
        }
        bpf_probe_read_kernel_str((&raw mut (*key).name).cast(), 256, name as *const _);
        match LONG_EDGES.get(&*key) {
            Some(edge) => edge,
            None => core::ptr::null(),
        }
    }
}

/// The rule for a program by its name alone, 0 if there is none.
#[inline(never)]
pub(crate) fn by_name(case: *mut Case, trail: *const Trail) -> u64 {
    let mut key = key(case, node::NAMES);
    match edge(case, &mut key, dentry(trail, 0)) {
        Some(edge) if edge.process & mask::EXEC != 0 => u64::from(edge.process),
        _ => 0,
    }
}

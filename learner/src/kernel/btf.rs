//! Offsets of kernel struct fields, from the running kernel's type information.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use btf::btf::{Btf, FlattenedType, Struct, Type};
use learner_ebpf::{doer, field};

/// Where the kernel publishes its types (Linux 5.2 with `CONFIG_DEBUG_INFO_BTF`).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const OVERLAY: &str = "/sys/kernel/btf/overlay";

/// Why the offsets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OffsetError {
    /// No type information at all.
    #[error(
        "{path}: cannot read the kernel's type information: {cause}. The kernel must be built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        cause: String,
    },
    /// The kernel has no such struct.
    #[error("the kernel's type information has no struct {0}; this kernel is not supported")]
    NoStruct(String),
    /// The struct has no such field.
    #[error("struct {of} of this kernel has no field {name}; this kernel is not supported")]
    NoField {
        /// The struct.
        of: String,
        /// The field.
        name: String,
    },
}

/// Byte offsets by the indices of [`learner_ebpf::field`].
pub type Offsets = [u32; field::COUNT];

/// What the kernel programs need to know of this kernel.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Offsets of fields.
    pub offsets: Offsets,
    /// Which argument of the tracepoint `io_uring_submit_sqe` is the request; it was the second
    /// one before Linux 6.0.
    pub uring_argument: u32,
    /// The functions that do what the hooks are asked about; 0: the kernel tells of no such function.
    pub doers: [u32; doer::COUNT],
}

/// Reads every offset that the kernel programs need.
///
/// # Errors
/// [`OffsetError`] names the struct and the field that this kernel lacks.
pub fn layout() -> Result<Layout, OffsetError> {
    // The kernel's types do not change while it runs, and reading them takes a while.
    static KNOWN: OnceLock<Layout> = OnceLock::new();
    if let Some(layout) = KNOWN.get() {
        return Ok(*layout);
    }
    let layout = read_layout()?;
    Ok(*KNOWN.get_or_init(|| layout))
}

fn read_layout() -> Result<Layout, OffsetError> {
    let kernel = Types::read(Path::new(VMLINUX))?;
    // Overlayfs is a module on most distributions: its types are split off. Without them the upper
    // layer cannot be told, which is what `upper` absent means.
    let overlay = Types::read_split(Path::new(VMLINUX), Path::new(OVERLAY)).ok();
    let mut offsets = [0; field::COUNT];
    for (slot, spec) in offsets.iter_mut().zip(field::SPECS) {
        let (path, optional) = match spec.strip_suffix('?') {
            Some(path) => (path, true),
            None => (spec, false),
        };
        let found = if let Some(argument) = path.strip_prefix("regs:") {
            kernel.argument(argument.parse().unwrap_or(0))
        } else if let Some(path) = path.strip_prefix("overlay:") {
            kernel.offset(path).or_else(|missing| match &overlay {
                Some(overlay) => overlay.offset(path),
                None => Err(missing),
            })
        } else {
            let mut names = path.split('|').map(|name| kernel.offset(name));
            let first = names.next();
            names.fold(first.unwrap_or(Ok(0)), |found, other| found.or(other))
        };
        *slot = match found {
            Ok(offset) => offset,
            Err(_) if optional => 0,
            Err(missing) => return Err(missing),
        };
    }
    let doers = doer::FUNCTIONS.map(|name| kernel.doer(name).unwrap_or(0));
    let parameters = kernel.parameters("btf_trace_io_uring_submit_sqe");
    Ok(Layout {
        offsets,
        uring_argument: u32::from(parameters.is_some_and(|n| n > 3)),
        doers,
    })
}

/// The structs of a BTF blob by name.
struct Types {
    btf: Btf,
    structs: HashMap<String, usize>,
}

impl Types {
    fn read(path: &Path) -> Result<Self, OffsetError> {
        let btf = Btf::from_file(path).map_err(|e| unreadable(path, &e))?;
        let structs = btf
            .get_types()
            .iter()
            .enumerate()
            .filter_map(|(i, t)| match (&t.base_type, &t.name) {
                (Type::Struct(s), Some(name)) if t.num_refs == 0 && !s.members.is_empty() => {
                    Some((name.clone(), i))
                }
                _ => None,
            })
            .collect();
        Ok(Self { btf, structs })
    }

    /// A module's types continue the kernel's: type ids and string offsets count on from there. So
    /// the two blobs, section by section one after the other, are one blob.
    fn read_split(base: &Path, split: &Path) -> Result<Self, OffsetError> {
        let joined = join(
            &std::fs::read(base).map_err(|e| unreadable(base, &e))?,
            &std::fs::read(split).map_err(|e| unreadable(split, &e))?,
        )
        .ok_or_else(|| unreadable(split, &"malformed"))?;
        let mut file = tempfile::NamedTempFile::new().map_err(|e| unreadable(split, &e))?;
        file.write_all(&joined).map_err(|e| unreadable(split, &e))?;
        Self::read(file.path())
    }

    /// `struct.field[.field…]` to a byte offset.
    fn offset(&self, spec: &str) -> Result<u32, OffsetError> {
        let mut names = spec.split('.');
        let of = names.next().unwrap_or_default();
        let mut layout = self
            .structs
            .get(of)
            .and_then(|i| as_struct(&self.btf.get_types()[*i]))
            .ok_or_else(|| OffsetError::NoStruct(of.into()))?;
        let mut bits = 0;
        for name in names {
            let (offset, next) = self
                .member(layout, name)
                .ok_or_else(|| OffsetError::NoField {
                    of: of.into(),
                    name: name.into(),
                })?;
            bits += offset;
            if let Some(next) = next {
                layout = next;
            }
        }
        Ok(bits / 8)
    }

    /// Number of parameters of a tracepoint's function, the one for its data included.
    fn parameters(&self, typedef: &str) -> Option<usize> {
        let types = self.btf.get_types().iter();
        let mut named = types.filter(|t| t.name.as_deref() == Some(typedef));
        named.find_map(|t| match &t.base_type {
            Type::FunctionProto(proto) => Some(proto.params.len()),
            _ => None,
        })
    }

    /// An element of [`doer`]: how many arguments a function has, and which is the name that it is about;
    /// of two the first.
    fn doer(&self, name: &str) -> Option<u32> {
        let mut types = self.btf.get_types().iter();
        let function =
            types.find(|t| t.is_function && t.num_refs == 0 && t.name.as_deref() == Some(name))?;
        let Type::FunctionProto(proto) = &function.base_type else {
            return None;
        };
        let at = |names: &[&str]| {
            proto
                .params
                .iter()
                .position(|p| p.name.as_deref().is_some_and(|name| names.contains(&name)))
        };
        let (dentry, how) = match at(&["dentry", "old_dentry"]) {
            Some(dentry) => (dentry, 0),
            // Since Linux 5.12 vfs_rename has its names there.
            None => (at(&["rd"])?, doer::IN_RENAMEDATA),
        };
        let arguments = proto.params.len() as u32;
        Some(arguments << doer::ARGUMENTS | (dentry as u32) << doer::DENTRY | how)
    }

    /// Bit offset and layout of a member, looked for in anonymous structs and unions too.
    fn member<'a>(&'a self, of: &'a Struct, name: &str) -> Option<(u32, Option<&'a Struct>)> {
        for member in &of.members {
            let kind = self.btf.get_type_by_id(member.type_id).ok()?;
            match member.name.as_deref() {
                Some(found) if found == name => return Some((member.offset, as_struct(kind))),
                None | Some("") => {
                    if let Some((offset, layout)) =
                        as_struct(kind).and_then(|inner| self.member(inner, name))
                    {
                        return Some((member.offset + offset, layout));
                    }
                }
                Some(_) => {}
            }
        }
        None
    }

    /// Where `struct pt_regs` keeps the nth argument of a system call.
    fn argument(&self, n: usize) -> Result<u32, OffsetError> {
        const X86_64: [&str; 5] = ["di", "si", "dx", "r10", "r8"];
        if cfg!(target_arch = "x86_64") {
            self.offset(&format!("pt_regs.{}", X86_64[n.min(4)]))
        } else {
            // aarch64: x0 to x5 at the beginning of `regs`.
            Ok(self.offset("pt_regs.regs")? + 8 * n as u32)
        }
    }
}

fn as_struct(kind: &FlattenedType) -> Option<&Struct> {
    match &kind.base_type {
        Type::Struct(layout) | Type::Union(layout) if kind.num_refs == 0 => Some(layout),
        _ => None,
    }
}

fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> OffsetError {
    OffsetError::Unreadable {
        path: path.into(),
        cause: cause.to_string(),
    }
}

const HEADER: usize = 24;

/// Concatenates base and split BTF; None if either is cut off.
fn join(base: &[u8], split: &[u8]) -> Option<Vec<u8>> {
    let (base_types, base_strings) = sections(base)?;
    let (split_types, split_strings) = sections(split)?;
    let types = (base_types.len() + split_types.len()) as u32;
    let strings = (base_strings.len() + split_strings.len()) as u32;
    let mut joined = base.get(..8)?.to_vec();
    for word in [0, types, types, strings] {
        joined.extend_from_slice(&u32::to_ne_bytes(word));
    }
    for part in [base_types, split_types, base_strings, split_strings] {
        joined.extend_from_slice(part);
    }
    Some(joined)
}

/// The type and string sections of a BTF blob, as its header (`struct btf_header`) places them.
fn sections(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let word =
        |at: usize| Some(u32::from_ne_bytes(blob.get(at..at + 4)?.try_into().ok()?) as usize);
    let start = word(4)?;
    let part = |offset: usize, len: usize| blob.get(start + offset..start + offset + len);
    (start == HEADER)
        .then(|| Some((part(word(8)?, word(12)?)?, part(word(16)?, word(20)?)?)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_that_is_not_optional_is_found_on_this_kernel() {
        if !Path::new(VMLINUX).exists() {
            eprintln!("skipped: this machine has no {VMLINUX}");
            return;
        }
        let offsets = layout().expect("offsets").offsets;
        assert_ne!(offsets[field::TASK_MM], 0);
        assert_ne!(offsets[field::DENTRY_NAME], 0);
    }

    #[test]
    fn the_functions_that_know_results_are_found_on_this_kernel() {
        if !Path::new(VMLINUX).exists() {
            eprintln!("skipped: this machine has no {VMLINUX}");
            return;
        }
        for (name, shape) in doer::FUNCTIONS.iter().zip(layout().expect("layout").doers) {
            let (arguments, dentry) = (shape & 0xff, shape >> doer::DENTRY & 0xff);
            assert!(dentry < arguments, "{name}: {shape:#x}");
            let in_renamedata = shape & doer::IN_RENAMEDATA != 0;
            assert!(!in_renamedata || *name == "vfs_rename", "{name}");
        }
    }

    #[test]
    fn a_missing_field_is_an_error_that_names_struct_and_field() {
        if !Path::new(VMLINUX).exists() {
            eprintln!("skipped: this machine has no {VMLINUX}");
            return;
        }
        let types = Types::read(Path::new(VMLINUX)).expect("types");
        let missing = types
            .offset("task_struct.no_such_field")
            .expect_err("missing");
        assert_eq!(
            missing.to_string(),
            "struct task_struct of this kernel has no field no_such_field; this kernel is not supported"
        );
        let missing = types.offset("no_such_struct.x").expect_err("missing");
        assert!(missing.to_string().contains("no struct no_such_struct"));
    }

    #[test]
    fn cut_off_type_information_is_refused() {
        assert!(join(b"\x9f\xeb\x01", b"").is_none());
        let mut header = vec![0x9f, 0xeb, 1, 0];
        for word in [24u32, 0, 1 << 20, 0, 4] {
            header.extend_from_slice(&word.to_ne_bytes());
        }
        assert!(sections(&header).is_none());
    }
}

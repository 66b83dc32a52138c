//! The kernel object, made for the running kernel.
//!
//! Where a field lies in a struct is not known when the object is built. Most programs look it up in a
//! map; those that are run for every open have it in their instructions, which say which field is
//! meant (`learner_ebpf::place`) until the object is loaded.

use learner_ebpf::{field, place};
use object::{Object as _, ObjectSection as _, SectionKind};

use super::btf::Offsets;

/// As it was built. [`of_this_kernel`] is what can be loaded.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../../learner-ebpf/object/learner.bpf.o");

/// Bytes that the object is cut into words of, as it has to lie in memory.
const WORD: usize = 8;
const CLASS: u8 = 7;
const LOAD: u8 = 1;

/// The object with the fields where this kernel has them.
pub(super) struct Placed {
    bytes: Vec<u8>,
    start: usize,
}

impl Placed {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// Puts the offsets into the instructions.
///
/// # Errors
/// What is wrong with the object or an offset, in a sentence.
pub(super) fn of_this_kernel(offsets: &Offsets) -> Result<Placed, String> {
    let mut bytes = vec![0; OBJECT.len() + WORD];
    let start = bytes.as_ptr().align_offset(WORD).min(WORD);
    bytes[start..start + OBJECT.len()].copy_from_slice(OBJECT);
    bytes.truncate(start + OBJECT.len());
    let file = object::File::parse(OBJECT).map_err(|e| format!("the kernel object: {e}"))?;
    for section in file.sections().filter(|s| s.kind() == SectionKind::Text) {
        let Some((from, len)) = section.file_range() else {
            continue;
        };
        let range = start + from as usize..start + (from + len) as usize;
        let code = bytes
            .get_mut(range)
            .ok_or("the kernel object is cut off in its programs")?;
        for instruction in code.chunks_exact_mut(WORD) {
            put(instruction, offsets)?;
        }
    }
    Ok(Placed { bytes, start })
}

/// Puts the offset into an instruction that loads a field.
fn put(instruction: &mut [u8], offsets: &Offsets) -> Result<(), String> {
    let [code, _, low, high, ..] = *instruction else {
        return Ok(());
    };
    if code & CLASS != LOAD {
        return Ok(());
    }
    let Some(field) = place::named(i16::from_le_bytes([low, high])) else {
        return Ok(());
    };
    let at = i16::try_from(offsets[field]).map_err(|_| {
        format!(
            "{} of this kernel lies too far behind the beginning",
            field::SPECS[field]
        )
    })?;
    instruction[2..4].copy_from_slice(&at.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(at: i16) -> [u8; 8] {
        let [low, high] = at.to_le_bytes();
        [0x79, 0x21, low, high, 0, 0, 0, 0]
    }

    #[test]
    fn a_load_of_a_field_gets_the_fields_offset_and_any_other_stays() {
        let mut offsets = [0; field::COUNT];
        offsets[field::FILE_MODE] = 20;
        let placed = |at| {
            let mut instruction = load(at);
            put(&mut instruction, &offsets).map(|()| instruction)
        };
        assert_eq!(placed(place::of(field::FILE_MODE) as i16), Ok(load(20)));
        for at in [-8, 0, 4096, place::FIRST as i16 - 1] {
            assert_eq!(placed(at), Ok(load(at)), "{at}");
        }
        // A store to the same place of the stack is none.
        let mut store = load(place::FIRST as i16);
        store[0] = 0x7b;
        let before = store;
        put(&mut store, &offsets).expect("a store");
        assert_eq!(store, before);
        offsets[field::FILE_MODE] = 40_000;
        let mut instruction = load(place::of(field::FILE_MODE) as i16);
        let refused = put(&mut instruction, &offsets).expect_err("too far");
        assert_eq!(
            refused,
            "file.f_mode of this kernel lies too far behind the beginning"
        );
    }

    #[test]
    fn the_object_names_fields_and_keeps_none_of_the_names() {
        let offsets = [1; field::COUNT];
        let placed = of_this_kernel(&offsets).expect("placed");
        assert_eq!(placed.bytes().len(), OBJECT.len());
        assert_eq!(placed.bytes().as_ptr().align_offset(WORD), 0);
        let named = |bytes: &[u8]| {
            let file = object::File::parse(bytes).expect("an object");
            let texts = file.sections().filter(|s| s.kind() == SectionKind::Text);
            let code: Vec<u8> = texts
                .flat_map(|s| s.data().expect("code").to_vec())
                .collect();
            let loads = code.chunks_exact(WORD).filter(|i| i[0] & CLASS == LOAD);
            loads
                .filter(|i| place::named(i16::from_le_bytes([i[2], i[3]])).is_some())
                .count()
        };
        assert!(named(OBJECT) > 40, "{}", named(OBJECT));
        assert_eq!(named(placed.bytes()), 0);
    }
}
